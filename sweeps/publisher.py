"""Publish new parts in the background, so that a sweep neither waits for MLflow nor fails with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from analysis.words import counted
from sweeps.failures import disk
from sweeps.ledger import Ledger
from sweeps.parentrun import Refused

if TYPE_CHECKING:
    from sweeps.tracking import Tracker


class Publisher:
    """Publishes new parts in a thread of its own; a context that is entered before the first part.

    The ledger is the queue, so nothing can be lost or pile up in memory. While the store is down it tries
    again after 1, 2, 4, ... at most `longest_wait` seconds; the sweep neither waits for it nor fails with it.
    Why it failed is in `error`, and in the tracker's `failure` for the end of the sweep, which has no publisher.
    """

    def __init__(self, tracker: Tracker, book: Ledger, *, longest_wait: float = 60.0, last_wait: float = 60.0) -> None:
        self._tracker, self._ledger = tracker, book
        self._longest_wait, self._last_wait = longest_wait, last_wait
        self._news, self._closing, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._interrupted = self._refused = False
        self.waiting = 0
        """Parts that were not published yet when it last looked."""

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._interrupted = kind is not None
        self.close(self._last_wait if kind is None else min(5.0, self._last_wait))

    @property
    def error(self) -> str | None:
        """Why publishing last failed; None if it did not."""
        return self._tracker.failure

    def notify(self) -> None:
        """Say that a part was appended."""
        self._news.set()

    def status(self) -> str:
        """For a progress line; empty if all is well."""
        behind = f"MLflow is {counted(self.waiting, 'part')} behind"
        if self.error is not None:
            return f"{behind}: {self.error}"
        return behind if self.waiting > 1 else ""

    def close(self, timeout: float) -> int:
        """Try for `timeout` seconds to publish the rest, and return how many parts remain for `sweep sync`."""
        self._closing.set()
        self._news.set()
        self._thread.join(timeout)
        self._stop.set()  # between two trials
        self._thread.join(5.0)
        if self._thread.is_alive() and self.error is None:
            self._tracker.failure = f"MLflow at {self._tracker.uri} has not answered in time"
        return self.remaining()

    def remaining(self) -> int:
        """Parts that the store does not have yet."""
        run_id = self._tracker.run_id
        return len(self._ledger.parts() if run_id is None else self._ledger.unpublished(run_id))

    def _run(self) -> None:
        try:
            self._publish()
        except Exception as error:  # a mistake of ours, which trying again would not mend: the thread ends
            self._tracker.failure = f"publishing has ended by a {type(error).__name__}: {error}"
            raise

    def _publish(self) -> None:
        wait = 1.0
        while not self._stop.is_set():
            closing = self._closing.is_set()  # asked before looking, so that the last look is after the last part
            if self._drain(closing):
                if closing:
                    return
                wait = 1.0
                self._news.wait()
                self._news.clear()
            elif closing and self._refused:
                return
            elif closing:
                self._stop.wait(1.0)
            else:
                self._closing.wait(wait)
                wait = min(2 * wait, self._longest_wait)

    def _drain(self, closing: bool) -> bool:
        """Publish what is not published; False if the store failed or `close` ran out of time."""
        try:
            self.waiting = self.remaining()
            run_id = self._tracker.run_id or self._tracker.open()
            while paths := self._ledger.unpublished(run_id):
                for done, path in enumerate(paths):
                    self.waiting = len(paths) - done
                    if not self._tracker.publish(path, self._stop):
                        return False
                    self._ledger.mark_published(path, run_id)
            if closing:
                self._tracker.finish(status="KILLED" if self._interrupted else "FINISHED")
        except (ValueError, OSError) as error:  # of the store, or of the marks of what it has
            self._tracker.failure = disk(error) if isinstance(error, OSError) else str(error)
            self._refused = isinstance(error, Refused)
            return False
        self.waiting, self._tracker.failure = 0, None
        return True
