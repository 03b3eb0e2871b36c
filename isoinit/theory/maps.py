"""Mean-field maps of one ReLU layer, with the bias, for each way to draw its weights.

Legend: `q` variance of a pre-activation (of a core unit in mirrored families), `c = 1 - d` correlation of two
inputs in it, `g = sigma_w2 / critical` gain, `sb2` bias variance, `rho = q / (q + sb2)`, `k = kappa1`.

    plain                  q' = g q + sb2            q' d' = g q (1 - k(c))      gradient g       (1611.01232)
    mirrored, mirrored b   q' = g q + sb2            q' d' = g q d               gradient g       (affine net)
    mirrored, iid b        q' = g (q + sb2)(1 - k(-rho))                         gradient g (1 + arccos(rho) / pi)
                           q' c' = g (q + sb2)[k((q c + sb2)/(q + sb2)) - k(-rho c)]       (derived here)

With an iid bias in a mirrored net `q` is the variance before the bias is added, else after.
"""

from math import acos, asin, cos, erfc, exp, pi, sin, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, roots_legendre

_NODES, _WEIGHTS = roots_legendre(64)
_NODES = _NODES + 1
_ROOT = sqrt(2 * pi)


class Point(NamedTuple):
    """Mean-field state of the pre-activations: variance, 1 - correlation of two inputs, mean over the units.

    In an identity net `q` and `d` are of the second moments once the signal is positive.
    """

    q: float
    d: float
    mean: float = 0.0


class Bias(NamedTuple):
    variance: float
    mode: str


class Step(NamedTuple):
    """From the pre-activations of one layer to those of the next.

    point          the next pre-activations
    gain           growth of a squared Jacobian-vector product from pre-activation to pre-activation
    slopes         E s^2 of the slopes s: its growth from the pre-activations to the activations
    slope_spread   `E s^4 / (E s^2)^2 - 1`
    share          `d log q' / d log q`: the share of the next q that the signal brought, not the bias
    signal_noise   relative variance over nets of the squared norm, times the number of units, beyond `factor`
    gradient_noise the same of a squared Jacobian-vector product, to first order
    both           probability that both halves of a mirrored unit are on, as that of none: then its law is
                   `factors.two_slopes`
    """

    point: Point
    gain: float
    slopes: float
    slope_spread: float
    share: float = 1.0
    signal_noise: float = 0.0
    gradient_noise: float = 0.0
    both: float = 0.0


def _bent(d: float) -> float:
    """`1 - kappa1(1 - d)` of one number: `gaussian.kappa1_complement` without the cost of arrays."""
    theta = 2 * asin(sqrt(min(d, 2.0) / 2))
    return d - (sin(theta) - theta * cos(theta)) / pi


def _biased(point: Point, bias: Bias) -> Point:
    q = point.q + bias.variance
    return Point(q, point.q * point.d / q, point.mean)


def half(point: Point, _: Bias) -> float:
    return point.q / 2


def distance(point: Point, _: Bias) -> float:
    return point.d


def plain_first(inputs: Point, g: float, bias: Bias) -> tuple[Point, float]:
    return _biased(Point(2 * g * inputs.q, inputs.d), bias), 2 * g


def plain_step(point: Point, g: float, bias: Bias) -> Step:
    nxt = _biased(Point(g * point.q, _bent(point.d)), bias)
    return Step(nxt, g, 0.5, 1.0, share=g * point.q / nxt.q)


def mirrored_first(inputs: Point, g: float, bias: Bias) -> tuple[Point, float]:
    point = Point(g * inputs.q, inputs.d)
    return (point if bias.mode == "iid" else _biased(point, bias)), g


def mirrored_step(point: Point, g: float, bias: Bias) -> Step:
    """With s = relu(u + b1) - relu(-u + b2): mean square, covariance, slopes 0, 1 or 2, and the noise of N/2 units.

    The noise is that of independent biases on u of fixed length, so without the share of u's own fluctuation.
    """
    if bias.mode != "iid" or bias.variance == 0:
        nxt = _biased(Point(g * point.q, point.d), bias)
        share = g * point.q / nxt.q
        return Step(nxt, g, 1.0, 0.0, share)
    total = point.q + bias.variance
    rho = point.q / total
    kept = _bent(1 + rho)
    d = 1 - (_bent(1 + rho * (1 - point.d)) - _bent(rho * point.d)) / kept
    both = acos(rho) / (2 * pi)  # both halves on: slope 2; with the same probability none: slope 0
    slopes = 1 + 2 * both
    spread = (1 + 14 * both) / slopes**2 - 1
    kinks = sqrt(1 - rho * rho) / pi  # what the kinks of s take from d E s^2 / dq, by Price's theorem
    share = (slopes - kinks) * point.q / (total * kept)
    fourth = 3 - 8 * _third_moment(-rho) + 6 * _square_moment(-rho)  # E s^4 / total^2
    noise = fourth / kept**2 - 1 - 2 * share**2
    nxt = Point(g * total * kept, max(d, 0.0))
    return Step(nxt, g * slopes, 1.0, spread, share, max(noise, 0.0), both=both)


def _third_moment(c: float) -> float:
    """`E relu(u)^3 relu(v)` of unit Gaussians."""
    theta = acos(c)
    return (sin(theta) * (2 + c * c) + 3 * (pi - theta) * c) / (2 * pi)


def _square_moment(c: float) -> float:
    """`E relu(u)^2 relu(v)^2` of unit Gaussians, `J2 / (2 pi)`."""
    theta = acos(c)
    return (3 * sin(theta) * c + (pi - theta) * (1 + 2 * c * c)) / (2 * pi)


def mirrored_moment(point: Point, bias: Bias) -> float:
    return point.q + (bias.variance if bias.mode == "iid" else 0.0)


def mirrored_reading(point: Point, bias: Bias) -> tuple[float, float]:
    """With an iid bias: the share of the activations' square that u brought, and its noise, as in `Step`."""
    rho = point.q / (point.q + bias.variance)
    return rho, max(2 + 2 * _square_moment(-rho) - 2 * rho**2, 0.0)


def mirrored_distance(point: Point, bias: Bias) -> float:
    return point.d * point.q / mirrored_moment(point, bias)


def calibrated_first(inputs: Point, g: float, _: Bias) -> tuple[Point, float]:
    """Unit total variance on the data (LSUV)."""
    return Point(g, inputs.d), g / inputs.q


def kept_variance_first(inputs: Point, g: float, _: Bias) -> tuple[Point, float]:
    return Point(g / inputs.d, inputs.d), g / (inputs.q * inputs.d)


def kept_variance_step(point: Point, g: float, bias: Bias) -> Step:
    """The weights are scaled to keep the sample variance `q d`; g multiplies on top."""
    return plain_step(point, g * point.d / _bent(point.d), bias)


def standardized_first(inputs: Point, g: float, _: Bias) -> tuple[Point, float]:
    """Every unit is centred and scaled to unit sample variance on the data; only then g multiplies its weights."""
    q = g + (sqrt(g) - 1) ** 2 * (1 - inputs.d) / inputs.d
    return Point(q, g / q), g / (inputs.q * inputs.d)


def standardized_step(point: Point, g: float, _bias: Bias) -> Step:
    """At g = 1 two inputs are uncorrelated again. Otherwise the bias takes away the mean of the net before g (derived
    here: with y = N(0, 1) that net's pre-activation, `q' = k (g q / 2 - (2 sqrt(g q) - 1) / (2 pi))`)."""
    scale = 2 * pi / (pi - 1)
    spread = scale * g * point.q * _bent(point.d) / 2
    q = scale * (g * point.q / 2 - (2 * sqrt(g * point.q) - 1) / (2 * pi))
    share = scale * (g * point.q / 2 - sqrt(g * point.q) / (2 * pi)) / q
    return Step(Point(q, spread / q), g * pi / (pi - 1), 0.5, 1.0, share)


def ones_first(inputs: Point, g: float, bias: Bias) -> tuple[Point, float]:
    return _biased(Point(g * inputs.q, inputs.d), bias), g


def ones_step(point: Point, g: float, bias: Bias) -> Step:
    """A semi-orthogonal matrix that maps the mean to itself and turns the rest (derived here).

    Units are N(mean, q), their rest correlated by 1 - d in two inputs. `E relu(a) relu(b)` is the integral over a
    of relu(a) times the conditional mean of relu(b), which is a closed form.
    """
    sd, c = sqrt(point.q), 1 - point.d
    ratio = point.mean / sd
    on, mean = _on(ratio), sd * _relu_mean(ratio)
    low, high = max(0.0, ratio - 8), ratio + 8
    a = low + (high - low) / 2 * _NODES
    rest = sqrt(max(1 - c * c, 1e-18))
    shifted = (ratio + c * (a - ratio)) / rest  # relu(b)'s argument given a, standardized
    other = rest * (shifted * ndtr(shifted) + np.exp(-shifted * shifted / 2) / _ROOT)
    product = float((_WEIGHTS * a * np.exp(-((a - ratio) ** 2) / 2)) @ other) * (high - low) / 2 / _ROOT
    covariance = point.q * product - mean**2
    variance = ones_moment(point, bias) - mean**2
    nxt = _biased(Point(g * variance, min(1.0, max(0.0, 1 - covariance / variance)), sqrt(g) * mean), bias)
    return Step(nxt, g * on, on, 1 / on - 1, g * variance / nxt.q, gradient_noise=3 * (1 / on - 1))


def _on(x: float) -> float:
    """`P(z + x > 0)`."""
    return erfc(-x / sqrt(2)) / 2


def _relu_mean(x: float) -> float:
    """`E relu(z + x)`."""
    return x * _on(x) + exp(-x * x / 2) / _ROOT


def ones_moment(point: Point, _: Bias) -> float:
    ratio = point.mean / sqrt(point.q)
    return point.q * (_on(ratio) + ratio * _relu_mean(ratio))


def ones_distance(point: Point, _: Bias) -> float:
    return point.q * point.d / (point.q + point.mean**2)


def identity_step(point: Point, g: float, _: Bias) -> Step:
    """Identity weights: the first ReLU takes half of the signal, the others nothing, for it is positive by then."""
    if point.mean > 0:
        return Step(Point(g * point.q, point.d, sqrt(g) * point.mean), g, 1.0, 0.0)
    nxt = Point(g * point.q / 2, _bent(point.d), sqrt(g * point.q / (2 * pi)))
    return Step(nxt, g / 2, 0.5, 1.0)


def identity_moment(point: Point, _: Bias) -> float:
    return point.q if point.mean > 0 else point.q / 2


def still_first(inputs: Point, g: float, bias: Bias) -> tuple[Point, float]:
    """A bias enters once, in the stem: the branches are switched off."""
    return _biased(Point(g * inputs.q, inputs.d), bias), g


def still_step(point: Point, g: float, _: Bias) -> Step:
    return Step(Point(g * point.q, point.d), g, 1.0, 0.0)


def whole(point: Point, _: Bias) -> float:
    return point.q
