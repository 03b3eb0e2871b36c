"""Whether this machine has room for a sweep, asked before anything is allocated: what is too large says so at once."""

from __future__ import annotations

import math
from typing import Final

import torch

from sweeps import chance, machine
from sweeps.data import Dataset
from sweeps.space import Space
from sweeps.spec import Point, Resources, SweepSpec

SHARE: Final = 0.7
"""Of the memory; chosen: the rest is for data, libraries and other programs."""
LAYER: Final = 10_000
"""Bytes that a layer takes besides its numbers, as Python objects; chosen, of their order."""
_BYTES: Final = 4  # float32
_TAPS: Final = 9  # weights of a convolution per pair of channels


def check(spec: SweepSpec, design: Space, dataset: Dataset) -> None:
    """See that packs of this spec can be trained here.

    Raises:
        ValueError: a pack asks for more CPUs or GPUs than there are, or the largest networks do not fit the memory.
    """
    _check_devices("cpus", spec.resources.cpus, machine.cores())
    if spec.resources.gpus != "auto":
        _check_devices("gpus", spec.resources.gpus, torch.accelerator.device_count())
    networks = spec.training.seeds * len(spec.training.learning_rate)
    packs = packs_at_once(spec.resources)

    def needs(point: Point) -> float:
        """Of one pack, which trains one network at a time or more."""
        return networks * _bytes(point, spec, dataset) + _features(point, spec, dataset)

    largest, there = max(design.corners(), key=needs), machine.memory()
    if packs * needs(largest) > SHARE * there:
        raise ValueError(
            f"space: the {networks} networks of a trial of depth {largest.depth} and width {largest.width}, in batches "
            f"of {spec.training.batch_size}, take about {needs(largest) / 1e9:.3g} GB while they train, and {packs} "
            f"packs at once must fit {SHARE:.0%} of this machine's {there / 1e9:.3g} GB; lower space.depth, "
            "space.width, training.batch_size or training.seeds, or resources.packs_at_once, so that fewer packs run"
        )


def packs_at_once(resources: Resources) -> int:
    """How many packs this machine trains at once: as many as its cores are enough for, unless fewer are asked for."""
    fit = max(1, int(machine.cores() / resources.cpus))
    return fit if resources.packs_at_once == "auto" else min(fit, resources.packs_at_once)


def check_data(spec: SweepSpec, dataset: Dataset) -> None:
    """See that the networks of this spec can be trained on these data.

    Raises:
        ValueError: there are fewer samples than asked for, a convolution has no images to look at, batches have one
            number to normalize, or chance alone meets the criterion.
    """
    if "cnn" in spec.network.architecture and len(dataset.input_shape) != 3:
        raise ValueError(
            f"network.architecture: cnn looks at images (samples, height, width[, channels]), but {dataset.name} holds "
            f"{dataset.input_shape[0]} features a sample; choose mlp or resnet"
        )
    alone = spec.training.batch_size == math.prod(dataset.input_shape[1:]) == 1
    if alone and "batch" in spec.network.normalization:  # of an mlp, `possible` says so without the data
        raise ValueError(
            "training.batch_size must be at least 2 with network.normalization batch, where a sample has but one "
            f"number of a kind, as those of {dataset.name}, but got 1"
        )
    chance.check(spec, dataset)


def _check_devices(kind: str, wanted: float, there: int) -> None:
    if wanted > there:
        raise ValueError(
            f"resources.{kind}: a pack asks for {wanted:g}, but this machine has {there}; ask for less, or train on a "
            "Ray cluster with --address"
        )


def _bytes(point: Point, spec: SweepSpec, dataset: Dataset) -> float:
    """About what one replicate takes while it trains: parameters, gradients, what it began with, and moments."""
    taps = 1 if point.architecture == "mlp" else _TAPS
    inputs = math.prod(dataset.input_shape) if point.architecture == "mlp" else dataset.input_shape[0]
    parameters = point.width * taps * (float(point.depth) * point.width + inputs)
    moments = 2 if spec.training.optimizer == "adam" else int(spec.training.momentum > 0)
    return _BYTES * parameters * (3 + moments) + LAYER * point.depth


def _features(point: Point, spec: SweepSpec, dataset: Dataset) -> float:
    """What the layers of one network give for a batch, which is kept for the way back; torch keeps more of it."""
    pixels = 1 if point.architecture == "mlp" else math.prod(dataset.input_shape[1:])
    return _BYTES * float(point.depth) * point.width * pixels * spec.training.batch_size
