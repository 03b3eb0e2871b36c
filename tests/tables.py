"""Synthetic tables of a sweep, for tests that need records but no training."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.outcome import Criterion, Curve, Label, label
from analysis.schema import REPLICATES, TRIALS
from analysis.verdict import Replicate, summarize

SCHEMES = ("he_normal", "orthogonal", "ll_orth")
RATES = (0.1, 0.01)
CRITERION = Criterion("train_accuracy", 0.8)


def pack(
    number: int = 0,
    trials: int = 4,
    *,
    sweep: str = "toy",
    seeds: int = 2,
    budget: int = 200,
    recorded: int = 10,
    failed: Sequence[int] = (),
    first: int | None = None,
    attempt: int = 1,
) -> tuple[pa.Table, pa.Table]:
    """`(trials, replicates)` of one pack: the same call gives the same tables.

    A depth limit of 30 layers at learning rate 0.01; everything diverges at 0.1 beyond 10 layers, and at any
    rate beyond 60, so there are infinities and NaNs. `failed` lists trials (by place) that the infrastructure lost.
    Trial keys are those of the trials `first`, `first + 1`, ... of the sweep (default: of this pack alone).
    """
    first = number * trials if first is None else first
    done = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    rows: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    for place in range(trials):
        index = first + place
        rng = np.random.default_rng(index)
        depth = int(np.exp(rng.uniform(math.log(2), math.log(100))))
        key = hashlib.sha256(f"{sweep}/{index}".encode()).hexdigest()[:24]
        lost = place in failed
        mine = [] if lost else [_replicate(key, s, r, depth, budget, recorded) for s in range(seeds) for r in RATES]
        verdict = (
            summarize([Replicate(m["seed"], m["learning_rate"], _label(m, budget)) for m in mine]) if mine else None
        )
        networks += mine
        rows.append(
            {
                "sweep": sweep, "trial_key": key, "pack_id": f"{sweep}-{number:05d}",
                "scheme": SCHEMES[index % len(SCHEMES)], "architecture": "mlp", "activation": "relu",
                "normalization": "none", "depth": depth, "width": 64, "weight_scale": 1.0, "bias_mode": "iid",
                "bias_variance": float(rng.choice([0.0, 0.01, 0.1])), "density": 1.0, "dataset": "digits",
                "optimizer": "sgd", "batch_size": 64, "steps": budget, "role": "random",
                "n_replicates": verdict.n_replicates if verdict else 0,
                "n_trained": verdict.n_trained if verdict else 0,
                "best_learning_rate": verdict.best_learning_rate if verdict else None,
                "outcome": str(verdict.outcome) if verdict else "failed",
                "score": verdict.score if verdict else None,
                "seconds": None if lost else 0.5, "flops": None if lost else 1e9 * depth,
                "device": None if lost else "cpu", "attempt": attempt,
                "git_commit": "0" * 40, "spec_sha256": "1" * 64, "finished_at": done,
            }
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=TRIALS), pa.Table.from_pylist(networks, schema=REPLICATES)


def _replicate(key: str, seed: int, rate: float, depth: int, budget: int, recorded: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, depth])
    steps = np.linspace(budget / recorded, budget, recorded).astype(int)
    speed = max(0.0, 1 - depth / 30) * 0.05
    accuracy = 1 - 0.9 * np.exp(-speed * steps) + 0.01 * rng.uniform(size=recorded)
    loss = 2.3 * (1 - accuracy)
    if depth > (10 if rate > 0.05 else 60):
        loss[recorded // 2 :] = [math.inf, *[math.nan] * (recorded - recorded // 2 - 1)]
        accuracy[recorded // 2 :] = 0.1
    diverged = not np.isfinite(loss).all()
    record: dict[str, Any] = dict.fromkeys(REPLICATES.names)
    record |= {
        "trial_key": key, "seed": seed, "learning_rate": rate, "steps_run": budget,
        "final_train_loss": float(loss[-1]), "final_train_accuracy": float(accuracy[-1]),
        "test_accuracy": None if diverged else float(accuracy[-1]) - 0.02,
        "curve_step": steps.tolist(), "curve_loss": loss.tolist(), "curve_accuracy": accuracy.tolist(),
        "log_forward_ratio": -0.01 * depth, "log_gradient_ratio": math.nan if diverged else 0.1,
        "dead_fraction": 0.5, "jacobian_sv_max": math.inf if diverged else 2.0,
    }  # fmt: skip
    verdict = _label(record, budget)
    return record | {"outcome": str(verdict.outcome), "steps_to_threshold": verdict.steps_to_threshold}


def _label(record: dict[str, Any], budget: int) -> Label:
    curve = Curve(record["curve_step"], record["curve_loss"], record["curve_accuracy"], budget)
    return label(curve, CRITERION)
