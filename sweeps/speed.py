"""How fast this machine trains and starts: measured once on a few of a sweep's points, corrected by every launch.

A launch notes how much more or less than planned its packs took, be it for the machine or for where the sampler went,
and how long it took to start. The median of the last few counts, which one odd launch does not move; of those that
shared the machine with other work only if all did, so that a busy hour does not spoil the plans of a quiet one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch

import isoinit
import sweeps
from isoinit.editions import edition
from sweeps import calibration, data, machine
from sweeps.calibration import Speed
from sweeps.spec import Point, SweepSpec

STARTUP: Final = 5.0
"""Seconds to start Ray, MLflow and the workers, beside the planning meanwhile, and to end: on two cores ten launches
of MLPs took 2 to 8, median 4. Counts as one more launch."""
SWEEPING: Final = 1.2
"""How many times as long packs take as the calibration, which trains and nothing else: five kinds of sweep on two cores
1.1 to 1.4 (MLPs; one of ResNets 0.7). Counts as one more kind, for a kind that was not launched yet."""
REMEMBERED: Final = 5
"""Launches whose times count."""
INSTALLATIONS: Final = 20
"""Of which it is known that what such a sweep needs is compiled."""
QUIET: Final = 0.25
"""Of the packs' time the share in which others may have their cores, for a launch to count as alone: on two cores the
sweep's own driver had .02 to .18 (ten launches), and with it one other busy process .5 (one launch)."""


def of(spec: SweepSpec, dataset: data.Dataset, points: list[Point], slots: int) -> Speed:
    """What was measured here, corrected by what the launches since then took."""
    cache, key, here = _cache(), _key(spec, dataset.digest, slots), _installation()
    if key not in cache:
        measured = calibration.measure(spec, dataset, points, slots)
        cache[key] = {"speed": list(astuple(measured)), "compiled": [here]}
        _write(cache)
    elif here not in (compiled := cache[key].get("compiled", [])):
        calibration.warm(spec, dataset, points)  # or the workers would, in time that no plan knows of
        cache[key]["compiled"] = [*compiled, here][-INSTALLATIONS:]
        _write(cache)
    flops, layer_seconds, share = cache[key]["speed"]
    slower = statistics.median(_usual(cache[key]["launches"])) if "launches" in cache[key] else _elsewhere(cache)
    return Speed(flops / slower, layer_seconds * slower, share)


def _installation() -> str:
    """Where compiled code is kept, and of which sources."""
    folders = Path(sweeps.__file__).with_name("kernel"), Path(isoinit.__file__).with_name("narrow")
    return " ".join(f"{folder} {edition(folder)}" for folder in folders)


def startup() -> float:
    """Seconds from the start of a launch to its first pack, and from its last one to its end."""
    return statistics.median([STARTUP, *_usual(_cache().get("startups", []))])


def alone(others: float) -> bool:
    """Whether a launch, of whose packs' time other programs had this share, says how fast the machine is."""
    return others <= QUIET


def _usual(launches: Sequence[tuple[float, float]]) -> list[float]:
    """What launches took, (number, share of the time that others had) each: the quiet ones if there are any."""
    quiet = [took for took, others in launches if alone(others)]
    return quiet or [took for took, _ in launches]


def _elsewhere(cache: dict[str, Any]) -> float:
    """How many times as long as measured the packs of other kinds of sweep took."""
    kinds = [known["launches"] for known in cache.values() if isinstance(known, dict) and "launches" in known]
    return statistics.median([SWEEPING, *(statistics.median(_usual(launches)) for launches in kinds)])


def remember(
    spec: SweepSpec,
    data_digest: str,
    slots: int,
    flops: float,
    layers: float,
    busy: float,
    startup: float,
    others: float,
) -> None:
    """Note what a launch really took.

    Args:
        flops, layers: planned, if no network diverges.
        busy: seconds that it took, of all packs together.
        startup: seconds of the launch in which no pack was trained.
        others: share of `busy` in which other programs had the cores.
    """
    cache, key = _cache(), _key(spec, data_digest, slots)
    if key in cache:  # or else it was measured by nobody, or somebody has removed the file
        measured = Speed(*cache[key]["speed"])
        slower = busy / measured.seconds(measured.share * flops, layers)
        cache[key]["launches"] = [*cache[key].get("launches", []), (slower, others)][-REMEMBERED:]
    _write(cache | {"startups": [*cache.get("startups", []), (startup, others)][-REMEMBERED:]})


def _key(spec: SweepSpec, data_digest: str, slots: int) -> str:
    """What a speed depends on."""
    shapes = spec.model_dump(include={"network": True, "space": {"depth", "width"}})
    what = [platform.node(), machine.cores(), version("isoinit"), torch.__version__, calibration.METHOD, slots]
    what += [data_digest, shapes, spec.training.optimizer, spec.training.batch_size, spec.training.learning_rate]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "isoinit" / "speeds.json"


def _cache() -> dict[str, Any]:
    """What was measured on this machine; a file that cannot be read is as good as none."""
    try:
        found = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(known: dict[str, Any]) -> None:
    """Keep what was measured, if there is a place for it: where there is none it is measured every time."""
    file = _file()
    partial = file.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(known))
        partial.rename(file)
