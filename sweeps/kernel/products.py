"""Products C = A B, each in the faster way for its shape, by tiles or by the BLAS; see `blas` for what a matrix is.

For narrow networks tiles are faster: there a BLAS spends much of its time on the call and on laying out its operands.
On an AMD EPYC (Zen 3) a step took 1 / 1.6 to 1 / 2 of the time it takes by MKL at width 16, 1 / 1.2 at 64
(medians of 15), 1 / 1.1 at 128 to 240 and with crelu 1 / 1.5 to 1 / 1.3, about as long at 256 and up to twice as long
at 512 (medians of 3). With AVX-512 (AMD EPYC, Zen 5), whose vectors that MKL makes little of, it took 1 / 2 of the time
at 256, 1 / 2.3 at 384, 1 / 1.7 at 768 and 1 / 1.1 at 1024 (one round). On an Intel Xeon (Emerald Rapids), of whose long
vectors MKL makes all, it took 1 / 1.8 at width 16, 1 / 1.2 at 64, 1 / 1.1 at 192, but 1.2 times as long at 256 and 384
and 1.4 times at 512 (depth 6, medians of 6 pairs). Interleaved, by scripts that were not kept; no other processor was
tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from sweeps.kernel.blas import NONE, UNIT, blas
from sweeps.kernel.compilers import called, inline
from sweeps.kernel.pointers import NEXT, ONE
from sweeps.kernel.tiles import BLOCK, LONG_VECTORS, PROCESSOR, TILES, flip_block, tile_of


def most_columns(processor: str, long_vectors: bool) -> int:
    """Beyond which a BLAS is as fast or nearly so: a wider operand's lines crowd the same sets of a cache."""
    return 768 if long_vectors and processor.startswith("znver") else 240


NARROW: Final = most_columns(PROCESSOR, LONG_VECTORS)
"""Columns, beyond which a BLAS is asked."""
LONG: Final = 4096 if LONG_VECTORS else 1024
"""Rows and terms, likewise."""


def strips_of(kind: str, tiles: Sequence[tuple[int, int]]) -> Any:
    """A product by tiles from a column on, which is given by the bytes before it."""
    if not tiles:
        return _nothing
    high, broad = tiles[0]
    tile, row, others = tile_of(high, broad, kind), tile_of(1, broad, kind), strips_of(kind, tiles[1:])

    @called
    def strips(shape, a, b, d, scale, c, start):
        rows, columns, terms = shape
        whole, stop = rows // high * high, start + (4 * columns - start) // (4 * broad) * 4 * broad
        for j in range(start, stop, 4 * broad):
            for i in range(0, whole, high):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c[0] + i * c[1] + j
                tile(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c[1], scale)
            for i in range(whole, rows):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c[0] + i * c[1] + j
                row(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c[1], scale)
        others(shape, a, b, d, scale, c, stop)

    return strips


@called
def _nothing(shape, a, b, d, scale, c, start):
    """No column is left."""


def tiles_of(kind: str, tiles: Sequence[tuple[int, int]] = TILES) -> Any:
    """A product by tiles, see `tile_of`; c and d are where C and D are and the distances of their rows."""
    strips = strips_of(kind, tiles)

    @called
    def product(shape, a, b, d, scale, c):
        strips(shape, a, b, d, scale, c, 0)

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
