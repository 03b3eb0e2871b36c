"""How a pack becomes records: train its replicates, label them, fill both tables.

Free of ray, optuna and mlflow, so that the same work runs in an actor, in this process, or again
in a replay.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import torch

from analysis.outcome import Criterion, Curve, Label, Outcome, label
from analysis.schema import REPLICATES, TRIALS
from analysis.verdict import Replicate as Labelled
from analysis.verdict import summarize
from sweeps import memory, train
from sweeps.data import Dataset
from sweeps.history import Replicate
from sweeps.ledger import part
from sweeps.spec import SweepSpec
from sweeps.tasks import Origin, Pack, Task


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
    return _records(pack, spec, origin, members, replicates, criterion, seconds, attempt, torch.device(device))


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


def failed(pack: Pack, spec: SweepSpec, origin: Origin, *, attempt: int) -> pa.Table:
    """The part of a pack that the infrastructure failed: its trials are on record, but are no data."""
    rows = [
        {
            **_trial_row(task, pack, spec, origin, attempt),
            "n_replicates": 0,
            "n_trained": 0,
            "outcome": Outcome.FAILED.value,
        }
        for task in pack.tasks
    ]
    return part(pa.Table.from_pylist(rows, schema=TRIALS), REPLICATES.empty_table())


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


def _records(
    pack: Pack,
    spec: SweepSpec,
    origin: Origin,
    members: list[train.Member],
    replicates: list[Replicate],
    criterion: Criterion,
    seconds: float,
    attempt: int,
    device: torch.device,
) -> pa.Table:
    labels = [label(_curve(r, spec), criterion) for r in replicates]
    total = sum(r.flops for r in replicates) or 1.0
    per_trial = len(spec.training.learning_rate) * spec.training.seeds
    trials: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for i, task in enumerate(pack.tasks):
        mine = slice(i * per_trial, (i + 1) * per_trial)
        group = list(zip(members[mine], replicates[mine], labels[mine], strict=True))
        summary = summarize([Labelled(m.seed, m.learning_rate, judged) for m, _, judged in group])
        flops = sum(r.flops for _, r, _ in group)
        trials.append(
            {
                **_trial_row(task, pack, spec, origin, attempt),
                **summary._asdict(),
                "outcome": summary.outcome.value,
                "seconds": seconds * flops / total,
                "flops": flops,
                "device": f"{device.type} {platform.node()}",
            }
        )
        rows += [_replicate_row(task, m, r, judged) for m, r, judged in group]
    return part(pa.Table.from_pylist(trials, schema=TRIALS), pa.Table.from_pylist(rows, schema=REPLICATES))


def _trial_row(task: Task, pack: Pack, spec: SweepSpec, origin: Origin, attempt: int) -> dict[str, Any]:
    return {
        "sweep": origin.sweep,
        "trial_key": task.trial_key,
        "pack_id": pack.pack_id,
        **task.point._asdict(),
        "dataset": spec.dataset,
        "optimizer": spec.training.optimizer,
        "batch_size": spec.training.batch_size,
        "steps": spec.training.steps,
        "role": task.role,
        "attempt": attempt,
        "git_commit": origin.git_commit,
        "spec_sha256": origin.spec_sha256,
        "finished_at": datetime.now(UTC),
    }


def _replicate_row(task: Task, member: train.Member, r: Replicate, judged: Label) -> dict[str, Any]:
    return {
        "trial_key": task.trial_key,
        "seed": member.seed,
        "learning_rate": member.learning_rate,
        "outcome": judged.outcome.value,
        "steps_run": r.steps_run,
        "steps_to_threshold": judged.steps_to_threshold,
        "final_train_loss": r.final_train_loss,
        "final_train_accuracy": r.final_train_accuracy,
        "test_accuracy": r.test_accuracy,
        "curve_step": r.curve_step,
        "curve_loss": r.curve_loss,
        "curve_accuracy": r.curve_accuracy,
        **r.probes,
    }


def _curve(r: Replicate, spec: SweepSpec) -> Curve:
    return Curve(
        r.curve_step,
        r.curve_loss,
        r.curve_accuracy,
        spec.training.steps,
        r.test_accuracy,
        r.probes["log_forward_ratio"],
        r.probes["log_gradient_ratio"],
    )
