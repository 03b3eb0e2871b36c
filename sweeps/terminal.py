"""A terminal that is gone, as when the connection is lost: a sweep that has lost its own should not end by that."""

from __future__ import annotations

import errno
import os
import termios


def leave_if_gone() -> None:
    """Where stdout or stderr is a terminal that has hung up, send what is written from now on nowhere.

    The system refuses it, and the first word to a terminal that is no more would end the driver with an error.
    """
    if gone := [number for number in (1, 2) if _hung_up(number)]:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in gone:
            os.dup2(nowhere, number)
        os.close(nowhere)


def _hung_up(number: int) -> bool:
    try:
        termios.tcgetattr(number)
    except termios.error as error:  # of a file: that it is no terminal
        return error.args[0] == errno.EIO
    return False
