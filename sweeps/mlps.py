"""A plain MLP, layer by layer: what its stacks need to know of it, wherever they keep its parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isoinit.activations import activation_name
from isoinit.networks import MLP
from sweeps import kernel


def plain(model: nn.Module) -> bool:
    """Whether a network is such an MLP, all of which is trained."""
    return (
        isinstance(model, MLP)
        and not model.norms
        and activation_name(model.activation) in kernel.ACTIVATIONS
        and all(parameter.requires_grad for parameter in model.parameters())
    )


def activation(model: nn.Module) -> str:
    """The name of an MLP's activation."""
    assert isinstance(model, MLP)
    return activation_name(model.activation)


def linears(model: nn.Module) -> list[nn.Linear]:
    """The layers of an MLP, in order."""
    assert isinstance(model, MLP)
    return [layer for layer in model.layers if isinstance(layer, nn.Linear)]


def masked(layer: nn.Linear) -> bool:
    """Whether some of a layer's weights are kept at 0."""
    return getattr(layer, "masked", False)


def mask_of(layer: nn.Linear) -> Tensor:
    """1 for every weight of a layer that is trained, 0 for those that are kept at 0."""
    found = getattr(layer, "mask", None)
    return torch.ones_like(layer.weight) if found is None else found.to(layer.weight)


def apart(weight: Tensor, split: int) -> Tensor:
    """View on a weight (fan_out, fan_in): (split, fan_in / split, fan_out), if `split` features leave every unit."""
    return weight.T.unflatten(0, (split, -1))
