"""The end of a run: the map is drawn and sent to MLflow; what the user is told of it is in `ending`.

If MLflow cannot be reached then, `sync` does the same later.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis import maps, tables
from analysis.draw.region import draw_map
from analysis.outcome import Criterion, Outcome, Task
from analysis.region import usable
from analysis.schema import Took
from sweeps import data, mlflow_uri, provenance, tracking
from sweeps.ending import End, page_text
from sweeps.failures import disk, writing
from sweeps.launch import Finished
from sweeps.ready import identity
from sweeps.rundir import RunDir
from sweeps.tasks import Origin


def close(finished: Finished) -> End:
    """Draw the map of what is there so far, and put it and a summary on the sweep's MLflow page."""
    limits, notes, paths, reason = _map(finished.run, finished.trials, finished.criterion)
    outcomes = Counter(finished.trials["outcome"].to_pylist())
    end = End(
        finished.run.path.name,
        outcomes.total() - outcomes[Outcome.FAILED],
        finished.new_trials,
        finished.replicates.num_rows,
        dict(outcomes),
        limits,
        notes,
        [str(path) for path in paths],
        reason,
        finished.seconds,
        finished.predicted_seconds,
        finished.unpublished,
        finished.interrupted,
        finished.goal,
        finished.others,
        mlflow_uri.shown(finished.tracker.uri),
        _page(finished.tracker),
        finished.errors,
    )
    took = None if end.predicted_seconds is None else Took(end.trials, end.seconds, end.predicted_seconds)
    status = "KILLED" if finished.interrupted else "FINISHED"
    _note(end, finished.run, status=status, took=took)  # `sync` sends them if the store cannot be reached now
    if finished.unpublished and finished.tracker.failure is not None:
        end.errors.append(f"MLflow lacks packs: {finished.tracker.failure}")
    if finished.tracker.run_id is not None and not finished.unpublished:
        try:
            finished.tracker.finish(page_text(end.networks, limits, notes, took), paths, status, took)
        except ValueError as error:
            end.errors.append(f"the map is not in MLflow: {error}")
        else:
            if paths or not limits:
                _note(end, finished.run, closed=mlflow_uri.shown(finished.tracker.uri))
    return end


def sync(run: RunDir, uri: str) -> int:
    """Send MLflow what it lacks of a sweep, the map of what is there and how long it took; how many parts it lacked.

    Raises:
        ValueError: the store cannot be reached, the map cannot be written, the sweep is running and publishes by
            itself, or it is a copy of one that may.
    """
    if reason := run.misnamed():
        raise ValueError(reason)
    mlflow_uri.check(uri)
    spec, state = run.spec(), run.state()
    digest = state.get("data_digest") or data.load(spec.dataset, folder=state.get("data_folder")).digest
    with run.driving():
        trials, replicates = run.ledger.read()
        commits = trials["git_commit"].unique().to_pylist()
        origin = Origin(spec.name, spec.sha256, commits[-1] if commits else provenance.git_commit())
        tracker = tracking.Tracker(
            uri, identity(spec, digest, state.get("between"), origin, run.path.parent, state.get("folder_id"))
        )
        sent = tracking.sync(run.ledger, tracker)
        if sent or state.get("closed") != mlflow_uri.shown(uri) or not tracker.mapped():
            limits, notes, paths, reason = _map(run, trials, spec.criterion.build())
            if limits and not paths:
                raise ValueError(f"there is no map to send: {reason}")
            took = Took(*state["took"]) if state.get("took") else None
            text = page_text(replicates.num_rows, limits, notes, took)
            done = sum(outcome != Outcome.FAILED for outcome in trials["outcome"].to_pylist())
            unknown = "FINISHED" if done >= spec.search.trials else "KILLED"  # if its driver was killed
            tracker.finish(text, paths, state.get("status", unknown), took)
            run.note(closed=mlflow_uri.shown(uri))
    return sent


def _note(end: End, run: RunDir, **ended: Any) -> None:
    """Put on record how a launch ended; a disk that does not take it is told, once."""
    try:
        run.note(**ended)
    except OSError as error:
        said = f"how the sweep ended is not on record: {disk(error)}"
        end.errors.extend([] if said in end.errors else [said])


def _map(
    run: RunDir, trials: pa.Table, criterion: Criterion
) -> tuple[list[dict[str, Any]], list[str], list[Path], str]:
    try:
        trials = usable(trials)
        model = maps.fitted(trials)
        known: dict[str, float | None] = dict.fromkeys(
            trials["dataset"].unique().to_pylist(), run.state().get("between")
        )
        task = Task(criterion, {name: share for name, share in known.items() if share is not None})
        info = maps.region_map(trials, sweep=run.path.name, criterion=str(criterion), model=model, task=task)
        limits = maps.scheme_limits(trials, model, task)
    except ValueError as error:  # no trial or too few, or no axis to draw: a fact about the sweep
        return [], [], [], str(error)
    rows, notes = limits.to_pylist(), tables.notes(limits, trials)
    try:
        with writing(run.maps):
            run.maps.mkdir(exist_ok=True)
            return rows, notes, draw_map(info, run.maps / "map"), ""
    except OSError as error:  # what was trained is on the disk: that there is no room for pictures loses nothing
        return rows, notes, [], f"{disk(error)}; when that is mended 'sweep sync' draws it"


def _page(tracker: tracking.Tracker) -> str:
    server = tracker.uri.rstrip("/") if tracker.uri.startswith("http") else "http://127.0.0.1:5000"
    return server if tracker.run_id is None else server + tracker.page()
