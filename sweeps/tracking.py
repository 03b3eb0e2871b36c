"""MLflow: a projection of the ledger, one parent run per sweep and one child run per trial.

A part of the ledger is published by uploading its file to the parent run (`parts/`), which makes the
export exact, and by writing its trials as child runs, which is what people look at. Everything is
looked up before it is created, so publishing again changes nothing, and an empty store is filled
again from the ledger. One process publishes a sweep.

Only finite numbers are sent, because MLflow turns infinity into 1.8e308; the `outcome` tag says the rest.
mlflow itself is imported when it is first needed: that takes seconds.
"""

from __future__ import annotations

import getpass
import json
import math
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from analysis.outcome import MEANING, Outcome
from analysis.schema import AXES
from sweeps import ledger
from sweeps.spec import SweepSpec

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

DEFAULT_URI: Final = "sqlite:///mlflow.db"
"""In the working directory, where a bare `mlflow ui` looks."""
EXPERIMENT: Final = "isoinit"
CURVE_POINTS: Final = 100  # chosen: more cannot be told apart in a chart; the parts have them all

COMPLETE: Final = ("FINISHED", "FAILED")
"""Statuses of a child run that has all its numbers."""

_QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # it logs tracebacks of errors that it also raises
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; its own 120 would hold up the end of a sweep
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the publisher retries
}
_DATABASES: Final = ("sqlite", "postgresql", "mysql", "mssql")
_PARAMS: Final = (*AXES, "dataset", "optimizer", "batch_size", "steps")
_NUMBERS: Final = ("score", "n_trained", "n_replicates", "best_learning_rate", "seconds", "flops", "attempt")
_FINAL: Final = ("final_train_loss", "final_train_accuracy", "test_accuracy")


@dataclass(frozen=True)
class Identity:
    """What the parent run says of a sweep."""

    name: str
    spec: SweepSpec
    git_commit: str
    """With `+dirty` if the code differed from it."""
    dataset_digest: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions and machine of this launch; empty if nothing is launched."""


class _Child(NamedTuple):
    run_id: str
    outcome: str
    complete: bool


def check(uri: str) -> None:
    """See within seconds whether `uri` can be a tracking store.

    Raises:
        ValueError: its scheme is unknown or no longer supported, its database is none, or no server answers.
    """
    scheme, sign, rest = uri.partition("://")
    scheme = scheme.partition("+")[0]
    if scheme in ("http", "https"):
        _check_server(uri)
    elif scheme == "sqlite" and sign:
        path = Path(rest.removeprefix("/"))
        if path.is_dir() or (path.is_file() and path.read_bytes()[:16] not in (b"", b"SQLite format 3\0")):
            raise ValueError(f"--tracking-uri {uri}: {path} is there, but is no SQLite database")
    elif uri.startswith("file:") or not sign:
        raise ValueError(
            f"--tracking-uri {uri}: MLflow no longer keeps runs in a folder; "
            f"write sqlite:///<file>, for example {DEFAULT_URI}"
        )
    elif scheme not in _DATABASES:
        raise ValueError(
            f"--tracking-uri {uri}: the scheme must be http, https, {', '.join(_DATABASES)}, but got {scheme!r}"
        )


def _check_server(uri: str) -> None:
    url = f"{uri.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            healthy = answer.status == 200 and answer.read(16).strip() == b"OK"
    except urllib.error.HTTPError as error:
        if error.code == 403:
            raise ValueError(
                f"--tracking-uri {uri}: the server refuses this host name; start it with --allowed-hosts"
            ) from None
        healthy = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f"--tracking-uri {uri}: no MLflow server answers there ({reason}); start it with 'mlflow server', "
            f"or leave the option out to use {DEFAULT_URI}"
        ) from None
    if not healthy:
        raise ValueError(f"--tracking-uri {uri}: a server answers, but it is not an MLflow server")


def connect(uri: str) -> MlflowClient:
    """A quiet client with short time limits."""
    _hush()
    from mlflow import MlflowClient

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


class Tracker:
    """Publishes one sweep to one store; see the module's docstring. Not for several threads at once."""

    def __init__(self, uri: str, identity: Identity, experiment: str = EXPERIMENT) -> None:
        self.uri, self.identity, self.experiment = uri, identity, experiment
        self.run_id: str | None = None
        """The parent run; None until `open`."""
        self._children: dict[str, _Child] = {}
        self._parts: set[str] = set()

    def open(self) -> str:
        """Find the parent run, or create it and the experiment; return its id.

        Raises:
            ValueError: the name belongs to a sweep with another spec.
        """
        self._client = connect(self.uri)
        parent = parents(self._client, self.experiment).get(self.identity.name)
        if parent is None:
            parent = self._create_parent()
        elif (other := parent.data.tags["spec_sha256"]) != self.identity.spec.sha256:
            raise ValueError(
                f"MLflow at {self.uri} has a sweep {self.identity.name!r} with another spec ({other[:12]}); "
                "give this one another --name"
            )
        self._experiment_id, self.run_id = parent.info.experiment_id, parent.info.run_id
        self._children = {}
        for run in children(self._client, parent):
            tags, status = run.data.tags, run.info.status
            if status == "RUNNING":  # its publisher was killed; it is completed when its part comes again
                self._client.set_terminated(run.info.run_id, "KILLED")
            self._children[tags["trial.key"]] = _Child(run.info.run_id, tags["outcome"], status in COMPLETE)
        self._parts = {Path(file.path).name for file in self._client.list_artifacts(self.run_id, "parts")}
        self._describe()
        return self.run_id

    def publish(self, path: Path, stop: threading.Event | None = None) -> bool:
        """Publish the part in the file `path`; False if `stop` was set before all of it was."""
        assert self.run_id is not None
        self._client.log_artifact(self.run_id, str(path), "parts")
        self._parts.add(path.name)
        for row in ledger.load(path).to_pylist():
            if stop is not None and stop.is_set():
                return False
            known = self._children.get(row["trial_key"])
            if known is None or not known.complete or known.outcome == Outcome.FAILED:
                self._children[row["trial_key"]] = self._publish_trial(row, known)
        self._count()
        return True

    def finish(self, summary: str = "", artifacts: Sequence[Path] = (), status: str = "FINISHED") -> None:
        """End the parent run: a Markdown summary into its note, `artifacts` into `maps/`. May be called again."""
        assert self.run_id is not None
        for path in artifacts:
            self._client.log_artifact(self.run_id, str(path), "maps")
        self._client.set_tag(self.run_id, "mlflow.note.content", _note(self.identity, self._outcomes(), summary))
        self._client.set_terminated(self.run_id, status)

    def _create_parent(self) -> Run:
        experiment = self._client.get_experiment_by_name(self.experiment)
        identity, spec = self.identity, self.identity.spec
        return self._client.create_run(
            experiment.experiment_id if experiment else self._create_experiment(),
            run_name=identity.name,
            tags={
                "kind": "sweep",
                "sweep": identity.name,
                "spec_sha256": spec.sha256,
                "dataset.digest": identity.dataset_digest,
                **_origin_tags(identity.git_commit),
            },
        )

    def _create_experiment(self) -> str:
        folder = None
        if self.uri.startswith("sqlite:///"):  # beside the database, wherever the process was started
            folder = (Path(self.uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts").as_uri()
            folder = f"{folder}/{self.experiment}"
        return self._client.create_experiment(self.experiment, folder, {"mlflow.note.content": "Sweeps of isoinit."})

    def _describe(self) -> None:
        """All that says what the sweep is; the same at every launch but for the environment."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        identity, spec, client = self.identity, self.identity.spec, self._client
        assert self.run_id is not None
        defining = _flat(json.loads(spec.canonical()))
        client.log_batch(self.run_id, params=[Param(key, value) for key, value in defining.items()])
        source = json.dumps({"name": spec.dataset, "digest": identity.dataset_digest})
        data = Dataset(spec.dataset, identity.dataset_digest[:36], "isoinit", source)
        client.log_inputs(self.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "spec.yaml").write_text(text, encoding="utf-8")
            if identity.environment:
                launched = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
                (Path(folder) / "environment").mkdir()
                content = {"git_commit": identity.git_commit, **identity.environment}
                (Path(folder) / "environment" / launched).write_text(json.dumps(content, indent=1))
            client.log_artifacts(self.run_id, folder)
        client.set_tag(self.run_id, "mlflow.note.content", _note(identity, self._outcomes()))

    def _publish_trial(self, row: Mapping[str, Any], known: _Child | None) -> _Child:
        """Create the trial's run, or complete the one that a kill or a failure left behind."""
        from mlflow.entities import Param, RunTag

        ended = int(row["finished_at"].timestamp() * 1000)
        tags = {
            "kind": "trial",
            "mlflow.parentRunId": str(self.run_id),
            "trial.key": row["trial_key"],
            **{name: str(row[name]) for name in ("sweep", "pack_id", "scheme", "outcome", "role", "device")},
            **_origin_tags(row["git_commit"] or ""),
        }
        if known is None:
            started = ended - int(1000 * (row["seconds"] or 0))
            run = self._client.create_run(self._experiment_id, started, tags, run_name(row))
            run_id, changed = run.info.run_id, []
        else:
            run_id, changed = known.run_id, [RunTag(key, value) for key, value in tags.items()]
        params = [Param(name, str(row[name])) for name in _PARAMS]
        self._client.log_batch(run_id, _metrics(row, ended), params, changed)
        failed = row["outcome"] == Outcome.FAILED
        self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED", ended)
        return _Child(run_id, row["outcome"], complete=True)

    def _outcomes(self) -> Counter[str]:
        return Counter(child.outcome for child in self._children.values() if child.complete)

    def _count(self) -> None:
        """How far the sweep is, as metrics of the parent run; the export checks itself against them."""
        from mlflow.entities import Metric

        counts = self._outcomes()
        values = {"parts": len(self._parts), "trials/all": counts.total()}
        values |= {f"trials/{outcome}": counts[outcome] for outcome in Outcome}
        now, step = int(time.time() * 1000), counts.total()
        metrics = [Metric(key, float(value), now, step) for key, value in values.items()]
        self._client.log_batch(str(self.run_id), metrics)


class Publisher:
    """Publishes new parts in a thread of its own; a context that is entered before the first part.

    The ledger is the queue, so nothing can be lost or pile up in memory. While the store is down it tries
    again after 1, 2, 4, ... at most `longest_wait` seconds; the sweep neither waits for it nor fails with it.
    """

    def __init__(
        self, tracker: Tracker, book: ledger.Ledger, *, longest_wait: float = 60.0, last_wait: float = 60.0
    ) -> None:
        self._tracker, self._ledger = tracker, book
        self._longest_wait, self._last_wait = longest_wait, last_wait
        self._news, self._closing, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._interrupted = False
        self.waiting = 0
        """Parts that were not published yet when it last looked."""
        self.error: str | None = None
        """Why publishing last failed; None if it did not."""

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._interrupted = kind is not None
        self.close(self._last_wait if kind is None else min(5.0, self._last_wait))

    def notify(self) -> None:
        """Say that a part was appended."""
        self._news.set()

    def status(self) -> str:
        """For a progress line; empty if all is well."""
        if self.error is not None:
            return f"MLflow is {self.waiting} parts behind: {self.error}"
        return f"MLflow is {self.waiting} parts behind" if self.waiting > 1 else ""

    def close(self, timeout: float) -> int:
        """Try for `timeout` seconds to publish the rest, and return how many parts remain for `sweep sync`."""
        self._closing.set()
        self._news.set()
        self._thread.join(timeout)
        self._stop.set()  # between two trials
        self._thread.join(5.0)
        return self.remaining()

    def remaining(self) -> int:
        """Parts that the store does not have yet."""
        run_id = self._tracker.run_id
        return len(self._ledger.parts() if run_id is None else self._ledger.unpublished(run_id))

    def _run(self) -> None:
        wait = 1.0
        while not self._stop.is_set():
            closing = self._closing.is_set()  # asked before looking, so that the last look is after the last part
            if self._drain(closing):
                if closing:
                    return
                wait = 1.0
                self._news.wait()
                self._news.clear()
            elif closing:
                self._stop.wait(1.0)
            else:
                self._closing.wait(wait)
                wait = min(2 * wait, self._longest_wait)

    def _drain(self, closing: bool) -> bool:
        """Publish what is not published; False if the store failed or `close` ran out of time."""
        try:
            with one_sentence(self._tracker.uri):
                run_id = self._tracker.run_id or self._tracker.open()
                while paths := self._ledger.unpublished(run_id):
                    self.waiting = len(paths)
                    if not self._tracker.publish(paths[0], self._stop):
                        return False
                    self._ledger.mark_published(paths[0], run_id)
                if closing:
                    self._tracker.finish(status="KILLED" if self._interrupted else "FINISHED")
        except ValueError as error:
            self.error = str(error)
            return False
        self.waiting, self.error = 0, None
        return True


def sync(book: ledger.Ledger, tracker: Tracker) -> int:
    """Publish every part that the store does not have; how many there were. No other process may publish the sweep.

    Raises:
        ValueError: the store fails, or the name belongs to a sweep with another spec.
    """
    client = connect(tracker.uri)
    with one_sentence(tracker.uri):
        run_id = tracker.open()
        paths = book.unpublished(run_id)
        for path in paths:
            tracker.publish(path)
            book.mark_published(path, run_id)
        if client.get_run(run_id).info.status == "RUNNING":
            tracker.finish()
    return len(paths)


def run_name(row: Mapping[str, Any]) -> str:
    """`ll_orth L32 N64 sb2=0.01`: scheme, depth, width, and what is not as usual."""
    usual = {"architecture": "mlp", "activation": "relu", "normalization": "none", "bias_mode": "iid"}
    words = [row["scheme"], f"L{row['depth']}", f"N{row['width']}", f"sb2={row['bias_variance']:.3g}"]
    words += [f"sw2*{row['weight_scale']:.3g}"] if row["weight_scale"] != 1 else []
    words += [f"density={row['density']:.3g}"] if row["density"] != 1 else []
    return " ".join([*words, *(str(row[name]) for name, value in usual.items() if row[name] != value)])


def _metrics(row: Mapping[str, Any], when: int) -> list[Metric]:
    """Finite numbers of a trial, and the curves of one replicate.

    The replicate shown is the first seed at the best learning rate that has the trial's outcome: a curve that a
    network really had, where a mean over seeds would mix those that trained with those that did not.
    """
    from mlflow.entities import Metric

    values = {name: row[name] for name in _NUMBERS}
    shown = next(
        (
            r
            for r in row["replicates"]
            if r["learning_rate"] == row["best_learning_rate"] and r["outcome"] == row["outcome"]
        ),
        None,
    )
    points = [(name, value, 0) for name, value in values.items()]
    if shown is not None:
        points += [(name, shown[name], shown["steps_run"]) for name in _FINAL]
        every = math.ceil(len(shown["curve_step"]) / CURVE_POINTS) or 1
        for name, curve in (("train/loss", shown["curve_loss"]), ("train/accuracy", shown["curve_accuracy"])):
            points += [(name, v, s) for s, v in zip(shown["curve_step"], curve, strict=True)][::every]
    return [Metric(key, float(v), when, step or 0) for key, v, step in points if v is not None and math.isfinite(v)]


def _origin_tags(git_commit: str) -> dict[str, str]:
    commit, dirty = git_commit.removesuffix("+dirty"), git_commit.endswith("+dirty")
    return {
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": "sweep",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.dirty": str(dirty).lower(),
    }


def _note(identity: Identity, outcomes: Counter[str], summary: str = "") -> str:
    """The parent run's page, in Markdown."""
    name, spec = identity.name, identity.spec
    rows = "\n".join(f"| {o} | {outcomes[o]} | {MEANING[o]} |" for o in Outcome if outcomes[o])
    table = f"| outcome | trials | meaning |\n|---|---|---|\n{rows}" if rows else "No trial is finished yet."
    commands = f"sweep status {name}\nsweep resume {name}\nsweep export {name} --out {name}\nanalysis report {name}"
    paragraphs = [
        f"**{spec.question}**" if spec.question else "",
        f"Code {identity.git_commit}, data {spec.dataset} ({identity.dataset_digest[:12]}), "
        f"criterion {spec.criterion.build()}.",
        table,
        summary,
        f"```\n{commands}\n```",
    ]
    return "\n\n".join(text for text in paragraphs if text)


def _flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """`{"a": {"b": 1}}` as `{"a.b": "1"}`."""
    if not isinstance(tree, dict):
        return {prefix: tree if isinstance(tree, str) else json.dumps(tree)}
    pairs = [_flat(value, f"{prefix}.{key}" if prefix else key) for key, value in tree.items()]
    return {key: value for pair in pairs for key, value in pair.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
