"""Why a pack failed, in one clause: what Ray says is a page long, and ends with advice about Ray.

And which file could not be written: an error of the disk itself, as when it is full, does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CAUSES: Final = (
    (
        r"failed to import on the worker.*?\bip=([^,\s]+).*\n\s*(\w+(?:Error|Exception): [^\n]+)",
        r"isoinit is not installed on node \1, or not as it is here (\2); install there what the driver has",
    ),
    (r"low on memory.*? was (\S+) used / (\S+) limit", r"its node ran out of memory, with \1 of \2 used"),
    (r"low on memory|OutOfMemoryError", "its worker ran out of memory"),
    (r"its node has died|node was terminated|node was preempted", "its node was lost"),
    (r"actor is temporarily unavailable", "its worker cannot be reached; its node may be lost"),
    (r"worker process has died", "its worker's process was killed or crashed, perhaps for want of memory"),
)
"""Patterns of what Ray 2.60 says, and what they mean; the first that is found counts."""
LONGEST: Final = 200


def last(said: str) -> str:
    """Of the text that Tune keeps of a pack's failures, the last."""
    return said.rpartition("Failure # ")[2].strip()


def reason(said: str) -> str:
    """What went wrong last: a cause that is known, or the last line, which of an exception is what it says."""
    text = last(said)
    for pattern, meaning in CAUSES:
        if found := re.search(pattern, text, re.DOTALL):
            return found.expand(meaning)
    return text.splitlines()[-1].strip()[:LONGEST] if text else "its worker died, and Ray does not say why"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the disk says of what is written meanwhile, it says of `path`.

    Raises:
        OSError: with `filename`.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(error.filename or path)) from error


def unrecorded(reason: str) -> str:
    """What ends a sweep where something is not taken by the ledger or the journal; empty if there is no reason."""
    return f"nothing more can be recorded ({reason})" if reason else ""


def disk(error: OSError) -> str:
    """An error of a file in a few words, with the file's name if it has one."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
