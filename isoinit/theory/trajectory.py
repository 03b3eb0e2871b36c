"""What happens to signal, correlation and gradient layer by layer, for each family of ReLU initializers.

Mean-field maps with the bias, plus the exact finite-width drift and spread of one layer (`factors`). Legend:
`q` variance of a pre-activation (of a core unit in mirrored families), `c = 1 - d` correlation of two inputs
in it, `g = sigma_w2 / critical` gain, `sb2` bias variance, `rho = q / (q + sb2)`, `k = kappa1`.

    plain                  q' = g q + sb2            q' d' = g q (1 - k(c))      gradient g       (1611.01232)
    mirrored, mirrored b   q' = g q + sb2            q' d' = g q d               gradient g       (affine net)
    mirrored, iid b        q' = g (q + sb2)(1 - k(-rho))                         gradient g (1 + arccos(rho) / pi)
                           q' c' = g (q + sb2)[k((q c + sb2)/(q + sb2)) - k(-rho c)]       (derived here)

With an iid bias in a mirrored net `q` is the variance before the bias is added, else after.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import acos, asin, cos, exp, log, log1p, pi, sin, sqrt
from typing import NamedTuple

from scipy.special import digamma

from isoinit.theory import factors
from isoinit.theory.factors import Factor

BIAS_MODES = ("zero", "iid", "mirrored")


class Point(NamedTuple):
    """Mean-field state of the pre-activations: variance, and 1 - correlation of two inputs."""

    q: float
    d: float


class Step(NamedTuple):
    """One layer: the next point; growth of a squared gradient; share of the next q that the signal brought, not
    the bias; and `E s^4 / (E s^2)^2 - 1` of the slopes s of the activations."""

    point: Point
    gain: float
    share: float
    slope_spread: float


class Bias(NamedTuple):
    variance: float
    mode: str


class State(NamedTuple):
    """After `layer` hidden layers. Natural logs of squared norms, mean (of the log) and variance over nets.

    correlation         cosine of the pre-activations of two inputs, as `isoinit.probe` measures it
    log_signal          |x_l|^2 / |x_0|^2 in a net of square layers (in a mirrored one: |x_0| has N/2 units)
    log_gradient        |J v|^2 / |v|^2 of the same net, v fixed
    relative_variance   Var(e) / E(e)^2 of the eigenvalues e of J J^T from the input on, wide limit
    alive               probability that the signal lives: no layer is off altogether, or a bias restarted it
    """

    layer: int
    correlation: float
    log_signal: float
    signal_variance: float
    log_gradient: float
    gradient_variance: float
    relative_variance: float
    alive: float


@dataclass(frozen=True)
class Family:
    """How one kind of initializer moves a signal.

    critical   sigma_w2 at which g = 1: a standard initializer of the family keeps the squared norm in the mean
    factor     law of one layer's factor of the squared norm at zero bias, `(width, g) -> Factor`
    first      point after the first layer, from (variance, 1 - correlation) of the inputs
    step       mean-field map of one layer
    moment     second moment of the activations that corresponds to `Point.q`
    distance   1 - cosine of the pre-activations
    gaussian   whether the weights' own spectrum widens that of the Jacobian
    twist      `width -> ` drift per layer of log(1 - c^2), which mean field misses
    """

    critical: float
    factor: Callable[[int, float], Factor]
    first: Callable[[Point, float, Bias], Point]
    step: Callable[[Point, float, Bias], Step]
    moment: Callable[[Point, Bias], float]
    distance: Callable[[Point, Bias], float]
    gaussian: bool
    twist: Callable[[int], float] = lambda _: 0.0


def walk(family: Family, width: int, g: float, bias: Bias, inputs: Point) -> Iterator[State]:
    """States after hidden layers 1, 2, ... without end.

    `inputs.q` is the mean square of an input coordinate, `inputs.d` one minus the cosine of two inputs. The
    fluctuation of the norm is carried to first order where a bias feeds the signal: exact for zero bias.
    """
    factor = family.factor(width, g)
    drift, spread, twist = factor.log_mean - log(g), factor.log_variance, exp(family.twist(width))
    point = family.first(inputs, g, bias)
    signal = signal_variance = gradient = gradient_variance = relative_variance = log_alive = 0.0
    share, layer = 1.0, 0
    while True:
        layer += 1
        signal = share * signal + drift
        signal_variance = share**2 * signal_variance + spread
        nxt = family.step(point, g, bias)
        gradient += log(nxt.gain) + drift
        gradient_variance += spread
        relative_variance += nxt.slope_spread + family.gaussian
        log_alive = log1p(-factor.death) + (log_alive if bias.variance == 0 else 0.0)
        yield State(
            layer=layer,
            correlation=1 - family.distance(point, bias),
            log_signal=log(family.moment(point, bias) / inputs.q) + signal,
            signal_variance=signal_variance,
            log_gradient=gradient,
            gradient_variance=gradient_variance,
            relative_variance=relative_variance,
            alive=exp(log_alive),
        )
        share = nxt.share
        point = nxt.point if twist == 1 else Point(nxt.point.q, _twisted(nxt.point.d, twist))


def _twisted(d: float, twist: float) -> float:
    """`d = 1 - c` after `1 - c^2` was multiplied by `twist`."""
    squared_sine = d * (2 - d) * twist
    distance = squared_sine / (1 + sqrt(1 - squared_sine))
    return distance if d <= 1 else 2 - distance


def _bent(d: float) -> float:
    """`1 - kappa1(1 - d)` of one number: `gaussian.kappa1_complement` without the cost of arrays."""
    theta = 2 * asin(sqrt(min(d, 2.0) / 2))
    return d - (sin(theta) - theta * cos(theta)) / pi


def _plain_first(inputs: Point, g: float, bias: Bias) -> Point:
    q = 2 * g * inputs.q + bias.variance
    return Point(q, 2 * g * inputs.q * inputs.d / q)


def _plain_step(point: Point, g: float, bias: Bias) -> Step:
    q = g * point.q + bias.variance
    return Step(Point(q, g * point.q * _bent(point.d) / q), g, g * point.q / q, 1.0)


def _mirrored_first(inputs: Point, g: float, bias: Bias) -> Point:
    added = 0.0 if bias.mode == "iid" else bias.variance
    q = g * inputs.q + added
    return Point(q, g * inputs.q * inputs.d / q)


def _mirrored_step(point: Point, g: float, bias: Bias) -> Step:
    if bias.mode != "iid" or bias.variance == 0:
        q = g * point.q + bias.variance
        return Step(Point(q, g * point.q * point.d / q), g, g * point.q / q, 0.0)
    total = point.q + bias.variance
    rho = point.q / total
    kept = _bent(1 + rho)
    q = g * total * kept
    d = 1 - (_bent(1 + rho * (1 - point.d)) - _bent(rho * point.d)) / kept
    both = acos(rho) / (2 * pi)  # slope 2: both halves on; slope 0, with the same probability: none
    gain = 1 + 2 * both
    return Step(Point(q, max(d, 0.0)), g * gain, min(1.0, g * gain * point.q / q), (1 + 14 * both) / gain**2 - 1)


def _mirrored_moment(point: Point, bias: Bias) -> float:
    return point.q + (bias.variance if bias.mode == "iid" else 0.0)


def _mirrored_distance(point: Point, bias: Bias) -> float:
    return point.d * point.q / _mirrored_moment(point, bias)


def _kept_variance_first(inputs: Point, g: float, _: Bias) -> Point:
    return Point(g / inputs.d, inputs.d)


def _kept_variance_step(point: Point, g: float, bias: Bias) -> Step:
    """The weights are scaled to keep the sample variance `q d`; g multiplies on top."""
    return _plain_step(point, g * point.d / _bent(point.d), bias)


def _standardized_first(_inputs: Point, g: float, _: Bias) -> Point:
    return Point(g, 1.0)


def _standardized_step(_: Point, g: float, _bias: Bias) -> Step:
    """Every unit is centred and scaled to unit sample variance: two inputs are uncorrelated again."""
    return Step(Point(g, 1.0), g * pi / (pi - 1), 0.0, 1.0)


def _core_twist(width: int) -> float:
    """`E log` of the squared sine of an angle under a Gaussian core of M = width/2: exact, and negative."""
    core = width // 2
    return float(digamma((core - 1) / 2) - digamma(core / 2)) if core > 1 else 0.0


def _still_first(inputs: Point, g: float, _: Bias) -> Point:
    return Point(g * inputs.q, inputs.d)


def _still_step(point: Point, g: float, _: Bias) -> Step:
    return Step(Point(g * point.q, point.d), g, 1.0, 0.0)


def _half(point: Point, _: Bias) -> float:
    return point.q / 2


def _whole(point: Point, _: Bias) -> float:
    return point.q


def _distance(point: Point, _: Bias) -> float:
    return point.d


def _gaussian(width: int, g: float) -> Factor:
    return factors.gaussian(width, sw2=2 * g)


def _orthogonal(width: int, g: float) -> Factor:
    return factors.orthogonal(width, 2 * g)


def _core(width: int, g: float) -> Factor:
    return factors.mirrored_gaussian(width, 2 * g)


def _constant(_: int, g: float) -> Factor:
    return factors.isometry(2 * g)


KEPT_SAMPLE_VARIANCE = (
    2 * pi / (pi - 1)
)  # sigma_w2 that keeps unit sample variance; squared gradients grow by half of it

_PLAIN = {"first": _plain_first, "step": _plain_step, "moment": _half, "distance": _distance}
_MIRRORED = {
    "first": _mirrored_first, "step": _mirrored_step, "moment": _mirrored_moment, "distance": _mirrored_distance
}  # fmt: skip
_SCALED = {
    "first": _kept_variance_first, "step": _kept_variance_step, "moment": _half, "distance": _distance
}  # fmt: skip
_STANDARDIZED = {
    "first": _standardized_first, "step": _standardized_step, "moment": _half, "distance": _distance
}  # fmt: skip
_STILL = {"first": _still_first, "step": _still_step, "moment": _whole, "distance": _distance}

FAMILIES: dict[str, Family] = {
    "gaussian": Family(2.0, _gaussian, gaussian=True, **_PLAIN),
    "orthogonal": Family(2.0, _orthogonal, gaussian=False, **_PLAIN),
    "calibrated": Family(2.0, _constant, gaussian=False, **_PLAIN),
    "mirrored_gaussian": Family(2.0, _core, gaussian=True, twist=_core_twist, **_MIRRORED),
    "mirrored_orthogonal": Family(2.0, _constant, gaussian=False, **_MIRRORED),
    "standardized": Family(KEPT_SAMPLE_VARIANCE, _constant, gaussian=True, **_STANDARDIZED),
    "kept_variance": Family(KEPT_SAMPLE_VARIANCE, _constant, gaussian=True, **_SCALED),
    "still": Family(1.0, _constant, gaussian=False, **_STILL),
}
