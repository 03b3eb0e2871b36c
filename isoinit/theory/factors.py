"""Law of the factor by which one ReLU layer multiplies the squared norm of the signal, for each law of weights.

Legend: `N` width, `M = N / 2`, `K ~ Binomial(N, 1/2)` units that are on, `sw2 = fan_in * Var(w)`. Without bias:

    gaussian            (sw2 / fan_in) chi2_K                   He: mean 1, variance 5/N
    orthogonal          sw2 Beta(K/2, (N - K)/2)                sqrt(2) Haar: mean 1, variance 3/(N + 2)
    mirrored_gaussian   (sw2 / 2) chi2_M / M                    [[W, -W], [-W, W]]: mean 1, variance 4/N
    isometry            sw2 / 2                                 mirrored orthogonal: a constant

The first is Burkholz & Dubatovka (1806.06362), the others are derived in the same way. The factors of
successive layers are independent, and a Jacobian times a fixed vector is multiplied by the same law.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import exp, inf, log, sqrt

import numpy as np
from numpy.polynomial import chebyshev
from scipy.special import digamma, gammaln, loggamma, polygamma

from isoinit.theory.asked import above, asks, between, made, optional, refuse, whole
from isoinit.theory.gaussian import Array

_NEGLIGIBLE = 1e-20  # mixture weights below this are dropped
_REACH = 5.0  # times the root of the width: ten standard deviations
_ENUMERATED = 10**8  # units of which every number that is on has a weight in memory
_SHARED = between(0, 0.25)
_DEGREE = 12  # of the polynomials that stand for an integral
_STEP = 0.4
_LOG_T = np.arange(-36, 40, _STEP)
_PLACES = _LOG_T - _LOG_T[0]
_SLOPE_ONE, _SLOPE_TWO = (1 / np.sqrt(1 + 2 * square * np.exp(_LOG_T)) for square in (1, 4))  # of exp(-t square chi2_1)


@dataclass(frozen=True, eq=False)
class Factor:
    """`exp(log_scale) * Gamma(shape) [/ total of a Beta]`, shape drawn with `weights`, or 0 with probability `death`.

    weights, shapes   arrays of shape (K,); weights sum to 1: they are conditional on survival
    total             a Beta's first plus second parameter; None for a Gamma
    """

    log_scale: float
    weights: Array
    shapes: Array
    total: float | None = None
    death: float = 0.0

    @cached_property
    def log_mean(self) -> float:
        """`E log F` given survival; minus this, exponentiated, is the gain that keeps the typical norm."""
        mean = self.log_scale + float(self.weights @ digamma(self.shapes))
        return mean if self.total is None else mean - float(digamma(self.total))

    @cached_property
    def log_variance(self) -> float:
        """`Var log F` given survival."""
        location = digamma(self.shapes)
        spread = polygamma(1, self.shapes) + (location - self.weights @ location) ** 2
        variance = float(self.weights @ spread)
        return max(0.0, variance if self.total is None else variance - float(polygamma(1, self.total)))

    @cached_property
    def log_third(self) -> float:
        """Third central moment of log F given survival."""
        location = digamma(self.shapes)
        apart = location - self.weights @ location
        third = float(self.weights @ (polygamma(2, self.shapes) + 3 * polygamma(1, self.shapes) * apart + apart**3))
        return third if self.total is None else third - float(polygamma(2, self.total))

    def moment(self, s: float) -> float:
        """`E F^s`; for s <= 0 given survival. inf where floats cannot hold it, and where it diverges (s at or below
        minus the least shape of what is not a constant)."""
        if self._varies.any() and s <= -self.shapes[self._varies].min():
            return inf
        survival = 1 - self.death if s > 0 else 1.0
        with np.errstate(over="ignore"):
            return survival * float(self.weights @ np.exp(self._powers(np.array([float(s)]))[:, 0]))

    def characteristic(self, t: Array) -> np.ndarray:
        """`E exp(i t log F)` given survival, complex, shape of `t`."""
        return self.weights @ np.exp(self._powers(1j * np.asarray(t)))

    def sample(self, size: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Independent draws of F, zeros included."""
        shape = rng.choice(self.shapes, p=self.weights, size=size)
        draw = rng.standard_gamma(shape)
        if self.total is not None:
            rest = self.total - shape
            draw = draw / (draw + rng.standard_gamma(rest))
        return exp(self.log_scale) * draw * (rng.random(size) >= self.death)

    @property
    def _varies(self) -> np.ndarray:
        """Whether a shape is that of a random variable: a Beta with no second parameter is the constant one."""
        return self.shapes < (inf if self.total is None else self.total)

    def _powers(self, s: np.ndarray) -> np.ndarray:
        """log E F^s of each shape, (K, S) for powers (S,), real or complex."""
        if self.total is None:
            return loggamma(self.shapes[:, None] + s) - gammaln(self.shapes)[:, None] + s * self.log_scale
        power, varies = np.tile(s * self.log_scale, (len(self.shapes), 1)), self._varies
        power[varies] += loggamma(self.shapes[varies, None] + s) - gammaln(self.shapes[varies])[:, None]
        power[varies] -= loggamma(self.total + s) - gammaln(self.total)
        return power


@asks(width=whole(1), fan_in=optional(whole(1)), sw2=above(0))
@lru_cache(maxsize=512)
def gaussian(width: int, fan_in: int | None = None, sw2: float = 2.0) -> Factor:
    """Independent Gaussian weights of variance `sw2 / fan_in` (`fan_in = width` unless told)."""
    units, weights = _active_units(width)
    return Factor(log(2 * sw2 / (fan_in or width)), weights, units / 2, death=2.0**-width)


@asks(width=whole(1), sw2=above(0))
@lru_cache(maxsize=512)
def orthogonal(width: int, sw2: float = 2.0) -> Factor:
    """`sqrt(sw2)` times a Haar orthogonal square matrix."""
    units, weights = _active_units(width)
    return Factor(log(sw2), weights, units / 2, total=width / 2, death=2.0**-width)


@asks(width=whole(2), sw2=above(0))
@lru_cache(maxsize=512)
def mirrored_gaussian(width: int, sw2: float = 2.0) -> Factor:
    """Mirrored blocks with a Gaussian core of entry variance `sw2 / width`; `width` even."""
    half = width // 2
    return Factor(log(sw2 / half), np.ones(1), np.array([half / 2]))


@asks(sw2=above(0))
def isometry(sw2: float = 2.0) -> Factor:
    """Mirrored blocks with an orthogonal core: the norm is multiplied by `sqrt(sw2 / 2)` exactly."""
    # A Beta with no second parameter is the constant one.
    return Factor(log(sw2 / 2), np.ones(1), np.ones(1), total=1.0)


def two_slopes(both: float, units: int) -> tuple[float, float]:
    """Mean and variance of `log sum v_i^2 s_i^2` given that it is not 0: v uniform on the sphere of `units` dimensions,
    independent slopes s = 2 and s = 0 of probability `both` <= 1/4 each, else s = 1. What a mirrored layer with an iid
    bias does to a Jacobian-vector product (derived here)."""
    if not (type(both) is float and 0 <= both <= 0.25):  # asked in every layer: all rules take as long as the answer
        refuse("both", both, _SHARED)
        both = float(both)
    mean, variance, x = 0.0, 0.0, 8 * both - 1
    for a, b in _slope_series(units):
        mean, variance = mean * x + a, variance * x + b
    return mean, max(variance, 0.0)


@asks(units=whole(1))
@lru_cache(maxsize=512)
def _slope_series(units: int) -> list[tuple[float, float]]:
    """Both moments as polynomials of 8 both - 1, from the highest power down: a net asks layer by layer."""
    x = chebyshev.chebpts1(_DEGREE + 1)
    moments = np.array([_slope_moments((1 + place) / 8, units) for place in x])
    powers = [chebyshev.cheb2poly(series) for series in chebyshev.chebfit(x, moments, _DEGREE).T]
    return [(float(a), float(b)) for a, b in zip(*(np.flip(power) for power in powers), strict=True)]


def _slope_moments(both: float, units: int) -> tuple[float, float]:
    """`two_slopes` by its integral. With |v|^2 a chi2 variable instead the sum is an X whose Laplace transform has a
    closed form, and is the chance that an exponential variable E is above t X. So that is the law of log(E / X), by the
    trapezoidal rule in log t; its second moment with the first term of Euler and Maclaurin, for that integrand begins
    with a slope of 1.
    """
    dead = both**units
    survival = ((both + (1 - 2 * both) * _SLOPE_ONE + both * _SLOPE_TWO) ** units - dead) / (1 - dead)
    mean = _STEP * (float(survival.sum()) - 0.5)
    square = 2 * _STEP * float(survival @ _PLACES) + _STEP**2 / 6
    log_chi2 = float(digamma(units / 2)) + log(2)
    variance = square - mean**2 - np.pi**2 / 6 - float(polygamma(1, units / 2))
    return -np.euler_gamma - mean - float(_LOG_T[0]) - log_chi2, variance


@asks(factor=made(Factor, "factors.gaussian(64)"), typical=above(0))
def centred(factor: Factor, typical: float) -> Factor:
    """`factor` rescaled so that its typical value, `exp(log_mean)`, is `typical`."""
    return replace(factor, log_scale=factor.log_scale - factor.log_mean + log(typical))


@asks(width=whole(1, _ENUMERATED))
def binomial_weights(width: int) -> Array:
    """`P(K = k)` for k = 0..width, K ~ Binomial(width, 1/2)."""
    return _binomial(width, np.arange(width + 1))


def _binomial(width: int, k: np.ndarray) -> Array:
    return np.exp(gammaln(width + 1) - gammaln(k + 1) - gammaln(width - k + 1) - width * log(2))


def _active_units(width: int) -> tuple[Array, Array]:
    reach = int(_REACH * sqrt(width)) + 1  # far enough that all weights beyond are negligible
    units = np.arange(max(1, width // 2 - reach), min(width, width // 2 + reach) + 1)
    weights = _binomial(width, units)
    kept = weights > _NEGLIGIBLE
    return units[kept].astype(float), weights[kept] / weights[kept].sum()
