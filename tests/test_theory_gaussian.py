"""Closed forms against quadrature, Monte Carlo and the table of the reference; errors that bound."""

from collections.abc import Sequence

import numpy as np
import pytest

from isoinit.theory import activations
from isoinit.theory.activations import ACTIVATIONS, kumar_variance
from isoinit.theory.distances import Distances
from isoinit.theory.exponential import Exponential
from isoinit.theory.gaussian import expectation, kappa0, kappa1, kappa1_complement, kappa2, pair_expectation
from isoinit.theory.hermite import hermite
from isoinit.theory.meanfield import chi, covariance, length_map, slope_moment

KAPPA1 = {
    -1: 0.0, -0.5: 0.1089977810, 0: 0.3183098862, 0.25: 0.4533098778, 0.5: 0.6089977810, 0.75: 0.7880021076,
    0.9: 0.9095383988, 0.99: 0.9903002557, 1: 1.0,
}  # fmt: skip
KAPPA0 = {-0.5: 1 / 3, 0: 0.5, 0.5: 2 / 3, 0.9: 0.8564337069}


@pytest.mark.parametrize(("c", "value"), KAPPA1.items())
def test_kappa1_is_the_tabulated_one(c: float, value: float) -> None:
    assert kappa1(c) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(("c", "value"), KAPPA0.items())
def test_kappa0_is_the_tabulated_one(c: float, value: float) -> None:
    assert kappa0(c) == pytest.approx(value, abs=1e-9)


def test_kappas_are_gaussian_expectations() -> None:
    rng = np.random.default_rng(0)
    n, c = 400_000, 0.6
    u, w = rng.standard_normal((2, n))
    v = c * u + np.sqrt(1 - c * c) * w
    both = (u > 0) & (v > 0)
    for sample, value in ((2 * both, kappa0(c)), (2 * both * u * v, kappa1(c)), (both * (u * v) ** 2 / 1.5, kappa2(c))):
        assert np.mean(sample) == pytest.approx(float(value), abs=4 * np.std(sample) / np.sqrt(n))


def test_kappa0_is_the_slope_of_kappa1() -> None:
    c = np.linspace(-0.95, 0.95, 39)
    assert np.allclose((kappa1(c + 1e-6) - kappa1(c - 1e-6)) / 2e-6, kappa0(c), atol=1e-8)


def test_mirroring_undoes_relu() -> None:
    c = np.linspace(-1, 1, 41)
    assert np.allclose(kappa1(c) - kappa1(-c), c, atol=1e-15)


def test_the_complement_keeps_its_digits_near_one() -> None:
    """1 - kappa1(1 - d) = d - (2d)^1.5 / (3 pi) + O(d^2.5): a subtraction from 1 would lose all digits here."""
    d = np.array([1e-10, 1e-12, 1e-14])
    assert np.allclose(kappa1_complement(d), d - (2 * d) ** 1.5 / (3 * np.pi), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", [n for n, a in ACTIVATIONS.items() if a.covariance])
@pytest.mark.parametrize("q", [0.3, 2.0])
def test_closed_forms_agree_with_quadrature(name: str, q: float) -> None:
    record, c = ACTIVATIONS[name], 0.4
    assert record.covariance is not None
    assert record.slope_covariance is not None
    assert record.slope_moment is not None
    s = np.sqrt(q)
    pair = pair_expectation(record.phi, record.phi, c, s)
    slopes = pair_expectation(record.slope, record.slope, c, s)
    fourth = expectation(lambda x: record.slope(x) ** 4, s)
    assert record.covariance(q, c) == pytest.approx(pair.value, abs=20 * pair.error + 1e-9)
    assert record.slope_covariance(q, c) == pytest.approx(slopes.value, abs=20 * slopes.error + 1e-9)
    assert record.slope_moment(q, 2) == pytest.approx(fourth.value, abs=20 * fourth.error + 1e-9)
    if name in ("erf", "linear"):
        assert pair.error < 1e-9, "a smooth function converges"


@pytest.mark.parametrize("unit", [Exponential(1.0, 1.0), Exponential(1.05, 1.67)])
@pytest.mark.parametrize("q", [1e-6, 0.1, 2.0, 30.0, 1e6])
def test_units_that_are_exponential_below_zero_answer_to_the_correlation_as_price_says(
    unit: Exponential, q: float
) -> None:
    """d E phi(u) phi(v) / dc = q E phi'(u) phi'(v)."""
    for c, h in ((-0.7, 1e-4), (0.0, 1e-4), (0.5, 1e-4), (0.99, 1e-5)):
        ahead, behind = (unit.covariance(q, x) for x in (c + h, c - h))
        assert (ahead - behind) / (2 * h) == pytest.approx(q * unit.slope_covariance(q, c), rel=2e-5)


@pytest.mark.parametrize("c", [-1.0, -0.6, 0.0, 0.9, 1.0])
def test_units_that_are_exponential_below_zero_are_rectifiers_at_either_end(c: float) -> None:
    """Leaky ones of small arguments, with what is left of order sqrt(q), and ReLU of great ones, of 1 / sqrt(q)."""
    scale, a = 1.05, 1.67
    unit = Exponential(scale, a)

    def gaps(leak: float, places: Sequence[float]) -> np.ndarray:
        square = scale**2 * ((1 + leak**2) * kappa1(c) - 2 * leak * kappa1(-c)) / 2
        slopes = scale**2 * ((1 + leak**2) * kappa0(c) + 2 * leak * kappa0(-c)) / 2
        return np.array([[unit.covariance(q, c) / q - square, unit.slope_covariance(q, c) - slopes] for q in places])

    for leak, places in ((a, (1e-8, 1e-10)), (0.0, (1e10, 1e12))):
        first, second = np.abs(gaps(leak, places))
        assert (first < 1e-3).all()
        assert second == pytest.approx(first / 10, rel=0.05, abs=1e-7)


def test_units_that_are_exponential_below_zero_have_no_gap_at_equal_arguments() -> None:
    """1 - c is the distance of two inputs, of which little is left in deep nets."""
    unit = Exponential(1.0, 1.0)
    for q in (0.1, 3.0, 50.0):
        gaps = [unit.covariance(q, 1.0) - unit.covariance(q, 1 - d) for d in (1e-7, 1e-5)]
        assert gaps == pytest.approx([q * d * unit.slope_moment(q, 1) for d in (1e-7, 1e-5)], rel=2e-3)
        assert unit.slope_covariance(q, 1.0) == pytest.approx(unit.slope_moment(q, 1), rel=1e-9)


def test_the_error_bounds_what_it_claims() -> None:
    smooth = expectation(np.cos)
    assert smooth.value == pytest.approx(np.exp(-0.5), abs=1e-12)
    assert smooth.error < 1e-12
    kinked = expectation(np.abs)
    assert 0 < abs(kinked.value - np.sqrt(2 / np.pi)) < 10 * kinked.error
    assert kinked.nodes == 1 << 14


@pytest.mark.parametrize("scale", [3.0, 100.0, 1e4])
def test_a_bend_narrower_than_the_nodes_is_seen(scale: float) -> None:
    """At scale 100 all 64 Hermite nodes miss the slope of tanh: doubling them changed nothing, at a value of 0."""
    found = expectation(lambda x: 1 - np.tanh(x) ** 2, scale)
    x = np.linspace(-40, 40, 80_001)
    exact = np.trapezoid((1 - np.tanh(x) ** 2) * np.exp(-((x / scale) ** 2) / 2), x) / (scale * np.sqrt(2 * np.pi))
    assert found.value == pytest.approx(exact, rel=1e-9)
    assert abs(found.value - exact) <= 10 * found.error + 1e-14


def test_pairs_at_a_large_scale() -> None:
    """tanh of a wide Gaussian is its sign, E sign u sign v = (2 / pi) arcsin c, and the rest of order 1 / scale^2."""
    for c in (-0.7, 0.3):
        gaps = [pair_expectation(np.tanh, np.tanh, c, s).value - 2 / np.pi * np.arcsin(c) for s in (12.5, 25.0, 50.0)]
        assert abs(gaps[0]) < 0.05
        assert gaps[0] / gaps[1] == pytest.approx(4, abs=0.2)
        assert gaps[1] / gaps[2] == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize("q", [0.01, 0.5, 10.0, 1e4])
def test_hardtanh_closed_forms_against_draws(q: float) -> None:
    hardtanh, n = ACTIVATIONS["hardtanh"], 400_000
    rng = np.random.default_rng(3)
    assert hardtanh.covariance is not None
    assert hardtanh.slope_covariance is not None
    for c in (-1.0, -0.6, 0.0, 0.9, 1.0):
        u, w = rng.standard_normal((2, n)) * np.sqrt(q)
        v = c * u + np.sqrt(1 - c * c) * w
        for draws, value in (
            (hardtanh.phi(u) * hardtanh.phi(v), hardtanh.covariance(q, c)),
            (hardtanh.slope(u) * hardtanh.slope(v), hardtanh.slope_covariance(q, c)),
        ):
            assert np.mean(draws) == pytest.approx(value, abs=5 * np.std(draws) / np.sqrt(n) + 1e-9)


def test_kumar_variance() -> None:
    variance = {name: kumar_variance(record) for name, record in ACTIVATIONS.items() if name != "selu"}
    assert variance["tanh"] == variance["linear"] == 1
    assert variance["sigmoid"] == pytest.approx(12.8)
    assert np.sqrt(variance["sigmoid"]) == pytest.approx(3.5777, abs=1e-4)
    assert variance["softplus"] == pytest.approx(2.701876, abs=1e-6)
    assert variance["relu"] == 2


def test_an_unknown_activation_names_the_near_one() -> None:
    with pytest.raises(ValueError, match=r"'rellu'; did you mean 'relu'\?.*tanh"):
        activations.get("rellu")


SERIES = [
    (name, scale)
    for name, most in (("tanh", 2.0), ("sigmoid", 4.0), ("softplus", 5.0), ("silu", 4.0), ("gelu", 3.0), ("erf", 2.0))
    for scale in (0.1, 1.0, most)
]


@pytest.mark.parametrize(("name", "scale"), SERIES)
def test_the_hermite_series_agrees_with_quadrature(name: str, scale: float) -> None:
    record = ACTIVATIONS[name]
    series = hermite(record.phi, scale)
    assert series is not None
    q = scale**2
    square, slope = covariance(record, q, 1.0), slope_moment(record, q, 1)
    for d in (0.0, 0.01, 0.5, 1.0, 1.7, 2.0):
        pair = pair_expectation(record.phi, record.phi, 1 - d, scale, tolerance=1e-12, max_nodes=2048)
        slopes = pair_expectation(record.slope, record.slope, 1 - d, scale, tolerance=1e-12, max_nodes=2048)
        assert series.apart(d) == pytest.approx(square - pair.value, rel=1e-6, abs=1e-12 * square)
        assert series.slopes(d) == pytest.approx(slopes.value / slope, abs=1e-7)
    assert series.apart(3e-15) / 3e-15 == pytest.approx(q * slope, rel=1e-6), "no digit is lost of near inputs"


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("relu", 1.0),
        ("hardtanh", 1.0),
        ("selu", 0.1),
        ("tanh", 2.5),
        ("tanh", 1e100),
        ("silu", 6.0),
        ("silu", 1e120),
        ("softplus", 1e120),
        ("gelu", 1e120),
    ],
)
def test_a_function_that_its_hermite_series_does_not_resolve_has_none(name: str, scale: float) -> None:
    assert hermite(ACTIVATIONS[name].phi, scale) is None


@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "hardtanh"])
@pytest.mark.parametrize("q", [0.3, 3.0, 30.0])
def test_a_layers_map_of_distances_is_that_of_the_correlation_whatever_it_is_computed_by(name: str, q: float) -> None:
    record, sw2, sb2 = ACTIVATIONS[name], 1.7, 0.2
    new = length_map(record, q, sw2, sb2)
    maps = Distances(record, q, sw2, new, slope_moment(record, q, 1))
    for d in (1e-5, 0.03, 0.4, 1.2):
        onward = 1 - (sw2 * covariance(record, q, 1 - d) + sb2) / new
        assert maps.onward(d) == pytest.approx(onward, rel=1e-6, abs=1e-9)
        assert maps.slopes(d) == pytest.approx(chi(record, q, 1.0, 1 - d) / maps.slope, abs=1e-4)
    assert (maps.onward(1e-9), maps.slopes(1e-9)) == (pytest.approx(sw2 * maps.slope * q / new * 1e-9), 1.0)
