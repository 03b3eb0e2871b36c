"""The sharpness at initialization, and the depth at which a learning rate is too great for it: limits that are known,
random networks of the schemes, and what becomes of a prediction."""

from __future__ import annotations

from itertools import islice
from math import exp, inf, isnan, log, pi
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call, jacrev

from isoinit import MLP, initialize
from isoinit.schemes import SCHEMES
from isoinit.theory import activations, meanfield
from isoinit.theory.maps import Point
from isoinit.theory.predict import Threshold, Tolerance, depth_limit, has_theory, predict, predicted_outcome
from isoinit.theory.prepare import prepared
from isoinit.theory.profile import profile
from isoinit.theory.random_nets import Net
from isoinit.theory.sharpening import plain_growth
from isoinit.theory.sharpness import wandering
from isoinit.theory.smooth import SmoothNet

WIDE = 10**8


def sharpness(scheme: str, depths: list[int], width: int, sigma_b2: float = 0.0, **more: Any) -> list[float]:
    mode = more.pop("bias_mode", "iid") if sigma_b2 else "zero"
    setting, _, _ = prepared(scheme, depth=2, width=width, sigma_b2=sigma_b2, bias_mode=mode, **more)
    states = list(islice(setting.states(), max(depths) - 1))
    return [exp(states[depth - 2].log_sharpness) for depth in depths]


def kernel(
    net: Net, depth: int, nets: int, rng: np.random.Generator, cosine: float = 0.0, count: int = 10
) -> np.ndarray:
    """Tangent kernels (nets, count, count) of one logit on inputs of the cosine, weights and biases learnt."""
    fan_in = net.fan_in
    frame = np.linalg.qr(rng.standard_normal((nets, fan_in, count)))[0].transpose(0, 2, 1)
    gram = (1 - cosine) * np.eye(count) + cosine
    h = np.sqrt(fan_in) * np.linalg.cholesky(gram) @ frame
    activations, weights, slopes = [h], [], []
    for layer in range(depth):
        w = net.weights(nets, layer == 0, rng)
        if layer == depth - 1:
            w = w[:, rng.integers(net.width), None]
            weights.append(w)
            break
        z = h @ w.transpose(0, 2, 1) + net.biases(nets, rng)
        h = net.phi(z)
        activations.append(h)
        weights.append(w)
        slopes.append(net.slope(z))
    g = np.ones((nets, count, 1))
    total = np.zeros((nets, count, count))
    for layer in reversed(range(depth)):
        seen = activations[layer]
        if net.density < 1:  # what is left out stays out
            there = (weights[layer] != 0).astype(float)
            total += np.einsum("bki,bli,bij,bkj,blj->bkl", g, g, there, seen, seen, optimize=True)
        else:
            total += (seen @ seen.transpose(0, 2, 1)) * (g @ g.transpose(0, 2, 1))
        total += g @ g.transpose(0, 2, 1)
        if layer:
            g = (g @ weights[layer]) * slopes[layer - 1]
    return total


def test_of_a_wide_relu_net_it_is_a_quarter_shared_by_two_inputs() -> None:
    """He weights: N L of one input and N L / 4 of two, for their gradients part as (l / L)^3 (Xiao et al. 2020,
    1912.13053, have the quarter). With strong biases N sb2 L^2 / 4 and N sb2 L^2 / 7, derived here alike."""
    (found,) = sharpness("he_normal", [4000], WIDE)
    assert found == pytest.approx(WIDE * 4000 * (1 + 9 / 4) / 100, rel=5e-3)
    near, far = sharpness("he_normal", [2000, 4000], WIDE, 1.0)
    assert far == pytest.approx(WIDE * 4000**2 * (1 / 4 + 9 / 7) / 100, rel=1e-2)
    assert log(far / near) / log(2) == pytest.approx(2, abs=0.01)


def test_of_an_isometry_it_grows_as_the_depth() -> None:
    """A looks-linear net of orthogonal cores: every layer passes on what the first has, half of it for both inputs."""
    n, depth = 32, 50
    (found,) = sharpness("ll_orth", [depth], 2 * n)
    one = depth * (n + 1)
    two = 1 / 2 + (depth - 2) * (n / pi + 1) / 2 + n / pi + 1
    assert found == pytest.approx((one + 9 * two) / 100, rel=1e-12)


@pytest.mark.parametrize(
    ("scheme", "activation", "shared"), [("orthogonal", "linear", 0.0), ("ll_crelu", "crelu", 1 / pi)]
)
@pytest.mark.parametrize("sigma_b2", [0.0, 0.25])
def test_of_linear_units_it_is_the_sum_of_what_enters_the_layers(
    scheme: str, activation: str, shared: float, sigma_b2: float
) -> None:
    """Orthogonal weights pass gradients on whole; `shared` by two inputs in the activations, 0 biases given, and by
    two halves the arc-cosine kernel of their cosine."""
    n, depth, mode = 50_000, 12, "iid" if sigma_b2 else "zero"
    entering = 1 + sigma_b2 * np.arange(depth)  # mean square, of which the biases' is common
    common = (entering - 1) / entering
    if activation == "crelu":
        angle = np.arccos(common)
        common = np.where(np.arange(depth) == 0, 0, (np.sin(angle) + (pi - angle) * common) / pi)
        assert common[1] == pytest.approx(shared, abs=1e-12) or sigma_b2
    told = predict(scheme, depth=depth, width=n, activation=activation, sigma_b2=sigma_b2, bias_mode=mode)
    one, two = np.sum(n * entering + 1), np.sum(n * entering * common + 1)
    assert exp(told.log_sharpness) == pytest.approx((one + 9 * two) / 100, rel=1e-3)


def test_of_linear_gaussian_networks_it_is_that_of_random_ones() -> None:
    rng, width, depth, found = np.random.default_rng(0), 200, 6, []
    for _ in range(12):
        x = np.linalg.qr(rng.standard_normal((width, 10)))[0].T * np.sqrt(width)
        weights = [rng.standard_normal((width, width)) / np.sqrt(width) for _ in range(depth - 1)]
        seen = [x]
        for w in weights:
            seen.append(seen[-1] @ w.T)
        g, total = rng.standard_normal(width) / np.sqrt(width), seen[-1] @ seen[-1].T + 1
        for w, h in zip(reversed(weights), reversed(seen[:-1]), strict=True):
            total += (h @ h.T + 1) * (g @ g)
            g = g @ w
        found.append(total.mean() / 10)
    told = predict("lecun_normal", depth=depth, width=width, activation="linear")
    assert exp(told.log_sharpness) == pytest.approx(np.median(found), rel=0.07)


@pytest.mark.parametrize(
    ("scheme", "sigma_b2", "mode", "density"),
    [
        ("he_normal", 0.0, "iid", 1.0),
        ("xavier_normal", 0.1, "iid", 1.0),
        ("orthogonal", 0.5, "iid", 1.0),
        ("ll_gauss", 0.0, "iid", 1.0),
        ("ll_gauss", 0.3, "iid", 1.0),
        ("ll_orth", 0.3, "iid", 1.0),
        ("ll_orth", 1.0, "iid", 1.0),
        ("ll_orth", 0.3, "mirrored", 1.0),
        ("ones_orthogonal", 0.0, "iid", 1.0),
        ("ones_orthogonal", 0.3, "iid", 1.0),
        ("idinit", 0.0, "iid", 1.0),
        ("orthogonal_pruned", 0.3, "iid", 0.5),
        ("he_pruned", 0.0, "iid", 0.25),
    ],
)
@pytest.mark.parametrize("depth", [2, 7])
def test_random_networks_of_the_schemes_have_it(
    scheme: str, sigma_b2: float, mode: str, density: float, depth: int
) -> None:
    mode = mode if sigma_b2 else "zero"
    told = predict(scheme, depth=depth, width=256, sigma_b2=sigma_b2, bias_mode=mode, density=density)
    found = kernel(Net.of(told), depth, 32, np.random.default_rng(0)).mean() / 10
    assert exp(told.log_sharpness) == pytest.approx(found, rel=0.07)


@pytest.mark.parametrize("scheme", ["he_normal", "ll_orth"])
def test_inputs_that_have_more_in_common_make_it_greater(scheme: str) -> None:
    alike = Tolerance(input_correlation=Threshold(0.6, "of this test"))
    told = predict(scheme, depth=6, width=256, tolerance=alike)
    found = kernel(Net.of(told), 6, 12, np.random.default_rng(0), cosine=0.6).mean() / 10
    assert exp(told.log_sharpness) == pytest.approx(found, rel=0.08)
    assert told.log_sharpness > predict(scheme, depth=6, width=256).log_sharpness + log(1.3)


@pytest.mark.parametrize(("scheme", "sigma_b2"), [("he_normal", 0.0), ("he_normal", 1.0), ("ll_orth", 1.0)])
def test_of_two_inputs_half_of_it_is_what_either_has_alone(scheme: str, sigma_b2: float) -> None:
    two = Tolerance(inputs=Threshold(2, "of this test"))
    mode = "iid" if sigma_b2 else "zero"
    told = predict(scheme, depth=5, width=256, sigma_b2=sigma_b2, bias_mode=mode, tolerance=two)
    found = kernel(Net.of(told), 5, 32, np.random.default_rng(0), count=2).mean() / 2
    assert exp(told.log_sharpness) == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize(
    ("scheme", "depth"), [("he_normal", 20), ("he_normal", 50), ("orthogonal", 50), ("ll_orth", 50)]
)
@pytest.mark.parametrize("sigma_b2", [0.0, 0.3])
def test_of_narrow_networks_it_is_the_typical_one(scheme: str, depth: int, sigma_b2: float) -> None:
    """The typical terms alone are too few by up to a half, and the mean over seeds, of which few are far above, is many
    times as great."""
    told = predict(scheme, depth=depth, width=64, sigma_b2=sigma_b2, bias_mode="iid" if sigma_b2 else "zero")
    found = kernel(Net.of(told), depth, 64, np.random.default_rng(1)).mean(axis=(1, 2)) / 10
    if scheme == "ll_orth" and not sigma_b2:
        assert exp(told.log_sharpness) == pytest.approx(found.mean(), rel=0.03)
    else:
        assert 0.72 < exp(told.log_sharpness) / np.median(found) < 1.35


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, s in SCHEMES.items()
        if has_theory(name) and "mlp" in s.architectures and (not s.activations or "relu" in s.activations)
    ],
)
def test_real_networks_of_every_scheme_have_it(name: str) -> None:
    """As `initialize` makes them, on unrelated inputs; what adapts to data sees 512 others."""
    scheme, found = SCHEMES[name], []
    sigma_b2 = 0.3 if has_theory(name, sigma_b2=0.3, bias_mode="iid") and "iid" in scheme.bias_modes else 0.0
    mode = "iid" if sigma_b2 else "zero"
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        model = MLP(64, width=64, depth=8, out_features=10).double()
        seen = torch.randn(512, 64, generator=draw, dtype=torch.float64) if scheme.needs_data else None
        initialize(model, name, bias_variance=sigma_b2, bias_mode=mode, generator=draw, data=seen)
        x = 8 * torch.linalg.qr(torch.randn(64, 64, generator=draw, dtype=torch.float64))[0][:10]
        found.append(_tangent(model, x).mean().item() / 10)
    told = predict(name, depth=8, width=64, sigma_b2=sigma_b2, bias_mode=mode)
    assert 0.7 < exp(told.log_sharpness) / np.median(found) < 1.45


def _tangent(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Tangent kernel (inputs, inputs) of one logit, the mean over all."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    rows = [row.flatten(2) for row in jacrev(lambda p: functional_call(model, p, (x,)))(parameters).values()]
    return torch.stack([torch.einsum("iko,jko->ij", row, row) for row in rows]).sum(0) / rows[0].shape[1]


def test_a_sum_over_a_walk_is_greater_than_that_of_its_mean() -> None:
    walks = np.cumsum(np.random.default_rng(0).standard_normal((20_000, 400)) / 20, axis=1)
    for variance in (1.0, 3.0, 12.0):
        found = np.log(np.exp(np.sqrt(variance) * walks).mean(axis=1)).mean()
        assert wandering(variance) == pytest.approx(found, rel=0.07)
    assert wandering(1e-6) == pytest.approx(1e-6 / 12, rel=1e-6)


def test_the_mean_direction_is_near_the_sharpest() -> None:
    told = predict("he_normal", depth=12, width=128, sigma_b2=0.2, bias_mode="iid")
    found = kernel(Net.of(told), 12, 12, np.random.default_rng(0))
    top = np.linalg.eigvalsh(found)[:, -1] / 10
    assert np.all(found.sum(axis=(1, 2)) / 100 <= top * (1 + 1e-9))
    assert found.sum() / 100 > 0.9 * top.sum()


def test_a_learning_rate_ends_a_network_where_it_meets_the_sharpness() -> None:
    ask: dict[str, Any] = {"width": 64, "sigma_b2": 0.3, "bias_mode": "iid"}
    limits = [depth_limit("ll_orth", learning_rate=rate, **ask) for rate in (0.2, 0.05, 0.01)]
    assert limits == sorted(limits)
    for rate, limit in zip((0.2, 0.05, 0.01), limits, strict=True):
        below, above = (predict("ll_orth", depth=int(limit) + more, learning_rate=rate, **ask) for more in (0, 1))
        assert below.stable_rate > rate > above.stable_rate
        assert (below.outcome, above.outcome) == ("trained", "diverged")
        assert above.binding == "stability"
        assert predicted_outcome("ll_orth", depth=int(limit) + 1, learning_rate=rate, **ask) == "diverged"
    small, none = (predict("ll_orth", depth=30, learning_rate=rate, **ask) for rate in (1e-9, None))
    assert (small.depth_limit, small.binding) == (none.depth_limit, none.binding)
    assert none.learning_rate is None
    assert none.log_sharpness == small.log_sharpness


def test_of_units_that_are_not_curved_it_is_the_same_by_either_way() -> None:
    """The walk of smooth activations is of quadratures, that of rectifiers and linear units of closed forms."""
    inputs = Point(1.0, 1.0)
    for activation, scheme, sw2, sb2 in (("relu", "he_normal", 2.0, 0.3), ("linear", "orthogonal", 1.0, 0.1)):
        net = SmoothNet(activation, 10**6, sw2, sb2, scheme == "he_normal", normalized=False)
        walked = [state.log_sharpness for state in islice(net.walk(inputs, 10), 40)]
        depths, more = [2, 9, 41], {"activation": activation}
        closed = np.log(sharpness(scheme, depths, 10**6, sb2, **more))
        np.testing.assert_allclose([walked[depth - 2] for depth in depths], closed, rtol=0, atol=2e-3)


SMOOTH = [
    ("xavier_normal", "tanh", 0.0, None),
    ("orthogonal", "tanh", 0.3, None),
    ("lecun_normal", "tanh", 0.0, 3.0),
    ("he_normal", "gelu", 0.1, None),
    ("orthogonal", "silu", 0.0, None),
    ("he_normal", "elu", 0.0, None),
    ("lecun_normal", "selu", 0.1, None),
    ("lecun_normal", "hardtanh", 0.05, 1.5),
    ("kumar", "sigmoid", 0.1, None),
]


@pytest.mark.parametrize(("scheme", "activation", "sigma_b2", "sigma_w2"), SMOOTH)
def test_random_networks_of_smooth_units_have_it(
    scheme: str, activation: str, sigma_b2: float, sigma_w2: float | None
) -> None:
    net: dict[str, Any] = {"activation": activation, "sigma_b2": sigma_b2, "sigma_w2": sigma_w2}
    net["bias_mode"] = "iid" if sigma_b2 else "zero"
    told = predict(scheme, depth=6, width=256, **net)
    found = kernel(Net.of(told), 6, 16, np.random.default_rng(0)).mean() / 10
    assert exp(told.log_sharpness) == pytest.approx(found, rel=0.1)
    told = predict(scheme, depth=20, width=64, **net)
    found = kernel(Net.of(told), 20, 48, np.random.default_rng(1)).mean(axis=(1, 2)) / 10
    assert 0.55 < exp(told.log_sharpness) / np.median(found) < 1.8


@pytest.mark.parametrize(("scheme", "activation"), [("xavier_normal", "tanh"), ("he_normal", "gelu")])
def test_narrow_networks_of_smooth_units_have_what_is_left_of_their_gradients(scheme: str, activation: str) -> None:
    told = predict(scheme, depth=12, width=16, activation=activation)
    found = kernel(Net.of(told), 12, 300, np.random.default_rng(1)).mean(axis=(1, 2)) / 10
    assert told.log_sharpness == pytest.approx(np.log(np.median(found)), abs=0.27)


@pytest.mark.parametrize("depth", [4, 12, 60])
def test_of_wide_chaotic_networks_it_is_the_sum_over_their_layers(depth: int) -> None:
    """Of the maps of length and correlation, layer by layer; from some layer on neither changes."""
    phi, n, sw2, sb2 = activations.get("tanh"), 10**6, 3.0, 0.3
    q, c = sw2 + sb2, sb2 / (sw2 + sb2)
    entering, passing = [(float(n), 0.0)], []
    for _ in range(depth - 1):
        entering.append((n * meanfield.covariance(phi, q, 1.0), n * meanfield.covariance(phi, q, c)))
        passing.append((meanfield.chi(phi, q, sw2), meanfield.chi(phi, q, sw2, c)))
        q, c = meanfield.length_map(phi, q, sw2, sb2), meanfield.correlation_map(phi, c, q, sw2, sb2)
    gradients = np.cumprod([(1.0, 1.0), *passing[::-1]], axis=0)[::-1]
    own, both = ((np.array(entering) + 1) * gradients).sum(axis=0)
    told = predict("lecun_normal", depth=depth, width=n, activation="tanh", sigma_w2=sw2, sigma_b2=sb2, bias_mode="iid")
    assert told.log_sharpness == pytest.approx(log((own + 9 * both) / 100), abs=1e-3)


@pytest.mark.parametrize(("scheme", "activation"), [("he_normal", "elu"), ("lecun_normal", "selu")])
def test_smooth_networks_sharpen_and_end_where_a_rate_meets_it(scheme: str, activation: str) -> None:
    ask: dict[str, Any] = {"width": 64, "activation": activation}
    told = predict(scheme, depth=20, **ask)
    assert told.log_sharpest - told.log_sharpness == pytest.approx(log(plain_growth(10, 64, 0.8, told.nearest)))
    limits = [depth_limit(scheme, learning_rate=rate, **ask) for rate in (0.1, 0.01, None)]
    assert limits == sorted(limits)
    for rate, limit in zip((0.1, 0.01), limits, strict=False):
        below, above = (predict(scheme, depth=int(limit) + more, learning_rate=rate, **ask) for more in (0, 1))
        assert below.stable_rate > rate > above.stable_rate
        assert (below.outcome, above.outcome, above.binding) == ("trained", "diverged", "stability")
        assert any("is taken from ReLU nets" in note for note in above.notes)
        assert any("rate is too small for the steps" in note for note in above.notes)
    relu = predict(scheme, depth=20, width=64, learning_rate=0.1)
    assert not any("is taken from ReLU nets" in note for note in relu.notes)


def test_wider_networks_want_smaller_rates() -> None:
    """In the parametrization of the weights themselves the sharpness grows as the width."""
    narrow, wide = (predict("he_normal", depth=8, width=n).stable_rate for n in (10**4, 10**6))
    assert narrow / wide == pytest.approx(100, rel=1e-2)
    limits = [depth_limit("ll_orth", width=n, learning_rate=0.01) for n in (1024, 4096, 16384)]
    assert limits[0] > 3 * limits[1] > 9 * limits[2]


@pytest.mark.parametrize(
    "combination",
    [
        {"scheme": "he_normal", "architecture": "cnn"},
        {"scheme": "rezero", "architecture": "resnet"},
        {"scheme": "he_normal", "normalization": "batch"},
        {"scheme": "he_normal", "activation": "tanh", "normalization": "batch"},
        {"scheme": "he_normal", "activation": "tanh", "architecture": "cnn"},
    ],
)
def test_where_it_is_not_derived_a_rate_changes_nothing_and_the_notes_say_so(combination: dict[str, str]) -> None:
    without, told = (predict(**combination, depth=9, width=32, learning_rate=rate) for rate in (None, 10.0))  # pyright: ignore
    assert isnan(told.log_sharpness)
    assert isnan(told.stable_rate)
    assert (told.depth_limit, told.outcome) == (without.depth_limit, without.outcome)
    assert any("left out" in note for note in told.notes)
    assert not any("left out" in note for note in without.notes)


def test_no_depth_and_no_weights_are_too_great_for_floats() -> None:
    told = predict("he_normal", depth=1000, width=64, sigma_w2=40.0, learning_rate=0.1)
    assert told.log_sharpness > 1000
    assert told.stable_rate == 0
    assert told.outcome == "diverged"
    untaught = Tolerance(told=Threshold(0, "of this test: at initialization"))
    assert predict("he_normal", depth=1000, width=64, sigma_w2=0.02, tolerance=untaught).stable_rate > 0.1
    never = predict("he_normal", depth=1000, width=64)
    assert 0 < never.stable_rate < 1e-9, "no rate could tell apart what is that much alike"


@pytest.mark.parametrize("rate", [0, -0.1, inf, float("nan"), True, "0.1"])
def test_a_rate_that_is_none_is_refused(rate: object) -> None:
    with pytest.raises(ValueError, match="learning_rate must be a finite number above 0"):
        predict("he_normal", depth=9, width=32, learning_rate=rate)  # pyright: ignore[reportArgumentType]


def test_a_profile_is_of_the_same_network() -> None:
    made = profile("ll_orth", depth=30, width=64, learning_rate=0.5)
    assert made.prediction == predict("ll_orth", depth=30, width=64, learning_rate=0.5)
