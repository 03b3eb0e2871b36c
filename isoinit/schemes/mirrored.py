r"""Mirrored ("looks-linear") initializers: a ReLU network that computes a linear map exactly.

If z = [u; -u], then [[U, -U], [-U, U]] relu(z) = [U u; -U u]: mirrored again and linear in u. So the network computes
U_L ... U_1 x with cores U_l, and its Jacobian is that product at every input. Balduzzi et al. 2017 (arXiv
1702.08591) introduced the form with CReLU; Burkholz & Dubatovka 2019 (arXiv 1806.06362) propose it for ReLU as
initial parameter sharing (Gaussian or orthogonal submatrix). The block structure and the zero bias are the paper's as
its abstract and reviews tell; the full text was not readable. Derived here: the variance of the Gaussian core, the rule
for the first layer, [U; -U], and for the head, [U, -U] (the block form on a raw input would lose half of it), mirrored
biases, what a bias does to the CReLU form, convolutions, groups, odd widths and tracked narrowing. What is done with
cores is in `isoinit.schemes.places`.
"""

import math
from collections.abc import Generator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from isoinit.schemes.base import PLAIN, Draw, Scheme, Steps, refuse_even_kernels
from isoinit.schemes.places import Place, Side, core_shapes, fill, places
from isoinit.schemes.wiring import Wiring


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
