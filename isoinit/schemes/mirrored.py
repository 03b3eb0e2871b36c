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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from isoinit.layers import WeightLayer
from isoinit.schemes.base import PLAIN, Draw, Scheme, by_shape, kernel_of, refuse_even_kernels
from isoinit.schemes.wiring import Wiring, groups


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
        return Side(size, self.blocks, self.spare * (size // self.size))


@dataclass(frozen=True)
class Place:
    """Where the cores of a layer, one per group, sit in its weight."""

    layer: WeightLayer
    out: Side
    into: Side

    @property
    def groups(self) -> int:
        return groups(self.layer)

    @property
    def rows(self) -> int:
        return self.out.core(self.groups)

    @property
    def columns(self) -> int:
        return self.into.core(self.groups)

    @property
    def kernel(self) -> torch.Size:
        return self.layer.weight.shape[2:]


def places(chain: Sequence[WeightLayer]) -> list[Place]:
    """The places of a plain chain: raw at the input and at the output, mirrored between."""
    inputs = [layer.weight.shape[1] * groups(layer) for layer in chain]
    for layer, size in zip(chain, inputs[1:], strict=False):
        if size % layer.weight.shape[0]:
            raise ValueError(f"{layer.weight.shape[0]} mirrored units cannot be told apart in the {size} inputs that "
                             "the next layer reads; a flatten or a pool between them keeps their order")  # fmt: skip
    hidden = [_hidden_side(layer, successor) for layer, successor in pairwise(chain)]
    into = [Side(inputs[0]), *[side.spread(size) for side, size in zip(hidden, inputs[1:], strict=True)]]
    out = [*hidden, Side(chain[-1].weight.shape[0])]
    return [Place(*place) for place in zip(chain, out, into, strict=True)]


def _hidden_side(layer: WeightLayer, successor: WeightLayer) -> Side:
    size, blocks = layer.weight.shape[0], math.lcm(groups(layer), groups(successor))
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


def assemble(where: Sequence[Place], cores: Sequence[Tensor], draw: Draw) -> list[Tensor]:
    """The weight of every place from its mirrored cores, (rows, columns, *kernel), one per group.

    An odd width leaves a spare unit: its incoming weights are He-normal over the mirrored inputs, its outgoing ones
    zero, so the function does not change but the unit has a gradient (a zero row would be dead forever).
    """
    sides = [(bool(p.out.blocks), bool(p.into.blocks)) for p in where for _ in range(p.groups)]
    blocks: dict[int, Tensor] = {}
    for mirrored in dict.fromkeys(sides):
        chosen = [i for i, s in enumerate(sides) if s == mirrored]
        blocks.update(zip(chosen, by_shape([cores[i] for i in chosen], partial(_mirror, mirrored)), strict=True))
    remaining = (blocks[i] for i in range(len(sides)))
    return [_weight(place, [next(remaining) for _ in range(place.groups)], draw) for place in where]


def _mirror(sides: tuple[bool, bool], cores: Tensor) -> Tensor:
    return mirror(cores, *sides)


def _weight(place: Place, blocks: list[Tensor], draw: Draw) -> Tensor:
    if place.out.blocks > place.groups:
        blocks = [b[interleave(b.shape[0], place.out.blocks // place.groups)] for b in blocks]
    if place.into.blocks > place.groups:
        blocks = [b[:, interleave(b.shape[1], place.into.blocks // place.groups)] for b in blocks]
    paired = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
    if not (place.out.spare or place.into.spare):
        return paired
    weight = paired.new_zeros(place.layer.weight.shape)
    weight[: paired.shape[0], : paired.shape[1]] = paired
    if place.out.spare:
        incoming = draw.normal(place.out.spare, *paired.shape[1:])
        weight[paired.shape[0] :, : paired.shape[1]] = incoming / math.sqrt(place.columns * math.prod(place.kernel))
    return weight


def fill(where: Sequence[Place], cores: Sequence[Tensor], draw: Draw) -> None:
    """Write the mirrored cores, (rows, columns) or (rows, columns, *kernel), on the centre tap if without a kernel."""
    kernels = [place.kernel for place in where for _ in range(place.groups)]
    whole = [kernel_of(u, kernel) if u.dim() == 2 else u for u, kernel in zip(cores, kernels, strict=True)]
    for place, weight in zip(where, assemble(where, whole, draw), strict=True):
        place.layer.weight.copy_(weight)


def core_shapes(where: Sequence[Place]) -> list[tuple[int, int]]:
    return [(p.rows, p.columns) for p in where for _ in range(p.groups)]


def ll_gauss(wiring: Wiring, draw: Draw) -> None:
    """Cores iid N(0, 1/(columns * taps)): in hidden layers He's variance per weight, at the input half of it."""
    where = places(wiring.layers)
    shapes = [(p.rows, p.columns, *p.kernel) for p in where for _ in range(p.groups)]
    fill(where, [u.div_(math.sqrt(u[0].numel())) for u in draw.normals(shapes)], draw)


def ll_orth(wiring: Wiring, draw: Draw, narrowing: str = "free") -> None:
    """Cores Haar semi-orthogonal; on the centre tap of a convolution (delta-orthogonal).

    All singular values of the Jacobian are 1 if input, half widths and output are a monotone sequence; with
    `narrowing="tracked"` they are for every sequence whose half widths are at least min(input, output).
    """
    where = places(wiring.layers)
    fill(where, draw.haar(core_shapes(where)) if narrowing == "free" else tracked(where, draw), draw)


def tracked(where: Sequence[Place], draw: Draw) -> list[Tensor]:
    """Haar cores whose product is a partial isometry: each maps the image of those before it isometrically.

    With F = [P, P_perp] an orthonormal basis whose first r columns span the image,
    U' = A P^T + A_perp[:, :k] R P_perp[:, :k]^T, A and R Haar (derived here).
    """
    rank, ranks = where[0].columns, []
    for place in where:
        ranks.append(rank)
        rank = min(rank, place.rows)
    bases = draw.haar([(p.rows, max(p.rows, r)) for p, r in zip(where, ranks, strict=True)])
    spare = [min(p.columns, p.rows) - r if p.rows > r else 0 for p, r in zip(where, ranks, strict=True)]
    turns = iter(draw.haar([(k, k) for k in spare if k > 0]))
    cores, image = [], torch.eye(where[0].columns, out=bases[0].new_empty(0))
    for place, r, basis, k in zip(where, ranks, bases, spare, strict=True):
        core = basis[:, :r] @ image[:, :r].mT
        if k > 0:
            core = core + basis[:, r : r + k] @ next(turns) @ image[:, r : r + k].mT
        cores.append(core)
        image = basis if place.rows > r else torch.eye(place.rows, out=basis.new_empty(0))
    return cores


def ll_crelu(wiring: Wiring, draw: Draw) -> None:
    """[U, -U] after CReLU, U at the input, U Haar: W crelu(z) = U z. The activation mirrors, so any bias and any width
    is exact; the sequence of full widths is the one that has to be monotone."""
    where = [
        Place(layer, Side(layer.weight.shape[0]), Side(layer.weight.shape[1], blocks=1)) for layer in wiring.layers
    ]
    where[0] = Place(where[0].layer, where[0].out, Side(where[0].into.size))
    fill(where, draw.haar(core_shapes(where)), draw)


def require_mirror(wiring: Wiring, narrowing: str = "free", **_options: object) -> None:
    """ValueError unless the layers can hold mirrored delta cores."""
    refuse_even_kernels(wiring)
    require_pairs(wiring)
    if narrowing == "tracked":
        _require_tracked(places(wiring.layers))


def require_pairs(wiring: Wiring) -> None:
    """ValueError unless the signal between the layers can be mirrored."""
    _refuse_breakers(wiring)
    places(wiring.layers)


def _refuse_breakers(wiring: Wiring) -> None:
    if wiring.breakers:
        raise ValueError(f"a mirrored signal does not survive {', '.join(dict.fromkeys(wiring.breakers))}; average "
                         "pooling and a normalization before the activation keep it")  # fmt: skip


def _require_tracked(where: Sequence[Place]) -> None:
    if any(p.groups > 1 for p in where) or any(b.columns != a.rows for a, b in pairwise(where)):
        raise ValueError(
            "narrowing='tracked' needs layers without groups, and pooling instead of a flatten before the head"
        )


def _require_crelu(wiring: Wiring) -> None:
    refuse_even_kernels(wiring)
    _refuse_breakers(wiring)
    if any(groups(layer) > 1 for layer in wiring.layers):
        raise ValueError(
            "ll_crelu needs layers without groups: CReLU puts the two signs of a unit into different groups"
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
        architectures=PLAIN,
        activations=("crelu",),
        requires=_require_crelu,
        invariants=("isometry",),
        given="under any bias, without normalization, pooling or a stride, with the sizes of input, layers and output "
        "in monotone order",
    ),
)
