"""Length and correlation maps, depth scales and the critical line, against the table and against simulation."""

from collections.abc import Callable
from math import inf, log

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit

from isoinit.theory import meanfield
from isoinit.theory.activations import ACTIVATIONS

TANH, RELU, ERF, SIGMOID = (ACTIVATIONS[name] for name in ("tanh", "relu", "erf", "sigmoid"))

# sw2: q*, chi1, c*, xi_q, xi_c at sb2 = 0.05
TANH_PHASES = {
    1.0: (0.193593, 0.759032, 1, 1.7476, 3.6270),
    1.25: (0.292054, 0.863240, 1, 1.8004, 6.7998),
    1.5: (0.418037, 0.938636, 1, 1.6828, 15.7910),
    2.0: (0.721762, 1.047666, 0.744082, 1.3880, 25.2134),
    2.5: (1.063958, 1.133516, 0.446804, 1.1799, 11.7956),
    3.0: (1.428008, 1.208934, 0.299318, 1.0415, 9.0515),
    4.0: (2.195494, 1.342402, 0.165065, 0.8733, 6.9803),
}
TANH_CRITICAL = {
    0.0: (1.0, 0.0),
    0.001: (1.18918959, 0.10729236),
    0.01: (1.42420529, 0.27330091),
    0.05: (1.76095464, 0.57004788),
    0.1: (1.98607264, 0.80579918),
    0.3: (2.50512719, 1.46116945),
}
ALIGNED = {
    1: 0.3183098862, 2: 0.4937310902, 3: 0.6048257201, 5: 0.7359463506, 10: 0.871535516, 20: 0.9484284792,
    50: 0.9878619449, 100: 0.9964231467, 200: 0.9990156436, 1000: 0.9999568703,
}  # fmt: skip


@pytest.mark.parametrize(("sw2", "row"), TANH_PHASES.items())
def test_tanh_phases_are_the_tabulated_ones(sw2: float, row: tuple[float, ...]) -> None:
    phase = meanfield.phase(TANH, sw2, 0.05)
    found = (phase.length, phase.chi1, phase.correlation, phase.length_scale, phase.correlation_scale)
    assert found == pytest.approx(row, rel=1e-4)
    assert phase.trainable_depth == pytest.approx(6 * row[-1], rel=1e-4)


@pytest.mark.parametrize(("sb2", "row"), TANH_CRITICAL.items())
def test_the_critical_line_of_tanh(sb2: float, row: tuple[float, float]) -> None:
    sw2, length = meanfield.critical_line(TANH, sb2)
    assert (sw2, length) == pytest.approx(row, abs=1e-6)


@pytest.mark.parametrize("name", ["tanh", "erf", "hardtanh", "relu", "linear"])
@pytest.mark.parametrize("sb2", [0.0, 0.02, 0.5])
def test_chi1_is_one_on_the_critical_line(name: str, sb2: float) -> None:
    """Two routes: the line solves for q, the phase iterates from sw2 to its own fixed point."""
    sw2, _ = meanfield.critical_line(ACTIVATIONS[name], sb2)
    phase = meanfield.phase(ACTIVATIONS[name], sw2, sb2)
    assert phase.chi1 == pytest.approx(1, abs=1e-6)
    assert phase.gradient_scale > 1e5


def test_the_point_of_the_thousand_layer_papers_is_critical() -> None:
    phase = meanfield.phase(TANH, 1.05, 2.01e-5)
    assert (phase.length, phase.chi1) == pytest.approx((0.0259, 1.000002), abs=1e-4)


def test_the_depth_scale_is_the_slope_of_the_simulated_map() -> None:
    """1 - c_l of the iterated map decays e-fold in xi_c layers, |q_l - q*| in xi_q."""
    phase = meanfield.phase(TANH, 1.5, 0.05)
    c, q, gaps, lengths = 0.999, phase.length * 1.01, [], []
    for _ in range(30):
        c, q = (
            meanfield.correlation_map(TANH, c, phase.length, 1.5, 0.05),
            meanfield.length_map(TANH, q, 1.5, 0.05),
        )
        gaps.append(1 - c)
        lengths.append(q - phase.length)
    layers = np.arange(30)
    assert -1 / np.polyfit(layers[10:], np.log(gaps[10:]), 1)[0] == pytest.approx(phase.correlation_scale, rel=0.01)
    assert -1 / np.polyfit(layers[:6], np.log(lengths[:6]), 1)[0] == pytest.approx(phase.length_scale, rel=0.01)


@pytest.mark.parametrize("record", [TANH, ERF, RELU, SIGMOID], ids=lambda r: r.name)
def test_chi1_is_the_slope_of_the_correlation_map(record: meanfield.Activation) -> None:
    sw2, sb2, h = 1.3, 0.1, 1e-4
    q = meanfield.fixed_length(record, sw2, sb2)
    below, at, above = (meanfield.correlation_map(record, c, q, sw2, sb2) for c in (0.5 - h, 0.5, 0.5 + h))
    assert (above - below) / (2 * h) == pytest.approx(meanfield.chi(record, q, sw2, 0.5), rel=1e-5)
    assert below < at < above


def test_wide_networks_follow_the_maps() -> None:
    """Monte Carlo: one wide tanh net, two inputs, five layers."""
    rng = np.random.default_rng(1)
    n, sw2, sb2 = 1200, 2.0, 0.05
    h = np.stack([np.ones(n), np.ones(n)])
    h[1, : n // 2] = -1  # orthogonal inputs of q = 1
    q, c = 1.0, 0.0
    for _ in range(5):
        w = rng.standard_normal((n, n)) * np.sqrt(sw2 / n)
        h = np.tanh(h) @ w.T + rng.standard_normal(n) * np.sqrt(sb2) if q != 1.0 else h @ w.T
        if q == 1.0:
            q = sw2
        else:
            c, q = meanfield.correlation_map(TANH, c, q, sw2, sb2), meanfield.length_map(TANH, q, sw2, sb2)
        assert np.mean(h**2) == pytest.approx(q, rel=0.1)
        assert np.mean(h[0] * h[1]) / np.mean(h**2) == pytest.approx(c, abs=0.07)


def test_relu_closed_forms() -> None:
    for sw2, xi in ((1.0, 1.4427), (1.5, 3.4761), (1.9, 19.4957)):
        phase = meanfield.phase(RELU, sw2, 0.05)
        assert phase.length == pytest.approx(0.05 / (1 - sw2 / 2))
        assert phase.chi1 == sw2 / 2
        assert (phase.correlation, phase.correlation_scale) == pytest.approx((1, xi), rel=1e-4)
        assert meanfield.phase(RELU, sw2, 0.7).correlation_scale == pytest.approx(xi, rel=1e-4)
    assert meanfield.phase(RELU, 2.0, 0.0, start=3.0).length == 3.0
    assert meanfield.phase(RELU, 2.0, 0.05).length == inf
    assert meanfield.phase(RELU, 2.5, 0.05).gradient_scale == pytest.approx(1 / log(1.25))
    assert meanfield.phase(RELU, 1.5, 0.0).length == 0


def test_he_with_bias_grows_linearly_and_aligns() -> None:
    q, c, found = 1.0, 0.0, {}
    for layer in range(1, 101):
        c, q = meanfield.correlation_map(RELU, c, q, 2.0, 0.05), meanfield.length_map(RELU, q, 2.0, 0.05)
        found[layer] = c
        assert q == pytest.approx(1 + 0.05 * layer)
    assert [found[n] for n in (1, 10, 100)] == pytest.approx([0.35077132, 0.90250031, 0.99839664], abs=1e-8)


def test_relu_alignment_table_and_law() -> None:
    d = meanfield.relu_decorrelation(4000)
    for layer, c in ALIGNED.items():
        assert 1 - d[layer] == pytest.approx(c, abs=1e-9)
    layers = np.array([10, 50, 100, 500, 1000])
    assert layers**2 * d[layers] == pytest.approx([12.85, 30.35, 35.77, 42.07, 43.13], abs=0.01)
    far = np.arange(1000, 4000)
    slope, intercept = np.polyfit(np.log(far), np.log(d[far]), 1)
    assert slope == pytest.approx(-2, abs=0.02)
    assert d[4000] * 4000**2 == pytest.approx(meanfield.RELU_DECORRELATION, rel=0.01)
    assert pytest.approx(44.4132, abs=1e-4) == meanfield.RELU_DECORRELATION
    assert intercept > 0


def test_the_relu_recursion_is_the_general_map_without_bias() -> None:
    d, c = meanfield.relu_decorrelation(5, 0.3), 0.3
    for layer in range(1, 6):
        c = meanfield.correlation_map(RELU, c, 1.0, 1.234, 0.0)
        assert 1 - d[layer] == pytest.approx(c, abs=1e-12)


def test_kumars_sigmoid_is_not_critical() -> None:
    """12.8 makes the linearised activation variance 1, but the true fixed point has chi1 = 0.354."""
    phase = meanfield.phase(SIGMOID, 12.8)
    assert (phase.length, phase.chi1) == pytest.approx((4.53498, 0.35381), abs=1e-5)
    second = phase.length / 12.8
    mean = 0.5  # by symmetry
    assert second - mean**2 == pytest.approx(0.10430, abs=1e-5)
    xavier = meanfield.phase(SIGMOID, 1.0)
    assert (xavier.length, xavier.chi1) == pytest.approx((0.26469, 0.0557), abs=5e-5)
    assert phase.chi1 / xavier.chi1 == pytest.approx(6.4, abs=0.1)
    assert meanfield.phase(ACTIVATIONS["softplus"], 2.7019).length == inf


def test_narrow_slopes_are_resolved() -> None:
    """Sigmoid at sw2 = 400: an adaptive rule gives chi1 = 1.93068. 201 Hermite nodes give 2.34, their own spacing."""
    sw2 = 400.0
    length = meanfield.fixed_length(SIGMOID, sw2, 0.0)
    s = np.sqrt(length)

    def integral(f: Callable[[float], float]) -> float:
        return quad(lambda x: f(x) * stats.norm.pdf(x, scale=s), -12 * s, 12 * s, points=[-4, 0, 4], limit=400)[0]

    assert sw2 * integral(lambda x: expit(x) ** 2) == pytest.approx(length, rel=1e-7)
    chi1 = sw2 * integral(lambda x: (expit(x) * expit(-x)) ** 2)
    assert chi1 == pytest.approx(1.93068, abs=1e-5)
    assert meanfield.chi(SIGMOID, length, sw2) == pytest.approx(chi1, rel=1e-7)


def test_far_in_the_chaotic_phase() -> None:
    """Saturated, q* = sw2 and chi1 = sw2 E phi'^2 ~ sqrt(sw2) times the integral of phi'^2 over sqrt(2 pi)."""
    for record, area in ((TANH, 4 / 3), (ACTIVATIONS["hardtanh"], 2.0)):
        phase = meanfield.phase(record, 1e4)
        assert phase.length == pytest.approx(1e4, rel=0.02)
        assert phase.chi1 == pytest.approx(100 * area / np.sqrt(2 * np.pi), rel=0.01)
        assert phase.correlation == pytest.approx(0, abs=1e-9)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="sw2 must be a finite number above 0, but got 0"):
        meanfield.phase(TANH, 0, 0.1)
    with pytest.raises(ValueError, match="no critical point"):
        meanfield.critical_line(ACTIVATIONS["softplus"], 0.0)


@pytest.mark.parametrize("name", ["tanh", "erf", "hardtanh"])
def test_an_odd_activation_without_a_bias_forgets_how_inputs_are_correlated(name: str) -> None:
    """c* = 0 in all of the chaotic phase, where the map must begin with a slope below 1 and end with one above."""
    phi = ACTIVATIONS[name]
    at = 1 / meanfield.chi(phi, 1e-12, 1.0)
    for sw2 in at * np.concatenate([[1 + 1e-7, 1 + 1e-5], np.linspace(1.01, 12, 60)]):
        phase = meanfield.phase(phi, float(sw2), 0.0)
        assert phase.correlation == 0, sw2
        assert meanfield.chi(phi, phase.length, float(sw2), 0.0) <= 1 < phase.chi1 + 1e-12


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "silu", "gelu"])
def test_the_correlation_map_at_zero_is_that_of_means(name: str) -> None:
    """What makes c* in the chaotic phase never negative: `(sw2 (E phi)^2 + sb2) / q'`, by a quadrature of our own."""
    phi, q, sw2, sb2 = ACTIVATIONS[name], 1.7, 3.0, 0.2
    mean, square = (
        quad(lambda z, k=k: float(phi.phi(np.array(np.sqrt(q) * z))) ** k * stats.norm.pdf(z), -12, 12)[0]
        for k in (1, 2)
    )
    found = meanfield.correlation_map(phi, 0.0, q, sw2, sb2)
    assert found == pytest.approx((sw2 * mean**2 + sb2) / (sw2 * square + sb2), abs=1e-7)


@pytest.mark.parametrize("name", ["tanh", "erf", "silu", "gelu"])
def test_a_bias_that_vanishes_leaves_the_critical_point_without_one(name: str) -> None:
    """Down to the least float, and without a jump on the way there."""
    phi = ACTIVATIONS[name]
    expected = meanfield.critical_line(phi, 0.0)
    for sb2 in (5e-324, 1e-30, 1e-26, 1e-24, 1e-20, 1e-18):
        assert meanfield.critical_line(phi, sb2) == pytest.approx(expected, rel=1e-5, abs=1e-5), sb2


@pytest.mark.parametrize("q", [1e8, 1e12, 1e16, 1e30, 1e200])
def test_saturated_units_are_signs(q: float) -> None:
    """Of which E sign sign = 2 arcsin(c) / pi, and of whose slopes only those at small arguments are left."""
    for name in ("erf", "hardtanh"):
        phi = ACTIVATIONS[name]
        for c in (-1.0, -0.7, 0.0, 0.4, 0.99, 1.0):
            assert meanfield.covariance(phi, q, c) == pytest.approx(2 * np.arcsin(c) / np.pi, abs=1e-4)
    assert meanfield.chi(ACTIVATIONS["hardtanh"], q, 1.0) == pytest.approx(np.sqrt(2 / np.pi / q), rel=1e-6)
    integral = 4 / np.pi * np.sqrt(np.pi / 2)  # of the squared slope of erf
    assert meanfield.chi(ERF, q, 1.0) == pytest.approx(integral / np.sqrt(2 * np.pi * q), rel=1e-6)


@pytest.mark.parametrize("q", [0.01, 1.0, 40.0, 1e6])
def test_the_second_moment_of_hardtanh_is_its_integral(q: float) -> None:
    edge = 1 / np.sqrt(q)
    inside = quad(lambda z: q * z * z * stats.norm.pdf(z), 0, min(edge, 12), epsabs=1e-14)[0]
    expected = 2 * (inside + stats.norm.sf(edge))
    for c in (1.0, -1.0):
        assert meanfield.covariance(ACTIVATIONS["hardtanh"], q, c) == pytest.approx(c * expected, rel=1e-10)
