"""The journal of a sweep: the packs that were asked for, so that a resume asks for those again that have no result."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO

from sweeps.failures import writing
from sweeps.tasks import Pack


class Journal:
    """The packs that were asked for, one JSON line each, on disk before they are trained."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, pack: Pack) -> None:
        with writing(self._path), self._path.open("ab+") as file:
            file.truncate(self._whole(file))
            file.write(json.dumps(pack.to_dict()).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[Pack]:
        """All packs in order; a last line that a kill cut short was never trained and is left out.

        Raises:
            ValueError: a line is no pack, and not the last; says which, and what to do.
        """
        lines = self._path.read_bytes().split(b"\n")[:-1] if self._path.exists() else []
        return [self._pack(number, line) for number, line in enumerate(lines, 1)]

    def _pack(self, number: int, line: bytes) -> Pack:
        try:
            return Pack.from_dict(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"line {number} of {self._path} is damaged ({error}); remove the line: what was trained is in the "
                "ledger, and what was not is asked for anew"
            ) from None

    @staticmethod
    def _whole(file: BinaryIO) -> int:
        """Bytes up to the end of the last line that is whole: what is written next must not continue a torn one."""
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) in (b"", b"\n"):
            return size
        file.seek(0)
        return file.read().rfind(b"\n") + 1
