"""Padding is inert and pays, and what is stacked is what costs least."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from isoinit import schemes
from isoinit.layers import set_mask
from isoinit.networks import MLP
from sweeps import kernel, widths
from sweeps.mlps import linears
from sweeps.spec import Training
from sweeps.stack import Batches, KernelStack, Start
from sweeps.widths import Costs, Sized

STEPS, BATCH = 20, 16
RULES = [
    Training(weight_decay=0.02),
    Training(momentum=0.9, nesterov=True, weight_decay=0.02),
    Training(optimizer="adam", weight_decay=0.02),
]


def start(width: int, activation: str, depth: int = 4, sparse: bool = False, rate: float = 0.02) -> Start:
    generator = torch.Generator().manual_seed(width)
    model = MLP(20, width, depth, 5, activation)
    schemes.initialize(model, "xavier_normal", bias_variance=0.1, bias_mode="iid", generator=generator)
    for layer in linears(model) if sparse else []:
        set_mask(layer, torch.rand(layer.weight.shape, generator=generator) < 0.6)
    return Start(model, rate, 0)


def batches() -> dict[int, Batches]:
    source = torch.Generator().manual_seed(9)
    x = torch.randn(STEPS, BATCH, 20, generator=source)
    return {0: Batches(x, torch.randint(5, (STEPS, BATCH), generator=source))}


def stored(fans: np.ndarray) -> list[int]:
    """Where the numbers of weights and biases are; what is between them up to the next cache line is never read."""
    found, at = [], 0
    for size in itertools.chain.from_iterable((i * o, o) for i, o in fans[:2].T.tolist()):
        found += range(at, at + size)
        at += -(-size // kernel.LINE) * kernel.LINE
    return found


@pytest.mark.parametrize("activation", kernel.ACTIVATIONS)
@pytest.mark.parametrize("training", RULES, ids=["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_what_pads_a_network_stays_zero(activation: str, training: Training, sparse: bool) -> None:
    width, depth = 21, 4
    rate = 0.002 if training.optimizer == "adam" else 0.02
    pack = KernelStack([0], [start(width, activation, depth, sparse, rate)], training)
    loss, _ = pack.advance(batches(), [1.0] * STEPS, 0)
    (member,) = pack._members
    assert np.isfinite(loss).all()
    assert member.at.fans[1].tolist() == [24, 24, 24, 5]
    flat = torch.from_numpy(member.vectors[0].copy())
    for weight, bias in member.at.views(flat):
        assert weight.any()
        assert bias.any()
        weight.zero_()
        bias.zero_()
    assert not flat[stored(member.at.fans)].any()


@pytest.mark.parametrize("activation", kernel.ACTIVATIONS)
def test_a_network_of_any_width_is_bitwise_the_same_alone_and_among_others(activation: str) -> None:
    given = [start(width, activation, depth) for width, depth in [(60, 3), (3, 5), (17, 2), (31, 4), (121, 3), (16, 4)]]
    together = KernelStack(range(len(given)), given, Training())
    found, _ = together.advance(batches(), [1.0] * STEPS, 0)
    for one, mine in zip(given, found, strict=True):
        alone, _ = KernelStack([0], [one], Training()).advance(batches(), [1.0] * STEPS, 0)
        np.testing.assert_array_equal(mine, alone[0])


def test_narrow_networks_are_padded_to_what_registers_hold_and_wide_ones_to_what_a_blas_likes(monkeypatch) -> None:
    expected = {
        240: [240, 256, 256, 280, 304, 304, 512],
        768: [240, 264, 264, 280, 304, 304, 520],  # and all off what crowds the same sets of a cache
    }
    for narrow, padded in expected.items():
        monkeypatch.setattr(kernel, "NARROW", narrow)
        widths.stored.cache_clear()
        assert [widths.stored(w) for w in (1, 8, 10, 16, 17, 31, 60, 64, 97)] == [8, 8, 16, 16, 24, 32, 64, 64, 104]
        assert [widths.stored(w) for w in (239, 255, 256, 280, 300, 301, 512)] == padded
        for width in range(1, 1000):
            assert width <= widths.stored(width) < width + 16
            assert widths.stored(widths.stored(width)) == widths.stored(width)
    widths.stored.cache_clear()


def test_a_network_comes_back_as_it_was_by_however_much_it_was_padded(monkeypatch) -> None:
    monkeypatch.setattr(widths, "stored", lambda width: width + kernel.LINE)
    given, back = start(20, "crelu"), MLP(20, 20, 4, 5, "crelu")
    KernelStack([0], [given], Training()).write(0, back)
    for mine, theirs in zip(back.parameters(), given.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def everything(networks: list[Sized]) -> list[list[int]]:
    """By trial of every way to part the widths between neighbours."""
    wide = sorted({n.width for n in networks})
    best = (math.inf, [])
    for cuts in itertools.product([False, True], repeat=len(wide) - 1):
        number = dict(zip(wide, itertools.accumulate(cuts, initial=0), strict=True))
        parts = [[i for i, n in enumerate(networks) if number[n.width] == k] for k in range(max(number.values()) + 1)]
        best = min(best, (sum(cost(networks, part) for part in parts), parts))
    return best[1]


COSTS, SIDES = Costs(4e-6, 1e-12), 74


def cost(networks: list[Sized], part: list[int]) -> float:
    """Of a step: operations, and three products of every weight of the widest."""
    members = [networks[i] for i in part]
    width = max(n.width for n in members)
    weights = sum(width * SIDES + (n.depth - 2) * width * width for n in members)
    return (30 + 7 * max(n.depth for n in members)) * COSTS.launch + 3 * 64 * weights * COSTS.product


def test_no_other_way_to_stack_networks_costs_less() -> None:
    random = np.random.default_rng(0)
    sizes = set()
    for _ in range(60):
        count = int(random.integers(1, 40))
        chosen = random.choice([8, 16, 24, 64, 90, 128, 400], count), random.choice([2, 5, 30, 200], count)
        networks = [Sized(int(width), int(depth)) for width, depth in zip(*chosen, strict=True)]
        found = widths.stacked(networks, SIDES, 64, COSTS)
        assert sorted(itertools.chain(*found)) == list(range(count))
        assert found == everything(networks)
        sizes.add((len(found), len({n.width for n in networks})))
    assert {parts == of for parts, of in sizes} == {True, False}
    assert {parts == 1 for parts, _ in sizes} == {True, False}


def test_what_launches_cost_and_what_products_cost_is_measured() -> None:
    found = widths.costs(torch.device("cpu"))
    assert 1e-8 < found.launch < 1e-3
    assert 1e-13 < found.product < 1e-8
    assert found == widths.costs(torch.device("cpu"))
