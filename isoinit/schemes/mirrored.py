r"""Mirrored ("looks-linear") initializers: a ReLU network that computes a linear map exactly.

If z = [u; -u], then [[U, -U], [-U, U]] relu(z) = [U u; -U u]: mirrored again and linear in u. So the network computes
U_L ... U_1 x with cores U_l, and its Jacobian is that product at every input. Balduzzi et al. 2017 (arXiv
1702.08591) introduced the form with CReLU; Burkholz & Dubatovka 2019 (arXiv 1806.06362) propose it for ReLU as
initial parameter sharing (Gaussian or orthogonal submatrix). The block structure and the zero bias are the paper's as
its abstract and reviews tell; the full text was not readable. Derived here: the variance of the Gaussian core, the rule
for the first layer, [U; -U], and for the head, [U, -U] (the block form on a raw input would lose half of it), mirrored
biases, what a bias does to the CReLU form, convolutions, groups, odd widths and tracked narrowing.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise

import torch
from torch import Tensor

from isoinit.schemes.base import PLAIN, Draw, Scheme, Steps, kernel_of, refuse_even_kernels
from isoinit.schemes.wiring import Run, Wiring


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


def ll_gauss(wiring: Wiring, draw: Draw) -> None:
    """Cores iid N(0, 1/(columns * taps)): in hidden layers He's variance per weight, at the input half of it."""
    where = places(wiring.runs)
    shapes = [(*place.cores, *place.kernel) for place in where]
    fill(where, [u.div_(math.sqrt(math.prod(u.shape[3:]))) for u in draw.normals(shapes)], draw)


def ll_orth(wiring: Wiring, draw: Draw, narrowing: str = "free") -> Steps:
    """Cores Haar semi-orthogonal; on the centre tap of a convolution (delta-orthogonal).

    All singular values of the Jacobian are 1 if input, half widths and output are a monotone sequence; with
    `narrowing="tracked"` they are for every sequence whose half widths are at least min(input, output).
    """
    where = places(wiring.runs)
    cores = yield from draw.haar(core_shapes(where)) if narrowing == "free" else tracked(where, draw)
    fill(where, cores, draw)


def tracked(where: Sequence[Place], draw: Draw) -> Generator[Sequence[Tensor], list[Tensor], list[Tensor]]:
    """Haar cores whose product is a partial isometry: each maps the image of those before it isometrically.

    With F = [P, P_perp] an orthonormal basis whose first r columns span the image,
    U' = A P^T + A_perp[:, :k] R P_perp[:, :k]^T, A and R Haar (derived here).
    """
    shapes = [place.cores[2:] for place in where for _ in place.run.layers]
    rank, ranks = shapes[0][1], []
    for rows, _ in shapes:
        ranks.append(rank)
        rank = min(rank, rows)
    bases = yield from draw.haar_each([(rows, max(rows, r)) for (rows, _), r in zip(shapes, ranks, strict=True)])
    spare = [min(columns, rows) - r if rows > r else 0 for (rows, columns), r in zip(shapes, ranks, strict=True)]
    turns = iter((yield from draw.haar_each([(k, k) for k in spare if k > 0])))
    cores, image = [], torch.eye(shapes[0][1], out=bases[0].new_empty(0))
    for (rows, _), r, basis, k in zip(shapes, ranks, bases, spare, strict=True):
        core = basis[:, :r] @ image[:, :r].mT
        if k > 0:
            core = core + basis[:, r : r + k] @ next(turns) @ image[:, r : r + k].mT
        cores.append(core)
        image = basis if rows > r else torch.eye(rows, out=basis.new_empty(0))
    found = iter(cores)
    return [torch.stack([next(found) for _ in place.run.layers]).unsqueeze(1) for place in where]


def ll_crelu(wiring: Wiring, draw: Draw) -> Steps:
    """[U, -U] after CReLU, U at the input, U Haar: W crelu(z) = U z. The activation mirrors, so any bias and any width
    is exact; the sequence of full widths is the one that has to be monotone."""
    first, *others = wiring.runs
    where = [Place(run, Side(run.shape[0]), Side(run.shape[1], blocks=1)) for run in others]
    where = [Place(first, Side(first.shape[0]), Side(first.shape[1])), *where]
    fill(where, (yield from draw.haar(core_shapes(where))), draw)


def require_mirror(wiring: Wiring, narrowing: str = "free", **_options: object) -> None:
    """ValueError unless the layers can hold mirrored delta cores."""
    refuse_even_kernels(wiring)
    require_pairs(wiring)
    if narrowing == "tracked":
        _require_tracked(places(wiring.runs))


def require_pairs(wiring: Wiring) -> None:
    """ValueError unless the signal between the layers can be mirrored."""
    _refuse_breakers(wiring)
    places(wiring.runs)


def _refuse_breakers(wiring: Wiring) -> None:
    if wiring.breakers:
        raise ValueError(f"a mirrored signal does not survive {', '.join(dict.fromkeys(wiring.breakers))}; average "
                         "pooling and a normalization before the activation keep it")  # fmt: skip


def _require_tracked(where: Sequence[Place]) -> None:
    shapes = [place.cores[2:] for place in where for _ in place.run.layers]
    if any(p.run.groups > 1 for p in where) or any(after[1] != before[0] for before, after in pairwise(shapes)):
        raise ValueError(
            "narrowing='tracked' needs layers without groups, and pooling instead of a flatten before the head"
        )


def _require_crelu(wiring: Wiring) -> None:
    refuse_even_kernels(wiring)
    _refuse_breakers(wiring)
    if any(run.groups > 1 for run in wiring.runs):
        raise ValueError(
            "ll_crelu needs layers without groups: CReLU puts the two signs of a unit into different groups"
        )
    for weight, after in pairwise(wiring.weights):
        if weight.dim() == 2 and after.shape[1] != 2 * len(weight):
            raise ValueError(
                f"ll_crelu needs {2 * len(weight)} inputs behind a linear layer of {len(weight)} units, got "
                f"{after.shape[1]}: CReLU doubles axis 1, where the positions are if there are several"
            )


MONOTONE = (
    "the isometry with zero or mirrored biases, without normalization, pooling or a stride, with the sizes of input, "
    "half layers and output in monotone order"
)
_GSM = "Burkholz & Dubatovka 2019, arXiv 1806.06362"

SCHEMES = (
    Scheme(
        name="ll_gauss",
        source=f"{_GSM} (variance of the core, first layer and head derived here)",
        summary="mirrored Gaussian cores (GSM): linear at the start, but with the spectrum of a Gaussian product",
        apply=ll_gauss,
        by_runs=True,
        architectures=PLAIN,
        activations=("relu",),
        requires=require_pairs,
        invariants=("mirror",),
    ),
    Scheme(
        name="ll_orth",
        source=f"{_GSM} (first layer and head derived here)",
        summary="mirrored orthogonal cores (orthogonal submatrix, looks-linear): exact dynamical isometry with ReLU",
        apply=ll_orth,
        by_runs=True,
        architectures=PLAIN,
        activations=("relu",),
        requires=require_mirror,
        invariants=("mirror", "isometry"),
        given=f"{MONOTONE}, or with narrowing='tracked' no half layer smaller than both ends",
        options={"narrowing": ("free", "tracked")},
    ),
    Scheme(
        name="ll_crelu",
        source="Balduzzi et al. 2017, arXiv 1702.08591 (the statement on biases derived here)",
        summary="orthogonal looks-linear form for CReLU, which mirrors by itself: exact isometry under any bias",
        apply=ll_crelu,
        by_runs=True,
        architectures=PLAIN,
        activations=("crelu",),
        requires=_require_crelu,
        invariants=("isometry",),
        given="under any bias, without normalization, pooling or a stride, with the sizes of input, layers and output "
        "in monotone order",
    ),
)
