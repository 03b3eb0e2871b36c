"""The ledger loses nothing, counts nothing twice, and says which file is broken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables import pack

from analysis.schema import REPLICATES, TRIALS
from sweeps import parts
from sweeps.ledger import Ledger


def _part(*args: int, **options: object) -> pa.Table:
    return parts.part(*pack(*args, **options))  # type: ignore[arg-type]


def _rows(table: pa.Table) -> str:
    return repr(table.to_pylist())  # a NaN equals no NaN, but its text does


def test_a_part_is_split_into_the_tables_it_was_made_of() -> None:
    trials, replicates = pack(trials=12, failed=[3])
    shuffled = replicates.take(list(range(0, len(replicates), 2)) + list(range(1, len(replicates), 2)))
    back, nets = parts.split(parts.part(trials, shuffled))
    assert _rows(back) == _rows(trials)
    keys = trials["trial_key"].to_pylist()
    in_order = sorted(shuffled.to_pylist(), key=lambda row: keys.index(row["trial_key"]))
    assert repr(nets.to_pylist()) == repr(in_order)
    assert nets["trial_key"].to_pylist() == [k for k in trials["trial_key"].to_pylist() for _ in range(4)][:12] + [
        k for k in trials["trial_key"].to_pylist()[4:] for _ in range(4)
    ]
    assert back.schema.field("depth").metadata == TRIALS.field("depth").metadata
    assert nets.schema.field("curve_loss").metadata == REPLICATES.field("curve_loss").metadata


def test_the_file_keeps_infinities_and_says_where_it_comes_from(tmp_path: Path) -> None:
    trials, replicates = pack(trials=12)
    assert {"inf", "nan"} <= {str(v) for curve in replicates["curve_loss"].to_pylist() for v in curve}
    book = Ledger(tmp_path)
    path = book.append(parts.part(trials, replicates))
    assert path == tmp_path / "ledger" / "toy-00000.parquet"
    read = book.read()
    assert [_rows(t) for t in read] == [_rows(trials), _rows(replicates)]
    for table, name in zip(read, (b"trials", b"replicates"), strict=True):
        metadata = table.schema.metadata
        assert metadata[b"isoinit.table"] == name
        assert metadata[b"isoinit.sweep"] == b"toy"
        assert metadata[b"isoinit.spec_sha256"] == b"1" * 64
        assert metadata[b"isoinit.git_commit"] == b"0" * 40
        assert metadata[b"isoinit.schema_version"] == b"1"
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "LZ4"


def test_an_empty_ledger_is_two_empty_tables(tmp_path: Path) -> None:
    book = Ledger(tmp_path / "nothing")
    assert [len(t) for t in book.read()] == [0, 0]
    assert [t.schema.names for t in book.read()] == [TRIALS.names, REPLICATES.names]
    assert (book.keys(), book.parts(), book.unpublished("run")) == (set(), [], [])
    assert not (tmp_path / "nothing").exists()  # reading leaves nothing behind


def test_bytes_are_written_as_they_came(tmp_path: Path) -> None:
    data = parts.encode(_part())
    assert Ledger(tmp_path).append(data).read_bytes() == data


def test_a_pack_appended_again_is_not_written_again(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    first = book.append(_part())
    before = first.stat().st_mtime_ns
    assert book.append(_part(attempt=2)) == first
    assert first.stat().st_mtime_ns == before
    assert book.parts() == [first]


def test_parts_come_in_order_of_finishing_not_of_writing(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    late, early = book.append(_part(7)), book.append(_part(2))
    assert book.parts() == [early, late]
    assert book.read()[0]["pack_id"].to_pylist() == ["toy-00002"] * 4 + ["toy-00007"] * 4


def test_a_result_supersedes_a_failure_and_nothing_supersedes_a_result(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    whole, nets = pack(0)
    book.append(_part(0, failed=[1, 2]))
    assert book.keys() == {whole["trial_key"][i].as_py() for i in (0, 3)}
    book.append(_part(0, failed=[1, 2]))  # told again, word for word
    assert len(book.parts()) == 1
    book.append(_part(0, failed=[2], attempt=2))  # the same pack, tried again
    assert len(book.parts()) == 2
    book.append(_part(5, first=0, attempt=3))  # its trials in another pack
    trials, replicates = book.read()
    by_key = {row["trial_key"]: row for row in trials.to_pylist()}
    assert [by_key[k]["attempt"] for k in whole["trial_key"].to_pylist()] == [1, 2, 3, 1]
    assert "failed" not in trials["outcome"].to_pylist()
    assert sorted(map(repr, replicates.to_pylist())) == sorted(map(repr, nets.to_pylist()))
    assert book.keys() == set(by_key)


def test_a_failure_after_a_result_changes_nothing_whatever_their_files_are_called(tmp_path: Path) -> None:
    """As of a pack that was recorded, and whose worker died before it said so."""
    for number in (3, 9):
        book = Ledger(tmp_path / str(number))
        book.append(_part(6, first=0))
        outcomes = book.outcomes()
        book.append(_part(number, first=0, failed=[0, 1, 2, 3], attempt=2))
        assert book.outcomes() == outcomes
        assert "failed" not in book.read()[0]["outcome"].to_pylist()


def test_a_pack_is_found_once_all_of_its_trials_have_a_result(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    other = book.append(_part(1))
    book.append(_part(0, failed=[0]))
    assert book.find("toy-00000") is None
    whole = book.append(_part(0, attempt=2))
    assert [book.find(pack_id) for pack_id in ("toy-00000", "toy-00001", "toy")] == [whole, other, None]


def test_every_try_of_a_pack_with_failed_trials_is_a_part_of_its_own(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    names = [book.append(_part(0, failed=[0], attempt=attempt)).name for attempt in (1, 2, 3, 4)]
    assert names == ["toy-00000.parquet", "toy-00000.2.parquet", "toy-00000.3.parquet", "toy-00000.4.parquet"]
    assert len(book.parts()) == 4


def test_a_later_failure_replaces_an_earlier_one(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    for number, attempt in ((0, 1), (1, 2)):
        book.append(_part(number, first=0, failed=[0], attempt=attempt))
    trials, replicates = book.read()
    assert {row["attempt"] for row in trials.to_pylist() if row["outcome"] == "failed"} == {2}
    assert len(trials) == 4
    assert len(replicates) == 12


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "foreign", "version", "columns"])
def test_a_broken_part_is_named_with_the_remedy(tmp_path: Path, damage: str) -> None:
    book = Ledger(tmp_path)
    book.append(_part(0))
    path = book.append(_part(1))
    table = pq.read_table(path)
    if damage in ("truncated", "empty", "garbage"):
        data = path.read_bytes()
        path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "garbage": b"x" * 999}[damage])
    elif damage == "foreign":
        pq.write_table(pa.table({"a": [1]}), path)
    elif damage == "version":
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"isoinit.schema_version": b"0"}), path)
    else:
        pq.write_table(table.drop_columns("depth"), path)
    for act in (book.read, book.keys, book.parts, lambda: book.unpublished("run")):
        with pytest.raises(
            ValueError, match=r"toy-00001.parquet is not .* move it away and run `sweep resume`"
        ) as error:
            act()
        assert "\n" not in str(error.value)
    path.rename(tmp_path / "away")
    assert len(book.read()[0]) == 4


def test_parts_of_another_sweep_are_not_mixed_in(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    book.append(_part(0))
    book.append(_part(1, sweep="other"))
    with pytest.raises(ValueError, match="one sweep, but these have other, toy"):
        book.read()


def test_what_is_no_part_is_refused(tmp_path: Path) -> None:
    trials, replicates = pack()
    with pytest.raises(ValueError, match="belong to a trial"):
        parts.part(trials.slice(1), replicates)
    with pytest.raises(ValueError, match="repeated"):
        parts.part(pa.concat_tables([trials, trials]), replicates)
    with pytest.raises(ValueError, match="no column 'depth'"):
        parts.part(trials.drop_columns("depth"), replicates)
    with pytest.raises(ValueError, match="one pack_id"):
        parts.part(pa.concat_tables([trials, pack(1)[0]]), replicates)
    with pytest.raises(ValueError, match="something else"):
        Ledger(tmp_path).append(trials)
    with pytest.raises(ValueError, match="a pack_id must be letters"):
        Ledger(tmp_path).append(_part(0, sweep="../x"))
    with pytest.raises(ValueError, match="a pack_id must be letters"):
        Ledger(tmp_path).append(_part(0, sweep="x/../y"))
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_writer_killed_while_writing_leaves_no_part_and_the_next_cleans_up(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from tables import pack
        from sweeps import ledger, parts
        book = ledger.Ledger(Path(sys.argv[1]))
        book.append(parts.part(*pack(0)))
        ledger.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)  # written, not yet on the disk
        book.append(parts.part(*pack(1)))
    """)
    here = str(Path(__file__).parent)
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path), here], check=False)
    assert killed.returncode == -signal.SIGKILL
    partial = tmp_path / "ledger" / ".partial"
    assert os.listdir(partial) == ["toy-00001.parquet"]
    book = Ledger(tmp_path)
    assert [path.stem for path in book.parts()] == ["toy-00000"]
    assert len(book.read()[0]) == 4
    book.append(_part(2))
    assert os.listdir(partial) == []


def test_a_part_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sizes: list[int] = []
    rename, fsync = Path.rename, os.fsync

    def spy_rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return rename(self, target)

    def spy_fsync(handle: int) -> None:
        events.append("fsync")
        sizes.append(os.fstat(handle).st_size)
        fsync(handle)

    monkeypatch.setattr(Path, "rename", spy_rename)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    path = Ledger(tmp_path).append(_part())
    assert sizes[0] == path.stat().st_size, "all of it, and nothing is left in a buffer"
    assert events == ["fsync", "rename", "fsync"]  # the file, its name, the folder


def test_marks_tell_what_each_run_has_received(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    one, two = book.append(_part(0)), book.append(_part(1))
    book.mark_published(one, "a")
    assert book.unpublished("a") == [two]
    assert book.unpublished("b") == [one, two]  # an empty store gets everything


def test_a_part_that_is_written_anew_was_received_by_no_run(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    lost, kept, again = book.append(_part(0)), book.append(_part(1)), book.append(_part(2, failed=[0]))
    for run_id in ("a", "b"):
        for path in (lost, kept, again):
            book.mark_published(path, run_id)
    lost.unlink()
    book.append(_part(0))
    second = book.append(_part(2, attempt=2))
    assert book.unpublished("a") == book.unpublished("b") == [lost, second]
