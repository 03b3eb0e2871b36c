"""Law of the factor by which a layer of weights pruned at random multiplies the squared norm of a signal.

Legend: N `units`, d `density` of the weights that are left, which are divided by its root, r = (1 - d) / d, y what the
layer reads, A of its entries not 0, D = y^2 / sum y^2, u = sum D^2, p the chance that a unit is on: 1/2, linear 1.

All of this is derived here. Given y and Gaussian weights the pre-activations of units are independent, each a normal
variable with the variance S = sum m D / d of its own mask m; E S = 1, E S^2 = 1 + v, v = r u. A unit of which no input
is left, of probability (1 - d)^A, is off. So the factor F of the squared norm is the mean of S n^2 over those that are
on (n normal), over p, and has

    E F = 1,   Var F = (3 (1 + v) / p - 1) / N                   relu: (5 + 6 v) / N; dense v = 0

It spreads log F, which is what is asked for, and makes y uneven: the next u grows with v. The laws of all these follow
from one closure, that D is a Dirichlet variable with A equal parameters a, and these such that its u is right: exact
after a layer of dense weights (a = 1/2), and where one entry is left (u = 1). Then S is a Beta(k a, (A - k) a) variable
over d, k of the A inputs kept, and with the Laplace transform phi of S n^2

    P(E > t sum S n^2) = (1 - q + q phi(t))^N,  E exponential, q the chance to be on         moments of log F
    E u' = integral of t N q phi''(t) (1 - q + q phi(t))^(N - 1) dt

Orthogonal weights: sum h^2 would be a constant if they were dense. By the moments of rows of a Haar matrix it has

    Var sum h^2 = [2 (1 - d^2) (1 - u) + 3 v] / (N + 2),   Var F = that + 3 (1 + v) (1 / p - 1) / (N + 2)

so F is taken for the Gaussian one's over an independent Gamma variable that leaves this variance: exact if dense.

With a bias S is the mean of that variance and the bias's, at the typical share of the signal, and no unit is off for
want of inputs; where few weights a unit spread the norm widely, the share of a net that is not typical is another. A
Jacobian times a vector is multiplied as a signal without a bias is, for signs are fair.
Not here: entries of masks are taken for independent; an exact count takes r / N^2 from Var F, little of its 6 v / N.
"""

from functools import lru_cache
from math import ceil, log, pi
from typing import Final, NamedTuple

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import digamma, gammaln, polygamma, zeta

from isoinit.theory.gaussian import Array
from isoinit.theory.survival import Survival

_STEP: Final = 0.4
_LOG_T = np.arange(-36, 40, _STEP)
_PLACES = _LOG_T - _LOG_T[0]
_T = np.exp(_LOG_T)[:, None]
_NODES: Final = 12
_MANY: Final = 16.0  # inputs that are left to a unit, of which the number hardly matters
_MOST: Final = 100  # that are left, if they are not many
_WIDE: Final = 4096  # units of which the first order in 1 / N is as good as the integral
_NORMAL, _NORMAL_WEIGHTS = hermegauss(_NODES)
_NORMAL_WEIGHTS = _NORMAL_WEIGHTS / _NORMAL_WEIGHTS.sum()


class Moments(NamedTuple):
    """Of log F over nets that live, F of mean 1; and the probability that a layer dies whose input lives."""

    log_mean: float
    log_variance: float
    log_third: float
    death: float


class Pruned:
    """The layers of a net one after the other, from a dense Gaussian input on."""

    def __init__(self, units: int, density: float, on: float, orthogonal: bool, biased: bool) -> None:
        self._units, self._density, self._on = units, density, on
        self._orthogonal, self._biased = orthogonal, biased
        self._uneven = 3 / (units + 2)
        self._dense = _layer(units, 1.0, on, False, _three(units), _three(self._uneven), 1.0)[3]
        self._active = float(units)
        self._survival = Survival(units, density, on)

    @property
    def excess(self) -> float:
        """v of the layer that reads what came out: relative variance over its units of a pre-activation's variance."""
        return (1 - self._density) / self._density * self._uneven

    @property
    def scatter(self) -> float:
        """By how much u of what came out exceeds a dense layer's, relatively: noise of what tells inputs apart."""
        return self._uneven / self._dense - 1

    def step(self, brought: float = 1.0) -> Moments:
        """The next layer's factor; `brought`: the share of the variance of a pre-activation that is not its bias's."""
        active, death = self._active, (1 - self._on) ** self._units
        if self._biased:
            self._active = self._units * self._on
        else:
            active, death = self._survival.step()
        # rounded, so that a net that has settled, and another like it, is not worked out again
        state = _three(active), _three(self._uneven), round(brought, 3)
        first, second, third, uneven = _layer(self._units, self._density, self._on, self._biased, *state)
        if self._orthogonal and (extra := self._steadier() * brought**2) > 1e-12:
            first -= float(digamma(1 / extra)) + log(extra)
            second = max(second - float(polygamma(1, 1 / extra)), 0.0)
            third -= float(polygamma(2, 1 / extra))
        self._uneven = uneven
        return Moments(first, second, third, death)

    def _steadier(self) -> float:
        """Relative variance of the Gamma variable that Gaussian weights have in excess of orthogonal ones."""
        n, d, u, others = self._units, self._density, self._uneven, 1 / self._on - 1
        v = (1 - d) / d * u
        gaussian = (2 + 3 * v + 3 * (1 + v) * others) / n
        return (1 + gaussian) / (1 + (2 * (1 - d * d) * (1 - u) + 3 * v + 3 * (1 + v) * others) / (n + 2)) - 1


@lru_cache(maxsize=4096)
def _layer(
    units: int, density: float, on: float, biased: bool, active: float, uneven: float, brought: float
) -> tuple[float, float, float, float]:
    """Three moments of log F for Gaussian weights, and u of what comes out."""
    s, weights, missed = _variances(active, density, uneven)
    q = on * (1 - missed)
    if biased:
        s, weights, q = np.append(brought * s, 0.0) + 1 - brought, np.append(weights * (1 - missed), missed), on
    if units > _WIDE:
        square = float(s * s @ weights) * q / on  # 1 + v
        spread = (3 * square / on - 1) / units
        return -spread / 2, spread, -(spread**2), 3 * square / (on * units)
    root = 1 / np.sqrt(1 + 2 * _T * s)
    phi, bend = root @ weights, root**5 @ (3 * s * s * weights)
    rest = 1 - q + q * phi
    dead = (1 - q) ** units
    survival = (rest**units - dead) / (1 - dead)
    # moments of the log of E / sum, by the trapezoidal rule as in `factors.two_slopes`
    mean = _STEP * (float(survival.sum()) - 0.5)
    square = 2 * _STEP * float(survival @ _PLACES) + _STEP**2 / 6
    cube = 3 * _STEP * float(survival @ _PLACES**2)
    third = cube - 3 * mean * square + 2 * mean**3
    next_uneven = _STEP * units * q * float(_T[:, 0] ** 2 * bend @ rest ** (units - 1)) / (1 - dead)
    return (
        -np.euler_gamma - mean - float(_LOG_T[0]) - log(on * units),
        max(square - mean**2 - pi**2 / 6, 0.0),
        -third - 2 * float(zeta(3)),
        next_uneven,
    )


def _variances(active: float, density: float, uneven: float) -> tuple[Array, Array, float]:
    """Values and probabilities (K,) of S of a unit that is left an input, E S = 1 over all; and who is left none."""
    missed = (1 - density) ** active
    if density == 1 or active * density > _MANY:
        sd = np.sqrt(np.log1p((1 - density) / density * uneven))
        return np.exp(sd * _NORMAL - sd * sd / 2), _NORMAL_WEIGHTS, 0.0
    left = np.arange(1.0, min(ceil(active), _MOST) + 1)
    more = np.maximum(active - left, 0)
    logs = gammaln(active + 1) - gammaln(left + 1) - gammaln(more + 1) + left * log(density)
    chances = np.exp(logs + (active - left) * np.log1p(-density))
    likely = chances > 1e-9
    left, more, chances = left[likely], more[likely], chances[likely] / chances[likely].sum()
    each = max(1 - uneven, 1e-6) / max(active * uneven - 1, 1e-6)
    some = more > 0
    s, weights = _beta(left[some] * each, more[some] * each)
    values = np.append(s, np.ones(int((~some).sum())))
    probabilities = np.append(chances[some, None] * weights, chances[~some])
    return values / (values @ probabilities) / (1 - missed), probabilities, missed


def _beta(first: Array, second: Array) -> tuple[Array, Array]:
    """Gauss quadrature (n, _NODES) of Beta variables with parameters (n,), by Golub & Welsch 1969."""
    a, b, k = second[:, None] - 1, first[:, None] - 1, np.arange(1, _NODES)
    s, at = a + b, 2 * k + a + b
    matrix = np.zeros((len(first), _NODES, _NODES))
    on, below = np.arange(_NODES), np.arange(1, _NODES)
    matrix[:, on, on] = np.concatenate([(b - a) / (s + 2), (b * b - a * a) / (at * (at + 2))], axis=1)
    # at k = 1 a factor that may be 0 cancels
    of = np.where(k == 1, 4 * (1 + a) * (1 + b) / ((2 + s) ** 2 * (3 + s)), 0.0)
    later = k[1:]
    of[:, 1:] = (4 * later * (later + a) * (later + b) * (later + s)
                 / (at[:, 1:] ** 2 * (at[:, 1:] + 1) * (at[:, 1:] - 1)))  # fmt: skip
    matrix[:, below, below - 1] = np.sqrt(of)
    nodes, vectors = np.linalg.eigh(matrix)
    return (1 + nodes) / 2, vectors[:, 0] ** 2


def _three(value: float) -> float:
    return float(f"{value:.3g}")
