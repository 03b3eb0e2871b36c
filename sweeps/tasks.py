"""What a pack is, and what the searcher is told of it. Without torch, for it is imported where nothing is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from sweeps.spec import Point


@dataclass(frozen=True)
class Task:
    """One trial: a point, its seeds, and why it was chosen."""

    trial_key: str
    point: Point
    seeds: tuple[int, ...]
    role: str
    number: int
    """The trial's number in the Optuna study that asked for it."""


@dataclass(frozen=True)
class Pack:
    """Trials that are trained together."""

    pack_id: str
    tasks: tuple[Task, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; points become mappings."""
        return {"pack_id": self.pack_id, "tasks": [{**asdict(t), "point": t.point._asdict()} for t in self.tasks]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Pack:
        tasks = (
            Task(t["trial_key"], Point(**t["point"]), tuple(t["seeds"]), t["role"], t["number"]) for t in data["tasks"]
        )
        return cls(data["pack_id"], tuple(tasks))


@dataclass(frozen=True)
class Origin:
    """Where records come from; resolved once by the driver, because workers may lack the repository."""

    sweep: str
    spec_sha256: str
    git_commit: str


@dataclass(frozen=True)
class Result:
    """What the searcher is told of one trial: small, finite, and enough."""

    number: int
    outcome: str
    score: float | None
    n_replicates: int
    n_trained: int


def results(part_table: pa.Table, pack: Pack) -> list[Result]:
    """What to tell the searcher of a finished part, in the order of the pack's tasks."""
    columns = ["trial_key", "outcome", "score", "n_replicates", "n_trained"]
    rows = {row.pop("trial_key"): row for row in part_table.select(columns).to_pylist()}
    return [Result(task.number, **rows[task.trial_key]) for task in pack.tasks]
