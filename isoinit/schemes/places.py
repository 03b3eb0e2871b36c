"""Where the halves of mirrored pairs sit in the weights of a network, and the weights that are made of their cores.

Derived here: the rule for the first layer, [U; -U], and for the head, [U, -U], groups and odd widths; the form between
them is of the papers that `isoinit.schemes.mirrored` names.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

import torch
from torch import Tensor

from isoinit.schemes.base import Draw, kernel_of
from isoinit.schemes.wiring import Run


@dataclass(frozen=True)
class Side:
    """The inputs or the outputs of a layer: raw, or mirrored pairs [plus; minus] in `blocks` blocks one after the
    other, with `spare` unpaired units at the end. More than one block serves neighbours with groups: each group
    finds both halves of its pairs."""

    size: int
    blocks: int = 0
    spare: int = 0

    def core(self, groups: int) -> int:
        """Rows or columns of the core of one group."""
        return (self.size - self.spare) // (groups * max(1, 2 * bool(self.blocks)))

    def spread(self, size: int) -> "Side":
        """The same side after a flatten that left `size` units, several positions a channel."""
        return self if size == self.size else Side(size, self.blocks, self.spare * (size // self.size))


@dataclass(frozen=True, eq=False)
class Place:
    """Where the cores of layers alike, one per group, sit in their weights."""

    run: Run
    out: Side
    into: Side

    @property
    def cores(self) -> tuple[int, ...]:
        """(layers, groups, rows, columns) of the cores."""
        groups = self.run.groups
        return len(self.run.layers), groups, self.out.core(groups), self.into.core(groups)

    @property
    def kernel(self) -> torch.Size:
        return self.run.shape[2:]


def places(chain: Sequence[Run]) -> list[Place]:
    """The places of the layers of a plain chain: raw at the input and at the output, mirrored between."""
    if chain[0].several:  # of equal networks but for their numbers of hidden layers, which have equal sides
        found = _sides(tuple((run.shape, run.groups, 1) for run in chain))
        return [Place(run, out, into) for run, (*_, out, into) in zip(chain, found, strict=True)]
    layers = [layer for run in chain for layer in run.layers]
    weights = [weight for run in chain for weight in run.weights]
    found = _sides(tuple((run.shape, run.groups, len(run.layers)) for run in chain))
    return [
        Place(Run(tuple(layers[start:stop]), tuple(weights[start:stop]), count), out, into)
        for start, stop, count, out, into in found
    ]


@lru_cache(maxsize=1024)  # of those that a sweep looks at again and again
def _sides(runs: tuple[tuple[torch.Size, int, int], ...]) -> tuple[tuple[int, int, int, Side, Side], ...]:
    """Of the layers of runs (shape, groups, number), those alike that follow each other: from which to which, their
    groups, outputs and inputs."""
    forms = [(shape, count) for shape, count, number in runs for _ in range(number)]
    inputs = [shape[1] * count for shape, count in forms]
    for (shape, _), size in zip(forms, inputs[1:], strict=False):
        if size % shape[0]:
            raise ValueError(f"{shape[0]} mirrored units cannot be told apart in the {size} inputs that the next layer "
                             "reads; a flatten or a pool between them keeps their order")  # fmt: skip
        if len(shape) == 2 and size != shape[0]:  # what the units of several positions were flattened to
            raise ValueError(f"a linear layer of {shape[0]} mirrored units in front of one that reads {size} inputs "
                             "has several positions, and a flatten, which puts the units of one behind those of "
                             "another, tears the halves apart")  # fmt: skip
    pairs = list(pairwise(forms))
    between = {pair: _hidden_side(*pair) for pair in dict.fromkeys(pairs)}
    hidden = [between[pair] for pair in pairs]
    into = [Side(inputs[0]), *[side.spread(size) for side, size in zip(hidden, inputs[1:], strict=True)]]
    out = [*hidden, Side(forms[-1][0][0])]
    found, start = [], 0
    for ((_, count), *sides), alike in groupby(zip(forms, out, into, strict=True)):
        stop = start + sum(1 for _ in alike)
        found.append((start, stop, count, *sides))
        start = stop
    return tuple(found)


def _hidden_side(form: tuple[torch.Size, int], following: tuple[torch.Size, int]) -> Side:
    """Between two layers, given by the shapes of their weights and their groups."""
    size, blocks = form[0][0], math.lcm(form[1], following[1])
    if size < 2:
        raise ValueError(f"a mirrored hidden layer needs a width of at least 2, got {size}")
    if blocks > 1 and size % (2 * blocks):
        raise ValueError(f"mirroring inside {blocks} groups needs a width divisible by {2 * blocks}, got {size}")
    return Side(size, blocks, size % 2)


def interleave(size: int, blocks: int) -> Tensor:
    """Order in which [plus; minus] halves of `size` units alternate `blocks` times: [plus_1; minus_1; plus_2; ...]."""
    return torch.arange(size).view(2, blocks, -1).transpose(0, 1).reshape(-1)


def mirror(core: Tensor, rows: bool = True, columns: bool = True) -> Tensor:
    """[[U, -U], [-U, U]] of a stack of cores (k, r, c, ...), or its first column or first row of blocks."""
    wide = torch.cat([core, -core], dim=2) if columns else core
    return torch.cat([wide, -wide], dim=1) if rows else wide


def assemble(place: Place, cores: Tensor, draw: Draw) -> Tensor:
    """The weights (layers, out, in, *kernel) of a place from its mirrored cores, (layers, groups, rows, columns,
    *kernel).

    An odd width leaves a spare unit: its incoming weights are He-normal over the mirrored inputs, its outgoing ones
    zero, so the function does not change but the unit has a gradient (a zero row would be dead forever).
    """
    layers, count = cores.shape[:2]
    blocks = mirror(cores.flatten(0, 1), bool(place.out.blocks), bool(place.into.blocks))
    if place.out.blocks > count:
        blocks = blocks[:, interleave(blocks.shape[1], place.out.blocks // count)]
    if place.into.blocks > count:
        blocks = blocks[:, :, interleave(blocks.shape[2], place.into.blocks // count)]
    paired = blocks.unflatten(0, (layers, count)).flatten(1, 2)
    if not (place.out.spare or place.into.spare):
        return paired
    rows, columns = paired.shape[1:3]
    weights = paired.new_zeros(place.run.stack)
    weights[:, :rows, :columns] = paired
    if place.out.spare:
        incoming = draw.normal(layers, place.out.spare, *paired.shape[2:])
        weights[:, rows:, :columns] = incoming / math.sqrt(place.cores[3] * math.prod(place.kernel))
    return weights


def fill(where: Sequence[Place], cores: Sequence[Tensor], draw: Draw) -> None:
    """Write the mirrored cores, (layers, groups, rows, columns), on the centre tap, or with a kernel behind."""
    for place, stack in zip(where, cores, strict=True):
        whole = kernel_of(stack, place.kernel) if stack.dim() == 4 else stack
        place.run.fill(assemble(place, whole, draw))


def core_shapes(where: Sequence[Place]) -> list[tuple[int, ...]]:
    return [place.cores for place in where]
