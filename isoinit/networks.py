"""The plain bodies, MLP and CNN, with and without batch normalization; `build` makes any body, the ResNet too.

One network at a time. Parameters are zero until `isoinit.initialize` has filled them. `depth` counts weight layers on
the longest plain path: first layer, hidden layers and head.
"""

import math
from collections.abc import Sequence
from itertools import islice
from numbers import Integral
from typing import Literal

import torch
from torch import Tensor, nn

from isoinit.activations import ACTIVATIONS
from isoinit.layers import Conv2d, Linear, Sizes, bare, fresh, linears, listed
from isoinit.parts import pool_of, validate, validate_input, validate_pooling, weights_of
from isoinit.resnet import ResNet
from isoinit.schemes import Wiring, get


def _expansion(activation: str) -> int:
    """Features that leave the activation per feature that enters it."""
    return 2 if activation == "crelu" else 1


def _sizes(in_features: int, width: int, depth: int, out_features: int, activation: str) -> list[Sizes]:
    wide = _expansion(activation) * width
    return [(in_features, width), *[(wide, width)] * (depth - 2), (wide, out_features)]


class MLP(nn.Module):
    """Fully connected network of `depth` weight layers; hidden ones have `width` pre-activations.

    The input (batch, ...) is flattened to (batch, in_features); the output is (batch, out_features).
    `layers[i]` are the `nn.Linear`s in order, `norms[i]` the BatchNorm1d between `layers[i]` and its activation.
    With `activation="crelu"` a layer after the first has 2 * width inputs.
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        depth: int,
        out_features: int,
        activation: str = "relu",
        normalization: str = "none",
    ) -> None:
        super().__init__()
        validate(
            activation, normalization, in_features=in_features, width=width, depth=depth, out_features=out_features
        )
        self.layers = listed(linears(_sizes(in_features, width, depth, out_features, activation)))
        self.norms = listed(nn.BatchNorm1d(width) for _ in range(depth - 1 if normalization == "batch" else 0))
        self.activation = fresh(ACTIVATIONS[activation])

    @classmethod
    def alike(
        cls, in_features: int, width: int, depths: Sequence[int], out_features: int, activation: str = "relu"
    ) -> "list[MLP]":
        """A network of each depth, sooner than one by one: the weights of their first layers are parts of one tensor,
        those of all hidden layers, those of the heads, and the biases likewise.

        Autograd takes a change in place of one part for a change of all: copy a network to train it by itself.
        """
        for depth in depths:
            validate(activation, "none", in_features=in_features, width=width, depth=depth, out_features=out_features)
        sizes = _sizes(in_features, width, 3, out_features, activation)
        counts = len(depths), sum(depths) - 2 * len(depths), len(depths)
        first, hidden, head = (
            zip(torch.zeros(count, out, into).unbind(), torch.zeros(count, out).unbind(), strict=True)
            for count, (into, out) in zip(counts, sizes, strict=True)
        )
        found: list[MLP] = []
        for depth in depths:
            model = bare(cls)
            parameters = [next(first), *islice(hidden, depth - 2), next(head)]
            own = linears([sizes[0], *[sizes[1]] * (depth - 2), sizes[2]], parameters)
            model._modules.update(layers=listed(own), norms=listed(()), activation=fresh(ACTIVATIONS[activation]))
            found.append(model)
        return found

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        *hidden, head = self.layers
        activation, norms = self.activation, list(self.norms)
        for i, layer in enumerate(hidden):
            x = layer(x)
            x = activation(norms[i](x) if norms else x)
        return head(x)

    def wiring(self) -> Wiring:
        layers, norms, activation = weights_of(self.layers), tuple(self.norms), self.activation
        hidden = tuple(layers[:-1])
        return Wiring(
            architecture="mlp",
            activation=activation,
            stem=hidden,
            head=layers[-1],
            norms=norms,
            signals=(activation,),
            preactivations=hidden,
            chain=type(self) is MLP and not norms and all(type(layer) is Linear for layer in layers),
        )


class CNN(nn.Module):
    """Plain convolutional network: `depth - 1` convolutions at constant resolution, then a linear head.

    Input (batch, C, H, W), output (batch, out_features). `pooling="average"` averages positions before the head,
    which multiplies the Jacobian of an isometric body by exactly 1/sqrt(H W); `"none"` flattens and keeps the isometry.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        depth: int,
        out_features: int,
        activation: str = "relu",
        normalization: str = "none",
        *,
        kernel_size: int = 3,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        pooling: str = "average",
    ) -> None:
        super().__init__()
        validate(activation, normalization, width=width, depth=depth, out_features=out_features)
        if not isinstance(kernel_size, Integral) or kernel_size % 2 == 0 or kernel_size < 1:
            raise ValueError(f"kernel_size must be odd and positive, to keep the resolution, got {kernel_size!r}")
        validate_pooling(pooling)
        validate_input("a CNN", input_shape, 3)
        channels, *size = input_shape
        self.resolution = min(size)
        wide = _expansion(activation) * width
        self.layers = nn.ModuleList()
        for i in range(depth - 1):
            into = channels if i == 0 else wide
            self.layers.append(Conv2d(into, width, kernel_size, padding=kernel_size // 2, padding_mode=padding_mode))
        self.layers.append(Linear(wide * (1 if pooling == "average" else math.prod(size)), out_features))
        norms = [nn.BatchNorm2d(width) for _ in range(depth - 1)] if normalization == "batch" else []
        self.norms = nn.ModuleList(norms)
        self.activation = ACTIVATIONS[activation]()
        self.pool = pool_of(pooling)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, head = self.layers
        activation, norms = self.activation, list(self.norms)
        for i, layer in enumerate(hidden):
            x = layer(x)
            x = activation(norms[i](x) if norms else x)
        return head(self.pool(x).flatten(1))

    def wiring(self) -> Wiring:
        *hidden, head = weights_of(self.layers)
        return Wiring(
            architecture="cnn",
            activation=self.activation,
            stem=tuple(hidden),
            head=head,
            norms=tuple(self.norms),
            signals=(self.activation,),
            preactivations=tuple(hidden),
            resolution=self.resolution,
        )


ARCHITECTURES = ("mlp", "cnn", "resnet")


def build(
    architecture: str,
    input_shape: tuple[int, ...],
    *,
    width: int,
    depth: int,
    out_features: int,
    activation: str = "relu",
    normalization: str = "none",
    scheme: str | None = None,
) -> nn.Module:
    """A network of `ARCHITECTURES` for inputs of `input_shape` (without the batch), parameters still zero.

    An MLP flattens its input; a CNN takes (C, H, W); a ResNet that, or (features,) with linear layers.
    `scheme` chooses the residual block that the scheme is made for; without it a ResNet has the block `post`.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
    if not isinstance(input_shape, tuple | list):
        raise ValueError(f"input_shape must be (features,) or (C, H, W), got {input_shape!r}")
    if architecture == "mlp":
        return MLP(math.prod(input_shape), width, depth, out_features, activation, normalization)
    if architecture == "cnn":
        return CNN(input_shape, width, depth, out_features, activation, normalization)
    blocks = get(scheme).blocks if scheme is not None else None
    return ResNet(input_shape, width, depth, out_features, blocks[0] if blocks else "post", activation, normalization)
