"""Plain MLPs measured by explicit products: what `probe` wants of them, at a fraction of the cost of autograd.

One pass up through the layers and one down, in which the gradient of the loss and the rows of the Jacobian go together;
then the weights' gradients, many layers in one product.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isoinit.activations import DERIVATIVES, WRITTEN, activation_name
from isoinit.layers import Linear
from isoinit.networks import MLP

_NUMBERS = 2**20  # of the weight gradients held at once
_ROWS = 1024  # of Jacobians in one pass
_SMALL = 1e-15  # the norm from which on float32 squares lose no more than rounding


class Chain(NamedTuple):
    """L hidden layers, B inputs, W = L + 1 weights; rows of the Jacobians (inputs, outputs, features of the input). The
    signals are lists where layers may differ."""

    hidden: Tensor | list[Tensor]  # (L, B, .)
    before: Tensor | list[Tensor]  # (L, B, width)
    gradient_norms: Tensor  # (W,)
    jacobians: Tensor


@dataclass(frozen=True, eq=False)
class Plain:
    """An MLP as this package made it, (out, in) per layer; the masks are None if no layer has one."""

    activation: str
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    masks: Sequence[Tensor] | None
    frozen: Sequence[bool]


def plain(model: nn.Module, x: Tensor, inputs: int) -> Plain | None:
    """`model` taken apart, if `measure` says of it what its forward and autograd would."""
    if type(model) is not MLP or model.norms or x.dtype not in (torch.float32, torch.float64):
        return None
    name = activation_name(model.activation)
    if name not in DERIVATIVES or getattr(model.activation, "inplace", False):
        return None
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in (model, model.activation)):
        return None
    layers, weights, biases = [], [], []
    for layer in model.layers:
        if type(layer) is not Linear or layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
            return None
        parameters = layer._parameters  # several times faster than the attributes
        weight, bias = parameters["weight"], parameters["bias"]
        if weight is None or bias is None or weight.dtype != x.dtype:
            return None
        layers.append(layer)
        weights.append(weight)
        biases.append(bias)
    if inputs * len(weights[-1]) > _ROWS or x[0].numel() != weights[0].shape[1] or x.device != weights[0].device:
        return None
    masks = None
    if any(layer.masked for layer in layers):
        masks = [layer._buffers["mask"] if layer.masked else torch.ones_like(weight, dtype=torch.bool)
                 for layer, weight in zip(layers, weights, strict=True)]  # fmt: skip
    return Plain(name, weights, biases, masks, [not weight.requires_grad for weight in weights])


@torch.no_grad()
def measure(network: Plain, x: Tensor, y: Tensor | None, inputs: int) -> Chain:
    """Measure on x (B, ...), with the gradients of the loss of `probe` for the classes y (B,) and the Jacobians at the
    first `inputs`."""
    weights: Sequence[Tensor] = [weight.detach() for weight in network.weights]
    if network.masks is not None:
        weights = [weight * mask for weight, mask in zip(weights, network.masks, strict=True)]
    write, derivative = WRITTEN[network.activation], DERIVATIVES[network.activation]
    into = h = x.flatten(1)
    batch, out = len(x), len(weights[-1])
    places = min(inputs, batch)
    before = x.new_empty(len(weights) - 1, batch, len(weights[0]))
    rows = batch + places * out
    features = x.new_empty(len(before), rows, weights[-1].shape[1])  # those of the Jacobians' rows last
    hidden = features[:, :batch]
    for weight, bias, z, feature in zip(weights, network.biases, before.unbind(), hidden.unbind(), strict=False):
        write(torch.addmm(bias, h, weight.t(), out=z), feature)
        h = feature
    by_loss = _by_outputs(torch.addmm(network.biases[-1], h, weights[-1].t()), y)

    features[:, batch:].unflatten(1, (places, out)).copy_(hidden[:, :places, None])
    above = torch.cat([by_loss, torch.eye(out, dtype=x.dtype, device=x.device).repeat(places, 1)])
    gradients = []  # by the pre-activations, from the last on
    for weight, feature in zip(weights[:0:-1], features.unbind()[::-1], strict=True):
        gradients.append(above := derivative(torch.mm(above, weight), feature))
    by_before = torch.stack(gradients[::-1])[:, :batch]
    jacobians = (above[batch:] @ weights[0]).view(places, out, into.shape[1])
    return Chain(hidden, before, _norms(network, into, hidden, by_before, by_loss), jacobians)


def _by_outputs(outputs: Tensor, y: Tensor | None) -> Tensor:
    """Gradient of the loss by the outputs (B, out)."""
    if y is None:
        return outputs / len(outputs)
    gradient = outputs.log_softmax(1).exp_()
    return gradient.scatter_add_(1, y[:, None], gradient.new_full((len(y), 1), -1.0)).div_(len(outputs))


def _norms(network: Plain, into: Tensor, hidden: Tensor, gradients: Tensor, by_loss: Tensor) -> Tensor:
    """Norms of the gradients by the weights, NaN of a frozen one."""
    masks = network.masks
    norms = [_norm(gradients[:1].mT @ into, masks and masks[:1])]
    at_once = max(1, _NUMBERS // (gradients.shape[2] * hidden.shape[2]))
    for start in range(1, len(hidden), at_once):
        stop = min(start + at_once, len(hidden))
        norms.append(_norm(gradients[start:stop].mT @ hidden[start - 1 : stop - 1], masks and masks[start:stop]))
    norms.append(_norm(by_loss.mT @ hidden[-1:], masks and masks[-1:]))
    found = torch.cat(norms)
    if any(network.frozen):
        found.masked_fill_(torch.tensor(network.frozen, device=found.device), torch.nan)
    return found


def _norm(gradient: Tensor, masks: Sequence[Tensor] | None) -> Tensor:
    if masks is not None:
        gradient.mul_(torch.stack(list(masks)))
    norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1).double()
    if ((norms > _SMALL) & (norms < 1 / _SMALL)).all():
        return norms
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
