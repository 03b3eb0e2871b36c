"""The bodies: what depth, width and shapes mean, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import isoinit
from isoinit import CNN, MLP, SCHEMES, ResNet, build, initialize
from isoinit.activations import ACTIVATIONS
from isoinit.layers import Linear, fresh, linears, listed, set_mask
from isoinit.networks import ARCHITECTURES
from isoinit.resnet import BLOCKS
from isoinit.schemes.reading import read
from isoinit.theory import activations

SHAPES = {"mlp": (2, 5, 5), "cnn": (2, 5, 5), "resnet": (2, 5, 5)}


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("depth", [2, 3, 4, 9])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_depth_counts_the_weight_layers_of_the_main_path(architecture: str, depth: int, normalization: str) -> None:
    model = build(architecture, (2, 5, 5), width=6, depth=depth, out_features=3, normalization=normalization)
    wiring = read(model)
    assert len(wiring.layers) == depth
    assert [layer.weight.shape[0] for layer in wiring.layers] == [6] * (depth - 1) + [3]
    assert wiring.architecture == architecture
    assert wiring.normalization == normalization
    initialize(model, "he_normal", generator=torch.Generator())
    assert model(torch.randn(4, 2, 5, 5, generator=torch.Generator())).shape == (4, 3)


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("shape", [(7,), (2, 5, 5)])
@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_propagates_and_every_parameter_is_wired(
    block: str, shape: tuple[int, ...], normalization: str
) -> None:
    model = ResNet(shape, 6, 9, 3, block, normalization=normalization)
    wiring = initialize(model, "he_normal", generator=torch.Generator().manual_seed(0)).wiring()
    assert len(wiring.blocks) == 3
    known = [p for layer in (*wiring.layers, *wiring.norms) for p in layer.parameters()]
    known += [p for b in wiring.blocks for p in (b.multiplier, *b.offsets) if p is not None]
    assert {id(p) for p in known} == {id(p) for p in model.parameters()}
    model(torch.randn(5, *shape, generator=torch.Generator())).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for layer in wiring.layers for p in (layer.weight,))


def written_out(block: nn.Module, x: Tensor, normalization: str) -> Tensor:
    """What is said beside each block in `BLOCKS`, with normalizations where the class of the blocks says."""

    def norm(z: Tensor, name: str) -> Tensor:
        part = block.get_submodule(name)
        return functional.batch_norm(z, None, None, part.weight, part.bias, True) if normalization == "batch" else z  # pyright: ignore

    (first, last), alpha, o, act = block.branch, block.multiplier, block.offsets, torch.relu  # pyright: ignore
    if block.kind == "skipinit":
        return x + alpha * last(act(norm(first(act(norm(x, "norm_first"))), "norm_last")))  # pyright: ignore
    if block.kind == "fixup":
        inner = act(norm(first(x + o[0]), "norm_first") + o[1])  # pyright: ignore
        return act(x + alpha * norm(last(inner + o[2]), "norm_last") + o[3])  # pyright: ignore
    branch = last(act(norm(first(x), "norm_first")))  # pyright: ignore
    if block.kind in ("open", "rezero"):
        return x + (branch if alpha is None else alpha * branch)  # pyright: ignore
    skip = x if block.kind == "post" else norm(block.skip(x), "norm_skip")  # pyright: ignore
    return act(skip + norm(branch, "norm_last"))


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block_is_what_is_said_of_it(kind: str, normalization: str) -> None:
    (block,) = ResNet((7,), 6, 4, 3, kind, normalization=normalization).double().blocks
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, generator=generator)
    x = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(block(x), written_out(block, x, normalization))


@pytest.mark.parametrize("model", [MLP(7, 6, 4, 3, "tanh", "batch"), CNN((2, 3, 3), 6, 4, 3, "tanh", "batch")])
def test_a_plain_network_normalizes_before_it_activates(model: MLP | CNN) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    signal = x = torch.randn(5, *((7,) if isinstance(model, MLP) else (2, 3, 3)), generator=generator)
    for layer, norm in zip(model.layers, model.norms, strict=False):
        signal = torch.tanh(functional.batch_norm(layer(signal), None, None, norm.weight, norm.bias, True))  # pyright: ignore
    torch.testing.assert_close(model(x), model.layers[-1](signal if signal.dim() == 2 else signal.mean((2, 3))))


def test_crelu_doubles_what_the_next_layer_reads() -> None:
    model = MLP(5, 8, 4, 3, "crelu")
    assert [tuple(layer.weight.shape) for layer in read(model).layers] == [(8, 5), (8, 16), (8, 16), (3, 16)]
    assert [tuple(layer.weight.shape) for layer in read(CNN((2, 4, 4), 6, 3, 3, "crelu")).layers][-1] == (3, 12)


def test_parameters_are_zero_until_initialized_and_building_draws_nothing() -> None:
    before = torch.get_rng_state()
    for architecture in ARCHITECTURES:
        model = build(architecture, (2, 5, 5), width=6, depth=4, out_features=3)
        assert not any(p.any() for layer in read(model).layers for p in layer.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS.keys() & activations.ACTIVATIONS.keys()))
def test_theory_has_the_units_that_networks_are_made_of(activation: str) -> None:
    z = torch.linspace(-9, 9, 400, dtype=torch.float64, requires_grad=True)  # of an even number: none at a kink
    h = ACTIVATIONS[activation]()(z)
    (slope,) = torch.autograd.grad(h.sum(), z)
    record, x = activations.get(activation), z.detach().numpy()
    np.testing.assert_allclose(record.phi(x), h.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(record.slope(x), slope.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_modules_made_sooner_are_modules_of_their_own_as_torch_makes_them(activation: str) -> None:
    made = [module for _ in range(2) for module in MLP(4, 6, 3, 2, activation).modules()]
    for mine, torchs in ((fresh(ACTIVATIONS[activation]), ACTIVATIONS[activation]()), (listed(()), nn.ModuleList())):
        assert list(vars(mine)) == list(vars(torchs))
        assert {k: type(v) for k, v in vars(mine).items()} == {k: type(v) for k, v in vars(torchs).items()}
        assert repr(mine) == repr(torchs)
    tables = [id(value) for module in made for value in vars(module).values() if isinstance(value, dict | set)]
    assert len(set(tables)) == len(tables)


def test_layers_made_at_once_are_layers_of_their_own_as_torch_makes_them() -> None:
    """A table that two layers share would make a hook, a mask or a weight of one that of both."""
    sizes = [(4, 6), (4, 6), (3, 5)]
    made = [*linears(sizes), *linears(sizes[:1])]
    for layer, size in zip(made, [*sizes, sizes[0]], strict=True):
        fresh = Linear(*size)
        assert (layer.weight.shape, layer.bias.shape) == (fresh.weight.shape, fresh.bias.shape)
        assert repr(layer) == repr(fresh)
        assert {k: type(v) for k, v in vars(layer).items()} == {k: type(v) for k, v in vars(fresh).items()}
        assert list(layer.state_dict()) == list(fresh.state_dict())
        assert all(isinstance(p, nn.Parameter) and p.requires_grad and not p.any() for p in layer.parameters())
        # what is pickled is the memory that a weight is in, so it must not be that of all layers
        assert all(p.untyped_storage().nbytes() == p.nbytes for p in layer.parameters())
        layer(torch.ones(2, size[0])).sum().backward()
        assert all(p.grad is not None for p in layer.parameters())
    tables = [id(v) for layer in made for v in vars(layer).values() if isinstance(v, dict | set)]
    assert len(set(tables)) == len(tables)
    assert len({p.data_ptr() for layer in made for p in layer.parameters()}) == 8
    set_mask(made[0], torch.ones(6, 4, dtype=torch.bool))
    assert [layer.masked for layer in (*made, *linears(sizes))] == [True] + [False] * 6
    assert linears([]) == []


def test_layers_made_at_once_heed_the_default_type_and_device() -> None:
    with torch.device("meta"):
        assert all(p.is_meta for p in MLP(3, 4, 3, 2).parameters())
    torch.set_default_dtype(torch.float64)
    try:
        assert {p.dtype for p in MLP(3, 4, 3, 2).parameters()} == {torch.float64}
    finally:
        torch.set_default_dtype(torch.float32)
    assert {(p.dtype, p.device.type) for p in MLP(3, 4, 3, 2).parameters()} == {(torch.float32, "cpu")}


@pytest.mark.parametrize("name", [n for n, s in SCHEMES.items() if s.blocks])
def test_the_scheme_chooses_its_residual_block(name: str) -> None:
    model = build("resnet", (4,), width=6, depth=6, out_features=2, scheme=name)
    assert {b.kind for b in read(model).blocks} == {(SCHEMES[name].blocks or ("",))[0]}
    assert read(build("resnet", (4,), width=6, depth=6, out_features=2)).blocks[0].kind == "post"


@pytest.mark.parametrize("shape", [(4,), (2, 5, 5)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_has_one_name_so_a_functional_call_leaves_the_network_as_it_was(
    architecture: str, shape: tuple[int, ...]
) -> None:
    """`torch.func.functional_call` puts back what it found under the last name of a module that has two: its own."""
    if architecture == "cnn" and len(shape) == 1:
        return
    model = build(architecture, shape, width=6, depth=7, out_features=3, normalization="batch")
    before = dict(model.named_parameters(remove_duplicate=False))
    assert len({id(p) for p in before.values()}) == len(before)
    others = {name: torch.randn_like(p) for name, p in before.items()}
    torch.func.functional_call(model, others, torch.randn(4, *shape, generator=torch.Generator()))
    assert all(p is before[name] for name, p in model.named_parameters(remove_duplicate=False))


def test_a_scheme_refuses_a_block_it_is_not_made_for() -> None:
    with pytest.raises(ValueError, match="risotto_c is for residual blocks projection, got post"):
        initialize(ResNet((4,), 6, 6, 2), "risotto_c", generator=torch.Generator())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLP(4, 6, 1, 2), "depth must be at least 2, got 1"),
        (lambda: MLP(0, 6, 3, 2), "in_features must be at least 1"),
        (
            lambda: MLP(4, 6, 3, 2, "rellu"),
            f"activation must be one of {', '.join(ACTIVATIONS)}, got 'rellu'",
        ),
        (lambda: MLP(4, 6, 3, 2, normalization="layer"), "normalization must be one of none, batch"),
        (lambda: CNN((4,), 6, 3, 2), r"shape \(C, H, W\), got \(4,\)"),
        (lambda: CNN((1, 4, 4), 6, 3, 2, kernel_size=2), "kernel_size must be odd"),
        (lambda: CNN((1, 4, 4), 6, 3, 2, kernel_size=-1), "odd and positive, to keep the resolution, got -1"),
        (lambda: MLP(4, 2.5, 3, 2), "width must be a whole number, got 2.5"),  # type: ignore[arg-type]
        (lambda: CNN((1, 4, 4), 6, 3, 2, pooling="max"), "pooling must be 'average' or 'none'"),
        (lambda: MLP(4, 6, 3, 2, ["relu"]), r"activation must be one of .*, got \['relu'\]"),  # type: ignore[arg-type]
        (lambda: CNN((1, 4, 4), 6, 3, 2, kernel_size="3"), "odd and positive.*, got '3'"),  # type: ignore[arg-type]
        (lambda: CNN((1, 4, 4), 6, 3, 2, kernel_size=3.0), "odd and positive.*, got 3.0"),  # type: ignore[arg-type]
        (lambda: CNN(4, 6, 3, 2), r"a CNN takes inputs of shape \(C, H, W\), got 4"),  # type: ignore[arg-type]
        (lambda: CNN((1, 0, 4), 6, 3, 2), r"a CNN takes inputs of shape \(C, H, W\), got \(1, 0, 4\)"),
        (lambda: ResNet(4, 6, 4, 2), r"\(features,\) or \(C, H, W\), got 4"),  # type: ignore[arg-type]
        (lambda: build("mlp", 4, width=4, depth=3, out_features=2), "input_shape must be"),  # type: ignore[arg-type]
        (lambda: ResNet((4, 4), 6, 4, 2), r"\(features,\) or \(C, H, W\), got \(4, 4\)"),
        (lambda: ResNet((4,), 6, 4, 2, "bottleneck"), "block must be one of post, projection, open"),
        (lambda: ResNet((4,), 6, 4, 2, activation="crelu"), "no crelu"),
        (lambda: ResNet((4,), 6, 1, 2), "depth must be at least 2, got 1"),
        (lambda: ResNet((4,), 6, 4, 0), "out_features must be at least 1, got 0"),
        (lambda: ResNet((1, 4, 4), 6, 4, 2, pooling="max"), "pooling must be 'average' or 'none'"),
        (lambda: build("vit", (4,), width=4, depth=3, out_features=2), "architecture must be one of mlp, cnn, resnet"),
    ],
)
def test_what_cannot_be_built_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("make", [lambda: MLP(6, 6, 4, 2), lambda: CNN((2, 4, 4), 4, 4, 2)])
def test_a_saved_state_makes_a_new_network_as_sparse_or_dense_as_the_old(make: Any, tmp_path: Path) -> None:
    sparse, dense = make(), initialize(make(), "he_normal", generator=torch.Generator())
    initialize(sparse, "eoi", density=0.4, generator=torch.Generator().manual_seed(0))
    torch.save(sparse.state_dict(), tmp_path / "state.pt")
    other = make()
    for loaded in (other, dense):
        loaded.load_state_dict(torch.load(tmp_path / "state.pt"))
        for a, b in zip(read(loaded).layers, read(sparse).layers, strict=True):
            assert torch.equal(a.get_buffer("mask"), b.get_buffer("mask"))
            assert torch.equal(a.weight, b.weight)
    other = make()
    other.load_state_dict(sparse.state_dict())
    read(other).layers[1].get_buffer("mask").fill_(True)  # no memory is shared with the network it came from
    assert not read(sparse).layers[1].get_buffer("mask").all()
    other.load_state_dict(initialize(make(), "he_normal", generator=torch.Generator()).state_dict())
    assert "layers.1.mask" not in other.state_dict()


def test_a_plain_torch_layer_keeps_its_mask_through_training_and_copying() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    initialize(model, "eoi", density=0.4, generator=torch.Generator().manual_seed(0))
    model(torch.ones(2, 6)).sum().backward()
    layer = read(model).layers[1]
    assert layer.weight.grad is not None
    assert not layer.weight.grad[~layer.get_buffer("mask")].any()
    assert "2.mask" in model.state_dict()
    initialize(model, "he_normal", generator=torch.Generator())
    assert "2.mask" not in model.state_dict()
    assert layer.weight.all()
    x = torch.ones(2, 6)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))


def test_the_public_names_can_be_found() -> None:
    """They are loaded on first use, and an interpreter that completes names listed none of them."""
    assert set(isoinit.__all__) <= set(dir(isoinit))
    assert all(name in (isoinit.__doc__ or "") for name in isoinit.__all__)
