"""Predictions: every scheme of the registry, limits that follow from named thresholds, and real networks."""

from dataclasses import fields, replace
from math import inf, isfinite, log, nan, sqrt
from typing import Any

import numpy as np
import pytest
import torch

from isoinit import CNN, MLP, initialize
from isoinit.theory import meanfield
from isoinit.theory.activations import ACTIVATIONS, kumar_variance
from isoinit.theory.factors import gaussian
from isoinit.theory.finite_width import Chain
from isoinit.theory.predict import (
    DEFAULT,
    MAX_DEPTH,
    Prediction,
    Threshold,
    Tolerance,
    default_variance,
    depth_limit,
    has_theory,
    no_theory,
    predict,
    predicted_outcome,
)
from isoinit.theory.profile import profile
from isoinit.theory.simulate import DEAD, simulate
from isoinit.theory.theories import ARCHITECTURES, BIAS_MODES, THEORIES

PAIR = replace(DEFAULT, inputs=Threshold(2, "test"))


def _registry() -> dict[str, Any]:
    return pytest.importorskip("isoinit.schemes").SCHEMES


def test_the_table_covers_the_registry_exactly() -> None:
    assert THEORIES.keys() == _registry().keys(), "a scheme has a line in isoinit.theory.theories.THEORIES"


def test_a_scheme_or_an_activation_that_was_added_without_a_theory_is_not_an_error() -> None:
    """A sweep of one could not be planned."""
    assert not has_theory("of_my_own")
    assert no_theory("he_norml").startswith(
        "scheme must be one the theory knows, but got 'he_norml'; did you mean 'he_n"
    )
    with pytest.raises(ValueError, match="one the theory knows, but got 'of_my_own'; known: "):
        predict("of_my_own", depth=5, width=32)
    assert not has_theory("he_normal", activation="of_my_own")
    assert no_theory("kumar", activation="selu") == "kumar needs an activation differentiable at 0, and selu is not"
    with pytest.raises(ValueError, match="kumar needs an activation differentiable at 0, but got selu"):
        kumar_variance(ACTIVATIONS["selu"])
    with pytest.raises(ValueError, match="activation must be a known name, but got 'of_my_own'; known: "):
        predict("he_normal", activation="of_my_own", depth=5, width=32)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "kumar" else []) for name in THEORIES]
)
def test_every_scheme_is_predicted_or_says_why_not(name: str) -> None:
    scheme = _registry()[name]
    told = 0
    for architecture in scheme.architectures:
        for mode in scheme.bias_modes:
            for activation in scheme.activations or (
                "relu",
                "tanh",
                "hardtanh",
                "linear",
                "leaky_relu",
                "selu",
                "gelu",
            ):
                combination: dict[str, Any] = {
                    "architecture": architecture,
                    "activation": activation,
                    "sigma_b2": 0.0 if mode == "zero" else 0.1,
                    "bias_mode": mode,
                }
                if not has_theory(name, **combination):
                    assert no_theory(name, **combination).startswith((name, "the law of a crelu layer"))
                    with pytest.raises(ValueError, match=r"theory|derived|differentiable"):
                        predict(name, depth=5, width=32, **combination)
                    continue
                told += 1
                point = predict(name, depth=30, width=32, **combination)
                numbers = [getattr(point, f.name) for f in fields(point) if f.type in ("float", float)]
                assert isfinite(point.log_sharpness) == (architecture == "mlp")
                assert all(isfinite(n) for n in numbers if n is not point.depth_limit and n is not point.log_sharpness)
                assert 1 <= point.depth_limit <= MAX_DEPTH or point.depth_limit == inf
                assert point.outcome in ("trained", "vanished", "diverged", "stalled")
                assert (point.outcome == "trained") == (point.depth <= point.depth_limit)
                assert (point.binding == "none") == (point.depth_limit == inf)
    assert told, "each scheme has a theory somewhere"


def test_the_defaults_are_those_of_the_schemes() -> None:
    """The declared sigma_w2 against the weights that the schemes draw."""
    torch = pytest.importorskip("torch")
    from isoinit.networks import MLP, build
    from isoinit.schemes import initialize

    for name, scheme in _registry().items():
        if "mlp" not in scheme.architectures or scheme.needs_data:
            continue
        for activation in ("relu", "tanh", "leaky_relu", "elu", "selu", "gelu", "silu"):
            if not has_theory(name, activation=activation) or (scheme.activations and activation != "relu"):
                continue
            if scheme.activations and activation not in scheme.activations:
                continue
            model = build("mlp", (200,), width=200, depth=4, out_features=10, activation=activation, scheme=name)
            assert isinstance(model, MLP)
            initialize(model, name, generator=torch.Generator().manual_seed(0))
            weight = model.layers[2].get_parameter("weight").detach().numpy()
            expected = default_variance(name, activation)
            assert np.sum(weight**2) / 200 == pytest.approx(expected, rel=0.05), name
            if THEORIES[name].own_bias:
                variance = float(model.layers[2].get_parameter("bias").detach().var())
                assert variance * 200 == pytest.approx(THEORIES[name].own_bias, rel=0.3)


@pytest.mark.parametrize(
    ("name", "sb2", "mode"),
    [
        ("he_normal", 0.0, "zero"),
        ("he_normal", 0.2, "iid"),
        ("xavier_normal", 0.0, "zero"),
        ("orthogonal", 0.1, "mirrored"),
        ("ll_gauss", 0.0, "zero"),
        ("ll_orth", 0.0, "zero"),
        ("ll_orth", 0.2, "mirrored"),
        ("ll_orth", 0.2, "iid"),
        ("ll_eoi", 0.0, "zero"),
        ("ll_crelu", 0.2, "iid"),
        ("ones_orthogonal", 0.0, "zero"),
        ("idinit", 0.0, "zero"),
        ("torch_default", 0.0, "zero"),
        ("lsuv", 0.0, "zero"),
        ("sample_variance", 0.0, "zero"),
        ("eoi", 0.0, "zero"),
    ],
)
def test_real_networks_measure_what_is_predicted(name: str, sb2: float, mode: str) -> None:
    """isoinit.probe, and J v by a difference quotient (exact: piecewise linear): 8 networks, width 64, depth 10."""
    torch = pytest.importorskip("torch")
    from isoinit.networks import MLP, build
    from isoinit.probe import probe
    from isoinit.schemes import initialize

    activation = "crelu" if name == "ll_crelu" else "relu"
    theory = predict(name, depth=10, width=64, sigma_b2=sb2, bias_mode=mode, activation=activation)
    inputs, nets = (32 if name.startswith("ll_") and name != "ll_crelu" else 64), 8
    norms, correlations, gradients = [], [], []
    for seed in range(nets):
        generator = torch.Generator().manual_seed(seed)
        x, v = torch.randn(2, 8, inputs, generator=generator, dtype=torch.float64)
        data = torch.randn(256, inputs, generator=generator, dtype=torch.float64)
        model = build("mlp", (inputs,), width=64, depth=10, out_features=10, activation=activation, scheme=name)
        known = {"data": data} if _registry()[name].needs_data else {}
        assert isinstance(model, MLP)
        initialize(model.double(), name, bias_variance=sb2, bias_mode=mode, generator=generator, **known)
        seen = probe(model, x)
        norms.append(seen.log_forward_ratio)
        correlations.append(seen.correlation_last)
        body = torch.nn.Sequential(*[part for layer in list(model.layers)[:-1] for part in (layer, model.activation)])
        with torch.no_grad():
            moved = (body(x + 1e-7 * v) - body(x)) / 1e-7
            gradients.append(float(torch.log(moved.square().sum(1) / v.square().sum(1)).mean()))
    allowed = 4 / np.sqrt(nets)
    assert np.mean(gradients) == pytest.approx(theory.log_gradient, abs=allowed * theory.gradient_spread + 0.15)
    assert np.mean(norms) == pytest.approx(theory.drift, abs=allowed * theory.spread + 0.25)
    assert np.mean(correlations) == pytest.approx(theory.correlation, abs=0.1)


def test_xavier_dies_at_six_depth_scales() -> None:
    """6 xi_c = 8.66 layers after the first for a wide net: the sourced threshold alone makes the limit."""
    wide = predict("xavier_normal", depth=5, width=100_000)
    assert wide.depth_limit == pytest.approx(1 + 6 / log(2), abs=0.5)
    assert wide.binding in ("signal", "gradient")
    assert predict("xavier_normal", depth=12, width=64).outcome == "vanished"
    assert depth_limit("xavier_normal", width=16) < depth_limit("xavier_normal", width=64) < wide.depth_limit


def test_xavier_on_tanh_is_six_xi() -> None:
    point = predict(
        "xavier_normal", activation="tanh", depth=5, width=64, sigma_b2=0.05, bias_mode="iid", tolerance=PAIR
    )
    phase = meanfield.phase(ACTIVATIONS["tanh"], 1.0, 0.05, 1.05)
    tight, loose = (
        replace(DEFAULT, alignment=Threshold(1e-40, "off"), signal=Threshold(99, "off"), gradient=Threshold(t, "test"))
        for t in (12.0, 18.0)
    )
    limits = [
        depth_limit("xavier_normal", activation="tanh", width=10**6, sigma_b2=0.05, bias_mode="iid", tolerance=t)
        for t in (tight, loose)
    ]
    assert limits[1] - limits[0] == pytest.approx(phase.trainable_depth, abs=1), "6 e-folds take 6 xi_c layers"
    assert point.binding == "gradient"
    critical, _ = meanfield.critical_line(ACTIVATIONS["tanh"], 0.05)
    assert depth_limit(
        "kumar", activation="tanh", width=10**6, sigma_w2=critical, sigma_b2=0.05, bias_mode="iid", tolerance=tight
    ) == inf  # fmt: skip


def test_he_is_limited_by_alignment_and_the_sooner_the_narrower() -> None:
    """Of the widest at the depth of mean field."""
    limits = []
    for width in (8, 12, 16, 64, 256, 4096, 10**6):
        point = predict("he_normal", depth=10, width=width)
        assert point.binding == "alignment"
        limits.append(point.depth_limit)
    assert limits == sorted(limits)
    crossing = np.flatnonzero(meanfield.relu_decorrelation(100) < 1e-2)[0]
    assert limits[-1] == pytest.approx(crossing + 1, abs=1)


def test_a_net_too_narrow_is_ended_by_its_drift_if_alignment_is_borne() -> None:
    patient = replace(DEFAULT, alignment=Threshold(1e-9, "chosen"), classes=Threshold(0.0, "off"))
    narrow = [predict("he_normal", depth=10, width=n, tolerance=patient) for n in (8, 12, 16)]
    assert {point.binding for point in narrow} <= {"signal", "gradient"}
    limits = [point.depth_limit for point in narrow]
    assert limits == sorted(limits)
    assert limits[0] == pytest.approx(1 + 6 / -gaussian(8).log_mean, abs=1.5)


def test_the_bias_shortens_he_and_explodes_a_mirrored_net() -> None:
    variances = [0.01, 0.1, 0.3, 1.0]
    he = [depth_limit("he_normal", width=64, sigma_b2=v, bias_mode="iid") for v in variances]
    mirrored = [depth_limit("ll_orth", width=64, sigma_b2=v, bias_mode="iid") for v in variances]
    affine = [depth_limit("ll_orth", width=64, sigma_b2=v, bias_mode="mirrored") for v in variances]
    assert he == sorted(he, reverse=True)
    assert mirrored == sorted(mirrored, reverse=True)
    assert all(a > m > h for a, m, h in zip(affine, mirrored, he, strict=True))
    assert depth_limit("ll_orth", width=64) == inf
    deep = predict("ll_orth", depth=200, width=64, sigma_b2=0.3, bias_mode="iid")
    assert (deep.binding, deep.outcome) == ("gradient", "diverged")
    assert depth_limit("ll_orth", width=64, sigma_b2=0.3, bias_mode="mirrored") == pytest.approx(331, abs=1)


def test_order_of_the_schemes_at_depth_50() -> None:
    """The order of the offline measurement: OSM > GSM > orthogonal >= He > Xavier."""
    names = ["ll_orth", "ll_gauss", "orthogonal", "he_normal", "xavier_normal"]
    limits = [depth_limit(name, width=32) for name in names]
    assert limits == sorted(limits, reverse=True)


def test_very_narrow_nets_die() -> None:
    point = predict("he_normal", depth=12, width=3)
    assert point.dead_probability == pytest.approx(1 - (7 / 8) ** 11)
    only_death = Tolerance(Threshold(1e9, "off"), Threshold(1e9, "off"), Threshold(1e-99, "off"),
                           classes=Threshold(0.0, "off"))  # fmt: skip
    dying = predict("he_normal", depth=12, width=3, tolerance=only_death)
    assert dying.binding == "death"
    assert dying.depth_limit == pytest.approx(1 + log(0.5) / log(7 / 8), abs=0.5)
    assert dying.outcome == "stalled"


def test_seeds_disagree_around_the_limit() -> None:
    tolerance = replace(DEFAULT, alignment=Threshold(1e-9, "off"), classes=Threshold(0.0, "off"))
    limit = depth_limit("he_normal", width=16, tolerance=tolerance)
    near = predict("he_normal", depth=round(limit), width=16, tolerance=tolerance)
    assert near.probability == pytest.approx(0.5, abs=0.05)
    assert near.seed_dependent
    assert not predict("he_normal", depth=3, width=16, tolerance=tolerance).seed_dependent
    assert not predict("xavier_normal", depth=60, width=256, tolerance=tolerance).seed_dependent


def test_every_threshold_has_a_source() -> None:
    for field in fields(Tolerance):
        threshold = getattr(DEFAULT, field.name)
        assert "chosen" in threshold.source or "et al." in threshold.source, field.name


def test_a_tighter_tolerance_lowers_the_limit() -> None:
    tight = replace(DEFAULT, gradient=Threshold(3.0, "chosen"), signal=Threshold(3.0, "chosen"))
    assert depth_limit("xavier_normal", width=64, tolerance=tight) < depth_limit("xavier_normal", width=64)


def test_limits_of_plain_nets_hardly_depend_on_the_bias_variance() -> None:
    """As on every map that was measured; they fall if all that biases share counts, and rise if nothing does."""
    at = {share: replace(DEFAULT, shared=Threshold(share, "test")) for share in (0.0, 0.5, 1.0)}
    for scheme in ("xavier_normal", "he_normal", "orthogonal"):
        for width in (40, 64):
            limits = {
                share: np.array(
                    [depth_limit(scheme, width=width, sigma_b2=b, bias_mode="iid" if b else "zero", tolerance=tolerance)
                     for b in (0.0, 0.03, 0.1, 0.3, 1.0)]
                ) for share, tolerance in at.items()
            }  # fmt: skip
            assert limits[0.5] == pytest.approx(limits[0.5][0], rel=0.15)
            assert limits[0.0][-1] < 0.7 * limits[0.0][0]
            assert (np.diff(limits[0.0]) < 0).all()
            if scheme != "xavier_normal":  # whose signal ends it
                assert limits[1.0][-1] > 1.3 * limits[1.0][0]
            assert limits[0.5][0] == limits[0.0][0] == limits[1.0][0], "without biases nothing is shared"


@pytest.mark.parametrize("net", [{"scheme": "ll_gauss"}, {"scheme": "he_normal", "activation": "tanh"}])
def test_of_other_nets_all_that_biases_share_counts(net: dict[str, Any]) -> None:
    told = [
        depth_limit(
            width=64, sigma_b2=0.1, bias_mode="iid", tolerance=replace(DEFAULT, shared=Threshold(s, "x")), **net
        )
        for s in (0.0, 0.5, 1.0)
    ]
    assert told[0] == told[1] == told[2]


def test_a_bound_on_the_conditioning_is_read_off_the_declared_slopes() -> None:
    """Relative variance 2 L, L, L, 0: He, orthogonal, Gaussian and orthogonal mirrored cores; off by default."""
    bound = replace(DEFAULT, conditioning=Threshold(40, "test"))
    expected = {"he_normal": 21, "orthogonal": 41, "ll_gauss": 41, "ll_orth": inf}
    for name, limit in expected.items():
        point = predict(name, depth=60, width=4096, tolerance=bound)
        assert point.depth_limit == pytest.approx(limit, abs=0.1), name
        assert point.binding == ("none" if limit == inf else "conditioning")
        assert point.outcome == ("trained" if limit == inf else "stalled")
        assert predict(name, depth=60, width=4096).binding != "conditioning"


def test_weight_scale_moves_xavier_to_he() -> None:
    he = predict("he_normal", depth=20, width=64)
    scaled = predict("xavier_normal", depth=20, width=64, sigma_w2=2.0)
    assert (scaled.drift, scaled.depth_limit, scaled.spread) == (he.drift, he.depth_limit, he.spread)


@pytest.mark.parametrize("scheme", ["xavier_normal", "orthogonal", "ones_orthogonal", "ll_gauss", "idinit", "lsuv",
                                    "sample_variance", "sample_variance_scale"])  # fmt: skip
@pytest.mark.parametrize("scale", [1e-3, 0.2, 5.0, 1e3])
def test_no_signal_is_too_small_or_too_large(scheme: str, scale: float) -> None:
    """A thousand layers take a norm to e^-7000 or e^7000: the logs stay exact, and the verdict stays right."""
    sigma_w2 = default_variance(scheme) * scale
    point = predict(scheme, depth=MAX_DEPTH, width=32, sigma_w2=sigma_w2)
    numbers = [getattr(point, f.name) for f in fields(point) if f.type in ("float", float)]
    assert all(isfinite(n) for n in numbers)
    assert point.outcome == ("vanished" if scale < 1 else "diverged")
    assert point.depth_limit < 40
    more = predict(scheme, depth=MAX_DEPTH, width=32, sigma_w2=sigma_w2 * (2 if scale > 1 else 0.5))
    assert abs(more.log_gradient - point.log_gradient) == pytest.approx((MAX_DEPTH - 1) * log(2), rel=0.01)


def test_a_limit_is_found_in_the_last_layers_too() -> None:
    """Every tenth layer is looked at, and the last."""
    for depth in (993, 999):
        variance = 99 / (depth - 1.5)  # 1 - c = 1 / (1 + sb2 l) falls below 0.01 just before
        point = predict("ll_orth", depth=MAX_DEPTH, width=64, sigma_b2=variance, bias_mode="mirrored")
        assert point.depth_limit == pytest.approx(depth, abs=2)
        assert point.outcome == "stalled"


def test_a_mirrored_net_of_one_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="width of at least 2, got 1"):
        predict("ll_gauss", depth=4, width=1)
    assert predict("ll_crelu", activation="crelu", depth=4, width=1).outcome == "trained"


@pytest.mark.parametrize(
    ("scheme", "point", "says"),
    [
        ("ll_crelu", {"width": 16}, "ll_crelu is made for crelu, which mirrors by itself, not for relu"),
        ("ll_eoi", {"width": 16, "density": 0.1}, "density must be at least 1/8 for ll_eoi of width 16, but got 0.1"),
        ("he_pruned", {"width": 16, "density": 0.01}, "density must be at least 1/16 for he_pruned of width 16"),
        (
            "risotto_b",
            {"width": 15, "architecture": "resnet"},
            "risotto_b mirrors the channels and needs an even width",
        ),
    ],
)
def test_there_is_no_prediction_of_a_network_that_cannot_be_initialized(
    scheme: str, point: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        predict(scheme, depth=20, **point)


def test_where_most_networks_are_dead_the_norms_of_the_others_decide_nothing() -> None:
    """The few that are alive of pruned ones have norms that explode, and most were said to diverge."""
    point = predict("he_pruned", depth=40, width=16, density=1 / 16)
    assert point.dead_probability > 0.5
    assert point.outcome == "stalled"


def test_a_linear_net_is_known_at_finite_width() -> None:
    """chi2_N / N a layer: mean log -1/N, variance 2/N to leading order, and no kink to align inputs."""
    point = predict("xavier_normal", activation="linear", depth=41, width=200)
    assert point.spread**2 == pytest.approx(40 * 2 / 200, rel=0.01)
    assert point.drift == pytest.approx(-40 / 200, rel=0.01)
    assert point.correlation == pytest.approx(0, abs=1e-12)
    assert predict("orthogonal", activation="linear", depth=500, width=8).depth_limit == inf


def test_batch_normalization_of_a_smooth_activation_is_not_ignored() -> None:
    """It hides the variances, and its price is E phi'^2 / Var phi a layer."""
    points = [
        predict("xavier_normal", activation="tanh", normalization="batch", depth=d, width=10_000, sigma_w2=v)
        for d, v in ((11, 0.3), (31, 3.0))
    ]
    growth = (points[1].log_gradient - points[0].log_gradient) / 20
    z = np.random.default_rng(0).standard_normal(1_000_000)
    assert growth == pytest.approx(log(np.mean((1 - np.tanh(z) ** 2) ** 2) / np.var(np.tanh(z))), abs=0.01)
    assert points[0].correlation == points[1].correlation == 0


def test_batch_normalization_has_its_price() -> None:
    plain = predict("he_normal", depth=11, width=64, normalization="batch")
    assert plain.log_gradient == pytest.approx(log(0.5) + 9 * log(np.pi / (np.pi - 1)) + 10 * gaussian(64).log_mean)
    assert "scale invariance" in " ".join(plain.notes)
    assert predict("ll_orth", depth=90, width=64, normalization="batch").depth_limit == inf


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("he_norml", {}, "did you mean 'he_normal'"),
        ("he_normal", {"depth": 1}, "depth must be a whole number from 2 to"),
        ("he_normal", {"depth": 5.0}, "depth must be a whole number from 2 to 1000000, but got 5.0."),
        ("he_normal", {"sigma_b2": 0.1}, "needs bias_mode 'iid'"),
        ("he_normal", {"sigma_b2": -0.1}, "sigma_b2 must be a finite number of at least 0"),
        ("he_normal", {"bias_mode": "none"}, "bias_mode must be one of zero"),
        ("he_normal", {"architecture": "rnn"}, "architecture must be one of mlp"),
        ("he_normal", {"activation": "swishy"}, "activation must be a known name"),
        ("risotto_c", {}, "risotto_c has a theory for resnet only"),
        ("idinit", {"sigma_b2": 0.1, "bias_mode": "iid"}, "zero bias only"),
    ],
)
def test_bad_arguments_say_what_is_right(name: str, arguments: dict[str, Any], message: str) -> None:
    arguments = {"depth": 5, "width": 8} | arguments
    with pytest.raises(ValueError, match=message):
        predict(name, **arguments)


def test_words_are_those_of_the_house() -> None:
    assert ARCHITECTURES == ("mlp", "cnn", "resnet")
    assert BIAS_MODES == ("zero", "iid", "mirrored")


@pytest.mark.parametrize(
    ("width", "depth", "sigma_b2"),
    [(16, 30, 1.0), (16, 20, 0.1), (32, 30, 0.01), (64, 200, 0.01), (8, 30, 0.3), (3, 30, 0.1), (32, 100, 1e-4)],
)
def test_drift_and_spread_with_a_bias_are_those_of_the_exact_chain(width: int, depth: int, sigma_b2: float) -> None:
    """By transition matrix, and where that would be inexact itself, by draws of the chain."""
    told = predict("he_normal", depth=depth, width=width, sigma_b2=sigma_b2, bias_mode="iid")
    chain = Chain.equal(width, depth - 1, 2.0, sigma_b2, float(width))
    law, drawn = chain.law(), chain.sample(20_000, np.random.default_rng(0))[:, -1]
    logs = np.log(drawn[drawn > 0] / width)
    for mean, deviation in (
        (law.log_mean - log(width), sqrt(law.log_variance)),
        (logs.mean(), logs.std()),
    ):
        assert told.drift == pytest.approx(mean, abs=0.06)
        assert told.spread == pytest.approx(deviation, rel=0.08)


def test_drift_and_spread_with_a_bias_lie_within_the_exact_quantiles() -> None:
    told = predict("he_normal", depth=30, width=16, sigma_b2=1.0, bias_mode="iid")
    quantiles = profile("he_normal", depth=30, width=16, sigma_b2=1.0, bias_mode="iid").log_norm[-1]
    assert quantiles == pytest.approx([-0.44, 0.62, 1.40, 2.29, 3.86], abs=0.02)
    normal = told.drift + told.spread * np.array([-1.645, -0.674, 0.0, 0.674, 1.645])
    assert normal == pytest.approx(quantiles, abs=0.25), "but for the skewness of the law"


@pytest.mark.parametrize(
    ("scheme", "mode", "sigma_b2"),
    [
        ("ll_gauss", "iid", 0.1),
        ("ll_gauss", "mirrored", 1.0),
        ("orthogonal", "iid", 1.0),
        ("ll_orth", "iid", 1.0),
        ("ll_orth", "mirrored", 0.1),
    ],
)
def test_drift_and_spread_with_a_bias_are_those_of_random_networks(scheme: str, mode: str, sigma_b2: float) -> None:
    arguments: dict[str, Any] = {"depth": 30, "width": 16, "sigma_b2": sigma_b2, "bias_mode": mode}
    told = predict(scheme, **arguments)
    found = simulate(scheme, nets=1000, rng=np.random.default_rng(1), **arguments).log_norm[:, -1]
    found = found[found > DEAD]
    assert told.drift == pytest.approx(found.mean(), abs=0.06 * told.spread + 4 * told.spread / sqrt(len(found)))
    assert told.spread == pytest.approx(found.std(), rel=0.13)


@pytest.mark.parametrize(("scheme", "mode"), [("he_normal", "iid"), ("ll_gauss", "iid"), ("ll_gauss", "mirrored")])
def test_a_bias_that_vanishes_leaves_the_exact_moments(scheme: str, mode: str) -> None:
    none = predict(scheme, depth=40, width=32)
    some = predict(scheme, depth=40, width=32, sigma_b2=1e-12, bias_mode=mode)
    assert (some.drift, some.spread) == pytest.approx((none.drift, none.spread), rel=1e-4)


def test_the_outcome_alone_is_that_of_the_whole_prediction() -> None:
    seen = set()
    for scheme, depth, variance, tolerance in (
        ("he_normal", 10, None, DEFAULT),
        ("he_normal", 10, None, Tolerance(alignment=Threshold(0.9, "test"))),
        ("he_normal", 300, None, DEFAULT),
        ("xavier_normal", 60, None, DEFAULT),
        ("he_normal", 60, 6.0, DEFAULT),
        ("ll_orth", 60, None, DEFAULT),
    ):
        for sigma_b2, mode in ((0.0, "zero"), (0.3, "iid")):
            point = {"depth": depth, "width": 40, "sigma_w2": variance, "sigma_b2": sigma_b2, "bias_mode": mode}
            alone = predicted_outcome(scheme, **point, tolerance=tolerance)
            assert alone == predict(scheme, **point, tolerance=tolerance).outcome
            seen.add(alone)
    assert seen == {"trained", "stalled", "vanished", "diverged"}
    with pytest.raises(ValueError, match="depth must be a whole number from 2"):
        predicted_outcome("he_normal", depth=1, width=40)


@pytest.mark.parametrize(
    ("scheme", "sigma_b2", "width", "drawn"),
    [
        ("ll_gauss", 0.1, 16, True),
        ("ll_gauss", 0.0, 16, False),
        ("ll_gauss", 0.1, 6, False),
        ("ll_orth", 0.1, 16, False),
    ],
)
def test_a_prediction_from_drawn_nets_says_so(scheme: str, sigma_b2: float, width: int, drawn: bool) -> None:
    mode = "iid" if sigma_b2 else "zero"
    told = predict(scheme, depth=4, width=width, sigma_b2=sigma_b2, bias_mode=mode)
    assert any("nets of drawn noise" in note for note in told.notes) == drawn


@pytest.mark.parametrize(
    ("activation", "sigma_w2", "most"), [("tanh", 1.0, 1e100), ("relu", 2.0, 5e304), ("relu", 1e-5, 1e300)]
)
def test_a_bias_variance_that_leaves_the_floats_is_refused(activation: str, sigma_w2: float, most: float) -> None:
    def asked(sigma_b2: float) -> Prediction:
        return predict("he_normal", activation=activation, depth=5, width=16, sigma_w2=sigma_w2, sigma_b2=sigma_b2,
                       bias_mode="iid")  # fmt: skip

    assert isfinite(asked(0.9 * most).drift)
    with pytest.raises(ValueError) as told:
        asked(1.1 * most)
    assert str(told.value).startswith(f"sigma_b2 must be a finite number of at least 0 and at most {most:g}, but got")


@pytest.mark.parametrize("scheme", ["he_normal", "orthogonal", "ll_gauss", "ll_orth", "he_pruned", "ones_orthogonal"])
@pytest.mark.parametrize("sigma_w2", [1e-100, 1e100])
@pytest.mark.parametrize("sigma_b2", [5e-324, 1e-300, 1e-100, 1e-20, 1.0, 1e100])
def test_variances_at_the_ends_of_what_is_answered_are_answered(scheme: str, sigma_w2: float, sigma_b2: float) -> None:
    point = predict(scheme, depth=30, width=16, sigma_w2=sigma_w2, sigma_b2=sigma_b2, bias_mode="iid")
    assert np.isfinite([point.drift, point.spread, point.log_gradient, point.gradient_spread]).all()
    assert -1 <= point.correlation <= 1
    assert 0 <= point.nearest <= point.alignment <= 1


@pytest.mark.parametrize("activation", ["tanh", "erf", "hardtanh", "gelu", "silu", "sigmoid", "softplus"])
@pytest.mark.parametrize("scheme", ["he_normal", "orthogonal"])
@pytest.mark.parametrize("sigma_w2", [1e-100, 1e100])
@pytest.mark.parametrize("sigma_b2", [0.0, 5e-324, 1e-20, 1e100])
def test_so_they_are_of_smooth_activations(activation: str, scheme: str, sigma_w2: float, sigma_b2: float) -> None:
    mode = "iid" if sigma_b2 else "zero"
    point = predict(
        scheme, activation=activation, depth=30, width=16, sigma_w2=sigma_w2, sigma_b2=sigma_b2, bias_mode=mode
    )
    assert np.isfinite([point.drift, point.spread, point.log_gradient, point.gradient_spread]).all()
    assert -1 <= point.correlation <= 1
    assert 0 <= point.nearest <= point.alignment <= 1
    assert point.conditioning >= 0


@pytest.mark.parametrize("scheme", ["he_normal", "orthogonal", "ll_gauss", "ll_orth", "zero"])
@pytest.mark.parametrize(
    ("sigma_w2", "depth", "width"),
    [(1e100, 12, 64), (1e100, 20, 16), pytest.param(20.0, 800, 16, marks=pytest.mark.slow)],
)
def test_singular_values_beyond_floats_are_inf(scheme: str, sigma_w2: float, depth: int, width: int) -> None:
    """Of theory and of random nets alike, and those of units that are off stay 0."""
    told = profile(scheme, depth=depth, width=width, sigma_w2=sigma_w2)
    drawn = simulate(scheme, depth=depth, width=width, sigma_w2=sigma_w2, nets=2, rng=np.random.default_rng(0))
    for values in (told.singular_values, drawn.singular_values):
        assert not np.isnan(values).any()
        assert values.max() == inf
    if scheme == "zero":
        assert (told.singular_values[:50] == 0).all()
        assert (drawn.singular_values == 0).any()


@pytest.mark.parametrize(
    ("name", "values", "law"),
    [
        ("signal", (0.0, -1.0, nan), "a number above 0, or inf"),
        ("gradient", (0.0, nan), "a number above 0, or inf"),
        ("alignment", (0.0, nan), "a finite number above 0"),
        ("classes", (-0.1, 1.1, nan), "a number from 0 to 1"),
        ("shared", (-0.1, 1.1, nan), "a number from 0 to 1"),
        ("conditioning", (-1.0, nan), "a number of at least 0, or inf"),
        ("death", (-0.1, 1.5), "a number from 0 to 1"),
        ("stability", (0.0, inf), "a finite number above 0"),
        ("linear_stability", (0.0, nan), "a finite number above 0"),
        ("certainty", (-0.1, 2.0), "a number from 0 to 1"),
        ("input_square", (0.0, inf, 1e-320, 1e300), "a number from 1e-100 to 1e+100"),
        ("input_correlation", (1.0, -1.1, nan), "a number from -1 to below 1"),
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused(name: str, values: tuple[float, ...], law: str) -> None:
    """By its name: some ended in a division by zero or the log of it, others were taken for their word."""
    for value in values:
        with pytest.raises(ValueError) as told:
            predict("he_normal", depth=5, width=16, learning_rate=0.1,
                    tolerance=replace(DEFAULT, **{name: Threshold(value, "test")}))  # fmt: skip
        assert str(told.value) == f"{name} must be {law}, but got {value}."
    if name == "classes":
        predict("ll_gauss", depth=500, width=16, tolerance=replace(DEFAULT, classes=Threshold(0.0, "off")))
    for value in (inf,) if name in ("signal", "gradient", "conditioning") else ():
        predict("he_normal", depth=5, width=16, tolerance=replace(DEFAULT, **{name: Threshold(value, "off")}))


@pytest.mark.parametrize("width", [8, 64])
def test_biases_that_a_scheme_sets_by_itself_are_those_of_its_network(width: int) -> None:
    """A convolution's unit reads 3 x 3 places of each channel, so that its fan in is not the width."""
    for name, model in (("mlp", MLP(16, width, 40, 10)), ("cnn", CNN((1, 8, 8), width, 40, 10))):
        initialize(model, "torch_default", generator=torch.Generator().manual_seed(0))
        biases = [b.detach() for key, b in model.named_parameters() if key.endswith("bias")][1:-1]
        point = predict("torch_default", architecture=name, depth=40, width=width)
        assert float(torch.cat(biases).square().mean()) == pytest.approx(point.sigma_b2, rel=0.15)
