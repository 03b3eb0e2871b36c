"""Gaussian expectations: arc-cosine kernels in closed form, and quadrature that states its own error.

`theta` = angle, `c` = cos(theta), `d` = 1 - c. For unit Gaussians (u, v) of correlation c,
`2 E[relu(u) relu(v)] = kappa1(c)` and `2 P(u > 0, v > 0) = kappa0(c)` (Cho & Saul 2009; 1806.06362).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import roots_hermitenorm

from isoinit.theory.asked import FUNCTION, above, asks, between, least, whole

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

_HERMITE = 256  # nodes up to which the rule is Gauss-Hermite
_REACH = 13.0  # standard deviations the trapezoidal rule covers: P(|z| > 13) < 1e-37
_NARROW = 2.0  # scale from which an activation's bend is narrow beside the Gaussian


class Quadrature(NamedTuple):
    """A Gaussian expectation and the change it underwent when the number of nodes was last doubled."""

    value: float
    error: float
    nodes: int


def kappa0(c: ArrayLike) -> Array:
    """`(pi - arccos c) / pi`: twice the probability that both units are on. Also the slope of `kappa1`."""
    return 1 - np.arccos(np.clip(c, -1, 1)) / np.pi


def kappa1(c: ArrayLike) -> Array:
    """`(sin theta + (pi - theta) cos theta) / pi`: correlation after a wide ReLU layer, second moment kept."""
    return 1 - kappa1_complement(1 - np.asarray(c, dtype=float))


def kappa1_complement(d: ArrayLike) -> Array:
    """`1 - kappa1(1 - d)`, accurate for small `d`, where the subtraction would cancel."""
    d = np.clip(d, 0, 2)
    theta = 2 * np.arcsin(np.sqrt(d / 2))
    return d - (np.sin(theta) - theta * (1 - d)) / np.pi


def kappa2(c: ArrayLike) -> Array:
    """`J2 / (3 pi)` with `J2 = 3 sin cos + (pi - theta)(1 + 2 cos^2)`: `(2/3) E[relu(u)^2 relu(v)^2]`."""
    c = np.clip(c, -1, 1)
    theta = np.arccos(c)
    return (3 * np.sin(theta) * c + (np.pi - theta) * (1 + 2 * c**2)) / (3 * np.pi)


def stretched(values: Array, log_factor: ArrayLike) -> Array:
    """`values * exp(log_factor)` of numbers >= 0: zeros stay zeros, and what floats cannot hold is inf."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.exp(np.log(values) + log_factor)


@asks(f=FUNCTION, scale=least(0), tolerance=above(0), max_nodes=whole(1))
def expectation(f: Function, scale: float = 1.0, *, tolerance: float = 1e-12, max_nodes: int = 1 << 14) -> Quadrature:
    """`E f(scale z)`, z standard normal, doubling the nodes until the value moves by < `tolerance`.

    Gauss-Hermite up to 256 nodes, then the trapezoidal rule. At a large `scale` all of what a bounded activation does
    lies between two Hermite nodes, and doubling them would see nothing: there the trapezoidal rule runs in t with
    `scale z = sinh t`, dense around 0. The tolerance is absolute, relative above one. The loop ends at `max_nodes`
    all the same: read `error`, which a kink in `f` makes fall only like 1/nodes^2.
    """

    def rule(n: int) -> float:
        x, w = _nodes(n, scale)
        return float(w @ f(x))

    return _double_nodes(rule, _first(scale), tolerance, max_nodes)


@asks(f=FUNCTION, g=FUNCTION, c=between(-1, 1), scale=least(0), tolerance=above(0), max_nodes=whole(1))
def pair_expectation(
    f: Function, g: Function, c: float, scale: float = 1.0, *, tolerance: float = 1e-10, max_nodes: int = 1024
) -> Quadrature:
    """`E f(scale u) g(scale v)` for unit Gaussians of correlation `c`: the same rules in each of two dimensions."""
    s = np.sqrt(max(0.0, 1 - c * c))

    def rule(n: int) -> float:
        (x, w), (y, v) = _nodes(n, scale), _nodes(n, scale * s)
        return float((w * f(x)) @ g(c * x[:, None] + y[None, :]) @ v)

    return _double_nodes(rule, _first(scale), tolerance, max_nodes)


def _first(scale: float) -> int:
    """Nodes to begin with: enough that the first rule already sees the bend."""
    return 32 if scale <= _NARROW else 128


def _double_nodes(rule: Callable[[int], float], nodes: int, tolerance: float, max_nodes: int) -> Quadrature:
    value, error = rule(nodes), np.inf
    while error > tolerance * max(1.0, abs(value)) and nodes < max_nodes:
        nodes *= 2
        previous, value = value, rule(nodes)
        error = abs(value - previous)
    return Quadrature(value, error, nodes)


def _nodes(n: int, scale: float) -> tuple[Array, Array]:
    """Nodes of a Gaussian of standard deviation `scale`, and weights that sum to 1."""
    if scale <= _NARROW:
        z, w = _standard(n)
        return scale * z, w
    reach = np.arcsinh(_REACH * scale)
    t = np.linspace(-reach, reach, n)
    x = np.sinh(t)
    w = np.exp(-((x / scale) ** 2) / 2) * np.cosh(t)
    return x, w / w.sum()


@lru_cache
def _standard(n: int) -> tuple[Array, Array]:
    if n <= _HERMITE:
        z, w = roots_hermitenorm(n)
    else:
        z = np.linspace(-_REACH, _REACH, n)
        w = np.exp(-z * z / 2)
    return z, w / w.sum()
