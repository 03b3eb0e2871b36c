"""What a network does to signals at initialization, measured on the real network.

    probe(model, x).jacobian_singular_values

Shapes: B inputs, L hidden layers (in a ResNet: stem layers and blocks), W weight layers, K singular values an input.
The module is callable: `isoinit.probe(model, x)` is `isoinit.probe.probe(model, x)`.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from isoinit import chain
from isoinit.schemes.base import by_shape
from isoinit.schemes.reading import read
from isoinit.schemes.wiring import Wiring

Floats = NDArray[np.float64]

_COPIES = 1024  # of an input in one backward pass, which bounds the memory of a Jacobian with many rows
_NUMBERS = 2**15  # of signals in double precision at once


@dataclass(frozen=True, eq=False)
class Probe:
    """Measurements on B inputs. What does not exist (a ratio of zeros, a Jacobian not asked for) is NaN.

    squared_norms: (L + 1, B), of the input and of every hidden layer's post-activations.
    correlation: (L,), cosine of the pre-activations of two inputs, mean over pairs. NaN for one input.
    sample_variance, squared_sample_mean: (L,), of the pre-activations over inputs (and positions), mean over units.
    dead: (L,), share of units that are zero for every input.
    gradient_norms: (W,), of the loss by each weight: cross-entropy if y is given, else mean |output|^2 / 2.
    jacobian_singular_values: (B', K), descending, of the output by each of the first B' inputs.
    """

    squared_norms: Floats
    correlation: Floats
    sample_variance: Floats
    squared_sample_mean: Floats
    dead: Floats
    gradient_norms: Floats
    jacobian_singular_values: Floats

    @property
    def log_forward_ratio(self) -> float:
        """log(|last hidden|^2 / |input|^2), mean over inputs."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.mean(np.log(self.squared_norms[-1]) - np.log(self.squared_norms[0])))

    @property
    def log_gradient_ratio(self) -> float:
        """log(|gradient of the first layer's weight| / |of the head's|)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.log(self.gradient_norms[0]) - np.log(self.gradient_norms[-1]))

    @property
    def sample_variance_last(self) -> float:
        return _summary(np.take, self.sample_variance, -1)

    @property
    def correlation_last(self) -> float:
        return _summary(np.take, self.correlation, -1)

    @property
    def dead_fraction(self) -> float:
        """Share of all hidden units that are zero for every input."""
        return _summary(np.mean, self.dead)

    @property
    def jacobian_sv_min(self) -> float:
        return _summary(np.min, self.jacobian_singular_values)

    @property
    def jacobian_sv_median(self) -> float:
        return _summary(_median, self.jacobian_singular_values)

    @property
    def jacobian_sv_max(self) -> float:
        return _summary(np.max, self.jacobian_singular_values)


def _median(values: Floats) -> float:
    """`np.median` in a third of the time, which is the longest of all summaries."""
    ordered = np.sort(values, axis=None)  # what is no number comes last
    middle = (len(ordered) - 1) // 2, len(ordered) // 2
    return ordered[-1] if np.isnan(ordered[-1]) else (ordered[middle[0]] + ordered[middle[1]]) / 2


def _summary(statistic: Any, values: Floats, *arguments: int) -> float:
    return float(statistic(values, *arguments)) if values.size else float("nan")


def probe(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    jacobian: bool = True,
    jacobian_inputs: int = 4,
    leading: int | None = None,
    generator: torch.Generator | None = None,
) -> Probe:
    """Measure `model` on inputs x (B, ...), classes y (B,): one forward and one backward pass, and the Jacobian.

    The Jacobian's singular values are exact, for the first `jacobian_inputs` inputs, at the cost of one pass over
    out_features copies of each. Where outputs are many, `leading=k` takes the k largest by Lanczos from a start that
    `generator` draws (`leading_singular_values`). Batch normalization is measured as the model's mode says, and as a
    fixed affine map in the Jacobian. The model is left as it was: no gradients, buffers as before.

    ValueError if the model is not understood, there is no input, or `leading` comes without a generator.
    """
    if not len(x):
        raise ValueError(f"x must hold at least one input, got the shape {tuple(x.shape)}")
    if leading is not None and (generator is None or leading < 1):
        raise ValueError(
            f"leading must be at least 1 and needs generator=torch.Generator(), got {leading}, {generator}"
        )
    inputs = jacobian_inputs if jacobian and leading is None else 0
    network = chain.plain(model, x, inputs) if _are_classes(y, x) else None
    measured = _by_autograd(model, x, y, inputs) if network is None else chain.measure(network, x, y, inputs)
    if jacobian and leading is not None and generator is not None:
        with _frozen_normalization(model, x):
            rows = _bidiagonalize(model, x[:jacobian_inputs], leading, 2 * leading + 10, generator)
    else:
        rows = _spectrum(measured.jacobians)
    return _summarized(x, measured, rows)


def probes(models: Sequence[nn.Module], x: Tensor, y: Tensor | None = None, *, jacobian_inputs: int = 4) -> list[Probe]:
    """What `probe` says of every model on the same inputs, up to rounding, in a fraction of the time for narrow MLPs.

    They are measured by compiled code, one after another: what is found of one does not depend on the others. It is
    compiled when it is first needed, once per machine, in some seconds. ValueError as `probe`.
    """
    from isoinit import narrow  # loads a compiler, which who has one network does not need

    found: list[Probe] = []
    known, entering = len(x) > 0 and _are_classes(y, x), _array(_squared_norm(x[None]))
    for model in models:
        network = chain.plain(model, x, jacobian_inputs) if known else None
        if network is None or not narrow.applies(network, x, jacobian_inputs):
            found.append(probe(model, x, y, jacobian_inputs=jacobian_inputs))
            continue
        sums, squares, dead, norms, jacobians = narrow.measure(network, x, y, jacobian_inputs)
        correlation, variance, squared_mean = _spread(sums)
        squares, values = np.concatenate([entering, squares]), _array(_spectrum(jacobians))
        found.append(Probe(squares, correlation, variance, squared_mean, dead, norms, values))
    return found


def _loss(output: Tensor, y: Tensor | None) -> Tensor:
    return functional.cross_entropy(output, y) if y is not None else output.square().sum(1).mean() / 2


def _are_classes(y: Tensor | None, x: Tensor) -> bool:
    """Whether the loss is one that `chain` and `narrow` know; cross-entropy has others, and refuses some."""
    return y is None or (y.shape == x.shape[:1] and y.dtype == torch.int64 and bool((y >= 0).all()))


def _by_autograd(model: nn.Module, x: Tensor, y: Tensor | None, inputs: int) -> chain.Chain:
    """What `chain.measure` finds of a plain MLP, of any model."""
    wiring = read(model)
    with torch.enable_grad(), _buffers_kept(model), _recorded(model, wiring) as (hidden, before):
        gradients = _gradient_norms(_loss(model(x), y), [layer.weight for layer in wiring.layers])
    jacobians = x.new_empty(0, 0, 0)
    if inputs:
        with _frozen_normalization(model, x):
            jacobians = _jacobian(model, x[:inputs])
    return chain.Chain(hidden, before, gradients, jacobians)


@torch.no_grad()
def _summarized(x: Tensor, measured: chain.Chain, singular_values: Tensor) -> Probe:
    correlation, variance, squared_mean = _spread(_array(_each(_sums, measured.before)))
    norms, squares = _squared_norm(x[None]), _each(_squared_norm, measured.hidden)
    return Probe(
        squared_norms=_array(torch.cat([norms, squares]) if len(squares) else norms),
        correlation=correlation,
        sample_variance=variance,
        squared_sample_mean=squared_mean,
        dead=_array(_each(_dead, measured.hidden)),
        gradient_norms=_array(measured.gradient_norms),
        jacobian_singular_values=_array(singular_values),
    )


@contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    """Running statistics of normalization layers as they were."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


@contextmanager
def _recorded(model: nn.Module, wiring: Wiring) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Lists that fill with the post- and the pre-activations while the model runs."""
    after: list[Tensor] = []
    before: list[Tensor] = []
    overwritten = not wiring.activated or any(m.__dict__.get("inplace") for m in model.modules())

    def record_signal(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        signal = output.detach().clone() if overwritten else output.detach()
        after.append(signal if wiring.activated else wiring.activation(signal))

    def record_preactivation(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        before.append(output.detach().clone() if overwritten else output.detach())

    # a module that serves several layers is hooked once, and reports at each of its calls
    hooks = [m.register_forward_hook(record_signal) for m in dict.fromkeys(wiring.signals)]
    hooks += [m.register_forward_hook(record_preactivation) for m in dict.fromkeys(wiring.preactivations)]
    try:
        yield after, before
    finally:
        for hook in hooks:
            hook.remove()


def _gradient_norms(loss: Tensor, weights: list[Tensor]) -> Tensor:
    """(W,), NaN for a frozen weight."""
    free = [weight for weight in weights if weight.requires_grad]
    norms = iter([g.double().norm() for g in torch.autograd.grad(loss, free)] if free else [])
    return torch.stack([next(norms) if w.requires_grad else loss.new_tensor(torch.nan).double() for w in weights])


def _each(statistic: Callable[[Tensor], Tensor], signals: Tensor | list[Tensor]) -> Tensor:
    """A statistic of stacked signals (k, B, ...), for every layer, (L, ...)."""
    if isinstance(signals, Tensor):
        return torch.cat([statistic(part) for part in signals.split(max(1, _NUMBERS // signals[0].numel()))])
    return torch.stack(by_shape(signals, statistic)) if signals else torch.empty(0)


def _array(values: Tensor) -> Floats:
    return values.double().cpu().numpy()


# Squares of what float32 can hold vanish and overflow, so they are taken in double precision.


def _squared_norm(signals: Tensor) -> Tensor:
    """(k, B) of the signals (k, B, ...)."""
    return signals.double().flatten(2).square().sum(2)


def _sums(signals: Tensor) -> Tensor:
    """What `_spread` needs of the signals (k, B, ...), (k, 4): how many inputs have a signal, |sum of the directions of
    their signals|^2, the sample variance and the squared sample mean, means over units."""
    signals = signals.double()
    units = _units(signals)
    mean = units.mean(1, keepdim=True)
    vectors = signals.flatten(2)
    norms = vectors.square().sum(2).sqrt_()
    scales = norms.reciprocal().masked_fill_(norms == 0, 0)
    total = torch.bmm(scales.unsqueeze(1), vectors)
    return torch.stack(
        [
            norms.count_nonzero(1),
            total.square_().sum((1, 2)),
            (units - mean).square_().mean((1, 2)),
            mean.square_().mean((1, 2)),
        ],
        dim=1,
    )


def _spread(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Correlation, sample variance and squared sample mean, (k,) each, from `_sums`: the mean cosine over the pairs of
    inputs whose signal is not zero."""
    alive, total, variance, squared_mean = sums.reshape(-1, 4).T
    correlation = np.full(len(alive), np.nan)
    np.divide(total - alive, alive * (alive - 1), out=correlation, where=alive >= 2)
    return correlation, variance, squared_mean


def _units(signals: Tensor) -> Tensor:
    """(k, samples, units) of the signals (k, B, units, ...): positions are further samples of their channel."""
    return signals.movedim(2, -1).flatten(1, -2)


def _dead(signals: Tensor) -> Tensor:
    """Share of units of the signals (k, B, ...) that are zero for every input, (k,)."""
    return (_units(signals).abs().sum(1) == 0).double().mean(1)


def _spectrum(rows: Tensor) -> Tensor:
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


@contextmanager
def _frozen_normalization(model: nn.Module, x: Tensor) -> Iterator[None]:
    """Batch normalization in training mode as the fixed affine map that the statistics of x make of it."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    momenta = [norm.momentum for norm in norms]
    with _buffers_kept(model):
        try:
            if norms:
                for norm in norms:
                    norm.momentum = 1.0
                with torch.no_grad():
                    model(x)
            for norm in norms:
                norm.eval()
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.train()


def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """d output / d input for every input, (B, out, in): one pass over out copies of every input.

    Batch normalization in training mode counts as the affine map that the statistics of x make of it.
    """
    with _frozen_normalization(model, x):
        return _jacobian(model, x)


def _jacobian(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out = model(x[:1]).shape[1]
    parts = []
    for places in torch.arange(len(x) * out, device=x.device).split(_COPIES):
        copies = x[places // out].detach().requires_grad_()
        with torch.enable_grad():
            picked = model(copies).gather(1, (places % out).unsqueeze(1)).sum()
            parts.append(torch.autograd.grad(picked, copies)[0].flatten(1))
    return torch.cat(parts).view(len(x), out, -1)


def leading_singular_values(
    model: nn.Module, x: Tensor, count: int, *, steps: int | None = None, generator: torch.Generator
) -> Tensor:
    """The `count` largest singular values of the Jacobian at every input, (B, count), where `jacobian` is too large.

    Golub-Kahan-Lanczos bidiagonalization with full reorthogonalization, all inputs at once: `steps` (default
    2 count + 10, at most min(out, in)) products with J and its transpose, each a pass over the batch. Exact when steps
    reaches min(out, in); otherwise the values are approached from below, the largest first. Where the walk ends early,
    as on an isometry at once, it goes on from a new direction, so that equal values are found as often as they occur.
    """
    with _frozen_normalization(model, x):
        return _bidiagonalize(model, x, count, steps or 2 * count + 10, generator)


def _bidiagonalize(model: nn.Module, x: Tensor, count: int, steps: int, generator: torch.Generator) -> Tensor:
    push, pull, rows, columns = _products(model, x)
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
    return _spectrum(band)[:, :count]


def _products(model: nn.Module, x: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], int, int]:
    """v -> J v and u -> J^T u for every input at once, and the shape of J. J v is the derivative of the linear map
    u -> J^T u along v, so that only reverse mode is needed."""
    with torch.enable_grad():
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


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Probe:
        return probe(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
