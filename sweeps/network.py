"""The network of a point: how it is built, and how much work it is to train."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from isoinit import networks
from sweeps.data import Dataset
from sweeps.spec import Point, Training


def flops(point: Point, dataset: Dataset, training: Training) -> float:
    """Multiplications and additions of the weight layers of one replicate that trains for all its steps.

    Per sample and weight (at each position, in a convolution) 2 forward, 2 for the weight's gradient and 2 for
    the input's, which the first layer does not need.
    """
    return training.steps * training.batch_size * _sample_flops(shape_of(point), dataset.input_shape, dataset.classes)


@lru_cache(maxsize=1024)
def _sample_flops(shape: Point, input_shape: tuple[int, ...], classes: int) -> float:
    model = network(shape, input_shape, classes)  # not on the meta device, which loads torch's compiler, in seconds
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    if all(isinstance(layer, nn.Linear) for layer in layers):  # at one position each
        products = [layer.weight.numel() for layer in layers]
    else:
        products = _products(model, layers, input_shape)
    return 2.0 * (3 * sum(products) - products[0])


@torch.no_grad()
def _products(model: nn.Module, layers: Sequence[nn.Module], input_shape: tuple[int, ...]) -> list[int]:
    """Multiplications per sample of every layer, in the order in which they are run."""
    found: list[int] = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer.weight, Tensor)
        found.append(layer.weight.numel() * output[0].numel() // output.shape[1])

    for layer in layers:
        layer.register_forward_hook(count)
    model.eval()(torch.empty(1, *input_shape))
    return found


def shape_of(point: Point) -> Point:
    """What a point says of its network's shape; the other axes at fixed values."""
    return point._replace(weight_scale=1.0, bias_mode="zero", bias_variance=0.0, density=1.0)


def network(point: Point, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network of a point, not initialized."""
    return networks.build(
        point.architecture,
        input_shape,
        width=point.width,
        depth=point.depth,
        out_features=classes,
        activation=point.activation,
        normalization=point.normalization,
        scheme=point.scheme,
    )
