"""Plain MLPs measured by explicit products: what `probe` wants of them, at a fraction of the cost of autograd.

One pass up through the layers and one down, in which the gradient of the loss and the rows of the Jacobian go together;
then the weights' gradients, many layers in one product. Small networks of one shape take the passes together: a product
costs less than the call that starts it. What is measured of one does not depend on its company.

Letters: M networks, L hidden layers, B inputs, W = L + 1 weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isoinit.layers import DERIVATIVES, WRITTEN, Linear, activation_name
from isoinit.networks import MLP

_NUMBERS = 2**20  # of the weight gradients of a network held at once
_SIGNALS = 2**19  # of several networks: with more, memory is given back and taken anew, page by page
_ROWS = 1024  # of Jacobians in one pass
_SMALL = 1e-15  # the norm from which on float32 squares lose no more than rounding


class Chain(NamedTuple):
    """Of one network; signals are lists where layers differ; rows of the Jacobians (inputs, outputs, features of the
    input)."""

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

    @property
    def shape(self) -> tuple[object, ...]:
        """What networks must have in common to be measured at once."""
        first, head = self.weights[0], self.weights[-1]
        return self.activation, len(self.weights), first.shape, head.shape, first.device, self.masks is None


def plain(model: nn.Module, x: Tensor, inputs: int) -> Plain | None:
    """`model` taken apart, if `measure` says of it what its forward and autograd would."""
    if type(model) is not MLP or model.norms or x.dtype not in (torch.float32, torch.float64):
        return None
    name = activation_name(model.activation)
    layers = [layer for layer in model.layers if type(layer) is Linear]
    if len(layers) < len(model.layers) or name not in DERIVATIVES or getattr(model.activation, "inplace", False):
        return None
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in (model, model.activation, *layers)):
        return None
    parameters = [layer._parameters for layer in layers]  # several times faster than the attributes
    weights, biases = ([p[kind] for p in parameters] for kind in ("weight", "bias"))
    known = [(w, b) for w, b in zip(weights, biases, strict=True) if w is not None and b is not None]
    if len(known) < len(layers) or any(w.dtype != x.dtype for w, _ in known) or inputs * len(known[-1][0]) > _ROWS:
        return None
    masks = None
    if any(layer.masked for layer in layers):
        masks = [layer.mask if layer.masked else torch.ones_like(w, dtype=torch.bool)
                 for layer, (w, _) in zip(layers, known, strict=True)]  # fmt: skip
    return Plain(name, [w for w, _ in known], [b for _, b in known], masks, [not w.requires_grad for w, _ in known])


def at_once(network: Plain, x: Tensor, inputs: int) -> int:
    """How many networks of this shape are measured at once."""
    signals = len(network.weights) * (len(x) + inputs * len(network.weights[-1])) * network.weights[-1].shape[1]
    return max(1, _SIGNALS // max(1, signals))


@torch.no_grad()
def measure(networks: Sequence[Plain], x: Tensor, y: Tensor | None, inputs: int) -> list[Chain]:
    """Measure networks of one shape on x (B, ...), the gradients of the loss of `probe` for the classes y (B,), the
    Jacobians at the first `inputs`."""
    count, batch, out = len(networks), len(x), len(networks[0].weights[-1])
    places = min(inputs, batch)
    stacks = _stacked([n.weights for n in networks])
    if networks[0].masks is not None:
        masks = _stacked([n.masks or () for n in networks])
        stacks = [stack * mask for stack, mask in zip(stacks, masks, strict=True)]
    weights = [weight for stack in stacks for weight in stack.unbind()]
    turned = [weight for stack in stacks for weight in stack.mT.unbind()]
    biases = [bias for stack in _stacked([n.biases for n in networks]) for bias in stack.unsqueeze(2).unbind()]
    write, derivative = WRITTEN[networks[0].activation], DERIVATIVES[networks[0].activation]
    into = h = x.flatten(1).expand(count, -1, -1)
    before = x.new_empty(len(weights) - 1, count, batch, weights[0].shape[1])
    rows = batch + places * out
    features = x.new_empty(len(before), count, rows, weights[-1].shape[2])  # those of the Jacobians' rows last
    hidden = features[:, :, :batch]
    for weight, bias, z, feature in zip(turned, biases, before.unbind(), hidden.unbind(), strict=False):
        write(torch.baddbmm(bias, h, weight, out=z), feature)
        h = feature
    by_loss = _by_outputs(torch.baddbmm(biases[-1], h, turned[-1]), y)

    features[:, :, batch:].unflatten(2, (places, out)).copy_(hidden[:, :, :places, None])
    units = torch.eye(out, dtype=x.dtype, device=x.device).repeat(places, 1)
    above = torch.cat([by_loss, units.expand(count, -1, -1)], 1)
    gradients = []  # by the pre-activations, from the last on
    for weight, feature in zip(weights[:0:-1], features.unbind()[::-1], strict=True):
        gradients.append(above := derivative(torch.bmm(above, weight), feature))
    by_before = torch.stack(gradients[::-1])[:, :, :batch]
    jacobians = torch.bmm(above[:, batch:], weights[0]).unflatten(1, (places, out))
    return [
        Chain(
            hidden[:, m],
            before[:, m],
            _norms(network, [into[m][None], hidden[:, m]], [by_before[:, m], by_loss[m][None]]),
            jacobians[m],
        )
        for m, network in enumerate(networks)
    ]


def _stacked(networks: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The tensors of all layers, (layers, M, ...) for those of one shape; of a large network without a copy."""
    first, *others = networks
    if not others and sum(tensor.numel() for tensor in first) > _NUMBERS:
        return [tensor.detach()[None, None] for tensor in first]
    parts = [[n[start:stop] for n in networks] for start, stop in ((0, 1), (1, len(first) - 1), (-1, len(first)))]
    alike = [[tensor for layer in zip(*part, strict=True) for tensor in layer] for part in parts]
    return [torch.stack(tensors).unflatten(0, (-1, len(networks))) for tensors in alike if tensors]


def _by_outputs(outputs: Tensor, y: Tensor | None) -> Tensor:
    """Gradient by the outputs (M, B, out) of each network's loss, see `probe`."""
    if y is None:
        return outputs / outputs.shape[1]
    gradient = outputs.log_softmax(2).exp_()
    picked = y.expand(len(outputs), -1).unsqueeze(2)
    return gradient.scatter_add_(2, picked, gradient.new_full(picked.shape, -1.0)).div_(outputs.shape[1])


def _norms(network: Plain, features: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Norms of the gradients by the weights, NaN of a frozen one, from what goes into the layers and the gradients by
    what comes out. Of one network, because how a sum is taken may depend on how many there are."""
    (into, hidden), (by_before, by_loss), masks = features, gradients, network.masks
    norms = [_norm(by_before[:1].mT @ into, masks and masks[:1])]
    many = max(1, _NUMBERS // (by_before.shape[2] * hidden.shape[2]))
    for start in range(1, len(hidden), many):
        stop = min(start + many, len(hidden))
        norms.append(_norm(by_before[start:stop].mT @ hidden[start - 1 : stop - 1], masks and masks[start:stop]))
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
