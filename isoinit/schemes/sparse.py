"""Exact sparse orthogonal initialization (EOI), and its mirrored form for ReLU.

Nowak et al. 2024 (arXiv 2406.01755): random Givens rotations of the columns of [I 0] until the wanted density, the
densities of layers and the unfrozen taps of kernels after the authors' public code. Derived here: the bound on the
density, random signs for a side of 1, shuffling, and `ll_eoi`.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoinit.layers import WeightLayer, set_mask
from isoinit.schemes.base import PLAIN, Draw, Scheme, haar_from_normal, kernel_of, refuse_even_kernels
from isoinit.schemes.mirrored import MONOTONE, assemble, core_shapes, places, require_mirror
from isoinit.schemes.orthogonal import by_layer
from isoinit.schemes.orthogonal import core_shapes as group_shapes
from isoinit.schemes.wiring import Wiring


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
    if density == 1:  # where the walk leads
        return haar_from_normal(draw.normal(count, rows, columns))
    every = np.arange(count)
    a = np.tile(
        torch.eye(columns, rows, dtype=draw.dtype, device="cpu").numpy(), (count, 1, 1)
    )  # columns of the result
    support = a != 0
    nonzeros, target = np.full(count, rows), density * rows * columns
    walking = nonzeros < target
    while walking.any():
        for i, j, cos, sin in _planes(count, columns, draw):
            left, right = support[every, i], support[every, j]
            union = left | right
            after = nonzeros + 2 * union.sum(1) - left.sum(1) - right.sum(1)
            nearer = walking & (after - target <= target - nonzeros)
            k, i, j = every[nearer], i[nearer], j[nearer]
            x, y, c, s = a[k, i], a[k, j], cos[nearer, None], sin[nearer, None]
            a[k, i], a[k, j] = c * x + s * y, c * y - s * x
            support[k, i] = support[k, j] = union[nearer]
            nonzeros = np.where(nearer, after, nonzeros)
            walking &= after < target
            if not walking.any():
                break
    return torch.from_numpy(a).to(draw.generator.device).mT


def _planes(count: int, columns: int, draw: Draw, steps: int = 64) -> Iterator[tuple[NDArray[Any], ...]]:
    """Random planes of rotation for `count` matrices: two different columns, cosine and sine of a uniform angle."""
    i = draw.integers(columns, steps, count)
    j = (i + 1 + draw.integers(columns - 1, steps, count)) % columns
    angle = draw.uniform(steps, count) * (2 * math.pi)
    return zip(*(part.cpu().numpy() for part in (i, j, angle.cos(), angle.sin())), strict=True)


def sparse_orthogonal(
    shapes: Sequence[tuple[int, int]], densities: Sequence[float], draw: Draw, shuffle: bool = False
) -> list[Tensor]:
    """One EOI matrix per shape and density, walking together where both agree.

    shuffle: then permute rows and columns and flip the signs of rows at random, which changes neither density nor
    orthogonality (ours). Few rotations stay near [I 0], which of many inputs reads the first ones only.
    """
    together: dict[tuple[int, int, float], list[int]] = {}
    for index, (shape, density) in enumerate(zip(shapes, densities, strict=True)):
        together.setdefault((*shape, density), []).append(index)
    found: dict[int, Tensor] = {}
    for (rows, columns, density), indices in together.items():
        found.update(zip(indices, rotations(len(indices), rows, columns, density, draw).unbind(), strict=True))
    matrices = [found[index] for index in range(len(shapes))]
    return [_shuffled(matrix, draw) for matrix in matrices] if shuffle else matrices


def _shuffled(matrix: Tensor, draw: Draw) -> Tensor:
    rows, columns = (draw.uniform(size).argsort() for size in matrix.shape)
    signs = torch.where(draw.uniform(len(matrix), 1) < 0.5, -1.0, 1.0).to(matrix)
    return signs * matrix[rows][:, columns]


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


def finest(side: int, taps: int) -> int:
    """n, of the least density 1/n at which the core (see `_core_density`) has a weight in each of `side` rows."""
    return side if taps == 1 else min(side**2, taps * side)


def _core_density(density: float, shape: tuple[int, int], taps: int) -> float:
    """Density of the centre tap of a kernel that is to have `density` (the authors' rule "more non-zeros")."""
    wanted = min(1.0, density * taps, math.sqrt(density)) if taps > 1 else density
    least = 1 / max(shape)
    if wanted < least:
        warnings.warn(f"density {wanted:.3g} of a {shape} matrix raised to its least, {least:.3g}", stacklevel=2)
    return max(wanted, least)


def _unfreeze(mask: Tensor, density: float, draw: Draw) -> Tensor:
    """`mask` of a kernel with further positions, at random, up to `density`; they start at zero and train."""
    if mask.dim() == 2:
        return mask
    missing = round(density * mask.numel()) - int(mask.sum())
    if missing <= 0:
        return mask
    keys = draw.uniform(mask.numel()).masked_fill(mask.flatten(), -1.0)
    return mask.flatten().index_fill(0, keys.topk(missing).indices, True).view(mask.shape)


def eoi(wiring: Wiring, draw: Draw, density: float, distribution: str = "uniform", shuffle: bool = False) -> None:
    """Sparse orthogonal matrices of gain 1, on the centre tap of a convolution; the mask stays as a buffer.

    distribution: density of each layer, see `layer_densities`. shuffle: see `sparse_orthogonal`.
    """
    shapes = [group_shapes(layer) for layer in wiring.layers]
    targets = layer_densities(wiring.layers, density, distribution)
    cores = [
        _core_density(target, shape, math.prod(layer.weight.shape[2:]))
        for layer, target, per_group in zip(wiring.layers, targets, shapes, strict=True)
        for shape in per_group
    ]
    matrices = sparse_orthogonal(list(chain.from_iterable(shapes)), cores, draw, shuffle)
    for layer, target, rows in zip(wiring.layers, targets, by_layer(shapes, matrices), strict=True):
        weight = layer.weight
        kernel = kernel_of(rows, weight.shape[2:])
        weight.copy_(kernel)
        set_mask(layer, _unfreeze((kernel != 0).contiguous(), target, draw))


def ll_eoi(wiring: Wiring, draw: Draw, density: float, distribution: str = "uniform", shuffle: bool = False) -> None:
    """EOI matrices as mirrored cores: the weight [[A, -A], [-A, A]] has exactly the density of A. Options as `eoi`."""
    where = places(wiring.layers)
    targets = layer_densities(wiring.layers, density, distribution)
    cores = [(p, target) for p, target in zip(where, targets, strict=True) for _ in range(p.groups)]
    densities = [_core_density(target, (p.rows, p.columns), math.prod(p.kernel)) for p, target in cores]
    matrices = sparse_orthogonal(core_shapes(where), densities, draw, shuffle)
    weights = assemble(where, [kernel_of(u, p.kernel) for u, (p, _) in zip(matrices, cores, strict=True)], draw)
    for place, target, weight in zip(where, targets, weights, strict=True):
        mask = weight != 0
        if place.into.spare:
            mask[:, -place.into.spare :] = True  # the spare unit's outgoing weights start at zero and train
        place.layer.weight.copy_(weight)
        set_mask(place.layer, _unfreeze(mask, target, draw))


SCHEMES = (
    Scheme(
        name="eoi",
        source="Nowak et al. 2024, arXiv 2406.01755",
        summary="exactly orthogonal sparse matrices by Givens rotations, gain 1: for linear and critical tanh networks",
        apply=eoi,
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
        architectures=PLAIN,
        activations=("relu",),
        requires=require_mirror,
        invariants=("mirror", "isometry", "density"),
        given=MONOTONE,
        options={"distribution": ("uniform", "erk"), "shuffle": (False, True)},
        sparse=True,
    ),
)
