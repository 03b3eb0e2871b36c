"""What an activation makes of two correlated Gaussians, for every correlation at once, by its Hermite series.

Mehler 1866: `E f(s u) f(s v) = sum_k a_k^2 c^k` for unit Gaussians (u, v) of correlation c, where a_k are the
coefficients of `f(s z)` in normalized Hermite polynomials. Its derivative in c is `s^2 E f'(s u) f'(s v)`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import roots_hermitenorm

from isoinit.theory.gaussian import Array, Function

_TERMS = 256
_LAST = _TERMS * 3 // 4  # terms from here on have to be nothing, or there were more of them
_RESOLVED = 1e-7  # their share of the derivative at c = 1, about what the series is then off by


_ORDERS = np.arange(float(_TERMS))


@dataclass(frozen=True)
class Hermite:
    """The series of one activation at one variance of its input; `powers` are the squared coefficients, `[k]`."""

    powers: Array

    def apart(self, d: float) -> float:
        """`E f(s u)^2 - E f(s u) f(s v)` at 0 <= d = 1 - c <= 2, precise for near inputs, where it would cancel."""
        return float(self.powers @ _lost(d))

    def slopes(self, d: float) -> float:
        """`E f'(s u) f'(s v) / E f'(s u)^2`."""
        weights = (_ORDERS * self.powers)[1:]
        return float(1 - weights @ _lost(d)[:-1] / weights.sum())


def hermite(f: Function, scale: float) -> Hermite | None:
    """The series of `f(scale z)`; None if 256 terms do not resolve it, as at a great scale or of a kink."""
    nodes, transform = _transform()
    powers = (transform @ f(scale * nodes)) ** 2
    slope = _ORDERS * powers
    return Hermite(powers) if slope[_LAST:].sum() <= _RESOLVED * slope.sum() else None


def _lost(d: float) -> Array:
    """`1 - c^k`."""
    return -np.expm1(_ORDERS * np.log1p(-d)) if d < 1 else 1 - (1 - d) ** _ORDERS


@lru_cache
def _transform() -> tuple[Array, Array]:
    """Gauss-Hermite nodes, and the matrix that makes coefficients of a function's values there."""
    nodes, weights = roots_hermitenorm(_TERMS)
    roots = np.sqrt(weights / weights.sum())  # times polynomials they stay within floats
    rows = [roots, nodes * roots]
    for k in range(1, _TERMS - 1):
        rows.append((nodes * rows[k] - np.sqrt(k) * rows[k - 1]) / np.sqrt(k + 1))
    return nodes, np.stack(rows) * roots
