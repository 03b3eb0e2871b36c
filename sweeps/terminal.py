"""A terminal that is gone, as when the connection is lost, or a reader, as `head`: a sweep should not end by that."""

from __future__ import annotations

import errno
import os
import termios
from collections.abc import Iterable

from rich.console import Console


class Lasting(Console):
    """A console that goes on when nobody reads it any more; rich would end the program, without a word."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _send_nowhere([self.file.fileno()])


def leave_if_gone() -> None:
    """Where stdout or stderr is a terminal that has hung up, send what is written from now on nowhere.

    The system refuses it, and the first word to a terminal that is no more would end the driver with an error.
    """
    if gone := [number for number in (1, 2) if _hung_up(number)]:
        _send_nowhere(gone)


def _send_nowhere(numbers: Iterable[int]) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in numbers:
        os.dup2(nowhere, number)
    os.close(nowhere)


def _hung_up(number: int) -> bool:
    try:
        termios.tcgetattr(number)
    except termios.error as error:  # of a file: that it is no terminal
        return error.args[0] == errno.EIO
    return False
