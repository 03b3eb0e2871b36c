"""Networks made ready to be trained: built, initialized and probed, one of each point and seed."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from analysis.schema import PROBES
from isoinit import schemes
from isoinit.probe import probes
from sweeps.data import Dataset
from sweeps.network import network
from sweeps.spec import Point

PROBE_INPUTS: Final = 64
"""The probes, and the schemes that adapt to data, see the first so many training samples."""


class Prepared(NamedTuple):
    """A network that is ready to be trained, and its probes, by the names of `analysis.schema.PROBES`."""

    model: nn.Module
    probes: dict[str, float | None]


@contextmanager
def collected_later() -> Iterator[None]:
    """No search for unreachable objects as long as it lasts: a deep network is made of thousands, none of which is, and
    of the searches that they set off some go through all modules loaded, which took a millisecond a network."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@collected_later()
def prepare(
    wanted: Sequence[tuple[Point, int]], dataset: Dataset, device: torch.device
) -> dict[tuple[Point, int], Prepared]:
    """Build, initialize and probe the networks, one of each point and seed. On the CPU, so that the draws are the same
    for every device."""
    x, y = dataset.x_train[:PROBE_INPUTS], dataset.y_train[:PROBE_INPUTS]
    models = initialized(list(dict.fromkeys(wanted)), dataset, x)
    measured = probes(list(models.values()), x, y)
    if device.type != "cpu":
        for model in models.values():
            model.to(device)
    return {
        key: Prepared(model, {name: float(getattr(found, name)) for name in PROBES})
        for (key, model), found in zip(models.items(), measured, strict=True)
    }


def initialized(wanted: Sequence[tuple[Point, int]], dataset: Dataset, x: Tensor) -> dict[tuple[Point, int], nn.Module]:
    """The networks of points and seeds, with their first weights, the QRs of many done as one."""
    models: dict[tuple[Point, int], nn.Module] = {}

    def begun() -> Iterator[schemes.Steps]:
        for key in wanted:
            models[key] = network(key[0], dataset.input_shape, dataset.classes)
            yield _begun(models[key], *key, x)

    schemes.together(begun())
    return models


def _begun(model: nn.Module, point: Point, seed: int, x: Tensor) -> schemes.Steps:
    return schemes.begin(
        model,
        point.scheme,
        bias_variance=point.bias_variance,
        bias_mode=point.bias_mode,
        weight_scale=point.weight_scale,
        density=point.density,
        generator=generator(seed, "init"),
        data=x,
        compiled=True,
    )


def generator(seed: int, purpose: str) -> torch.Generator:
    """The source of a seed's draws for a purpose, "init" or "order": seeded by 8 bytes of sha256("purpose:seed")."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
