"""The Jacobian of a model's outputs by its inputs, and its singular values.

All of it by reverse mode: exactly, one pass over a copy of every input for each output, or the largest values alone, by
Lanczos. The model is left as it was.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoinit.asked import outputs_of, outside, refuse_inputs, refuse_model
from isoinit.held import buffers_kept, frozen_normalization, twice_differentiable, without_noise

_CACHE_LINE = 64  # bytes
_COPIES = 1024  # of an input in one backward pass, which bounds the memory of a Jacobian with many rows


@torch.inference_mode(False)
def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """d output / d input for every input, both flattened, (B, out, in): one pass over out copies of every input.

    Batch normalization in training mode counts as the affine map that the statistics of x make of it, and dropout is
    left out. ValueError if x are no inputs (batch, ...) of the model.
    """
    x = outside(x)
    with without_noise(model):
        _refuse(model, x)
        with frozen_normalization(model, x):
            return jacobian_rows(model, x)


def jacobian_rows(model: nn.Module, x: Tensor) -> Tensor:
    """What `jacobian` is of a model that takes every input by itself: where normalization is frozen already."""
    with torch.no_grad():
        out = model(x[:1]).flatten(1).shape[1]
    parts = []
    for places in torch.arange(len(x) * out, device=x.device).split(_COPIES):
        copies = x[places // out].detach().requires_grad_()
        with torch.enable_grad():
            picked = model(copies).flatten(1).gather(1, (places % out).unsqueeze(1)).sum()
            parts.append(torch.autograd.grad(picked, copies)[0].flatten(1))
    return torch.cat(parts).view(len(x), out, -1)


@torch.inference_mode(False)
def leading_singular_values(
    model: nn.Module, x: Tensor, count: int, *, steps: int | None = None, generator: torch.Generator
) -> Tensor:
    """The `count` largest singular values of the Jacobian at every input, (B, count), where `jacobian` is too large.

    Golub-Kahan-Lanczos bidiagonalization with full reorthogonalization, all inputs at once: `steps` (default
    2 count + 10, at most min(out, in)) products with J and its transpose, each a pass over the batch. Exact when steps
    reaches min(out, in); otherwise the values are approached from below, the largest first. Where the walk ends early,
    as on an isometry at once, it goes on from a new direction, so that equal values are found as often as they occur.
    ValueError if x are no inputs (batch, ...) of the model, or count and steps no whole numbers, 1 <= count <= steps.
    """
    if not isinstance(count, Integral) or count < 1:
        raise ValueError(f"count must be a whole number of at least 1, got {count!r}")
    refuse_inputs(x, 0, count, generator)
    if steps is not None and not (isinstance(steps, Integral) and steps >= count):
        raise ValueError(f"steps must be a whole number of at least count, which is {count}, got {steps!r}")
    x = outside(x)
    with without_noise(model):
        _refuse(model, x)
        with frozen_normalization(model, x):
            return bidiagonalize(model, x, count, steps or 2 * count + 10, generator)


def _refuse(model: nn.Module, x: Tensor) -> None:
    """ValueError in one sentence unless it gives an output for each x."""
    refuse_inputs(x, 0)
    refuse_model(model)
    with torch.no_grad(), buffers_kept(model):
        outputs_of(model, x)


def bidiagonalize(model: nn.Module, x: Tensor, count: int, steps: int, generator: torch.Generator) -> Tensor:
    """What `leading_singular_values` is where normalization is frozen already."""
    push, pull, rows, columns = _products(model, x)
    if rows < columns:  # of the transpose, so that the steps span the whole of the smaller side, where the walk begins
        push, pull, rows, columns = pull, push, columns, rows
    steps = min(steps, rows, columns)
    band = x.new_zeros(len(x), steps, steps)
    left: list[Tensor] = []
    right: list[Tensor] = []

    def extend(basis: list[Tensor], vectors: Tensor) -> Tensor:
        """The norm of what of `vectors` is new to the basis, which grows by its direction, or by a random one."""
        vectors = _orthogonalized(vectors, basis)
        norm = vectors.norm(dim=1, keepdim=True)
        ended = norm <= 100 * torch.finfo(x.dtype).eps * band.amax((1, 2)).unsqueeze(1)
        if ended.any():
            fresh = torch.randn(vectors.shape, generator=generator, device=generator.device).to(x)
            vectors = torch.where(ended, _orthogonalized(fresh, basis), vectors)
        basis.append(functional.normalize(vectors, dim=1))
        return torch.where(ended, 0.0, norm).squeeze(1)

    extend(right, x.new_zeros(len(x), columns))
    for k in range(steps):
        band[:, k, k] = extend(left, push(right[-1]))
        if k + 1 < steps:
            band[:, k, k + 1] = extend(right, pull(left[-1]))
    return spectrum(band)[:, :count]


def _products(model: nn.Module, x: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], int, int]:
    """v -> J v and u -> J^T u for every input at once, and the shape of J. J v is the derivative of the linear map
    u -> J^T u along v, so that only reverse mode is needed."""
    with torch.enable_grad(), twice_differentiable():
        point = x.flatten(1).detach().requires_grad_()
        output = model(point.view(x.shape)).flatten(1)
        u = torch.zeros_like(output, requires_grad=True)
        (pulled,) = torch.autograd.grad(output, point, u, create_graph=True)
    return (
        lambda v: torch.autograd.grad(pulled, u, v, retain_graph=True)[0],
        lambda w: torch.autograd.grad(output, point, w, retain_graph=True)[0],
        output.shape[1],
        point.shape[1],
    )


def _orthogonalized(vectors: Tensor, basis: list[Tensor]) -> Tensor:
    """`vectors` (B, n) without their parts along the basis; twice, which is enough (Kahan)."""
    if basis:
        q = torch.stack(basis, 1)
        for _ in range(2):
            vectors = vectors - ((q @ vectors.unsqueeze(2)) * q).sum(1)
    return vectors


def spectrum(rows: Tensor) -> Tensor:
    """Singular values of a stack of matrices, NaN of those that are not finite."""
    if not len(rows):
        return rows.new_empty(0, 0)
    rows = rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
    if math.isfinite(rows.sum().item()):
        return torch.linalg.svdvals(rows)
    finite = rows.isfinite().all(2).all(1)
    values = rows.new_full((len(rows), min(rows.shape[1:])), torch.nan)
    values[finite] = torch.linalg.svdvals(rows[finite])
    return values


def spectra(rows: Tensor) -> Sequence[Tensor]:
    """`spectrum` of each of several stacks (K, n, r, c), bit by bit: of all at once where each begins a line of the
    cache, as it does alone, for the last bits depend on that."""
    aligned = rows[0].numel() * rows.element_size() % _CACHE_LINE == 0
    if aligned and rows.numel() and math.isfinite(rows.sum().item()):
        return torch.linalg.svdvals(rows).unbind()
    return [spectrum(stack) for stack in rows.unbind()]
