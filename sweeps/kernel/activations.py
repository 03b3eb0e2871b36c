"""What is between two products: activations, and gradients back through them."""

from __future__ import annotations

from typing import Final

import numpy as np

from sweeps.kernel.compilers import inline, part
from sweeps.kernel.pointers import HALF, ONE, ZERO

RELU, TANH, SIGMOID, HARDTANH, LINEAR, CRELU = range(6)
ACTIVATIONS: Final = {
    "relu": RELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "hardtanh": HARDTANH,
    "linear": LINEAR,
    "crelu": CRELU,
}


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


@part
def activate(z, h, activation, half):
    """Features h of the pre-activations z, both flat; with crelu, z has rows of `half` and h rows of 2 * half.

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


@part
def clear(h, used):
    """The features h (B, m) of units beyond the first `used` become 0, as those of other activations are."""
    for r in range(h.shape[0]):
        for c in range(used, h.shape[1]):
            h[r, c] = ZERO


@part
def differentiate(g, h, activation, half):
    """Turn g, the gradient by the features h, into the gradient by pre-activations; both flat, in place.

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
