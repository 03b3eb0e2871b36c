r"""Mirrored ("looks-linear") initializers: a ReLU network that computes a linear map exactly.

If z = [u; -u], then [[U, -U], [-U, U]] relu(z) = [U u; -U u]: mirrored again and linear in u. So the network computes
U_L ... U_1 x with cores U_l, and its Jacobian is that product at every input. Balduzzi et al. 2017 (arXiv
1702.08591) introduced the form with CReLU; Burkholz & Dubatovka 2019 (arXiv 1806.06362) propose it for ReLU as
initial parameter sharing (Gaussian or orthogonal submatrix). The rule for the first layer, [U; -U], and for the head,
[U, -U], is derived here (the block form on a raw input would lose half of it), as are odd widths, groups and tracked
narrowing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from isoinit.layers import WeightLayer
from isoinit.schemes.base import PLAIN, Draw, Scheme, by_shape, kernel_of, refuse_even_kernels
from isoinit.schemes.wiring import Wiring, groups


@dataclass(frozen=True)
class Place:
    """Where the cores of a layer sit in its weight: `groups` cores of shape (rows, columns).

    A side is mirrored, with `spare` units left over, or raw. `blocks` is how often the halves alternate within a
    group, so that a neighbouring layer with more groups finds mirrored pairs in each of its own.
    """

    layer: WeightLayer
    groups: int
    rows: int
    columns: int
    mirrored_rows: bool = True
    mirrored_columns: bool = True
    spare_rows: int = 0
    spare_columns: int = 0
    row_blocks: int = 1
    column_blocks: int = 1


def places(chain: Sequence[WeightLayer]) -> list[Place]:
    """The place of every core in a plain chain: first layer [U; -U], hidden layers, head [U, -U]."""
    found = []
    for i, layer in enumerate(chain):
        count = groups(layer)
        out, into = layer.weight.shape[0], layer.weight.shape[1] * count
        rows, spare_rows, row_blocks = out, 0, 1
        if i < len(chain) - 1:
            rows, spare_rows = divmod(out, 2)
            row_blocks = math.lcm(count, groups(chain[i + 1]))
            if rows == 0:
                raise ValueError("a mirrored hidden layer needs a width of at least 2, got 1")
            if row_blocks > 1 and out % (2 * row_blocks):
                raise ValueError(
                    f"mirroring inside {row_blocks} groups needs a width divisible by {2 * row_blocks}, got {out}"
                )
            rows *= 2
        columns, spare_columns, column_blocks = into, 0, 1
        if i > 0:
            previous = found[-1]
            repeat = into // chain[i - 1].weight.shape[0]  # positions per channel, after a flatten
            columns, spare_columns = into - previous.spare_rows * repeat, previous.spare_rows * repeat
            column_blocks = previous.row_blocks * previous.groups
        found.append(
            Place(
                layer=layer,
                groups=count,
                rows=rows // count // (2 if i < len(chain) - 1 else 1),
                columns=columns // count // (2 if i > 0 else 1),
                mirrored_rows=i < len(chain) - 1,
                mirrored_columns=i > 0,
                spare_rows=spare_rows,
                spare_columns=spare_columns,
                row_blocks=row_blocks // count,
                column_blocks=column_blocks // count,
            )
        )
    return found


def interleave(size: int, blocks: int) -> Tensor:
    """Order in which [plus; minus] halves of `size` channels alternate `blocks` times: [plus_1; minus_1; plus_2...]."""
    return torch.arange(size).view(2, blocks, -1).transpose(0, 1).reshape(-1)


def mirror(core: Tensor, rows: bool = True, columns: bool = True) -> Tensor:
    """[[U, -U], [-U, U]] of a stack of cores (k, r, c, ...), or its first column or first row of blocks."""
    wide = torch.cat([core, -core], dim=2) if columns else core
    return torch.cat([wide, -wide], dim=1) if rows else wide


def assemble(where: Sequence[Place], cores: Sequence[Tensor], draw: Draw) -> list[Tensor]:
    """The weight of every place from its mirrored cores, (rows, columns, *kernel), `groups` of them per place.

    An odd width leaves a spare unit: its incoming weights are He-normal over the mirrored inputs, its outgoing ones
    zero, so the function does not change but the unit has a gradient (a zero row would be dead forever).
    """
    keys = [(p.mirrored_rows, p.mirrored_columns) for p in where for _ in range(p.groups)]
    blocks: list[Tensor] = list(cores)
    for key in dict.fromkeys(keys):
        chosen = [i for i, k in enumerate(keys) if k == key]
        for i, block in zip(
            chosen, by_shape([cores[i] for i in chosen], lambda u, key=key: mirror(u, *key)), strict=True
        ):
            blocks[i] = block
    remaining = iter(blocks)
    return [_with_spare(place, [next(remaining) for _ in range(place.groups)], draw) for place in where]


def _with_spare(place: Place, parts: list[Tensor], draw: Draw) -> Tensor:
    ordered = [_ordered(part, place) for part in parts]
    weight = ordered[0] if len(ordered) == 1 else torch.cat(ordered)
    if not (place.spare_rows or place.spare_columns):
        return weight
    spared = weight.new_zeros(place.layer.weight.shape)
    spared[: weight.shape[0], : weight.shape[1]] = weight
    if place.spare_rows:
        incoming = draw.normal(place.spare_rows, *weight.shape[1:])
        spared[weight.shape[0] :, : weight.shape[1]] = incoming / math.sqrt(place.columns * weight[0, 0].numel())
    return spared


def fill(where: Sequence[Place], cores: Sequence[Tensor], draw: Draw) -> None:
    for place, weight in zip(where, assemble(where, cores, draw), strict=True):
        place.layer.weight.copy_(weight)


def _ordered(block: Tensor, place: Place) -> Tensor:
    if place.mirrored_rows and place.row_blocks > 1:
        block = block[interleave(block.shape[0], place.row_blocks)]
    if place.mirrored_columns and place.column_blocks > 1:
        block = block[:, interleave(block.shape[1], place.column_blocks)]
    return block


def core_shapes(where: Sequence[Place]) -> list[tuple[int, int]]:
    return [(p.rows, p.columns) for p in where for _ in range(p.groups)]


def kernels(where: Sequence[Place]) -> list[torch.Size]:
    return [p.layer.weight.shape[2:] for p in where for _ in range(p.groups)]


def ll_gauss(wiring: Wiring, draw: Draw) -> None:
    """Cores iid N(0, 1/(columns * taps)): in hidden layers He's variance per weight, at the input half of it."""
    where = places(wiring.layers)
    shapes = [(*shape, *kernel) for shape, kernel in zip(core_shapes(where), kernels(where), strict=True)]
    fill(where, [u.div_(math.sqrt(u[0].numel())) for u in draw.normals(shapes)], draw)


def ll_orth(wiring: Wiring, draw: Draw, narrowing: str = "free") -> None:
    """Cores Haar semi-orthogonal; on the centre tap of a convolution (delta-orthogonal).

    All singular values of the Jacobian are 1 if input, half widths and output are a monotone sequence; with
    `narrowing="tracked"` they are for every sequence whose half widths are at least min(input, output).
    """
    where = places(wiring.layers)
    cores = draw.haar(core_shapes(where)) if narrowing == "free" else tracked(where, draw)
    fill(where, [kernel_of(u, k) for u, k in zip(cores, kernels(where), strict=True)], draw)


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
    first, *rest = wiring.layers
    where = [Place(first, 1, *first.weight.shape[:2], mirrored_rows=False, mirrored_columns=False)]
    where += [Place(x, 1, x.weight.shape[0], x.weight.shape[1] // 2, mirrored_rows=False) for x in rest]
    fill(where, [kernel_of(u, k) for u, k in zip(draw.haar(core_shapes(where)), kernels(where), strict=True)], draw)


def require_mirror(wiring: Wiring, narrowing: str = "free", **_options: object) -> None:
    """ValueError unless the layers can hold mirrored delta cores."""
    refuse_even_kernels(wiring)
    require_pairs(wiring)
    if narrowing == "tracked":
        _require_tracked(places(wiring.layers))


def require_pairs(wiring: Wiring) -> None:
    """ValueError unless the signal between the layers can be mirrored."""
    if wiring.breakers:
        raise ValueError(f"a mirrored signal does not survive {', '.join(wiring.breakers)}; average pooling keeps it")
    places(wiring.layers)


def _require_tracked(where: Sequence[Place]) -> None:
    if any(p.groups > 1 for p in where) or any(b.columns != a.rows for a, b in pairwise(where)):
        raise ValueError(
            "narrowing='tracked' needs layers without groups, and pooling instead of a flatten before the head"
        )


def _require_crelu(wiring: Wiring) -> None:
    refuse_even_kernels(wiring)
    if any(groups(layer) > 1 for layer in wiring.layers):
        raise ValueError(
            "ll_crelu needs layers without groups: CReLU puts the two signs of a unit into different groups"
        )


_GSM = "Burkholz & Dubatovka 2019, arXiv 1806.06362 (first layer and head derived here)"

SCHEMES = (
    Scheme(
        name="ll_gauss",
        source=_GSM,
        summary="mirrored Gaussian cores (GSM): linear at the start, but with the spectrum of a Gaussian product",
        apply=ll_gauss,
        architectures=PLAIN,
        activations=("relu",),
        requires=require_pairs,
        invariants=("mirror",),
    ),
    Scheme(
        name="ll_orth",
        source=_GSM,
        summary="mirrored orthogonal cores (orthogonal submatrix, looks-linear): exact dynamical isometry with ReLU",
        apply=ll_orth,
        architectures=PLAIN,
        activations=("relu",),
        requires=require_mirror,
        invariants=("mirror", "isometry"),
        options={"narrowing": ("free", "tracked")},
    ),
    Scheme(
        name="ll_crelu",
        source="Balduzzi et al. 2017, arXiv 1702.08591",
        summary="orthogonal looks-linear form for CReLU, which mirrors by itself: exact isometry under any bias",
        apply=ll_crelu,
        architectures=PLAIN,
        activations=("crelu",),
        requires=_require_crelu,
        invariants=("isometry",),
    ),
)
