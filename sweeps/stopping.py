"""How a sweep is stopped from outside: by Ctrl-C, SIGTERM or the loss of its terminal, or by a mark in its folder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sweeps.terminal import leave_if_gone


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

        So does SIGHUP, unless `nohup` has it ignored; but it is no second one, for a terminal that is lost sends
        several. Only a main thread can take signals: elsewhere they do what they did before.
        """

        def handle(_: int, __: FrameType | None) -> None:
            if self._signalled.is_set():
                raise KeyboardInterrupt
            self._signalled.set()
            say("stopping after the packs that are running (again: at once)")

        def hang_up(_: int, __: FrameType | None) -> None:
            leave_if_gone()
            self._signalled.set()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        taken = {signal.SIGINT: handle, signal.SIGTERM: handle}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            taken[signal.SIGHUP] = hang_up
        before = {number: signal.signal(number, handler) for number, handler in taken.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
