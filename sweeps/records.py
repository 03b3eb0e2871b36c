"""What is recorded of a pack: its replicates labelled, its trials summed up, both tables filled."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import torch

from analysis.outcome import Criterion, Curve, Label, Outcome, label
from analysis.schema import REPLICATES, TRIALS
from analysis.verdict import Replicate as Labelled
from analysis.verdict import summarize
from sweeps.history import Replicate
from sweeps.parts import part
from sweeps.spec import SweepSpec
from sweeps.tasks import Origin, Pack, Task
from sweeps.train import Member


def trained(
    pack: Pack,
    spec: SweepSpec,
    origin: Origin,
    members: list[Member],
    replicates: list[Replicate],
    criterion: Criterion,
    seconds: float,
    attempt: int,
    device: torch.device,
) -> pa.Table:
    """The part of a trained pack; `members` and `replicates` are in the order of its tasks, their seeds, the rates."""
    labels = [label(_curve(r, spec), criterion) for r in replicates]
    total = sum(r.flops for r in replicates)
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


def _replicate_row(task: Task, member: Member, r: Replicate, judged: Label) -> dict[str, Any]:
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
