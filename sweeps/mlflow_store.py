"""MLflow's store: a quiet client of it, and its errors in a sentence.

mlflow itself is imported when it is first needed: that takes seconds.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sweeps import mlflow_uri
from sweeps.mlflow_uri import DATABASES, ELSEWHERE, SIGN_IN, file, lasting, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
_PACKAGES: Final = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Of modules whose package has another name."""


def _try(uri: str) -> None:
    """See at the first try whether a database server lets us in: MLflow would try ten times, which takes 100 s."""
    with one_sentence(uri):
        from mlflow.store.db.utils import create_sqlalchemy_engine

        engine = create_sqlalchemy_engine(uri)
        engine.connect().close()
        engine.dispose()


def connect(uri: str, *, reading: bool = False) -> MlflowClient:
    """A quiet client with short time limits; one for `reading` makes no database, as MLflow does where there is none.

    Raises:
        ValueError: in one sentence, why the store cannot be opened.
    """
    if (path := file(uri)) is not None:
        mlflow_uri.check_name(uri, path)
        if not path.exists():  # MLflow would try for minutes
            mlflow_uri.check_there(uri, path) if reading else mlflow_uri.check_writable(uri, path)
        mlflow_uri.check_database(uri, path)
        store = lasting(uri)  # MLflow keeps a store per URI, open where the folder was when it was first used
    else:
        store = uri
        if uri.startswith(DATABASES[1:]):
            _try(uri)
    with one_sentence(uri):
        from mlflow import MlflowClient

        if path is not None and not path.exists():
            _make(path)
        return MlflowClient(tracking_uri=store)


def _make(path: Path) -> None:
    """An empty database, there as a whole or not at all: MLflow makes its tables one after another, in seconds, and
    cannot go on with those that a kill leaves behind, or that another sweep makes meanwhile."""
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with tempfile.TemporaryDirectory() as cache:
        made = Path(cache) / "made.db"
        client = MlflowClient(tracking_uri=f"{mlflow_uri.SQLITE}{made}")
        client.search_experiments()  # or else its store is not there yet
        client._tracking_client.store._dispose_engine()
        try:
            shutil.copyfile(made, partial)
            _put(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _put(partial: Path, path: Path) -> None:
    """The database in its place, unless another sweep was sooner: a link does not replace what is there."""
    try:
        os.link(partial, path)
    except FileExistsError:
        return
    except OSError:  # of a file system without links
        if not path.exists():
            partial.rename(path)


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
        raise ValueError(f"MLflow at {shown(uri)}: {_reason(uri, error)}") from error


def _reason(uri: str, error: Exception) -> str:
    from mlflow.exceptions import MlflowException

    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the module {error.name} is missing; pip install '{_PACKAGES.get(error.name, error.name)}'"
    if (system := _below(error)) is not None:
        return f"it cannot be reached ({system.strerror or system})"
    if found := re.search(r"too many (\d+) error responses", str(error)):
        return f"the server answers with error {found[1]}, again and again; its log says why"
    if "failed with error code 401" in str(error):
        return f"it wants to know who asks; {SIGN_IN}"
    if "database is locked" in str(error):
        return f"another program keeps its database locked; try again when that has ended, or {ELSEWHERE}"
    if re.search(r"table \w+ already exists", str(error)):
        return (
            "its tables are half made, as what made them was killed, or makes them now; if nothing does, move the file "
            f"away: 'sweep sync' fills a new one; or {ELSEWHERE}"
        )
    if found := re.search(r"schema \(found version (\w+), but expected (\w+)\)", str(error)):
        upgrade = shlex.join(["mlflow", "db", "upgrade", shown(lasting(uri))])
        return (
            f"another release of MLflow has made its tables (version {found[1]}, where this one has {found[2]}); if "
            f"that was an older one, take a backup and then run '{upgrade}', else {ELSEWHERE}"
        )
    if found := re.search(r"The (run|experiment) (\w+) must be in the 'active' state", str(error)):
        return f"the {found[1]} was deleted there; {restore(uri, found[1], found[2])}, or {ELSEWHERE} to 'sweep sync'"
    if isinstance(error, (MlflowException, OSError)):
        return _first_line(error)
    kind = type(error).__name__
    return f"{kind}: {_first_line(error)}; is it a store of MLflow's that can be written? If not, {ELSEWHERE}"


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


def restore(uri: str, what: str, identifier: str) -> str:
    """What brings back a run or an experiment that was deleted."""
    option = {"run": "--run-id", "experiment": "-x"}[what]
    where = f"MLFLOW_TRACKING_URI={shlex.quote(shown(lasting(uri)))}"
    return f"restore it with '{where} mlflow {what}s restore {option} {identifier}'"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
