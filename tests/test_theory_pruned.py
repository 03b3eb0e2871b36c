"""Weights pruned at random: laws of layers against draws, limits with closed forms, and whole networks."""

from dataclasses import replace
from itertools import islice
from math import log, sqrt
from typing import Any

import numpy as np
import pytest
from scipy.special import digamma, gammaln, polygamma

from isoinit.theory import factors
from isoinit.theory.predict import DEFAULT, Threshold, depth_limit, predict, predicted_outcome
from isoinit.theory.profile import profile
from isoinit.theory.pruned import Moments, Pruned, _beta, _layer
from isoinit.theory.simulate import DEAD, simulate
from isoinit.theory.survival import Survival

PAIR = replace(DEFAULT, inputs=Threshold(2, "test"))
DENSE = {"he_pruned": "he_normal", "orthogonal_pruned": "orthogonal"}


def layers(units: int, density: float, number: int, orthogonal: bool = False, on: float = 0.5) -> list[Moments]:
    pruned = Pruned(units, density, on, orthogonal, False)
    return [pruned.step() for _ in range(number)]


def squares(y: np.ndarray, density: float, orthogonal: bool, on: float, draws: int) -> np.ndarray:
    """Factors (draws,) of |y|^2 in one layer, masks of independent entries."""
    rng, n = np.random.default_rng(0), len(y)
    w = rng.standard_normal((draws, n, n))
    w = np.linalg.qr(w)[0] * rng.choice([-1.0, 1.0], (draws, n, 1)) if orthogonal else w / sqrt(n)
    h = (w * (rng.random(w.shape) < density)) @ y / sqrt(density * (y @ y))
    return np.sum(h**2 * ((h > 0) if on < 1 else 1), axis=1) / on


@pytest.mark.parametrize("on", [0.5, 1.0])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_one_layer_has_the_stated_variance(orthogonal: bool, on: float) -> None:
    """Of uneven inputs, which masks see: an orthogonal matrix that is pruned is neither that nor a Gaussian one."""
    y, n, d, draws = np.array([3.0, 2.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.0]), 8, 0.4, 30_000
    u = float(np.sum(y**4) / np.sum(y**2) ** 2)
    v = (1 - d) / d * u
    sums = (2 * (1 - d * d) * (1 - u) + 3 * v) / (n + 2) if orthogonal else (2 + 3 * v) / n
    expected = sums + 3 * (1 + v) * (1 / on - 1) / (n + 2 if orthogonal else n)
    found = squares(y, d, orthogonal, on, draws)
    assert found.mean() == pytest.approx(1, abs=4 * sqrt(expected / draws))
    assert found.var() == pytest.approx(expected, rel=0.05)
    if orthogonal:
        pruned = Pruned(n, d, on, True, False)
        pruned._uneven = u
        gaussian = (2 + 3 * v) / n + 3 * (1 + v) * (1 / on - 1) / n
        assert (1 + gaussian) / (1 + pruned._steadier()) == pytest.approx(1 + expected)


@pytest.mark.parametrize(("density", "inputs"), [(0.3, 10), (0.1, 20)])
def test_a_layer_of_even_inputs_is_that_of_draws(density: float, inputs: int) -> None:
    """Mean and variance of log F and the next u, y a Gaussian vector: where the closure is no approximation."""
    rng, n, draws = np.random.default_rng(1), 20, 20_000
    y = rng.standard_normal((draws, inputs)) ** 2
    y /= y.sum(1, keepdims=True)
    s = np.einsum("rij,rj->ri", rng.random((draws, n, inputs)) < density, y) / density
    out = s * rng.standard_normal((draws, n)) ** 2 * (rng.random((draws, n)) < 0.5)
    total = out.sum(1)
    out, total = out[total > 0], total[total > 0]
    mean, variance, third, uneven = _layer(n, density, 0.5, False, float(inputs), 3 / (inputs + 2), 1.0)
    logs = np.log(total / (n / 2))
    assert mean == pytest.approx(logs.mean(), abs=4 * logs.std() / sqrt(draws))
    assert variance == pytest.approx(logs.var(), rel=0.04)
    assert third == pytest.approx(np.mean((logs - logs.mean()) ** 3), rel=0.15)
    assert uneven == pytest.approx(np.mean(np.sum(out**2, 1) / total**2), rel=0.02)


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize("units", [4, 32, 64])
def test_nothing_pruned_is_the_dense_law(units: int, orthogonal: bool) -> None:
    dense = factors.orthogonal(units) if orthogonal else factors.gaussian(units)
    for layer in layers(units, 1.0, 3, orthogonal):
        assert layer == pytest.approx((dense.log_mean, dense.log_variance, dense.log_third, dense.death), abs=1e-5)
    nearly = layers(units, 0.9999, 3, orthogonal)[-1]
    assert nearly[:2] == pytest.approx((dense.log_mean, dense.log_variance), rel=0.01)


def test_a_single_input_is_left_or_not() -> None:
    """K ~ Binomial(N, d / 2) units read it, and add up to 1 / d times chi2_K."""
    n, d = 12, 0.3
    k = np.arange(1, n + 1)
    weights = np.exp(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + k * log(d / 2) + (n - k) * log(1 - d / 2))
    weights /= weights.sum()
    mean = float(weights @ digamma(k / 2)) + log(2 / d / (n / 2))
    place = digamma(k / 2) - weights @ digamma(k / 2)
    found = _layer(n, d, 0.5, False, 1.0, 1.0, 1.0)
    assert found[:2] == pytest.approx((mean, float(weights @ (polygamma(1, k / 2) + place**2))), abs=1e-5)


def test_spread_over_width_is_declared() -> None:
    """(5 + 6 v) / N, v = 6 r / N, to second order; where integrals end the first order goes on."""
    r = 3
    for n in (1000, 4000):
        settled = layers(n, 0.25, 8)[-1]
        assert (settled.log_variance * n - 5) * n == pytest.approx(36 * r + 5 * 4.6, rel=0.1)
    before, after = (layers(n, 8 / n, 20)[-1] for n in (4096, 4097))
    assert after[:2] == pytest.approx(before[:2], rel=0.07)


def test_quadrature_nodes_have_the_moments_of_beta_variables() -> None:
    first, second = np.array([0.2, 1.0, 7.0, 0.5]), np.array([0.9, 1.0, 300.0, 0.5])
    nodes, weights = _beta(first, second)
    expected = np.ones(4)
    for power in range(8):
        assert np.sum(weights * nodes**power, axis=1) == pytest.approx(expected, rel=1e-9)
        expected = expected * (first + power) / (first + second + power)


def test_units_run_out_at_two_weights_each_whatever_the_width() -> None:
    """A critical branching process: below, nets die in a few layers at any width, and above in none to speak of."""

    def lives(units: int, each: float, layers: int) -> float:
        survival, alive = Survival(units, each / units, 0.5), 1.0
        for _ in range(layers):
            alive *= 1 - survival.step()[1]
        return alive

    assert lives(64, 1.0, 20) < lives(512, 1.0, 20) < 0.01
    assert 0.01 < lives(64, 2.0, 20) < lives(256, 2.0, 20) < 0.99
    assert lives(64, 4.0, 100) > 0.99
    assert lives(5000, 2.0, 20) == pytest.approx(lives(512, 2.0, 20), abs=1e-9), "by as many as can be counted"


@pytest.mark.parametrize(
    ("scheme", "width", "density", "depth", "nets", "options"),
    [
        ("he_pruned", 32, 1 / 4, 21, 400, {}),
        ("he_pruned", 64, 1 / 16, 14, 300, {}),
        ("orthogonal_pruned", 32, 1 / 2, 15, 400, {}),
        ("orthogonal_pruned", 32, 1 / 8, 12, 400, {}),
        ("he_pruned", 32, 1 / 4, 16, 400, {"sigma_b2": 0.1, "bias_mode": "iid"}),
        ("orthogonal_pruned", 32, 1 / 4, 12, 400, {"activation": "linear"}),
    ],
)
def test_norms_and_gradients_are_those_of_random_networks(
    scheme: str, width: int, density: float, depth: int, nets: int, options: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"depth": depth, "width": width, **options}
    told, dense = predict(scheme, density=density, **asked), predict(DENSE[scheme], **asked)
    found = simulate(scheme, density=density, nets=nets, rng=np.random.default_rng(2), **asked)
    error = 4 / sqrt(nets)
    for drawn, mean, deviation in (
        (found.log_norm[:, -1], told.drift, told.spread),
        (found.log_gradient[:, -1], told.log_gradient, told.gradient_spread),
    ):
        alive = drawn[drawn > DEAD]
        assert alive.mean() == pytest.approx(mean, abs=error * deviation + 0.03 * depth / width)
        assert alive.std() == pytest.approx(deviation, rel=0.13)
    gradient = found.log_gradient[found.log_gradient[:, -1] > DEAD, -1]
    assert gradient.std() > 1.15 * dense.gradient_spread, "the law of dense weights would not do"


def test_nets_of_two_weights_a_unit_vanish_and_die_when_they_do() -> None:
    asked: dict[str, Any] = {"depth": 15, "width": 32}
    found = simulate("he_pruned", density=1 / 16, nets=600, rng=np.random.default_rng(3), **asked)
    told = [predict("he_pruned", density=1 / 16, depth=d, width=32) for d in (8, 15)]
    for point in told:
        alive = np.mean(found.log_norm[:, point.depth - 2] > DEAD)
        assert 1 - point.dead_probability == pytest.approx(alive, abs=4 * sqrt(0.25 / 600))
    bands = profile("he_pruned", density=1 / 16, **asked)
    assert np.isneginf(bands.log_norm[-1]).sum() == np.isneginf(bands.gradient_bands[-1]).sum() > 0
    within = np.mean(np.abs(found.log_norm) <= 6, axis=0)
    crossed = int(np.argmax(within < 0.5))
    limit = 1 + crossed + (within[crossed - 1] - 0.5) / (within[crossed - 1] - within[crossed])
    assert told[0].depth_limit == pytest.approx(limit, rel=0.15)
    assert told[0].binding in ("signal", "gradient")
    assert predict("he_normal", depth=8, width=32, tolerance=PAIR).depth_limit > 3 * told[0].depth_limit


def test_a_biased_net_whose_paths_are_cut_is_dead_though_it_has_a_signal() -> None:
    asked: dict[str, Any] = {"depth": 30, "width": 32, "density": 1 / 32, "sigma_b2": 0.1, "bias_mode": "iid"}
    told, drawn = predict("he_pruned", **asked), profile("he_pruned", **asked)
    assert told.dead_probability > 0.99
    assert np.isfinite(drawn.log_norm[-1]).all()
    assert np.isneginf(drawn.gradient_bands[-1]).all()


@pytest.mark.parametrize("scheme", DENSE)
def test_a_limit_falls_with_the_density_from_that_of_dense_weights(scheme: str) -> None:
    limits = [depth_limit(scheme, width=32, density=d, tolerance=PAIR) for d in (1.0, 1 / 4, 1 / 8, 1 / 16)]
    assert limits[0] == depth_limit(DENSE[scheme], width=32, tolerance=PAIR)
    assert limits == sorted(limits, reverse=True)
    assert limits[2] < 0.75 * limits[0]
    assert predict(scheme, depth=8, width=32, density=1 / 8, tolerance=PAIR).binding in ("signal", "gradient")


@pytest.mark.parametrize("scheme", ["eoi", "ll_eoi"])
def test_exactly_orthogonal_weights_do_at_any_density_what_they_do(scheme: str) -> None:
    one, other = (predict(scheme, depth=20, width=32, density=d) for d in (1.0, 1 / 8))
    assert (one.drift, one.spread, one.depth_limit) == (other.drift, other.spread, other.depth_limit)


def test_what_is_not_accounted_for_is_said() -> None:
    def notes(**options: Any) -> str:
        return "; ".join(predict("he_pruned", depth=9, width=32, **options).notes)

    assert not notes()
    assert "the spectrum is that of wide nets" in notes(density=0.5)
    others: list[dict[str, Any]] = [{"architecture": "cnn"}, {"normalization": "batch"}, {"activation": "tanh"}]
    for other in others:
        assert "unless a unit keeps many more than 6 weights" in notes(density=0.5, **other)
        one, half = (predict("he_pruned", depth=9, width=32, density=d, **other) for d in (1.0, 0.5))
        assert one.spread == half.spread


@pytest.mark.parametrize("function", [predict, predicted_outcome, profile])
def test_a_dense_scheme_that_is_given_a_density_names_the_sparse_ones(function: Any) -> None:
    law = r"^density must be 1 for he_normal, .* got 0.5; sparse schemes: eoi, ll_eoi, he_pruned, orthogonal_pruned$"
    with pytest.raises(ValueError, match=law):
        function("he_normal", depth=5, width=8, density=0.5)


def test_layers_settle() -> None:
    assert len({layer.log_mean for layer in islice(layers(64, 1 / 8, 200), 100, 200)}) == 1
