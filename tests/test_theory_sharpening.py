"""How much sharper a looks-linear or linear net becomes while it learns: known limits, chains of layers, and networks
that are trained on real digits."""

from __future__ import annotations

from itertools import islice
from math import exp, log, pi, sqrt
from statistics import NormalDist, fmean
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from isoinit import MLP, initialize, sharpness
from isoinit.theory.gaussian import Array
from isoinit.theory.predict import Threshold, Tolerance, depth_limit, predict, setting_of
from isoinit.theory.sharpening import growth, lead, plain_growth


def test_a_lead_is_what_tells_the_given_share() -> None:
    """Against draws, and of two in closed form: the difference of two unit normal variables has the variance 2."""
    rng = np.random.default_rng(0)
    for inputs in (2, 10, 40):
        draws = rng.standard_normal((100_000, inputs))
        for told in (0.5, 0.8, 0.95):
            won = np.mean(draws[:, 0] + lead(inputs, told) > draws[:, 1:].max(axis=1))
            assert won == pytest.approx(told, abs=0.006) or (inputs, told) == (2, 0.5)
    assert lead(2, 0.8) == pytest.approx(sqrt(2) * NormalDist().inv_cdf(0.8), abs=1e-9)
    assert lead(10, 0.1) == pytest.approx(0, abs=1e-9)
    assert lead(10, 0.05) == 0


@pytest.mark.parametrize("units", [8, 40, 1000])
def test_it_is_that_of_a_chain_of_layers_that_learnt_one_class(units: int) -> None:
    """All of L layers, identities at first, moved by the same matrix, from the class's part of the inputs, a K-th of
    their norm, to what its logit reads, until that logit leads."""
    classes, layers = 10, 400
    frame = np.eye(units)
    seen, read = frame[0] * sqrt(units / classes), frame[1]  # of inputs of mean square 1; a logit of variance 1
    moved = lead(classes, 0.8) / np.linalg.norm(seen) * np.outer(frame[1], frame[0]) / layers
    step = np.eye(units) + moved
    signals, gradients = [seen], [read]
    for _ in range(layers):
        signals.append(step @ signals[-1])
        gradients.append(step.T @ gradients[-1])
    assert read @ signals[-1] == pytest.approx(lead(classes, 0.8), rel=1e-9)
    found = sum(np.sum(a**2) * np.sum(g**2) for a, g in zip(signals[:-1], reversed(gradients[:-1]), strict=True))
    assert found / (layers * np.sum(seen**2)) == pytest.approx(growth(classes, units, 0.8), rel=0.01)


@pytest.mark.parametrize("relative_variance", [0.0, 2.0, 50.0])
@pytest.mark.parametrize("units", [4, 40])
def test_it_is_the_integral_over_the_layers(units: int, relative_variance: float) -> None:
    square, share = 10 * lead(10, 0.8) ** 2 / units, np.polynomial.legendre.leggauss(8)
    t = (share[0] + 1) / 2
    signal, gradient = (1 + square * u**2 * (1 + u * relative_variance / 3) for u in (t, 1 - t))
    assert growth(10, units, 0.8, relative_variance) == pytest.approx(share[1] @ (signal * gradient) / 2, rel=1e-12)


@pytest.mark.parametrize(("gaussian", "layers"), [(False, 30), (True, 8), (True, 40)])
def test_random_layers_that_all_learn_one_class_sharpen_as_much(gaussian: bool, layers: int) -> None:
    """Each by its own gradient, at once and in full, so that products of what was learnt count, too."""
    units, classes, rng = 400, 40, np.random.default_rng(0)
    leads, found = [], []
    for _ in range(8):
        weights = [rng.standard_normal((units, units)) / sqrt(units) for _ in range(layers)]
        weights = weights if gaussian else [np.linalg.qr(w)[0] for w in weights]
        x, read = (v / np.linalg.norm(v) for v in rng.standard_normal((2, units)))
        x = x * sqrt(units / classes)
        before, squares, signals, gradients = _squares(weights, x, read)
        step = lead(classes, 0.8) * np.linalg.norm(gradients[0]) / squares.sum()
        learnt = [w + step * np.outer(g, a) for w, a, g in zip(weights, signals[:-1], gradients[1:], strict=True)]
        after, grown, *_ = _squares(learnt, x, read)
        leads.append((after - before) / np.linalg.norm(gradients[0]))
        found.append(grown.sum() / squares.sum())
    assert np.mean(leads) == pytest.approx(lead(classes, 0.8), rel=0.1)
    told = growth(classes, units, 0.8, layers if gaussian else 0.0)
    assert np.mean(found) == pytest.approx(told, rel=0.2 if layers > 8 else 0.35)


def _squares(weights: list[Array], x: Array, read: Array) -> tuple[float, Array, list[Array], list[Array]]:
    """The logit, the products of both squares in every layer, the signals before the layers, and the gradients before
    and behind them."""
    signals, gradients = [x], [read]
    for w in weights:
        signals.append(w @ signals[-1])
    for w in reversed(weights):
        gradients.append(w.T @ gradients[-1])
    gradients.reverse()
    products = [float((a @ a) * (g @ g)) for a, g in zip(signals[:-1], gradients[1:], strict=True)]
    return float(read @ signals[-1]), np.array(products), signals, gradients


def test_wide_nets_do_not_sharpen_and_narrow_ones_by_the_square_of_the_width() -> None:
    wide = [growth(10, 10**n, 0.8) - 1 for n in (5, 6)]
    assert wide[0] / wide[1] == pytest.approx(10, rel=1e-3)
    assert wide[1] == pytest.approx(2 * 10 * lead(10, 0.8) ** 2 / 3e6, rel=1e-3)
    assert growth(1000, 1, 0.8) / growth(1000, 2, 0.8) == pytest.approx(4, rel=0.01)
    assert growth(10, 16, 0.05) == 1


def learns(scheme: str, activation: str, width: int, sigma_b2: float, seed: int) -> float:
    """The greatest sharpness on digits, from initialization until 3 of 4 are told, at a small learning rate."""
    x, y = _digits()
    draw = torch.Generator().manual_seed(seed)
    model = MLP(64, width=width, depth=8, out_features=10, activation=activation)
    initialize(model, scheme, bias_variance=sigma_b2, bias_mode="iid" if sigma_b2 else "zero", generator=draw)
    rate = 0.08 / exp(_told(scheme, activation, width, sigma_b2).log_sharpness)
    optimizer, greatest, step = torch.optim.SGD(model.parameters(), lr=rate), 0.0, 0
    for step in range(300):
        if step % 4 == 0:
            greatest = max(greatest, sharpness(model, x[:300]))
        output = model(x)
        if (output.argmax(1) == y).float().mean() > 0.75:
            break
        optimizer.zero_grad()
        nn.functional.cross_entropy(output, y).backward()
        optimizer.step()
    assert step > 9
    return max(greatest, sharpness(model, x[:300]))


def _digits() -> tuple[Tensor, Tensor]:
    images, y = load_digits(return_X_y=True)
    spread = images.std(axis=0)
    x = (images - images.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return torch.tensor(x[:600], dtype=torch.float32), torch.tensor(y[:600])


def _told(scheme: str, activation: str, width: int, sigma_b2: float) -> Any:
    mode = "iid" if sigma_b2 else "zero"
    return predict(scheme, activation=activation, depth=8, width=width, sigma_b2=sigma_b2, bias_mode=mode)


@pytest.mark.parametrize(
    ("scheme", "activation", "width"),
    [
        ("ll_orth", "relu", 16),
        ("ll_orth", "relu", 64),
        ("orthogonal", "linear", 16),
        ("orthogonal", "linear", 64),
        ("ll_gauss", "relu", 32),
    ],
)
@pytest.mark.parametrize("sigma_b2", [0.0, 0.1])
def test_networks_become_as_sharp_on_digits(scheme: str, activation: str, width: int, sigma_b2: float) -> None:
    """Classes of real data share more or less of an input's norm, and logits: half to twice of it is what was found."""
    found = fmean(learns(scheme, activation, width, sigma_b2, seed) for seed in range(2))
    assert 0.5 < found / exp(_told(scheme, activation, width, sigma_b2).log_sharpest) < 2


def test_what_biases_give_to_all_inputs_alike_does_not_grow() -> None:
    """Of a net with strong biases it is the same number that is added, and soon nothing to the whole."""
    without, weak, strong = (_told("ll_orth", "relu", 16, sigma_b2) for sigma_b2 in (0.0, 1e-4, 100.0))
    n, depth = 8, 8  # what one input has of the core's n units in a layer, and two by their halves
    added = (growth(10, n, 0.8) - 1) * (depth * n + 9 * ((depth - 2) / 2 + 1) * n / pi) / 100
    assert exp(without.log_sharpest) - exp(without.log_sharpness) == pytest.approx(added, rel=1e-9)
    assert weak.log_sharpest == pytest.approx(without.log_sharpest, abs=0.01)
    assert strong.log_sharpest == pytest.approx(strong.log_sharpness, abs=0.02)
    linear, biased = (_told("orthogonal", "linear", 10**4, sigma_b2) for sigma_b2 in (0.0, 1.0))
    added = [exp(told.log_sharpest) - exp(told.log_sharpness) for told in (linear, biased)]
    assert added[0] == pytest.approx(8 * 10**4 * (growth(10, 10**4, 0.8) - 1) / 100, rel=1e-3)
    assert added[1] == pytest.approx(added[0], rel=1e-3)


def test_gaussian_weights_sharpen_more_the_deeper_they_are() -> None:
    """The eigenvalues of J J^T have a relative variance of 1 a layer; what gates of biases add to it does not count."""
    for depth in (4, 16):
        told = predict("lecun_normal", activation="linear", depth=depth, width=10**4)
        grown = exp(told.log_sharpest - told.log_sharpness) - 1
        assert grown == pytest.approx(growth(10, 10**4, 0.8, depth - 1) - 1, rel=0.01)
    gated, free = (_told("ll_orth", "relu", 64, sigma_b2) for sigma_b2 in (0.3, 0.0))
    added = [exp(told.log_sharpest) - exp(told.log_sharpness) for told in (gated, free)]
    assert 1 < added[0] / added[1] < 2.2  # gradients of units with both halves on; four times as much with the gates'


def test_what_inputs_have_in_common_grows_with_them() -> None:
    alike = Tolerance(input_correlation=Threshold(0.5, "of this test"))
    told = predict("orthogonal", activation="linear", depth=8, width=16, tolerance=alike)
    learnt = 16 * (1 + 9 * 0.5) / (16 * (1 + 9 * 0.5) + 10)  # the rest are biases
    grown = exp(told.log_sharpest - told.log_sharpness) - 1
    assert grown == pytest.approx((growth(10, 16, 0.8) - 1) * learnt, rel=1e-6)


def test_the_learning_rate_that_is_stable_is_that_of_the_sharpest() -> None:
    looks, linear = _told("ll_orth", "relu", 16, 0.0), _told("orthogonal", "linear", 16, 0.0)
    assert looks.stable_rate == pytest.approx(12 / exp(looks.log_sharpest), rel=1e-9)
    assert linear.stable_rate == pytest.approx(4 / exp(linear.log_sharpest), rel=1e-9)
    limits = [depth_limit("ll_orth", width=16, learning_rate=rate) for rate in (0.1, 0.05)]
    assert limits[1] / limits[0] == pytest.approx(2, rel=0.02)
    assert predict("ll_orth", depth=int(limits[0]), width=16).stable_rate > 0.1
    assert predict("ll_orth", depth=int(limits[0]) + 1, width=16).stable_rate < 0.1


@pytest.mark.parametrize("distance", [1.0, 0.01])
def test_plain_rectifiers_sharpen_as_a_chain_that_sees_a_class_by_a_small_part(distance: float) -> None:
    """All of L layers, identities at first, moved by the same matrix from the small part in which inputs differ to what
    the logit reads, until it leads: what the inputs have in common stays, and the gradient that it meets grows."""
    units, classes, layers = 400, 10, 400
    frame = np.eye(units)
    common, differs, read = frame[0] * sqrt(units), frame[1] * sqrt(units * distance), frame[2]
    step = np.eye(units) + lead(classes, 0.8) / (units * distance) * np.outer(read, differs) / layers
    seen, gradient, found = differs, read, 0.0
    for _ in range(layers):
        seen = step @ seen
        found += common @ common * (gradient @ gradient)
        gradient = step.T @ gradient
    assert read @ seen == pytest.approx(lead(classes, 0.8), rel=1e-9)
    assert found / (layers * units) == pytest.approx(plain_growth(classes, units, 0.8, distance), rel=0.01)


@pytest.mark.parametrize("sigma_b2", [0.0, 0.1, 10.0])
def test_of_a_net_it_is_that_of_its_nearest_inputs_and_of_their_length_without_biases(sigma_b2: float) -> None:
    told = _told("he_normal", "relu", 16, sigma_b2)
    without = _told("he_normal", "relu", 16, 0.0)
    state = next(islice(setting_of(told).states(), 6, None))
    assert (state.log_shared > 1) == (sigma_b2 > 1)
    grown = exp(told.log_sharpest - told.log_sharpness)
    assert grown == pytest.approx(plain_growth(10, 16, 0.8, told.nearest * exp(state.log_shared)), rel=1e-9)
    assert 0.3 < (grown - 1) / exp(without.log_sharpest - without.log_sharpness) < 3, "biases hardly change it"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "width", "depth"), [("he_normal", 64, 16), ("he_normal", 24, 14), ("orthogonal", 24, 18)]
)
def test_plain_networks_sharpen_one_to_three_times_as_much_on_digits(scheme: str, width: int, depth: int) -> None:
    """From their own sharpness at initialization, which real data's inputs raise, at a small learning rate."""
    told = predict(scheme, depth=depth, width=width)
    grown = exp(told.log_sharpest - told.log_sharpness)
    found = [_grows(scheme, width, depth, 1 / exp(told.log_sharpest), seed) for seed in range(4)]
    assert 0.7 < exp(fmean(map(log, found))) / grown < 3.5


def _grows(scheme: str, width: int, depth: int, rate: float, seed: int) -> float:
    """Of the greatest sharpness until 4 of 5 are told over the first one."""
    x, y = _digits()
    model = MLP(64, width=width, depth=depth, out_features=10)
    initialize(model, scheme, generator=torch.Generator().manual_seed(seed))
    optimizer, first = torch.optim.SGD(model.parameters(), lr=rate), sharpness(model, x[:200])
    greatest, output = first, model(x)
    for step in range(1500):
        if (output.argmax(1) == y).float().mean() > 0.8:
            break
        if step % 40 == 0:
            greatest = max(greatest, sharpness(model, x[:200]))
        optimizer.zero_grad()
        nn.functional.cross_entropy(output, y).backward()
        optimizer.step()
        output = model(x)
    else:
        raise AssertionError("a network that should train does not")
    return max(greatest, sharpness(model, x[:200])) / first


def test_who_asks_for_less_is_told_less() -> None:
    asked = [Tolerance(told=Threshold(share, "of this test")) for share in (0.5, 0.95)]
    less, more = (predict("ll_orth", depth=8, width=16, tolerance=tolerance).log_sharpest for tolerance in asked)
    assert more - less > log(1.5)
    with pytest.raises(ValueError, match=r"told must be a number from 0 to 0\.999, but got 1"):
        predict("ll_orth", depth=8, width=16, tolerance=Tolerance(told=Threshold(1, "of this test")))
