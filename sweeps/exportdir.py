"""The files of an export, put in their places in its folder: all of them, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

SPEC: Final = "spec.yaml"
ROW_GROUP: Final = 65536
_TABLES: Final = ("trials", "replicates")


def check(out: Path, name: str) -> None:
    """See that `out` is free or holds an export of the sweep `name`, be it one that was killed.

    Raises:
        ValueError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())) or _scratch(out, name).is_dir():
        return
    if not all((out / kind / f"{name}.parquet").is_file() for kind in _TABLES):
        raise ValueError(f"--out {out} holds something else than an export of {name!r}; name another folder")


def _scratch(out: Path, name: str) -> Path:
    return out / f".{name}.export"


def put(out: Path, name: str, trials: pa.Table, replicates: pa.Table, spec: bytes) -> tuple[Path, ...]:
    """Write into a folder within `out`, which a kill leaves there, and then put file by file in its place.

    Returns the files. If that fails, what was in `out` before is there again.

    Raises:
        ValueError: `out` cannot be written.
    """
    scratch, fresh = _scratch(out, name), not out.exists()
    killed = scratch.exists()
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        _empty(scratch)
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written ({error.strerror}); name another folder") from error
    places = [Path(kind, f"{name}.parquet") for kind in _TABLES] + [Path(SPEC)]
    try:
        for place, table in zip(places, (trials, replicates), strict=False):
            (scratch / "new" / place).parent.mkdir(parents=True)
            pq.write_table(table, scratch / "new" / place, compression="zstd", row_group_size=ROW_GROUP)
        (scratch / "new" / SPEC).write_bytes(spec)
        _replace(out, scratch, places)
    except BaseException:
        _empty(scratch)
        if not killed:  # or else it still says that what is in `out` is an export, be it half of one
            scratch.rmdir()
        if fresh:
            out.rmdir()
        raise
    shutil.rmtree(scratch)
    return tuple(out / place for place in places)


def _empty(scratch: Path) -> None:
    for folder in scratch.iterdir():
        shutil.rmtree(folder)


def _replace(out: Path, scratch: Path, places: Sequence[Path]) -> None:
    """Put files of `scratch/new` in their places; if that fails, what was there is there again."""
    folders = [folder for kind in _TABLES if not (folder := out / kind).exists()]
    earlier = [place for place in places if (out / place).exists()]
    for place in earlier:
        (scratch / "old" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(out / place, scratch / "old" / place)
    try:
        for folder in folders:
            folder.mkdir()
        for place in places:
            os.replace(scratch / "new" / place, out / place)
    except BaseException:
        for place in places:
            if place in earlier:
                os.replace(scratch / "old" / place, out / place)
            else:
                (out / place).unlink(missing_ok=True)
        for folder in filter(Path.exists, folders):
            folder.rmdir()
        raise
