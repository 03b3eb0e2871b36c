"""The runs of a sweep's trials in MLflow: child runs of the sweep's own, one for each trial.

A run that a kill or a failure left behind is completed and not made again. New ones go into a database many at once
(`bulk`); to a server, one by one.
mlflow itself is imported when it is first needed: that takes seconds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.outcome import Outcome
from sweeps import bulk, runcard
from sweeps.bulk import FinishedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class _Child(NamedTuple):
    run_id: str
    outcome: str
    complete: bool


class TrialRuns:
    """Those of one sweep, whose run is `parent`, of which `there` are already; see the module's docstring."""

    def __init__(self, client: MlflowClient, parent: Run, there: Iterable[Run]) -> None:
        self._client = client
        self._parent, self._experiment_id = parent.info.run_id, parent.info.experiment_id
        self._known = dict(self._reconciled(run) for run in there)

    def lack(self, row: Mapping[str, Any]) -> bool:
        """Whether a trial has no run yet, an unfinished one, or one that says something else than its result."""
        known = self._known.get(row["trial_key"])
        if known is None or not known.complete:
            return True
        return known.outcome != row["outcome"] != Outcome.FAILED

    def outcomes(self) -> Counter[str]:
        return Counter(child.outcome for child in self._known.values() if child.complete)

    def write(self, rows: Sequence[Mapping[str, Any]], stop: threading.Event | None = None) -> bool:
        """Write the runs of these trials; False if `stop` was set before all of them were."""
        if bulk.possible(self._client):
            rows = self._write_new(rows)
        for row in rows:
            if stop is not None and stop.is_set():
                return False
            self._known[row["trial_key"]] = self._write(row)
        return True

    def _reconciled(self, run: Run) -> tuple[str, _Child]:
        """A child run by its trial's key. One left RUNNING by a kill is completed when its part comes again."""
        if run.info.status == "RUNNING":
            self._client.set_terminated(run.info.run_id, "KILLED")
        tags = run.data.tags
        outcome = tags.get("outcome", "")
        # a failure's run whose outcome somebody has changed says so by its status alone
        complete = run.info.status == _status(outcome)
        return tags["trial.key"], _Child(run.info.run_id, outcome, complete)

    def _write_new(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Create the runs of trials that have none, at once; returns the other rows."""
        known = [row for row in rows if row["trial_key"] in self._known]
        new = [row for row in rows if row["trial_key"] not in self._known]
        ids = bulk.write(self._client, self._experiment_id, [_finished_run(row, self._parent) for row in new])
        for child, row in zip(ids, new, strict=True):
            self._known[row["trial_key"]] = _Child(child, row["outcome"], complete=True)
        return known

    def _write(self, row: Mapping[str, Any]) -> _Child:
        """Create the trial's run, or complete the one that a kill or a failure left behind."""
        from mlflow.entities import Metric, Param, RunTag

        run = _finished_run(row, self._parent)
        known, tags = self._known.get(row["trial_key"]), run.tags
        if known is None:
            made = self._client.create_run(self._experiment_id, run.started, dict(tags), run.name)
            child, tags = made.info.run_id, {}
        else:
            child = known.run_id
        self._client.log_batch(
            child,
            [Metric(key, value, run.ended, step) for key, value, step in run.numbers],
            [Param(key, value) for key, value in run.params.items()],
            [RunTag(key, value) for key, value in tags.items()],
        )
        self._client.set_terminated(child, run.status, run.ended)
        return _Child(child, row["outcome"], complete=True)


def _finished_run(row: Mapping[str, Any], parent: str) -> FinishedRun:
    ended = int(row["finished_at"].timestamp() * 1000)
    return FinishedRun(
        name=runcard.trial_name(row),
        started=ended - int(1000 * (row["seconds"] or 0)),
        ended=ended,
        status=_status(row["outcome"]),
        tags=runcard.trial_tags(row, parent),
        params=runcard.trial_params(row),
        numbers=runcard.trial_numbers(row),
    )


def _status(outcome: str) -> str:
    return "FAILED" if outcome == Outcome.FAILED else "FINISHED"
