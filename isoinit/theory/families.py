"""How each family of ReLU initializers moves a signal through one layer: mean-field maps with the bias.

Legend: `q` variance of a pre-activation (of a core unit in mirrored families), `c = 1 - d` correlation of two
inputs in it, `g = sigma_w2 / critical` gain, `sb2` bias variance, `rho = q / (q + sb2)`, `k = kappa1`.

    plain                  q' = g q + sb2            q' d' = g q (1 - k(c))      gradient g       (1611.01232)
    mirrored, mirrored b   q' = g q + sb2            q' d' = g q d               gradient g       (affine net)
    mirrored, iid b        q' = g (q + sb2)(1 - k(-rho))                         gradient g (1 + arccos(rho) / pi)
                           q' c' = g (q + sb2)[k((q c + sb2)/(q + sb2)) - k(-rho c)]       (derived here)

With an iid bias in a mirrored net `q` is the variance before the bias is added, else after.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import acos, asin, cos, exp, pi, sin, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, ndtr, roots_legendre

from isoinit.theory import factors
from isoinit.theory.factors import Factor


class Point(NamedTuple):
    """Mean-field state of the pre-activations: variance, 1 - correlation of two inputs, mean over the units."""

    q: float
    d: float
    mean: float = 0.0


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

    @property
    def any_width(self) -> bool:
        """Whether the width makes no difference."""
        return self.factor is _constant


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


def _ones_first(inputs: Point, g: float, bias: Bias) -> Point:
    return _biased(Point(g * inputs.q, inputs.d), bias)


def _ones_step(point: Point, g: float, bias: Bias) -> Step:
    """A semi-orthogonal matrix that maps the mean to itself and turns the rest (derived here).

    Units are N(mean, q), their rest correlated by 1 - d in two inputs. `E relu(a) relu(b)` is the integral over a
    of relu(a) times the conditional mean of relu(b), which is a closed form.
    """
    sd, c = sqrt(point.q), 1 - point.d
    on = float(ndtr(point.mean / sd))
    mean = float(_relu_mean(np.array(point.mean), sd))
    second = _ones_moment(point, bias)
    low, high = max(0.0, point.mean - 8 * sd), point.mean + 8 * sd
    a = low + (high - low) * (1 + _LEGENDRE[0]) / 2
    weight = _LEGENDRE[1] * (high - low) / 2 * _density((a - point.mean) / sd) / sd
    other = _relu_mean(point.mean + c * (a - point.mean), sd * sqrt(max(1 - c * c, 1e-18)))
    covariance = float(weight @ (a * other)) - mean**2
    variance = second - mean**2
    scale = sqrt(g)
    nxt = Point(g * variance, min(1.0, max(0.0, 1 - covariance / variance)), scale * mean)
    return Step(_biased(nxt, bias), g * on, g * variance / (g * variance + bias.variance), 1 / on - 1)


def _biased(point: Point, bias: Bias) -> Point:
    q = point.q + bias.variance
    return Point(q, point.q * point.d / q, point.mean)


def _relu_mean(mean: np.ndarray, sd: float) -> np.ndarray:
    return mean * ndtr(mean / sd) + sd * _density(mean / sd)


def _density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / sqrt(2 * pi)


def _ones_moment(point: Point, _: Bias) -> float:
    sd = sqrt(point.q)
    ratio = point.mean / sd
    return float((point.mean**2 + point.q) * ndtr(ratio)) + point.mean * sd * exp(-ratio * ratio / 2) / sqrt(2 * pi)


def _ones_distance(point: Point, _: Bias) -> float:
    return point.q * point.d / (point.q + point.mean**2)


def _still_first(inputs: Point, g: float, bias: Bias) -> Point:
    """A bias enters once, in the stem: the branches are switched off."""
    return _biased(Point(g * inputs.q, inputs.d), bias)


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

_LEGENDRE = roots_legendre(64)

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
_ONES = {"first": _ones_first, "step": _ones_step, "moment": _ones_moment, "distance": _ones_distance}
_STILL = {"first": _still_first, "step": _still_step, "moment": _whole, "distance": _distance}

FAMILIES: dict[str, Family] = {
    "gaussian": Family(2.0, _gaussian, gaussian=True, **_PLAIN),
    "orthogonal": Family(2.0, _orthogonal, gaussian=False, **_PLAIN),
    "calibrated": Family(2.0, _constant, gaussian=False, **_PLAIN),
    "mirrored_gaussian": Family(2.0, _core, gaussian=True, twist=_core_twist, **_MIRRORED),
    "mirrored_orthogonal": Family(2.0, _constant, gaussian=False, **_MIRRORED),
    "standardized": Family(KEPT_SAMPLE_VARIANCE, _constant, gaussian=True, **_STANDARDIZED),
    "kept_variance": Family(KEPT_SAMPLE_VARIANCE, _constant, gaussian=True, **_SCALED),
    "ones_orthogonal": Family(1.0, _constant, gaussian=False, **_ONES),
    "still": Family(1.0, _constant, gaussian=False, **_STILL),
}
