"""The biases of a network: drawn after its weights."""

import math
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from isoinit.layers import WeightLayer
from isoinit.schemes.base import Draw, Scheme
from isoinit.schemes.places import interleave
from isoinit.schemes.wiring import Wiring, bias_of, biases_of, copy_each, groups


def require_mirrored(scheme: Scheme, wiring: Wiring) -> None:
    """ValueError unless every hidden bias can be [c; -c], in the groups of its layer and of the next."""
    for layer, bias, blocks in _biased(scheme, wiring):
        size = len(bias)
        if layer is not wiring.head and blocks > 1 and size % (2 * blocks):
            raise ValueError(f"bias_mode 'mirrored' inside {blocks} groups needs a width divisible by {2 * blocks}, "
                             f"got {size}; 'iid' takes any")  # fmt: skip


def draw_biases(scheme: Scheme, wiring: Wiring, draw: Draw, mode: str, deviation: float) -> None:
    """Set the biases that a bias variance reaches: independent, or in the hidden layers [c; -c] (`mode` "mirrored")."""
    biased = [(bias, (len(bias), mode == "mirrored" and layer is not wiring.head, blocks))
              for layer, bias, blocks in _biased(scheme, wiring)]  # fmt: skip
    alike = [(form, [bias for bias, _ in part]) for form, part in groupby(biased, key=lambda pair: pair[1])]
    normals = draw.normals([(len(biases), size) for (size, _, _), biases in alike])
    for ((size, mirrored, blocks), biases), values in zip(alike, normals, strict=True):
        values.mul_(deviation)
        if mirrored:
            _mirror(values)
            if blocks > 1:
                values = values[:, interleave(size, blocks)]
        copy_each(biases, values)


def draw_biases_as_one(
    wirings: Sequence[Wiring], draws: Sequence[Draw], mode: str, deviations: Sequence[float]
) -> None:
    """`draw_biases` of MLPs alike but in depth, with as many outputs as no hidden layer has, in all layers."""
    hidden = [bias for own in wirings for bias in biases_of(own.stem)]
    heads = [bias for own in wirings for bias in biases_of([own.head])]
    numbers = [len(own.stem) * len(hidden[0]) for own in wirings]
    drawn = [draw.normal(n + len(heads[0])).tensor_split((n,)) for draw, n in zip(draws, numbers, strict=True)]
    scale = heads[0].new_tensor(deviations).unsqueeze(1)
    within = torch.cat([part for part, _ in drawn]).view(len(hidden), -1)
    last = torch.cat([part for _, part in drawn]).view(len(heads), -1)
    within.mul_(scale.repeat_interleave(torch.tensor([len(own.stem) for own in wirings]), 0))
    if mode == "mirrored":
        _mirror(within)
    copy_each(hidden, within)
    copy_each(heads, last.mul_(scale))


def _biased(scheme: Scheme, wiring: Wiring) -> list[tuple[WeightLayer, Tensor, int]]:
    """The layers with a bias that a bias variance reaches, their biases, and into how many blocks the groups of the
    layer and of the next cut the units."""
    layers = scheme.biased(wiring)
    successors = [groups(layer) for layer in layers[1:]] + [1]
    return [
        (layer, bias, math.lcm(groups(layer), after))
        for layer, after in zip(layers, successors, strict=True)
        if (bias := bias_of(layer)) is not None
    ]


def _mirror(values: Tensor) -> None:
    """[c; -c] in the rows (n, size), in place, and of an odd size the last as it is."""
    half = values.shape[1] // 2
    values[:, half : 2 * half] = -values[:, :half]
