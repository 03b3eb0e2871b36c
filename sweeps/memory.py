"""How many members fit a device at once: estimated from shapes, before anything is put there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor, nn

from sweeps import train
from sweeps.data import Dataset
from sweeps.network import network, shape_of
from sweeps.spec import Point, Training

SHARE: Final = 0.7
"""Of the free memory; chosen: the rest is for the libraries' workspaces and for fragmentation."""
_COPIES: Final = 3
"""Tensors per output of a layer: what is kept for the backward pass, its gradient, and one in passing."""
_BYTES: Final = 4  # float32


def free(device: torch.device) -> float:
    """Bytes that a device has left; infinite on a CPU, where a pack is small against the memory.

    What earlier packs of this process have given up counts as left, for torch keeps it to itself, to give it out again.
    """
    if device.type == "cpu":
        return float("inf")
    kept = torch.accelerator.memory_reserved(device) - torch.accelerator.memory_allocated(device)
    return float(torch.accelerator.get_memory_info(device)[0] + kept)


def partition(
    members: Sequence[train.Member], dataset: Dataset, training: Training, device: torch.device
) -> list[list[train.Member]]:
    """The members in order, cut where the next one would no longer fit into the device's free memory."""
    room = SHARE * free(device)
    if math.isinf(room):  # sizes are not free: the first loads torch's compiler, which takes seconds
        return [list(members)]
    sizes = [member_bytes(m.point, dataset, training) for m in members]
    cuts, used = [0], 0.0
    for i, size in enumerate(sizes):
        if used + size > room and i > cuts[-1]:
            cuts.append(i)
            used = 0.0
        used += size
    return [list(members[start:stop]) for start, stop in itertools.pairwise([*cuts, len(members)])]


def member_bytes(point: Point, dataset: Dataset, training: Training) -> int:
    """Estimated bytes that one member needs while it trains: parameters, gradients, moments and layer outputs."""
    parameters, outputs = _sizes(shape_of(point), dataset.input_shape, dataset.classes)
    moments = 2 if training.optimizer == "adam" else int(training.momentum > 0)
    return _BYTES * (parameters * (3 + moments) + outputs * training.batch_size * _COPIES)


@lru_cache(maxsize=1024)
def _sizes(shape: Point, input_shape: tuple[int, ...], classes: int) -> tuple[int, int]:
    """Parameters of a network, and outputs of all its layers per sample, with the input."""
    outputs = [torch.Size((1, *input_shape)).numel()]

    def count(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output.numel())

    with torch.device("meta"):
        model = network(shape, input_shape, classes)
        for module in model.modules():
            if not any(module.children()):
                module.register_forward_hook(count)
        model.eval()(torch.empty(1, *input_shape))
    return sum(p.numel() for p in model.parameters()), sum(outputs)
