"""Synthetic exports: a folder as `sweep export` writes it, with a trainable region that is known."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from matplotlib.figure import Figure

from analysis.draw import canvas
from analysis.outcome import Criterion, Curve, label
from analysis.schema import REPLICATES, TRIALS
from analysis.verdict import Replicate, summarize

LIMITS = {"xavier_normal": 9.0, "he_normal": 18.0, "orthogonal": 22.0, "ll_orth": 60.0}
"""True depth limit of each scheme at zero bias variance and width 64; it grows with the root of the width."""
RATES = (0.1, 0.01)
STEPS = 100
CRITERION = Criterion("train_accuracy", 0.8)
SPEC: dict[str, Any] = {
    "name": "made-up",
    "question": "Does the map find the limits that were put in?",
    "dataset": "digits",
    "network": {"architecture": "mlp", "activation": "relu"},
    "space": {
        "scheme": list(LIMITS),
        "depth": {"low": 2, "high": 100, "log": True},
        "width": 64,
        "bias_variance": {"low": 1e-4, "high": 1.0, "log": True, "zero": True},
    },
    "training": {"optimizer": "sgd", "learning_rate": list(RATES), "batch_size": 64, "steps": STEPS, "seeds": 2},
    "criterion": {"metric": "train_accuracy", "at_least": 0.8},
    "search": {"sampler": "random", "trials": 120, "batch": 16, "audit": 0.1},
}


def true_limit(scheme: str, bias_variance: float, width: int = 64) -> float:
    """The looks-linear limit falls to that of orthogonal as biases break its mirror; the others are flat."""
    limit = LIMITS[scheme] * math.sqrt(width / 64)
    floor = LIMITS["orthogonal"] * math.sqrt(width / 64)
    return floor + (limit - floor) / (1 + bias_variance / 0.05) if scheme == "ll_orth" else limit


def tables(
    n: int = 80, *, seed: int = 0, widths: tuple[int, ...] = (64,), seeds: int = 2, shared_points: bool = False
) -> tuple[pa.Table, pa.Table]:
    """`(trials, replicates)` of `n` random trials, every seventh an audit trial, every 40th lost.

    With `shared_points` every scheme is trained at the same points.
    """
    rng = np.random.default_rng(seed)
    schemes = list(LIMITS)
    rows: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    depth, bias, width = 2, 0.0, widths[0]
    for index in range(n):
        if not shared_points or index % len(schemes) == 0:
            depth = round(math.exp(rng.uniform(math.log(2), math.log(100))))
            bias = 0.0 if rng.uniform() < 0.15 else 10 ** rng.uniform(-4, 0)
            width = int(rng.choice(widths))
        scheme = schemes[index % len(schemes)]
        key = hashlib.sha256(f"{seed}/{index}".encode()).hexdigest()[:24]
        point = {"scheme": scheme, "depth": depth, "width": width, "bias_variance": float(bias)}
        lost = index % 40 == 39
        mine = [] if lost else [_network(key, point, s, rate, rng) for s in range(seeds) for rate in RATES]
        rows.append(_trial(key, index, point, mine))
        networks += mine
    return pa.Table.from_pylist(rows, schema=TRIALS), pa.Table.from_pylist(networks, schema=REPLICATES)


def write(folder: Path, trials: pa.Table, replicates: pa.Table, spec: dict[str, Any] | None = None) -> Path:
    """Two parts per table, as a sweep of several packs would have."""
    for name, table in (("trials", trials), ("replicates", replicates)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        half = len(table) // 2
        pq.write_table(table.slice(0, half), folder / name / "part-0.parquet", compression="zstd")
        pq.write_table(table.slice(half), folder / name / "part-1.parquet", compression="zstd")
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC if spec is None else spec, sort_keys=False))
    return folder


def replaced(table: pa.Table, **columns: Any) -> pa.Table:
    """The table with other values in some columns: a list of them, or one for all rows."""
    for name, value in columns.items():
        place = table.schema.get_field_index(name)
        values = value if isinstance(value, list) else [value] * len(table)
        table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return table


def _trial(key: str, index: int, point: dict[str, Any], mine: list[dict[str, Any]]) -> dict[str, Any]:
    verdict = (
        summarize([Replicate(m["seed"], m["learning_rate"], label(_curve(m), CRITERION)) for m in mine])
        if mine
        else None
    )
    return {
        **point,
        "sweep": "made-up", "trial_key": key, "pack_id": f"made-up-{index // 16:05d}", "architecture": "mlp",
        "activation": "relu", "normalization": "none", "weight_scale": 1.0, "bias_mode": "iid", "density": 1.0,
        "dataset": "digits", "optimizer": "sgd", "batch_size": 64, "steps": STEPS,
        "role": "audit" if index % 7 == 6 else "boundary",
        "n_replicates": verdict.n_replicates if verdict else 0, "n_trained": verdict.n_trained if verdict else 0,
        "best_learning_rate": verdict.best_learning_rate if verdict else None,
        "outcome": str(verdict.outcome) if verdict else "failed", "score": verdict.score if verdict else None,
        "seconds": 0.25, "flops": 1e9 * point["depth"], "device": "cpu", "attempt": 1,
        "git_commit": "0" * 40, "spec_sha256": "1" * 64, "finished_at": datetime(2026, 1, 1, 12, tzinfo=UTC),
    }  # fmt: skip


def _network(key: str, point: dict[str, Any], seed: int, rate: float, rng: np.random.Generator) -> dict[str, Any]:
    """Trains at the smaller rate iff its depth is below the true limit, blurred by 5 % in log depth."""
    limit = true_limit(point["scheme"], point["bias_variance"], point["width"]) * math.exp(rng.normal(0, 0.05))
    trains = point["depth"] < limit
    steps = np.arange(10, STEPS + 1, 10)
    top = 0.97 if trains else min(0.75, 0.1 + 1.5 * max(0.0, 1.3 - point["depth"] / limit))
    accuracy = 0.1 + (top - 0.1) * (1 - np.exp(-steps / (15 + 20 * min(point["depth"] / limit, 1))))
    loss = 2.3 * (1 - accuracy)
    if rate == RATES[0] and point["depth"] > 0.7 * limit:
        loss[4:] = math.nan
        accuracy[4:] = 0.1
    diverged = not np.isfinite(loss).all()
    record: dict[str, Any] = dict.fromkeys(REPLICATES.names)
    record |= {
        "trial_key": key, "seed": seed, "learning_rate": rate, "steps_run": 50 if diverged else STEPS,
        "final_train_loss": float(loss[-1]), "final_train_accuracy": float(accuracy[-1]),
        "test_accuracy": None if diverged else float(accuracy[-1]) - 0.02,
        "curve_step": steps.tolist(), "curve_loss": np.float32(loss).tolist(),
        "curve_accuracy": np.float32(accuracy).tolist(),
        "log_forward_ratio": -0.7 * point["depth"] if point["scheme"] == "xavier_normal" else -0.02 * point["depth"],
        "log_gradient_ratio": 0.1, "sample_variance_last": 0.5, "correlation_last": 0.9, "dead_fraction": 0.5,
        "jacobian_sv_min": 1e-3, "jacobian_sv_median": 0.5, "jacobian_sv_max": 2.0,
    }  # fmt: skip
    verdict = label(_curve(record), CRITERION)
    return record | {"outcome": str(verdict.outcome), "steps_to_threshold": verdict.steps_to_threshold}


def _curve(record: dict[str, Any]) -> Curve:
    curve = (record["curve_step"], record["curve_loss"], record["curve_accuracy"])
    return Curve(*curve, STEPS, record["test_accuracy"], record["log_forward_ratio"], record["log_gradient_ratio"])


def undrawn(patch: pytest.MonkeyPatch) -> None:
    """Figures are made, and their files are empty: to draw them takes longer than all else that a command does."""

    def touched(_: Figure, to: object, **__: object) -> None:
        if isinstance(to, Path):
            to.touch()

    patch.setattr(Figure, "savefig", touched)
    patch.setattr(canvas, "_lay_out", lambda _: None)
