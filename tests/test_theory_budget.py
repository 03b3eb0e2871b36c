"""Depth limits within a budget of steps: limits and slopes in closed form, and small networks that are trained."""

from __future__ import annotations

from math import inf, log
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from isoinit import MLP, initialize
from isoinit.theory.many import foresee
from isoinit.theory.predict import Threshold, Tolerance, depth_limit, predict, predicted_outcome, setting_of
from isoinit.theory.prepare import prepared
from isoinit.theory.profile import profile
from isoinit.theory.setting import Setting, greatest_depth
from isoinit.theory.sharpening import lead


def test_without_steps_it_is_a_budget_of_some_250() -> None:
    """That is how many `Tolerance.alignment` is of, by the rule that knows them."""
    steps = lead(10, 0.8) / 1e-2
    assert 240 < steps < 250
    for scheme in ("he_normal", "orthogonal", "ll_gauss"):
        low, high = (depth_limit(scheme, width=64, steps=n) for n in (int(steps), int(steps) + 1))
        assert low <= depth_limit(scheme, width=64) <= high
        assert high - low < 0.1


def test_of_wide_nets_a_limit_grows_with_the_root_of_the_steps() -> None:
    """1 - cosine of two inputs falls with the square of the depth, but for a log (Hayou et al. 2019, of rectifiers)."""
    limits = [depth_limit("he_normal", width=10**7, steps=steps) for steps in (100, 1000, 10**4)]
    slopes = np.diff(np.log(limits)) / log(10)
    assert slopes == pytest.approx([0.5, 0.5], abs=0.06)
    assert abs(slopes[1] - 0.5) < abs(slopes[0] - 0.5)


def test_of_narrow_looks_linear_nets_it_grows_with_the_log_of_the_steps() -> None:
    """Their angles close by about the same factor in every layer; of wide plain nets the second step would be twice the
    first."""
    limits = [depth_limit("ll_gauss", width=16, steps=steps) for steps in (300, 1200, 4800)]
    first, second = np.diff(limits)
    assert first > 2
    assert first < second < 1.2 * first


def test_where_a_signal_vanishes_a_limit_grows_with_the_log_of_the_steps() -> None:
    """Twice of it, over what a layer takes off the log of the square; nets that explode have no more time."""
    limits = [depth_limit("xavier_normal", width=10**6, steps=steps) for steps in (10**3, 10**5)]
    assert limits[1] - limits[0] == pytest.approx(2 * log(100) / log(2), abs=0.6)
    assert predict("xavier_normal", depth=2, width=10**6, steps=10**3).binding == "signal"
    assert predicted_outcome("xavier_normal", depth=int(limits[0]) + 1, width=10**6, steps=10**3) == "vanished"
    assert predicted_outcome("xavier_normal", depth=int(limits[0]), width=10**6, steps=10**3) == "trained"
    growing = {"scheme": "he_normal", "width": 64, "sigma_w2": 4.0}
    few, many = (depth_limit(**growing, steps=steps) for steps in (10**3, 10**5))  # pyright: ignore[reportArgumentType]
    assert few == many == depth_limit(**growing)  # pyright: ignore[reportArgumentType]
    surely = Tolerance(told=Threshold(0, "of this test: by chance"), signal=Threshold(3, "of this test"))
    assert depth_limit("xavier_normal", width=10**6, steps=10**3, tolerance=surely) > 100


def test_of_nets_whose_norms_do_not_spread_it_is_so_to_the_layer() -> None:
    """Half of the square is lost in every layer of these, by every seed."""
    point = {"scheme": "ll_orth", "width": 64, "sigma_w2": 1.0}
    limits = [depth_limit(**point, steps=steps) for steps in (10**3, 10**5)]  # pyright: ignore[reportArgumentType]
    assert limits[1] - limits[0] == pytest.approx(2 * log(100) / log(2), abs=1e-6)
    below, above = (
        predicted_outcome(**point, depth=int(limits[1]) + more, steps=10**5)  # pyright: ignore[reportArgumentType]
        for more in (0, 1)
    )
    assert (below, above) == ("trained", "vanished")


def test_a_chain_of_small_weights_takes_the_inverse_of_its_size_in_steps_to_grow() -> None:
    """At the greatest stable rate of one that keeps norms; in layers without end the slope is a half."""
    layers, sizes = 40, np.array([4.0, 8.0, 12.0, 16.0])  # minus the log of the output's square
    steps = []
    for size in sizes:
        weights, count = np.full(layers, np.exp(-size / 2 / layers)), 0
        while (output := weights.prod()) < 0.5:
            weights += (1 - output) * output / weights / layers
            count += 1
        steps.append(count)
    slopes = np.diff(np.log(steps)) / np.diff(sizes)
    assert slopes == pytest.approx(0.5 * (1 - 2 / layers), abs=0.05)
    assert steps == pytest.approx(np.exp(sizes / 2), rel=0.5)


def test_who_asks_for_more_to_be_told_needs_more_steps() -> None:
    for share, inputs in ((0.95, 10), (0.8, 40)):
        asked = Tolerance(told=Threshold(share, "of this test"), inputs=Threshold(inputs, "of this test"))
        assert depth_limit("orthogonal", width=64, steps=300, tolerance=asked) < depth_limit(
            "orthogonal", width=64, steps=300
        )


def test_classes_have_the_same_budget_unless_that_is_off() -> None:
    point = {"width": 64, "sigma_b2": 0.1, "bias_mode": "iid"}
    limits = [depth_limit("ll_gauss", **point, steps=steps) for steps in (100, 1000)]
    assert limits[1] > 1.5 * limits[0]
    assert predict("ll_gauss", depth=2, **point, steps=1000).binding == "classes"
    off = Tolerance(classes=Threshold(0, "of this test"))
    assert predict("ll_gauss", depth=2, **point, steps=1000, tolerance=off).binding != "classes"


def test_outcomes_and_what_is_foreseen_are_of_the_budget_too() -> None:
    point = {"width": 32, "sigma_b2": 0.05, "bias_mode": "iid"}
    for steps in (30, 300, 3000):
        limit = depth_limit("ll_gauss", **point, steps=steps)
        depths = [max(2, int(limit)), int(limit) + 1]
        alone = [predicted_outcome("ll_gauss", depth=depth, **point, steps=steps) for depth in depths]
        assert alone == ["trained", "stalled"]
        many = {**point, "sigma_b2": 0.05 + steps * 1e-9}  # not known yet
        foresee([{"scheme": "ll_gauss", "depth": 2, "steps": steps, **many}], limits=True)
        assert depth_limit("ll_gauss", **many, steps=steps) == pytest.approx(limit, rel=1e-3)


def test_nets_are_foreseen_as_far_as_the_budget_lets_them_go() -> None:
    """Or else each is walked on alone, in many times the time."""
    point = {"width": 32, "sigma_b2": 0.0503, "bias_mode": "iid"}
    known = []
    for steps in (30, 3000):
        setting, _, _ = prepared("ll_gauss", depth=2, **point, steps=steps)
        assert isinstance(setting, Setting)
        nets = setting.nets()
        assert nets is not None
        foresee([{"scheme": "ll_gauss", "depth": 2, "steps": steps, **point}], limits=True)
        known.append(nets.known())
        assert known[-1] >= depth_limit("ll_gauss", **point, steps=steps) - 1
    assert known[0] < known[1], "no farther than it takes"


def test_smooth_networks_have_a_budget_too_and_it_is_in_their_setting() -> None:
    point = {"width": 64, "activation": "tanh", "sigma_b2": 0.1, "bias_mode": "iid"}
    limits = [depth_limit("orthogonal", **point, steps=steps) for steps in (10, 100)]
    assert limits[1] > 1.5 * limits[0]
    for told in (predict("orthogonal", depth=9, **point, steps=70), predict("ll_orth", depth=9, width=16, steps=70)):
        assert setting_of(told).steps == 70
        assert greatest_depth(setting_of(told)) == (told.depth_limit, told.binding)
    assert profile("he_normal", depth=30, width=64, steps=70).prediction == predict(
        "he_normal", depth=30, width=64, steps=70
    )


def test_a_budget_is_in_the_prediction_and_its_notes() -> None:
    told, other = predict("he_normal", depth=9, width=32, steps=50), predict("he_normal", depth=9, width=32)
    assert (told.steps, other.steps) == (50, None)
    assert any(note.startswith("the steps:") for note in told.notes)
    assert not any(note.startswith("the steps:") for note in other.notes)
    assert predict("he_normal", depth=9, width=32, steps=1).depth_limit == 1.0


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        ({"activation": "tanh"}, True),
        ({"activation": "elu"}, True),
        ({"activation": "selu", "sigma_w2": 0.3235}, True),
        ({"activation": "tanh", "sigma_w2": 0.9}, False),  # by an exponential
        ({"activation": "tanh", "sigma_w2": 1.1}, False),  # not at all
        ({"activation": "tanh", "sigma_b2": 0.01, "bias_mode": "iid"}, False),
        ({"activation": "tanh", "normalization": "batch"}, False),
        ({"activation": "gelu", "sigma_w2": 4.0}, False),  # grows
        ({"activation": "sigmoid", "sigma_w2": 16.0}, False),  # has a mean
        ({"activation": "relu"}, False),
    ],
)
def test_that_the_steps_of_a_signal_lost_by_a_power_are_not_known_is_noted(options: dict[str, Any], lost: bool) -> None:
    notes = predict("lecun_normal", depth=9, width=32, steps=300, **options).notes
    assert any("lost by a power" in note for note in notes) == lost
    assert not any("lost by a power" in note for note in predict("lecun_normal", depth=9, width=32, **options).notes)


@pytest.mark.parametrize("steps", [0, -5, 2.5, inf, True, "90"])
def test_steps_that_are_none_are_refused(steps: object) -> None:
    with pytest.raises(ValueError, match="steps must be a whole number from 1 to 1000000000, or None, but got"):
        predict("he_normal", depth=9, width=32, steps=steps)  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "steps"),
    [("he_normal", 100), ("he_normal", 1000), ("orthogonal", 1000), ("xavier_normal", 200), ("xavier_normal", 1000)],
)
def test_networks_train_to_about_that_depth_on_digits(scheme: str, steps: int) -> None:
    """At the best of five learning rates: at two thirds of the limit they do, at 1.6 times it they do not."""
    limit = depth_limit(scheme, width=24, steps=steps)
    assert _trains(scheme, round(limit / 1.5), steps)
    assert not _trains(scheme, round(1.6 * limit), steps)


def _trains(scheme: str, depth: int, steps: int) -> bool:
    """Whether two of three networks come to tell 4 of 5 digits, each at its best rate."""
    rates = (0.3, 0.1, 0.03, 0.01, 0.003)
    told = (any(_told(scheme, depth, steps, rate, seed) for rate in rates) for seed in range(3))
    first, second = next(told), next(told)
    return first if first == second else next(told)


def _told(scheme: str, depth: int, steps: int, rate: float, seed: int) -> bool:
    images, labels = load_digits(return_X_y=True)
    spread = images.std(axis=0)
    x = torch.tensor((images - images.mean(axis=0)) / np.where(spread > 0, spread, 1), dtype=torch.float32)
    y = torch.tensor(labels)
    draw = torch.Generator().manual_seed(seed)
    model = MLP(64, width=24, depth=depth, out_features=10)
    initialize(model, scheme, generator=draw)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    right: list[float] = []
    for _ in range(steps):
        rows = torch.randint(len(y), (64,), generator=draw)
        output = model(x[rows])
        right.append((output.argmax(1) == y[rows]).float().mean().item())
        if len(right) >= 10 and sum(right[-10:]) >= 8:
            return True
        optimizer.zero_grad()
        nn.functional.cross_entropy(output, y[rows]).backward()
        optimizer.step()
    return False
