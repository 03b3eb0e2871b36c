"""A part: both tables of a finished pack as one, and as one Parquet file.

A part has one row per trial: the columns of `TRIALS` and one column `replicates`, a list of structs with
the fields of `REPLICATES`. So both tables of a pack are one file, which is there as a whole or not at all.

A trial may be in several parts. It counts once: a result stands from the moment it is recorded, so what
the searcher was told stays true; only a failed trial is superseded, by a result or by a later failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.outcome import Outcome
from analysis.schema import REPLICATES, TRIALS, VERSION, validate

PART: Final = pa.schema([*TRIALS, pa.field("replicates", pa.list_(pa.struct(list(REPLICATES))))])
PROVENANCE: Final = ("sweep", "spec_sha256", "git_commit")
"""Columns of `TRIALS` that are repeated in the schema metadata, as `isoinit.<column>`."""


def part(trials: pa.Table, replicates: pa.Table) -> pa.Table:
    """The two tables of one finished pack as one table.

    Raises:
        ValueError: a column is missing or of the wrong type, a trial is there twice, a replicate has no
            trial, or the trials are not of one pack of one sweep.
    """
    trials, replicates = validate(trials, TRIALS), validate(replicates, REPLICATES)
    for column in ("pack_id", *PROVENANCE):
        if len(found := trials[column].unique()) != 1:
            raise ValueError(f"ledger: a part must have one {column}, but got {found.to_pylist()}")
    place = {key: row for row, key in enumerate(trials["trial_key"].to_pylist())}
    if len(place) < len(trials):
        raise ValueError("ledger: a trial must be in a pack once, but a trial_key is repeated")
    owners = replicates["trial_key"].to_pylist()
    if orphans := set(owners) - set(place):
        raise ValueError(f"ledger: every replicate must belong to a trial of its pack, but {min(orphans)} does not")
    rows = np.array([place[key] for key in owners], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(trials)))]).astype(np.int32)
    ordered = replicates.take(pa.array(np.argsort(rows, kind="stable")))
    columns = [column.combine_chunks() for column in ordered.columns]
    structs = pa.StructArray.from_arrays(columns, fields=list(REPLICATES))
    nested = pa.ListArray.from_arrays(pa.array(offsets), structs)
    joined = pa.Table.from_arrays([*trials.columns, nested], schema=PART)
    finished = max(joined["finished_at"].drop_null().cast(pa.int64()).to_pylist(), default=0)
    own = {"isoinit.pack_id": joined["pack_id"][0].as_py(), "isoinit.finished_at": f"{finished:020d}"}
    return joined.replace_schema_metadata(_metadata(joined) | own)


def split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """`(trials, replicates)` of a part, or of several put together."""
    nested = table["replicates"].combine_chunks()
    replicates = pa.Table.from_struct_array(nested.flatten()).replace_schema_metadata(table.schema.metadata)
    return _exact(table.drop_columns("replicates"), TRIALS), _exact(replicates, REPLICATES)


def encode(table: pa.Table) -> bytes:
    """A part as the bytes of its Parquet file: what a worker sends to the ledger's writer."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="lz4", use_dictionary=False)  # read back in half the time, and as small
    return sink.getvalue().to_pybytes()


def pack_id_of(data: bytes) -> str:
    """The id of the pack whose part `encode` made these bytes of."""
    return _read(pa.BufferReader(data), []).schema.metadata[b"isoinit.pack_id"].decode()


def load(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The part in the file `path`, or only some of its columns (and the schema metadata).

    Raises:
        ValueError: the file is truncated or is not a part.
    """
    try:
        return _read(path, columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is not a readable part of the ledger ({' '.join(str(error).split())}); move it away and run "
            "`sweep resume`: its trials will be trained again"
        ) from error


def merge(parts: Iterable[pa.Table]) -> tuple[pa.Table, pa.Table]:
    """`(trials, replicates)` of parts, in order of finishing, every trial once.

    Raises:
        ValueError: the parts are of different sweeps or specs.
    """
    tables = sorted(parts, key=_finished)
    if not tables:
        return TRIALS.empty_table(), REPLICATES.empty_table()
    table = pa.concat_tables(tables)
    for column in ("sweep", "spec_sha256"):
        found = sorted(str(value) for value in table[column].unique())
        if len(found) > 1:
            raise ValueError(f"ledger: all parts must have one {column}, but these have {', '.join(found)}")
    standing: dict[str, int] = {}
    outcomes = table["outcome"].to_pylist()
    for row, key in enumerate(table["trial_key"].to_pylist()):
        if key not in standing or outcomes[standing[key]] == Outcome.FAILED:
            standing[key] = row
    if len(standing) < len(table):
        table = table.take(sorted(standing.values()))
    return split(table.replace_schema_metadata(_metadata(table)))


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Files of parts, in order of finishing."""
    return sorted(paths, key=lambda path: _finished(load(path, [])))


def _read(source: Path | pa.BufferReader, columns: Sequence[str] | None = None) -> pa.Table:
    with pq.ParquetFile(source) as file:
        schema = file.schema_arrow
        metadata = schema.metadata or {}
        if metadata.get(b"isoinit.table") != b"part":
            raise ValueError("it is a table of something else")
        if (version := metadata[b"isoinit.schema_version"].decode()) != VERSION:
            raise ValueError(f"it has schema version {version}, and this program reads version {VERSION}")
        if not schema.equals(PART):
            raise ValueError("its columns are not those of a part")
        return file.read(columns)


def _metadata(table: pa.Table) -> dict[str, str]:
    """Schema metadata of a table of trials: which sweep its rows are of, and by which code."""
    values = {name: ",".join(sorted(table[name].drop_null().unique().to_pylist())) for name in PROVENANCE}
    values |= {"table": "part", "schema_version": VERSION}
    return {f"isoinit.{name}": value for name, value in values.items()}


def _exact(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table`, known to be right, with the field metadata of `schema` put back."""
    return pa.Table.from_arrays(table.columns, schema=schema).replace_schema_metadata(
        {**(table.schema.metadata or {}), **(schema.metadata or {})}
    )


def _finished(part: pa.Table) -> tuple[bytes, bytes]:
    """Sort key of parts."""
    metadata = part.schema.metadata
    return metadata[b"isoinit.finished_at"], metadata[b"isoinit.pack_id"]
