"""Many finished runs at once, straight into the tables of MLflow's database.

MLflow's client wants three calls a run, each with transactions of its own: 30 ms of CPU, which at a thousand small
networks a minute is as much as their training. Here a pack is one transaction, through MLflow's own models of its
tables, whose release is pinned; a test holds every row against those that the client writes. Only for a database that
this process has opened: to a server, and for runs that exist, the client speaks.
mlflow itself is imported when it is first needed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sweeps.runcard import Number

if TYPE_CHECKING:
    from mlflow import MlflowClient


class FinishedRun(NamedTuple):
    """A run with all its numbers. Times are in ms since 1970; every number has the time of the end."""

    name: str
    started: int
    ended: int
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    numbers: Sequence[Number]
    """Finite, each key and step once, and of a key in the order of its steps."""


def possible(client: MlflowClient) -> bool:
    """Whether `client` has a database open, rather than a server to ask."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return type(_store(client)) is SqlAlchemyStore


def write(client: MlflowClient, experiment_id: str, runs: Sequence[FinishedRun]) -> list[str]:
    """Create `runs`, all or none; their ids.

    Raises:
        MlflowException: the database refuses.
    """
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
    from mlflow.utils.uri import append_to_uri_path

    ids = [uuid.uuid4().hex for _ in runs]
    new = list(zip(ids, runs, strict=True))
    location = client.get_experiment(experiment_id).artifact_location
    metrics = [_metrics(i, r) for i, r in new]
    tables = {
        SqlRun: [_head(i, r, experiment_id, append_to_uri_path(location, i, "artifacts")) for i, r in new],
        SqlTag: [row for i, r in new for row in _texts(i, {**r.tags, "mlflow.runName": r.name})],
        SqlParam: [row for i, r in new for row in _texts(i, r.params)],
        SqlMetric: [row for mine in metrics for row in mine],
        SqlLatestMetric: [row for mine in metrics for row in _latest(mine)],
    }
    with _store(client).ManagedSessionMaker(read_only=False) as session:
        for table, rows in tables.items():
            if rows:
                session.execute(table.__table__.insert(), rows)
    return ids


def _head(run_id: str, run: FinishedRun, experiment_id: str, artifacts: str) -> dict[str, Any]:
    return {
        "run_uuid": run_id,
        "name": run.name,
        "source_type": "UNKNOWN",  # the columns of this name are history: the tags say it
        "source_name": "",
        "entry_point_name": "",
        "source_version": "",
        "user_id": run.tags["mlflow.user"],
        "status": run.status,
        "start_time": run.started,
        "end_time": run.ended,
        "lifecycle_stage": "active",
        "artifact_uri": artifacts,
        "experiment_id": int(experiment_id),
    }


def _texts(run_id: str, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"run_uuid": run_id, "key": key, "value": value} for key, value in texts.items()]


def _metrics(run_id: str, run: FinishedRun) -> list[dict[str, Any]]:
    return [
        {"run_uuid": run_id, "key": n.key, "value": n.value, "timestamp": run.ended, "step": n.step, "is_nan": False}
        for n in run.numbers
    ]


def _latest(metrics: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Of every metric of a run its last point."""
    return {row["key"]: row for row in metrics}.values()


def _store(client: MlflowClient) -> Any:
    return client._tracking_client.store
