"""Mean-field maps of one ReLU layer whose semi-orthogonal weights map the mean to itself and turn the rest.

Legend as of `maps`; units are N(mean, q), their rest correlated by 1 - d in two inputs (derived here).
"""

from math import erfc, exp, pi, sqrt

import numpy as np
from scipy.special import ndtr, roots_legendre

from isoinit.theory.maps import Alike, Bias, Point, Step, biased

_NODES, _WEIGHTS = roots_legendre(64)
_NODES = _NODES + 1
_ROOT = sqrt(2 * pi)


def first(inputs: Point, g: float, bias: Bias) -> tuple[Point, float]:
    return biased(Point(g * inputs.q, inputs.d), bias), g


def step(point: Point, g: float, bias: Bias) -> Step:
    """A semi-orthogonal matrix that maps the mean to itself and turns the rest (derived here).

    Units are N(mean, q), their rest correlated by 1 - d in two inputs.
    """
    sd = sqrt(point.q)
    ratio = point.mean / sd
    on, mean = _on(ratio), sd * _relu_mean(ratio)
    product, _ = _pair(point)
    covariance = point.q * product - mean**2
    variance = moment(point, bias) - mean**2
    nxt = biased(Point(g * variance, min(1.0, max(0.0, 1 - covariance / variance)), sqrt(g) * mean), bias)
    return Step(nxt, g * on, on, 1 / on - 1, g * variance / nxt.q, gradient_noise=3 * (1 / on - 1))


def _pair(point: Point) -> tuple[float, float]:
    """`E relu(a) relu(b) / q` and P(a > 0, b > 0) of a unit's N(mean, q) for two inputs, correlated by 1 - d.

    Integrals over a of what holds of b given a, which is a closed form.
    """
    ratio, c = point.mean / sqrt(point.q), 1 - point.d
    low, high = max(0.0, ratio - 8), ratio + 8
    a = low + (high - low) / 2 * _NODES
    weights = _WEIGHTS * np.exp(-((a - ratio) ** 2) / 2) * (high - low) / 2 / _ROOT
    rest = sqrt(max(1 - c * c, 1e-18))
    shifted = (ratio + c * (a - ratio)) / rest  # relu(b)'s argument given a, standardized
    on = ndtr(shifted)
    other = rest * (shifted * on + np.exp(-shifted * shifted / 2) / _ROOT)
    return float((weights * a) @ other), float(weights @ on)


def _on(x: float) -> float:
    """`P(z + x > 0)`."""
    return erfc(-x / sqrt(2)) / 2


def _relu_mean(x: float) -> float:
    """`E relu(z + x)`."""
    return x * _on(x) + exp(-x * x / 2) / _ROOT


def moment(point: Point, _: Bias) -> float:
    ratio = point.mean / sqrt(point.q)
    return point.q * (_on(ratio) + ratio * _relu_mean(ratio))


def alike(point: Point, bias: Bias, _: Step) -> Alike:
    product, both = _pair(point)
    on = both / _on(point.mean / sqrt(point.q))
    return Alike(point.q * product / moment(point, bias), on, 1.0, on)


def distance(point: Point, _: Bias) -> float:
    return point.q * point.d / (point.q + point.mean**2)
