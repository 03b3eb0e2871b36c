"""A disk that takes no more ends a sweep in one sentence that names the file, and loses nothing that was finished.

A file where a folder should be stands for a full disk: root may write anywhere, and tests have no disk to fill.
"""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import stores
from test_search import _judge, _search

from sweeps import closing, failures
from sweeps.__main__ import main
from sweeps.ledger import Ledger
from sweeps.mlflow_runs import parents
from sweeps.mlflow_store import EXPERIMENT, connect
from sweeps.publisher import Publisher
from sweeps.rundir import RunDir

SPEC = """
name: tiny
dataset: digits
space:
  scheme: [he_normal, xavier_normal]
  depth: {low: 2, high: 20, log: true}
  width: 8
training: {learning_rate: 0.1, batch_size: 16, steps: 10, seeds: 1}
criterion: {metric: train_accuracy, at_least: 0.5}
search: {sampler: boundary, trials: 24, batch: 8}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return stores.workplace(tmp_path, monkeypatch, SPEC)


def test_an_error_of_the_disk_that_names_no_file_is_given_the_one_that_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError) as raised, failures.writing(tmp_path / "part"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.errno == errno.ENOSPC
    assert failures.disk(raised.value) == f"{tmp_path / 'part'}: No space left on device"
    with pytest.raises(FileNotFoundError) as other, failures.writing(tmp_path / "part"):
        (tmp_path / "absent").read_bytes()
    assert failures.disk(other.value) == f"{tmp_path / 'absent'}: No such file or directory"


def test_a_ledger_that_cannot_be_written_ends_the_sweep_which_a_resume_makes_whole(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "runs/tiny"
    assert main(["launch", "tiny.yaml", "--inline", "--trials", "8"]) == 0
    first = Ledger(run).keys()
    partial = run / "ledger/.partial"
    partial.rmdir()
    partial.touch()
    capsys.readouterr()
    assert main(["resume", "tiny", "--inline", "--trials", "24"]) == 2
    said = capsys.readouterr().err
    assert "ledger/.partial: File exists" in said
    assert "what was finished is kept" in said
    assert "'sweep resume tiny'" in said
    assert Ledger(run).keys() == first
    partial.unlink()
    assert main(["resume", "tiny", "--inline", "--trials", "24"]) == 0
    assert len(Ledger(run).keys()) == 24
    asked = {
        t["trial_key"] for line in (run / "packs.jsonl").read_text().splitlines() for t in json.loads(line)["tasks"]
    }
    assert Ledger(run).keys() == asked


def test_a_search_that_cannot_write_its_journal_ends(tmp_path: Path) -> None:
    search = _search(tmp_path / "run")
    first = search.ask()
    assert first is not None
    (tmp_path / "run/packs.jsonl").unlink()
    (tmp_path / "run").rmdir()
    assert search.suggest("second") == "FINISHED"
    said = f"{tmp_path / 'run/packs.jsonl'}: No such file or directory"
    assert search.broken == f"nothing more can be recorded ({said})"
    (tmp_path / "run").mkdir()
    assert search.ask() is None  # what it had asked for is not on record
    search.tell(_judge(first))


def test_a_search_ends_when_a_worker_could_not_record_its_pack(tmp_path: Path) -> None:
    search = _search(tmp_path)
    config = search.suggest("first")
    assert isinstance(config, dict)
    search.on_trial_complete("first", {"results": [], "broken": "ledger/x: No space left on device"})
    assert search.suggest("second") == "FINISHED"
    assert search.broken == "ledger/x: No space left on device"
    assert [t.state.name for t in search.study.trials] == ["RUNNING"] * len(config["pack"]["tasks"])


def test_a_map_that_cannot_be_written_costs_no_table_and_is_drawn_by_a_sync(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = folder / "runs/tiny/maps"
    maps.parent.mkdir(parents=True)
    maps.touch()
    assert main(["launch", "tiny.yaml", "--inline"]) == 0
    said = capsys.readouterr().out
    assert "no map: runs/tiny/maps: File exists" in said.replace("\n", " ")
    assert "depth limit" in said
    assert main(["sync", "tiny"]) == 2
    assert "there is no map to send: runs/tiny/maps: File exists" in capsys.readouterr().err.replace("\n", " ")
    maps.unlink()
    assert main(["sync", "tiny"]) == 0
    assert (maps / "map.png").stat().st_size > 10_000


def test_an_end_that_cannot_be_put_on_record_is_told_once_and_reaches_mlflow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(run: RunDir, **_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(run.path / "launch.json"))

    monkeypatch.setattr(RunDir, "note", full)
    monkeypatch.setattr(closing, "_map", lambda *_: ([], [], [], "no axis"))  # to draw takes longer than all else
    assert main(["launch", "tiny.yaml", "--inline", "--trials", "4", "--json"]) == 0
    said = "how the sweep ended is not on record: runs/tiny/launch.json: No space left on device"
    assert json.loads(capsys.readouterr().out)["errors"] == [said]
    assert parents(connect(f"sqlite:///{folder}/mlflow.db"), EXPERIMENT)["tiny"].info.status == "FINISHED"


def test_marks_that_cannot_be_written_leave_mlflow_behind_and_end_no_thread() -> None:
    class Tracker:
        run_id, failure = "r1", None

        def publish(self, *_: object) -> bool:
            raise OSError(errno.ENOSPC, "No space left on device", "published/r1/x")

    class Book:
        def unpublished(self, _: str) -> list[Path]:
            return [Path("x")]

    publisher = Publisher(Tracker(), Book(), last_wait=0.1)  # pyright: ignore[reportArgumentType]
    with publisher:
        pass
    assert publisher.error == "published/r1/x: No space left on device"
    assert publisher.remaining() == 1
