"""The contract of every scheme in the registry: a new line in SCHEMES is tested here without a new test."""

import copy
import hashlib
import random
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isoinit import CNN, MLP, SCHEMES, ResNet, build, initialize
from isoinit.schemes import Scheme, check, get
from isoinit.schemes.reading import read
from isoinit.schemes.wiring import fans
from isoinit.spectrum import jacobian

CASES = [(name, architecture) for name, s in SCHEMES.items() for architecture in s.architectures]
WIDTH = 8
SIZES = ((2, 8), (5, 1), (5, 7))  # depth, width


def having(invariant: str) -> list[tuple[str, str]]:
    return [(name, architecture) for name, architecture in CASES if invariant in SCHEMES[name].invariants]


def shape_of(architecture: str) -> tuple[int, ...]:
    return (2, 3, 3) if architecture == "cnn" else (4,)


def network(name: str, architecture: str, width: int = WIDTH, depth: int = 5, normalization: str = "none") -> nn.Module:
    """A network the scheme applies to, with as many outputs as inputs and cores of the inputs' size."""
    scheme = SCHEMES[name]
    activation = scheme.activations[0] if scheme.activations else "relu"
    if architecture == "mlp":
        return MLP(4, width, depth, 4, activation, normalization)
    if architecture == "cnn":
        return CNN((2, 3, 3), width, depth, 18, activation, normalization, pooling="none")
    return ResNet((4,), width, depth, 4, (scheme.blocks or ("post",))[0], activation, normalization)


def images(name: str, architecture: str) -> Tensor:
    del name
    return torch.randn(20, *shape_of(architecture), generator=torch.Generator().manual_seed(5))


def filled(name: str, model: nn.Module, architecture: str, seed: int = 0, **arguments: Any) -> nn.Module:
    scheme = SCHEMES[name]
    if scheme.needs_data:
        arguments.setdefault("data", images(name, architecture))
    if scheme.sparse:
        arguments.setdefault("density", 0.5)
    if name == "idinit":
        arguments["order"] = "centre_first"
    return initialize(model, name, generator=torch.Generator().manual_seed(seed), **arguments)


def digest(model: nn.Module) -> str:
    content = hashlib.sha256()
    for key, value in model.state_dict().items():
        content.update(key.encode() + value.double().numpy().tobytes())
    return content.hexdigest()


def bias_of(scheme: Scheme) -> dict[str, Any]:
    return {"bias_mode": "iid", "bias_variance": 0.1} if "iid" in scheme.bias_modes else {}


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_the_generator_determines_every_parameter(name: str, architecture: str) -> None:
    for bias in ({}, bias_of(SCHEMES[name])):
        first, again, other = (
            digest(filled(name, network(name, architecture), architecture, s, **bias)) for s in (0, 0, 1)
        )
        assert first == again
        assert (first == other) == ("deterministic" in SCHEMES[name].invariants and not bias)


def all_digests() -> list[str]:
    return [digest(filled(name, network(name, architecture), architecture)) for name, architecture in CASES]


def test_a_fresh_process_gives_the_same_bits() -> None:
    code = "from test_schemes_contract import all_digests; print(*all_digests())"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == all_digests()


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_no_global_random_state_is_used(name: str, architecture: str) -> None:
    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]  # noqa: NPY002

    before = states()
    filled(name, network(name, architecture), architecture, **bias_of(SCHEMES[name]))
    assert states() == before


@pytest.mark.filterwarnings("ignore:eps_tau")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_parameters_keep_their_identity_type_and_freedom(name: str, architecture: str, dtype: torch.dtype) -> None:
    model = network(name, architecture).to(dtype)
    before = dict(model.named_parameters())
    before[next(iter(before))].requires_grad_(False)
    filled(name, model, architecture)
    after = dict(model.named_parameters())
    assert list(after) == list(before)
    assert all(after[key] is before[key] for key in before)
    assert [p.requires_grad for p in after.values()] == [False] + [True] * (len(after) - 1)
    assert all(p.dtype == dtype and p.isfinite().all() for p in after.values())


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_a_double_network_has_the_weights_of_the_single_one(name: str, architecture: str) -> None:
    single = filled(name, network(name, architecture), architecture)
    double = filled(name, network(name, architecture).double(), architecture)
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_torchs_default_type_changes_no_draw(name: str, architecture: str) -> None:
    model, other = network(name, architecture), network(name, architecture)
    expected = digest(filled(name, model, architecture, **bias_of(SCHEMES[name])))
    arguments: dict[str, Any] = bias_of(SCHEMES[name]) | (
        {"data": images(name, architecture)} if SCHEMES[name].needs_data else {}
    )
    try:
        torch.set_default_dtype(torch.float64)
        filled(name, other, architecture, **arguments)
    finally:
        torch.set_default_dtype(torch.float32)
    assert digest(other) == expected


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_meta_parameters_are_left_alone(name: str, architecture: str) -> None:
    with torch.device("meta"):
        model = network(name, architecture)
    filled(name, model, architecture)
    assert all(p.is_meta for p in model.parameters())


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_normalizations_start_as_the_identity_with_fresh_statistics(name: str, architecture: str) -> None:
    if "batch" in SCHEMES[name].normalizations:
        for norm in read(filled(name, network(name, architecture, normalization="batch"), architecture)).norms:
            assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
            assert (norm.weight == 1).all()
            assert not norm.bias.any()
            assert norm.running_mean is not None
            assert not norm.running_mean.any()


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_initializing_again_leaves_nothing_of_the_first_time(name: str, architecture: str) -> None:
    for normalization in SCHEMES[name].normalizations:
        model = network(name, architecture, normalization=normalization)
        filled("eoi" if (SCHEMES[name].activations or ("relu",)) == ("relu",) else name, model, architecture)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        model(images(name, architecture))
        fresh = network(name, architecture, normalization=normalization)
        assert digest(filled(name, model, architecture)) == digest(filled(name, fresh, architecture))


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_no_two_units_begin_alike(name: str, architecture: str) -> None:
    """They would learn alike: a draw that is broadcast over a layer has the right variance, and one unit many times."""
    if "deterministic" in SCHEMES[name].invariants:
        return
    for key, weight in filled(name, network(name, architecture), architecture).named_parameters():
        for units in (weight.flatten(1), weight.transpose(0, 1).flatten(1)) if weight.dim() > 1 else ():
            there = units[(units != 0).any(1)]
            assert len(torch.unique(there, dim=0)) == len(there), key


@pytest.mark.parametrize(("name", "architecture"), CASES)
def test_weight_scale_multiplies_the_variance_of_every_weight(name: str, architecture: str) -> None:
    plain, scaled = (filled(name, network(name, architecture), architecture, weight_scale=w) for w in (1.0, 4.0))
    for a, b in zip(read(plain).layers, read(scaled).layers, strict=True):
        assert torch.equal(2 * a.weight, b.weight)


@pytest.mark.parametrize(
    ("name", "architecture", "mode"), [(n, a, m) for n, a in CASES for m in SCHEMES[n].bias_modes if m != "zero"]
)
def test_bias_variance_scales_the_same_biases_and_no_weight(name: str, architecture: str, mode: str) -> None:
    zero, one, four = (
        read(filled(name, network(name, architecture), architecture, bias_mode=mode, bias_variance=v))
        for v in (0.0, 1.0, 4.0)
    )
    for a, b, c in zip(zero.layers, one.layers, four.layers, strict=True):
        assert torch.equal(a.weight, b.weight)
        assert torch.equal(b.weight, c.weight)
        if a.bias is not None and b.bias is not None and c.bias is not None:
            assert not a.bias.any()
            assert torch.equal(2 * b.bias, c.bias)
            if mode == "mirrored" and b is not one.head:
                assert torch.equal(b.bias[: WIDTH // 2], -b.bias[WIDTH // 2 :])
    biases = torch.cat([layer.bias for layer in SCHEMES[name].biased(one) if layer.bias is not None])
    assert float(biases.detach().square().mean()) == pytest.approx(1, abs=5 * (4 / len(biases)) ** 0.5)


@pytest.mark.parametrize(("name", "architecture"), having("weight_variance"))
def test_weights_have_the_declared_variance(name: str, architecture: str) -> None:
    variance = SCHEMES[name].variance
    assert variance is not None
    for layer in read(filled(name, network(name, architecture, width=60), architecture)).layers:
        ratios = layer.weight.detach().square() / variance(*fans(layer))
        assert float(ratios.mean()) == pytest.approx(1, abs=5 * (2 / ratios.numel()) ** 0.5)


@pytest.mark.parametrize(("name", "architecture"), having("semi_orthogonal"))
def test_weights_are_semi_orthogonal_times_the_declared_gain(name: str, architecture: str) -> None:
    gain = SCHEMES[name].gain
    assert gain is not None
    for layer in read(filled(name, network(name, architecture).double(), architecture)).layers:
        matrix = layer.weight.detach().flatten(1)
        matrix = matrix[:, matrix.any(0)]  # of a delta kernel, the centre tap
        short = matrix if len(matrix) <= matrix.shape[1] else matrix.mT
        assert float((short @ short.mT - gain**2 * torch.eye(len(short), dtype=short.dtype)).abs().max()) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "architecture"), having("mirror"))
def test_mirrored_weights_are_mirrored_bitwise(name: str, architecture: str, dtype: torch.dtype) -> None:
    wiring = read(filled(name, network(name, architecture).to(dtype), architecture, bias_mode="mirrored"))
    half = WIDTH // 2
    first, *hidden = wiring.stem
    assert torch.equal(first.weight[:half], -first.weight[half:])
    for layer in hidden:
        w = layer.weight
        assert torch.equal(w[:half, :half], w[half:, half:])
        assert torch.equal(w[:half, :half], -w[:half, half:])
        assert torch.equal(w[:half, :half], -w[half:, :half])
    middle = wiring.head.weight.shape[1] // 2
    assert torch.equal(wiring.head.weight[:, :middle], -wiring.head.weight[:, middle:])


@pytest.mark.parametrize("mode", ["zero", "mirrored"])
@pytest.mark.parametrize(("name", "architecture"), having("isometry"))
def test_all_jacobian_singular_values_are_one(name: str, architecture: str, mode: str) -> None:
    width = 4 if architecture == "cnn" else WIDTH
    model = network(name, architecture, width // 2 if SCHEMES[name].activations == ("crelu",) else width, 30).double()
    filled(name, model, architecture, bias_mode=mode, bias_variance=0.3 * (mode != "zero"))
    values = torch.linalg.svdvals(jacobian(model, images(name, architecture)[:3].double()))
    assert float((values - 1).abs().max()) < 1e-9


@pytest.mark.parametrize("density", [0.3, 0.55, 1.0])
@pytest.mark.parametrize(("name", "architecture"), having("density"))
def test_the_density_is_the_nearest_that_rotations_reach(name: str, architecture: str, density: float) -> None:
    assert reaches(name, architecture, density, WIDTH)


@pytest.mark.parametrize(("name", "architecture"), having("density"))
def test_a_record_says_where_an_odd_width_has_more_weights_than_its_density(name: str, architecture: str) -> None:
    assert reaches(name, architecture, 0.55, WIDTH + 1) or "the share at even widths" in SCHEMES[name].given


def reaches(name: str, architecture: str, density: float, width: int) -> bool:
    """Whether all layers are as near to the density as a rotation more or less lets them be."""
    scheme, near = SCHEMES[name], True
    for layer in read(filled(name, network(name, architecture, width), architecture, density=density)).layers:
        mask = layer.get_buffer("mask")
        assert not layer.weight[~mask].any()
        core = layer.weight.shape[:2].numel() / (4 if "mirror" in scheme.invariants else 1)
        steps = mask.numel() if mask.dim() > 2 else max(layer.weight.shape[:2]) / (2 if core != mask.numel() else 1)
        near &= abs(float(mask.double().mean()) - density) <= 1 / (2 * steps) + 1e-12
    return near


@pytest.mark.parametrize(("name", "architecture"), having("density"))
def test_training_respects_the_mask(name: str, architecture: str) -> None:
    model = copy.deepcopy(filled(name, network(name, architecture), architecture))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    before = [layer.weight.clone() for layer in read(model).layers]
    for _ in range(3):
        optimizer.zero_grad()
        (model(images(name, architecture)) - 1).square().mean().backward()
        optimizer.step()
    for layer, old in zip(read(model).layers, before, strict=True):
        mask = layer.get_buffer("mask")
        assert 0 < mask.double().mean() < 1
        assert not layer.weight[~mask].any()
        assert not torch.equal(layer.weight, old)


@pytest.mark.parametrize(("name", "architecture"), having("identity"))
def test_the_residual_stream_reaches_the_head_as_it_left_the_stem(name: str, architecture: str) -> None:
    if architecture != "resnet":
        return
    model = filled(name, network(name, architecture, depth=40).double(), architecture)
    streams = streams_of(model, images(name, architecture).double())
    assert len(streams) == 20
    tolerance = 1e-3 if name == "idinit" else 0.0  # IDIZ is eps = 1e-6 a block, not zero
    assert float((streams[-1] - streams[0]).abs().max()) <= tolerance
    assert streams[0].any()


@pytest.mark.parametrize(("word", "activation"), [("zero biases", "relu"), ("ReLU", "tanh")])
@pytest.mark.parametrize(("name", "architecture"), having("identity"))
def test_a_record_says_with_which_biases_and_activation_the_stream_is_not_kept(
    name: str, architecture: str, word: str, activation: str
) -> None:
    if architecture != "resnet":
        return
    biases = bias_of(SCHEMES[name]) if word == "zero biases" else {}
    for block in SCHEMES[name].blocks or ():
        model = ResNet((4,), WIDTH, 9, 4, block, activation).double()
        streams = streams_of(filled(name, model, architecture, **biases), images(name, architecture).double())
        kept = float((streams[-1] - streams[0]).abs().max()) <= 1e-3
        assert kept or word in SCHEMES[name].given, block


def streams_of(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What leaves the stem and every block."""
    streams: list[Tensor] = []
    for module in read(model).signals:
        module.register_forward_hook(lambda _m, _i, out: streams.append(out.detach()))
    model(x)
    return streams


@pytest.mark.parametrize("invariant", ["unit_variance", "sample_variance"])
@pytest.mark.parametrize(("name", "architecture"), [case for case in CASES if SCHEMES[case[0]].needs_data])
def test_the_batch_has_the_declared_variance_in_every_layer(name: str, architecture: str, invariant: str) -> None:
    if invariant not in SCHEMES[name].invariants:
        return
    model = filled(name, network(name, architecture).double(), architecture)
    outputs: list[Any] = []
    for layer in read(model).layers:
        layer.register_forward_hook(lambda _m, _i, out: outputs.append(out.detach().movedim(1, -1).flatten(0, -2)))
    model(images(name, architecture).double())
    for units in outputs:
        variance = units.var(0, correction=0).mean() if invariant == "sample_variance" else units.var(correction=0)
        assert float(variance) == pytest.approx(1, abs=1e-9)


@pytest.mark.filterwarnings("ignore:density", "ignore:the data do not vary", "ignore:idinit with order")
@pytest.mark.parametrize("name", SCHEMES)
def test_check_and_initialize_agree_on_what_is_possible(name: str) -> None:
    """A spec that passes validation must not fail in a worker, and none is refused that would have worked."""
    options = product(("mlp", "cnn", "resnet"), ("relu", "tanh", "crelu"), ("none", "batch"), SIZES, (1.0, 0.3, 0.05))
    for architecture, activation, normalization, (depth, width), density in options:
        mode = "iid" if activation == "tanh" else "zero"
        network = {"activation": activation, "normalization": normalization, "depth": depth, "width": width}

        def checked() -> None:
            check(name, architecture=architecture, bias_mode=mode, density=density, **network)  # noqa: B023 - run here

        def done() -> None:
            model = build(architecture, (2, 3, 3), out_features=3, scheme=name, **network)  # noqa: B023
            data = torch.randn(20, 2, 3, 3, generator=torch.Generator().manual_seed(5))
            initialize(model, name, bias_mode=mode, density=density, generator=torch.Generator(), data=data)  # noqa: B023

        assert succeeds(checked) == succeeds(done), (architecture, network, density)


def succeeds(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", SCHEMES)
def test_a_record_says_what_it_is(name: str) -> None:
    scheme = SCHEMES[name]
    assert scheme.name == name
    assert get(name) is scheme
    assert "\n" not in scheme.source + scheme.summary + scheme.exact
    assert scheme.source
    assert scheme.summary
    assert scheme.exact


@pytest.mark.parametrize("name", SCHEMES)
def test_an_architecture_the_scheme_is_not_for_is_refused_with_those_that_are(name: str) -> None:
    scheme = SCHEMES[name]
    for architecture in ("mlp", "cnn", "resnet"):
        arguments: dict[str, Any] = {"activation": scheme.activations[0]} if scheme.activations else {}
        if architecture in scheme.architectures:
            check(name, architecture=architecture, depth=6, width=WIDTH, **arguments)
        else:
            with pytest.raises(ValueError, match=f"applies to {scheme.architectures[0]}.* apply he_normal|xavier"):
                check(name, architecture=architecture, depth=6, width=WIDTH, **arguments)
            model = CNN((2, 3, 3), 4, 3, 2) if architecture == "cnn" else MLP(4, 4, 3, 2)
            model = ResNet((4,), 4, 4, 2) if architecture == "resnet" else model
            before = digest(model)
            with pytest.raises(ValueError, match="applies to"):
                filled(name, model, architecture)
            assert digest(model) == before
