"""MLflow's store: whether an address can be one, a quiet client of it, and the runs of sweeps that it has.

mlflow itself is imported when it is first needed: that takes seconds.
"""

from __future__ import annotations

import http.client
import os
import sqlite3
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
_PACKAGES: Final = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Of modules whose package has another name."""
_ELSEWHERE: Final = "give another --tracking-uri"


def check(uri: str) -> None:
    """See within seconds whether `uri` can be a tracking store.

    Raises:
        ValueError: its scheme is unknown or no longer supported, its file is no database of MLflow's or cannot be
            written, or no server answers.
    """
    scheme, sign, rest = uri.partition("://")
    scheme = scheme.partition("+")[0]
    if scheme in ("http", "https"):
        _check_server(uri)
    elif scheme == "sqlite" and rest.startswith("/"):
        path = Path(rest.removeprefix("/"))
        _check_writable(uri, path)
        _check_database(uri, path)
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


def _check_writable(uri: str, path: Path) -> None:
    """MLflow makes the file and its folders, and SQLite needs a second file beside it."""
    try:
        if path.is_file():
            path.open("r+b").close()
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"tracking URI {uri}: {path} cannot be written ({reason}); {_ELSEWHERE}") from None


def _check_database(uri: str, path: Path) -> None:
    if not path.exists():
        return
    try:
        if not path.is_file():
            raise sqlite3.DatabaseError("not a file")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:  # it makes no file
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            columns = {row[1] for row in database.execute("pragma table_info(experiments)")}
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return  # another sweep writes to it
        raise ValueError(
            f"tracking URI {uri}: {path} is there, but is no SQLite database, or a damaged one ({error}); "
            f"{_ELSEWHERE}, or move it away: 'sweep sync' fills a new one"
        ) from None
    others = {name for name in tables if not name.startswith(("alembic_", "sqlite_"))}
    if others and "artifact_location" not in columns:
        raise ValueError(
            f"tracking URI {uri}: {path} is a database of another program, with the table {min(others)}; {_ELSEWHERE}"
        )


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


def _try(uri: str) -> None:
    """See at the first try whether a database server lets us in: MLflow would try ten times, which takes 100 s."""
    with one_sentence(uri):
        from mlflow.store.db.utils import create_sqlalchemy_engine

        engine = create_sqlalchemy_engine(uri)
        engine.connect().close()
        engine.dispose()


def connect(uri: str) -> MlflowClient:
    """A quiet client with short time limits.

    Raises:
        ValueError: in one sentence, why the store cannot be opened.
    """
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///")).absolute()
        if not os.path.exists(path):  # MLflow would try for minutes
            _check_writable(uri, path)
        _check_database(uri, path)
        store = f"sqlite:///{path}"  # MLflow keeps a store per URI, open where the folder was when it was first used
    else:
        store = uri
        if uri.startswith(_DATABASES[1:]):
            _try(uri)
    with one_sentence(uri):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=store)


def lasting(uri: str) -> str:
    """The same store, whatever folder it is asked for from."""
    if not uri.startswith("sqlite:///"):
        return uri
    return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"


@contextmanager
def one_sentence(uri: str) -> Iterator[None]:
    """Turn whatever MLflow or what is below it raises into a ValueError of one sentence.

    Below it are drivers of databases and clients of artifact stores: there is no end to their exceptions.
    """
    _hush()
    try:
        yield
    except ValueError:  # one of ours
        raise
    except Exception as error:
        raise ValueError(f"MLflow at {uri}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    from mlflow.exceptions import MlflowException

    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the module {error.name} is missing; pip install '{_PACKAGES.get(error.name, error.name)}'"
    if (system := _below(error)) is not None:
        return f"it cannot be reached ({system.strerror or system})"
    if isinstance(error, (MlflowException, OSError)):
        return _first_line(error)
    kind = type(error).__name__
    return f"{kind}: {_first_line(error)}; is it a store of MLflow's that can be written? If not, {_ELSEWHERE}"


def _below(error: BaseException | None) -> ConnectionError | TimeoutError | None:
    """What the system said of a connection: MLflow and the clients below it wrap it in a page of addresses."""
    while error is not None and not isinstance(error, (ConnectionError, TimeoutError)):
        error = error.__cause__ or error.__context__
    return error


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
