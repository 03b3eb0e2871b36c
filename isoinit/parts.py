"""What the bodies of `isoinit.networks` and `isoinit.resnet` share: the check of their options, and small parts."""

from numbers import Integral
from typing import cast

from torch import nn

from isoinit.activations import ACTIVATIONS
from isoinit.layers import WeightLayer

NORMALIZATIONS = ("none", "batch")
_FORMS = {1: "(features,)", 3: "(C, H, W)"}


def validate(activation: str, normalization: str, **sizes: int) -> None:
    """ValueError if a body has no such activation or normalization, or a size (width, depth, ...) is too small."""
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization must be one of {', '.join(NORMALIZATIONS)}, got {normalization!r}")
    for name, size in sizes.items():
        least = 2 if name == "depth" else 1
        if not isinstance(size, Integral):
            raise ValueError(f"{name} must be a whole number, got {size!r}")
        if size < least:
            raise ValueError(f"{name} must be at least {least}, got {size}")


def validate_input(body: str, input_shape: object, *dimensions: int) -> None:
    """ValueError unless inputs of this shape have one of these numbers of dimensions, and a size in each."""
    sizes = input_shape if isinstance(input_shape, tuple | list) else ()
    if len(sizes) not in dimensions or not all(isinstance(size, Integral) and int(size) >= 1 for size in sizes):
        forms = " or ".join(_FORMS[number] for number in dimensions)
        raise ValueError(f"{body} takes inputs of shape {forms}, got {input_shape!r}")


def validate_pooling(pooling: str) -> None:
    """ValueError if a body has no such pooling."""
    if pooling not in ("average", "none"):
        raise ValueError(f"pooling must be 'average' or 'none', got {pooling!r}")


def pool_of(pooling: str) -> nn.Module:
    """What stands before the head, of images (batch, channels, H, W)."""
    return nn.AdaptiveAvgPool2d(1) if pooling == "average" else nn.Identity()


def weights_of(layers: nn.ModuleList) -> tuple[WeightLayer, ...]:
    """The layers of a list that holds nothing but weight layers."""
    return cast(tuple[WeightLayer, ...], tuple(layers))
