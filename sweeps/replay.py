"""Train one trial of a sweep again, alone, and compare it with the record, curve by curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from sweeps import data, provenance, work
from sweeps.parts import split
from sweeps.rundir import RunDir
from sweeps.spec import Point
from sweeps.tasks import Origin, Pack, Task

TOLERANCE = 1e-4
"""Largest difference of two losses (relative to 1 + loss) that rounding explains before training makes it grow."""


@dataclass(frozen=True)
class Replayed:
    """How a replay compares with the record."""

    trial_key: str
    networks: int
    identical: int
    """Networks whose curves are the same to the last bit."""
    largest: float
    """Largest difference of the loss curves, relative to 1 + loss."""
    parted: int | None
    """First recorded step at which a loss differs by more than `TOLERANCE`; None if none does."""
    grown: bool
    """Whether rounding that grew explains it: all curves began alike, and what such networks are stacked with, or the
    machine, changes the rounding of their sums."""
    same_outcomes: bool
    recorded_commit: str
    commit: str

    @property
    def same(self) -> bool:
        return self.same_outcomes and (self.parted is None or self.grown)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "same": self.same}

    def sentence(self) -> str:
        until = "" if self.parted is None else f" up to rounding, which has grown by step {self.parted}"
        verdict = f"the same{until}" if self.same else "DIFFERENT"
        text = (
            f"{self.trial_key}: {verdict}; {self.identical} of {self.networks} networks identical to the last bit, "
            f"largest relative difference of a loss {self.largest:.1e}, outcomes "
            f"{'the same' if self.same_outcomes else 'different'}"
        )
        if self.recorded_commit != self.commit:
            text += f"\n(recorded by {self.recorded_commit}, replayed by {self.commit})"
        return text


def replay(run: RunDir, trial_key: str, data_folder: str | None = None) -> Replayed:
    """Train the trial whose key begins with `trial_key`.

    Raises:
        ValueError: no trial, or more than one, has such a key, or the trial failed.
    """
    trials, replicates = run.ledger.read()
    rows = [row for row in trials.to_pylist() if row["trial_key"].startswith(trial_key)]
    if len(rows) != 1:
        found = ", ".join(row["trial_key"] for row in rows[:5]) + ", ..." * (len(rows) > 5) or "none"
        raise ValueError(f"trial key {trial_key!r} must begin the key of one trial, but begins: {found}")
    row = rows[0]
    mine = replicates.filter(pc.field("trial_key") == row["trial_key"])
    if not mine.num_rows:
        raise ValueError(f"trial {row['trial_key']} failed: there is no record to compare a replay with")
    spec = run.spec()
    dataset = data.load(spec.dataset, folder=data_folder)
    seeds = tuple(dict.fromkeys(mine["seed"].to_pylist()))
    point = Point(**{name: row[name] for name in Point._fields})
    key = spec.trial_key(point, seeds, dataset.digest)
    if key != row["trial_key"]:
        raise ValueError(
            f"trial {row['trial_key']} cannot be replayed: with today's data or numerics it would be {key}; "
            f"it was recorded by {row['git_commit']}"
        )
    pack = Pack("replay", (Task(key, point, seeds, row["role"], 0),))
    origin = Origin(spec.name, spec.sha256, provenance.git_commit())
    trial, again = (table.to_pylist() for table in split(work.run(pack, spec, dataset, origin)))
    plain = point.architecture == "mlp" and point.normalization == "none"
    exact = plain and row["device"] == trial[0]["device"]
    return _compare(key, mine.to_pylist(), again, row["git_commit"], origin.git_commit, exact)


def _compare(
    key: str, before: list[dict[str, Any]], after: list[dict[str, Any]], recorded: str, commit: str, exact: bool
) -> Replayed:
    again = {(r["seed"], r["learning_rate"]): r for r in after}
    pairs = [(r, again[r["seed"], r["learning_rate"]]) for r in before]
    differences = [_differences(a["curve_loss"], b["curve_loss"]) for a, b in pairs]
    parted = [
        max(a["curve_step"], b["curve_step"], key=len)[int(np.argmax(found > TOLERANCE))]
        for (a, b), found in zip(pairs, differences, strict=True)
        if (found > TOLERANCE).any()
    ]
    return Replayed(
        key,
        len(pairs),
        sum(np.array_equal(a["curve_loss"], b["curve_loss"], equal_nan=True) for a, b in pairs),
        max(float(found.max(initial=0.0)) for found in differences),
        min(parted, default=None),
        not exact and all(found[:1].max(initial=0.0) <= TOLERANCE for found in differences),
        all(a["outcome"] == b["outcome"] for a, b in pairs),
        recorded,
        commit,
    )


def _differences(before: list[float], after: list[float]) -> np.ndarray:
    """|a - b| / (1 + |a|) at every recorded step [S]; infinite where only one is finite, or is there at all."""
    shared, longest = sorted((len(before), len(after)))
    a, b = np.array(before[:shared]), np.array(after[:shared])
    finite = np.isfinite(a) & np.isfinite(b)
    found = np.where(np.isfinite(a) == np.isfinite(b), 0.0, np.inf)
    found[finite] = np.abs(a[finite] - b[finite]) / (1 + np.abs(a[finite]))
    return np.append(found, np.full(longest - shared, np.inf))
