"""MLflow's store: a quiet client of it, and the runs of sweeps that it has.

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
from sweeps.mlflow_uri import DATABASES, ELSEWHERE, file, lasting
from sweeps.runcard import FOLDER_ID

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT: Final = "isoinit"
SWEEPS: Final = "isoinit.sweeps"
"""Tag of an experiment with the name of ours that it was made by: it keeps it when somebody renames the experiment."""
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
        raise ValueError(f"MLflow at {uri}: {_reason(uri, error)}") from error


def _reason(uri: str, error: Exception) -> str:
    from mlflow.exceptions import MlflowException

    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the module {error.name} is missing; pip install '{_PACKAGES.get(error.name, error.name)}'"
    if (system := _below(error)) is not None:
        return f"it cannot be reached ({system.strerror or system})"
    if found := re.search(r"too many (\d+) error responses", str(error)):
        return f"the server answers with error {found[1]}, again and again; its log says why"
    if "database is locked" in str(error):
        return f"another program keeps its database locked; try again when that has ended, or {ELSEWHERE}"
    if re.search(r"table \w+ already exists", str(error)):
        return (
            "its tables are half made, as what made them was killed, or makes them now; if nothing does, move the file "
            f"away: 'sweep sync' fills a new one; or {ELSEWHERE}"
        )
    if found := re.search(r"schema \(found version (\w+), but expected (\w+)\)", str(error)):
        upgrade = shlex.join(["mlflow", "db", "upgrade", lasting(uri)])
        return (
            f"another release of MLflow has made its tables (version {found[1]}, where this one has {found[2]}); if "
            f"that was an older one, take a backup and then run '{upgrade}', else {ELSEWHERE}"
        )
    if found := re.search(r"The (run|experiment) (\w+) must be in the 'active' state", str(error)):
        return f"the {found[1]} was deleted there; {_restore(uri, found[1], found[2])}, or {ELSEWHERE} to 'sweep sync'"
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


def experiments(client: MlflowClient, experiment: str) -> list[str]:
    """Ids of the experiments with our runs: the one of this name first, then those that had it before a renaming.

    Raises:
        ValueError: somebody has deleted that of the name, which MLflow can undo.
    """
    found = client.get_experiment_by_name(experiment)
    if found is not None and found.lifecycle_stage == "deleted":
        again = _restore(client.tracking_uri, "experiment", found.experiment_id)
        raise ValueError(
            f"MLflow at {client.tracking_uri}: the experiment {experiment!r} was deleted there; {again}, or {ELSEWHERE}"
        )
    renamed = client.search_experiments(filter_string=f"tags.`{SWEEPS}` = '{experiment}'")
    named = [] if found is None else [found.experiment_id]
    return list(dict.fromkeys([*named, *(e.experiment_id for e in renamed)]))


def parents(client: MlflowClient, experiment: str, folder_id: str | None = None) -> dict[str, Run]:
    """The parent run of each sweep by its name, of several the first of `all_parents`."""
    return {name: runs[0] for name, runs in all_parents(client, experiment, folder_id).items()}


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
    return "" if mine is None else _restore(client.tracking_uri, "run", mine.info.run_id)


def _restore(uri: str, what: str, identifier: str) -> str:
    option = {"run": "--run-id", "experiment": "-x"}[what]
    where = f"MLFLOW_TRACKING_URI={shlex.quote(lasting(uri))}"
    return f"restore it with '{where} mlflow {what}s restore {option} {identifier}'"


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
