"""Smooth activations over depth: maps, power laws at criticality, finite width, each against random nets or a limit."""

from itertools import islice

import numpy as np
import pytest

from isoinit.theory import meanfield
from isoinit.theory.activations import ACTIVATIONS
from isoinit.theory.factors import Factor, gaussian, mirrored_gaussian
from isoinit.theory.maps import Point
from isoinit.theory.predict import predict
from isoinit.theory.profile import profile
from isoinit.theory.response import response
from isoinit.theory.simulate import simulate
from isoinit.theory.smooth import SmoothNet
from isoinit.theory.state import State

INPUTS = Point(1.0, 1.0)


def states(
    activation: str, layers: int, sw2: float, sb2: float = 0.0, width: int = 10**9, gaussian=True
) -> list[State]:
    return list(islice(SmoothNet(activation, width, sw2, sb2, gaussian, False).walk(INPUTS), layers))


@pytest.mark.parametrize(
    ("activation", "sw2", "sb2"),
    [("tanh", 1.0, 0.05), ("tanh", 1.760955, 0.05), ("tanh", 3.0, 0.05), ("hardtanh", 1.165545, 0.05),
     ("sigmoid", 12.8, 0.1), ("erf", 1.375839, 0.05), ("erf", 1e12, 1e10), ("tanh", 1e4, 1e3)],
)  # fmt: skip
def test_states_are_the_iterated_maps(activation: str, sw2: float, sb2: float) -> None:
    """The walk leaves the maps for a Chebyshev series once q stands still; iterating them on shows no difference."""
    record, q = ACTIVATIONS[activation], sw2 + sb2
    c = sb2 / q
    for state in states(activation, 80, sw2, sb2):
        assert state.correlation == pytest.approx(c, abs=1e-6)
        assert np.exp(state.log_signal) == pytest.approx(meanfield.length_map(record, q, 1.0, 0.0), rel=1e-6)
        c, q = meanfield.correlation_map(record, c, q, sw2, sb2), meanfield.length_map(record, q, sw2, sb2)


def test_tanh_at_the_origin_follows_a_power_law() -> None:
    """sw2 = 1, sb2 = 0: q_l ~ 1 / (2 l) and a gradient that falls like 1 / l, where the fixed point alone says 1."""
    walked, layers = states("tanh", 999, 1.0), np.arange(300, 1000)
    for values in ([s.log_signal for s in walked], [s.log_gradient for s in walked]):
        slope, _ = np.polyfit(np.log(layers), values[299:], 1)
        assert slope == pytest.approx(-1, abs=0.02)
    assert np.exp(walked[-1].log_signal) * 999 == pytest.approx(0.5, rel=0.02)


def test_on_the_critical_line_inputs_align_like_one_over_l() -> None:
    """1 - c_l ~ 2 chi1 / (chi' l) with chi' the slope of chi in c at 1: exponent -1, where ReLU's kink makes it -2."""
    sw2, q = meanfield.critical_line(ACTIVATIONS["tanh"], 0.05)
    walked, layers = states("tanh", 900, sw2, 0.05), np.arange(300, 901)
    d = np.array([s.distance for s in walked])
    assert np.polyfit(np.log(layers), np.log(d[299:]), 1)[0] == pytest.approx(-1, abs=0.02)
    h = 1e-3
    curvature = (1 - meanfield.chi(ACTIVATIONS["tanh"], q, sw2, 1 - h)) / h
    assert d[-1] * 900 == pytest.approx(2 / curvature, rel=0.05)
    assert abs(walked[-1].log_gradient - walked[300].log_gradient) < 1e-3


@pytest.mark.parametrize("gaussian", [True, False])
def test_finite_width_reduces_to_relu_and_linear(gaussian: bool) -> None:
    """The first-order spread is 5 / N and 3 / N for ReLU, 2 / N and 0 for a linear unit, of signal and of gradient."""
    width, layers = 4000, 50
    for name, sw2, expected in (("relu", 2.0, 5 if gaussian else 3), ("linear", 1.0, 2 if gaussian else 0)):
        last = states(name, layers, sw2, width=width, gaussian=gaussian)[-1]
        scaled = np.array([last.signal_variance, last.gradient_variance]) * width / layers
        assert scaled == pytest.approx(expected, abs=0.01)
        drifts = np.array([last.log_signal, last.log_gradient]) * width / layers
        assert drifts == pytest.approx(-expected / 2, abs=0.01)


@pytest.mark.parametrize(
    ("scheme", "activation", "sw2", "sb2"),
    [
        ("xavier_normal", "tanh", 1.76, 0.05),
        ("orthogonal", "tanh", 1.76, 0.05),
        ("orthogonal", "tanh", None, 0.0),
        ("xavier_normal", "hardtanh", 1.5, 0.05),
        ("xavier_normal", "sigmoid", 12.8, 0.1),
        ("xavier_normal", "linear", None, 0.1),
    ],
)
def test_random_networks(scheme: str, activation: str, sw2: float | None, sb2: float) -> None:
    """Width 48, 18 hidden layers, 200 nets: means within their error plus 0.15, deviations within 30 and 20 %."""
    kind = {"depth": 19, "width": 48, "activation": activation, "sigma_w2": sw2, "sigma_b2": sb2}
    kind["bias_mode"] = "iid" if sb2 else "zero"
    theory, drawn = profile(scheme, **kind), simulate(scheme, nets=200, rng=np.random.default_rng(0), **kind)
    norm, gradient = drawn.log_norm[:, -1], drawn.log_gradient[:, -1]
    assert np.median(norm) == pytest.approx(theory.log_norm[-1, 2], abs=5 * norm.std() / np.sqrt(200) + 0.05)
    assert gradient.mean() == pytest.approx(theory.log_gradient[-1], abs=4 * gradient.std() / np.sqrt(200) + 0.15)
    assert norm.std() == pytest.approx((theory.log_norm[-1, 4] - theory.log_norm[-1, 0]) / 3.29, rel=0.3, abs=0.03)
    assert gradient.std() == pytest.approx(theory.log_gradient_sd[-1], rel=0.2)
    assert drawn.correlation[:, -1].mean() == pytest.approx(theory.correlation[-1], abs=0.06)


@pytest.mark.parametrize(
    ("scheme", "activation", "scale", "sb2", "normalization"),
    [
        ("xavier_normal", "tanh", 1.76, 0.05, "none"),
        ("orthogonal", "tanh", 1.0, 0.0, "none"),
        ("xavier_normal", "hardtanh", 1.5, 0.05, "none"),
        ("xavier_normal", "tanh", 1.0, 0.0, "batch"),
    ],
)
def test_real_networks(scheme: str, activation: str, scale: float, sb2: float, normalization: str) -> None:
    """isoinit.probe on 8 torch networks, width 64, depth 20: the norm within four standard errors and 0.06."""
    torch = pytest.importorskip("torch")
    from isoinit.networks import build
    from isoinit.probe import probe
    from isoinit.schemes import initialize

    mode = "iid" if sb2 else "zero"
    theory = predict(
        scheme, activation=activation, normalization=normalization, depth=20, width=64,
        sigma_w2=scale, sigma_b2=sb2, bias_mode=mode,
    )  # fmt: skip
    norms, correlations = [], []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(32, 64, generator=generator, dtype=torch.float64)
        model = build("mlp", (64,), width=64, depth=20, out_features=10, activation=activation,
                      normalization=normalization, scheme=scheme)  # fmt: skip
        initialize(model.double(), scheme, bias_variance=sb2, bias_mode=mode, weight_scale=scale, generator=generator)
        seen = probe(model, x, jacobian=False)
        norms.append(seen.log_forward_ratio)
        correlations.append(seen.correlation_last)
    assert np.mean(norms) == pytest.approx(theory.drift, abs=4 * theory.spread / np.sqrt(8) + 0.06)
    assert np.mean(correlations) == pytest.approx(theory.correlation, abs=0.1)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus", "erf", "hardtanh", "relu"])
@pytest.mark.parametrize("q", [0.03, 0.7, 5.0])
def test_the_table_of_moments_is_its_own_gaussian_integral(activation: str, q: float) -> None:
    """Against a plain sum over a fine grid; the derivatives by Hermite polynomials, without any table or difference."""
    phi, z = ACTIVATIONS[activation], np.linspace(-9, 9, 200_001)
    weights = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    square, slope = phi.phi(np.sqrt(q) * z) ** 2, phi.slope(np.sqrt(q) * z) ** 2
    found = response(activation, np.array([np.log(q)]))
    s, chi = weights @ square, weights @ slope
    assert (found.square[0], found.slope[0]) == pytest.approx((np.log(s), np.log(chi)), abs=1.5e-4)
    second, fourth = z * z - 1, z**4 - 6 * z * z + 3
    for values, mean, elasticity, curvature in (
        (square, s, found.elasticity, found.curvature),
        (slope, chi, found.slope_elasticity, found.slope_curvature),
    ):
        assert elasticity[0] == pytest.approx(weights @ (values * second) / mean / 2, abs=2e-3)
        assert curvature[0] == pytest.approx(weights @ (values * fourth) / mean / 4, abs=2e-2)
    told = (found.noise[0], found.slope_noise[0], found.shared[0])
    meant = (weights @ square**2 / s**2 - 1, weights @ slope**2 / chi**2 - 1, weights @ (square * slope) / s / chi - 1)
    assert told == pytest.approx(meant, rel=2e-3, abs=2e-4)


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize(("activation", "sw2", "sb2"), [("tanh", 1.3, 0.05), ("sigmoid", 12.8, 0.1), ("erf", 2.0, 0.2)])
def test_the_spread_of_gradients_grows_by_the_closed_form(
    activation: str, sw2: float, sb2: float, gaussian: bool
) -> None:
    """At the fixed point u is an autoregression, u' = a u + eps, and g a sum of f u + eta: its variance grows by
    Var eta + 2 f Cov / (1 - a) + f^2 Var eps / (1 - a)^2 a layer, and both are inversely as the width."""
    phi, q = ACTIVATIONS[activation], meanfield.fixed_length(ACTIVATIONS[activation], sw2, sb2)
    z = np.linspace(-9, 9, 20_001)
    weights = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    square, slope = phi.phi(np.sqrt(q) * z) ** 2, phi.slope(np.sqrt(q) * z) ** 2
    square, slope, share = square / (weights @ square), slope / (weights @ slope), 1 - sb2 / q
    a, f = (share * (weights @ (values * (z * z - 1))) / 2 for values in (square, slope))
    eps, s, both = weights @ square**2 - 1, weights @ slope**2 - 1, weights @ (square * slope) - 1
    eta = 2 + 3 * s
    if not gaussian:
        eps, eta, both = eps - 2 * a * a, 3 * s - 2 * f * f, both - 2 * a * f
    expected = eta + 2 * f * both / (1 - a) + f * f * eps / (1 - a) ** 2
    for width in (10**5, 10**7):
        walked = states(activation, 300, sw2, sb2, width, gaussian)
        grown = (walked[-1].gradient_variance - walked[199].gradient_variance) / 100 * width
        assert grown == pytest.approx(expected, rel=2e-3)
        assert walked[-1].signal_variance * width == pytest.approx(eps / (1 - a * a), rel=2e-3)


def chain(activation: str, width: int, layers: int, sw2: float, sb2: float, gaussian: bool, nets: int):
    """log |x|^2 / |x_0|^2 and log |J v|^2 of nets, (2, nets): W x and W J v are drawn, by their law, instead of W."""
    rng, phi = np.random.default_rng(0), ACTIVATIONS[activation]
    x, v = rng.standard_normal((2, nets, width))
    x, gradient = np.sqrt(width) * x / np.linalg.norm(x, axis=1, keepdims=True), np.zeros(nets)
    for _ in range(layers):
        v = v / np.linalg.norm(v, axis=1, keepdims=True)
        norm = np.linalg.norm(x, axis=1, keepdims=True)
        c = np.sum(x * v, axis=1, keepdims=True) / norm
        along, across = rng.standard_normal((2, nets, width)) / np.sqrt(width)
        if not gaussian:
            along /= np.linalg.norm(along, axis=1, keepdims=True)
            across -= np.sum(along * across, axis=1, keepdims=True) * along
            across /= np.linalg.norm(across, axis=1, keepdims=True)
        h = np.sqrt(sw2) * norm * along + np.sqrt(sb2) * rng.standard_normal((nets, width))
        x, v = phi.phi(h), phi.slope(h) * np.sqrt(sw2) * (c * along + np.sqrt(1 - c * c) * across)
        gradient += np.log(np.sum(v * v, axis=1))
    return np.array([np.log(np.mean(x * x, axis=1)), gradient])


@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize(
    ("activation", "sw2", "sb2", "width", "layers", "rel"),
    [
        ("tanh", 1.76, 0.05, 12, 8, 0.06),
        ("tanh", 1.76, 0.05, 48, 20, 0.08),
        ("sigmoid", 12.8, 0.1, 48, 20, 0.06),
        ("softplus", 1.0, 0.1, 48, 20, 0.1),
        ("silu", 2.0, 0.1, 32, 10, 0.2),
    ],
)
def test_signal_and_gradient_of_narrow_nets(
    activation: str, sw2: float, sb2: float, width: int, layers: int, rel: float, gaussian: bool
) -> None:
    """Means within four standard errors of 2000 nets and what is left open, deviations within that."""
    norm, gradient = chain(activation, width, layers, sw2, sb2, gaussian, 2000)
    last = states(activation, layers, sw2, sb2, width, gaussian)[-1]
    assert last.log_signal == pytest.approx(norm.mean(), abs=4 * norm.std() / np.sqrt(2000) + 0.01)
    assert last.log_gradient == pytest.approx(gradient.mean(), abs=4 * gradient.std() / np.sqrt(2000) + rel)
    assert np.sqrt(last.signal_variance) == pytest.approx(norm.std(), rel=0.09)
    assert np.sqrt(last.gradient_variance) == pytest.approx(gradient.std(), rel=rel)


@pytest.mark.parametrize(("name", "sw2", "law"), [("relu", 2.0, gaussian(32)), ("linear", 1.0, mirrored_gaussian(64))])
def test_the_noise_of_a_narrow_layer_is_nearly_that_of_its_exact_law(name: str, sw2: float, law: Factor) -> None:
    """At width 32 the terms of second order are there: what is left of the error is less than they are."""
    (only,) = states(name, 1, sw2, width=32)
    for mean, variance in ((only.log_signal, only.signal_variance), (only.log_gradient, only.gradient_variance)):
        assert mean == pytest.approx(law.log_mean, rel=0.03 if name == "relu" else 1e-3)
        assert variance == pytest.approx(law.log_variance, rel=0.06 if name == "relu" else 3e-3)


def test_a_net_comes_to_a_steady_growth_and_is_carried_on_by_it() -> None:
    """Beyond the layer from which nothing but the gradient moves, as before it."""
    walked = states("tanh", 400, 1.3, 0.05, 64)
    drift, variance = np.diff([[s.log_gradient, s.gradient_variance] for s in walked], axis=0).T
    assert drift[-300:] == pytest.approx(drift[-1], rel=1e-5)
    assert variance[-300:] == pytest.approx(variance[-1], rel=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "erf", "linear"])
@pytest.mark.parametrize("sw2", [1e-3, 4.0, 1e8])
def test_pairs_of_nets_of_any_size_stay_numbers(activation: str, sw2: float) -> None:
    """The noise of a unit or two can be worth any factor; a warning would be an error here."""
    for width, sb2 in ((1, 0.0), (2, 0.1), (16, 1e4)):
        for state in states(activation, 200, sw2, sb2, width):
            assert 0 <= state.nearest <= state.distance <= 1
            assert -1 <= state.correlation <= 1
