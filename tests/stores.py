"""Empty MLflow stores for tests: creating the schema takes seconds, copying it none."""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

import pytest

from sweeps.mlflow_store import connect
from sweeps.reading import parse
from sweeps.runcard import Identity
from sweeps.tracking import Tracker

SPEC = parse("name: toy\nquestion: Which train?\nspace: {scheme: he_normal, depth: {low: 2, high: 100}, width: 64}\n")


@functools.cache
def _empty() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="isoinit-test-")
    connect(f"sqlite:///{folder.name}/mlflow.db").search_experiments()
    return folder


def sqlite(folder: Path) -> str:
    """Tracking URI of an empty store in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(_empty().name) / "mlflow.db", folder)
    return f"sqlite:///{folder}/mlflow.db"


def workplace(folder: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> Path:
    """`folder` as the working directory, with `spec` in `tiny.yaml` and an empty store."""
    (folder / "tiny.yaml").write_text(spec)
    sqlite(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


def tracker(uri: str, name: str = "toy", folder_id: str | None = None, **options: str) -> Tracker:
    environment = {"python": "3.11", "torch": "2.13"}
    identity = Identity(name, SPEC, "a" * 40 + "+dirty", "d" * 64, environment, folder_id=folder_id)
    return Tracker(uri, identity, **options)
