"""The runs of sweeps, and of their trials, that MLflow has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sweeps.mlflow_store import restore
from sweeps.mlflow_uri import ELSEWHERE, shown
from sweeps.runcard import FOLDER_ID

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SWEEPS: Final = "isoinit.sweeps"
"""Tag of an experiment with the name of ours that it was made by: it keeps it when somebody renames the experiment."""


def experiments(client: MlflowClient, experiment: str) -> list[str]:
    """Ids of the experiments with our runs: the one of this name first, then those that had it before a renaming.

    Raises:
        ValueError: somebody has deleted that of the name, which MLflow can undo.
    """
    found = client.get_experiment_by_name(experiment)
    if found is not None and found.lifecycle_stage == "deleted":
        again = restore(client.tracking_uri, "experiment", found.experiment_id)
        raise ValueError(
            f"MLflow at {shown(client.tracking_uri)}: the experiment {experiment!r} was deleted there; {again}, "
            f"or {ELSEWHERE}"
        )
    renamed = client.search_experiments(filter_string=f"tags.`{SWEEPS}` = '{experiment}'")
    named = [] if found is None else [found.experiment_id]
    return list(dict.fromkeys([*named, *(e.experiment_id for e in renamed)]))


def parents(client: MlflowClient, experiment: str) -> dict[str, Run]:
    """The parent run of each sweep by its name, of several the first of `all_parents`."""
    return {name: runs[0] for name, runs in all_parents(client, experiment).items()}


def all_parents(client: MlflowClient, experiment: str, folder_id: str | None = None) -> dict[str, list[Run]]:
    """Parent runs by the name of their sweep, the one that counts first; empty if there is no such experiment.

    Raises:
        ValueError: somebody has deleted it, which MLflow can undo.
    """
    known: dict[str, list[Run]] = {}
    for run in _search(client, experiments(client, experiment), "tags.kind = 'sweep'"):
        if {"sweep", "spec_sha256"} <= run.data.tags.keys():
            known.setdefault(run.data.tags["sweep"], []).append(run)
    return {name: sorted(runs, key=lambda run: _rank(run, folder_id)) for name, runs in known.items()}


def _rank(run: Run, folder_id: str | None) -> tuple[bool, float, int, str]:
    """What counts more comes first: the folder's own run, for no other may get its trials.

    One that was deleted, sent again and then restored is there twice: of those the one with most trials, of which an
    export lacks least, and which stays ahead, for it gets the next ones; of equals the oldest, which others link to.
    """
    foreign = folder_id is None or run.data.tags.get(FOLDER_ID) != folder_id
    return foreign, -run.data.metrics.get("trials/all", 0.0), run.info.start_time, run.info.run_id


def deleted(client: MlflowClient, experiment: str, name: str) -> str:
    """What brings back the run of a sweep that somebody has deleted; empty if nobody has."""
    places = experiments(client, experiment)
    found = _search(client, places, "tags.kind = 'sweep'", gone=True)
    mine = next((run for run in found if run.data.tags.get("sweep") == name), None)  # a name may have quotes in it
    return "" if mine is None else restore(client.tracking_uri, "run", mine.info.run_id)


def children(client: MlflowClient, parent: Run) -> list[Run]:
    """The runs of a sweep's trials; its user may keep runs of his own under the sweep's too."""
    only = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return [run for run in _search(client, [parent.info.experiment_id], only) if "trial.key" in run.data.tags]


def _search(client: MlflowClient, places: list[str], only: str, *, gone: bool = False) -> Iterator[Run]:
    """Runs that the filter `only` lets through, or those that were deleted."""
    from mlflow.entities import ViewType

    view = ViewType.DELETED_ONLY if gone else ViewType.ACTIVE_ONLY
    token: str | None = None
    while places:
        page = client.search_runs(places, only, view, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
