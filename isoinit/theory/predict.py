"""From a grid point (scheme, depth, width, variances) to a predicted outcome and a predicted depth limit.

    predict("he_normal", depth=30, width=64).depth_limit
    predict("ll_orth", depth=30, width=64, sigma_b2=0.1, bias_mode="iid", learning_rate=0.1).depth_limit
    predict("he_normal", depth=30, width=64, steps=3000).depth_limit

A network is predicted to start training if, for the typical seed, signal and gradient stay within a tolerated
number of e-folds (`setting.bounds`), none of ten inputs, as if of ten classes, comes too near another to be told apart
in the steps that there are (`crowd`, `setting.least_apart`), no layer is dead, and steps of the learning rate, if one
is given, are stable (`sharpness`). The thresholds are ours or borrowed (`Tolerance` says which), and the data move the
boundary, too.
Compare with measurements; it has not been fitted to any. `Tolerance.conditioning` is off: no paper gives its number.
"""

from dataclasses import dataclass
from itertools import islice
from math import exp, log, nan, sqrt
from typing import Any

from isoinit.theory import prepare
from isoinit.theory.asked import asks
from isoinit.theory.caveats import caveats
from isoinit.theory.maps import Bias
from isoinit.theory.prepare import default_variance, prepared
from isoinit.theory.rising import log_enough
from isoinit.theory.setting import MAX_DEPTH, Setting, Smooth, bounds, greatest_depth, outcome, within
from isoinit.theory.theories import has_theory, no_theory, sharpens
from isoinit.theory.tolerance import DEFAULT, Threshold, Tolerance
from isoinit.theory.trajectory import State

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

_GREATEST = 700.0  # log of a float


@dataclass(frozen=True)
class Prediction:
    """What theory says of one grid point: natural logs of squared norms of the typical net; `depth` in weight layers.

    drift, spread        log |x_last|^2 / |x_0|^2 in a net of square layers, and its standard deviation over seeds;
                         exact for Gaussian and orthogonal weights without a bias, by `fluctuation` with one
    correlation          cosine of two inputs in the last hidden layer's pre-activations, mean over seeds
    alignment            1 - |cosine| of the typical seed
    nearest              the same of an input and the nearest of the others, of `tolerance.inputs` that are unrelated
    classes              the same of the gradients of as many classes at the input; 1: not derived
    log_gradient         log |J v|^2 / |v|^2 from the input to the last hidden layer,
    gradient_spread        and its standard deviation over seeds
    conditioning         Var(e) / E(e)^2 of the eigenvalues e of J J^T, wide limit (0: isometry)
    log_sharpness        log of the greatest eigenvalue of the Gauss-Newton matrix of the typical net
                         (`isoinit.theory.sharpness`); nan: not derived
    log_sharpest         the same of the sharpest that it becomes until it is trained (`isoinit.theory.sharpening`)
    log_rise, log_apart  logs of how fast the right logit rises at first, nan likewise, and of how far logits of inputs
                           are apart, see `trajectory.State`
    dead_probability     that some layer is off altogether for a given input; of pruned weights, that no path of them
                           through units that are on is left
    probability          share of seeds that stay within tolerance in the signal and in the gradient, the lesser share
    outcome              of most seeds: "trained", "vanished", "diverged", or "stalled" (inputs or gradients aligned,
                         spectrum too wide, or layers dead); "diverged", too, beyond what the learning rate allows
    seed_dependent       whether fewer seeds agree on that than `tolerance.certainty` asks
    depth_limit          greatest depth predicted to train; inf: none up to `MAX_DEPTH`
    binding              what ends it: "signal", "gradient", "alignment", "classes", "conditioning", "death",
                         "stability", "rate" (too small for the steps) or "none"
    notes                caveats of this combination
    """

    scheme: str
    architecture: str
    activation: str
    normalization: str
    depth: int
    width: int
    sigma_w2: float
    sigma_b2: float
    bias_mode: str
    density: float
    learning_rate: float | None
    steps: int | None
    greatest_rate: float | None
    drift: float
    spread: float
    correlation: float
    alignment: float
    nearest: float
    classes: float
    log_gradient: float
    gradient_spread: float
    conditioning: float
    log_sharpness: float
    log_sharpest: float
    log_rise: float
    log_apart: float
    dead_probability: float
    probability: float
    outcome: str
    seed_dependent: bool
    depth_limit: float
    binding: str
    notes: tuple[str, ...]
    tolerance: Tolerance

    @property
    def stable_rate(self) -> float:
        """The greatest learning rate at which this net is stable until it is trained; nan: not derived."""
        return exp(min(log(self.tolerance.stable(self.activation)) - self.log_sharpest, _GREATEST))

    @property
    def least_rate(self) -> float:
        """The least learning rate that is enough for this net within `steps`, if they are given; nan: not derived."""
        return exp(min(log_enough(self.log_rise, self.log_apart, self.steps, self.tolerance), _GREATEST))


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
    `steps` are those of such training, None: the tolerances' own, some 250 (`setting.least_apart`); `greatest_rate`
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
