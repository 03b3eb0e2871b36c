"""Stacked products of MLPs of mixed depths are the compiled kernel's mathematics, member by member."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from isoinit import schemes
from isoinit.activations import DERIVATIVES
from isoinit.layers import set_mask
from isoinit.networks import MLP
from sweeps import data, stack, train, widths
from sweeps.mlps import linears
from sweeps.ragged import RaggedStack
from sweeps.spec import Point, Training
from sweeps.stack import Batches, KernelStack, ModuleStack, Start
from sweeps.widths import Costs

CPU = torch.device("cpu")
DEPTHS = (3, 7, 2, 7, 4)
GROUPING, PADDING = Costs(launch=0.0, product=1.0), Costs(launch=1.0, product=0.0)
RULES = [
    Training(),
    Training(momentum=0.9, weight_decay=0.02),
    Training(momentum=0.9, nesterov=True),
    Training(optimizer="adam", weight_decay=0.02),
]


def mlp(seed=0, depth=4, activation="relu", width=12) -> MLP:
    model = MLP(20, width, depth, 5, activation)
    generator = torch.Generator().manual_seed(seed)
    return schemes.initialize(model, "xavier_normal", bias_variance=0.1, bias_mode="iid", generator=generator)


def batches(steps=30) -> dict[int, Batches]:
    source = torch.Generator().manual_seed(9)
    return {
        seed: Batches(torch.randn(steps, 16, 20, generator=source), torch.randint(5, (steps, 16), generator=source))
        for seed in (0, 1)
    }


def starts(activation="relu", rate=0.05, wide=(12,) * 5) -> list[Start]:
    sizes = zip(DEPTHS, wide, strict=True)
    return [Start(mlp(i, depth, activation, width), rate * (1 + i), i % 2) for i, (depth, width) in enumerate(sizes)]


def by_place(one: stack.Stack, values: np.ndarray) -> dict[int, list[float]]:
    return {place: row.tolist() for place, row in zip(one.places, values, strict=True)}


def assert_alike(one: stack.Stack, found, other: stack.Stack, expected, atol=2e-6) -> None:
    assert sorted(one.places) == sorted(other.places)
    for mine, theirs in zip(found, expected, strict=True):
        mine, theirs = by_place(one, mine), by_place(other, theirs)
        for place, values in theirs.items():
            np.testing.assert_allclose(mine[place], values, rtol=0, atol=atol)


@pytest.mark.parametrize("activation", DERIVATIVES)
@pytest.mark.parametrize("training", RULES, ids=["sgd", "momentum", "nesterov", "adam"])
def test_members_of_mixed_depths_train_as_in_the_kernel(activation, training):
    given = starts(activation, 0.002 if training.optimizer == "adam" else 0.02)
    ragged = RaggedStack(range(5), given, training, CPU)
    compiled = KernelStack(range(5), given, training)
    factors = [1.0] * 15 + [0.3] * 15
    found, expected = (one.advance(batches(), factors, 0) for one in (ragged, compiled))
    assert_alike(ragged, found, compiled, expected)
    row = ragged.places.index(1)
    written, reference = ragged.write(row, mlp(5, 7, activation)), compiled.write(1, mlp(5, 7, activation))
    for mine, theirs in zip(written.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", DERIVATIVES)
@pytest.mark.parametrize("training", RULES, ids=["sgd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_members_of_mixed_widths_train_as_in_the_kernel(activation, training, sparse):
    """Dropped on the way, and written back: the first row is not of the widest. A unit of selu that crosses its kink
    by rounding alone moves losses by a hundred times as much as is tolerated, which it does at greater rates."""
    wide = (9, 12, 5, 12, 3)
    given = starts(activation, 0.002 if training.optimizer == "adam" or activation == "selu" else 0.02, wide)
    for i, start in enumerate(given if sparse else []):
        for layer in linears(start.model):
            set_mask(layer, torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(i)) < 0.6)
    ragged, compiled = RaggedStack(range(5), given, training, CPU), KernelStack(range(5), given, training)
    first, rest = ({s: Batches(b.x[cut], b.y[cut]) for s, b in batches().items()} for cut in (slice(10), slice(10, 30)))
    assert_alike(ragged, ragged.advance(first, [1.0] * 10, 0)[:1], compiled, compiled.advance(first, [1.0] * 10, 0)[:1])
    ragged.keep([row for row, place in enumerate(ragged.places) if place != 1])
    compiled.keep([0, 2, 3, 4])
    assert_alike(ragged, ragged.advance(rest, [1.0] * 20, 10), compiled, compiled.advance(rest, [1.0] * 20, 10))
    for row, place in enumerate(ragged.places):
        into = [mlp(5, DEPTHS[place], activation, wide[place]) for _ in range(2)]
        written = ragged.write(row, into[0]), compiled.write(compiled.places.index(place), into[1])
        for mine, theirs in zip(*(model.parameters() for model in written), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "crelu", "sigmoid"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_widest_member_may_have_no_hidden_layer(activation, sparse):
    given = starts(activation, 0.02, (9, 7, 12, 5, 3))
    for i, start in enumerate(given if sparse else []):
        for layer in linears(start.model):
            set_mask(layer, torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(i)) < 0.6)
    training = Training(momentum=0.9)
    ragged, compiled = RaggedStack(range(5), given, training, CPU), KernelStack(range(5), given, training)
    found, expected = (one.advance(batches(), [1.0] * 30, 0) for one in (ragged, compiled))
    assert_alike(ragged, found, compiled, expected)


@pytest.mark.parametrize("kept", [(0, 2, 3), (1, 4), (4,), ()])
def test_kept_members_go_on_as_if_nothing_had_happened(kept):
    training = Training(momentum=0.5)
    first, rest = ({s: Batches(b.x[cut], b.y[cut]) for s, b in batches().items()} for cut in (slice(10), slice(10, 30)))
    dropped = RaggedStack(range(5), starts(), training, CPU)
    whole = KernelStack(range(5), starts(), training)
    for one in (dropped, whole):
        one.advance(first, [1.0] * 10, 0)
    expected, _ = whole.advance(rest, [1.0] * 20, 10)
    places = [dropped.places[row] for row in kept]
    dropped.keep(kept)
    assert dropped.places == places
    if kept:
        found, _ = dropped.advance(rest, [1.0] * 20, 10)
        np.testing.assert_allclose(found, expected[places], rtol=0, atol=2e-6)
        for row, place in enumerate(places):
            model = dropped.write(row, mlp(5, DEPTHS[place]))
            reference = whole.write(place, mlp(5, DEPTHS[place]))
            for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


def test_masked_weights_stay_zero():
    training = Training(momentum=0.9, weight_decay=0.1)
    given = starts()
    for i, start in enumerate(given):
        for layer in linears(start.model):
            set_mask(layer, torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(i)) < 0.3)
    ragged, compiled = RaggedStack(range(5), given, training, CPU), KernelStack(range(5), given, training)
    found, expected = (one.advance(batches(), [1.0] * 30, 0) for one in (ragged, compiled))
    assert_alike(ragged, found, compiled, expected)
    for layer in linears(ragged.write(0, mlp(9, 7))):
        assert 0.6 < torch.eq(layer.weight, 0).float().mean() < 0.8


def test_what_a_network_answers_is_told_by_logits_however_small_they_are():
    given = starts(rate=1e-12)
    with torch.no_grad():
        for start in given:
            head = linears(start.model)[-1]
            head.weight.mul_(1e-9)
            head.bias.zero_()
    ragged, compiled = RaggedStack(range(5), given, Training(), CPU), KernelStack(range(5), given, Training())
    found, expected = (one.advance(batches(), [1.0] * 30, 0) for one in (ragged, compiled))
    assert_alike(ragged, found, compiled, expected)


@pytest.mark.parametrize("activation", DERIVATIVES)
def test_not_a_number_stays_with_its_member(activation):
    given = starts(activation)
    with torch.no_grad():
        linears(given[1].model)[2].weight[3, 4] = torch.nan
    ragged = RaggedStack(range(5), given, Training(), CPU)
    loss, _ = ragged.advance(batches(), [1.0] * 30, 0)
    row = ragged.places.index(1)
    assert np.isnan(loss[row]).all()
    assert np.isfinite(np.delete(loss, row, 0)).all()


@pytest.mark.parametrize("costs", [GROUPING, PADDING], ids=["grouped", "padded"])
def test_a_device_gets_a_stack_per_activation_and_per_width_if_that_costs_less(monkeypatch, costs):
    original = stack._group
    monkeypatch.setattr(stack, "_group", lambda model, _: original(model, torch.device("cuda")))
    monkeypatch.setattr(widths, "costs", lambda _: costs)
    models = [mlp(), mlp(depth=7), MLP(20, 12, 3, 5, "relu", "batch"), MLP(20, 8, 3, 5), mlp(activation="tanh")]
    models.append(mlp(activation="gelu"))  # whose features do not tell its slopes
    found = stack.build([Start(model, 0.1, 0) for model in models], Training(), CPU)
    expected = [[3], [1, 0]] if costs is GROUPING else [[1, 0, 3]]
    assert [one.places for one in found] == [*expected, [2], [4], [5]]
    assert [type(one) for one in found] == [RaggedStack] * len(expected) + [ModuleStack, RaggedStack, ModuleStack]


@pytest.mark.parametrize("costs", [GROUPING, PADDING], ids=["grouped", "padded"])
def test_a_whole_pack_trains_the_same_in_stacked_products(monkeypatch, costs):
    point = Point("he_normal", "mlp", "relu", "none", 4, 16, 1.0, "iid", 0.01, 1.0)
    points = [point, point._replace(depth=9), point._replace(scheme="orthogonal", width=7), point._replace(depth=2)]
    members = [train.Member(p, seed, rate) for p in points for seed in (0, 1) for rate in (0.05, 1e6)]
    training = Training(steps=40, log_every=10, batch_size=32)
    digits = data.load("digits")
    expected = train.train(members, digits, training)
    original = stack._group
    monkeypatch.setattr(stack, "_group", lambda model, _: original(model, torch.device("cuda")))
    monkeypatch.setattr(widths, "costs", lambda _: costs)
    for mine, theirs in zip(train.train(members, digits, training), expected, strict=True):
        np.testing.assert_allclose(mine.curve_loss, theirs.curve_loss, rtol=1e-5, atol=5e-6)
        assert mine.curve_step == theirs.curve_step
        assert (mine.test_accuracy is None) == (theirs.test_accuracy is None)
        assert replace(mine, probes={}).flops == theirs.flops
