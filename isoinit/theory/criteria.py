"""The depth at which a network suffers more than it may (`tolerance`), and what it then does."""

from functools import lru_cache
from itertools import islice
from math import erf, inf, isnan, log, sqrt

from isoinit.theory.crowd import law
from isoinit.theory.ensemble import Seen
from isoinit.theory.rising import log_enough
from isoinit.theory.setting import Setting, Smooth
from isoinit.theory.sharpening import lead
from isoinit.theory.state import State
from isoinit.theory.tolerance import BETWEEN, Threshold, Tolerance

MAX_DEPTH = 1000  # a limit beyond this many weight layers is reported as inf
_EVERY_LAYER = 100  # the limit is sought layer by layer up to here, then at every tenth


@lru_cache(maxsize=4096)
def greatest_depth(setting: Setting | Smooth) -> tuple[float, str]:
    """Greatest tolerable depth, interpolated between layers, and the criterion that fails first."""
    before: dict[str, float] = {}
    last = 0
    for state in islice(setting.states(), MAX_DEPTH - 1):
        if not judged(state.layer):
            continue
        margins = _margins(state, setting)
        failed = {name: margin for name, margin in margins.items() if margin < 0}
        if failed and not before:
            return 1.0, min(failed, key=lambda name: failed[name])
        if failed:
            reached = {name: before[name] / (before[name] - margin) for name, margin in failed.items()}
            binding = min(reached, key=lambda name: reached[name])
            return 1 + last + (state.layer - last) * reached[binding], binding
        before, last = margins, state.layer
    return inf, "none"


def judged(layer: int) -> bool:
    """Whether `greatest_depth` looks at a hidden layer."""
    return layer <= _EVERY_LAYER or layer % 10 == 0 or layer >= MAX_DEPTH - 1


def least_apart(setting: Setting | Smooth, tolerated: Threshold) -> float:
    """By how much inputs, or the gradients of classes, have to differ to be told apart within the steps that there are;
    `tolerated` if none are given.

    At the greatest stable rate a step changes by about its own size what the outputs of all inputs have in common, and
    what tells two of them apart by the share in which they differ. Their lead is in deviations of the logits, and takes
    that many steps over the share (argued here, not derived; sharpness and rate cancel, for both sides have them).
    """
    if setting.steps is None or tolerated.value == 0:
        return tolerated.value
    return _asked(setting.tolerance) / setting.steps


def _asked(tolerance: Tolerance) -> float:
    """Steps that inputs without anything in common take to be told apart.

    What a class has in common is a share of what its inputs differ by from those of others, `between`, and only that
    share of a step goes into the lead (argued here, not derived). All that is argued is good to a factor, which is
    taken to be right for digits: so a share that is less than theirs takes as many times longer (chosen).
    """
    longer = BETWEEN["digits"] / tolerance.between.value
    return lead(int(tolerance.inputs.value), tolerance.told.value) * longer


def bounds(setting: Setting | Smooth, tolerated: Threshold) -> tuple[float, float]:
    """Between which the log of a squared norm, of the signal or of the gradient, has to stay within the steps that
    there are; `tolerated` either way if none are given.

    An output that is less than it would be in a net that keeps norms, by a factor a, has gradients by the weights of
    all layers that are less by as much, and changes by a of its own size in a step of the rate that is the greatest
    stable one there. The lead of `least_apart` takes that many steps over a, most of them before it has grown, for it
    grows the faster the greater it is (argued here, not derived; it is the plateau of deep linear nets with small
    weights, Saxe et al. 2014, 1312.6120). Norms that grow are tolerated as without steps.
    """
    if setting.steps is None:
        return -tolerated.value, tolerated.value
    asked = _asked(setting.tolerance)
    return (-2 * max(log(setting.steps / asked), 0.0) if asked > 0 else -inf), tolerated.value


def aligned_or_exploded(seen: Seen, noise: float, setting: Setting) -> bool:
    """Whether a depth limit is surely met where this is seen, by the criteria that an ensemble tells; `noise` is that
    of `crowd`, or less, as far as mean field does not make good for it."""
    tolerance = setting.tolerance
    nearest = seen.distance * law(int(tolerance.inputs.value)).ratio(noise)
    gradient = _margin(seen.log_gradient, seen.gradient_variance, bounds(setting, tolerance.gradient))
    return nearest < least_apart(setting, tolerance.alignment) or gradient < 0


def _margins(state: State, setting: Setting | Smooth) -> dict[str, float]:
    """How far each criterion is from failing for the majority of seeds; negative: failed."""
    tolerance = setting.tolerance
    return {
        "signal": _margin(state.log_signal, state.signal_variance, bounds(setting, tolerance.signal)),
        "gradient": _margin(state.log_gradient, state.gradient_variance, bounds(setting, tolerance.gradient)),
        "alignment": _log_told_apart(state, tolerance) - _log(least_apart(setting, tolerance.alignment)),
        "classes": _log(state.classes) - _log(least_apart(setting, tolerance.classes)),
        "conditioning": tolerance.conditioning.value - state.relative_variance,
        "death": state.alive - (1 - tolerance.death.value),
        "stability": _stability(state, setting),
        "rate": _rises(state, setting),
    }


def _log_told_apart(state: State, tolerance: Tolerance) -> float:
    """Log of by how much an input differs from the nearest of the others, relative to its squared length.

    Biases lengthen all inputs alike. What that costs depends on the learning rate: if lengths leave it as it is, what
    differs is learnt as fast as without biases, and if it goes with the inverse of the sharpness, slower by their
    ratio. So the length counts as one between the two, in logs, that `shared` says.
    """
    return _log(state.nearest) + tolerance.shared.value * state.log_shared


def _log(share: float) -> float:
    return log(max(share, 1e-300))


def _stability(state: State, setting: Setting | Smooth) -> float:
    if setting.learning_rate is None:
        return inf
    return log(setting.tolerance.stable(setting.activation) / setting.learning_rate) - state.log_sharpest


def _rises(state: State, setting: Setting | Smooth) -> float:
    """How far the greatest stable one of the learning rates, if it is any between the least and the greatest, is from
    being too small for the steps that there are."""
    rate, tolerance = setting.learning_rate, setting.tolerance
    if rate is None or isnan(enough := log_enough(state.log_rise, state.log_apart, setting.steps, tolerance)):
        return inf
    stable = log(tolerance.stable(setting.activation)) - state.log_sharpest
    return min(log(setting.greatest_rate or rate), stable) - enough


def _margin(mean: float, variance: float, between: tuple[float, float]) -> float:
    low, high = between
    return within(mean, variance, between) - 0.5 if variance > 0 else min(mean - low, high - mean)


def within(mean: float, variance: float, between: tuple[float, float]) -> float:
    """Probability that a normal variable is between two numbers: the log of a norm is nearly normal."""
    low, high = between
    if variance == 0:
        return float(low <= mean <= high)
    scale = sqrt(2 * variance)
    return (erf((high - mean) / scale) + erf((mean - low) / scale)) / 2


def outcome(state: State, probability: float, setting: Setting | Smooth) -> str:
    margins = _margins(state, setting)
    if margins["death"] < 0:
        return "stalled"  # whatever the few do that are alive, of which the norms tell
    if probability < 0.5:
        worst = max(state.log_signal, state.log_gradient, key=abs)
        return "vanished" if worst < 0 else "diverged"
    if margins["stability"] < 0:
        return "diverged"
    return (
        "stalled" if min(margins[name] for name in ("alignment", "classes", "conditioning", "rate")) < 0 else "trained"
    )
