"""Angles through weights pruned at random: the laws of one layer against draws, their limits, and whole networks."""

from itertools import pairwise

import numpy as np
import pytest

from isoinit.theory.angles import gaussian, orthogonal
from isoinit.theory.gaussian import kappa1, kappa1_complement
from isoinit.theory.predict import depth_limit, predict
from isoinit.theory.profile import profile
from isoinit.theory.pruned import Pruned
from isoinit.theory.pruned_angles import layer, widens
from isoinit.theory.simulate import simulate

RNG = np.random.default_rng(0)


def relu_pairs(cosine: float, draws: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Activations (draws, inputs) of unit length, whose pre-activations have this cosine."""
    u, other = RNG.standard_normal((2, draws, inputs))
    x, y = (np.maximum(a, 0) for a in (u, cosine * u + np.sqrt(1 - cosine**2) * other))
    return x / np.linalg.norm(x, axis=1, keepdims=True), y / np.linalg.norm(y, axis=1, keepdims=True)


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.4])
def test_masks_mix_distant_inputs_less_by_the_stated_factor(cosine: float) -> None:
    """`(1 - cosine after the ReLU) / mean field's` to first order in v; units of given masks are averaged exactly."""
    d, inputs, draws = 0.4, 120, 4000
    factors = []
    for x, y in zip(*relu_pairs(cosine, draws, inputs), strict=True):
        masks = (RNG.random((200, inputs)) < d) / d
        first, second, product = masks @ (x * x), masks @ (y * y), masks @ (x * y)
        lengths = np.sqrt(first * second)
        left = (first + second) / 2 - lengths * kappa1(product / lengths)
        mean = ((x * x).sum() + (y * y).sum()) / 2
        factors.append((left.mean() / mean) / float(kappa1_complement(1 - x @ y)))
    v = (1 - d) / d * 6 / inputs
    found, error = np.mean(factors) - 1, np.std(factors) / np.sqrt(draws)
    expected = float(widens(v, np.arccos(kappa1([cosine])))[0]) - 1
    assert found == pytest.approx(expected, abs=4 * error)
    assert expected > 8 * error, "told from mean field"


def test_nearly_parallel_inputs_are_mixed_as_in_mean_field() -> None:
    angle = np.array([1e-8, 0.01, 0.04, 0.06, 0.2])
    for v in (0.1, 1.0, 20.0):
        extra = (widens(v, angle) - 1) / angle
        assert np.all((extra > 0) & (extra < 2 / (3 * np.pi) + 0.01)), "less than a ReLU itself closes of an angle"
        assert extra[2] == pytest.approx(extra[3], rel=0.2), "no step where the formula ends"
    assert widens(0.0, angle) == pytest.approx(1)


def test_one_weight_a_unit_leaves_the_cosine_what_it_is() -> None:
    angle = np.array([0.3, 0.8, 1.2])
    cosine = np.cos(angle)
    assert kappa1_complement(1 - cosine) * widens(1e9, angle) == pytest.approx(1 - cosine, rel=1e-3)
    for fewer, more in pairwise(widens(v, angle) for v in (0.1, 1.0, 3.0, 30.0)):
        assert np.all(fewer < more)


def test_scatter_is_v_where_it_is_small_and_bounded_where_few_units_are_left() -> None:
    wide, sparse = Pruned(2000, 0.25, 0.5, False, False), Pruned(32, 1 / 16, 0.5, False, False)
    layers = [(wide.excess, wide.step(), sparse.step()) for _ in range(8)]
    assert wide.scatter == pytest.approx(layers[-1][0], rel=0.05)
    assert sparse.scatter < 1 / sparse._dense, "u is at most 1"
    assert sparse.excess > 2 * sparse.scatter


def test_pruned_orthogonal_weights_go_from_their_own_law_to_the_gaussian_one() -> None:
    assert layer(orthogonal, 1.0, 0.0, 0.0).laws == ((orthogonal, 1.0),)
    nearly = dict(layer(orthogonal, 0.9999, 0.0, 0.0).laws)
    assert nearly[orthogonal] == pytest.approx(1, abs=1e-3)
    assert nearly[gaussian] == pytest.approx(0, abs=1e-3)
    assert dict(layer(orthogonal, 0.01, 0.0, 2.0).laws)[gaussian] == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize("scheme", ["he_pruned", "orthogonal_pruned"])
@pytest.mark.parametrize(
    ("width", "density", "rel"), [(64, 0.25, 0.06), (64, 0.1, 0.06), (64, 0.05, 0.11), (128, 0.05, 0.06)]
)
def test_the_nearest_input_is_that_of_random_networks(scheme: str, width: int, density: float, rel: float) -> None:
    net = {"depth": 31, "width": width, "density": density}
    random = simulate(scheme, nets=64 if width == 64 else 32, rng=np.random.default_rng(0), **net)
    theory = profile(scheme, **net)
    at = np.array([2, 5, 10, 20, 30]) - 1
    found = np.nanmean(random.log_nearest, axis=0)[at]
    assert np.log(theory.nearest[at]) == pytest.approx(found, rel=rel, abs=0.15)
    assert theory.correlation[at[:3]] == pytest.approx(np.nanmean(random.correlation, axis=0)[at[:3]], abs=0.12)
    if density == 0.05 and width == 64:
        dense = profile(scheme, depth=31, width=width)
        assert np.log(dense.nearest[at[-1]]) > found[-1] + 2, "the law of dense weights would not do"


def test_linear_networks_lose_what_tells_inputs_apart_as_random_ones() -> None:
    net = {"depth": 31, "width": 64, "density": 0.1, "activation": "linear"}
    found = np.nanmean(simulate("orthogonal_pruned", nets=64, rng=np.random.default_rng(0), **net).log_nearest, axis=0)
    assert np.log(profile("orthogonal_pruned", **net).nearest) == pytest.approx(found, abs=0.3)
    assert found[-1] < -2, "dense weights of this kind keep them apart"


@pytest.mark.parametrize(("activation", "density"), [("linear", 0.5), ("relu", 0.5), ("linear", 0.1)])
def test_the_spectrum_of_pruned_orthogonal_weights_widens_by_what_was_cut(activation: str, density: float) -> None:
    """Var(e) / E(e)^2 of J J^T after three layers: 1 - d^2 each, beside the slopes'."""
    net = {"depth": 4, "width": 256, "density": density, "activation": activation}
    squares = simulate("orthogonal_pruned", nets=8, rng=np.random.default_rng(0), **net).singular_values ** 2
    found = np.mean(squares.var(axis=1) / squares.mean(axis=1) ** 2)
    expected = 3 * (1 - density**2 + (activation == "relu"))
    assert predict("orthogonal_pruned", **net).conditioning == pytest.approx(expected)
    assert found == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("scheme", ["he_pruned", "orthogonal_pruned"])
def test_a_limit_falls_with_the_density_and_meets_that_of_dense_weights(scheme: str) -> None:
    limits = [depth_limit(scheme, width=64, density=d) for d in (1.0, 0.9999, 0.5, 0.25, 0.1, 0.05)]
    assert limits[1] == pytest.approx(limits[0], rel=1e-3)
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] < 0.65 * limits[0]
