"""The activations the networks are made of, and of each how to write its features and to take its derivative.

The formulas spare whoever measures or trains many small networks the graph of autograd.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class CReLU(nn.Module):
    """[relu(z); relu(-z)] on the feature (channel) axis 1: twice as many features come out as go in."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.cat([torch.relu(input), torch.relu(-input)], dim=1)


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardtanh": nn.Hardtanh,
    "linear": nn.Identity,
    "crelu": CReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
LEAK = 0.01
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017, arXiv 1706.02515
_USUAL = {
    "hardtanh": {"min_val": -1, "max_val": 1},
    "leaky_relu": {"negative_slope": LEAK},
    "elu": {"alpha": 1},
    "gelu": {"approximate": "none"},
}


def activation_name(activation: nn.Module) -> str:
    """The name in `ACTIVATIONS`, or the class name in lower case for another activation; one with numbers of one's own,
    the limits of a `Hardtanh` say, is another one, for which the formulas here do not hold."""
    for name, kind in ACTIVATIONS.items():
        if type(activation) is kind:
            usual = all(getattr(activation, key) == value for key, value in _USUAL.get(name, {}).items())
            return name if usual else repr(activation).lower()
    return type(activation).__name__.lower()


def _halves(g: Tensor) -> Tensor:
    positive, negative = g.chunk(2, dim=-1)
    return positive - negative


_ATEN = torch.ops.aten
_RELU_BACKWARD = _ATEN.threshold_backward.default  # an overload, for to choose one takes as long as a small product
_TANH_BACKWARD = _ATEN.tanh_backward.default
_SIGMOID_BACKWARD = _ATEN.sigmoid_backward.default
_HARDTANH_BACKWARD = _ATEN.hardtanh_backward.default
_LEAKY_RELU_BACKWARD = _ATEN.leaky_relu_backward.default
_ELU_BACKWARD = _ATEN.elu_backward.default

DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda g, h: _RELU_BACKWARD(g, h, 0),
    "tanh": lambda g, h: _TANH_BACKWARD(g, h),
    "sigmoid": lambda g, h: _SIGMOID_BACKWARD(g, h),
    "hardtanh": lambda g, h: _HARDTANH_BACKWARD(g, h, -1, 1),
    "linear": lambda g, _: g,
    "crelu": lambda g, h: _halves(_RELU_BACKWARD(g, h, 0)),
    "leaky_relu": lambda g, h: _LEAKY_RELU_BACKWARD(g, h, LEAK, True),
    "elu": lambda g, h: _ELU_BACKWARD(g, 1, 1, 1, True, h),
    "selu": lambda g, h: _ELU_BACKWARD(g, SELU_ALPHA, SELU_SCALE, 1, True, h),
}
"""Per activation that can be undone, the gradient by pre-activations (..., units) from that by features and the
features: what torch's own backward passes call. A mask would be a branch for every number, which is slower, and a
product with 0 or 1 wrong, as inf * 0 is not a number."""

WRITTEN: dict[str, Callable[[Tensor, Tensor], object]] = {
    "relu": lambda z, h: torch.clamp_min(z, 0, out=h),
    "tanh": lambda z, h: torch.tanh(z, out=h),
    "sigmoid": lambda z, h: torch.sigmoid(z, out=h),
    "hardtanh": lambda z, h: torch.clamp(z, -1, 1, out=h),
    "linear": lambda z, h: h.copy_(z),
    "crelu": lambda z, h: torch.clamp_min(torch.cat([z, -z], dim=-1), 0, out=h),
    "leaky_relu": lambda z, h: _ATEN.leaky_relu.out(z, LEAK, out=h),
    "elu": lambda z, h: _ATEN.elu.out(z, 1, 1, 1, out=h),
    "selu": lambda z, h: _ATEN.elu.out(z, SELU_ALPHA, SELU_SCALE, 1, out=h),
}
"""Per activation of `DERIVATIVES`, write the features of the pre-activations z (..., batch, units) into h, part of a
larger tensor."""
