"""Activations, and gradients back through them."""

from typing import Final

import numpy as np

from isoinit.activations import LEAK, SELU_ALPHA, SELU_SCALE
from isoinit.narrow.compilers import part

RELU, TANH, SIGMOID, HARDTANH, LINEAR, CRELU, LEAKY_RELU, ELU, SELU = range(9)
KINDS: Final = {
    "relu": RELU, "tanh": TANH, "sigmoid": SIGMOID, "hardtanh": HARDTANH, "linear": LINEAR, "crelu": CRELU,
    "leaky_relu": LEAKY_RELU, "elu": ELU, "selu": SELU,
}  # fmt: skip
_LEAK, _SCALE, _ALPHA = np.float32(LEAK), np.float32(SELU_SCALE), np.float32(SELU_ALPHA)
ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)


@part
def activate(z, h, kind):
    """Features h (B, wide) of the pre-activations z (B, width)."""
    rows, width = z.shape
    for b in range(rows):
        if kind == RELU:
            for j in range(width):
                h[b, j] = ZERO if z[b, j] <= ZERO else z[b, j]  # this way round, not a number stays what it is
        elif kind == TANH:
            for j in range(width):
                h[b, j] = np.tanh(z[b, j])
        elif kind == SIGMOID:
            for j in range(width):
                h[b, j] = HALF + HALF * np.tanh(HALF * z[b, j])
        elif kind == HARDTANH:
            for j in range(width):
                h[b, j] = ONE if z[b, j] > ONE else (-ONE if z[b, j] < -ONE else z[b, j])
        elif kind == LINEAR:
            for j in range(width):
                h[b, j] = z[b, j]
        elif kind == LEAKY_RELU:
            for j in range(width):
                h[b, j] = z[b, j] if z[b, j] > ZERO else _LEAK * z[b, j]
        elif kind == ELU:
            for j in range(width):
                h[b, j] = z[b, j] if z[b, j] > ZERO else np.expm1(z[b, j])
        elif kind == SELU:
            for j in range(width):
                h[b, j] = _SCALE * (z[b, j] if z[b, j] > ZERO else _ALPHA * np.expm1(z[b, j]))
        else:
            for j in range(width):
                h[b, j] = ZERO if z[b, j] <= ZERO else z[b, j]
                h[b, j + width] = ZERO if z[b, j] >= ZERO else -z[b, j]


@part
def differentiate(g, h, at, into, kind):
    """Gradients by pre-activations (R, width) from those by features g (R, wide) and the features h (B, wide), of which
    row r has the input at[r]. Rows are not cut out: to count who refers to a slice takes longer than to go through it.
    """
    rows, width = into.shape
    for r in range(rows):
        b = at[r]
        if kind == RELU:
            for j in range(width):
                into[r, j] = ZERO if h[b, j] <= ZERO else g[r, j]
        elif kind == TANH:
            for j in range(width):
                into[r, j] = g[r, j] * (ONE - h[b, j] * h[b, j])
        elif kind == SIGMOID:
            for j in range(width):
                into[r, j] = g[r, j] * (ONE - h[b, j]) * h[b, j]
        elif kind == HARDTANH:
            for j in range(width):
                into[r, j] = g[r, j] if h[b, j] > -ONE and h[b, j] < ONE else ZERO
        elif kind == LINEAR:
            for j in range(width):
                into[r, j] = g[r, j]
        elif kind == LEAKY_RELU:
            for j in range(width):
                into[r, j] = g[r, j] if h[b, j] > ZERO else _LEAK * g[r, j]
        elif kind == ELU:
            for j in range(width):
                into[r, j] = g[r, j] if h[b, j] > ZERO else g[r, j] * (h[b, j] + ONE)
        elif kind == SELU:
            for j in range(width):
                into[r, j] = g[r, j] * (_SCALE if h[b, j] > ZERO else h[b, j] + _SCALE * _ALPHA)
        else:
            for j in range(width):
                positive = ZERO if h[b, j] <= ZERO else g[r, j]
                into[r, j] = positive - (ZERO if h[b, j + width] <= ZERO else g[r, j + width])
