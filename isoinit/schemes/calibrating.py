"""A network adapted to a batch of inputs, layer by layer in one forward pass: shifts and scales of its outputs.

A layer's output is linear in its weights, so one division is exact where LSUV iterates.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from isoinit.held import buffers_kept, without_noise
from isoinit.schemes.wiring import Run, Wiring, biases_of, unit_axis

Rescale = Callable[[Tensor], tuple[Tensor | None, Tensor, int]]


def total_deviation(units: Tensor) -> tuple[None, Tensor, int]:
    """No shift; over samples and units, the norm of the deviations from the mean and their number."""
    return None, _norm(units - units.mean()), units.numel()


def per_unit(units: Tensor) -> tuple[Tensor, Tensor, int]:
    """The mean of every unit over the samples, the norm of the deviations from it and their number."""
    mean = units.mean(0)
    return mean, _norm(units - mean, 0), len(units)


def mean_sample_deviation(units: Tensor) -> tuple[None, Tensor, int]:
    """No shift; the norm of the deviations from the means over samples, of all units, and their number."""
    return None, _norm(units - units.mean(0)), units.numel()


def _norm(deviations: Tensor, axis: int | None = None) -> Tensor:
    """In float32 of half precision: float16 ends at 65504, and the norm of many outputs does not."""
    half = deviations.dtype in (torch.float16, torch.bfloat16)
    return torch.linalg.vector_norm(deviations, dim=axis, dtype=torch.float32 if half else None)


STATISTICS: dict[str, Rescale] = {"total": total_deviation, "unit": per_unit, "sample": mean_sample_deviation}


def calibrate(model: nn.Module, wiring: Wiring, data: Tensor, compiled: bool, *, statistic: str) -> None:
    """Divide every layer's output by `statistic`'s deviation after taking its shift away, in the order of the signal.

    One of `STATISTICS` maps outputs (samples, units) to a shift or None, and the norm and number of the deviations, of
    which their root mean square is made; shift and norm are of shape () or (units,). A layer's weight and bias change
    as it runs, and the corrected output is handed on. What does not vary, as behind a dead layer, is not divided, and a
    warning says so. `compiled`: see `isoinit.initialize`.
    """
    rescale = STATISTICS[statistic]
    data = data.to(device=wiring.head.weight.device, dtype=wiring.head.weight.dtype)
    called = (model, wiring.activation, *wiring.layers)
    if wiring.chain and not any(m._forward_hooks or m._forward_pre_hooks for m in called):
        if not (compiled and _run_compiled(wiring, data, statistic)):
            for own in wiring.each or (wiring,):
                _run_chain(own, data, rescale)
        return

    def correct(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        axis = unit_axis(layer)
        units = output.movedim(axis, -1).flatten(0, -2) if output.dim() > 2 else output
        shift, norm, count = rescale(units)
        deviation = _varying((norm / math.sqrt(count)).to(output.dtype), layer)
        _correct(layer.weight, layer.bias, shift, deviation)
        along = (-1, *[1] * (output.dim() - 2)) if axis == 1 else (-1,)
        output = output if shift is None else output - shift.view(along)
        return output / (deviation.view(along) if deviation.dim() else deviation)

    hooks = [layer.register_forward_hook(correct) for layer in wiring.layers]
    try:
        with without_noise(model):
            model(data)
    finally:
        for hook in hooks:
            hook.remove()


def require_inputs(model: nn.Module, wiring: Wiring, data: Tensor) -> None:
    """ValueError unless the network takes the data, of which two are tried; it stays as it is."""
    first = wiring.layers[0].weight
    if first.is_meta:
        return
    if wiring.chain and (numbers := data[0].numel()) != first.shape[1]:
        raise ValueError(f"data= must be inputs (batch, ...) of {first.shape[1]} numbers each, got {numbers} in the "
                         f"shape {tuple(data.shape)}")  # fmt: skip
    if not wiring.chain:
        try:
            with torch.no_grad(), without_noise(model), buffers_kept(model):
                model(data[:2].to(device=wiring.head.weight.device, dtype=wiring.head.weight.dtype))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, IndexError) as error:
            raise ValueError(f"data= must be inputs of the network, which does not take the shape {tuple(data.shape)} "
                             f"in {wiring.head.weight.dtype}: {error}") from error  # fmt: skip


def _run_chain(wiring: Wiring, data: Tensor, statistic: Rescale) -> None:
    """What the hooks of `calibrate` do, in a third of the time: to run a small layer takes less than to call it. The
    biases are zero before, as of every network that is being initialized."""
    signal, activate = data.flatten(1), wiring.activation.forward
    roots: dict[int, Tensor] = {}  # to make a tensor of a number takes longer than to divide by one
    for layer in wiring.layers:
        weight = layer.weight.detach()
        output = torch.mm(signal, weight.t())
        shift, norm, count = statistic(output)
        if count not in roots:
            roots[count] = norm.new_tensor(count).sqrt_()
        deviation = _varying(norm / roots[count], layer)
        _correct(weight, None if shift is None else layer.bias, shift, deviation)
        output = output if shift is None else output.sub_(shift)
        signal = activate(output.div_(deviation))


def _run_compiled(wiring: Wiring, data: Tensor, statistic: str) -> bool:
    """What `_run_chain` does, up to rounding, by compiled code; False if the network is not for it."""
    from isoinit import narrow  # loads a compiler, which who has one network does not need

    if not narrow.narrow_chain(wiring.weights, wiring.activation, data):
        return False
    stacks = _of_runs(wiring.runs) if wiring.each else _stacked(wiring.weights)
    depths = [len(own.layers) - 2 for own in wiring.each or (wiring,)]
    biases, still = narrow.calibrate(stacks, depths, wiring.activation, data, statistic)
    if not wiring.each:
        _copy(wiring.weights, stacks)
    for layer, dead in zip(wiring.layers, chain.from_iterable(still), strict=True):
        if dead:
            _warn_of_still(layer)
    if statistic == "unit":
        _copy(biases_of(wiring.layers), biases)
    return True


def _of_runs(runs: Sequence[Run]) -> list[Tensor]:
    """What `_stacked` is of a network, of several alike: without a copy."""
    first, *hidden, head = (run.whole for run in runs)
    return [first, hidden[0] if hidden else first[:0, :, : head.shape[2]], head]


def _stacked(weights: Sequence[Tensor]) -> list[Tensor]:
    """First, hidden and last weight of a network: stacks of one, of all hidden ones, and of one."""
    first, *hidden, head = (weight.detach() for weight in weights)
    between = torch.stack(hidden) if hidden else first.new_empty(0, len(first), head.shape[1])
    return [torch.stack([first]), between, torch.stack([head])]


def _copy(targets: Sequence[Tensor], stacks: Sequence[Tensor]) -> None:
    sources = [tensor for stack in stacks for tensor in stack.unbind()]
    torch._foreach_copy_(list(targets), sources)  # pyright: ignore[reportPrivateImportUsage]


def _varying(deviation: Tensor, layer: nn.Module) -> Tensor:
    """The deviation, 1 where it is not above 0."""
    if (deviation.amin() if deviation.dim() else deviation).item() > 0:
        return deviation
    _warn_of_still(layer)
    return torch.where(deviation > 0, deviation, 1.0)


def _warn_of_still(layer: nn.Module) -> None:
    warnings.warn(f"the data do not vary at the output of {layer}, which is left as it is there", stacklevel=2)


def _correct(weight: Tensor, bias: Tensor | None, shift: Tensor | None, deviation: Tensor) -> None:
    weight.div_(deviation.view(-1, *[1] * (weight.dim() - 1)) if deviation.dim() else deviation)
    if bias is not None:
        if shift is not None:
            bias.sub_(shift)
        bias.div_(deviation)
