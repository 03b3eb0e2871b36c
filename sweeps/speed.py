"""How fast this machine trains and starts: measured once on a few of a sweep's points, corrected by every launch.

A launch notes how much slower or faster it was than measured, and how long it took to start; the median of the last few
counts, which one launch on a busy machine does not move.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from sweeps import data, train
from sweeps.spec import Point, SweepSpec, Training

SAMPLE: Final = 6
"""Points that the calibration trains."""
STARTUP: Final = 20.0
"""Seconds to start Ray, MLflow and the workers, until a launch on this machine has measured it."""
ROUNDS: Final = 3
"""Of the calibration: a shared machine disturbs single measurements."""
LONGEST: Final = 12.0
"""Seconds that the rounds may take; large networks get fewer steps."""
REMEMBERED: Final = 5
"""Launches whose times count."""


@dataclass(frozen=True)
class Speed:
    """Of one pack process while all of them work."""

    flops: float
    """FLOP/s of training."""
    layer_seconds: float
    """To initialize and probe a network, per layer."""

    def seconds(self, flops: float, layers: float) -> float:
        return flops / self.flops + layers * self.layer_seconds


def of(spec: SweepSpec, dataset: data.Dataset, points: list[Point], slots: int) -> Speed:
    """What was measured here, and how much slower the launches since then were."""
    cache, key = _cache(), _key(spec, slots)
    if key not in cache:
        measured = _measure(spec, dataset, points, slots)
        cache[key] = {"speed": [measured.flops, measured.layer_seconds], "slower": []}
        _write(cache)
    flops, layer_seconds = cache[key]["speed"]
    slower = statistics.median(cache[key]["slower"] or [1.0])
    return Speed(flops / slower, layer_seconds * slower)


def startup() -> float:
    """Seconds from the start of a launch to its first pack, and from its last one to its end."""
    return statistics.median(_cache().get("startup") or [STARTUP])


def remember(spec: SweepSpec, slots: int, flops: float, layers: float, busy: float, startup: float) -> None:
    """Note what a launch really took.

    Args:
        flops, layers, busy: trained, initialized, and seconds that it took, of all packs together.
        startup: seconds of the launch in which no pack was trained.
    """
    cache, key = _cache(), _key(spec, slots)
    if key in cache:  # or else it was measured by nobody, or somebody has removed the file
        slower = busy / Speed(*cache[key]["speed"]).seconds(flops, layers)
        cache[key]["slower"] = [*cache[key]["slower"], slower][-REMEMBERED:]
    _write(cache | {"startup": [*cache.get("startup", []), startup][-REMEMBERED:]})


def _measure(spec: SweepSpec, dataset: data.Dataset, points: list[Point], slots: int) -> Speed:
    """Train a few of the points for two lengths of time: the slope is speed, the rest initialization."""
    ordered = sorted(dict.fromkeys(points), key=lambda p: train.flops(p, dataset, spec.training))
    chosen = [ordered[round(i * (len(ordered) - 1) / (SAMPLE - 1))] for i in range(SAMPLE)]
    rate = min(spec.training.learning_rate)  # at which the fewest diverge
    members = [train.Member(p, 0, rate) for p in dict.fromkeys(chosen)]
    threads = max(1, int(spec.resources.cpus))  # of a worker; on its own, torch would take all cores in each

    def once(training: Training) -> None:
        torch.set_num_threads(threads)
        train.train(members, dataset, training)

    def seconds(steps: int) -> float:
        training = spec.training.model_copy(update={"steps": steps})
        with ThreadPoolExecutor(slots) as pool:
            started = time.perf_counter()
            for done in [pool.submit(once, training) for _ in range(slots)]:
                done.result()
            return time.perf_counter() - started

    seconds(2)  # compiles and warms
    step = seconds(2) / 2  # too long, for it initializes too
    short = max(1, min(max(5, spec.training.steps // 20), int(LONGEST / (5 * ROUNDS * step))))
    few, many = map(statistics.median, zip(*((seconds(short), seconds(4 * short)) for _ in range(ROUNDS)), strict=True))
    flops = sum(train.flops(m.point, dataset, spec.training) for m in members) / spec.training.steps
    slope = max((many - few) / (3 * short), 1e-9)
    layers = sum(p.depth for p in dict.fromkeys(chosen))
    return Speed(flops / slope, max(few - short * slope, 0.0) / layers)


def _key(spec: SweepSpec, slots: int) -> str:
    """What a speed depends on."""
    shapes = spec.model_dump(include={"dataset": True, "network": True, "space": {"depth", "width"}})
    what = [platform.node(), os.cpu_count(), torch.__version__, shapes, slots]
    what += [spec.training.optimizer, spec.training.batch_size]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "isoinit" / "speeds.json"


def _cache() -> dict[str, Any]:
    """What was measured on this machine; a file that cannot be read is as good as none."""
    try:
        return json.loads(_file().read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _write(known: dict[str, Any]) -> None:
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(known))
    partial.rename(file)
