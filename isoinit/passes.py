"""One forward and one backward pass of any model, recorded: what `isoinit.chain` computes for plain MLPs alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from isoinit.asked import loss_of, outputs_of, refuse_model
from isoinit.chain import Chain
from isoinit.held import buffers_kept, frozen_normalization, without_noise
from isoinit.schemes.reading import read
from isoinit.schemes.wiring import Wiring, unit_axis
from isoinit.spectrum import jacobian_rows


def by_autograd(model: nn.Module, x: Tensor, y: Tensor | None, inputs: int) -> Chain:
    """What `chain.measure` finds of a plain MLP, of any model."""
    wiring = read(model)
    refuse_model(model)
    jacobians = x.new_empty(0, 0, 0)
    with without_noise(model):
        with torch.enable_grad(), buffers_kept(model), _recorded(model, wiring) as (hidden, before):
            gradients = _gradient_norms(loss_of(outputs_of(model, x), y), [layer.weight for layer in wiring.layers])
        if inputs:
            with frozen_normalization(model, x):
                jacobians = jacobian_rows(model, x[:inputs])
    return Chain(hidden, before, gradients, jacobians)


@contextmanager
def _recorded(model: nn.Module, wiring: Wiring) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Lists that fill with the post- and the pre-activations while the model runs, the units in front of positions."""
    after: list[Tensor] = []
    before: list[Tensor] = []
    axis = [1]  # of the units, as of the output of the weight layer that ran last
    overwritten = not wiring.activated or any(m.__dict__.get("inplace") for m in model.modules())

    def kept(output: Tensor) -> Tensor:
        return output.detach().clone() if overwritten else output.detach()

    def units_first(signal: Tensor) -> Tensor:
        return signal.movedim(axis[0], 1) if signal.dim() > 2 else signal

    def record_axis(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        axis[0] = unit_axis(layer) if output.dim() > 2 else 1

    def record_signal(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        after.append(units_first(kept(output) if wiring.activated else wiring.activation(kept(output))))

    def record_preactivation(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        before.append(units_first(kept(output)))

    # a module that serves several layers is hooked once, and reports at each of its calls
    hooks = [layer.register_forward_hook(record_axis) for layer in wiring.layers]
    hooks += [m.register_forward_hook(record_signal) for m in dict.fromkeys(wiring.signals)]
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
