"""Exact finite-width moments of two inputs at once, and of the input-output Jacobian, in ReLU nets.

Two inputs: Burkholz & Dubatovka (1806.06362). Jacobian: Hanin (1801.03744); for Gaussian weights his bounds are
equalities (derived in the reference). Legend: rows of the pre-activations (h_a, h_b) are iid N(0, C),
`s_a^2 = C_aa`, `rho = C_ab / (s_a s_b)`; `z_ab = <x_a, x_b>`; `n_l` widths, `P5 = prod(1 + 5/n_l)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from isoinit.theory.asked import Rule, above, asks, least, many, whole
from isoinit.theory.gaussian import Array, kappa0, kappa1, kappa2


def _is_gram(value: object) -> bool:
    try:
        matrix = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return False
    if matrix.shape != (2, 2) or not np.isfinite(matrix).all() or matrix[0, 1] != matrix[1, 0]:
        return False
    squares = matrix[0, 0] * matrix[1, 1]
    return min(matrix[0, 0], matrix[1, 1]) > 0 and bool(matrix[0, 1] ** 2 <= squares * (1 + 1e-9))


_GRAM = Rule("a symmetric, positive (2, 2) array of finite numbers", _is_gram)


@dataclass(frozen=True)
class GramMoments:
    """Of the Gram matrix of two inputs after one layer of `width` units.

    inner, inner_variance   E z_ab, Var z_ab
    product                 E z_aa z_bb
    both_on, one_on         probabilities of the sign patterns of a unit: on for both, on for a only (b only alike)
    """

    inner: float
    inner_variance: float
    product: float
    both_on: float
    one_on: float


@asks(gram=_GRAM, s2w=above(0), s2b=least(0))
def covariance(gram: Array, s2w: float, s2b: float = 0.0) -> Array:
    """C of the next pre-activations from the (2, 2) Gram matrix of the activations: the bias raises rho."""
    return s2w * np.asarray(gram, dtype=float) + s2b


@asks(width=whole(1), c=_GRAM)
def gram_moments(width: int, c: Array) -> GramMoments:
    """Exact moments given the (2, 2) covariance `c` of a row of pre-activations."""
    c = np.asarray(c, dtype=float)
    sa, sb = sqrt(c[0, 0]), sqrt(c[1, 1])
    rho = min(1.0, max(-1.0, float(c[0, 1]) / (sa * sb)))
    first = float(kappa1(rho)) / 2  # E relu(u) relu(v) for unit variances, J1 / (2 pi)
    second = float(kappa2(rho)) * 1.5  # E relu(u)^2 relu(v)^2, J2 / (2 pi)
    both = float(kappa0(rho)) / 2
    return GramMoments(
        inner=width * sa * sb * first,
        inner_variance=width * (sa * sb) ** 2 * (second - first**2),
        product=width * (sa * sb) ** 2 * (second + (width - 1) / 4),
        both_on=both,
        one_on=0.5 - both,
    )


@dataclass(frozen=True)
class JacobianMoments:
    """Of the Jacobian Z of a ReLU net, He variance, any bias symmetric about 0; Hanin's beta = `sum 1/n_l`.

    entry_square     E Z_qp^2
    entry_fourth     E Z_qp^4
    entry_pair       E Z_qp^2 Z_qr^2, p != r
    spread           E[mean_p Z_qp^4 - (mean_p Z_qp^2)^2], the empirical variance of squared entries
    norms            E |v|^2 |w|^2 of two columns v, w, in units of their mean squares
    overlap          E <v, w>^2 in the same units
    fourth           E |v|^4 in the same units
    """

    beta: float
    entry_square: float
    entry_fourth: float
    entry_pair: float
    spread: float
    norms: float
    overlap: float
    fourth: float


@asks(inputs=whole(1), widths=many(whole(1)))
def jacobian_moments(inputs: int, widths: Sequence[int], linear_readout: bool = False) -> JacobianMoments:
    """Exact for Gaussian weights of variance 2 / fan_in: `inputs = n_0`, hidden `widths`.

    The output unit passes a ReLU too, as in the paper; `linear_readout` takes it away, which doubles the entries.
    """
    n = np.asarray(widths, dtype=float)
    p5, p1 = float(np.prod(1 + 5 / n)), float(np.prod(1 - 1 / n))
    out = 2 if linear_readout else 1
    return JacobianMoments(
        beta=float(np.sum(1 / n)),
        entry_square=out / inputs,
        entry_fourth=out * 6 / inputs**2 * p5,
        entry_pair=out * 2 / inputs**2 * p5,
        spread=out * 4 * (1 - 1 / inputs) / inputs**2 * p5,
        norms=p5 / 3 + 2 * p1 / 3,
        overlap=(p5 - p1) / 3,
        fourth=p5,
    )


@asks(widths=many(whole(1)))
def length_spread(widths: Sequence[int]) -> float:
    """`E` of the empirical variance over layers of M_j = |x^(j)|^2 / n_j, M_0 = 1, He variance, zero bias.

    Failure mode 2 of Hanin & Rolnick (1803.01719), in closed form because M is a martingale. Heavy-tailed.
    """
    p = np.cumprod(1 + 5 / np.asarray(widths, dtype=float))
    d = len(p)
    j = np.arange(1, d + 1)
    return float(np.mean(p) - np.sum(p * (2 * (d - j) + 1)) / d**2)
