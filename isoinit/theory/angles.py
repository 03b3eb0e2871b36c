"""The angle of two inputs in ReLU layers of N units: what a finite width adds to mean field.

In a layer, `a = |relu(u)|^2`, `b = |relu(v)|^2` and `z = relu(u) . relu(v)` of pre-activations with cosine c are sums
over units. From their covariances, log of the squared sine of the next angle, `1 - z^2 / (a b)`, has a drift m / N and
a variance s / N over nets beside mean field (derived here to first order in 1 / N; Jakub & Nica 2023, arXiv:2302.09712,
have both for Gaussian weights). Of nearly parallel inputs m = -2 and s = 8 for Gaussian weights, -1 and 4
for orthogonal ones: what is left of the angle is a chi square variable, beside that of the norm.

So the angle of the typical net closes exponentially in l / N where that of mean field goes with 1 / l, and differs over
nets by as much. Its logarithm is taken to be normal over nets, layer by layer.

Of dense layers: many positions that share their weights, as in a convolution, keep two images apart for longer.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.special import roots_hermitenorm

from isoinit.theory.gaussian import Array, kappa0, kappa1, kappa1_complement, kappa2

_NODES, _WEIGHTS = roots_hermitenorm(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_SMALLEST: Final = 0.02  # angle below which the drifts stay what they are there, where the formulas begin to cancel
_LEAST: Final = -690.0  # log of a squared sine that a float still tells from zero

Law = Callable[[Array], tuple[Array, Array]]
"""From 1 - cosine [k] of pre-activations to the drift and the variance [k], times N, of log sin^2 in the next layer."""


def gaussian(d: Array) -> tuple[Array, Array]:
    """The `Law` of Gaussian weights."""
    c = np.cos(_angle(d))
    k, both = kappa1(c), 6 * kappa2(c)  # moments in units of E relu(u)^2 = 1/2
    third = 2 * (np.sqrt(1 - c**2) * (2 + c**2) / np.pi + 3 * c * kappa0(c))
    return _ratio(k, 5.0, both - 1, both - k**2, third - k)


def orthogonal(d: Array) -> tuple[Array, Array]:
    """The `Law` of Haar weights, which keep the sample cosine of the pre-activations.

    Gaussian ones do not: theirs has the mean `c - c (1 - c^2) / (2 N)` and the variance `(1 - c^2)^2 / N`, and given it
    the pre-activations are as of Haar weights. What that does to log sin^2 is taken from what all of it does.
    """
    c = np.cos(_angle(d))
    drift, variance = gaussian(d)
    k, slope, bend = kappa1(c), kappa0(c), 1 / (np.pi * np.sqrt(1 - c**2))
    left, square = 1 - k**2, 1 - c**2
    first = -2 * k * slope / left
    second = -2 * (slope**2 + k * bend) / left - first**2
    drift = drift + (first * c * square - second * square**2) / 2
    return drift, np.maximum(variance - (first * square) ** 2, 0.0)


class Angles:
    """The angle over nets of width N, layer by layer: log sin^2 of the pre-activations is normal.

    Args:
        d: 1 - cosine of the pre-activations of the first layer.
        units: N.
        law: `gaussian` or `orthogonal`.
    """

    def __init__(self, d: float, units: int, law: Law) -> None:
        self._law, self._units = law, units
        self._d = np.full(len(_NODES), min(max(d, 0.0), 2.0))
        self._typical = float(self._d[0])

    def seen(self) -> tuple[float, float]:
        """Mean cosine over nets, and 1 - |cosine| of the typical net."""
        mean = min(max(float(_WEIGHTS @ self._d), 0.0), 2.0)  # the weights add up to 1 but for rounding
        return 1 - mean, min(self._typical, 2 - self._typical)

    def step(self, share: float) -> None:
        """One layer on; the signal brings `share` of the next pre-activations' variance, and the bias the rest."""
        drift, variance = self._law(self._d)
        d = _distance(_log_square(kappa1_complement(self._d)) + drift / self._units)
        log_square = _log_square(share * d)
        mean = float(_WEIGHTS @ log_square)
        spread = float(_WEIGHTS @ (log_square - mean) ** 2 + _WEIGHTS @ variance / self._units)
        self._d = _distance(mean + np.sqrt(spread) * _NODES)
        self._typical = float(_distance(np.array([mean]))[0])


def _ratio(k: Array, own: float, other: Array, product: Array, mixed: Array) -> tuple[Array, Array]:
    """Drift and variance, times N, of `log(1 - z^2 / (a b))`, by its derivatives at the means 1, 1 and k.

    own, other, product, mixed: N times Var a, Cov(a, b), Var z and Cov(a, z).
    """
    left = 1 - k**2
    by_a, by_z = k**2 / left, -2 * k / left
    by_aa, by_ab, by_az, by_zz = 1 - 1 / left**2, 1 / left - 1 / left**2, 2 * k / left**2, -2 / left - by_z**2
    drift = by_aa * own + by_ab * other + by_zz * product / 2 + 2 * by_az * mixed
    variance = 2 * by_a**2 * (own + other) + by_z**2 * product + 4 * by_a * by_z * mixed
    return drift, variance


def _angle(d: Array) -> Array:
    return np.maximum(2 * np.arcsin(np.sqrt(d / 2)), _SMALLEST)


def _log_square(d: Array) -> Array:
    """`log sin^2` from 1 - cosine."""
    return np.log(np.maximum(d * (2 - d), np.exp(_LEAST)))


def _distance(log_square: Array) -> Array:
    """1 - cosine of an acute angle, from log sin^2."""
    return -np.expm1(np.log1p(-np.exp(np.clip(log_square, _LEAST, -1e-15))) / 2)
