"""The bodies studied: MLP, plain CNN, ResNet, with and without batch normalization, one network at a time.

Parameters are zero until `isoinit.initialize` has filled them. `depth` counts weight layers on the longest plain path:
first layer, hidden layers and head.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from isoinit.layers import ACTIVATIONS, Conv2d, Linear, WeightLayer, listed
from isoinit.schemes import Residual, Wiring, get

NORMALIZATIONS = ("none", "batch")


def _validate(activation: str, normalization: str, **sizes: int) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {', '.join(NORMALIZATIONS)}, got {normalization!r}")
    for name, size in sizes.items():
        least = 2 if name == "depth" else 1
        if size < least:
            raise ValueError(f"{name} must be at least {least}, got {size}")


def _validate_pooling(pooling: str) -> None:
    if pooling not in ("average", "none"):
        raise ValueError(f"pooling must be 'average' or 'none', got {pooling!r}")


def _weights(layers: nn.ModuleList) -> tuple[WeightLayer, ...]:
    return cast(tuple[WeightLayer, ...], tuple(layers))


def _expansion(activation: str) -> int:
    """Features that leave the activation per feature that enters it."""
    return 2 if activation == "crelu" else 1


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
        _validate(
            activation, normalization, in_features=in_features, width=width, depth=depth, out_features=out_features
        )
        wide = _expansion(activation) * width
        first = Linear(in_features, width)
        hidden, head = first.twins(depth - 2, wide, width), first.twins(1, wide, out_features)
        self.layers = listed([first, *hidden, *head])
        norms = [nn.BatchNorm1d(width) for _ in range(depth - 1)] if normalization == "batch" else []
        self.norms = nn.ModuleList(norms)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        *hidden, head = self.layers
        activation, norms = self.activation, list(self.norms)
        for i, layer in enumerate(hidden):
            x = layer(x)
            x = activation(norms[i](x) if norms else x)
        return head(x)

    def wiring(self) -> Wiring:
        *hidden, head = _weights(self.layers)
        return Wiring(
            architecture="mlp",
            activation=self.activation,
            stem=tuple(hidden),
            head=head,
            norms=tuple(self.norms),
            signals=(self.activation,),
            preactivations=tuple(hidden),
            chain=type(self) is MLP and not self.norms and all(type(layer) is Linear for layer in self.layers),
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
        _validate(activation, normalization, width=width, depth=depth, out_features=out_features)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that a convolution keeps the resolution, got {kernel_size}")
        _validate_pooling(pooling)
        if len(input_shape) != 3:
            raise ValueError(f"a CNN takes inputs of shape (C, H, W), got {input_shape}")
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
        self.pool = _pool(pooling)

    def forward(self, x: Tensor) -> Tensor:
        *hidden, head = self.layers
        activation, norms = self.activation, list(self.norms)
        for i, layer in enumerate(hidden):
            x = layer(x)
            x = activation(norms[i](x) if norms else x)
        return head(self.pool(x).flatten(1))

    def wiring(self) -> Wiring:
        *hidden, head = _weights(self.layers)
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


@dataclass(frozen=True)
class BlockType:
    """Where activations and scalars stand in a residual block of two weight layers W1, W2."""

    projection: bool = False  # a weight layer on the skip branch, else identity
    act_before: bool = False  # pre-activation: the branch begins with the activation
    act_after: bool = False  # post-activation: the sum passes the activation
    multiplier: bool = False  # a learnable scalar on the branch
    offsets: bool = False  # Fixup's four scalar biases, in place of the layers' biases


BLOCKS: dict[str, BlockType] = {
    "post": BlockType(act_after=True),  # act(x + W2 act(W1 x)), He et al. 2015
    "projection": BlockType(projection=True, act_after=True),  # act(Ws x + W2 act(W1 x))
    "open": BlockType(),  # x + W2 act(W1 x)
    "rezero": BlockType(multiplier=True),  # x + alpha W2 act(W1 x)
    "skipinit": BlockType(act_before=True, multiplier=True),  # x + alpha W2 act(W1 act(x))
    "fixup": BlockType(act_after=True, multiplier=True, offsets=True),
}


class _Block(nn.Module):
    """skip(x) + multiplier * branch(x); normalization after each weight layer if the sum is activated, else before
    the activations only, so that it cannot blow up a branch that starts near zero."""

    def __init__(
        self,
        kind: str,
        layer: Callable[..., WeightLayer],
        norm: Callable[[], nn.Module],
        width: int,
        kernel: int,
        activation: str,
    ) -> None:
        super().__init__()
        self.kind, self.form = kind, BLOCKS[kind]
        self.branch = nn.ModuleList([layer(width, width, kernel, bias=not self.form.offsets) for _ in range(2)])
        self.skip = layer(width, width, 1, bias=False) if self.form.projection else None
        self.norm_first, self.norm_last, self.norm_skip = norm(), norm(), norm()
        if not self.form.projection:
            self.norm_skip = nn.Identity()
        if not (self.form.act_after or self.form.act_before):
            self.norm_last = nn.Identity()
        self.multiplier = nn.Parameter(torch.ones(())) if self.form.multiplier else None
        self.offsets = nn.Parameter(torch.zeros(4)) if self.form.offsets else None
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        first, last = self.branch
        offsets = self.offsets if self.offsets is not None else (0.0,) * 4
        if self.form.act_before:
            inner = self.activation(self.norm_last(first(self.activation(self.norm_first(x)))))
            branch = last(inner)
        else:
            inner = self.activation(self.norm_first(first(x + offsets[0])) + offsets[1])
            branch = self.norm_last(last(inner + offsets[2]))
        if self.multiplier is not None:
            branch = self.multiplier * branch
        total = branch + offsets[3] + (x if self.skip is None else self.norm_skip(self.skip(x)))
        return self.activation(total) if self.form.act_after else total

    def wiring(self) -> Residual:
        return Residual(
            kind=self.kind,
            branch=_weights(self.branch),
            skip=self.skip,
            multiplier=self.multiplier,
            offsets=() if self.offsets is None else (self.offsets,),
        )


class ResNet(nn.Module):
    """Residual network at constant width and resolution: stem, blocks of two weight layers, head.

    Input (batch, C, H, W) with 3x3 convolutions, or (batch, features) with linear layers; output (batch, out_features).
    `depth` counts the weight layers of stem, residual branches and head, not those on skips: of an odd depth the
    stem takes two. `block` is one of `BLOCKS`. `pooling` as in `CNN`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        depth: int,
        out_features: int,
        block: str = "post",
        activation: str = "relu",
        normalization: str = "none",
        *,
        pooling: str = "average",
    ) -> None:
        super().__init__()
        _validate(activation, normalization, width=width, depth=depth, out_features=out_features)
        _validate_pooling(pooling)
        if block not in BLOCKS:
            raise ValueError(f"block must be one of {', '.join(BLOCKS)}, got {block!r}")
        if activation == "crelu":
            raise ValueError(
                "a ResNet has no crelu, which doubles the features of the stream; an mlp and a cnn have it"
            )
        if len(input_shape) not in (1, 3):
            raise ValueError(f"a ResNet takes inputs of shape (features,) or (C, H, W), got {input_shape}")
        features, *size = input_shape
        layer = _conv if size else _linear
        norm = _norm(normalization, width, bool(size))
        into = [features, width][: 1 + depth % 2]
        self.stem_layers = nn.ModuleList([layer(i, width, 3) for i in into])
        self.activation = ACTIVATIONS[activation]()
        parts = [part for layer in self.stem_layers for part in (layer, norm(), self.activation)]
        self.stem = nn.Sequential(*(parts if BLOCKS[block].act_after else parts[:-1]))
        self.blocks = nn.ModuleList(
            [_Block(block, layer, norm, width, 3, activation) for _ in range((depth - 1 - len(into)) // 2)]
        )
        self.last = nn.Sequential(norm(), self.activation) if BLOCKS[block].act_before else nn.Identity()
        self.pool = _pool(pooling) if size else nn.Identity()
        self.head = Linear(width * (math.prod(size) if pooling == "none" else 1), out_features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.pool(self.last(x)).flatten(1))

    def wiring(self) -> Wiring:
        stream = (self.stem, *self.blocks)
        return Wiring(
            architecture="resnet",
            activation=self.activation,
            stem=_weights(self.stem_layers),
            blocks=tuple(block.wiring() for block in self.blocks if isinstance(block, _Block)),
            head=self.head,
            norms=tuple(m for m in self.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)),
            signals=stream,
            preactivations=stream,
        )


def _linear(into: int, out: int, kernel: int, bias: bool = True) -> Linear:  # noqa: ARG001 - as _conv
    return Linear(into, out, bias)


def _conv(into: int, out: int, kernel: int, bias: bool = True) -> Conv2d:
    return Conv2d(into, out, kernel, padding=kernel // 2, bias=bias)


def _norm(normalization: str, width: int, spatial: bool) -> Callable[[], nn.Module]:
    if normalization == "none":
        return nn.Identity
    return partial(nn.BatchNorm2d if spatial else nn.BatchNorm1d, width)


def _pool(pooling: str) -> nn.Module:
    return nn.AdaptiveAvgPool2d(1) if pooling == "average" else nn.Identity()


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
    if architecture == "mlp":
        return MLP(math.prod(input_shape), width, depth, out_features, activation, normalization)
    if architecture == "cnn":
        return CNN(input_shape, width, depth, out_features, activation, normalization)
    blocks = get(scheme).blocks if scheme is not None else None
    return ResNet(input_shape, width, depth, out_features, blocks[0] if blocks else "post", activation, normalization)
