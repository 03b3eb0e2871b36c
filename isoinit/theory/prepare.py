"""What a question to the theory must obey, and the setting behind a grid point."""

from __future__ import annotations

from math import inf

from isoinit.theory import activations, crowd
from isoinit.theory.asked import SHARE, Rule, above, asks, between, least, made, one_of, optional, refuse, whole
from isoinit.theory.families import FAMILIES
from isoinit.theory.maps import Bias
from isoinit.theory.setting import Setting, Smooth
from isoinit.theory.sharpening import TOLD
from isoinit.theory.smooth import SmoothNet
from isoinit.theory.theories import (
    ARCHITECTURES,
    BIAS_MODES,
    EXACT,
    NORMALIZATIONS,
    RECTIFIED,
    get,
    no_theory,
    prunes,
    refuse_density,
    sharpens,
)
from isoinit.theory.tolerance import DEFAULT, Tolerance

_KERNEL = 3 * 3  # of `isoinit.CNN`, unless it is told another: the inputs of a unit in each channel
_DEEPEST = 10**6  # layers that are walked one by one
_LARGEST = 1e100  # a variance beyond leaves the floats within a few layers
_FAR = 1e305  # what weights may make of a bias variance, or leave of it, where units are piecewise linear
_WEIGHT = between(1 / _LARGEST, _LARGEST)
_LIMIT = Rule("a number above 0, or inf", lambda value: above(0).holds(value) or value == inf)
_COSINE = between(-1, 1)
_TOLERANCE = {
    "signal": _LIMIT,
    "gradient": _LIMIT,
    "alignment": above(0),
    "classes": between(0, 1),
    "shared": between(0, 1),
    "inputs": whole(2, crowd.MOST),
    "conditioning": Rule("a number of at least 0, or inf", lambda value: least(0).holds(value) or value == inf),
    "death": between(0, 1),
    "stability": above(0),
    "linear_stability": above(0),
    "told": TOLD,
    "between": SHARE,
    "part": between(0, 1),
    "certainty": between(0, 1),
    "input_square": _WEIGHT,
    "input_correlation": Rule("a number from -1 to below 1", lambda value: _COSINE.holds(value) and value != 1),
}
"""What the thresholds of a `Tolerance` must obey."""


def default_variance(scheme: str, activation: str = "relu") -> float:
    """The scheme's own `sigma_w2 = fan_in * Var(w)` in square hidden layers."""
    if scheme == "kumar":
        return activations.kumar_variance(activations.get(activation))
    if activation not in (*RECTIFIED, "gelu", "silu") and get(scheme).family == "orthogonal":
        return 1.0
    return get(scheme).sigma_w2


@asks()
def prepared(
    scheme: str,
    *,
    architecture: str = "mlp",
    activation: str = "relu",
    normalization: str = "none",
    depth: int,
    width: int,
    sigma_w2: float | None = None,
    sigma_b2: float = 0.0,
    bias_mode: str = "zero",
    density: float = 1.0,
    learning_rate: float | None = None,
    steps: int | None = None,
    greatest_rate: float | None = None,
    tolerance: Tolerance = DEFAULT,
) -> tuple[Setting | Smooth, float, float]:
    """The setting of valid arguments, and the variances of weights and biases that are meant."""
    _validate(
        architecture,
        normalization,
        depth,
        width,
        sigma_w2,
        sigma_b2,
        bias_mode,
        density,
        learning_rate,
        steps,
        greatest_rate,
        tolerance,
    )
    reason = no_theory(
        scheme, architecture=architecture, activation=activation, normalization=normalization,
        sigma_b2=sigma_b2, bias_mode=bias_mode,
    )  # fmt: skip
    if reason:
        raise ValueError(reason)
    refuse_density(scheme, density, architecture, width)
    variance = sigma_w2 if sigma_w2 is not None else default_variance(scheme, activation)
    refuse("sigma_b2", sigma_b2, _held(activation, variance))
    fan_in = width * (_KERNEL if architecture == "cnn" else 1)
    sigma_b2 = sigma_b2 or get(scheme).own_bias / fan_in
    bias = Bias(sigma_b2, bias_mode)
    setting = setting_of(
        scheme,
        architecture,
        activation,
        normalization,
        width,
        variance,
        bias,
        density,
        learning_rate,
        steps,
        greatest_rate,
        tolerance,
    )
    return setting, variance, sigma_b2


def _held(activation: str, sigma_w2: float) -> Rule:
    """What a bias variance must obey for the variances of a layer to be numbers that floats hold."""
    most = _FAR / max(sigma_w2, 1 / sigma_w2) if activation in EXACT else _LARGEST
    return Rule(f"{least(0).law} and at most {most:g}", between(0, most).holds)


def setting_of(
    scheme: str,
    architecture: str,
    activation: str,
    normalization: str,
    width: int,
    sigma_w2: float,
    bias: Bias,
    density: float,
    learning_rate: float | None,
    steps: int | None,
    greatest_rate: float | None,
    tolerance: Tolerance,
) -> Setting | Smooth:
    theory = get(scheme)
    family = theory.residual if architecture == "resnet" and theory.residual else theory.family
    rate = learning_rate if sharpens(architecture, normalization) else None
    if activation not in EXACT:
        gaussian = family == "gaussian"
        net = SmoothNet(activation, width, sigma_w2, bias.variance, gaussian, normalization == "batch")
        return Smooth(net, tolerance, rate, steps, greatest_rate)
    gain = sigma_w2 / FAMILIES[family].critical if architecture != "resnet" else 1.0
    if activation == "linear":
        # a linear net is the core of a mirrored one
        family, gain = f"mirrored_{family}", sigma_w2
    if activation in ("linear", "crelu"):
        width, bias = 2 * width, Bias(bias.variance, "mirrored")
    if normalization == "batch":
        # the scale of the weights and the biases cancel; a mirrored net stays linear, standardized pair by pair
        family, gain, bias = ("still" if family.startswith("mirrored") else "standardized"), 1.0, Bias(0.0, "zero")
    if family.startswith("mirrored") and width < 2:
        raise ValueError(f"{scheme} mirrors the hidden units and needs a width of at least 2, got {width}.")
    if theory.family.startswith("mirrored") and architecture == "resnet" and width % 2:
        raise ValueError(f"{scheme} mirrors the channels and needs an even width, got {width}.")
    density = density if prunes(scheme, architecture, activation, normalization) else 1.0
    return Setting(
        family, width, gain, bias, tolerance, density, architecture == "cnn", rate, activation, steps, greatest_rate
    )


def _validate(
    architecture: str,
    normalization: str,
    depth: int,
    width: int,
    sigma_w2: float | None,
    sigma_b2: float,
    bias_mode: str,
    density: float,
    learning_rate: float | None,
    steps: int | None,
    greatest_rate: float | None,
    tolerance: Tolerance,
) -> None:
    for name, value, rule in (
        ("architecture", architecture, one_of(ARCHITECTURES)),
        ("normalization", normalization, one_of(NORMALIZATIONS)),
        ("bias_mode", bias_mode, one_of(BIAS_MODES)),
        ("depth", depth, whole(2, _DEEPEST)),
        ("width", width, whole(1)),
        ("sigma_b2", sigma_b2, least(0)),
        ("sigma_w2", sigma_w2, optional(_WEIGHT)),
        ("density", density, SHARE),
        ("learning_rate", learning_rate, optional(above(0))),
        ("steps", steps, optional(whole(1))),
        ("greatest_rate", greatest_rate, optional(above(0))),
        ("tolerance", tolerance, made(Tolerance, "predict.DEFAULT")),
    ):
        refuse(name, value, rule)
    if greatest_rate is not None and not (learning_rate is not None and learning_rate <= greatest_rate):
        raise ValueError(
            f"greatest_rate {greatest_rate} must be at least learning_rate, the least of several, but that is "
            f"{learning_rate}."
        )
    if sigma_b2 > 0 and bias_mode == "zero":
        raise ValueError(f"sigma_b2 {sigma_b2} needs bias_mode 'iid' or 'mirrored', but got 'zero'.")
    for name, rule in _TOLERANCE.items():
        refuse(name, getattr(tolerance, name).value, rule)
