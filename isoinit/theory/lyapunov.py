"""Singular values of the Jacobian of a ReLU net at initialization in the deep limit, at a fixed width."""

from math import inf

import numpy as np
from scipy.special import digamma

from isoinit.theory.asked import asks, one_of, whole
from isoinit.theory.factors import binomial_weights
from isoinit.theory.gaussian import Array

FAMILIES = ("gaussian", "orthogonal", "linear_gaussian", "linear_orthogonal")
_MOST = 10**5  # units whose exponents are found one by one


@asks(family=one_of(FAMILIES), width=whole(1, _MOST), layers=whole(1))
def lyapunov_exponents(family: str, width: int, layers: int = 1) -> Array:
    """`log s_k / L` of the singular values of a deep net, descending, shape (width,): exact for L >> width.

    From the mean log-volume of k directions, each a chi2 or Beta variable (Newman 1986 for Gaussian matrices; for
    ReLU derived here). k directions survive a ReLU layer while at least k units are on, K ~ Binomial(N, 1/2): the
    exponent is the mean given K >= k, and -inf if that fails somewhere in `layers` layers more likely than not.
    `linear_gaussian`: `width` is the core's.
    """
    k = np.arange(width)
    if family == "linear_orthogonal":
        return np.zeros(width)
    if family == "linear_gaussian":
        return (digamma((width - k) / 2) + np.log(2 / width)) / 2
    weights = binomial_weights(width)
    exponents = np.full(width, -inf)
    for i in k:
        on = np.arange(i + 1, width + 1)
        if (mass := weights[on].sum()) ** layers > 0.5:
            base = np.log(2 / width) if family == "gaussian" else -digamma((width - i) / 2)
            exponents[i] = (weights[on] @ digamma((on - i) / 2) / mass + np.log(2) + base) / 2
    return exponents


@asks(family=one_of(FAMILIES), width=whole(1, _MOST), layers=whole(1))
def deep_log_singular_values(family: str, width: int, layers: int) -> Array:
    """Typical `log s_k` at L >> width, descending, shape (width,): `L lambda_k` plus a term that does not grow.

    A random frame of k directions meets the leading right singular vectors of an isotropic product in a Beta volume,
    so `E log s_k = L lambda_k + [digamma((N - k + 1)/2) - digamma(k/2)] / 2` (derived here). -inf: lost rank.
    """
    exponents = lyapunov_exponents(family, width, layers)
    if family == "linear_orthogonal":
        return exponents
    k = np.arange(1, width + 1)
    return layers * exponents + (digamma((width - k + 1) / 2) - digamma(k / 2)) / 2
