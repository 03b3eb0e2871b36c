"""Exact sparse orthogonal initialization (EOI), and its mirrored form for ReLU.

Nowak et al. 2024 (arXiv 2406.01755): random Givens rotations of the columns of [I 0] until the wanted density, the
densities of layers and the unfrozen taps of kernels after the authors' public code. Derived here: the bound on the
density, random signs for a side of 1, shuffling, and `ll_eoi`.
"""

import math
import warnings
from collections.abc import Generator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoinit.layers import WeightLayer, set_mask
from isoinit.schemes.base import PLAIN, Draw, Scheme, Steps, kernel_of, refuse_even_kernels
from isoinit.schemes.mirrored import MONOTONE, assemble, core_shapes, places, require_mirror
from isoinit.schemes.orthogonal import core_shape
from isoinit.schemes.wiring import Run, Wiring

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


def _dense(count: int, rows: int, columns: int, draw: Draw) -> Generator[Sequence[Tensor], list[Tensor], Tensor]:
    """Where the walk leads."""
    (matrices,) = yield from draw.haar([(count, min(rows, columns), max(rows, columns))])
    return matrices.mT if rows > columns else matrices


def sparse_orthogonal(
    shapes: Sequence[tuple[int, ...]], densities: Sequence[float], draw: Draw, shuffle: bool = False
) -> Generator[Sequence[Tensor], list[Tensor], list[Tensor]]:
    """A stack (layers, groups, rows, columns) of EOI matrices per shape and density, which walk together.

    shuffle: then permute rows and columns and flip the signs of rows at random, which changes neither density nor
    orthogonality (ours). Few rotations stay near [I 0], which of many inputs reads the first ones only.
    """
    stacks: list[Tensor] = []
    for (layers, groups, rows, columns), density in zip(shapes, densities, strict=True):
        if density == 1 and min(rows, columns) > 1:
            stacks.append((yield from _dense(layers * groups, rows, columns, draw)))
        else:
            stacks.append(rotations(layers * groups, rows, columns, density, draw))
    stacks = [_shuffled(stack, draw) for stack in stacks] if shuffle else stacks
    return [stack.view(shape) for stack, shape in zip(stacks, shapes, strict=True)]


def _shuffled(matrices: Tensor, draw: Draw) -> Tensor:
    *count, rows, columns = matrices.shape
    upright = draw.uniform(*count, rows, 1).argsort(-2).expand_as(matrices)
    across = draw.uniform(*count, 1, columns).argsort(-1).expand_as(matrices)
    signs = torch.where(draw.uniform(*count, rows, 1) < 0.5, -1.0, 1.0).to(matrices)
    return signs * matrices.gather(-2, upright).gather(-1, across)


def layer_densities(layers: Sequence[WeightLayer], density: float, distribution: str) -> list[float]:
    """Density of each layer: the same everywhere, or Erdos-Renyi-Kernel with the total density exact."""
    if distribution == "uniform":
        return [density] * len(layers)
    sizes = [layer.weight.numel() for layer in layers]
    raw = [sum(layer.weight.shape) / size for layer, size in zip(layers, sizes, strict=True)]
    dense: set[int] = set()
    while True:
        sparse = [i for i in range(len(layers)) if i not in dense]
        if not sparse:
            return [1.0] * len(layers)
        budget = density * sum(sizes) - sum(sizes[i] for i in dense)
        scale = budget / sum(raw[i] * sizes[i] for i in sparse)
        worst = max(sparse, key=lambda i: raw[i])
        if scale * raw[worst] <= 1:
            return [1.0 if i in dense else scale * raw[i] for i in range(len(layers))]
        dense.add(worst)


def _run_densities(runs: Sequence[Run], density: float, distribution: str) -> list[float]:
    """`layer_densities`, equal in layers of one shape."""
    of_layers = layer_densities([layer for run in runs for layer in run.layers], density, distribution)
    firsts = accumulate((len(run.layers) for run in runs[:-1]), initial=0)
    return [of_layers[first] for first in firsts]


def finest(side: int, taps: int) -> int:
    """n, of the least density 1/n at which the core (see `_core_density`) has a weight in each of `side` rows."""
    return side if taps == 1 else min(side**2, taps * side)


def _core_density(density: float, run: Run, shape: tuple[int, ...]) -> float:
    """Density of the centre tap of a kernel that is to have `density` (the authors' rule "more non-zeros")."""
    taps, sides = math.prod(run.shape[2:]), tuple(shape[2:])
    wanted = min(1.0, density * taps, math.sqrt(density)) if taps > 1 else density
    least = 1 / max(sides)
    if wanted < least:
        warnings.warn(f"density {wanted:.3g} of a {sides} matrix raised to its least, {least:.3g}", stacklevel=2)
    return max(wanted, least)


def _unfreeze(mask: Tensor, density: float, draw: Draw) -> Tensor:
    """`mask` of a kernel with further positions, at random, up to `density`; they start at zero and train."""
    missing = round(density * mask.numel()) - int(mask.sum())
    if missing <= 0:
        return mask
    keys = draw.uniform(mask.numel()).masked_fill(mask.flatten(), -1.0)
    return mask.flatten().index_fill(0, keys.topk(missing).indices, True).view(mask.shape)


def _fill(run: Run, weights: Tensor, masks: Tensor, density: float, draw: Draw) -> None:
    run.fill(weights)
    for layer, mask in zip(run.layers, masks.unbind(), strict=True):
        set_mask(layer, mask if mask.dim() == 2 else _unfreeze(mask, density, draw))


def eoi(wiring: Wiring, draw: Draw, density: float, distribution: str = "uniform", shuffle: bool = False) -> Steps:
    """Sparse orthogonal matrices of gain 1, on the centre tap of a convolution; the mask stays as a buffer.

    distribution: density of each layer, see `layer_densities`. shuffle: see `sparse_orthogonal`.
    """
    shapes = [core_shape(run) for run in wiring.runs]
    targets = _run_densities(wiring.runs, density, distribution)
    cores = [_core_density(target, run, shape) for run, target, shape in zip(wiring.runs, targets, shapes, strict=True)]
    matrices = yield from sparse_orthogonal(shapes, cores, draw, shuffle)
    for run, target, stack in zip(wiring.runs, targets, matrices, strict=True):
        weights = kernel_of(stack.flatten(1, 2), run.shape[2:]).contiguous()
        _fill(run, weights, weights.bool(), target, draw)


def ll_eoi(wiring: Wiring, draw: Draw, density: float, distribution: str = "uniform", shuffle: bool = False) -> Steps:
    """EOI matrices as mirrored cores: the weight [[A, -A], [-A, A]] has exactly the density of A. Options as `eoi`."""
    where = places(wiring.runs)
    shapes = core_shapes(where)
    targets = _run_densities([place.run for place in where], density, distribution)
    cores = [_core_density(target, p.run, shape) for p, target, shape in zip(where, targets, shapes, strict=True)]
    matrices = yield from sparse_orthogonal(shapes, cores, draw, shuffle)
    for place, target, stack in zip(where, targets, matrices, strict=True):
        weights = assemble(place, kernel_of(stack, place.kernel), draw).contiguous()
        masks = weights.bool()
        if place.into.spare:
            masks[:, :, -place.into.spare :] = True  # the spare unit's outgoing weights start at zero and train
        _fill(place.run, weights, masks, target, draw)


SCHEMES = (
    Scheme(
        name="eoi",
        source="Nowak et al. 2024, arXiv 2406.01755",
        summary="exactly orthogonal sparse matrices by Givens rotations, gain 1: for linear and critical tanh networks",
        apply=eoi,
        by_runs=True,
        requires=refuse_even_kernels,
        invariants=("semi_orthogonal", "density"),
        options={"distribution": ("uniform", "erk"), "shuffle": (False, True)},
        sparse=True,
        gain=1.0,
    ),
    Scheme(
        name="ll_eoi",
        source="derived here: the cores of arXiv 2406.01755 in the mirrored form of arXiv 1806.06362",
        summary="mirrored sparse orthogonal cores: exact dynamical isometry with ReLU at any density from 2/width",
        apply=ll_eoi,
        by_runs=True,
        architectures=PLAIN,
        activations=("relu",),
        requires=require_mirror,
        invariants=("mirror", "isometry", "density"),
        given=MONOTONE,
        options={"distribution": ("uniform", "erk"), "shuffle": (False, True)},
        sparse=True,
    ),
)
