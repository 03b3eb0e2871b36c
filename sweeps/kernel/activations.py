"""What is between two products: activations, and gradients back through them."""

from __future__ import annotations

from typing import Final

import numpy as np

from isoinit.activations import LEAK, SELU_ALPHA, SELU_SCALE
from sweeps.kernel.compilers import inline, part
from sweeps.kernel.loss import exp
from sweeps.kernel.pointers import HALF, ONE, ZERO

RELU, TANH, SIGMOID, HARDTANH, LINEAR, CRELU, LEAKY_RELU, ELU, SELU, GELU, SILU = range(11)
CURVED = GELU  # from here on the features do not tell the slopes, for they fall and rise; they are kept beside them
ACTIVATIONS: Final = {
    "relu": RELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "hardtanh": HARDTANH,
    "linear": LINEAR,
    "crelu": CRELU,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "silu": SILU,
}
_LEAK, _SCALE, _ALPHA = np.float32(LEAK), np.float32(SELU_SCALE), np.float32(SELU_ALPHA)
_ROOT_HALF, _ROOT_TAU = np.float32(0.5**0.5), np.float32((2 * np.pi) ** 0.5)
_FOUR, _SIX = np.float32(4), np.float32(6)


@inline
def _tanh(x):
    """Rational approximation of degree 13/6, a few units in the last place (as in Eigen, MPL-2.0)."""
    limit = np.float32(7.90531110763549805)
    x = limit if x > limit else (-limit if x < -limit else x)  # not a number stays what it is
    s = x * x
    p = s * np.float32(-2.76076847742355e-16) + np.float32(2.00018790482477e-13)
    p = s * p + np.float32(-8.60467152213735e-11)
    p = s * p + np.float32(5.12229709037114e-08)
    p = s * p + np.float32(1.48572235717979e-05)
    p = s * p + np.float32(6.37261928875436e-04)
    p = s * p + np.float32(4.89352455891786e-03)
    q = s * np.float32(1.19825839466702e-06) + np.float32(1.18534705686654e-04)
    q = s * q + np.float32(2.26843463243900e-03)
    q = s * q + np.float32(4.89352518554385e-03)
    return x * p / q


@inline
def _erf(x):
    """Rational approximation of degree 11/10, by iterated least squares of our own."""
    x = _FOUR if x > _FOUR else (-_FOUR if x < -_FOUR else x)
    s = x * x
    p = s * np.float32(1.97483403e-06) + np.float32(2.88040161e-04)
    p = s * p + np.float32(4.00360229e-03)
    p = s * p + np.float32(5.34673448e-02)
    p = s * p + np.float32(1.96247997e-01)
    p = s * p + np.float32(1.12837898)
    q = s * np.float32(3.74808372e-05) + np.float32(1.21634878e-03)
    q = s * q + np.float32(1.54443356e-02)
    q = s * q + np.float32(1.16476018e-01)
    q = s * q + np.float32(5.07251419e-01)
    return x * p / (s * q + ONE)


@inline
def _expm1(x):
    """exp(x) - 1 of x <= 0."""
    t = _tanh(HALF * x)
    return (t + t) / (ONE - t)


@inline
def _normal_share(x):
    """Share of a standard normal variable that is below x: of far ones exactly, since it is a factor of them."""
    share = HALF + HALF * _erf(_ROOT_HALF * x)
    return ONE if x > _SIX else (ZERO if x < -_SIX else share)


@inline
def _normal_density(x):
    return exp(-HALF * x * x) / _ROOT_TAU


@inline
def _logistic(x):
    e = exp(x if x < ZERO else -x)
    return (e if x < ZERO else ONE) / (ONE + e)


@part
def activate(z, h, slopes, activation, half):
    """Features h of the pre-activations z, both flat, and, from `CURVED` on, their slopes; with crelu, z has rows of
    `half` and h rows of 2 * half.

    Not in place: where a select may leave what is already there, it is compiled to a branch instead of to vectors.
    """
    if activation == RELU:
        for i in range(z.shape[0]):
            h[i] = ZERO if z[i] < ZERO else z[i]  # this way round, not a number stays what it is
    elif activation == TANH:
        for i in range(z.shape[0]):
            h[i] = _tanh(z[i])
    elif activation == SIGMOID:
        for i in range(z.shape[0]):
            h[i] = HALF + HALF * _tanh(HALF * z[i])
    elif activation == HARDTANH:
        for i in range(z.shape[0]):
            h[i] = ONE if z[i] > ONE else (-ONE if z[i] < -ONE else z[i])
    elif activation == LINEAR:
        for i in range(z.shape[0]):
            h[i] = z[i]
    elif activation == CRELU:
        for start in range(0, z.shape[0], half):
            for i in range(start, start + half):
                h[start + i] = ZERO if z[i] < ZERO else z[i]
                h[start + i + half] = ZERO if z[i] > ZERO else -z[i]
    elif activation == LEAKY_RELU:
        for i in range(z.shape[0]):
            h[i] = z[i] if z[i] > ZERO else _LEAK * z[i]
    elif activation == ELU:
        for i in range(z.shape[0]):
            below = _expm1(ZERO if z[i] > ZERO else z[i])
            h[i] = z[i] if z[i] > ZERO else below
    elif activation == SELU:
        for i in range(z.shape[0]):
            below = _ALPHA * _expm1(ZERO if z[i] > ZERO else z[i])
            h[i] = _SCALE * (z[i] if z[i] > ZERO else below)
    elif activation == GELU:
        for i in range(z.shape[0]):
            share = _normal_share(z[i])
            h[i] = z[i] * share
            slopes[i] = share + z[i] * _normal_density(z[i])
    elif activation == SILU:
        for i in range(z.shape[0]):
            share = _logistic(z[i])
            h[i] = z[i] * share
            slopes[i] = share * (ONE + z[i] * (ONE - share))


@part
def clear(h, used):
    """The features h (B, m) of units beyond the first `used` become 0, as those of other activations are."""
    for r in range(h.shape[0]):
        for c in range(used, h.shape[1]):
            h[r, c] = ZERO


@part
def differentiate(g, h, slopes, activation, half):
    """Turn g, the gradient by the features h, into the gradient by pre-activations; all flat, in place.

    With crelu the result is in the left halves of the rows of 2 * half.
    """
    if activation == RELU:
        for i in range(h.shape[0]):
            g[i] = g[i] if h[i] > ZERO else ZERO
    elif activation == TANH:
        for i in range(h.shape[0]):
            g[i] *= ONE - h[i] * h[i]
    elif activation == SIGMOID:
        for i in range(h.shape[0]):
            g[i] *= h[i] * (ONE - h[i])
    elif activation == HARDTANH:
        for i in range(h.shape[0]):
            g[i] = g[i] if -ONE < h[i] < ONE else ZERO
    elif activation == CRELU:
        for start in range(0, h.shape[0], 2 * half):
            for i in range(start, start + half):
                left = g[i] if h[i] > ZERO else ZERO
                g[i] = left - (g[i + half] if h[i + half] > ZERO else ZERO)
    elif activation == LEAKY_RELU:
        for i in range(h.shape[0]):
            g[i] *= ONE if h[i] > ZERO else _LEAK
    elif activation == ELU:
        for i in range(h.shape[0]):
            g[i] *= ONE if h[i] > ZERO else h[i] + ONE
    elif activation == SELU:
        for i in range(h.shape[0]):
            g[i] *= _SCALE if h[i] > ZERO else h[i] + _SCALE * _ALPHA
    elif activation >= CURVED:
        for i in range(h.shape[0]):
            g[i] *= slopes[i]
