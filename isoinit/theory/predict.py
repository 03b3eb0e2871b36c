"""From a grid point (scheme, depth, width, variances) to a predicted outcome and a predicted depth limit.

    predict("he_normal", depth=30, width=64).depth_limit
    predict("ll_orth", depth=30, width=64, sigma_b2=0.1, bias_mode="iid", learning_rate=0.1).depth_limit
    predict("he_normal", depth=30, width=64, steps=3000).depth_limit

A network is predicted to start training if, for the typical seed, signal and gradient stay within a tolerated
number of e-folds (`criteria.bounds`), none of ten inputs, as if of ten classes, comes too near another to be told apart
in the steps that there are (`crowd`, `criteria.least_apart`), no layer is dead, and steps of the learning rate, if one
is given, are stable (`sharpness`). The thresholds are ours or borrowed (`Tolerance` says which), and the data move the
boundary, too.
Compare with measurements; it has not been fitted to any. `Tolerance.conditioning` is off: no paper gives its number.
"""

from itertools import islice
from math import nan, sqrt
from typing import Any

from isoinit.theory import prepare
from isoinit.theory.asked import asks
from isoinit.theory.caveats import caveats
from isoinit.theory.criteria import MAX_DEPTH, bounds, greatest_depth, outcome, within
from isoinit.theory.maps import Bias
from isoinit.theory.prediction import Prediction
from isoinit.theory.prepare import default_variance, prepared
from isoinit.theory.setting import Setting, Smooth
from isoinit.theory.state import State
from isoinit.theory.theories import has_theory, no_theory, sharpens
from isoinit.theory.tolerance import DEFAULT, Threshold, Tolerance

__all__ = [
    "DEFAULT",
    "MAX_DEPTH",
    "Prediction",
    "Threshold",
    "Tolerance",
    "default_variance",
    "depth_limit",
    "has_theory",
    "no_theory",
    "predict",
    "predicted_outcome",
    "setting_of",
]


@asks()
def predict(
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
) -> Prediction:
    """The prediction for one grid point.

    depth counts weight layers (>= 2), width the hidden units (channels of a cnn); `sigma_w2 = fan_in * Var(w)` of
    the hidden layers, None: the scheme's own; `sigma_b2 = Var(b)`; `density` is the share of weights that a sparse
    scheme leaves, the same in all layers; `learning_rate` is that of gradient descent without momentum, None: small;
    `steps` are those of such training, None: the tolerances' own, some 250 (`criteria.least_apart`); `greatest_rate`
    that of several rates of which a net may be trained by any, `learning_rate` being the least, None: by that alone.
    ValueError if an argument is out of range, or with the sentence of `no_theory` if there is no theory.
    """
    setting, variance, sigma_b2 = prepared(
        scheme, architecture=architecture, activation=activation, normalization=normalization, depth=depth, width=width,
        sigma_w2=sigma_w2, sigma_b2=sigma_b2, bias_mode=bias_mode, density=density, learning_rate=learning_rate,
        steps=steps, greatest_rate=greatest_rate, tolerance=tolerance,
    )  # fmt: skip
    state, probability = _reached(setting, depth)
    limit, binding = greatest_depth(setting)
    scaled = variance != default_variance(scheme, activation)
    drawn = isinstance(setting, Setting) and setting.nets() is not None
    sharp = sharpens(architecture, normalization)
    return Prediction(
        scheme=scheme,
        architecture=architecture,
        activation=activation,
        normalization=normalization,
        depth=depth,
        width=width,
        sigma_w2=variance,
        sigma_b2=sigma_b2,
        bias_mode=bias_mode,
        density=density,
        learning_rate=learning_rate,
        steps=steps,
        greatest_rate=greatest_rate,
        drift=state.log_signal,
        spread=sqrt(state.signal_variance),
        correlation=state.correlation,
        alignment=state.distance,
        nearest=state.nearest,
        classes=state.classes,
        log_gradient=state.log_gradient,
        gradient_spread=sqrt(state.gradient_variance),
        conditioning=state.relative_variance,
        log_sharpness=state.log_sharpness if sharp else nan,
        log_sharpest=state.log_sharpest if sharp else nan,
        log_rise=state.log_rise if sharp else nan,
        log_apart=state.log_apart,
        dead_probability=1 - state.alive,
        probability=probability,
        outcome=outcome(state, probability, setting),
        seed_dependent=1 - tolerance.certainty.value < 2 * min(probability, 1 - probability),
        depth_limit=limit,
        binding=binding,
        notes=caveats(
            scheme,
            architecture,
            activation,
            normalization,
            density,
            variance,
            sigma_b2,
            scaled=scaled,
            drawn=drawn,
            rated=learning_rate is not None,
            budgeted=steps is not None,
        ),
        tolerance=tolerance,
    )


@asks()
def predicted_outcome(scheme: str, *, depth: int, width: int, **point: Any) -> str:
    """`predict(...).outcome` alone: without the depth limit, for which `predict` mostly goes far beyond the depth."""
    setting, _, _ = prepared(scheme, depth=depth, width=width, **point)
    return outcome(*_reached(setting, depth), setting)


def depth_limit(scheme: str, *, width: int, **point: Any) -> float:
    """Greatest depth (weight layers) predicted to train; inf: none up to `MAX_DEPTH`. Arguments as `predict`."""
    return predict(scheme, depth=2, width=width, **point).depth_limit


def setting_of(prediction: Prediction) -> Setting | Smooth:
    """The setting behind a prediction: its family, or its activation in the wide limit, and its states over depth."""
    return prepare.setting_of(
        prediction.scheme,
        prediction.architecture,
        prediction.activation,
        prediction.normalization,
        prediction.width,
        prediction.sigma_w2,
        Bias(prediction.sigma_b2, prediction.bias_mode),
        prediction.density,
        prediction.learning_rate,
        prediction.steps,
        prediction.greatest_rate,
        prediction.tolerance,
    )


def _reached(setting: Setting | Smooth, depth: int) -> tuple[State, float]:
    """The last hidden layer's state, and the share of seeds within tolerance there."""
    state = next(islice(setting.states(), depth - 2, None))
    signal, gradient = (bounds(setting, t) for t in (setting.tolerance.signal, setting.tolerance.gradient))
    probability = min(within(state.log_signal, state.signal_variance, signal),
                      within(state.log_gradient, state.gradient_variance, gradient))  # fmt: skip
    return state, probability
