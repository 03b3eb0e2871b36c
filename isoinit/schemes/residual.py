"""Residual-specific schemes: exact isometry of block and skip together (Risotto), and branches that start at zero.

Risotto: Gadhikar & Burkholz 2022, arXiv 2210.02411; its definitions are reconstructed here from memory of the paper
plus derivation, so the normalization of alpha may differ from the paper's. Fixup: Zhang et al. 2019, arXiv 1901.09321,
after the authors' code. SkipInit: De & Smith 2020, arXiv 2002.10444. ReZero: Bachlechner et al. 2020, arXiv 2003.04887.
Where the activations stand in the blocks of the last two (`isoinit.resnet.BLOCKS`) and ReZero's He weights are our
choice. Mirrored biases of Risotto are derived here.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from isoinit.layers import WeightLayer
from isoinit.schemes.base import Draw, Scheme, Steps, kernel_of, refuse_even_kernels
from isoinit.schemes.classic import he, independent
from isoinit.schemes.places import core_shapes, fill, mirror, places
from isoinit.schemes.wiring import Residual, Wiring, fans, groups, runs


def _ends(wiring: Wiring, draw: Draw) -> Steps:
    """Mirrored delta-orthogonal stem and head."""
    where = places(runs([*wiring.stem, wiring.head]))
    fill(where, (yield from draw.haar(core_shapes(where))), draw)


def _half(layer: WeightLayer) -> tuple[int, int]:
    return layer.weight.shape[0] // 2, layer.weight.shape[1] // 2


def _set(layer: WeightLayer, matrix: Tensor) -> None:
    layer.weight.copy_(kernel_of(matrix, layer.weight.shape[2:]))


def _skip_of(block: Residual) -> WeightLayer:
    assert block.skip is not None
    return block.skip


def risotto_c(wiring: Wiring, draw: Draw, alpha: float = 1.0) -> Steps:
    """Projection skip: W_i = LL(U_i) on the branch, its last layer times alpha, and LL(Q - alpha U_2 U_1) on the skip.

    With x = relu([u; -u]) the sum is [Q u; -Q u]: exactly orthogonal, though the two parts are not.
    """
    yield from _ends(wiring, draw)
    branch = iter((yield from draw.haar_each([_half(layer) for block in wiring.blocks for layer in block.branch])))
    targets = yield from draw.haar_each([_half(_skip_of(block)) for block in wiring.blocks])
    for block, target in zip(wiring.blocks, targets, strict=True):
        product = torch.eye(_half(block.branch[0])[1]).to(target)
        for layer in block.branch:
            core = next(branch) * (alpha if layer is block.branch[-1] else 1.0)
            product = core @ product
            _set(layer, mirror(core[None])[0])
        _set(_skip_of(block), mirror((target - product)[None])[0])


def risotto_b(wiring: Wiring, draw: Draw, alpha: float = 1.0) -> Steps:
    """Identity skip: the branch is I, then (LL(Q) - I) times alpha, which cancels the skip's share of x >= 0.

    With alpha other than 1 the first layer is I/alpha, so that the block is the same function.
    """
    yield from _ends(wiring, draw)
    targets = yield from draw.haar_each([_half(block.branch[-1]) for block in wiring.blocks])
    for block, target in zip(wiring.blocks, targets, strict=True):
        identity = torch.eye(2 * len(target)).to(target)
        first, *inner, last = block.branch
        _set(first, identity / alpha)
        for layer in inner:
            _set(layer, identity)
        _set(last, alpha * (mirror(target[None])[0] - identity))


def _require_delta(wiring: Wiring, alpha: float = 1.0) -> None:
    refuse_even_kernels(wiring)
    if any(groups(layer) > 1 for layer in wiring.layers):
        raise ValueError("risotto needs layers without groups")
    if alpha <= 0:
        raise ValueError(f"alpha must be above 0, so that the branch takes part, got {alpha}")


def _require_square(wiring: Wiring, alpha: float = 1.0) -> None:
    """ValueError unless every block of risotto_b adds to x what layers as wide as x make of it."""
    _require_delta(wiring, alpha)
    for block in wiring.blocks:
        sizes = {size for layer in block.branch for size in layer.weight.shape[:2]}
        if block.skip is not None or len(sizes) > 1 or any(size % 2 for size in sizes):
            skip = "an identity" if block.skip is None else "a layer"
            raise ValueError("risotto_b needs blocks with an identity for a skip, and branches whose layers all have "
                             f"one even width, got {skip} and layers of {_shapes(block)}")  # fmt: skip


def _require_projection(wiring: Wiring, alpha: float = 1.0) -> None:
    """ValueError unless risotto_c's mirrored branches have the shape of their skips."""
    _require_delta(wiring, alpha)
    for block in wiring.blocks:
        shapes = [tuple(layer.weight.shape[:2]) for layer in block.branch]
        fits = all(after[1] == before[0] for before, after in pairwise(shapes))
        skip = None if block.skip is None else tuple(block.skip.weight.shape[:2])
        if not fits or skip != (shapes[-1][0], shapes[0][1]) or any(size % 2 for shape in shapes for size in shape):
            raise ValueError("risotto_c needs blocks with a layer for a skip, as wide at both ends as the branch, "
                             f"all of even widths, got {skip or 'an identity'} and {_shapes(block)}")  # fmt: skip


def _shapes(block: Residual) -> str:
    return ", ".join(str(tuple(layer.weight.shape[:2])) for layer in block.branch)


def _require_multiplier(wiring: Wiring) -> None:
    """ValueError unless every branch has the scalar that is to be 0."""
    if any(block.multiplier is None for block in wiring.blocks):
        raise ValueError("the branches begin at 0 by their multiplier, so every Residual needs one, got none; idinit "
                         "and zero take blocks without")  # fmt: skip


def _branch_ends(wiring: Wiring) -> Sequence[WeightLayer]:
    """risotto_b's branch needs relu(W_1 x) = x, so its first layers take no bias."""
    return [*wiring.stem, *[block.branch[-1] for block in wiring.blocks], wiring.head]


def fixup(wiring: Wiring, draw: Draw) -> None:
    """He by fan_out, in branches of m layers times B^(-1/(2m - 2)) for B blocks; last layers of branches and head 0."""
    values = draw.normals([tuple(layer.weight.shape) for layer in wiring.layers])
    for layer, value in zip(wiring.layers, values, strict=True):
        layer.weight.copy_(value * (2 / fans(layer)[1]) ** 0.5)
    for block in wiring.blocks:
        *first, last = block.branch
        for layer in first:
            layer.weight.mul_(len(wiring.blocks) ** (-1 / (2 * len(block.branch) - 2)))
        last.weight.zero_()
    wiring.head.weight.zero_()


def _require_last(wiring: Wiring) -> None:
    if any(len(block.branch) < 2 for block in wiring.blocks):
        raise ValueError("fixup needs residual branches of at least two weight layers: the last is zero")


_MONOTONE = (
    "with zero or mirrored biases, without normalization or pooling, with input, half the width and output in monotone "
    "order"
)
_RISOTTO = "Gadhikar & Burkholz 2022, arXiv 2210.02411 (reconstructed; alpha's normalization may differ)"

SCHEMES = (
    Scheme(
        name="risotto_b",
        source=_RISOTTO,
        summary="identity skip, a branch that turns x into an orthogonal image of itself: exact isometry",
        apply=risotto_b,
        architectures=("resnet",),
        activations=("relu",),
        blocks=("post",),
        requires=_require_square,
        invariants=("isometry",),
        given=_MONOTONE,
        options={"alpha": ()},
        even_width=True,
        biased=_branch_ends,
    ),
    Scheme(
        name="risotto_c",
        source=_RISOTTO,
        summary="projection skip that balances a random mirrored branch: exact isometry",
        apply=risotto_c,
        architectures=("resnet",),
        activations=("relu",),
        blocks=("projection",),
        requires=_require_projection,
        invariants=("isometry",),
        given=_MONOTONE,
        options={"alpha": ()},
        even_width=True,
    ),
    Scheme(
        name="fixup",
        source="Zhang et al. 2019, arXiv 1901.09321",
        summary="He branches shrunk by the number of blocks, zero at their end and in the head; scalars for BatchNorm",
        apply=fixup,
        architectures=("resnet",),
        normalizations=("none",),
        bias_modes=("zero",),
        blocks=("fixup",),
        requires=_require_last,
        invariants=("identity",),
        given="of ReLU",
    ),
    Scheme(
        name="skipinit",
        source="De & Smith 2020, arXiv 2002.10444",
        summary="He weights, a learnable multiplier of the pre-activation branch that starts at 0",
        apply=independent(he),
        architectures=("resnet",),
        blocks=("skipinit",),
        requires=_require_multiplier,
        invariants=("identity", "weight_variance"),
        variance=he,
        multiplier=0.0,
    ),
    Scheme(
        name="rezero",
        source="Bachlechner et al. 2020, arXiv 2003.04887",
        summary="He weights, a learnable multiplier of the branch that starts at 0",
        apply=independent(he),
        architectures=("resnet",),
        blocks=("rezero",),
        requires=_require_multiplier,
        invariants=("identity", "weight_variance"),
        variance=he,
        multiplier=0.0,
    ),
)
