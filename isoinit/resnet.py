"""The residual body: a stem, blocks of two weight layers of one of the types in `BLOCKS`, and a head."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from isoinit.activations import ACTIVATIONS
from isoinit.layers import Conv2d, Linear, WeightLayer
from isoinit.parts import pool_of, validate, validate_input, validate_pooling, weights_of
from isoinit.schemes import Residual, Wiring


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
            branch=weights_of(self.branch),
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
        validate(activation, normalization, width=width, depth=depth, out_features=out_features)
        validate_pooling(pooling)
        if block not in BLOCKS:
            raise ValueError(f"block must be one of {', '.join(BLOCKS)}, got {block!r}")
        if activation == "crelu":
            raise ValueError(
                "a ResNet has no crelu, which doubles the features of the stream; an mlp and a cnn have it"
            )
        validate_input("a ResNet", input_shape, 1, 3)
        features, *size = input_shape
        layer = _conv if size else _linear
        norm = _norm(normalization, width, bool(size))
        into = [features, width][: 1 + depth % 2]
        self.activation = ACTIVATIONS[activation]()
        parts = [part for i in into for part in (layer(i, width, 3), norm(), self.activation)]
        self.stem = nn.Sequential(*(parts if BLOCKS[block].act_after else parts[:-1]))
        self.blocks = nn.ModuleList(
            [_Block(block, layer, norm, width, 3, activation) for _ in range((depth - 1 - len(into)) // 2)]
        )
        self.last = nn.Sequential(norm(), self.activation) if BLOCKS[block].act_before else nn.Identity()
        self.pool = pool_of(pooling) if size else nn.Identity()
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
            stem=tuple(part for part in self.stem if isinstance(part, Linear | Conv2d)),
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
