"""MLflow: a projection of the ledger, one parent run per sweep and one child run per trial.

A part of the ledger is published by uploading its file to the parent run (`parts/`), which makes the
export exact, and by writing its trials as child runs (`trialruns`), which is what people look at. Everything is
looked up before it is created, so publishing again changes nothing, and an empty store is filled
again from the ledger. One process publishes a sweep.
mlflow itself is imported when it is first needed: that takes seconds.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml

from analysis.outcome import Outcome
from analysis.schema import Took
from sweeps import parentrun, runcard
from sweeps.ledger import Ledger
from sweeps.mlflow_store import COMPLETE, EXPERIMENT, PREDICTED_SECONDS, WALL_SECONDS, connect, one_sentence
from sweeps.parts import load
from sweeps.runcard import Identity
from sweeps.trialruns import TrialRuns

DIGEST_LENGTH: Final = 36  # MLflow's limit for the digest of a data set


class Tracker:
    """Publishes one sweep to one store; see the module's docstring. Not for several threads at once.

    Every method raises a ValueError of one sentence when the store fails.
    """

    def __init__(self, uri: str, identity: Identity, experiment: str = EXPERIMENT) -> None:
        self.uri, self.identity, self.experiment = uri, identity, experiment
        self.run_id: str | None = None
        """The parent run; None until `open`."""
        self.failure: str | None = None
        """Why publishing in the background last failed; None if it did not."""
        self._parts: dict[str, int] = {}
        """Names and sizes of the parts that were uploaded."""

    def open(self, *, launching: bool = True, fresh: bool = False) -> str:
        """Find the parent run, or create it and the experiment; return its id.

        `launching` marks it as running and adds this launch's environment. A sweep that is `fresh` was never launched.

        Raises:
            ValueError: the name belongs to a sweep with another spec or of another folder, or to one that has trials
                while this is fresh.
        """
        with one_sentence(self.uri):
            self._client = connect(self.uri)
            parent, there = parentrun.find_or_create(self._client, self.uri, self.identity, self.experiment, fresh)
            self._experiment_id, run_id = parent.info.experiment_id, parent.info.run_id
            self._runs = TrialRuns(self._client, parent, there)
            uploaded = self._client.list_artifacts(run_id, "parts")
            self._parts = {Path(file.path).name: file.file_size or 0 for file in uploaded}
            self._describe(run_id, launching)
            if launching or "mlflow.note.content" not in parent.data.tags:  # it may tell of the map already
                note = runcard.sweep_note(self.identity, self._runs.outcomes())
                self._client.set_tag(run_id, "mlflow.note.content", note)
        self.run_id = run_id
        return run_id

    def publish(self, path: Path, stop: threading.Event | None = None) -> bool:
        """Publish the part in the file `path`; False if `stop` was set before all of it was."""
        run_id = self._opened()
        rows = load(path).to_pylist()
        with one_sentence(self.uri):
            self._client.log_artifact(run_id, str(path), "parts")
            self._parts[path.name] = path.stat().st_size
            if not self._runs.write(list(filter(self._runs.lack, rows)), stop):
                return False
            self._count(run_id)
        return True

    def lacks(self, path: Path) -> bool:
        """Whether the store lacked some of a published part when it was opened, or has another in its place."""
        if self._parts.get(path.name) != path.stat().st_size:
            return True
        with tempfile.TemporaryDirectory() as cache, one_sentence(self.uri):
            uploaded = self._client.download_artifacts(self._opened(), f"parts/{path.name}", cache)
            if Path(uploaded).read_bytes() != path.read_bytes():
                return True
        return any(map(self._runs.lack, load(path, ["trial_key", "outcome"]).to_pylist()))

    def finish(
        self, summary: str = "", artifacts: Sequence[Path] = (), status: str = "FINISHED", took: Took | None = None
    ) -> None:
        """End the parent run: a Markdown summary into its note, `artifacts` into `maps/`. May be called again.

        What its trials `took` become metrics, at a step that is their number: so whoever finds more trials knows
        that the time is not theirs.
        """
        run_id = self._opened()
        with one_sentence(self.uri):
            for path in artifacts:
                self._client.log_artifact(run_id, str(path), "maps")
            note = runcard.sweep_note(self.identity, self._runs.outcomes(), summary)
            self._client.set_tag(run_id, "mlflow.note.content", note)
            if took is not None:
                times = {WALL_SECONDS: took.seconds, PREDICTED_SECONDS: took.predicted_seconds}
                self._send(run_id, times, took.trials)
            self._client.set_terminated(run_id, status)

    def page(self) -> str:
        """Where the sweeps and their trials are in MLflow's UI, as the end of an address.

        Without its query MLflow 3 opens on a page for language models, which is empty here.
        """
        return f"/#/experiments/{self._experiment_id}/runs?workflowType=machine_learning"

    def mapped(self) -> bool:
        """Whether the parent run has a map."""
        with one_sentence(self.uri):
            return bool(self._client.list_artifacts(self._opened(), "maps"))

    def running(self) -> bool:
        """Whether the parent run has not ended."""
        with one_sentence(self.uri):
            return self._client.get_run(self._opened()).info.status not in (*COMPLETE, "KILLED")

    def _opened(self) -> str:
        assert self.run_id is not None, "open comes first"
        return self.run_id

    def _describe(self, run_id: str, launching: bool) -> None:
        """All that says what the sweep is, and where it is launched now."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        identity, spec, client = self.identity, self.identity.spec, self._client
        params = [Param(key, value) for key, value in runcard.sweep_params(identity).items()]
        client.log_batch(run_id, params=params)
        source = json.dumps({"name": spec.dataset, "digest": identity.dataset_digest})
        data = Dataset(spec.dataset, identity.dataset_digest[:DIGEST_LENGTH], "isoinit", source)
        client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        if identity.between is not None:
            client.set_tag(run_id, runcard.BETWEEN, repr(identity.between))
        client.log_text(run_id, yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False), "spec.yaml")
        if launching:
            client.update_run(run_id, "RUNNING")
            launched = {"git_commit": identity.git_commit, **identity.environment}
            client.log_dict(run_id, launched, f"environment/{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json")

    def _count(self, run_id: str) -> None:
        """How far the sweep is, as metrics of the parent run; the export checks itself against them."""
        counts = self._runs.outcomes()
        values = {"parts": len(self._parts), "trials/all": counts.total()}
        values |= {f"trials/{outcome}": counts[outcome] for outcome in Outcome}
        self._send(run_id, values, counts.total())

    def _send(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(run_id, [Metric(key, float(value), now, step) for key, value in values.items()])


def sync(book: Ledger, tracker: Tracker) -> int:
    """Publish whatever the store lacks, marked as published or not; of how many parts. No one else may publish then.

    Raises:
        ValueError: the store fails, or the name belongs to a sweep with another spec.
    """
    run_id = tracker.open(launching=False)
    unmarked = set(book.unpublished(run_id))
    paths = [path for path in book.parts() if path in unmarked or tracker.lacks(path)]
    for path in paths:
        tracker.publish(path)
        book.mark_published(path, run_id)
    if tracker.running():  # its driver was killed, or the run is new
        tracker.finish()
    return len(paths)
