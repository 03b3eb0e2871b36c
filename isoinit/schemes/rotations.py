"""Sparse matrices with orthonormal rows: random Givens rotations of the columns of [I 0] until the wanted density.

Nowak et al. 2024 (arXiv 2406.01755). Derived here: the bound on the density, and random signs for a side of 1.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoinit.schemes.base import Draw

_FEW = 4  # matrices, up to which it is faster to walk with one after the other


def rotations(count: int, rows: int, columns: int, density: float, draw: Draw) -> Tensor:
    """`count` matrices (count, rows, columns) with orthonormal rows, or columns if there are more rows.

    Each stands at the end of a random walk of rotations, at the step whose density is nearest to `density`. A rotation
    adds at most one non-zero per row of the short side, so |density - target| <= 1/(2 max(rows, columns)) for every
    target from the least density, 1/max, on. In numpy, because the steps are small.
    """
    if rows > columns:
        return rotations(count, columns, rows, density, draw).mT
    if columns == 1:
        return torch.where(draw.uniform(count, 1, 1) < 0.5, -1.0, 1.0).to(draw.dtype)
    a = torch.zeros(count, columns, rows, dtype=draw.dtype, device="cpu").numpy()  # columns of the result
    a.reshape(count, -1)[:, : rows * rows : rows + 1] = 1  # [I 0]
    target = density * rows * columns
    if draw.compiled:
        _walk_compiled(a, target, draw)
    else:
        walk = _walk_each if count <= _FEW else _walk_together
        walk(a, target, draw)
    return torch.from_numpy(a).to(draw.generator.device).mT


def _walk_compiled(a: NDArray[Any], target: float, draw: Draw) -> None:
    """The walks of the other two by compiled code, (count, columns, rows) in place, those of several networks too."""
    from isoinit import narrow  # loads a compiler, which who has one network does not need

    count, columns, rows = a.shape
    support, walking = a != 0, np.full(count, rows < target)
    few = np.empty(count, np.bool_)
    drawn = np.zeros((count, 3, _steps(columns)), a.dtype)
    parts = draw.each(count)
    for part, _ in parts:
        few[part] = len(few[part]) <= _FEW
    while walking.any():
        for part, own in parts:
            if walking[part].any():
                drawn[part] = _drawn(len(few[part]), columns, own)
        narrow.walk(a, support, walking, target, few, *_numbers(drawn, columns))


def _walk_together(a: NDArray[Any], target: float, draw: Draw) -> None:
    """Walk with all matrices at once, (count, columns, rows) in place."""
    count, columns, rows = a.shape
    every = np.arange(count)
    support = a != 0
    sizes = np.tile(support[0].sum(1), (count, 1))  # of every column
    nonzeros = np.full(count, rows)
    walking = nonzeros < target
    while walking.any():
        for i, j, cos, sin in zip(*(part.T for part in _planes(count, columns, draw)), strict=True):
            k = every[walking]
            i, j = i[k], j[k]
            union = support[k, i] | support[k, j]
            size = union.sum(1)
            before = nonzeros[k]
            after = before + 2 * size - sizes[k, i] - sizes[k, j]
            walking[k] = after < target
            nearer = after - target <= target - before
            if not nearer.all():
                k, i, j, union, size, after = (values[nearer] for values in (k, i, j, union, size, after))
            x, y, c, s = a[k, i], a[k, j], cos[k, None], sin[k, None]
            a[k, i], a[k, j] = c * x + s * y, c * y - s * x
            support[k, i] = support[k, j] = union
            sizes[k, i] = sizes[k, j] = size
            nonzeros[k] = after
            if not walking.any():
                break


def _walk_each(a: NDArray[Any], target: float, draw: Draw) -> None:
    """The same walks one after another, of a few matrices: then numpy has little to do in a call, and bits are as good
    as tables."""
    count, columns, rows = a.shape
    supports = [[1 << c if c < rows else 0 for c in range(columns)] for _ in range(count)]
    nonzeros = [rows] * count
    walking = list(range(count)) if rows < target else []
    while walking:
        planes = [part.tolist() for part in _planes(count, columns, draw)]
        for k in list(walking):
            matrix, support, now = a[k], supports[k], nonzeros[k]
            for i, j, cos, sin in zip(*(part[k] for part in planes), strict=True):
                left, right = support[i], support[j]
                union = left | right
                if not union:
                    continue
                after = now + 2 * union.bit_count() - left.bit_count() - right.bit_count()
                if after - target <= target - now:
                    x, y = matrix[i], matrix[j]
                    matrix[i], matrix[j] = cos * x + sin * y, cos * y - sin * x
                    support[i] = support[j] = union
                    now = after
                if after >= target:
                    walking.remove(k)
                    break
            nonzeros[k] = now


def _planes(count: int, columns: int, draw: Draw) -> list[NDArray[Any]]:
    """Random planes of rotation for `count` matrices: two different columns, cosine and sine of a uniform angle, each
    (count, steps)."""
    i, further, cos, sin = _numbers(_drawn(count, columns, draw), columns)
    return [i, (i + 1 + further) % columns, cos, sin]


def _steps(columns: int) -> int:
    """Steps to draw at once: most walks are over by then."""
    return max(64, 2 * columns)


def _drawn(count: int, columns: int, draw: Draw) -> NDArray[Any]:
    return draw.uniform(count, 3, _steps(columns)).cpu().numpy()


def _numbers(drawn: NDArray[Any], columns: int) -> list[NDArray[Any]]:
    """What `_planes` are made of, from numbers below 1 (count, 3, steps): a column, how much further the other is less
    one, cosine and sine. The product of a number below 1 and a whole one is rounded to below the latter."""
    i, further, angle = drawn.transpose(1, 0, 2)
    angle = 2 * math.pi * angle
    return [(columns * i).astype(np.int64), ((columns - 1) * further).astype(np.int64), np.cos(angle), np.sin(angle)]
