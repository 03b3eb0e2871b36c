"""A dry run: what the sampler of a sweep would ask for, before anything is trained.

Where an adaptive one will go is not known before: `boundary` is told a share of the theory's depth limits for
outcomes, because of short budgets theory's limits are too deep, and an optimizer is taken for an even spread.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sweeps.journal import Journal
from sweeps.limits import Kind
from sweeps.samplers import SAMPLERS
from sweeps.search import PackSearch, pack_size
from sweeps.space import Space
from sweeps.spec import Point, SweepSpec
from sweeps.tasks import Result, Task

SEEKING: Final = 96
"""Trials of a dry run that seeks the boundary: enough to see where it goes, few enough to wait for."""
EARLY: Final = 0.7
"""Share of theory's depth limit taken to train within a small budget of steps; chosen by what digits showed."""


def evenly(spec: SweepSpec, design: Space) -> tuple[list[Task], int]:
    """What the sampler would ask for, an adaptive one replaced by an even spread, and in how many packs."""
    even = spec
    if SAMPLERS[spec.search.sampler].adaptive:
        even = spec.model_copy(update={"search": spec.search.model_copy(update={"sampler": "sobol"})})
    tasks = _ask_all(even, design, lambda _: False)
    return tasks, _packs(spec, len(tasks))


def _packs(spec: SweepSpec, trials: int) -> int:
    asked, count = 0, 0
    while asked < trials:
        asked, count = asked + pack_size(spec, asked), count + 1
    return count


def seeking(spec: SweepSpec, design: Space, even: Sequence[Task], limits: Mapping[Kind, Sequence[float]]) -> list[Task]:
    """What the boundary sampler would ask for first, if every kind of network trained down to a share of its limit by
    theory.

    Args:
        even: what `evenly` found.
        limits: depth limits of each kind by theory; if there are none, it is taken to train down to the middle of the
            depths.
    """
    depths = [t.point.depth for t in even]
    middle = math.sqrt(min(depths) * max(depths))
    ends = {kind: EARLY * statistics.median(found) if found else middle for kind, found in limits.items()}
    trials = min(spec.search.trials, SEEKING)
    spec = spec.model_copy(update={"search": spec.search.model_copy(update={"trials": trials})})
    return _ask_all(spec, design, lambda point: point.depth <= ends.get(Kind.of(point), middle))


def _ask_all(spec: SweepSpec, design: Space, trains: Callable[[Point], bool]) -> list[Task]:
    """Every trial that a sampler asks for when `trains` tells the outcomes."""
    tasks: list[Task] = []
    with tempfile.TemporaryDirectory() as folder:
        search = PackSearch(spec, design, "plan", Journal(Path(folder) / "packs.jsonl"))
        while (pack := search.ask()) is not None:
            tasks += pack.tasks
            search.tell(_told(task, trains(task.point)) for task in pack.tasks)
    return tasks


def _told(task: Task, trained: bool) -> Result:
    n = len(task.seeds)
    return Result(task.number, "trained", 0.5, n, n) if trained else Result(task.number, "slow", -0.5, n, 0)
