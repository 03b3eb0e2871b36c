"""MLflow's store: whether an address can be one, a quiet client of it, and the runs of sweeps that it has.

mlflow itself is imported when it is first needed: that takes seconds.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DEFAULT_URI: Final = "sqlite:///mlflow.db"
"""In the working directory, where a bare `mlflow ui` looks."""
EXPERIMENT: Final = "isoinit"
COMPLETE: Final = ("FINISHED", "FAILED")
"""Statuses of a child run that has all its numbers."""
WALL_SECONDS: Final = "wall_seconds"
PREDICTED_SECONDS: Final = "predicted_seconds"
"""Metrics of a parent run: what a sweep that ran at one go took, and was said to take."""

_QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # it logs tracebacks of errors that it also raises
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; its own 120 would hold up the end of a sweep
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the publisher retries
}
_DATABASES: Final = ("sqlite", "postgresql", "mysql", "mssql")


def check(uri: str) -> None:
    """See within seconds whether `uri` can be a tracking store.

    Raises:
        ValueError: its scheme is unknown or no longer supported, its database is none, or no server answers.
    """
    scheme, sign, rest = uri.partition("://")
    scheme = scheme.partition("+")[0]
    if scheme in ("http", "https"):
        _check_server(uri)
    elif scheme == "sqlite" and rest.startswith("/"):
        _check_database(uri, Path(rest.removeprefix("/")))
    elif uri.startswith("file:") or not sign:
        raise ValueError(
            f"tracking URI {uri}: MLflow no longer keeps runs in a folder; "
            f"write sqlite:///<file>, for example {DEFAULT_URI}"
        )
    elif scheme not in _DATABASES or scheme == "sqlite":
        raise ValueError(
            f"tracking URI {uri}: it must begin with http://, https:// or sqlite:///, "
            f"or with {', '.join(_DATABASES[1:])} and ://"
        )


def _check_database(uri: str, path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            usable = file.read(16) in (b"", b"SQLite format 3\0")
    else:
        usable = not path.exists()
    if not usable:
        raise ValueError(f"tracking URI {uri}: {path} is there, but is no SQLite database")


def _check_server(uri: str) -> None:
    url = f"{uri.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            healthy = answer.status == 200 and answer.read(16).strip() == b"OK"
    except urllib.error.HTTPError as error:
        if error.code == 403:
            raise ValueError(
                f"tracking URI {uri}: the server refuses this host name; start it with --allowed-hosts"
            ) from None
        healthy = False
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f"tracking URI {uri}: no MLflow server answers there ({reason}); start it with 'mlflow server', "
            f"or leave the option out to use {DEFAULT_URI}"
        ) from None
    if not healthy:
        raise ValueError(f"tracking URI {uri}: a server answers, but it is not an MLflow server")


def connect(uri: str) -> MlflowClient:
    """A quiet client with short time limits."""
    _hush()
    from mlflow import MlflowClient

    if uri.startswith("sqlite:///"):  # MLflow keeps a store per URI, open where the folder was when it was first used
        uri = f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    return MlflowClient(tracking_uri=uri)


@contextmanager
def one_sentence(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into a ValueError of one sentence."""
    _hush()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise ValueError(f"MLflow at {uri}: {_first_line(error)}") from error


def _hush() -> None:
    """Must come before the first import of mlflow; variables that are set already stay as they are."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # SQLAlchemy deprecates an option that MLflow 3.17 uses; nobody here can do anything about it
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy")


def parents(client: MlflowClient, experiment: str) -> dict[str, Run]:
    """Parent runs by the name of their sweep; empty if there is no such experiment."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return {}
    return {run.data.tags["sweep"]: run for run in _search(client, found.experiment_id, "tags.kind = 'sweep'")}


def children(client: MlflowClient, parent: Run) -> list[Run]:
    """All child runs of a sweep."""
    only = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(_search(client, parent.info.experiment_id, only))


def _search(client: MlflowClient, experiment_id: str, only: str) -> Iterator[Run]:
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], only, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
