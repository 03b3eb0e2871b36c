"""What is said while no pack has a worker: why, and how long it has been so.

Nobody knows whether one will come, for a cluster may take long to grow: so a sweep waits as long as it is let.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

FIRST: Final = 10.0
"""Seconds without a worker until it is said: a process that died is replaced sooner. Then after twice as many, ..."""
LONGEST: Final = 600.0
"""Seconds, at most, until it is said again."""


class Waiting:
    """Looks on while a sweep runs on a cluster.

    Args:
        why: asked why no pack has a worker; empty if that is no want of one.
        phase: called with it and with the time since when, by `time.monotonic`, and with other words when it is over.
    """

    def __init__(self, why: Callable[[], str], phase: Callable[..., None]) -> None:
        self._why, self._phase = why, phase
        self._since: float | None = None
        self._due = 0.0
        self._told = False

    def look(self, waits: bool) -> None:
        """Called again and again, with whether there are packs and none of them has a worker."""
        if not waits:
            if self._told:
                self._phase("starting packs")
            self._since, self._told = None, False
            return
        now = time.monotonic()
        if self._since is None:
            self._since, self._due = now, now + FIRST
        if now < self._due:
            return
        self._due = now + min(now - self._since, LONGEST)
        if said := self._why():
            self._phase(said, self._since)
            self._told = True
