"""The ledger: the durable record of a sweep, one Parquet file (a *part*, see `parts`) per finished pack.

A part is renamed into place only when it is on the disk: after a kill a pack is there as a whole or not at all.

A sweep's folder holds `ledger/*.parquet`, one writer's `ledger/.partial/` and `published/<run id>/<part>`,
empty marks saying which parts an MLflow run has received.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyarrow as pa

from analysis.outcome import Outcome
from sweeps.failures import writing
from sweeps.parts import encode, in_order, load, merge, pack_id_of

_PACK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Ledger:
    """The ledger in a sweep's folder. Any number may read; one process writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._parts = self.folder / "ledger"
        self._partial = self._parts / ".partial"
        self._published = self.folder / "published"

    def append(self, part: pa.Table | bytes) -> Path:
        """Write a part (or what `parts.encode` made of it) durably and return its path.

        A pack that is already there, by content or without a failed trial, is not written again.

        Raises:
            ValueError: it is not a part, or its pack_id cannot name a file.
            OSError: the disk does not take it; says which file.
        """
        data = encode(part) if isinstance(part, pa.Table) else part
        pack_id = pack_id_of(data)
        number, path = 1, self._path(pack_id, 1)
        while path.exists():
            if path.read_bytes() == data or not _has_failed(load(path, ["outcome"])):
                return path
            number, path = number + 1, self._path(pack_id, number + 1)
        self._write(path, data)
        return path

    def find(self, pack_id: str) -> Path | None:
        """The part of a pack without a failed trial; None if there is none."""
        mine = (path for path in self._files() if path.stem.partition(".")[0] == pack_id)
        return next((path for path in mine if not _has_failed(load(path, ["outcome"]))), None)

    def parts(self) -> list[Path]:
        """Files of the parts, in order of finishing."""
        return in_order(self._files())

    def read(self) -> tuple[pa.Table, pa.Table]:
        """`(trials, replicates)` of the whole sweep, in order of finishing, every trial once."""
        return merge(map(load, self._files()))

    def keys(self) -> set[str]:
        """Keys of the trials that have a result; failed trials are not among them."""
        return {key for key, outcome in self.outcomes().items() if outcome != Outcome.FAILED}

    def outcomes(self) -> dict[str, str]:
        """The outcome of every trial by its key: of one that failed and was trained again, what came of it."""
        found: dict[str, str] = {}
        for path in self._files():
            table = load(path, ["trial_key", "outcome"])
            for key, outcome in zip(table["trial_key"].to_pylist(), table["outcome"].to_pylist(), strict=True):
                if found.get(key, Outcome.FAILED) == Outcome.FAILED:
                    found[key] = outcome
        return found

    def mark_published(self, path: Path, run_id: str) -> None:
        """Note that the MLflow run `run_id` has received the part."""
        mark = self._published / run_id / path.stem
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()

    def unpublished(self, run_id: str) -> list[Path]:
        """Parts that the MLflow run `run_id` has not received, in order of finishing."""
        marks = self._published / run_id
        done = {mark.name for mark in marks.iterdir()} if marks.is_dir() else set()
        return in_order(path for path in self._files() if path.stem not in done)

    def _files(self) -> list[Path]:
        return sorted(self._parts.glob("*.parquet"), key=lambda path: path.stem)

    def _path(self, pack_id: str, number: int) -> Path:
        if not _PACK_ID.fullmatch(pack_id):
            raise ValueError(f"ledger: a pack_id must be letters, digits, '_' and '-', but got {pack_id!r}")
        return self._parts / (f"{pack_id}.parquet" if number == 1 else f"{pack_id}.{number}.parquet")

    def _write(self, path: Path, data: bytes) -> None:
        with writing(path):
            for mark in self._published.glob(f"*/{path.stem}"):  # of a part of this name that is gone
                mark.unlink()
            self._partial.mkdir(parents=True, exist_ok=True)
            for leftover in self._partial.iterdir():  # of a killed writer: there is only one
                leftover.unlink()
            partial = self._partial / path.name
            put(data, path, partial)


def _has_failed(table: pa.Table) -> bool:
    return Outcome.FAILED in table["outcome"].to_pylist()


def put(data: bytes, path: Path, partial: Path) -> None:
    """Write a file, first as `partial`: it is there whole or not at all, and on the disk when this returns."""
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
