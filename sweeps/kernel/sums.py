"""Biases, repeated for every sample of a batch, and their gradients, sums over it.

Loops run over flat vectors where they can: rows of a narrow network are too short to be vectorized.
"""

from __future__ import annotations

from sweeps.kernel.compilers import inline, part
from sweeps.kernel.pointers import ZERO, address_of, vector_at


@inline
def copy(target, source):
    for i in range(target.shape[0]):
        target[i] = source[i]


@part
def repeat(bias, z, rows):
    """Every row of z, flat (rows * fan_out), becomes the bias; by doubling, so that copies are long."""
    stride = bias.shape[0]
    start = address_of(z)
    copy(vector_at(start, stride), bias)
    filled = 1
    while filled < rows:
        count = min(filled, rows - filled) * stride
        copy(vector_at(start + 4 * filled * stride, count), vector_at(start, count))
        filled *= 2


@part
def fill_rows(bias, z, columns):
    """Row r of z, flat (rows * columns), becomes bias[r]."""
    for r in range(bias.shape[0]):
        row = vector_at(address_of(z) + 4 * r * columns, columns)
        for c in range(columns):
            row[c] = bias[r]


@part
def sum_rows(g, total):
    """total = sum of the rows of g, of as many columns as total has; four rows at a time."""
    rows = g.shape[0] // 4 * 4
    for c in range(total.shape[0]):
        total[c] = ZERO
    for r in range(0, rows, 4):
        for c in range(total.shape[0]):
            total[c] += (g[r, c] + g[r + 1, c]) + (g[r + 2, c] + g[r + 3, c])
    for r in range(rows, g.shape[0]):
        for c in range(total.shape[0]):
            total[c] += g[r, c]


@part
def sum_columns(g, total):
    """total = sum of the columns of g, flat (rows * columns)."""
    columns = g.shape[0] // total.shape[0]
    for r in range(total.shape[0]):
        row = vector_at(address_of(g) + 4 * r * columns, columns)
        here = ZERO
        for c in range(columns):
            here += row[c]
        total[r] = here
