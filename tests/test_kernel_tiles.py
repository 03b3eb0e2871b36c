"""Tiles of the sizes that any processor gets make products and what becomes of them, all of them the same numbers."""

from itertools import product
from typing import Any

import numba
import numpy as np
import pytest

from sweeps.kernel.pointers import NEXT
from sweeps.kernel.products import tiles_of

KINDS = ("set", "add", "relu", "gate", "crelu", "deduct")
SIZES = (((4, 16), (8, 8)), ((8, 32), (8, 16), (8, 8)))
SHAPES = [(1, 8, 1), (3, 24, 5), (8, 32, 16), (13, 56, 9), (30, 136, 40)]  # rows, columns, terms
SCALE = np.float32(-0.3)


def entry(kind: str, tiles: Any) -> Any:
    made = tiles_of(kind, tiles)

    @numba.njit
    def run(shape, a, b, d, c, upright, c_columns):
        columns, step = shape[1], 4 * a.shape[1]
        at_a = (a.ctypes.data, step, NEXT) if upright else (a.ctypes.data, NEXT, step)
        made(shape, at_a, (b.ctypes.data, 4 * columns, NEXT), (d.ctypes.data, 4 * columns), SCALE,
             (c.ctypes.data, 4 * c_columns))  # fmt: skip

    return run


def wanted(kind: str, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    ab = a @ b
    match kind:
        case "set":
            return ab
        case "add":
            return c + SCALE * ab
        case "relu":
            return np.maximum(d + ab, 0)
        case "gate":
            return np.where(d > 0, ab, 0)
        case "deduct":
            return c - np.where(d > 0, ab, 0)
    return np.concatenate([np.maximum(d + ab, 0), np.maximum(-d - ab, 0)], axis=1)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in ("relu", "crelu") else pytest.mark.slow) for kind in KINDS]
)
def test_every_size_of_tiles_makes_the_products_to_the_same_bits(kind: str) -> None:
    entries = [entry(kind, tiles) for tiles in SIZES]
    rng = np.random.default_rng(0)
    for (rows, columns, terms), upright in product(SHAPES, (True, False)):
        a, b, d = (rng.standard_normal(s).astype("f4") for s in ((rows, terms), (terms, columns), (rows, columns)))
        c = rng.standard_normal((rows, columns * (2 if kind == "crelu" else 1))).astype("f4")
        stored = a if upright else np.ascontiguousarray(a.T)
        found = [c.copy() for _ in entries]
        for run, into in zip(entries, found, strict=True):
            run((rows, columns, terms), stored, b, d, into, upright, c.shape[1])
        np.testing.assert_allclose(found[0], wanted(kind, a, b, c, d), rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(found[1], found[0])


@pytest.mark.parametrize("tiles", SIZES, ids=str)
def test_no_column_is_left_out_and_none_beyond_is_written(tiles: Any) -> None:
    run = entry("set", tiles)
    for columns in range(8, 97, 8):
        into = np.full((5, columns + 8), 7.0, np.float32)
        ones, b, d = np.ones((5, 3), "f4"), np.ones((3, columns), "f4"), np.zeros((5, columns), "f4")
        run((5, columns, 3), ones, b, d, into, True, columns + 8)
        assert (into[:, :columns] == 3).all()
        assert (into[:, columns:] == 7).all()
