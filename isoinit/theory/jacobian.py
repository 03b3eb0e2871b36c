"""Spectrum of the Jacobian J of a ReLU net at initialization in the wide limit; the deep one is in `lyapunov`.

Pennington, Schoenholz & Ganguli (1711.04735) and 1806.06362. Legend: `e` eigenvalues of J J^T divided by their
mean where the mean is 1, `L` layers, `M(z) = sum_k E[e^k] / z^k`. Free probability makes M the root of a
polynomial, and on the cut the root is explicit: with `phi` the angle of a suitable w, all else is elementary.

    gaussian             x M = (1 + M)(1 + 2M)^L               w = 1 + 2M
    orthogonal           x M (1 + M)^(L-1) = (1 + 2M)^L        w = 1 + M / (1 + M)
    linear_gaussian      x M = (1 + M)^(L+1)                   w = 1 + M      (Fuss-Catalan law)
    mirrored_gaussian    hidden to hidden: half zeros, half twice the law of linear_gaussian
    mirrored_orthogonal  hidden to hidden: half zeros, half twos, for any L

The parametrizations of the first two are derived here. Mirrored nets from input to last hidden layer have the
spectrum of their cores: linear_gaussian, or all ones.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from isoinit.theory.activations import ACTIVATION, Activation
from isoinit.theory.asked import asks, least, one_of, whole
from isoinit.theory.gaussian import Array
from isoinit.theory.meanfield import slope_moment

FAMILIES = (
    "gaussian",
    "orthogonal",
    "linear_gaussian",
    "linear_orthogonal",
    "mirrored_gaussian",
    "mirrored_orthogonal",
)
_ANGLES = 4000


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Law of the eigenvalues e of J J^T of a critical net (mean 1), in the wide limit.

    relative_variance        Var(e) / E(e)^2
    largest_singular_value   upper edge of the law of sqrt(e)
    atoms                    pairs (location, mass)
    eigenvalues, density     grid, increasing, and density of the rest, shape (G,); empty if there is no rest
    masses                   P(e <= grid) without the atoms, shape (G,)
    """

    relative_variance: float
    largest_singular_value: float
    atoms: tuple[tuple[float, float], ...]
    eigenvalues: Array
    density: Array
    masses: Array

    def singular_values(self, levels: Array) -> Array:
        """Quantiles of sqrt(e) at `levels` in [0, 1], atoms included."""
        if not len(self.eigenvalues):
            places = np.array([place for place, _ in self.atoms])
            reached = np.cumsum([mass for _, mass in self.atoms])
            return np.sqrt(places[np.minimum(np.searchsorted(reached, levels), len(places) - 1)])
        zero = sum(mass for _, mass in self.atoms)
        inside = np.interp(levels, zero + self.masses, self.eigenvalues)
        return np.sqrt(np.where(levels <= zero, 0.0, inside))


@asks(family=one_of(FAMILIES), layers=whole(1))
def spectrum(family: str, layers: int) -> Spectrum:
    """The law of e for `layers` square layers of a family of `FAMILIES`, standard variance; a bias only if mirrored."""
    variance, largest = relative_variance(family, layers), largest_singular_value(family, layers)
    if family == "linear_orthogonal":
        return _discrete(variance, largest, (1.0, 1.0))
    if family == "mirrored_orthogonal" or (family, layers) == ("orthogonal", 1):
        return _discrete(variance, largest, (0.0, 0.5), (2.0, 0.5))
    if family == "gaussian":
        x, density = _relu_gaussian(layers)
        zero = 0.5
    elif family == "orthogonal":
        x, density = _relu_orthogonal(layers)
        zero = 0.5
    else:
        x, density = _fuss_catalan(layers)
        zero = 0.0
        if family == "mirrored_gaussian":
            x, density, zero = 2 * x, density / 4, 0.5
    masses = np.concatenate([[0.0], np.cumsum(np.diff(np.log(x)) * (density[1:] * x[1:] + density[:-1] * x[:-1]) / 2)])
    missing = 1 - zero - masses[-1]  # below the first grid point
    return Spectrum(variance, largest, ((0.0, zero),) if zero else (), x, density, masses + missing)


@asks(family=one_of(FAMILIES), layers=whole(1))
def relative_variance(family: str, layers: int) -> float:
    """`Var(e) / E(e)^2` for `layers` layers; mirrored families from hidden layer to hidden layer."""
    return {
        "gaussian": 2 * layers,
        "orthogonal": layers,
        "linear_gaussian": layers,
        "linear_orthogonal": 0,
        "mirrored_gaussian": 2 * layers + 1,
        "mirrored_orthogonal": 1,
    }[family]


@asks(family=one_of(FAMILIES), layers=whole(1))
def largest_singular_value(family: str, layers: int) -> float:
    """Upper edge of the singular values; grows like sqrt(e L) times a constant, except in isometries."""
    n = float(layers)
    if family == "gaussian":
        z = (sqrt(n * n + 1) - (n - 1)) / (2 * n)
        return sqrt((1 + z) * (1 + 2 * z) ** n / z)
    if family == "orthogonal":
        return sqrt(n * (n / (n - 1)) ** (n - 1)) if layers > 1 else sqrt(2)
    if family in ("linear_gaussian", "mirrored_gaussian"):
        return sqrt((1 if family == "linear_gaussian" else 2) * (n + 1) * ((n + 1) / n) ** n)
    return 1.0 if family == "linear_orthogonal" else sqrt(2)


@asks(activation=ACTIVATION, q=least(0), layers=whole(1))
def activation_variance(activation: Activation, q: float, layers: int, gaussian: bool) -> float:
    """`Var(e) / E(e)^2 = L (mu_2 / mu_1^2 - 1 - s_1)` of any activation on its critical line; s_1 = -1 if gaussian."""
    ratio = slope_moment(activation, q, 2) / slope_moment(activation, q, 1) ** 2
    return layers * (ratio - 1 + gaussian)


def _discrete(variance: float, largest: float, *atoms: tuple[float, float]) -> Spectrum:
    empty = np.empty(0)
    return Spectrum(variance, largest, atoms, empty, empty, empty)


def _angles(end: float) -> Array:
    """Angles in (0, end), dense at both ends, descending: x increases."""
    t = np.linspace(0, np.pi, _ANGLES + 2)[1:-1]
    return end * (1 + np.cos(t)) / 2


def _relu_gaussian(layers: int) -> tuple[Array, Array]:
    """`r = s + sqrt(s^2 + 1)`, `s = sin(phi) / tan(L phi)`, `x = |w + 1| / |w - 1| r^L`; density `Im w / (2 pi x)`."""
    phi = _angles(np.pi / layers)
    s = np.sin(phi) / np.tan(layers * phi)
    r = np.where(s > 0, s + np.sqrt(s * s + 1), 1 / (np.sqrt(s * s + 1) - s))
    w = r * np.exp(1j * phi)
    x = np.abs((w + 1) / (w - 1)) * r**layers
    return _positive(x, r * np.sin(phi) / (2 * np.pi))


def _relu_orthogonal(layers: int) -> tuple[Array, Array]:
    """`r = sin(L phi) / sin((L-1) phi)`, `x = r^L sin((L-1) phi) / sin(phi)`; density `Im(1 / (2 - w)) / (pi x)`."""
    phi = _angles(np.pi / layers)
    r = np.sin(layers * phi) / np.sin((layers - 1) * phi)
    w = r * np.exp(1j * phi)
    x = r**layers * np.sin((layers - 1) * phi) / np.sin(phi)
    return _positive(x, r * np.sin(phi) / (np.abs(2 - w) ** 2 * np.pi))


def _fuss_catalan(layers: int) -> tuple[Array, Array]:
    """Product of `layers` square Gaussian matrices: `r = sin((L+1) phi) / sin(L phi)`; density `Im w / (pi x)`."""
    phi = _angles(np.pi / (layers + 1))
    r = np.sin((layers + 1) * phi) / np.sin(layers * phi)
    x = r ** (layers + 1) * np.sin(layers * phi) / np.sin(phi)
    return _positive(x, r * np.sin(phi) / np.pi)


def _positive(x: Array, density_times_x: Array) -> tuple[Array, Array]:
    keep = x > 1e-280  # below, deep products underflow
    return x[keep], density_times_x[keep] / x[keep]
