"""From a grid point (scheme, depth, width, variances) to a predicted outcome and a predicted depth limit.

    predict("he_normal", depth=30, width=64).depth_limit

A network is predicted to start training if, for the typical seed, signal and gradient stay within a tolerated
number of e-folds, two inputs stay distinguishable and no layer is dead. The thresholds are ours or borrowed
(`Tolerance` says which), and the prediction is for the START of training: the learning rate, the number of
steps and the data move the boundary. Compare with measurements; it has not been fitted to any.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice
from math import erf, exp, inf, log, sqrt
from typing import Any

from isoinit.theory import activations, meanfield
from isoinit.theory.families import FAMILIES, Bias, Point
from isoinit.theory.theories import ARCHITECTURES, BIAS_MODES, RECTIFIED, get, has_theory, no_theory
from isoinit.theory.trajectory import State, walk

__all__ = ["Prediction", "Threshold", "Tolerance", "depth_limit", "has_theory", "no_theory", "predict"]

MAX_DEPTH = 1000  # a limit beyond this many weight layers is reported as inf
_EVERY_LAYER = 100  # the limit is sought layer by layer up to here, then at every tenth


@dataclass(frozen=True)
class Threshold:
    """A number that decides, and where it comes from: a paper, or the word "chosen"."""

    value: float
    source: str


@dataclass(frozen=True)
class Tolerance:
    """What a network may suffer at initialization and still start training."""

    signal: Threshold = Threshold(
        meanfield.DEPTHS_PER_SCALE, "|log| of the squared norm: up to 6 depth scales, Schoenholz et al. 2017"
    )
    gradient: Threshold = Threshold(
        meanfield.DEPTHS_PER_SCALE, "|log| of the squared gradient: up to 6 depth scales, Schoenholz et al. 2017"
    )
    alignment: Threshold = Threshold(1e-2, "1 - correlation of two inputs: chosen")
    death: Threshold = Threshold(0.5, "probability that a layer is off for a given input: chosen")
    certainty: Threshold = Threshold(0.9, "share of seeds that agree, else seed-dependent (1.64 sigma): chosen")
    input_square: Threshold = Threshold(1.0, "mean square of an input coordinate, standardized data: chosen")
    input_correlation: Threshold = Threshold(0.0, "cosine of two inputs, unrelated data: chosen")


DEFAULT = Tolerance()


@dataclass(frozen=True)
class Prediction:
    """What theory says of one grid point: natural logs of squared norms of the typical net; `depth` in weight layers.

    drift, spread        log |x_last|^2 / |x_0|^2 in a net of square layers, and its standard deviation over seeds
    alignment            1 - correlation of two inputs in the last hidden layer's pre-activations
    log_gradient         log |J v|^2 / |v|^2 from the input to the last hidden layer,
    gradient_spread        and its standard deviation over seeds
    conditioning         Var(e) / E(e)^2 of the eigenvalues e of J J^T, wide limit (0: isometry)
    dead_probability     that some layer is off altogether for a given input
    probability          share of seeds that stay within tolerance in the signal and in the gradient, the lesser share
    outcome              of most seeds: "trained", "vanished", "diverged", or "stalled" (inputs aligned, or layers dead)
    seed_dependent       whether fewer seeds agree on that than `tolerance.certainty` asks
    depth_limit          greatest depth predicted to train; inf: none up to `MAX_DEPTH`
    binding              what ends it: "signal", "gradient", "alignment", "death" or "none"
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
    drift: float
    spread: float
    correlation: float
    alignment: float
    log_gradient: float
    gradient_spread: float
    conditioning: float
    dead_probability: float
    probability: float
    outcome: str
    seed_dependent: bool
    depth_limit: float
    binding: str
    notes: tuple[str, ...]
    tolerance: Tolerance


@dataclass(frozen=True)
class _Setting:
    """Everything but the depth: what a depth limit depends on."""

    family: str
    width: int
    gain: float
    bias: Bias
    tolerance: Tolerance

    def states(self) -> Iterator[State]:
        """After hidden layer 1, 2, ..."""
        return walk(FAMILIES[self.family], self.width, self.gain, self.bias, _inputs(self.tolerance))


@dataclass(frozen=True)
class _Smooth:
    """The same for an activation that is no rectifier: the mean-field fixed point, approached exponentially."""

    activation: str
    sigma_w2: float
    sigma_b2: float
    gaussian: bool
    tolerance: Tolerance

    def states(self) -> Iterator[State]:
        """After hidden layer 1, 2, ...; the signal is at q*, or, if there is none, dies out or grows from the start."""
        inputs = _inputs(self.tolerance)
        start = self.sigma_w2 * inputs.q + self.sigma_b2
        phase, slope_spread = _phase(self.activation, self.sigma_w2, self.sigma_b2, start)
        settled = 0 < phase.length < inf
        correlation = (self.sigma_w2 * inputs.q * (1 - inputs.d) + self.sigma_b2) / start
        for layer in count(1):
            approach = exp(-(layer - 1) / phase.correlation_scale)
            c = phase.correlation + (correlation - phase.correlation) * approach
            yield State(
                layer=layer,
                correlation=c,
                distance=1 - abs(c),
                log_signal=log(phase.length / inputs.q) if settled else layer * log(phase.chi1),
                signal_variance=0.0,
                log_gradient=layer * log(phase.chi1),
                gradient_variance=0.0,
                relative_variance=layer * (slope_spread + self.gaussian),
                alive=1.0,
            )


def _inputs(tolerance: Tolerance) -> Point:
    return Point(tolerance.input_square.value, 1 - tolerance.input_correlation.value)


@lru_cache(maxsize=4096)
def _phase(activation: str, sigma_w2: float, sigma_b2: float, start: float) -> tuple[meanfield.Phase, float]:
    """The phase, and `mu_2 / mu_1^2 - 1` of the slopes at its fixed point."""
    record = activations.get(activation)
    phase = meanfield.phase(record, sigma_w2, sigma_b2, start)
    q = min(max(phase.length, 1e-14), 1e8)
    return phase, meanfield.slope_moment(record, q, 2) / meanfield.slope_moment(record, q, 1) ** 2 - 1


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
    tolerance: Tolerance = DEFAULT,
) -> Prediction:
    """The prediction for one grid point.

    depth counts weight layers (>= 2), width the hidden units (channels of a cnn); `sigma_w2 = fan_in * Var(w)` of
    the hidden layers, None: the scheme's own; `sigma_b2 = Var(b)`.
    ValueError if an argument is out of range, or with the sentence of `no_theory` if there is no theory.
    """
    _validate(architecture, normalization, depth, width, sigma_w2, sigma_b2, bias_mode, tolerance)
    reason = no_theory(
        scheme, architecture=architecture, activation=activation, normalization=normalization,
        sigma_b2=sigma_b2, bias_mode=bias_mode,
    )  # fmt: skip
    if reason:
        raise ValueError(reason)
    variance = sigma_w2 if sigma_w2 is not None else default_variance(scheme, activation)
    sigma_b2 = sigma_b2 or get(scheme).own_bias / width
    if activation in RECTIFIED:
        bias = Bias(sigma_b2, bias_mode)
        setting = _setting(scheme, architecture, activation, normalization, width, variance, bias, tolerance)
    else:
        setting = _Smooth(activation, variance, sigma_b2, get(scheme).family == "gaussian", tolerance)
    state = next(islice(setting.states(), depth - 2, None))
    limit, binding = _limit(setting)
    probability = min(_within(state.log_signal, state.signal_variance, tolerance.signal.value),
                      _within(state.log_gradient, state.gradient_variance, tolerance.gradient.value))  # fmt: skip
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
        drift=state.log_signal,
        spread=sqrt(state.signal_variance),
        correlation=state.correlation,
        alignment=state.distance,
        log_gradient=state.log_gradient,
        gradient_spread=sqrt(state.gradient_variance),
        conditioning=state.relative_variance,
        dead_probability=1 - state.alive,
        probability=probability,
        outcome=_outcome(state, probability, tolerance),
        seed_dependent=1 - tolerance.certainty.value < 2 * min(probability, 1 - probability),
        depth_limit=limit,
        binding=binding,
        notes=_notes(scheme, architecture, activation, normalization),
        tolerance=tolerance,
    )


def depth_limit(scheme: str, *, width: int, **point: Any) -> float:
    """Greatest depth (weight layers) predicted to train; inf: none up to `MAX_DEPTH`. Arguments as `predict`."""
    return predict(scheme, depth=2, width=width, **point).depth_limit


def states(prediction: Prediction) -> tuple[str, float, Bias, Iterator[State]]:
    """Family, gain and bias of a prediction for a rectifier, and its states after hidden layer 1, 2, ...

    ValueError for another activation: mean field alone has no profile.
    """
    if prediction.activation not in RECTIFIED:
        raise ValueError(f"a profile over depth is derived for {', '.join(RECTIFIED)}, got {prediction.activation!r}.")
    setting = _setting(
        prediction.scheme,
        prediction.architecture,
        prediction.activation,
        prediction.normalization,
        prediction.width,
        prediction.sigma_w2,
        Bias(prediction.sigma_b2, prediction.bias_mode),
        prediction.tolerance,
    )
    return setting.family, setting.gain, setting.bias, setting.states()


def default_variance(scheme: str, activation: str = "relu") -> float:
    """The scheme's own `sigma_w2 = fan_in * Var(w)` in square hidden layers."""
    if scheme == "kumar":
        return activations.kumar_variance(activations.get(activation))
    if activation not in RECTIFIED and get(scheme).family == "orthogonal":
        return 1.0
    return get(scheme).sigma_w2


def _validate(
    architecture: str,
    normalization: str,
    depth: int,
    width: int,
    sigma_w2: float | None,
    sigma_b2: float,
    bias_mode: str,
    tolerance: Tolerance,
) -> None:
    for name, value, valid in (
        ("architecture", architecture, ARCHITECTURES),
        ("normalization", normalization, ("none", "batch")),
        ("bias_mode", bias_mode, BIAS_MODES),
    ):
        if value not in valid:
            raise ValueError(f"{name} must be one of {', '.join(valid)}, but got {value!r}.")
    if depth < 2 or width < 1:
        raise ValueError(f"depth >= 2 and width >= 1 must hold, but got ({depth=}, {width=}).")
    if not (0 <= sigma_b2 < inf and (sigma_w2 is None or 0 < sigma_w2 < inf)):
        raise ValueError(f"sigma_b2 >= 0 and sigma_w2 > 0 must hold, both finite, but got ({sigma_b2=}, {sigma_w2=}).")
    if sigma_b2 > 0 and bias_mode == "zero":
        raise ValueError(f"sigma_b2 {sigma_b2} needs bias_mode 'iid' or 'mirrored', but got 'zero'.")
    if not (tolerance.input_square.value > 0 and -1 <= tolerance.input_correlation.value < 1):
        raise ValueError(f"input_square > 0 and -1 <= input_correlation < 1 must hold, but got {tolerance}.")


def _setting(
    scheme: str,
    architecture: str,
    activation: str,
    normalization: str,
    width: int,
    sigma_w2: float,
    bias: Bias,
    tolerance: Tolerance,
) -> _Setting:
    theory = get(scheme)
    family = theory.residual if architecture == "resnet" and theory.residual else theory.family
    gain = sigma_w2 / FAMILIES[family].critical if architecture != "resnet" else 1.0
    if activation == "crelu":
        bias = Bias(bias.variance, "mirrored")
    if normalization == "batch":
        # the scale of the weights and the biases cancel; a mirrored net stays linear, standardized pair by pair
        family, gain, bias = ("still" if family.startswith("mirrored") else "standardized"), 1.0, Bias(0.0, "zero")
    return _Setting(family, width, gain, bias, tolerance)


@lru_cache(maxsize=4096)
def _limit(setting: _Setting | _Smooth) -> tuple[float, str]:
    """Greatest tolerable depth, interpolated between layers, and the criterion that fails first."""
    before: dict[str, float] = {}
    last = 0
    for state in islice(setting.states(), MAX_DEPTH - 1):
        if state.layer > _EVERY_LAYER and state.layer % 10:
            continue
        margins = _margins(state, setting.tolerance)
        failed = {name: margin for name, margin in margins.items() if margin < 0}
        if failed and not before:
            return 1.0, min(failed, key=lambda name: failed[name])
        if failed:
            reached = {name: before[name] / (before[name] - margin) for name, margin in failed.items()}
            binding = min(reached, key=lambda name: reached[name])
            return 1 + last + (state.layer - last) * reached[binding], binding
        before, last = margins, state.layer
    return inf, "none"


def _margins(state: State, tolerance: Tolerance) -> dict[str, float]:
    """How far each criterion is from failing for the majority of seeds; negative: failed."""
    return {
        "signal": _margin(state.log_signal, state.signal_variance, tolerance.signal.value),
        "gradient": _margin(state.log_gradient, state.gradient_variance, tolerance.gradient.value),
        "alignment": log(max(state.distance, 1e-300) / tolerance.alignment.value),
        "death": state.alive - (1 - tolerance.death.value),
    }


def _margin(mean: float, variance: float, limit: float) -> float:
    return _within(mean, variance, limit) - 0.5 if variance > 0 else limit - abs(mean)


def _within(mean: float, variance: float, limit: float) -> float:
    """Probability that a normal variable is within +-limit: the log of a norm is nearly normal."""
    if variance == 0:
        return float(abs(mean) <= limit)
    scale = sqrt(2 * variance)
    return (erf((limit - mean) / scale) + erf((limit + mean) / scale)) / 2


def _outcome(state: State, probability: float, tolerance: Tolerance) -> str:
    if probability < 0.5:
        worst = max(state.log_signal, state.log_gradient, key=abs)
        return "vanished" if worst < 0 else "diverged"
    margins = _margins(state, tolerance)
    return "stalled" if min(margins["alignment"], margins["death"]) < 0 else "trained"


def _notes(scheme: str, architecture: str, activation: str, normalization: str) -> tuple[str, ...]:
    notes = (
        get(scheme).note,
        "the spread is an MLP's of the same width: an upper bound on a cnn, not verified" * (architecture == "cnn"),
        "a scale of the weights other than the scheme's own is not accounted for" * (architecture == "resnet"),
        "mean field only: no finite-width spread" * (activation not in RECTIFIED),
        "the growth of gradients under batch normalization is compensated by its scale invariance later in training"
        * (normalization == "batch"),
    )
    return tuple(note for note in notes if note)
