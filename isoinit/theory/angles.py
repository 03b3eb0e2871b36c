"""The angle of two inputs in ReLU layers of N units: what a finite width adds to mean field.

In a layer, `a = |relu(u)|^2`, `b = |relu(v)|^2` and `z = relu(u) . relu(v)` of pre-activations with cosine c are sums
over units. From their covariances, log of the squared sine of the next angle, `1 - z^2 / (a b)`, has a drift m / N and
a variance s / N over nets beside mean field (derived here to first order in 1 / N; Jakub & Nica 2023, arXiv:2302.09712,
have both for Gaussian weights). Of nearly parallel inputs m = -2 and s = 8 for Gaussian weights, -1 and 4
for orthogonal ones: what is left of the angle is a chi square variable, beside that of the norm.

So the angle of the typical net closes exponentially in l / N where that of mean field goes with 1 / l, and differs over
nets by as much. Its logarithm is taken to be normal over nets, layer by layer.

Of dense layers; `pruned_angles` has what weights left out change. Many positions that share their weights, as in a
convolution, keep two images apart for longer.
"""

from collections.abc import Callable
from functools import lru_cache
from math import exp, expm1, log1p, sqrt
from typing import Final, NamedTuple

import numpy as np
from scipy.special import roots_hermitenorm

from isoinit.theory.gaussian import Array, kappa0, kappa1, kappa1_complement, kappa2

_NODES, _WEIGHTS = roots_hermitenorm(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_SMALLEST: Final = 0.02  # angle below which the drifts stay what they are there, where the formulas begin to cancel
_LEAST: Final = -690.0  # log of a squared sine that a float still tells from zero
_MOST: Final = -1e-15  # of one that it tells from 1
_STEPS: Final = 4096

Law = Callable[[Array], tuple[Array, Array]]
"""From 1 - cosine [k] of pre-activations to the drift and the variance [k], times N, of log sin^2 in the next layer."""


class Layer(NamedTuple):
    """What a layer makes of an angle: the sum of `laws`, each so many times, and the factor of mean field's 1 - cosine
    from acute angles [k] of pre-activations, if there is one: after all layers but the first, which reads data."""

    laws: tuple[tuple[Law, float], ...]
    widens: Callable[[Array], Array] | None = None


def gaussian(d: Array) -> tuple[Array, Array]:
    """The `Law` of Gaussian weights."""
    k, both, third = moments(d)
    return _ratio(k, 5.0, both - 1, both - k**2, third - k)


def moments(d: Array) -> tuple[Array, Array, Array]:
    """E relu(u) relu(v), E relu(u)^2 relu(v)^2 and E relu(u)^3 relu(v) [k], in units of E relu(u)^2 = 1/2."""
    c = np.cos(_angle(d))
    third = 2 * (np.sqrt(1 - c**2) * (2 + c**2) / np.pi + 3 * c * kappa0(c))
    return kappa1(c), 6 * kappa2(c), third


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
    """

    def __init__(self, d: float, units: int) -> None:
        self._units = units
        self._first: float | None = min(max(d, 0.0), 2.0)
        self._log_square = np.zeros(len(_NODES))
        self._mean = 0.0

    def seen(self) -> tuple[float, float]:
        """Mean cosine over nets, and 1 - |cosine| of the typical net."""
        if self._first is not None:
            return 1 - self._first, min(self._first, 2 - self._first)
        cosine = min(float(_WEIGHTS @ np.sqrt(-np.expm1(self._log_square))), 1.0)
        return cosine, -expm1(log1p(-exp(self._mean)) / 2)

    def step(self, share: float, layer: Layer) -> None:
        """One layer on; the signal brings `share` of the next pre-activations' variance, and the bias the rest."""
        if self._first is not None:
            d = np.array([self._first])
            drift, variance = np.sum([part * np.stack(law(d)) for law, part in layer.laws], axis=0)
            log_square, weights = np.log(np.maximum(_square(kappa1_complement(d)), exp(_LEAST))), np.ones(1)
            self._first = None
        else:
            angle = np.arcsin(np.exp(self._log_square / 2))
            found = [(part, looked_up(_table(law), angle)) for law, part in layer.laws]
            drift, variance = np.sum([part * columns[1:] for part, columns in found], axis=0)
            log_square, weights = self._log_square + found[0][1][0], _WEIGHTS
            if layer.widens is not None:
                log_square = np.log(_square(np.minimum(_one_less(log_square) * layer.widens(angle), 1.0)))
        log_square = log_square + drift / self._units
        if share < 1:
            log_square = np.log(np.maximum(_square(share * _one_less(log_square)), exp(_LEAST)))
        mean = float(weights @ log_square)
        spread = float(weights @ (log_square - mean) ** 2 + weights @ variance / self._units)
        self._mean = min(max(mean, _LEAST), _MOST)
        self._log_square = np.minimum(np.maximum(mean + sqrt(spread) * _NODES, _LEAST), _MOST)


@lru_cache(maxsize=4)
def _table(law: Law) -> Array:
    """(K + 1, 3) on angles from 0 to a right one: what mean field adds to log sin^2 in a layer, and `law`."""
    d = 2 * np.sin(np.arange(_STEPS + 1) / _STEPS * np.pi / 4) ** 2
    bent = np.append(0.0, np.log(_square(kappa1_complement(d[1:])) / _square(d[1:])))
    return np.stack([bent, *law(d)], axis=1)


def looked_up(table: Array, angle: Array) -> Array:
    """The columns (c, k), at acute angles (k,), of a table whose rows are evenly spaced on them, linear between."""
    place = angle * ((len(table) - 1) * 2 / np.pi)
    row = np.minimum(place.astype(np.intp), len(table) - 2)
    low = table[row]
    return (low + (place - row)[:, None] * (table[row + 1] - low)).T


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


def _square(d: Array) -> Array:
    """Squared sine from 1 - cosine."""
    return d * (2 - d)


def _one_less(log_square: Array) -> Array:
    """1 - cosine of an acute angle from the log of its squared sine."""
    return -np.expm1(np.log1p(-np.exp(np.minimum(log_square, _MOST))) / 2)
