"""The schemas: every column says what it means, and `validate` accepts what was written and nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import exports
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables import pack

from analysis import rates as rates_of
from analysis import store
from analysis.compare import paired
from analysis.schema import (
    AXES,
    PROBES,
    REPLICATES,
    TRIALS,
    VERSION,
    Took,
    between,
    stamp,
    stamp_between,
    took,
    validate,
)

BOTH = pytest.mark.parametrize(("place", "schema"), [(0, TRIALS), (1, REPLICATES)], ids=["trials", "replicates"])


@BOTH
def test_every_column_says_what_it_means(place: int, schema: pa.Schema) -> None:  # noqa: ARG001
    assert all((field.metadata or {}).get(b"meaning") for field in schema)
    assert len(set(schema.names)) == len(schema.names)


def test_axes_and_probes_are_columns() -> None:
    assert set(AXES) <= set(TRIALS.names)
    assert set(PROBES) <= set(REPLICATES.names)
    assert "log_forward_ratio" in PROBES
    assert "curve_loss" not in PROBES


@BOTH
def test_survives_parquet_with_columns_in_any_order(place: int, schema: pa.Schema, tmp_path) -> None:
    table = pack()[place]
    mixed = table.select(table.column_names[::-1]).replace_schema_metadata({"note": "kept", **(schema.metadata or {})})
    pq.write_table(mixed, tmp_path / "part.parquet", compression="zstd")
    read = validate(pq.read_table(tmp_path / "part.parquet"), schema)
    assert read.schema.equals(schema)
    assert (read.schema.metadata or {})[b"note"] == b"kept"
    if place == 0:  # NaN != NaN, so only the table that has none is compared as a whole
        assert read.equals(table)


@BOTH
def test_wider_numbers_are_accepted_if_nothing_is_lost(place: int, schema: pa.Schema) -> None:
    table = pack()[place]
    name = "depth" if place == 0 else "seed"
    wide = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    assert validate(wide, schema)[name].type == pa.int32()


def test_numbers_of_single_precision_are_those_that_were_written(tmp_path: Path) -> None:
    """As doubles they were others: no network was of its trial's best learning rate, so none was paired, and
    `--learning-rates 0.1` said that no network was trained at 0.1, but at 0.01 and 0.1."""
    replicates = pack()[1]
    values = pa.array([0.1, 0.003, math.inf, math.nan, None, 1e-30, -0.25], pa.float32())
    some = _put(replicates.slice(0, len(values)), "final_train_loss", values)
    read = validate(some, REPLICATES)["final_train_loss"].to_pylist()
    assert read[:3] == [0.1, 0.003, math.inf]
    assert math.isnan(read[3])
    assert read[4:] == [None, 1e-30, -0.25]

    trials, replicates = exports.tables(24, shared_points=True)
    rates = replicates["learning_rate"].cast(pa.float32())
    short = store.read(exports.write(tmp_path, trials, _put(replicates, "learning_rate", rates)))
    assert str(paired(short.trials, short.replicates)) == str(paired(trials, replicates)) != "[]"  # shares may be nan
    assert rates_of.only(short, [0.1]).rates == (0.1,)


def _put(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def test_refusals_name_the_table_and_the_column() -> None:
    trials, replicates = pack()
    with pytest.raises(ValueError, match=r"trials: .*no column 'depth'"):
        validate(trials.drop_columns(["depth"]), TRIALS)
    with pytest.raises(ValueError, match="replicates: not a sweep's table"):
        validate(trials, REPLICATES)
    with pytest.raises(ValueError, match="trials: a column has the wrong type"):
        validate(_put(trials, "depth", pa.array([2.5] * len(trials))), TRIALS)
    with pytest.raises(ValueError, match="trials: a column has the wrong type: 'depth' must be int32, but is string"):
        validate(_put(trials, "depth", pa.array(["deep"] * len(trials))), TRIALS)
    with pytest.raises(ValueError, match="trials: 'scheme' must be known in every row, but is null in 4"):
        validate(_put(trials, "scheme", pa.nulls(len(trials), pa.string())), TRIALS)
    newer = replicates.replace_schema_metadata({"isoinit.schema_version": "99"})
    with pytest.raises(ValueError, match=f"version 99 cannot be read, this program reads version {VERSION}"):
        validate(newer, REPLICATES)


def test_what_a_sweep_took_survives_parquet_to_the_last_bit(tmp_path) -> None:
    said = Took(4, 41.2000000000001, 1 / 3)
    pq.write_table(stamp(pack()[0], said), tmp_path / "trials.parquet")
    read = validate(pq.read_table(tmp_path / "trials.parquet"), TRIALS)
    assert took(read) == said
    assert (read.schema.metadata or {})[b"isoinit.table"] == b"trials"


def test_a_time_is_of_just_the_trials_that_took_it() -> None:
    """Failed trials are none; more trials, or fewer, took another time."""
    trials, lost = pack(trials=4)[0], pack(trials=4, failed=[1])[0]
    assert took(trials) is took(stamp(trials, None)) is None
    assert took(stamp(lost, Took(3, 1.0, 2.0))) == Took(3, 1.0, 2.0)
    for table, number in ((trials, 3), (trials, 5), (lost, 4)):
        assert stamp(table, Took(number, 1.0, 2.0)).equals(table, check_metadata=True)
    stamped = stamp(trials, Took(4, 1.0, 2.0))
    assert (stamped.schema.metadata or {})[b"isoinit.table"] == b"trials"
    assert took(stamped.slice(0, 2)) is None
    assert took(pa.concat_tables([stamped, stamp(pack(1)[0], Took(4, 3.0, 2.0))])) is None


def test_what_lies_between_classes_survives_parquet_beside_what_the_sweep_took(tmp_path) -> None:
    stamped = stamp_between(stamp(pack()[0], Took(4, 1.0, 2.0)), 1 / 3)
    pq.write_table(stamped, tmp_path / "trials.parquet")
    read = validate(pq.read_table(tmp_path / "trials.parquet"), TRIALS)
    assert (between(read), took(read)) == (1 / 3, Took(4, 1.0, 2.0))
    assert between(pack()[0]) is between(stamp_between(pack()[0], None)) is None
    for share in (0.0, 1.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"isoinit\.between: the metadata must be a number above 0 and at most 1"):
            between(stamp_between(pack()[0], share))
    words = stamped.replace_schema_metadata({b"isoinit.between": b"half"})
    with pytest.raises(ValueError, match="but got 'half'"):
        between(words)


@pytest.mark.parametrize("seconds", [b"soon", b"nan", b"-1.0", b"inf", b""])
def test_a_time_that_is_none_is_refused(seconds: bytes) -> None:
    table = stamp(pack()[0], Took(4, 1.0, 2.0))
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"isoinit.took.seconds": seconds})
    with pytest.raises(ValueError, match=r"isoinit\.took: the metadata must be a number of trials and two of seconds"):
        took(table)
