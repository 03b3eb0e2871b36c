"""How a sweep is stopped from outside: by Ctrl-C or SIGTERM, or by a mark in its folder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """A wish that the sweep end when the packs that are running are finished.

    Args:
        marked: whether it was made by 'sweep stop'.
    """

    def __init__(self, marked: Callable[[], bool]) -> None:
        self._marked = marked
        self._signalled = threading.Event()

    def wanted(self) -> bool:
        return self._signalled.is_set() or self._marked()

    @contextmanager
    def signals(self, say: Callable[[str], None]) -> Iterator[None]:
        """A first Ctrl-C or SIGTERM lets the running packs finish; a second one ends at once.

        Only a main thread can take signals: elsewhere they do what they did before.
        """

        def handle(_: int, __: FrameType | None) -> None:
            if self._signalled.is_set():
                raise KeyboardInterrupt
            self._signalled.set()
            say("stopping after the packs that are running (again: at once)")

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
