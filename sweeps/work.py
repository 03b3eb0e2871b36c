"""The work of a pack: train its replicates, in as few parts as fit the device, and put them on record (`records`).

Free of ray, optuna and mlflow, so that the same work runs in an actor, in this process, or again
in a replay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import torch

from analysis.outcome import Criterion
from sweeps import memory, records, train
from sweeps.data import Dataset
from sweeps.history import Replicate
from sweeps.spec import SweepSpec
from sweeps.tasks import Origin, Pack


def device_for(gpus: float) -> torch.device:
    """The device a pack trains on: an accelerator if one was assigned, else the CPU."""
    accelerator = torch.accelerator.current_accelerator() if gpus and torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def run(
    pack: Pack,
    spec: SweepSpec,
    dataset: Dataset,
    origin: Origin,
    *,
    attempt: int = 1,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> pa.Table:
    """Train a pack and return its ledger part (both tables of its trials)."""
    members = [
        train.Member(task.point, seed, rate)
        for task in pack.tasks
        for seed in task.seeds
        for rate in spec.training.learning_rate
    ]
    criterion = spec.criterion.build()
    started = time.perf_counter()
    replicates = _train(members, dataset, spec, criterion, torch.device(device), progress)
    seconds = time.perf_counter() - started
    return records.trained(pack, spec, origin, members, replicates, criterion, seconds, attempt, torch.device(device))


@contextmanager
def waiting(device: torch.device) -> Iterator[Callable[[], float]]:
    """Seconds, once it is over, that this process was ready to compute and others had its core.

    On an accelerator that cannot be told from waiting for its results: none.
    """
    started, used = time.perf_counter(), time.process_time()
    found = 0.0
    yield lambda: found
    if device.type == "cpu":
        found = max((time.perf_counter() - started) - (time.process_time() - used), 0.0)


def _train(
    members: list[train.Member],
    dataset: Dataset,
    spec: SweepSpec,
    criterion: Criterion,
    device: torch.device,
    progress: Callable[[int], None] | None,
) -> list[Replicate]:
    """Train in as few parts as fit the device's memory: replicates do not interact."""
    return [
        replicate
        for fitting in memory.partition(members, dataset, spec.training, device)
        for replicate in _halving(fitting, dataset, spec, criterion, device, progress)
    ]


def _halving(
    members: list[train.Member],
    dataset: Dataset,
    spec: SweepSpec,
    criterion: Criterion,
    device: torch.device,
    progress: Callable[[int], None] | None,
) -> list[Replicate]:
    """Train, and halve the members as often as the device runs out of memory all the same."""
    try:
        return train.train(members, dataset, spec.training, criterion=criterion, device=device, progress=progress)
    except torch.OutOfMemoryError:
        if len(members) == 1:
            raise
    if device.type != "cpu":
        torch.accelerator.memory.empty_cache()
    half = len(members) // 2
    return [
        replicate
        for part_of in (members[:half], members[half:])
        for replicate in _halving(part_of, dataset, spec, criterion, device, progress)
    ]
