"""The live line of a run: done of total, outcomes, trials a minute, time left, and how MLflow keeps up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from analysis.outcome import Outcome
from sweeps.terminal import leave_if_gone

COLORS: Final[Mapping[str, str]] = {
    Outcome.TRAINED: "green",
    Outcome.SLOW: "cyan",
    Outcome.STALLED: "yellow",
    Outcome.VANISHED: "blue",
    Outcome.DIVERGED: "magenta",
    Outcome.FAILED: "bold red",
}
PLAIN_SECONDS: Final = 10.0
"""Without a terminal, how often a line is printed."""


class Progress:
    """Shows how far a sweep is; a line that is rewritten on a terminal, a line now and then elsewhere.

    Args:
        total: trials that the sweep has in the end.
        outcomes: outcomes of the trials that were there before.
        note: asked for a few more words at every refresh.
        console: where to show it; None shows nothing.
    """

    def __init__(
        self, total: int, outcomes: Iterable[str], *, note: Callable[[], str] = lambda: "", console: Console | None
    ) -> None:
        self._total = total
        self._counts = Counter(outcomes)
        self._note = note
        self._console = console
        self._started = self._printed = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._lock = threading.Lock()
        self._phase: tuple[str, float | None] = "starting", None
        live = console is not None and console.is_terminal
        self._live = Live(self, console=console, refresh_per_second=4, transient=True) if live else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            leave_if_gone()
            self._live.stop()

    def phase(self, name: str, since: float | None = None) -> None:
        """Say what is going on while there is no trial to count, and for how long if it matters (`time.monotonic`)."""
        self._phase = name, since  # without the lock, for the handler of a signal calls this
        if self._console is not None and self._live is None:
            self._console.print(f"{_lasting(name, since)} ...", highlight=False, soft_wrap=True)

    def add(self, outcomes: Iterable[str]) -> None:
        """Count finished trials."""
        now = time.monotonic()
        with self._lock:
            self._counts.update(outcomes)
            self._phase = "", None
            self._first = self._first or (now, self._counts.total())
        if self._console is not None and self._live is None and now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            self._console.print(self.__rich__(), soft_wrap=True)

    def __rich__(self) -> Text:
        with self._lock:
            counts, phase = self._counts.copy(), _lasting(*self._phase)
        done = counts.total()
        now = time.monotonic()
        line = Text(f"{done}/{self._total} trials")
        for outcome in Outcome:
            if counts[outcome]:
                line.append(f"  {counts[outcome]} {outcome}", style=COLORS[outcome])
        since, before = self._first or (now, done)
        if done > before:  # what came before the first result, such as Ray's start, says nothing of the trials to come
            rate = (done - before) / max(now - since, 1e-3)
            line.append(f"  {60 * rate:.0f}/min  {_duration((self._total - done) / rate)} left")
        line.append(f"  {_duration(now - self._started)} gone" + (f"  {phase}" if phase else ""))
        if note := self._note().strip():
            line.append(f"  {note}", style="dim")
        return line


def _lasting(phase: str, since: float | None) -> str:
    return phase if since is None else f"{phase} ({_duration(time.monotonic() - since)} so far)"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
