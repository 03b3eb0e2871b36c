"""Smooth activations over depth: maps, power laws at criticality, finite width, each against random nets or a limit."""

from itertools import islice

import numpy as np
import pytest

from isoinit.theory import meanfield
from isoinit.theory.activations import ACTIVATIONS
from isoinit.theory.maps import Point
from isoinit.theory.predict import predict
from isoinit.theory.profile import profile
from isoinit.theory.simulate import simulate
from isoinit.theory.smooth import SmoothNet
from isoinit.theory.trajectory import State

INPUTS = Point(1.0, 1.0)


def states(
    activation: str, layers: int, sw2: float, sb2: float = 0.0, width: int = 10**9, gaussian=True
) -> list[State]:
    return list(islice(SmoothNet(activation, width, sw2, sb2, gaussian, False).walk(INPUTS), layers))


@pytest.mark.parametrize(
    ("activation", "sw2", "sb2"),
    [("tanh", 1.0, 0.05), ("tanh", 1.760955, 0.05), ("tanh", 3.0, 0.05), ("hardtanh", 1.165545, 0.05),
     ("sigmoid", 12.8, 0.1), ("erf", 1.375839, 0.05)],
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
    """Width 48, 18 hidden layers, 200 nets: means within their error plus 0.15, deviations within 30 %."""
    kind = {"depth": 19, "width": 48, "activation": activation, "sigma_w2": sw2, "sigma_b2": sb2}
    kind["bias_mode"] = "iid" if sb2 else "zero"
    theory, drawn = profile(scheme, **kind), simulate(scheme, nets=200, rng=np.random.default_rng(0), **kind)
    norm, gradient = drawn.log_norm[:, -1], drawn.log_gradient[:, -1]
    assert np.median(norm) == pytest.approx(theory.log_norm[-1, 2], abs=5 * norm.std() / np.sqrt(200) + 0.05)
    assert gradient.mean() == pytest.approx(theory.log_gradient[-1], abs=4 * gradient.std() / np.sqrt(200) + 0.15)
    assert norm.std() == pytest.approx((theory.log_norm[-1, 4] - theory.log_norm[-1, 0]) / 3.29, rel=0.3, abs=0.03)
    assert gradient.std() == pytest.approx(theory.log_gradient_sd[-1], rel=0.3)
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
