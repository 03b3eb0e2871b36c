"""The calibration of a plan: a few of a sweep's points are trained here, for two lengths of time.

The slope is the speed, what the shorter one takes beside it is initialization. So that a plan is soon there, of large
networks few are trained, and long measurements are not repeated.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from sweeps import data, network, train
from sweeps.history import Replicate
from sweeps.spec import Point, SweepSpec, Training

METHOD: Final = 3
"""How it is measured: what another method measured is measured anew."""
SAMPLE: Final = 6
"""Points that the calibration trains."""
HEAVY: Final = 1e10
"""FLOP of a step of the calibration, of the order of a second on a core: of larger networks it trains fewer a point."""
LONG: Final = 5.0
"""Seconds of a measurement that is not repeated: what disturbs it is as good as averaged."""
SHOWING: Final = 2e11
"""FLOP that show which networks diverge, unless eight steps take more."""
STILL: Final = 1e-12
"""Learning rate at which none diverges while it is timed."""
ROUNDS: Final = 3
"""Of the calibration: a shared machine disturbs single measurements."""
CLEAR: Final = 1.0
"""Seconds of training that stand out from the noise; small networks train for more steps until they take as long."""


@dataclass(frozen=True)
class Speed:
    """Of one pack process while all of them work."""

    flops: float
    """FLOP/s of training."""
    layer_seconds: float
    """To initialize and probe a network, per layer."""
    share: float = 1.0
    """Of the FLOPs those that are run, for some networks diverge and end."""

    def seconds(self, flops: float, layers: float) -> float:
        return flops / self.flops + layers * self.layer_seconds


def measure(spec: SweepSpec, dataset: data.Dataset, points: list[Point], slots: int) -> Speed:
    """Train a few of the points for two lengths of time: the slope is speed, what one of them takes is the rest."""
    chosen = _some(spec, dataset, points)
    networks = spec.training.seeds * len(spec.training.learning_rate)  # stacked as in a trial
    step = networks * sum(network.flops(p, dataset, spec.training) for p in chosen) / spec.training.steps
    count = max(1, min(networks, int(networks * HEAVY / step)))
    seeds = [seed for seed in spec.seeds() for _ in spec.training.learning_rate][:count]
    members = [train.Member(p, seed, STILL) for p in chosen for seed in seeds]
    threads = max(1, int(spec.resources.cpus))  # of a worker; on its own, torch would take all cores in each

    def once(training: Training) -> float:
        torch.set_num_threads(threads)
        return sum(r.flops for r in train.train(members, dataset, training))

    def timed(steps: int, at_once: int = slots) -> tuple[float, float]:
        training = spec.training.model_copy(update={"steps": steps})
        with ThreadPoolExecutor(at_once) as pool:
            started = time.perf_counter()
            flops = [done.result() for done in [pool.submit(once, training) for _ in range(at_once)]]
            return time.perf_counter() - started, flops[0]

    timed(2)  # compiles and warms
    rounds = [(timed(2), timed(steps := 8))]
    while _difference(*rounds[0]) < max(CLEAR, rounds[0][0][0] / 2) and steps < spec.training.steps:
        steps = min(4 * steps, spec.training.steps)
        rounds = [(timed(2), timed(steps))]
    repeats = ROUNDS if rounds[0][1][0] < LONG else 1
    rounds += [(timed(2), timed(steps)) for _ in range(repeats - 1)]
    few, many = (statistics.median(seconds for seconds, _ in runs) for runs in zip(*rounds, strict=True))
    less, more = (flops for _, flops in rounds[0])
    slope = (many - few) / (more - less) if many > few and more > less else many / more
    # initialization is Python, for which threads wait for each other as the workers, processes, do not
    alone = statistics.median(timed(2, at_once=1)[0] for _ in range(repeats)) if slots > 1 else few
    layers = len(set(seeds)) * sum(p.depth for p in chosen)
    return Speed(1 / slope, max(alone - less * slope, 0.0) / layers, _kept(spec, dataset, chosen, step, steps))


def warm(spec: SweepSpec, dataset: data.Dataset, points: list[Point]) -> None:
    """Compile what training such points needs, as `measure` does beside its measurement, once an installation."""
    training = spec.training.model_copy(update={"steps": 2})
    train.train(
        [train.Member(p, spec.training.first_seed, STILL) for p in _some(spec, dataset, points)], dataset, training
    )


def _some(spec: SweepSpec, dataset: data.Dataset, points: list[Point]) -> list[Point]:
    """A few of the points, from the smallest network to the largest."""
    ordered = sorted(dict.fromkeys(points), key=lambda p: network.flops(p, dataset, spec.training))
    places = dict.fromkeys(round(i * (len(ordered) - 1) / (SAMPLE - 1)) for i in range(SAMPLE))
    return [ordered[i] for i in places]


def _difference(few: tuple[float, float], many: tuple[float, float]) -> float:
    return many[0] - few[0]


def _kept(spec: SweepSpec, dataset: data.Dataset, chosen: Sequence[Point], step: float, steps: int) -> float:
    """Of the budget's FLOPs those that are run, as far as the first steps of the points' networks show it.

    Of all networks, or where they are large of those of the first seed, at all learning rates.
    """
    rates, seeds = spec.training.learning_rate, spec.seeds()[: None if step <= HEAVY else 1]
    some = step * len(seeds) / spec.training.seeds
    seen = max(8, min(steps, int(SHOWING / some)))
    members = [train.Member(p, seed, rate) for p in chosen for seed in seeds for rate in rates]
    trained = train.train(members, dataset, spec.training.model_copy(update={"steps": seen}))
    return _share(trained, len(members) // len(chosen), seen, spec.training.steps)


def _share(trained: Sequence[Replicate], networks: int, steps: int, budget: int) -> float:
    """Of the budget's FLOPs those that are run, if of these networks no more diverge than had by `steps`.

    The points are few and unlike, and a sampler moves on from where all diverge: one standard error above what they
    showed (of a ratio: Cochran, Sampling techniques, 1977, chapter 6). They are point by point, `networks` of each.
    """
    whole = np.array([r.flops / r.steps_run * budget for r in trained])
    run = np.array([r.flops if r.steps_run < steps else full for r, full in zip(trained, whole, strict=True)])
    share = run.sum() / whole.sum()
    residuals = (run - share * whole).reshape(-1, networks).sum(1)
    points = len(residuals)
    error = math.sqrt(points / max(1, points - 1) * (residuals @ residuals)) / whole.sum()
    return min(1.0, float(share + error))
