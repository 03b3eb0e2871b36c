"""Products C = A B, each in the faster way for its shape, by tiles or by the BLAS; see `blas` for what a matrix is.

For narrow networks tiles are faster: there a BLAS spends much of its time on the call and on laying out its operands.
On an AMD EPYC (Zen 3) a step took 1 / 1.6 to 1 / 2 of the time it takes by MKL at width 16, 1 / 1.2 at 64 (medians of
15), 1 / 1.1 at 128 to 240 and with crelu 1 / 1.5 to 1 / 1.3, about as long at 256 and up to twice as long at 512
(medians of 3; interleaved, by scripts that were not kept). No other processor was tried.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from sweeps.kernel.blas import NONE, UNIT, blas
from sweeps.kernel.compilers import called, inline
from sweeps.kernel.pointers import NEXT, ONE
from sweeps.kernel.tiles import BLOCK, COLUMNS, ROWS, TALL, flip_block, tile_of

NARROW: Final = 240  # columns, beyond which a BLAS is as fast: a wider operand's lines crowd the same sets of a cache
LONG: Final = 1024  # rows and terms, likewise


def tiles_of(kind: str) -> Any:
    """A product by tiles, see `tile_of`; c and d are where C and D are and the distances of their rows."""
    tile, tile_row = tile_of(ROWS, COLUMNS, kind), tile_of(1, COLUMNS, kind)
    slim, slim_row = tile_of(TALL, BLOCK, kind), tile_of(1, BLOCK, kind)

    @called
    def product(shape, a, b, d, scale, c):
        rows, columns, terms = shape
        c, c_row = c
        wide = columns // COLUMNS * 4 * COLUMNS
        whole = rows // ROWS * ROWS
        for j in range(0, wide, 4 * COLUMNS):
            for i in range(0, whole, ROWS):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c + i * c_row + j
                tile(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c_row, scale)
            for i in range(whole, rows):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c + i * c_row + j
                tile_row(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c_row, scale)
        whole = rows // TALL * TALL
        for j in range(wide, 4 * columns, 4 * BLOCK):
            for i in range(0, whole, TALL):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c + i * c_row + j
                slim(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c_row, scale)
            for i in range(whole, rows):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c + i * c_row + j
                slim_row(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c_row, scale)

    return product


set_tiles, add_tiles, relu_tiles, gate_tiles = map(tiles_of, ("set", "add", "relu", "gate"))
crelu_tiles, deduct_tiles = map(tiles_of, ("crelu", "deduct"))


@inline
def tiled(shape, b):
    """Whether tiles can make A B, and are the faster way."""
    rows, columns, terms = shape
    whole = columns % BLOCK == 0 and (b[2] == NEXT or terms % BLOCK == 0)
    return whole and columns <= NARROW and rows <= LONG and terms <= LONG


@called
def upright(shape, b, spare):
    """B with adjacent columns, which tiles want: itself, or transposed into `spare`, block by block."""
    _, columns, terms = shape
    if b[2] == NEXT:
        return b
    for i in range(0, columns, BLOCK):
        for j in range(0, terms, BLOCK):
            flip_block(b[0] + i * b[2] + 4 * j, b[2], spare + 4 * (j * columns + i), 4 * columns)
    return spare, 4 * columns, NEXT


@called
def set_product(call, chars, shape, a, b, spare, c):
    """C = A B. There is room for B at `spare`."""
    if tiled(shape, b):
        set_tiles(shape, a, upright(shape, b, spare), (c, 0), ONE, (c, 4 * shape[1]))
    else:
        blas(call, chars, shape, a, b, UNIT, NONE, c)


@called
def add_product(call, chars, shape, a, b, spare, scale, c):
    """C += scale A B, where the scale is `UNIT` or `DESCENT`. There is room for B at `spare`."""
    if tiled(shape, b):
        factor = call.view(np.float32)[scale // 4]
        add_tiles(shape, a, upright(shape, b, spare), (c, 0), factor, (c, 4 * shape[1]))
    else:
        blas(call, chars, shape, a, b, scale, UNIT, c)
