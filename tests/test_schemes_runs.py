"""Layers alike are filled at once: held to what a scheme would do layer by layer."""

import math

import pytest
import torch
from torch import nn

from isoinit import MLP, initialize
from isoinit.schemes import rotations as walks
from isoinit.schemes.base import Draw, haar_from_normal
from isoinit.schemes.places import places
from isoinit.schemes.reading import read
from isoinit.schemes.rotations import rotations
from isoinit.schemes.wiring import runs


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_runs_are_the_layers_in_their_order_by_shape_and_groups() -> None:
    sizes = [(4, 6), (6, 6), (6, 6), (6, 4), (4, 4)]
    layers = [nn.Linear(i, o) for i, o in sizes]
    grouped = [nn.Conv1d(4, 4, 1), nn.Conv1d(8, 4, 1, groups=2), nn.Conv1d(4, 4, 1)]
    assert [(len(run.layers), tuple(run.shape)) for run in runs(layers)] == [
        (1, (6, 4)), (2, (6, 6)), (1, (4, 6)), (1, (4, 4))
    ]  # fmt: skip
    assert [(len(run.layers), run.groups) for run in runs(grouped)] == [(1, 1), (1, 2), (1, 1)]
    assert [layer for run in runs(layers) for layer in run.layers] == layers
    for cut in (
        lambda run: run.parts(1),
        lambda run: run.parts(72),
        lambda run: run.parts(999),
    ):
        assert [layer for run in runs(layers) for part in cut(run) for layer in part.layers] == layers
    assert [len(part.layers) for part in runs([nn.Linear(6, 6)] * 5)[0].parts(75)] == [2, 2, 1]


def test_a_network_is_drawn_as_its_layers_one_after_another() -> None:
    model = initialize(MLP(6, 6, 5, 3), "he_normal", bias_variance=0.3, bias_mode="iid", generator=generator())
    source = generator()
    sizes = [layer.weight.numel() for layer in read(model).layers]
    draws = torch.randn(sum(sizes), generator=source).split(sizes)
    for layer, draw in zip(read(model).layers, draws, strict=True):
        assert torch.equal(layer.weight, draw.view(layer.weight.shape) * math.sqrt(2 / layer.weight.shape[1]))
    sizes = [layer.weight.shape[0] for layer in read(model).layers]
    for layer, draw in zip(read(model).layers, torch.randn(sum(sizes), generator=source).split(sizes), strict=True):
        assert layer.bias is not None
        assert torch.equal(layer.bias, draw * math.sqrt(0.3))


def test_haar_matrices_of_a_run_are_those_of_single_draws() -> None:
    model = initialize(MLP(6, 8, 6, 3), "orthogonal", generator=generator())
    sizes = [layer.weight.numel() for layer in read(model).layers]
    draws = torch.randn(sum(sizes), generator=generator()).split(sizes)
    for layer, draw in zip(read(model).layers, draws, strict=True):
        alone = haar_from_normal(draw.view(layer.weight.shape)) * math.sqrt(2)
        torch.testing.assert_close(layer.weight.detach(), alone, rtol=0, atol=1e-6)


def test_a_chain_of_one_size_is_raw_at_its_ends_only() -> None:
    """Where input and output are as wide as the layers, all weights have one shape, but not one form."""
    where = places(read(MLP(6, 6, 5, 6)).runs)
    assert [(len(p.run.layers), p.into.blocks, p.out.blocks) for p in where] == [(1, 0, 1), (3, 1, 1), (1, 1, 0)]
    assert [len(p.run.layers) for p in places(read(MLP(6, 6, 2, 6)).runs)] == [1, 1]


@pytest.mark.parametrize("shape", [(16, 16), (10, 16), (64, 16), (16, 64), (5, 7)])
@pytest.mark.parametrize("density", [0.15, 0.3, 0.9])
def test_a_few_matrices_take_the_walk_that_many_take(
    shape: tuple[int, int], density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for few in (0, 10):
        monkeypatch.setattr(walks, "_FEW", few)
        source = generator()
        found.append((rotations(3, *shape, density, Draw(source)), torch.rand(3, generator=source)))
    (one, after), (other, later) = found
    assert torch.equal(one, other)
    assert torch.equal(after, later)


@pytest.mark.parametrize("shape", [(16, 16), (10, 16), (64, 16), (16, 64), (8, 70)])
@pytest.mark.parametrize("density", [0.15, 0.3, 0.9])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_compiled_code_takes_the_same_walk_bit_by_bit(
    shape: tuple[int, int], density: float, count: int, dtype: torch.dtype
) -> None:
    found = []
    for compiled in (False, True):
        source = generator()
        walked = rotations(count, *shape, density, Draw(source, dtype, compiled))
        found.append((walked.contiguous().numpy().tobytes(), torch.rand(3, generator=source).tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["eoi", "ll_eoi"])
def test_a_sparse_network_is_the_same_by_compiled_code(name: str) -> None:
    made = [
        initialize(MLP(6, 10, 9, 3), name, density=0.4, compiled=compiled, generator=generator())
        for compiled in (False, True)
    ]
    states = [model.state_dict() for model in made]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


class Hooked(MLP):
    """The same network, of which it cannot be known what its forward does."""


@pytest.mark.parametrize("name", ["lsuv", "sample_variance", "sample_variance_scale"])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "crelu"])
@pytest.mark.parametrize("depth", [2, 6])
def test_a_chain_is_calibrated_as_by_hooks(name: str, activation: str, depth: int, compiled: bool) -> None:
    data = torch.randn(32, 2, 3, generator=generator(1))
    plain, hooked = (
        initialize(kind(6, 10, depth, 3, activation), name, data=data, compiled=compiled, generator=generator())
        for kind in (MLP, Hooked)
    )
    assert (read(plain).chain, read(hooked).chain) == (True, False)
    for mine, theirs in zip(plain.parameters(), hooked.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [2, 4])
def test_weights_laid_out_otherwise_are_calibrated(depth: int) -> None:
    """Compiled code divides the memory that it is given, which is not theirs."""
    data = torch.randn(32, 6, generator=generator(1))
    made = [MLP(6, 10, depth, 3) for _ in range(2)]
    for layer in read(made[1]).layers:
        layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
        assert not layer.weight.is_contiguous()
    for model in made:
        initialize(model, "sample_variance", data=data, compiled=True, generator=generator())
    for mine, theirs in zip(*(model.parameters() for model in made), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
        assert mine.any()


def test_hooks_hear_of_a_calibration() -> None:
    watched, seen = MLP(6, 10, 6, 3), []
    watched.layers[1].register_forward_hook(lambda *_: seen.append(1))
    data = torch.randn(32, 6, generator=generator(1))
    initialize(watched, "lsuv", data=data, compiled=True, generator=generator())
    assert seen == [1]


def test_wide_layers_are_calibrated_by_torch() -> None:
    data = torch.randn(64, 6, generator=generator(1))
    made = [initialize(MLP(6, 200, 3, 3), "lsuv", data=data, compiled=c, generator=generator()) for c in (False, True)]
    assert all(torch.equal(a, b) for a, b in zip(made[0].parameters(), made[1].parameters(), strict=True))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_dead_chain_is_left_as_it_is_with_a_warning(compiled: bool) -> None:
    with pytest.warns(UserWarning, match="the data do not vary at the output of Linear") as caught:
        model = initialize(MLP(6, 10, 4, 3), "lsuv", data=torch.zeros(8, 6), compiled=compiled, generator=generator())
    assert len(caught) == 4
    for layer in read(model).layers:
        singular = torch.linalg.svdvals(layer.weight.detach())
        torch.testing.assert_close(singular, torch.ones_like(singular))
