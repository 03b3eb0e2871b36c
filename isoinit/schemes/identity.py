"""Identity-like initializers: IDInit and ZerO.

IDInit (Pan et al. 2025, arXiv 2503.04626) is reconstructed from public reviews of the paper and one re-implementation,
which agree; its text was not readable. ZerO is Zhao, Schaefer & Anandkumar 2021, arXiv 2110.12661; the sign of the
exponent in its scale is ours, the one that keeps singular values of order 1, and its zero at the end of a residual
branch is recalled, not read.
"""

import math
import warnings
from collections.abc import Callable
from itertools import groupby

import torch
from torch import Tensor

from isoinit.schemes.base import Draw, Scheme, kernel_of, refuse_even_kernels
from isoinit.schemes.wiring import Run, Wiring, runs

Matrix = Callable[[int, int], Tensor]

_NUMBERS = 2**20  # drawn and held in double precision at once


def idi(rows: int, columns: int, tau: float) -> Tensor:
    """IDI_tau: the identity times tau, repeated downwards if rows > columns, its first rows if rows < columns."""
    if rows <= columns:
        return torch.eye(rows, columns, dtype=torch.float64).mul_(tau)
    matrix = torch.zeros(rows, columns, dtype=torch.float64)
    m = torch.arange(rows)
    matrix[m, m % columns] = tau
    return matrix


def idiz(rows: int, columns: int, eps: float) -> Tensor:
    """IDIZ_eps: almost zero, +eps and -eps once in every row, so that a constant input gives zero."""
    if columns == 1:
        return eps * (1 - 2 * (torch.arange(rows, dtype=torch.float64) % 2)).view(-1, 1)
    matrix = idi(rows, columns, eps)
    if rows < columns:
        matrix[:, rows:] += idi(rows, columns - rows, -eps)
    else:
        m = torch.arange(rows)
        matrix[m, (m + 1) % columns] -= eps
    return matrix


def place_taps(matrix: Matrix, run: Run, order: str) -> Tensor:
    """The weight of a layer of the run whose reshaped form is `matrix(rows, taps * inputs)`, for each group.

    order: "khwc", the paper's layout, the input channel running fastest, which reads the first tap first; "torch", the
    tap running fastest; "centre_first", ours, khwc with the centre tap before the others; "channel", the matrix on the
    centre tap only. Without taps they agree.
    """
    out, into, *kernel = run.shape
    rows, taps = out // run.groups, math.prod(kernel)
    if order == "channel" or not kernel:
        group = kernel_of(matrix(rows, into), kernel)
    elif order == "torch":
        group = matrix(rows, into * taps).view(rows, into, *kernel)
    else:
        by_tap = matrix(rows, taps * into).view(rows, taps, into)
        if order == "centre_first":
            centre = taps // 2
            by_tap = by_tap[:, [*range(1, centre + 1), 0, *range(centre + 1, taps)]]
        group = by_tap.transpose(1, 2).reshape(rows, into, *kernel)
    return group if run.groups == 1 else group.repeat(run.groups, *[1] * (group.dim() - 1))


def _ends(wiring: Wiring) -> list[tuple[Run, bool]]:
    """The layers in their order, and which are the last of residual branches."""
    if not wiring.blocks:
        return [(run, False) for run in wiring.runs]
    last = {block.branch[-1] for block in wiring.blocks}
    parts = [(end, list(part)) for end, part in groupby(wiring.layers, key=last.__contains__)]
    return [(run, end) for end, part in parts for run in runs(part)]


def idinit(
    wiring: Wiring,
    draw: Draw,
    tau: float = 1.0,
    eps: float = 1e-6,
    eps_tau: float = 1e-6,
    loosen: str = "diag",
    order: str = "khwc",
) -> None:
    """IDI in every layer but the last of each residual branch, which gets IDIZ.

    loosen: N(0, eps_tau^2) added to the non-zeros of IDI ("diag"), to all its weights ("dense") or not at all ("none"):
    repeated rows have equal gradients otherwise. Half precision rounds it away below eps_tau of about 1e-2.
    """
    if wiring.head.weight.dtype in (torch.bfloat16, torch.float16) and loosen != "none" and eps_tau < 1e-2:
        warnings.warn(f"eps_tau {eps_tau:g} is rounded away in half precision; 1e-2 is not", stacklevel=2)
    _warn_of_shift(wiring, order)
    for run, end in _ends(wiring):
        if end:
            weight = place_taps(lambda rows, columns: idiz(rows, columns, eps), run, order)
        else:
            weight = place_taps(lambda rows, columns: idi(rows, columns, tau), run, order)
        if end or loosen == "none":
            run.fill(weight.expand(run.stack))
            continue
        loose = slice(None) if loosen == "dense" else weight.flatten().nonzero().squeeze(1)
        for part in run.parts(_NUMBERS):
            noise = draw.normal(*part.stack).flatten(1)[:, loose].to(weight).mul_(eps_tau)
            values = weight.flatten().repeat(len(part.layers), 1)
            values[:, loose] += noise
            part.fill(values.view(part.stack))


def _require_centre(wiring: Wiring, order: str = "khwc", **_options: object) -> None:
    if order in ("centre_first", "channel"):
        refuse_even_kernels(wiring)


def _warn_of_shift(wiring: Wiring, order: str) -> None:
    """The paper's layout shifts the image by a pixel a layer; a deep plain network pushes it out of the frame."""
    depth, side = len(wiring.stem), wiring.resolution
    if wiring.architecture == "cnn" and side is not None and order == "khwc" and depth > side / 2:
        warnings.warn(
            f"idinit with order='khwc' shifts the image of a plain CNN by a pixel a layer: {depth} convolutions on "
            f"{side} pixels lose it; order='centre_first' or 'channel' does not",
            stacklevel=2,
        )


def partial_hadamard(rows: int, columns: int) -> Tensor:
    """ZerO's matrix: the (partial) identity, or c I* H I* with the Hadamard matrix H of size 2^m if rows > columns.

    c = 2^(-(m-1)/2), m = ceil(log2 rows): a gain of sqrt(2) from 2^k to 2^(k+j).
    """
    if rows <= columns:
        return torch.eye(rows, columns, dtype=torch.float64)
    m = math.ceil(math.log2(rows))
    hadamard = torch.ones(1, 1, dtype=torch.float64)
    sylvester = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    for _ in range(m):
        hadamard = torch.kron(sylvester, hadamard)
    return 2 ** (-(m - 1) / 2) * hadamard[:rows, :columns]


def zero(wiring: Wiring, draw: Draw) -> None:  # noqa: ARG001 - nothing is drawn
    """Partial identity or Hadamard on the centre tap; zero in the last layer of each residual branch."""
    for run, end in _ends(wiring):
        weight = place_taps(partial_hadamard, run, "channel")
        run.fill((torch.zeros_like(weight) if end else weight).expand(run.stack))


SCHEMES = (
    Scheme(
        name="idinit",
        source="Pan et al. 2025, arXiv 2503.04626 (reconstructed from reviews and a re-implementation)",
        summary="identity weights, almost zero at the end of each branch: a block is the identity up to eps",
        apply=idinit,
        by_runs=True,
        blocks=("open", "post"),
        requires=_require_centre,
        invariants=("identity",),
        given="up to eps = 1e-6 a block, with zero biases, without normalization, of ReLU where a sum is activated",
        options={
            "tau": (),
            "eps": (),
            "eps_tau": (),
            "loosen": ("diag", "dense", "none"),
            "order": ("khwc", "torch", "centre_first", "channel"),
        },
    ),
    Scheme(
        name="zero",
        source="Zhao, Schaefer & Anandkumar 2021, arXiv 2110.12661 (sign of the scale's exponent ours)",
        summary="identity and Hadamard matrices, nothing random; zero at the end of each branch",
        apply=zero,
        by_runs=True,
        blocks=("post", "open"),
        requires=refuse_even_kernels,
        invariants=("identity", "deterministic"),
        given="the stream with zero biases, and of ReLU where a sum is activated",
    ),
)
