"""Files that a command writes: what the disk says against one is a sentence with its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """The path, while it is written.

    Raises:
        ValueError: it cannot be, for it is a folder, the disk is full, ...
    """
    try:
        yield path
    except OSError as error:  # Arrow's know no file, and those of a full disk none either
        why = error.strerror or " ".join(str(error).split())
        raise ValueError(f"{path} cannot be written ({why}); make room for it, or name another --out") from error


def write_table(table: pa.Table, path: Path) -> Path:
    """The table as Parquet, and its path."""
    with writing(path):
        pq.write_table(table, path, compression="zstd")
    return path
