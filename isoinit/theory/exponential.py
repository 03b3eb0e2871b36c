"""Gaussian moments of units that are x above zero and exponential below, as ELU and SELU.

Of one argument the moments of the slope are closed, and of two the inner of both integrals is: given u, v is Gaussian,
and both x and e^x of a truncated Gaussian have closed means (derived here). The outer integral is one of smooth
functions on either side of zero, where Gauss-Legendre nodes converge as they do not across the kink.

Legend: `a` the slope below zero over that above, at zero; `q` variance of both arguments, `c` their correlation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr, roots_legendre

from isoinit.theory.gaussian import Array

_NODES, _WEIGHTS = roots_legendre(128)
_REACH = 9.0  # standard deviations: what is beyond them is less than rounding
_LEAST = 1e-300  # a variance of 0 is the limit of the least ones


@dataclass(frozen=True)
class Exponential:
    """`scale x` above zero, `scale a (e^x - 1)` below."""

    scale: float
    a: float

    def phi(self, x: Array) -> Array:
        return self.scale * np.where(x > 0, x, self.a * np.expm1(np.minimum(x, 0)))

    def slope(self, x: Array) -> Array:
        return self.scale * np.where(x > 0, 1.0, self.a * np.exp(np.minimum(x, 0)))

    def covariance(self, q: float, c: float) -> float:
        """`E phi(u) phi(v)`."""
        return self._pair(self.phi, self._mean, q, c)

    def slope_covariance(self, q: float, c: float) -> float:
        """`E phi'(u) phi'(v)`."""
        return self._pair(self.slope, self._mean_slope, q, c)

    def slope_moment(self, q: float, k: int) -> float:
        """`E phi'(u)^(2k)`: the mean of e^(2k u) below zero is closed."""
        return self.scale ** (2 * k) * (1 + self.a ** (2 * k) * float(erfcx(k * sqrt(2 * q)))) / 2

    def _pair(self, f: Callable[[Array], Array], mean: Callable[[Array, float], Array], q: float, c: float) -> float:
        """`E f(u) f(v)`, where `mean` is that of f over a Gaussian with these means and this standard deviation."""
        s = sqrt(max(q, _LEAST))
        x, w = _halves(s)
        spread = s * sqrt((1 - c) * (1 + c))
        return float((w * f(x)) @ (mean(c * x, spread) if spread > 0 else f(c * x)))

    def _mean(self, m: Array, t: float) -> Array:
        density = np.exp(-np.square(m / t) / 2) / np.sqrt(2 * np.pi)
        return self.scale * (m * ndtr(m / t) + t * density + self.a * (_below(m, t) - ndtr(-m / t)))

    def _mean_slope(self, m: Array, t: float) -> Array:
        return self.scale * (ndtr(m / t) + self.a * _below(m, t))


def _below(m: Array, t: float) -> Array:
    """`E e^v` over the v below zero, of a Gaussian of mean m and standard deviation t."""
    return np.exp(m + t * t / 2 + log_ndtr(-(m + t * t) / t))


def _halves(s: float) -> tuple[Array, Array]:
    """Nodes of a Gaussian of standard deviation `s` on either side of zero, dense there, and weights that sum to 1."""
    t = np.arcsinh(_REACH * s) * (1 + _NODES) / 2
    x = np.sinh(t)
    w = _WEIGHTS * np.exp(-np.square(x / s) / 2) * np.cosh(t)
    return np.concatenate([-x, x]), np.concatenate([w, w]) / (2 * w.sum())
