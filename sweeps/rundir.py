"""A sweep's folder on the driver: spec, journal, ledger, and who is at work in it.

RUNS_DIR/NAME/spec.yaml  packs.jsonl  ledger/  published/  maps/  errors.txt  lock  stop
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

import yaml

from sweeps.failures import writing
from sweeps.ledger import Ledger, put
from sweeps.reading import near, parse
from sweeps.spec import SweepSpec

_LOOKS: Final = 25
_PAUSE: Final = 0.02  # seconds


class RunDir:
    """Paths and marks of one sweep; see the module's docstring."""

    def __init__(self, runs: Path, name: str) -> None:
        self.path = runs / name
        self.ledger = Ledger(self.path)
        self.journal = self.path / "packs.jsonl"
        self.maps = self.path / "maps"
        self._spec, self._state = self.path / "spec.yaml", self.path / "launch.json"
        self._lock, self._stop = self.path / "lock", self.path / "stop"

    @classmethod
    def existing(cls, runs: Path, name: str) -> RunDir:
        """The folder of a sweep that was launched.

        Raises:
            ValueError: there is none; lists those that are there.
        """
        run = cls(runs, name)
        if not run._spec.is_file():
            names = cls.names(runs)
            known = f"; sweeps there: {', '.join(names)}" if names else "; no sweep was launched there"
            raise ValueError(f"no sweep {name!r} in {runs}{near(name, names)}{known}")
        return run

    @staticmethod
    def names(runs: Path) -> list[str]:
        """The sweeps that were launched there."""
        return sorted(path.parent.name for path in runs.glob("*/spec.yaml"))

    def spec(self) -> SweepSpec:
        return parse(self._spec.read_text(), origin=str(self._spec))

    def state(self) -> dict[str, Any]:
        """Its id, how it was last launched (tracking URI, address, what `resume` needs), and how that ended."""
        try:
            return json.loads(self._state.read_text()) if self._state.exists() else {}
        except ValueError as error:
            raise ValueError(
                f"{self._state} is damaged ({error}); remove it, and give --tracking-uri, --address and --data-dir "
                "again if the sweep was launched with them"
            ) from None

    def misnamed(self) -> str:
        """Why nothing can be added to a folder that was copied or renamed; empty if it is called as its sweep.

        The ledger and MLflow know the sweep by its name, so it would go on elsewhere, or as a mixture of two.
        """
        if (name := self.spec().name) == self.path.name:
            return ""
        usual = self.path.with_name(name)
        remedy = f"go on with that of {usual}" if usual.exists() else f"call the folder {name} again"
        return f"folder {self.path} holds sweep {name!r}, which does not go on under another name; {remedy}"

    def check(self, spec: SweepSpec, data_digest: str) -> None:
        """See that the folder, if there is one, is of the same spec and data.

        Raises:
            ValueError: the name is taken by a different spec, the folder is that of another sweep, or the file of the
                data has changed.
        """
        if self._spec.is_file() and (reason := self.misnamed()):
            raise ValueError(reason)
        if self._spec.is_file() and self.spec().sha256 != spec.sha256:
            raise ValueError(
                f"a sweep {spec.name!r} with a different spec is in {self.path}; "
                f"give this one another --name, or continue that one with 'sweep resume {self._named()}'"
            )
        if self.state().get("data_digest", data_digest) != data_digest:
            raise ValueError(
                f"{spec.dataset} holds other data than when sweep {spec.name!r} began; put those back, or give this "
                "sweep another --name"
            )

    def create(self, spec: SweepSpec, state: dict[str, Any]) -> None:
        """Make the folder, or note how its sweep is launched this time; `check` comes before."""
        self.path.mkdir(parents=True, exist_ok=True)
        _replace(self._spec, yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
        kept = {"folder_id": known} if (known := self.state().get("folder_id")) else {}
        _replace(self._state, json.dumps(state | kept))

    def identified(self) -> str | None:
        """Its id, on the disk before MLflow hears of it; None if it was launched before and its record has none.

        That one gets none either: a store may know it by an id that was lost with its record.
        """
        if not self._spec.is_file() and "folder_id" not in (state := self.state()):
            _replace(self._state, json.dumps(state | {"folder_id": uuid.uuid4().hex}))
        return self.state().get("folder_id")

    def note(self, **ended: Any) -> None:
        """Add to the state how the last launch ended."""
        _replace(self._state, json.dumps(self.state() | ended))

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Hold the folder's lock, which the system releases even after SIGKILL; an old request to stop is over then.

        Raises:
            ValueError: another process is running this sweep, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{self.path} cannot be made ({error.strerror}); give another --runs-dir") from None
        with self._lock.open("a+") as file:
            if not _locked(file):
                raise ValueError(
                    f"sweep {self.path.name!r} is already running in process {self.driver()}; "
                    f"watch it with 'sweep status {self._named()}' or end it with 'sweep stop {self._named()}'"
                )
            file.truncate(0)
            file.write(f"{os.getpid()} {time.time()}")
            file.flush()
            self._stop.unlink(missing_ok=True)
            yield

    def driver(self) -> int | None:
        """Process id of the running driver, None if none is. Whoever may only read the folder can ask."""
        if not self._lock.exists():
            return None
        with self._lock.open() as file:
            for _ in range(_LOOKS):
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    if found := file.read().split():
                        return int(found[0])
                    time.sleep(_PAUSE)  # it has the lock and is about to write who it is
                else:
                    return None
        raise ValueError(f"{self._lock} is held by a process that does not say which; try again")

    def _named(self) -> str:
        """How a command names it."""
        return self.path.name + flag(self.path.parent)

    def stop(self) -> None:
        """Ask the driver to finish the packs that are running and ask for no more."""
        self._stop.touch()

    def stopped(self) -> bool:
        return self._stop.exists()


def flag(runs: Path) -> str:
    """The --runs-dir option of the commands that the user is told to go on with; empty if they need none."""
    return "" if runs == Path("runs") else f" --runs-dir {shlex.quote(str(runs))}"


def _locked(file: TextIO) -> bool:
    """Take the lock, if need be after those who only look who has it, for a moment."""
    for _ in range(_LOOKS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return True
    return False


def _replace(path: Path, text: str) -> None:
    with writing(path):
        put(text.encode(), path, path.with_suffix(".partial"))
