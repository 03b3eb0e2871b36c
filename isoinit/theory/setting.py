"""A network but for its depth, what it may suffer at initialization, and the depth at which it suffers more."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import erf, inf, log, sqrt

from isoinit.theory import maps, meanfield
from isoinit.theory.asked import plain
from isoinit.theory.crowd import law
from isoinit.theory.ensemble import Ensemble, Seen
from isoinit.theory.families import FAMILIES
from isoinit.theory.maps import Bias, Point
from isoinit.theory.smooth import SmoothNet
from isoinit.theory.trajectory import State, nets_of, walk

MAX_DEPTH = 1000  # a limit beyond this many weight layers is reported as inf
_ALIKE = {"linear": maps.alike_whole, "crelu": maps.alike_both_halves}  # units that are not those of their family
_EVERY_LAYER = 100  # the limit is sought layer by layer up to here, then at every tenth


@dataclass(frozen=True)
class Threshold:
    """A number that decides, and where it comes from: a paper, or the word "chosen"."""

    value: float
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", plain(self.value))


@dataclass(frozen=True)
class Tolerance:
    """What a network may suffer at initialization and still start training."""

    signal: Threshold = Threshold(
        meanfield.DEPTHS_PER_SCALE, "|log| of the squared norm: up to 6 depth scales, Schoenholz et al. 2017"
    )
    gradient: Threshold = Threshold(
        meanfield.DEPTHS_PER_SCALE, "|log| of the squared gradient: up to 6 depth scales, Schoenholz et al. 2017"
    )
    alignment: Threshold = Threshold(1e-2, "1 - correlation of an input and the nearest of the others: chosen")
    inputs: Threshold = Threshold(10, "inputs to be told apart, as if of as many classes: chosen, the number of digits")
    conditioning: Threshold = Threshold(inf, "Var(e) / E(e)^2 of the eigenvalues of J J^T: chosen, off unless set")
    death: Threshold = Threshold(0.5, "probability that a layer is off for a given input: chosen")
    stability: Threshold = Threshold(
        12.0,
        "learning rate times sharpness up to which ReLU nets settle: Lewkowycz et al. 2020, of a squared loss, quoted "
        "without the paper at hand",
    )
    linear_stability: Threshold = Threshold(4.0, "the same of linear units: Lewkowycz et al. 2020, quoted alike")
    told: Threshold = Threshold(0.8, "share of inputs told apart when a net has become as sharp as it will: chosen")
    certainty: Threshold = Threshold(0.9, "share of seeds that agree, else seed-dependent (1.64 sigma): chosen")
    input_square: Threshold = Threshold(1.0, "mean square of an input coordinate, standardized data: chosen")
    input_correlation: Threshold = Threshold(0.0, "cosine of two inputs, unrelated data: chosen")
    shared: Threshold = Threshold(
        0.5,
        "share, in logs, of the length that biases give to all inputs alike which does not make them more alike: "
        "chosen, between 1, of a learning rate that lengths leave as it is, and 0, of one that is always the greatest "
        "stable one; in plain nets of piecewise linear units",
    )
    classes: Threshold = Threshold(
        1e-2, "1 - correlation of the gradients of a class and the nearest of the others: chosen, as of inputs; 0: off"
    )

    def stable(self, activation: str) -> float:
        """Learning rate times sharpness up to which a net of these units settles."""
        return (self.linear_stability if activation == "linear" else self.stability).value


DEFAULT = Tolerance()


@dataclass(frozen=True)
class Setting:
    """Everything but the depth: what a depth limit depends on. `positions`: units are maps of a convolution;
    `learning_rate` None: so small that every net is stable, or not accounted for; `activation`: that of the network,
    of which a mirrored family may tell all but the sharpness."""

    family: str
    width: int
    gain: float
    bias: Bias
    tolerance: Tolerance
    density: float = 1.0
    positions: bool = False
    learning_rate: float | None = None
    activation: str = "relu"

    def states(self) -> Iterator[State]:
        """After hidden layer 1, 2, ..."""
        family, inputs = FAMILIES[self.family], _inputs(self.tolerance)
        crowd = int(self.tolerance.inputs.value)
        alike = _ALIKE.get(self.activation)
        told = self.tolerance.told.value
        return walk(family, self.width, self.gain, self.bias, inputs, crowd, self.density, self.positions, alike, told)

    def nets(self) -> Ensemble | None:
        """The ensemble that `states` walks; None where there is none."""
        return nets_of(FAMILIES[self.family], self.width, self.gain, self.bias, _inputs(self.tolerance))


@dataclass(frozen=True)
class Smooth:
    """The same for a smooth activation."""

    net: SmoothNet
    tolerance: Tolerance

    def states(self) -> Iterator[State]:
        """After hidden layer 1, 2, ..."""
        return self.net.walk(_inputs(self.tolerance), int(self.tolerance.inputs.value))


def _inputs(tolerance: Tolerance) -> Point:
    return Point(tolerance.input_square.value, 1 - tolerance.input_correlation.value)


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


def aligned_or_exploded(seen: Seen, noise: float, tolerance: Tolerance) -> bool:
    """Whether a depth limit is surely met where this is seen, by the criteria that an ensemble tells; `noise` is that
    of `crowd`, or less, as far as mean field does not make good for it."""
    nearest = seen.distance * law(int(tolerance.inputs.value)).ratio(noise)
    gradient = _margin(seen.log_gradient, seen.gradient_variance, tolerance.gradient.value)
    return nearest < tolerance.alignment.value or gradient < 0


def _margins(state: State, setting: Setting | Smooth) -> dict[str, float]:
    """How far each criterion is from failing for the majority of seeds; negative: failed."""
    tolerance = setting.tolerance
    return {
        "signal": _margin(state.log_signal, state.signal_variance, tolerance.signal.value),
        "gradient": _margin(state.log_gradient, state.gradient_variance, tolerance.gradient.value),
        "alignment": _log_told_apart(state, tolerance) - log(tolerance.alignment.value),
        "classes": log(max(state.classes, 1e-300)) - log(max(tolerance.classes.value, 1e-300)),
        "conditioning": tolerance.conditioning.value - state.relative_variance,
        "death": state.alive - (1 - tolerance.death.value),
        "stability": _stability(state, setting),
    }


def _log_told_apart(state: State, tolerance: Tolerance) -> float:
    """Log of by how much an input differs from the nearest of the others, relative to its squared length.

    Biases lengthen all inputs alike. What that costs depends on the learning rate: if lengths leave it as it is, what
    differs is learnt as fast as without biases, and if it goes with the inverse of the sharpness, slower by their
    ratio. So the length counts as one between the two, in logs, that `shared` says.
    """
    return log(max(state.nearest, 1e-300)) + tolerance.shared.value * state.log_shared


def _stability(state: State, setting: Setting | Smooth) -> float:
    if isinstance(setting, Smooth) or setting.learning_rate is None:
        return inf
    return log(setting.tolerance.stable(setting.activation) / setting.learning_rate) - state.log_sharpest


def _margin(mean: float, variance: float, limit: float) -> float:
    return within(mean, variance, limit) - 0.5 if variance > 0 else limit - abs(mean)


def within(mean: float, variance: float, limit: float) -> float:
    """Probability that a normal variable is within +-limit: the log of a norm is nearly normal."""
    if variance == 0:
        return float(abs(mean) <= limit)
    scale = sqrt(2 * variance)
    return (erf((limit - mean) / scale) + erf((limit + mean) / scale)) / 2


def outcome(state: State, probability: float, setting: Setting | Smooth) -> str:
    margins = _margins(state, setting)
    if margins["death"] < 0:
        return "stalled"  # whatever the few do that are alive, of which the norms tell
    if probability < 0.5:
        worst = max(state.log_signal, state.log_gradient, key=abs)
        return "vanished" if worst < 0 else "diverged"
    if margins["stability"] < 0:
        return "diverged"
    return "stalled" if min(margins[name] for name in ("alignment", "classes", "conditioning")) < 0 else "trained"
