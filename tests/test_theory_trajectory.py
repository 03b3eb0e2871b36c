"""Signal, correlation and gradient over depth: the families' maps against the reference and against random nets."""

from itertools import islice

import numpy as np
import pytest

from isoinit.theory import meanfield
from isoinit.theory.activations import ACTIVATIONS
from isoinit.theory.families import FAMILIES
from isoinit.theory.finite_width import Chain
from isoinit.theory.maps import Bias, Point
from isoinit.theory.profile import LEVELS, SINGULAR_LEVELS, profile
from isoinit.theory.simulate import simulate
from isoinit.theory.state import State
from isoinit.theory.trajectory import walk

NONE, INPUTS = Bias(0.0, "zero"), Point(1.0, 1.0)


def states(family: str, layers: int, bias: Bias = NONE, width: int = 64, g: float = 1.0) -> list[State]:
    return list(islice(walk(FAMILIES[family], width, g, bias, INPUTS), layers))


@pytest.mark.parametrize(("sb", "q", "gain"), [(0.05, 1.0493, 1.5522), (0.2, 1.759, 4.408), (1.0, 18.83, 20.35)])
def test_mirrored_with_iid_bias_is_the_tabulated_map(sb: float, q: float, gain: float) -> None:
    point, product, bias = Point(1.0, 1.0), 1.0, Bias(sb**2, "iid")
    for _ in range(20):
        step = FAMILIES["mirrored_orthogonal"].step(point, 1.0, bias)
        point, product = step.point, product * step.gain
    assert (point.q, product) == pytest.approx((q, gain), rel=5e-4)


def test_the_iid_bias_map_is_its_own_gaussian_integral() -> None:
    """q', q' c', slopes, noise and share of the mirrored unit s = relu(u + b1) - relu(-u + b2) by 1e6 draws."""
    rng = np.random.default_rng(0)
    q, d, sb2, n = 1.0, 0.7, 0.4, 1_000_000
    u, w, b1, b2 = rng.standard_normal((4, n))
    v = (1 - d) * u + np.sqrt(1 - (1 - d) ** 2) * w
    b1, b2 = b1 * np.sqrt(sb2), b2 * np.sqrt(sb2)

    def s(u: np.ndarray) -> np.ndarray:
        return np.maximum(u + b1, 0) - np.maximum(-u + b2, 0)

    slope = (u + b1 > 0).astype(float) + (-u + b2 > 0)
    step = FAMILIES["mirrored_orthogonal"].step(Point(q, d), 1.0, Bias(sb2, "iid"))
    square = s(u) ** 2
    assert step.point.q == pytest.approx(square.mean(), rel=5e-3)
    assert step.point.q * (1 - step.point.d) == pytest.approx(np.mean(s(u) * s(v)), rel=1e-2)
    assert step.gain == pytest.approx(np.mean(slope**2), rel=5e-3)
    assert step.slope_spread == pytest.approx(np.mean(slope**4) / np.mean(slope**2) ** 2 - 1, rel=1e-2)
    h = 0.02
    share = (np.log(np.mean(s(u * (1 + h)) ** 2)) - np.log(np.mean(s(u * (1 - h)) ** 2))) / (4 * h)
    assert step.share == pytest.approx(share, rel=1e-2)
    noise = np.var(square) / step.point.q**2 - 2 * step.share**2
    assert step.signal_noise == pytest.approx(noise, rel=3e-2)


def test_a_vanishing_iid_bias_is_no_bias() -> None:
    walked = (
        islice(walk(FAMILIES["mirrored_orthogonal"], 64, 1.0, bias, INPUTS, part=0.4), 30)
        for bias in (Bias(1e-12, "iid"), NONE)
    )
    for a, b in zip(*walked, strict=True):
        assert a._replace(classes=b.classes) == pytest.approx(b, abs=1e-4)
        assert a.classes == pytest.approx(b.classes, abs=1e-2)  # goes with the root of the noise


def test_gradient_explosion_by_the_small_bias_law() -> None:
    """Gain 1 + 0.4502 sqrt(sb2 / q) per layer: the exponent 1/2 in sb2, fitted."""
    variances = np.array([1e-6, 1e-5, 1e-4])
    gains = [FAMILIES["mirrored_orthogonal"].step(Point(1, 1), 1, Bias(v, "iid")).gain - 1 for v in variances]
    slope, _ = np.polyfit(np.log(variances), np.log(gains), 1)
    assert slope == pytest.approx(0.5, abs=0.003)
    assert gains[0] == pytest.approx(np.sqrt(2) / np.pi * 1e-3, rel=5e-3)
    assert np.sqrt(2) / np.pi == pytest.approx(0.4502, abs=1e-4)


@pytest.mark.parametrize("sb2", [0.0, 0.05])
def test_plain_nets_follow_mean_field(sb2: float) -> None:
    relu, q, c = ACTIVATIONS["relu"], 2.0 + sb2, sb2 / (2.0 + sb2)
    for state in states("gaussian", 20, Bias(sb2, "iid"), width=1_000_000):
        assert state.correlation == pytest.approx(c, abs=1e-5)
        assert state.log_signal == pytest.approx(np.log(q / 2), abs=2e-3)
        q, c = meanfield.length_map(relu, q, 2.0, sb2), meanfield.correlation_map(relu, c, q, 2.0, sb2)


def test_slopes_in_depth_are_the_declared_exponents() -> None:
    """Log-variance 5, 3, 4, 0 times L/N; relative variance 2L, L, L, 0 from the input on; gradients flat for He."""
    for family, spread, variance in (
        ("gaussian", 5, 2),
        ("orthogonal", 3, 1),
        ("mirrored_gaussian", 4, 1),
        ("mirrored_orthogonal", 0, 0),
    ):
        walked = states(family, 100, width=1000)
        layers = np.arange(1, 101)
        assert np.polyfit(layers, [s.signal_variance for s in walked], 1)[0] * 1000 == pytest.approx(spread, rel=0.01)
        assert np.polyfit(layers, [s.relative_variance for s in walked], 1)[0] == pytest.approx(variance)
        assert np.polyfit(layers, [s.log_gradient for s in walked], 1)[0] == pytest.approx(-spread / 2000, rel=0.01)


def test_xavier_halves_and_its_alignment_is_hes() -> None:
    he, xavier = states("gaussian", 50, width=1_000_000), states("gaussian", 50, width=1_000_000, g=0.5)
    assert xavier[-1].log_gradient - he[-1].log_gradient == pytest.approx(50 * np.log(0.5))
    assert [s.correlation for s in xavier] == pytest.approx([s.correlation for s in he])
    assert 1 - he[49].correlation == pytest.approx(meanfield.relu_decorrelation(49)[49], rel=1e-3)


def test_mirrored_bias_keeps_the_jacobian_and_dilutes_the_inputs() -> None:
    """q_l = q_0 + sb2 l and 1 - c_l = q_0 / q_l, exactly."""
    for state in states("mirrored_orthogonal", 40, Bias(0.3, "mirrored")):
        assert state.log_gradient == 0
        assert 1 - state.correlation == pytest.approx(1 / (1 + 0.3 * state.layer))


def test_ones_orthogonal_at_depth_100() -> None:
    """Measured in the reference at width 128: rms 0.64, mean 0.60, sample variance 0.045."""
    point, _ = FAMILIES["ones_orthogonal"].first(INPUTS, 1.0, NONE)
    for _ in range(100):
        point = FAMILIES["ones_orthogonal"].step(point, 1.0, NONE).point
    assert np.sqrt(point.q + point.mean**2) == pytest.approx(0.64, abs=0.01)
    assert point.mean == pytest.approx(0.60, abs=0.02)
    assert point.q == pytest.approx(0.045, abs=0.006)


SIMULATED = [
    # scheme, bias variance, mode, depth, tolerance of norms and gradients in units of their standard error
    ("he_normal", 0.0, "zero", 24),
    ("he_normal", 0.1, "iid", 24),
    ("xavier_normal", 0.05, "mirrored", 12),
    ("orthogonal", 0.0, "zero", 24),
    ("orthogonal", 0.1, "iid", 24),
    ("ll_gauss", 0.0, "zero", 24),
    ("ll_orth", 0.05, "iid", 24),
    ("ll_orth", 0.3, "iid", 16),
    ("ll_orth", 0.3, "mirrored", 24),
    ("ones_orthogonal", 0.05, "iid", 16),
    ("lsuv", 0.0, "zero", 16),
    ("sample_variance", 0.0, "zero", 8),
    ("torch_default", 0.0, "zero", 6),
]


@pytest.mark.parametrize(("scheme", "sb2", "mode", "depth"), SIMULATED)
def test_theory_and_random_networks_agree_layer_by_layer(scheme: str, sb2: float, mode: str, depth: int) -> None:
    """Width 48, 50 nets: medians of norm and gradient within sampling error plus 0.2 nats, correlations within 0.06."""
    nets = 50
    theory = profile(scheme, depth=depth, width=48, sigma_b2=sb2, bias_mode=mode)
    drawn = simulate(
        scheme, depth=depth, width=48, sigma_b2=sb2, bias_mode=mode, nets=nets, rng=np.random.default_rng(1)
    )
    error = 4 * theory.log_gradient_sd / np.sqrt(nets)
    assert np.all(np.abs(drawn.log_gradient.mean(0) - theory.log_gradient) < error + 0.2)
    assert np.all(
        np.abs(drawn.correlation.mean(0) - theory.correlation) < 0.06 + 4 * drawn.correlation.std(0) / np.sqrt(nets)
    )
    median = theory.log_norm[:, 2]
    assert np.all(np.abs(np.median(drawn.log_norm, 0) - median) < 5 * drawn.log_norm.std(0) / np.sqrt(nets) + 0.15)
    last_sd = theory.log_gradient_sd[-1]
    assert drawn.log_gradient[:, -1].std() == pytest.approx(last_sd, rel=0.3, abs=0.15)


@pytest.mark.parametrize(("scheme", "sb2"), [("he_normal", 0.0), ("he_normal", 0.1), ("ll_gauss", 0.0)])
def test_norm_quantiles_of_random_networks(scheme: str, sb2: float) -> None:
    """The 90 % band holds 90 % of 300 nets, and its median half of them, at every depth."""
    mode = "iid" if sb2 else "zero"
    theory = profile(scheme, depth=20, width=32, sigma_b2=sb2, bias_mode=mode)
    assert theory.norm_route.startswith("exact")
    drawn = simulate(
        scheme, depth=20, width=32, sigma_b2=sb2, bias_mode=mode, nets=300, rng=np.random.default_rng(2)
    ).log_norm
    for column, level in enumerate(LEVELS):
        share = np.mean(drawn <= theory.log_norm[:, column], axis=0)
        assert share == pytest.approx(np.full(19, level), abs=4 * np.sqrt(level * (1 - level) / 300))


def test_the_typical_angle_of_a_gaussian_core() -> None:
    """E log(1 - c^2) falls by digamma(M/2) - digamma((M-1)/2) a layer, exactly; the mean of c does not move."""
    drawn = simulate("ll_gauss", depth=40, width=16, nets=3000, rng=np.random.default_rng(3))
    logs = np.mean(np.log(1 - drawn.correlation**2), axis=0)
    slope = np.polyfit(np.arange(39), logs, 1)[0]
    assert slope == pytest.approx(FAMILIES["mirrored_gaussian"].twist(16), rel=0.03)
    walked = states("mirrored_gaussian", 39, width=16)
    typical = np.log([s.distance * (2 - s.distance) for s in walked])
    assert np.polyfit(np.arange(39), typical, 1)[0] == pytest.approx(slope, rel=0.03)
    assert np.abs(drawn.correlation.mean(0)).max() < 0.06
    assert all(s.correlation == 0 for s in walked)


def test_jacobian_quantiles_wide_and_deep() -> None:
    """The upper quarter, where a singular value is more than rounding; wide spectra relative to each net's own norm."""
    rng = np.random.default_rng(4)
    upper = SINGULAR_LEVELS > 0.75
    for scheme in ("he_normal", "orthogonal"):
        theory = profile(scheme, depth=7, width=96)
        drawn = simulate(scheme, depth=7, width=96, nets=6, rng=rng).singular_values
        assert theory.spectrum_route == "wide limit"
        shape = theory.singular_values / np.sqrt(np.mean(theory.singular_values**2))
        found = np.quantile(drawn / np.sqrt(np.mean(drawn**2, axis=1, keepdims=True)), SINGULAR_LEVELS[upper])
        assert shape[upper] == pytest.approx(found, rel=0.2, abs=0.17)
    for scheme in ("ll_gauss", "he_normal", "orthogonal"):
        theory = profile(scheme, depth=50, width=32)
        assert theory.spectrum_route.startswith("deep limit")
        drawn = simulate(scheme, depth=50, width=32, nets=40, rng=rng).singular_values
        levels = 1 - (np.arange(3) + 0.5) / drawn.shape[1]
        typical = np.median(np.log(drawn[:, :3]), axis=0)
        alive = theory.singular_values > 0
        found = np.interp(levels, SINGULAR_LEVELS[alive], np.log(theory.singular_values[alive]))
        assert found == pytest.approx(typical, abs=0.8), scheme
        assert typical[0] - typical[2] > 2, "the tolerance tells the three apart"
    isometric = profile("ll_orth", depth=200, width=64)
    assert isometric.singular_values == pytest.approx(1)


def test_a_profile_says_what_it_does_not_know() -> None:
    free = profile("ll_orth", depth=10, width=32, sigma_b2=0.1, bias_mode="iid")
    assert len(free.singular_values) == len(free.singular_levels) == 0
    assert "simulate" in free.spectrum_route
    smooth = profile("xavier_normal", depth=10, width=32, activation="tanh")
    assert len(smooth.singular_values) == 0
    assert "tanh" in smooth.spectrum_route
    with pytest.raises(ValueError, match="even width"):
        simulate("ll_orth", depth=4, width=33, rng=np.random.default_rng(5))


def test_dead_networks_have_finite_logs() -> None:
    drawn = simulate("he_normal", depth=12, width=2, nets=50, rng=np.random.default_rng(6))
    assert np.isfinite(drawn.log_norm).all()
    assert np.isfinite(drawn.log_gradient).all()
    assert (drawn.log_norm[:, -1] < -600).mean() > 0.5
    theory = profile("he_normal", depth=12, width=2)
    assert np.isneginf(theory.log_norm[-1, 2]), "the median net is dead"


@pytest.mark.parametrize("scheme", ["lsuv", "sample_variance", "sample_variance_scale"])
@pytest.mark.parametrize("scale", [0.6, 1.5])
def test_a_gain_after_calibration_compounds(scheme: str, scale: float) -> None:
    """The data-driven schemes adapt first and are scaled then, so the gain acts in every layer anew."""
    own = profile(scheme, depth=2, width=256).prediction.sigma_w2
    theory = profile(scheme, depth=6, width=256, sigma_w2=own * scale)
    drawn = simulate(scheme, depth=6, width=256, sigma_w2=own * scale, nets=8, rng=np.random.default_rng(7))
    assert drawn.log_norm.mean(0) == pytest.approx(theory.log_norm[:, 2], abs=0.2)
    error = 4 * drawn.correlation.std(0) / np.sqrt(8)
    assert np.all(np.abs(drawn.correlation.mean(0) - theory.correlation) < 0.05 + error)
    assert drawn.log_gradient.mean(0) == pytest.approx(theory.log_gradient, abs=0.25)
    assert abs(theory.log_norm[-1, 2] - profile(scheme, depth=6, width=256).log_norm[-1, 2]) > 0.3


def test_a_thousand_layers_of_random_networks() -> None:
    """|x|^2 is e^-800 at the end: carried as a logarithm on both sides."""
    theory = profile("lecun_normal", depth=1000, width=24)
    drawn = simulate("lecun_normal", depth=1000, width=24, nets=24, rng=np.random.default_rng(8))
    sd = (theory.log_norm[-1, 4] - theory.log_norm[-1, 0]) / 3.29
    assert theory.log_norm[-1, 2] < -750
    assert np.median(drawn.log_norm[:, -1]) == pytest.approx(theory.log_norm[-1, 2], abs=5 * sd / np.sqrt(24))
    assert np.mean(drawn.log_gradient[:, -1]) == pytest.approx(theory.log_gradient[-1], abs=5 * sd / np.sqrt(24))


@pytest.mark.parametrize(("width", "depth", "sb2"), [(16, 30, 0.1), (32, 50, 0.05)])
def test_the_gradient_of_a_narrow_mirrored_net_with_an_iid_bias(width: int, depth: int, sb2: float) -> None:
    """To first order in 1/width its log was 0.8 and 0.4 too small at the end, its deviation 30 and 20 % too large."""
    point = {"depth": depth, "width": width, "sigma_b2": sb2, "bias_mode": "iid"}
    theory = profile("ll_orth", **point)
    drawn = simulate("ll_orth", nets=300, rng=np.random.default_rng(9), **point).log_gradient
    error = 4 * theory.log_gradient_sd / np.sqrt(300)
    assert np.all(np.abs(drawn.mean(0) - theory.log_gradient) < error + 0.1)
    assert drawn[:, -1].std() == pytest.approx(theory.log_gradient_sd[-1], rel=0.15)


def test_a_gaussian_core_with_an_iid_bias_beyond_mean_field() -> None:
    """At twice the width, where mean field has both the correlation and the gradient too small."""
    point = {"depth": 65, "width": 32, "sigma_b2": 0.05, "bias_mode": "iid"}
    theory = profile("ll_gauss", **point)
    drawn = simulate("ll_gauss", nets=300, rng=np.random.default_rng(10), **point)
    error = 4 / np.sqrt(300)
    assert np.all(np.abs(drawn.correlation.mean(0) - theory.correlation) < error * drawn.correlation.std(0) + 0.03)
    assert np.all(np.abs(drawn.log_gradient.mean(0) - theory.log_gradient) < error * theory.log_gradient_sd + 0.1)


@pytest.mark.parametrize(
    ("family", "g"), [("gaussian", 1.0), ("gaussian", 0.5), ("gaussian", 1.3), ("orthogonal", 1.0)]
)
def test_what_biases_add_to_a_plain_net_is_the_ratio_of_its_mean_squares(family: str, g: float) -> None:
    """Of the exact moments of the norm, with and without; at He's variance 1 + l b / 2 after l layers."""
    b = 0.3
    with_biases, without = (Chain.equal(64, 20, 2 * g, v, start=64.0).moments()[0][1:] for v in (b, 0.0))
    found = [s.log_shared for s in states(family, 20, Bias(b, "iid"), g=g)]
    assert found == pytest.approx(np.log(with_biases / without), abs=1e-9)
    if g == 1:
        assert found == pytest.approx(np.log1p(np.arange(1, 21) * b / 2), abs=1e-9)
    assert {s.log_shared for s in states(family, 20, g=g)} == {0.0}


@pytest.mark.parametrize("family", ["mirrored_gaussian", "mirrored_orthogonal"])
def test_nothing_is_told_of_what_biases_add_to_a_mirrored_net(family: str) -> None:
    assert {s.log_shared for s in states(family, 20, Bias(0.3, "iid"))} == {0.0}


@pytest.mark.parametrize("g", [1e-30, 1e-8, 1e8, 1e30])
def test_what_biases_add_is_told_where_the_signal_leaves_the_floats(g: float) -> None:
    """Without them |x|^2 goes with g^l; with them it stays at b / 2 if g is small, else it hardly differs."""
    found = [s.log_shared for s in states("gaussian", 20, Bias(0.3, "iid"), g=g)]
    alone = np.log(0.15) - np.arange(1, 21) * np.log(g)
    assert found == pytest.approx(alone if g < 1 else np.zeros(20), abs=1e-6)
