"""Networks made ready to be trained: built, initialized and probed, one of each point and seed."""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from analysis.schema import PROBES
from isoinit import MLP, schemes
from isoinit.probe import probes
from isoinit.schemes import alike
from sweeps.data import Dataset
from sweeps.network import network
from sweeps.spec import Point

Key = tuple[Point, int]
"""A point and a seed."""

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
def prepare(wanted: Sequence[Key], dataset: Dataset, device: torch.device) -> dict[Key, Prepared]:
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


def initialized(wanted: Sequence[Key], dataset: Dataset, x: Tensor) -> dict[Key, nn.Module]:
    """The networks of points and seeds, with their first weights: narrow ones that are alike but in depth made as one,
    and the QRs of many done as one."""
    models: dict[Key, nn.Module] = {}

    def begun() -> Iterator[schemes.Steps]:
        for keys in _groups(wanted, dataset):
            if len(keys) > 1:
                yield _begun_as_one(models, keys, dataset, x)
            else:
                (key,) = keys
                models[key] = network(key[0], dataset.input_shape, dataset.classes)
                yield _begun(models[key], *key, x)

    schemes.together(begun())
    return {key: models[key] for key in wanted}


def _groups(wanted: Sequence[Key], dataset: Dataset) -> Iterator[list[Key]]:
    """What to make as one: no more numbers than the cache holds."""
    inputs, classes = math.prod(dataset.input_shape), dataset.classes
    groups: dict[Point, list[Key]] = {}
    numbers: dict[Point, int] = {}
    for key in wanted:
        point = key[0]
        plain = point.architecture == "mlp" and point.normalization == "none"
        if not (plain and schemes.get(point.scheme).by_runs):
            yield [key]
            continue
        form = _form(point)
        size = point.width * (inputs + point.width * (point.depth - 2) + classes)
        if form in groups and numbers[form] + size > schemes.AT_ONCE:
            yield groups.pop(form)
        numbers[form] = size + (numbers[form] if form in groups else 0)
        groups.setdefault(form, []).append(key)
    yield from groups.values()


def _form(point: Point) -> Point:
    """What points have in common whose networks are made as one: that they have hidden layers, or have none."""
    return point._replace(depth=min(point.depth, 3), weight_scale=1.0, bias_variance=0.0)


def _begun_as_one(made: dict[Key, nn.Module], keys: Sequence[Key], dataset: Dataset, x: Tensor) -> schemes.Steps:
    form = _form(keys[0][0])
    inputs, depths = math.prod(dataset.input_shape), [point.depth for point, _ in keys]
    models = MLP.alike(inputs, form.width, depths, dataset.classes, form.activation)
    made.update(zip(keys, models, strict=True))
    return alike.begin(
        models,
        form.scheme,
        [alike.Request(generator(seed, "init"), point.bias_variance, point.weight_scale) for point, seed in keys],
        bias_mode=form.bias_mode,
        density=form.density,
        data=x,
    )


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
