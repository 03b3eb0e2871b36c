"""Exact sparse orthogonal initialization (EOI), and its mirrored form for ReLU.

Nowak et al. 2024 (arXiv 2406.01755): the matrices of `isoinit.schemes.rotations`, and the unfrozen taps of kernels
after the authors' public code. Derived here: shuffling, and `ll_eoi`.
"""

import math
import warnings
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from isoinit.layers import set_mask
from isoinit.schemes.base import PLAIN, Draw, Scheme, Steps, kernel_of, refuse_even_kernels
from isoinit.schemes.densities import run_densities
from isoinit.schemes.mirrored import MONOTONE, require_mirror
from isoinit.schemes.orthogonal import core_shape
from isoinit.schemes.places import assemble, core_shapes, places
from isoinit.schemes.rotations import rotations
from isoinit.schemes.wiring import Run, Wiring


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

    distribution: density of each layer, see `isoinit.schemes.densities`. shuffle: see `sparse_orthogonal`.
    """
    shapes = [core_shape(run) for run in wiring.runs]
    targets = run_densities(wiring.runs, density, distribution)
    cores = [_core_density(target, run, shape) for run, target, shape in zip(wiring.runs, targets, shapes, strict=True)]
    matrices = yield from sparse_orthogonal(shapes, cores, draw, shuffle)
    for run, target, stack in zip(wiring.runs, targets, matrices, strict=True):
        weights = kernel_of(stack.flatten(1, 2), run.shape[2:]).contiguous()
        _fill(run, weights, weights.bool(), target, draw)


def ll_eoi(wiring: Wiring, draw: Draw, density: float, distribution: str = "uniform", shuffle: bool = False) -> Steps:
    """EOI matrices as mirrored cores: the weight [[A, -A], [-A, A]] has exactly the density of A. Options as `eoi`."""
    where = places(wiring.runs)
    shapes = core_shapes(where)
    targets = run_densities([place.run for place in where], density, distribution)
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
        given=f"{MONOTONE}; the share at even widths, for the unit that an odd width leaves over keeps all its weights",
        options={"distribution": ("uniform", "erk"), "shuffle": (False, True)},
        sparse=True,
    ),
)
