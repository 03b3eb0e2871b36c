"""A plain MLP measured by explicit products: what `probe` wants of it, at a third of the cost of autograd.

One pass up through the layers and one down, in which the gradient of the loss and the rows of the Jacobian go together;
then the weights' gradients, many layers in one product.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isoinit.layers import DERIVATIVES, Linear, activation_name
from isoinit.networks import MLP

_NUMBERS = 2**20  # of the weight gradients held at once
_ROWS = 1024  # of Jacobians in one pass
_SMALL = 1e-15  # the norm from which on float32 squares lose no more than rounding


class Chain(NamedTuple):
    """L hidden layers, B inputs, W = L + 1 weights; rows of the Jacobians (inputs, outputs, features of the input)."""

    hidden: Tensor  # (L, B, .)
    before: Tensor  # (L, B, width)
    gradient_norms: Tensor  # (W,)
    jacobians: Tensor


def applies(model: nn.Module, x: Tensor, inputs: int) -> bool:
    """Whether `measure` says of `model` what its forward and autograd would: it is an MLP as this package made it."""
    if type(model) is not MLP or model.norms or x.dtype not in (torch.float32, torch.float64):
        return False
    layers = list(model.layers)
    return (
        all(type(layer) is Linear and layer.weight.dtype == x.dtype for layer in layers)
        and activation_name(model.activation) in DERIVATIVES
        and not getattr(model.activation, "inplace", False)
        and inputs * layers[-1].get_parameter("weight").shape[0] <= _ROWS
        and not any(
            m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in (model, model.activation, *layers)
        )
    )


@torch.no_grad()
def measure(model: MLP, x: Tensor, loss: Callable[[Tensor], Tensor], inputs: int) -> Chain:
    """Measure on x (B, ...), the Jacobians at the first `inputs` of them; `loss` is a function of the outputs."""
    layers = [layer for layer in model.layers if isinstance(layer, Linear)]
    weights = [layer.weight * layer.mask if layer.masked else layer.weight for layer in layers]
    into = h = x.flatten(1)
    activate = model.activation.forward
    befores, features = [], []
    for layer, weight in zip(layers[:-1], weights, strict=False):
        befores.append(torch.addmm(layer.bias, h, weight.T))
        features.append(h := activate(befores[-1]))
    outputs = torch.addmm(layers[-1].bias, h, weights[-1].T).requires_grad_()
    with torch.enable_grad():
        (by_loss,) = torch.autograd.grad(loss(outputs), outputs)

    batch, out = outputs.shape
    places = min(inputs, batch)
    hidden = torch.stack(features)
    rows = torch.arange(places, device=x.device).repeat_interleave(out)
    derivative = DERIVATIVES[activation_name(model.activation)]
    above = torch.cat([by_loss, torch.eye(out, dtype=x.dtype, device=x.device).repeat(places, 1)])
    gradients = []  # by the pre-activations, from the last on
    for weight, feature in zip(weights[:0:-1], torch.cat([hidden, hidden[:, rows]], 1).unbind()[::-1], strict=True):
        gradients.append(above := derivative(above @ weight, feature))
    jacobians = (above[batch:] @ weights[0]).view(places, out, into.shape[1])
    by_before = torch.stack(gradients[::-1])[:, :batch]
    return Chain(hidden, torch.stack(befores), _norms(layers, into, hidden, by_before, by_loss), jacobians)


def _norms(layers: list[Linear], into: Tensor, hidden: Tensor, gradients: Tensor, by_loss: Tensor) -> Tensor:
    """Norms of the gradients by the weights, NaN of a frozen one."""
    norms = [_norm(gradients[:1].mT @ into, layers[:1])]
    at_once = max(1, _NUMBERS // math.prod(layers[1].weight.shape))
    for start in range(0, len(hidden) - 1, at_once):
        stop = min(start + at_once, len(hidden) - 1)
        norms.append(_norm(gradients[start + 1 : stop + 1].mT @ hidden[start:stop], layers[start + 1 : stop + 1]))
    norms.append(_norm(by_loss.mT @ hidden[-1:], layers[-1:]))
    found = torch.cat(norms)
    frozen = torch.tensor([not layer.weight.requires_grad for layer in layers], device=found.device)
    return found.masked_fill(frozen, torch.nan)


def _norm(gradient: Tensor, layers: list[Linear]) -> Tensor:
    if any(layer.masked for layer in layers):
        gradient = gradient * torch.stack([_mask(layer) for layer in layers])
    norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1).double()
    if ((norms > _SMALL) & (norms < 1 / _SMALL)).all():
        return norms
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)


def _mask(layer: Linear) -> Tensor:
    return layer.mask if layer.masked else torch.ones_like(layer.weight, dtype=torch.bool)
