"""The ledger's one writer, on Ray: in a module of its own, because its process should load no torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError

from sweeps.failures import disk
from sweeps.ledger import Ledger
from sweeps.parts import load
from sweeps.tasks import Pack, results

PATIENCE: Final = 300.0
"""Seconds in which the writer answers, even if its process has to be started anew and many wait for it."""


class Silent(Exception):
    """The writer does not answer, so nothing can be recorded."""


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)  # to append a part twice is to append it once
class LedgerWriter:
    """The one writer of a ledger: an actor on the driver's node."""

    def __init__(self, folder: str) -> None:
        self._ledger = Ledger(Path(folder))
        self._attempts: dict[str, int] = {}

    def begin(self, pack: dict[str, Any]) -> tuple[int, list[dict[str, Any]] | None]:
        """The number of this attempt, and the results if an earlier one had already written them."""
        pack_id = pack["pack_id"]
        self._attempts[pack_id] = self._attempts.get(pack_id, 0) + 1
        found = self._ledger.find(pack_id)
        told = None if found is None else results(load(found), Pack.from_dict(pack))
        return self._attempts[pack_id], None if told is None else [asdict(r) for r in told]

    def append(self, part: bytes) -> str:
        """Why the disk did not take it; empty if it did. No worker could help it by training the pack again."""
        try:
            self._ledger.append(part)
        except OSError as error:
            return disk(error)
        return ""


def answer(asked: Any) -> Any:
    """What the writer answers to a call.

    Raises:
        Silent: it does not, as where Ray ends its process whenever it is started, for want of memory on the node.
    """
    try:
        return ray.get(asked, timeout=PATIENCE)
    except GetTimeoutError:
        raise Silent(
            f"the process that writes the ledger, on the driver's node, has not answered for {PATIENCE:.0f} s; "
            "that node may be short of memory"
        ) from None
