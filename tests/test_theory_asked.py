"""Every public function of the theory refuses what it has no answer for, in a sentence that names it and its value."""

from collections.abc import Callable
from importlib import import_module
from inspect import getmembers, isfunction
from math import inf, log, nan
from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest

import isoinit.theory
from isoinit.theory import (
    activations,
    factors,
    finite_width,
    jacobian,
    joint,
    lyapunov,
    meanfield,
    norm_law,
    sample_variance,
    sharpening,
    sharpness,
)
from isoinit.theory.ensemble import ensemble
from isoinit.theory.finite_width import Chain
from isoinit.theory.gaussian import expectation, pair_expectation
from isoinit.theory.predict import DEFAULT, Threshold, depth_limit, predict, predicted_outcome
from isoinit.theory.profile import profile
from isoinit.theory.simulate import simulate
from isoinit.theory.theories import get, no_theory

TANH, RNG, LAW = activations.get("tanh"), np.random.default_rng(0), factors.gaussian(4)
POINT = {"sigma_w2": 2.0, "sigma_b2": 0.1, "bias_mode": "iid", "architecture": "mlp", "normalization": "none",
         "tolerance": DEFAULT}  # fmt: skip
MAP = {"activation": TANH, "q": 1.0, "sw2": 1.0, "sb2": 0.1}
DEEP = {"family": "gaussian", "width": 8, "layers": 4}
VALID: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (activations.kumar_variance, {"activation": TANH}),
    (ensemble, {"width": 8, "g": 1.0, "bias": 0.1, "square": 1.0, "c": 0.0}),
    (factors.gaussian, {"width": 4, "fan_in": 3, "sw2": 2.0}),
    (factors.orthogonal, {"width": 4, "sw2": 2.0}),
    (factors.mirrored_gaussian, {"width": 4, "sw2": 2.0}),
    (factors.isometry, {"sw2": 2.0}),
    (sharpening.lead, {"inputs": 10, "told": 0.8}),
    (sharpening.growth, {"inputs": 10, "units": 8, "told": 0.8, "relative_variance": 2.0}),
    (sharpening.plain_growth, {"inputs": 10, "units": 8, "told": 0.8, "distance": 0.1}),
    (sharpness.wandering, {"variance": 0.1}),
    (factors.two_slopes, {"both": 0.1, "units": 8}),
    (factors.centred, {"factor": LAW, "typical": 1.0}),
    (factors.binomial_weights, {"width": 5}),
    (Chain, {"widths": (3, 4), "weight_variances": (0.5, 0.5), "bias_variance": 0.1, "start": 1.0}),
    (Chain.equal, {"width": 4, "layers": 3, "sw2": 2.0, "bias_variance": 0.1, "start": 1.0}),
    (Chain.equal(4, 3).sample, {"draws": 3, "rng": RNG}),
    (finite_width.death_probability, {"widths": (3, 4)}),
    (finite_width.typical_gain, {"width": 4}),
    (finite_width.operator_eigenvalue, {"m": -2.0, "width": 6, "s2w": 0.3}),
    (expectation, {"f": np.tanh, "scale": 1.0, "tolerance": 1e-9, "max_nodes": 64}),
    (pair_expectation, {"f": np.tanh, "g": np.tanh, "c": 0.5, "scale": 1.0, "tolerance": 1e-9, "max_nodes": 64}),
    (jacobian.spectrum, {"family": "gaussian", "layers": 3}),
    (jacobian.relative_variance, {"family": "gaussian", "layers": 3}),
    (jacobian.largest_singular_value, {"family": "gaussian", "layers": 3}),
    (jacobian.activation_variance, {"activation": TANH, "q": 1.0, "layers": 3, "gaussian": True}),
    (lyapunov.lyapunov_exponents, DEEP),
    (lyapunov.deep_log_singular_values, DEEP),
    (joint.covariance, {"gram": np.eye(2), "s2w": 1.0, "s2b": 0.1}),
    (joint.gram_moments, {"width": 4, "c": np.eye(2)}),
    (joint.jacobian_moments, {"inputs": 4, "widths": (4, 4)}),
    (joint.length_spread, {"widths": (4, 4)}),
    (meanfield.covariance, {"activation": TANH, "q": 1.0, "c": 0.5}),
    (meanfield.length_map, MAP),
    (meanfield.correlation_map, MAP | {"c": 0.5}),
    (meanfield.chi, {"activation": TANH, "q": 1.0, "sw2": 1.0, "c": 0.5}),
    (meanfield.slope_moment, {"activation": TANH, "q": 1.0, "k": 1}),
    (meanfield.fixed_length, {"activation": TANH, "sw2": 1.0, "sb2": 0.1, "start": 1.0}),
    (meanfield.fixed_correlation, MAP),
    (meanfield.phase, {"activation": TANH, "sw2": 1.0, "sb2": 0.1, "start": 1.0}),
    (meanfield.critical_line, {"activation": TANH, "sb2": 0.1}),
    (meanfield.relu_decorrelation, {"layers": 3, "c0": 0.1}),
    (meanfield.length_slope, {"activation": TANH, "q": 1.0, "sw2": 1.0}),
    (norm_law.product_laws, {"factors": [LAW] * 2, "start": 1.0, "layers": [2]}),
    (predict, {"scheme": "he_normal", "activation": "relu", "depth": 4, "width": 4} | POINT),
    (predict, {"scheme": "he_pruned", "depth": 4, "width": 4, "density": 0.5}),
    (predicted_outcome, {"scheme": "he_normal", "activation": "relu", "depth": 4, "width": 4} | POINT),
    (depth_limit, {"scheme": "he_normal", "activation": "relu", "width": 4} | POINT),
    (profile, {"scheme": "he_normal", "activation": "relu", "depth": 4, "width": 4} | POINT),
    (simulate, {"scheme": "he_pruned", "density": 0.5, "depth": 4, "width": 4, "nets": 2, "rng": RNG}),
    (sample_variance.decay, {"layers": 3, "sw2": 2.0, "sb2": 0.1, "mean_square": 0.1, "variance": 1.0}),
    (sample_variance.preserving, {"layers": 3}),
    (sample_variance.batchnorm_log_gradient, {"layers": 3}),
    (sample_variance.simulated_ratio, {"width": 4, "layers": 2, "nets": 2, "samples": 5, "sw2": 2.0, "rng": RNG}),
    (get, {"scheme": "he_normal"}),
    (no_theory, {"scheme": "he_normal", "activation": "relu", "sigma_b2": 0.1, "bias_mode": "iid"}),
    (no_theory, {"scheme": "he_normal", "architecture": "mlp", "normalization": "none"}),
]
# Of arrays, which clip and carry nan on; or between modules only, with arguments that another function made valid.
OTHERS = {
    "kappa0", "kappa1", "kappa1_complement", "kappa2", "standardized_variance", "transition_laws", "has_theory",
    "no_simulation", "setting_of", "prepared", "default_variance", "greatest_depth", "outcome", "within", "response",
    "prunes", "sharpens", "caveats", "refuse_density", "walk", "nets_of", "foresee", "together", "noise", "judged",
    "aligned_or_exploded", "log_sum", "moments", "looked_up", "layer", "widens", "unknown",
    "stretched", "least_apart", "plain_sharpening", "hermite", "series", "still", "if_settled",
    "bounds", "log_asked", "log_enough", "right",
}  # fmt: skip
NEVER = (-1.5, nan, inf, "x", [], (0,), np.eye(3), True)
ALLOWED = {  # where one of these is a valid argument after all
    "m": (-1.5,), "gaussian": NEVER, "architecture": (), "c0": (), "fan_in": (),
}  # fmt: skip


@pytest.mark.parametrize(("function", "arguments"), VALID, ids=lambda v: getattr(v, "__qualname__", ""))
def test_a_wrong_argument_is_named_with_its_law_and_value(
    function: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    function(**arguments)
    for name in arguments:
        for value in (v for v in NEVER if not any(v is allowed for allowed in ALLOWED.get(name, ()))):
            if function is no_theory and name in ("scheme", "activation"):
                assert function(**arguments | {name: value}), "a reason, not an error"
                continue
            with pytest.raises(ValueError, match=rf"^{name} must be ") as told:
                function(**arguments | {name: value})
            text = str(told.value)
            assert "\n" not in text
            assert (
                f"but got {'an array of float64 of shape (3, 3)' if isinstance(value, np.ndarray) else repr(value)}"
                in text
            )


def test_no_public_function_is_forgotten() -> None:
    maps = {"maps", "mirrored", "ones", "asked"}  # a step of a walk each, and the rules themselves
    seen = {function.__name__ for function, _ in VALID} | OTHERS
    for module in iter_modules(isoinit.theory.__path__):
        if module.name in maps:
            continue
        loaded = import_module(f"isoinit.theory.{module.name}")
        for name, function in getmembers(loaded, isfunction):
            if function.__module__ == loaded.__name__ and not name.startswith("_"):
                assert name in seen, f"isoinit.theory.{module.name}.{name} has no wrong arguments here"


@pytest.mark.parametrize("width", [1, 2, 3, 50, 1001, 10**5])
def test_only_negligible_weights_are_left_out(width: int) -> None:
    law, weights = factors.gaussian(width), factors.binomial_weights(width)
    units = np.flatnonzero(weights > 1e-20)
    units = units[units > 0]
    assert np.array_equal(law.shapes, units / 2)
    assert np.array_equal(law.weights, weights[units] / weights[units].sum())


@pytest.mark.parametrize("width", [10**7, 10**9])
def test_a_width_beyond_memory_is_answered(width: int) -> None:
    """The first order in 1 / width is exact there, to what the logs of factorials leave."""
    law = factors.gaussian(width)
    assert law.log_variance * width == pytest.approx(5, rel=1e-4)
    assert law.log_mean * width == pytest.approx(-2.5, rel=0.3)


def test_a_chain_of_no_units_says_so() -> None:
    with pytest.raises(ValueError, match=r"^width must be a whole number from 1 to 1000000000, but got 0\.$"):
        Chain.equal(0, 3)
    with pytest.raises(ValueError, match=r"^width must be a whole number from 2 to"):
        factors.mirrored_gaussian(1)
    with pytest.raises(ValueError, match=r"^rng must be a Generator, such as numpy.random.default_rng\(0\), but got 3"):
        simulate("he_normal", depth=3, width=4, rng=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"^layers must be at most the 2 factors, but got 3"):
        norm_law.product_laws([LAW] * 2, layers=[3])


NUMPY: list[tuple[Callable[..., Any], dict[str, Any], str, Any]] = [
    (predict, {"scheme": "he_normal", "depth": 7, "width": 100}, "sigma_w2", np.float32(1.9)),
    (predict, {"scheme": "he_normal", "depth": 7, "width": 100, "bias_mode": "iid"}, "sigma_b2", np.float32(0.3)),
    (predict, {"scheme": "he_normal", "activation": "linear", "depth": 7}, "width", np.int8(90)),
    (predict, {"scheme": "he_pruned", "depth": 7, "width": 100}, "density", np.float16(0.3)),
    (predicted_outcome, {"scheme": "orthogonal", "depth": 7}, "width", np.uint8(77)),
    (factors.gaussian, {"width": 9}, "sw2", np.float32(1.7)),
    (factors.two_slopes, {"units": 9}, "both", np.float32(0.1)),
    (joint.jacobian_moments, {"widths": (4, 4)}, "inputs", np.int8(100)),
    (meanfield.fixed_length, {"activation": TANH, "sb2": 0.1}, "sw2", np.float32(1.3)),
    (sample_variance.decay, {"layers": 9}, "sw2", np.float32(1.3)),
    (Chain, {"weight_variances": (0.1,)}, "widths", (np.int8(100),)),
    (Chain.equal, {"width": 20, "layers": 3}, "bias_variance", np.float16(0.3)),
    (Threshold, {"source": "chosen"}, "value", np.float32(0.3)),
]


@pytest.mark.parametrize(("function", "arguments", "name", "value"), NUMPY)
def test_a_number_of_numpy_is_taken_for_that_of_python(
    function: Callable[..., Any], arguments: dict[str, Any], name: str, value: Any
) -> None:
    """Else an int8 overflows, and a float32 rounds what follows, in a cache for those who ask with a float, too."""
    found = function(**arguments | {name: value})
    pythons = tuple(v.item() for v in value) if isinstance(value, tuple) else value.item()
    expected = function(**arguments | {name: pythons})
    assert repr(found) == repr(expected)
    if isinstance(found, Chain):
        assert repr(found.moments()) == repr(expected.moments())


def test_a_cache_does_not_mix_a_float32_with_the_float_that_equals_it() -> None:
    value = 1.375  # asked for nowhere else
    factors.gaussian(7, sw2=np.float32(value))  # pyright: ignore[reportArgumentType]
    assert factors.gaussian(7, sw2=value).log_scale == log(2 * value / 7)


def test_a_whole_number_that_no_float_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^sigma_b2 must be .*, but got 1000000"):
        predict("he_normal", depth=3, width=4, sigma_b2=10**400, bias_mode="iid")
