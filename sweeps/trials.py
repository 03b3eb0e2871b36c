"""The trials of a sweep in its Optuna study: asked for as tasks, told by their results, taken over from a ledger.

Nothing but finite scores is ever told. A trial's point, seeds and key are those of the sweep; Optuna knows only the
parameters that move.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import Trial, TrialState, create_trial

from analysis.outcome import Outcome
from sweeps.boundary import ROLE
from sweeps.space import Space
from sweeps.spec import Point, SweepSpec
from sweeps.tasks import Result, Task


class Trials:
    """Those of one study, which belongs to it; see the module's docstring."""

    def __init__(self, study: optuna.Study, design: Space, spec: SweepSpec, data_digest: str) -> None:
        self._study, self._design, self._spec, self._digest = study, design, spec, data_digest
        self._running: dict[int, tuple[Trial, Task]] = {}
        self._visits: Counter[Point] = Counter()
        self._keys: set[str] = set()  # of earlier launches
        self.rows: list[dict[str, Any]] = []
        """Finished trials, as far as a map needs them: axes, role, counts and outcome."""

    def ask(self) -> Task:
        trial = self._study.ask(self._design.distributions)
        point = self._design.point(trial.params)
        key, seeds = self._unused(point)
        role = self._study.get_trials(deepcopy=False)[-1].system_attrs.get(ROLE, self._spec.search.sampler)
        task = Task(key, point, seeds, role, trial.number)
        self._running[trial.number] = trial, task
        return task

    def ask_again(self, task: Task) -> Task:
        """A task of an earlier launch as a new, running trial of this study, with its key and role."""
        self._keys.add(task.trial_key)
        self._study.enqueue_trial(self._design.params(task.point))
        trial = self._study.ask(self._design.distributions)
        self._study._storage.set_trial_system_attr(trial._trial_id, ROLE, task.role)  # not `enqueued`
        again = replace(task, number=trial.number)
        self._running[trial.number] = trial, again
        return again

    def tell(self, result: Result) -> None:
        """Tell Optuna a result; a failed trial is told as failed, which samplers leave out."""
        trial, task = self._running.pop(result.number)
        if result.outcome == Outcome.FAILED:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for name in ("n_trained", "n_replicates", "outcome"):
            trial.set_user_attr(name, getattr(result, name))
        self._study.tell(trial, result.score)
        self.rows.append(_row(task.point, task.role, vars(result)))

    def take_over(self, row: Mapping[str, Any]) -> None:
        """A finished trial of a ledger, as one of this study."""
        point = Point(**{name: row[name] for name in Point._fields})
        self._keys.add(row["trial_key"])
        self.rows.append(_row(point, row["role"], row))
        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=row["score"],
                params=self._design.params(point),
                distributions=self._design.distributions,
                user_attrs={name: row[name] for name in ("n_trained", "n_replicates", "outcome")},
                system_attrs={ROLE: row["role"]},  # the sampler counts them
            )
        )

    def _unused(self, point: Point) -> tuple[str, tuple[int, ...]]:
        """Key and seeds of the next visit of a point, none of an earlier launch: the ledger would keep but one of two.
        Their number does not tell, for the journal may have lost a visit."""
        while True:
            seeds = self._spec.seeds(self._visits[point])
            self._visits[point] += 1
            key = self._spec.trial_key(point, seeds, self._digest)
            if key not in self._keys:
                return key, seeds


def _row(point: Point, role: str, result: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: result[name] for name in ("n_replicates", "n_trained", "outcome")}
    return {**point._asdict(), "role": role, **counts}
