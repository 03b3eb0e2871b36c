"""An export made from MLflow alone is the ledger, row for row; verify tells what is missing where."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import SPEC, sqlite, tracker
from tables import pack

from analysis.schema import Took, between, took
from sweeps import exportdir, parts, reading, tracking
from sweeps.export import export, verify
from sweeps.ledger import Ledger
from sweeps.mlflow_runs import SWEEPS, all_parents, children, deleted, parents
from sweeps.mlflow_store import connect
from sweeps.tracking import sync


def _published(folder: Path, packs: int = 2, **options: Any) -> tuple[str, Ledger]:
    uri, book = sqlite(folder), Ledger(folder / "toy")
    for number in range(packs):
        book.append(parts.part(*pack(number, **options)))
    sync(book, tracker(uri))
    return uri, book


def _rows(table: pa.Table) -> str:
    return repr(table.to_pylist())  # a NaN equals no NaN, but its text does


def test_an_export_is_the_ledger_row_for_row(tmp_path: Path) -> None:
    uri, book = _published(tmp_path, 3, trials=8)
    book.append(parts.part(*pack(9, 8, first=4, failed=[0])))  # trials that have results already
    sync(book, tracker(uri))
    assert verify(book, uri, "toy") == [], "a failure takes the place of no result"
    shutil.rmtree(tmp_path / "toy" / "published")
    expected = book.read()
    shutil.rmtree(tmp_path / "toy")  # MLflow alone
    done = export(uri, "toy", tmp_path / "out")
    assert [_rows(t) for t in (done.trials, done.replicates)] == [_rows(t) for t in expected]
    assert "inf" in _rows(done.replicates)
    assert done.missing == ()
    assert done.paths == tuple(
        tmp_path / "out" / p for p in ("trials/toy.parquet", "replicates/toy.parquet", "spec.yaml")
    )
    for path, table in zip(done.paths, expected, strict=False):
        assert _rows(pq.read_table(path)) == _rows(table)
        metadata = pq.read_schema(path).metadata
        assert metadata[b"isoinit.sweep"] == b"toy"
        assert metadata[b"isoinit.spec_sha256"] == b"1" * 64
        assert metadata[b"isoinit.git_commit"] == b"0" * 40
        assert metadata[b"isoinit.schema_version"] == b"1"
        assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
        assert pq.read_schema(path).field("trial_key").metadata[b"meaning"]
    assert reading.read(str(done.paths[2])) == SPEC


def test_an_export_says_what_lies_between_the_classes_of_its_data(tmp_path: Path) -> None:
    """A sweep that an earlier version began learns it from a later launch, and a tag that somebody spoilt is none."""
    uri, book = _published(tmp_path, 1)

    def said() -> float | None:
        done = export(uri, "toy", tmp_path / "out")
        assert between(done.trials) == between(pq.read_table(done.paths[0]))
        return between(done.trials)

    assert said() is None
    later = tracker(uri)
    later.identity = replace(later.identity, between=1 / 3)
    later.open()
    assert said() == 1 / 3
    run = parents(connect(uri), "isoinit")["toy"].info.run_id
    for spoilt in ("a third", "nan", "-1", "33"):
        connect(uri).set_tag(run, "dataset.between", spoilt)
        assert said() is None
    assert sync(book, later) == 0
    assert said() == 1 / 3


def test_an_export_says_what_just_its_trials_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once there are more, and again when all of them were trained at one go, be it by a clock that is behind."""
    uri, book = _published(tmp_path, 2, trials=4, failed=[1])

    def said() -> Took | None:
        done = export(uri, "toy", tmp_path / "out")
        assert took(done.trials) == took(pq.read_table(done.paths[0]))
        return took(done.trials)

    def end(seconds: Took) -> None:
        mine = tracker(uri)
        mine.open()
        mine.finish(took=seconds)

    assert said() is None
    end(Took(6, 1 / 3, 49.5))
    assert said() == Took(6, 1 / 3, 49.5)
    end(Took(6, 0.25, 40.0))
    assert said() == Took(6, 0.25, 40.0)
    book.append(parts.part(*pack(2)))
    sync(book, tracker(uri))
    assert said() is None
    monkeypatch.setattr(tracking, "time", SimpleNamespace(time=lambda: 1.0))
    end(Took(10, 7.0, 8.0))
    assert said() == Took(10, 7.0, 8.0)


def test_an_export_agrees_with_asking_mlflow_run_by_run(tmp_path: Path) -> None:
    uri, _ = _published(tmp_path, 2, trials=6)
    done = export(uri, "toy", tmp_path / "out")
    client = connect(uri)
    runs = {r.data.tags["trial.key"]: r for r in children(client, parents(client, "isoinit")["toy"])}
    assert len(runs) == len(done.trials) == 12
    compared = 0
    for row in done.trials.to_pylist():
        run = runs[row["trial_key"]]
        assert (row["scheme"], str(row["depth"])) == (run.data.params["scheme"], run.data.params["depth"])
        assert (row["outcome"], row["score"]) == (run.data.tags["outcome"], run.data.metrics["score"])
        curve = sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/accuracy"))
        mine = [
            list(zip(r["curve_step"], r["curve_accuracy"], strict=True))
            for r in done.replicates.to_pylist()
            if r["trial_key"] == row["trial_key"] and r["learning_rate"] == row["best_learning_rate"]
        ]
        assert curve in mine
        compared += len(curve)
    assert compared == 120


def test_an_unknown_name_lists_what_is_there(tmp_path: Path) -> None:
    uri = sqlite(tmp_path)
    with pytest.raises(ValueError, match=r"no sweep 'toi' in MLflow at sqlite.*there is none"):
        export(uri, "toi", tmp_path / "out")
    tracker(uri).open()
    with pytest.raises(ValueError, match=r"did you mean 'toy'\?\); sweeps there: toy"):
        export(uri, "toi", tmp_path / "out")
    tracker(uri, "zoo").open()
    with pytest.raises(ValueError, match=r"sweeps there: toy, zoo$"):
        export(uri, "other", tmp_path / "out")
    with pytest.raises(ValueError, match="nothing is published yet"):
        export(uri, "toy", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("marked", [True, False])
def test_an_experiment_that_was_renamed_is_found(marked: bool, tmp_path: Path) -> None:
    """By its tag. One of an earlier version has none until a sweep goes on in it."""
    uri, book = _published(tmp_path, 1)
    client = connect(uri)
    run = parents(client, "isoinit")["toy"].info
    if not marked:
        client.delete_experiment_tag(run.experiment_id, SWEEPS)
        client.set_experiment_tag(run.experiment_id, "team", "mine")
        tracker(uri).open()
    client.rename_experiment(run.experiment_id, "mine")
    assert verify(book, uri, "toy") == []
    assert len(export(uri, "toy", tmp_path / "out").trials) == len(book.read()[0])
    assert tracker(uri).open() == run.run_id, "a resume goes on there, and sends nothing twice"
    other = tracker(uri, "other")
    assert other.open() != run.run_id
    assert client.get_experiment_by_name("isoinit") is not None, "a new sweep begins where it would have"
    assert parents(client, "isoinit").keys() == {"toy", "other"}
    client.delete_run(run.run_id)
    assert run.run_id in deleted(client, "isoinit", "toy")


def test_an_experiment_that_was_renamed_before_it_had_a_tag_may_have_been(tmp_path: Path) -> None:
    uri, book = _published(tmp_path, 1)
    client = connect(uri)
    experiment = parents(client, "isoinit")["toy"].info.experiment_id
    client.delete_experiment_tag(experiment, SWEEPS)
    client.rename_experiment(experiment, "mine")
    for asked in (lambda: verify(book, uri, "toy"), lambda: export(uri, "toy", tmp_path / "out")):
        with pytest.raises(
            ValueError, match=r"none in the experiment 'isoinit', or somebody has renamed that: give it"
        ):
            asked()
    client.rename_experiment(experiment, "isoinit")
    assert verify(book, uri, "toy") == []


def test_a_database_that_is_not_there_is_not_made_by_who_reads(tmp_path: Path) -> None:
    uri, book = f"sqlite:///{tmp_path}/typo/mlflow.db", Ledger(tmp_path / "runs" / "toy")
    for act in (lambda: export(uri, "toy", tmp_path / "out"), lambda: verify(book, uri, "toy")):
        with pytest.raises(ValueError, match=r"there is no .*typo/mlflow.db; give the --tracking-uri .* 'sweep sync'"):
            act()
    assert not list(tmp_path.iterdir())


def test_an_earlier_export_is_replaced_and_foreign_files_are_not(tmp_path: Path) -> None:
    uri, book = _published(tmp_path)
    out = tmp_path / "out"
    export(uri, "toy", out)
    (out / "map.svg").write_text("mine")
    book.append(parts.part(*pack(2)))
    sync(book, tracker(uri))
    assert len(export(uri, "toy", out).trials) == 12
    assert len(pq.read_table(out / "trials")) == 12
    assert sorted(p.name for p in out.iterdir()) == ["map.svg", "replicates", "spec.yaml", "trials"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    half, other = tmp_path / "half", tmp_path / "other"
    shutil.copytree(out / "trials", half / "trials")
    exportdir._scratch(other, "zoo").mkdir(parents=True)  # a killed one of another sweep
    for target in (foreign, foreign / "thesis.tex", half, other):
        with pytest.raises(ValueError, match="holds something else than an export of 'toy'"):
            export(uri, "toy", target)
    assert (foreign / "thesis.tex").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {
        "mlflow.db",
        "mlartifacts",
        "toy",
        "out",
        "foreign",
        "half",
        "other",
    }


def test_a_failed_export_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, _ = _published(tmp_path)
    out = tmp_path / "out"
    export(uri, "toy", out)
    write = pq.write_table

    def full(table: pa.Table, where: Path, **options: Any) -> None:
        if where.parent.name == "replicates":
            raise OSError("No space left on device")
        write(table, where, **options)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        export(uri, "toy", out)
    assert len(pq.read_table(out / "replicates")) == 32
    with pytest.raises(OSError, match="No space left"):
        export(uri, "toy", tmp_path / "deep" / "new")
    assert not any((tmp_path / "deep").iterdir())


def test_an_export_whose_second_folder_cannot_be_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, make = tmp_path / "out", Path.mkdir

    def full(folder: Path, *given: Any, **named: Any) -> None:
        if folder == out / "replicates":
            raise OSError("No space left on device")
        make(folder, *given, **named)

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="No space left"):
        exportdir.put(out, "toy", *pack(), b"")
    assert not out.exists()


class _Killed(BaseException):
    """A Ctrl-C at a bad moment."""


def _interrupt(*_: Any, **__: Any) -> None:
    raise _Killed


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("moment", [0, 1, 2])
@pytest.mark.parametrize("earlier", [True, False])
def test_an_interrupted_export_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int, earlier: bool
) -> None:
    uri, book = _published(tmp_path, 1)
    out = tmp_path / "out"
    out.mkdir()
    if earlier:
        export(uri, "toy", out)
        (out / "notes.md").write_text("mine")
        (out / "trials" / "mine.csv").write_text("mine")
        book.append(parts.part(*pack(1)))
        sync(book, tracker(uri))
    before, moves, move = _files(out), 0, os.replace

    def interrupted(*given: Any) -> Any:
        nonlocal moves
        moves += 1
        if moves == moment + 1:
            raise _Killed
        return move(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        patch.setattr(Path, "rename", interrupted)
        with pytest.raises(_Killed):
            export(uri, "toy", out)
    assert _files(out) == before
    assert earlier or not any(out.iterdir())
    done = export(uri, "toy", out)
    assert len(pq.read_table(done.paths[0])) == len(done.trials) == 4 + 4 * earlier
    assert _files(out).keys() == before.keys() | {"trials/toy.parquet", "replicates/toy.parquet", "spec.yaml"}


_KILLED = """
import os, sys
from pathlib import Path
from sweeps.export import export
move, moves = os.replace, iter(range(9))
def killed(*given):
    if next(moves) == int(sys.argv[1]):
        os._exit(9)
    move(*given)
os.replace = Path.rename = killed
export(sys.argv[2], "toy", Path(sys.argv[3]))
"""


@pytest.mark.parametrize(("earlier", "moment"), [(True, 1), (False, 1), (False, 0)])
def test_an_export_that_was_killed_is_repaired_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool, moment: int
) -> None:
    uri, _ = _published(tmp_path, 1)
    out, mine = tmp_path / "out", {}
    if earlier:
        export(uri, "toy", out)
        (out / "notes.md").write_text("mine")
        mine = {"notes.md": b"mine"}
    there = _files(out).keys()
    command = [sys.executable, "-c", _KILLED, str(moment), uri, str(out)]
    assert subprocess.run(command, check=False).returncode == 9
    assert mine.items() <= _files(out).items()
    assert there <= _files(out).keys(), "a table is the old one until it is the new one"
    with monkeypatch.context() as patch:  # be it only the next but one
        patch.setattr(pq, "write_table", _interrupt)
        with pytest.raises(_Killed):
            export(uri, "toy", out)
    assert mine.items() <= _files(out).items()
    done = export(uri, "toy", out)
    assert _rows(pq.read_table(done.paths[1])) == _rows(done.replicates)
    assert _files(out).keys() == {"trials/toy.parquet", "replicates/toy.parquet", "spec.yaml", *mine}


def test_an_export_into_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, _ = _published(tmp_path, 1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export(uri, "toy", Path("."))
    assert len(export(uri, "toy", Path(".")).trials) == 4
    assert sorted(os.listdir(".")) == ["replicates", "spec.yaml", "trials"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    uri, _ = _published(tmp_path, 1)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"--out .*/file/out cannot be written \(Not a directory\); name another"):
        export(uri, "toy", tmp_path / "file" / "out")


def _artifact(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"mlartifacts/**/parts/{name}")
    return path


def test_an_export_says_what_mlflow_counts_and_does_not_have(tmp_path: Path) -> None:
    uri, _ = _published(tmp_path)
    _artifact(tmp_path, "toy-00001.parquet").unlink()
    done = export(uri, "toy", tmp_path / "out")
    assert len(done.trials) == 4
    assert done.missing == (
        "MLflow counts 2 parts, but the uploaded parts hold 1",
        "MLflow counts 8 trials, but the uploaded parts hold 4",
    )
    client = connect(uri)
    client.log_metric(parents(client, "isoinit")["toy"].info.run_id, "trials/all", 3, step=9)
    assert export(uri, "toy", tmp_path / "out").missing == done.missing[:1], "a part is there before it is counted"


def test_artifacts_that_cannot_be_reached_are_not_called_unpublished(tmp_path: Path) -> None:
    uri, _ = _published(tmp_path)
    (tmp_path / "mlartifacts").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"MLflow counts 2 parts, but they cannot be read at file:.* from here"):
        export(uri, "toy", tmp_path / "out")


def test_a_damaged_upload_is_named_and_synced_again(tmp_path: Path) -> None:
    uri, book = _published(tmp_path)
    path = _artifact(tmp_path, "toy-00001.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"upload parts/toy-00001.parquet in MLflow is damaged; run 'sweep sync toy'"):
        export(uri, "toy", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sync(book, tracker(uri)) == 1
    assert len(export(uri, "toy", tmp_path / "out").trials) == 8


def test_a_spec_that_is_gone_is_missed_and_synced_again(tmp_path: Path) -> None:
    uri, book = _published(tmp_path)
    _artifact(tmp_path, "toy-00000.parquet").parent.with_name("spec.yaml").unlink()
    assert verify(book, uri, "toy") == ["1 artifact is not in MLflow (run 'sweep sync'): spec.yaml"]
    with pytest.raises(ValueError, match=r"spec.yaml of its run in MLflow is gone; run 'sweep sync toy' where the"):
        export(uri, "toy", tmp_path / "out")
    sync(book, tracker(uri))
    assert verify(book, uri, "toy") == []
    assert len(export(uri, "toy", tmp_path / "out").trials) == 8


def test_what_verify_misses_sync_sends_again(tmp_path: Path) -> None:
    uri, book = _published(tmp_path, 4, trials=2)
    client = connect(uri)
    runs = children(client, parents(client, "isoinit")["toy"])
    client.delete_run(runs[0].info.run_id)
    _artifact(tmp_path, "toy-00000.parquet").unlink()
    assert len(verify(book, uri, "toy")) == 2
    assert sync(book, tracker(uri)) == 2
    assert verify(book, uri, "toy") == []
    assert sync(book, tracker(uri)) == 0


def test_what_a_user_does_to_the_runs_is_put_right_and_his_own_stay(tmp_path: Path) -> None:
    uri, book = _published(tmp_path, 1, trials=5, failed=[0, 1])
    client = connect(uri)
    parent = parents(client, "isoinit")["toy"]
    failed, lost, *runs = sorted(children(client, parent), key=lambda run: run.info.status)
    for run in (lost, runs[0]):
        client.set_tag(run.info.run_id, "outcome", "fine")
    for run in (failed, runs[1]):
        client.delete_tag(run.info.run_id, "outcome")
    client.delete_tag(runs[2].info.run_id, "trial.key")
    own = client.create_run(parent.info.experiment_id, tags={"mlflow.parentRunId": parent.info.run_id}).info
    client.create_run(parent.info.experiment_id, tags={"kind": "sweep"})
    assert len(verify(book, uri, "toy")) == 2
    assert sync(book, tracker(uri)) == 1
    assert verify(book, uri, "toy") == []
    assert client.get_run(own.run_id).info.status == "RUNNING"
    client.delete_tag(parent.info.run_id, "mlflow.note.content")
    assert sync(book, tracker(uri)) == 0
    assert "| failed | 2 |" in parents(client, "isoinit")["toy"].data.tags["mlflow.note.content"]
    client.delete_tag(parent.info.run_id, "spec_sha256")
    assert sync(book, tracker(uri)) == 1
    assert verify(book, uri, "toy") == []


@pytest.mark.parametrize(("changed", "more"), [(3, ""), (4, ", ...")])
def test_a_part_of_the_same_size_with_other_content_is_sent_again(tmp_path: Path, changed: int, more: str) -> None:
    uri, book = _published(tmp_path, 5, trials=1)
    for number in range(changed):
        path = _artifact(tmp_path, f"toy-0000{number}.parquet")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    names = "toy-00000.parquet, toy-00001.parquet, toy-00002.parquet" + more
    said = f"{changed} parts differ between the ledger and MLflow (run 'sweep sync'): {names}"
    assert verify(book, uri, "toy") == [said]
    assert sync(book, tracker(uri)) == changed
    assert verify(book, uri, "toy") == []


def test_runs_are_read_to_the_last_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    uri, book = _published(tmp_path, 1, trials=5)
    search = MlflowClient.search_runs
    monkeypatch.setattr(
        MlflowClient, "search_runs", lambda *given, **named: search(*given, **named | {"max_results": 2})
    )
    assert verify(book, uri, "toy") == []


def test_verify_names_every_kind_of_discrepancy(tmp_path: Path) -> None:
    uri, book = _published(tmp_path, 4, trials=2)
    assert verify(book, uri, "toy") == []
    client = connect(uri)
    runs = children(client, parents(client, "isoinit")["toy"])
    keys = [run.data.tags["trial.key"] for run in runs]
    client.delete_run(runs[0].info.run_id)
    client.set_tag(runs[1].info.run_id, "outcome", "failed")
    client.set_terminated(runs[2].info.run_id, "KILLED")
    client.set_tag(runs[3].info.run_id, "trial.key", keys[4])
    client.set_tag(runs[5].info.run_id, "trial.key", "stranger")
    _artifact(tmp_path, "toy-00000.parquet").unlink()
    shutil.copy(_artifact(tmp_path, "toy-00001.parquet"), _artifact(tmp_path, "toy-00002.parquet"))
    shutil.copy(
        _artifact(tmp_path, "toy-00001.parquet"), _artifact(tmp_path, "toy-00001.parquet").with_name("x.parquet")
    )
    found = verify(book, uri, "toy")
    for sentence, words in zip(
        found,
        (
            "1 part of the ledger is not in MLflow (run 'sweep sync'): toy-00000.parquet",
            "1 part in MLflow is not in the ledger (is it of another --runs-dir?): x.parquet",
            "1 part differs between the ledger and MLflow (run 'sweep sync'): toy-00002.parquet",
            "3 trials of the ledger have no run in MLflow",
            "1 run in MLflow is of no trial of the ledger: stranger",
            f"1 trial has more than one run (delete the others there): {keys[4]}",
            f"1 trial has another outcome in MLflow (run 'sweep sync'): {keys[1]}",
            f"1 run is unfinished: {runs[2].info.run_id}",
        ),
        strict=True,
    ):
        assert sentence.startswith(words)


@pytest.mark.parametrize("more", [False, True])
def test_a_run_that_was_deleted_sent_again_and_restored_is_told_and_one_of_the_two_counts(
    tmp_path: Path, more: bool
) -> None:
    """That with most trials, of equals the oldest; to have both would make no trial wrong, but its page unlike."""
    uri, book = sqlite(tmp_path), Ledger(tmp_path / "toy")
    book.append(parts.part(*pack(0)))
    sync(book, tracker(uri, folder_id="one"))
    client = connect(uri)
    first = parents(client, "isoinit")["toy"].info.run_id
    client.delete_run(first)
    if more:
        book.append(parts.part(*pack(1)))
    sync(book, tracker(uri, folder_id="one"))
    second = parents(client, "isoinit")["toy"].info.run_id
    client.restore_run(first)
    counts, other = (second, first) if more else (first, second)
    client.delete_tag(other, "folder_id")  # as of an earlier version
    for folder_id in ("one", None):
        assert all_parents(client, "isoinit", folder_id)["toy"][0].info.run_id == counts
        said = f"1 run of the sweep is there beside {counts}, which counts (delete the others): {other}"
        assert verify(book, uri, "toy", folder_id=folder_id) == [said]
    assert sync(book, tracker(uri, folder_id="one")) == 0
    assert len(export(uri, "toy", tmp_path / "out").trials) == 4 + 4 * more
    client.delete_run(other)
    assert verify(book, uri, "toy") == []


def test_the_run_of_a_folder_goes_before_one_with_more_trials(tmp_path: Path) -> None:
    """As where stores were merged: the ledger is compared with its own run, and sent to that."""
    uri, book = _published(tmp_path, 2)
    client = connect(uri)
    foreign = parents(client, "isoinit")["toy"].info
    client.set_tag(foreign.run_id, "sweep", "toy away")
    mine = Ledger(tmp_path / "mine")
    mine.append(parts.part(*pack(0)))
    sync(mine, tracker(uri, folder_id="one"))
    client.set_tag(foreign.run_id, "sweep", "toy")
    client.set_tag(foreign.run_id, "folder_id", "two")
    assert parents(client, "isoinit")["toy"].info.run_id == foreign.run_id
    assert sync(mine, tracker(uri, folder_id="one")) == 0
    assert verify(mine, uri, "toy", folder_id="one")[0].endswith(f": {foreign.run_id}")
    assert verify(book, uri, "toy", folder_id="two")[0].startswith(
        f"1 run of the sweep is there beside {foreign.run_id}"
    )


def test_a_store_that_is_down_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"MLflow at http://127\.0\.0\.1:9: ") as error:
        export("http://127.0.0.1:9", "toy", tmp_path / "out")
    assert "\n" not in str(error.value)
