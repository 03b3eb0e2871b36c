"""A whole sweep in this process: spec to ledger to MLflow to export, resumable, with one sentence for every mistake."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pooch
import pytest
import stores
from rich.console import Console
from torch import nn

from analysis import store
from analysis.mapinfo import MapInfo
from analysis.outcome import Criterion, Curve, label
from analysis.schema import REPLICATES, TRIALS
from isoinit.activations import ACTIVATIONS
from isoinit.theory.predict import Tolerance, depth_limit
from sweeps import (
    arguments,
    closing,
    data,
    driver,
    ending,
    launch,
    mlflow_uri,
    reading,
    ready,
    records,
    replay,
    session,
    spec,
)
from sweeps.__main__ import main, parser
from sweeps.journal import Journal
from sweeps.ledger import Ledger
from sweeps.mlflow_runs import parents
from sweeps.mlflow_store import EXPERIMENT, connect
from sweeps.rundir import RunDir
from sweeps.spec import SweepSpec
from sweeps.tasks import Origin
from sweeps.tracking import Tracker

SPEC = """
name: tiny
question: Does it run?
dataset: digits
space:
  scheme: [he_normal, xavier_normal]
  depth: {low: 2, high: 20, log: true}
  width: 8
  bias_variance: {low: 1.0e-3, high: 1.0, log: true, zero: true}
training: {learning_rate: [0.1, 0.01], batch_size: 16, steps: 30, log_every: 10, seeds: 2}
criterion: {metric: train_accuracy, at_least: 0.5}
search: {sampler: boundary, trials: 20, batch: 8}
"""


@pytest.fixture
def drawn_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the spec in it."""
    return stores.workplace(tmp_path, monkeypatch, SPEC)


@pytest.fixture
def folder(drawn_in: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where maps are files with no picture in them: to draw takes longer than all else that a launch does."""

    def undrawn(info: MapInfo, path_stem: Path) -> list[Path]:
        assert info.panels
        paths = [path_stem.with_suffix(suffix) for suffix in (".png", ".svg")]
        for path in paths:
            path.touch()
        return paths

    monkeypatch.setattr(closing, "draw_map", undrawn)
    return drawn_in


def _launch(*more: str) -> int:
    return main(["launch", "tiny.yaml", "--inline", *more])


def test_more_samples_than_there_are_is_one_sentence_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _launch("--set", "training.train_samples=5000") == 2
    assert "train_samples must be at most 1400 for digits, but got 5000" in capsys.readouterr().err.replace("\n", " ")
    assert not (folder / "runs").exists()


def test_an_activation_is_one_line_and_is_mapped_without_a_theory(
    drawn_in: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ACTIVATIONS, "mish", nn.Mish)
    settings = ("network.activation=mish", "training.seeds=1", "training.learning_rate=0.1")
    assert _launch("--trials", "8", *(part for setting in settings for part in ("--set", setting))) == 0
    assert "no theory" in capsys.readouterr().out
    assert (drawn_in / "runs/tiny/maps/map.png").is_file()
    assert set(Ledger(drawn_in / "runs/tiny").read()[0]["activation"].to_pylist()) == {"mish"}
    assert main(["plan", "tiny.yaml", "--set", settings[0]]) == 0
    assert "no theory" in capsys.readouterr().out


def test_a_sweep_goes_from_spec_to_map_and_its_export_equals_its_ledger(
    drawn_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _launch() == 0
    said = capsys.readouterr().out
    assert "20 trials, 80 networks" in said.replace("\n", " ")
    for word in ("he_normal", "xavier_normal", "maps/map.png", "mlflow ui", "sweep export tiny", "analysis map"):
        assert word in said
    assert (drawn_in / "runs/tiny/maps/map.png").stat().st_size > 10_000
    assert (drawn_in / "runs/tiny/maps/map.svg").is_file()

    trials, replicates = Ledger(drawn_in / "runs/tiny").read()
    assert trials.num_rows == len(set(trials["trial_key"].to_pylist())) == 20
    assert replicates.num_rows == 80
    assert all(math.isfinite(score) for score in trials["score"].to_pylist())
    assert set(trials["role"].to_pylist()) <= {"start", "boundary", "audit"}
    assert min(len(curve) for curve in replicates["curve_step"].to_pylist()) >= 1

    assert main(["export", "tiny"]) == 0
    assert main(["verify", "tiny"]) == 0
    exported = store.read(drawn_in / "exports/tiny")
    assert exported.trials.sort_by("trial_key").to_pylist() == trials.sort_by("trial_key").to_pylist()
    assert exported.replicates.num_rows == 80


def test_what_a_sweep_took_and_was_said_to_take_goes_to_its_page_and_into_its_export(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a launch that ran at one go: what the rest of a sweep took is no measure of the plan."""

    def told(*more: str) -> tuple[float | None, float | None]:
        capsys.readouterr()
        assert _launch("--json", *more) == 0
        ended = json.loads(capsys.readouterr().out)
        assert main(["export", "tiny"]) == 0
        found = store.read(folder / "exports/tiny").took
        assert (found is not None) == ("predicted 41 s" in _note())
        assert found is None or found == (ended["trials"], ended["seconds"], ended["predicted_seconds"])
        return found and found.predicted_seconds, ended["predicted_seconds"]

    remembered = []
    monkeypatch.setattr(driver.plan, "remember", lambda made, *_: remembered.append(made.trials))
    monkeypatch.setattr(driver, "_plan", lambda *_: SimpleNamespace(trials=4, seconds=41.4))
    assert told("--trials", "4") == (41.4, 41.4)
    assert re.search(r"4 trials, 16 networks in \d+ s, predicted 41 s \(\d+ % less\)\.", _note())
    assert told("--trials", "6") == (None, None)
    assert remembered == [4]


def test_a_store_that_fails_only_at_the_end_gets_the_map_with_a_sync(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All parts are there, so there is nothing to send but the end."""
    finish = Tracker.finish

    def fail_with_a_map(self: Tracker, *given: Any, **options: Any) -> None:
        if given:  # the publisher's own end has none
            raise ValueError("MLflow went away")
        finish(self, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "finish", fail_with_a_map)
        assert _launch("--trials", "12") == 0
    assert "the map is not in MLflow: MLflow went away" in capsys.readouterr().out.replace("\n", " ")

    def maps() -> list[str]:
        client = connect(f"sqlite:///{folder}/mlflow.db")
        run_id = parents(client, EXPERIMENT)["tiny"].info.run_id
        return [file.path for file in client.list_artifacts(run_id, "maps")]

    assert not maps()
    assert main(["sync", "tiny"]) == 0
    assert "sent 0 parts" in capsys.readouterr().out
    assert "maps/map.png" in maps()
    shutil.rmtree(next(folder.glob("mlartifacts/*/*/artifacts/maps")))  # as a user does who makes room
    assert main(["sync", "tiny"]) == 0
    assert "maps/map.png" in maps()


@pytest.mark.usefixtures("folder")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_store_that_fails_while_a_sweep_runs_is_a_warning_at_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> bool:
        raise KeyError("tags")

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "publish", fail)
        assert _launch("--json", "--trials", "4") == 0
    ended = json.loads(capsys.readouterr().out)
    assert ended["unpublished"] == 1
    assert ended["errors"] == ["MLflow lacks packs: publishing has ended by a KeyError: 'tags'"]
    assert main(["sync", "tiny"]) == 0
    assert main(["verify", "tiny"]) == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody can write to")
def test_a_store_that_cannot_be_written_is_refused_before_anything_is_trained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _launch("--tracking-uri", "sqlite:////proc/x.db") == 2
    assert "/proc/x.db cannot be written" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_a_sweep_whose_end_is_not_known_has_ended_if_all_of_it_is_there(folder: Path) -> None:
    """As after a kill: the state does not say how it went."""
    assert _launch("--trials", "12") == 0
    (folder / "runs/tiny/launch.json").unlink()
    found = []
    for name in ("whole", "part"):
        uri = stores.sqlite(folder / name)
        assert main(["sync", "tiny", "--tracking-uri", uri]) == 0
        found.append(parents(connect(uri), EXPERIMENT)["tiny"].info.status)
        (folder / "runs/tiny/launch.json").unlink()
        next((folder / "runs/tiny/ledger").glob("*.parquet")).unlink()
    assert found == ["FINISHED", "KILLED"]


@pytest.mark.usefixtures("folder")
def test_a_sweep_says_that_others_had_the_cores(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "of their time for cores that other programs had"
    assert _launch("--trials", "4") == 0
    assert said not in capsys.readouterr().out
    run = driver._run_inline
    monkeypatch.setattr(driver, "_run_inline", lambda a, b, done: run(a, b, lambda told: done(told, waited=3.0)))
    assert main(["resume", "tiny", "--inline", "--trials", "8"]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("predicted", [41.4, None])
def test_a_store_that_gets_a_sweep_later_lacks_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, predicted: float | None
) -> None:
    """The map, what it took and how it ended are there, too, as if the store had been there at the end."""
    made = None if predicted is None else SimpleNamespace(trials=20, seconds=predicted)
    monkeypatch.setattr(driver.plan, "remember", lambda *_: None)
    monkeypatch.setattr(driver, "_plan", lambda *_: made)
    assert _launch() == 0
    later = stores.sqlite(folder / "later")
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("data may be elsewhere by then"))
    assert main(["sync", "tiny", "--tracking-uri", later]) == 0

    def told(uri: str) -> tuple[str, str, list[str], dict[str, float]]:
        client = connect(uri)
        parent = parents(client, EXPERIMENT)["tiny"]
        maps = [file.path for file in client.list_artifacts(parent.info.run_id, "maps")]
        return parent.info.status, parent.data.tags["mlflow.note.content"], maps, parent.data.metrics

    assert told(later) == told(f"sqlite:///{folder}/mlflow.db")
    status, note, maps, metrics = told(later)
    assert status == "FINISHED"
    assert "| xavier_normal |" in note
    assert "maps/map.png" in maps
    assert ("predicted 41 s" in note) == ("predicted_seconds" in metrics) == (predicted is not None)


def test_a_plan_of_more_than_was_trained_is_not_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep may end before its last trial: by a signal, or because the map is as good as was asked for."""
    monkeypatch.setattr(driver, "_plan", lambda *_: SimpleNamespace(trials=99, seconds=41.4))
    assert _launch("--trials", "4") == 0
    assert "predicted" not in capsys.readouterr().out + _note()
    assert main(["export", "tiny"]) == 0
    assert store.read(folder / "exports/tiny").took is None


def _note() -> str:
    (parent,) = parents(connect("sqlite:///mlflow.db"), EXPERIMENT).values()
    return parent.data.tags["mlflow.note.content"]


def test_labels_in_the_ledger_are_those_of_the_curves_under_the_criterion(folder: Path) -> None:
    assert _launch("--trials", "8") == 0
    _, replicates = Ledger(folder / "runs/tiny").read()
    criterion = Criterion("train_accuracy", 0.5)
    outcomes = set()
    for r in replicates.to_pylist():
        curve = Curve(
            r["curve_step"], r["curve_loss"], r["curve_accuracy"], 30, r["test_accuracy"],
            r["log_forward_ratio"], r["log_gradient_ratio"],
        )  # fmt: skip
        assert r["outcome"] == label(curve, criterion).outcome.value
        outcomes.add(r["outcome"])
    assert len(outcomes) >= 2


def test_the_same_spec_continues_a_sweep_and_repeats_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _launch("--trials", "8") == 0
    first = Ledger(folder / "runs/tiny").read()[0]
    assert _launch("--trials", "16") == 0
    assert re.search(r"16 trials, 64 networks; 8 new trials in \d+ s:", capsys.readouterr().out)
    both = Ledger(folder / "runs/tiny").read()[0]
    assert both.num_rows == len(set(both["trial_key"].to_pylist())) == 16
    assert set(first["trial_key"].to_pylist()) < set(both["trial_key"].to_pylist())
    capsys.readouterr()
    assert main(["status", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 16


def test_a_sweep_that_ends_before_its_first_pack_says_how_to_go_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(driver.PackSearch, "ask", lambda _: None)
        assert _launch("--trials", "4") == 1
    said = capsys.readouterr()
    assert said.err == ""
    for words in ("tiny: 0 trials, 0 networks in ", "no map: ", "at least one trial", "sweep resume tiny"):
        assert words in said.out.replace("\n", " "), words
    assert not said.out.partition("no map")[0].rstrip().endswith(":"), "no outcome is announced where there is none"
    assert _launch("--trials", "4") == 0
    assert "4 trials, 16 networks in " in capsys.readouterr().out
    assert Ledger(folder / "runs/tiny").read()[0].num_rows == 4


def test_no_password_of_the_store_is_in_the_closing_words_or_those_of_a_sync(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(closing, "_map", lambda *_: ([], [], [], "no axis"))
    run = RunDir(folder / "runs", "tiny")
    run.create(reading.read("tiny.yaml"), {})
    away: Any = SimpleNamespace(uri="postgresql://me:secret@host/db", run_id=None, failure="MLflow is away")
    tables = TRIALS.empty_table(), REPLICATES.empty_table()
    end = closing.close(driver.Finished(run, *tables, 0, False, "", 1, away, Criterion(), 1.0, None, 0.0, []))
    assert "secret" not in str(end.to_dict())
    console = Console(record=True, file=io.StringIO())
    console.print(ending.render(end, ""))
    assert "mlflow ui --backend-store-uri 'postgresql://me:***@host/db'" in " ".join(console.export_text().split())
    monkeypatch.setattr(closing, "sync", lambda *_: 3)
    for options in ([], ["--json"]):
        assert main(["sync", "tiny", "--tracking-uri", away.uri, *options]) == 0
        said = capsys.readouterr().out
        assert "postgresql://me:***@host/db" in said
        assert "secret" not in said


@pytest.mark.usefixtures("folder")
def test_commands_to_go_on_with_are_whole_where_a_folder_has_a_blank_in_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ["--runs-dir", "my runs"]
    uri = stores.sqlite(Path("my stores").absolute())
    assert _launch("--trials", "4", *where, "--tracking-uri", uri) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "sweep export tiny --runs-dir 'my runs' both tables" in said
    assert f"mlflow ui --backend-store-uri '{uri}'" in said
    for place in (uri, stores.sqlite(Path("later").absolute())):  # one has it from the launch, one from a sync
        assert main(["sync", "tiny", *where, "--tracking-uri", place]) == 0
        page = parents(connect(place), EXPERIMENT)["tiny"].data.tags["mlflow.note.content"]
        for verb in ("status", "resume", "export"):
            assert f"sweep {verb} tiny --runs-dir '{Path('my runs').absolute()}'\n" in page
    assert main(["export", "tiny", *where, "--tracking-uri", uri, "--out", "my tables"]) == 0
    assert "analysis map 'my tables' analysis report 'my tables'" in " ".join(capsys.readouterr().out.split())
    assert main(["stop", "tiny", *where]) == 2
    assert "finished; 'sweep resume tiny --runs-dir 'my runs' --trials N' would go on" in capsys.readouterr().err

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "packs.jsonl")

    monkeypatch.setattr(driver.Journal, "append", full)
    assert main(["resume", "tiny", "--inline", "--trials", "8", *where]) == 2
    assert "'sweep resume tiny --runs-dir 'my runs'' goes on" in capsys.readouterr().err
    assert main(["stop", "tiny", *where]) == 2
    assert "not running; 'sweep resume tiny --runs-dir 'my runs'' would go on" in capsys.readouterr().err


def test_a_folder_in_the_home_folder_is_there_though_no_shell_says_where_that_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    given = parser().parse_args(["export", "tiny", "--runs-dir=~/runs", "--out=~/out"])
    assert (given.runs_dir, given.out) == (folder / "home/runs", folder / "home/out")
    (folder / "home").mkdir()
    assert parser().parse_args(["plan", "tiny.yaml", "--data-dir=~"]).data_dir == str(folder / "home")
    for option in ("--runs-dir", "--data-dir"):
        with pytest.raises(SystemExit) as ended:
            main(["launch", "tiny.yaml", f"{option}=~nobody-here/x"])
        assert ended.value.code == 2
        assert "~nobody-here/x: there is no such home folder; write the path" in capsys.readouterr().err


@pytest.mark.parametrize("stays", ["", "--runs-dir", "--tracking-uri"])
def test_nothing_is_kept_where_ray_deletes_it(
    stays: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the copy that Ray makes of what `ray job submit --working-dir` names."""
    copy = folder / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copy.mkdir(parents=True)
    shutil.copy("tiny.yaml", copy)
    monkeypatch.chdir(copy)
    given = {
        "": [],
        "--runs-dir": ["--runs-dir", f"{folder}/runs"],
        "--tracking-uri": ["--tracking-uri", "sqlite:///../m.db"],
    }
    assert main(["launch", "tiny.yaml", "--inline", *given[stays]]) == 2
    option, what = ("--tracking-uri", "mlflow.db") if stays == "--runs-dir" else ("--runs-dir", "runs")
    told = capsys.readouterr().err
    assert told.startswith(f"sweep: {option}: ")
    assert f"{copy / what}, in the copy" in told
    assert [path.name for path in copy.iterdir()] == ["tiny.yaml"]
    assert not (folder / "runs").exists()


def test_an_interrupted_sweep_is_resumed_as_if_it_had_not_been(folder: Path) -> None:
    assert _launch("--name", "whole") == 0
    assert _launch("--name", "broken", "--trials", "8") == 0
    assert main(["resume", "broken", "--trials", "20", "--inline"]) == 0
    whole, broken = (Ledger(folder / "runs" / name).read()[0] for name in ("whole", "broken"))
    assert sorted(whole["trial_key"].to_pylist()) == sorted(broken["trial_key"].to_pylist())


def test_a_replay_is_the_same_to_the_last_bit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _launch("--trials", "8") == 0
    key = Ledger(folder / "runs/tiny").read()[0]["trial_key"][5].as_py()
    capsys.readouterr()
    assert main(["replay", "tiny", key[:12], "--json"]) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert replayed["networks"] == replayed["identical"] == 4
    assert replayed["same"] is True


def test_a_trial_that_cannot_be_replayed_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _launch("--trials", "4") == 0
    run = RunDir(folder / "runs", "tiny")
    (pack,) = Journal(run.journal).read()
    lost = replace(pack, pack_id="lost", tasks=(replace(pack.tasks[0], trial_key="lost0"),))
    run.ledger.append(records.failed(lost, run.spec(), Origin("tiny", run.spec().sha256, "c0ffee"), attempt=7))
    keys = [task.trial_key for task in pack.tasks]
    failed = run.ledger.read()[0].to_pylist()[-1]
    assert (failed["trial_key"], failed["attempt"], failed["outcome"], failed["steps"]) == ("lost0", 7, "failed", 30)

    def said(key: str) -> str:
        capsys.readouterr()
        assert main(["replay", "tiny", key]) == 2
        return capsys.readouterr().err

    assert "'x' must begin the key of one trial, but begins: none" in said("x")
    assert f"'' must begin the key of one trial, but begins: {', '.join(keys)}, lost0" in said("")
    more = ("more0", "more1")
    lost = replace(lost, pack_id="more", tasks=tuple(replace(pack.tasks[0], trial_key=key) for key in more))
    run.ledger.append(records.failed(lost, run.spec(), Origin("tiny", run.spec().sha256, "c0ffee"), attempt=1))
    assert f"begins: {', '.join(keys)}, lost0, ...\n" in said("")
    assert "trial lost0 failed: there is no record to compare a replay with" in said("lost")
    monkeypatch.setattr(spec, "NUMERICS", "none")
    assert f"trial {keys[1]} cannot be replayed: with today's data or numerics it would be" in said(keys[1])
    load, asked = data.load, []
    monkeypatch.setattr(data, "load", lambda name, folder=None: asked.append(folder) or load(name, folder))
    with pytest.raises(ValueError, match="cannot be replayed"):
        replay.replay(run, keys[1], str(folder))
    assert asked == [str(folder)]


def test_trials_that_failed_are_told_but_are_none_of_those_that_were_trained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _launch("--trials", "4") == 0
    run = RunDir(folder / "runs", "tiny")
    (pack,) = Journal(run.journal).read()
    lost = replace(pack, pack_id="lost", tasks=(replace(pack.tasks[0], trial_key="lost0"),))
    run.ledger.append(records.failed(lost, run.spec(), Origin("tiny", run.spec().sha256, "c0ffee"), attempt=1))
    capsys.readouterr()
    assert _launch("--trials", "4", "--json") == 0
    ended = json.loads(capsys.readouterr().out)
    assert (ended["trials"], ended["new_trials"], ended["outcomes"]["failed"]) == (4, 0, 1)
    assert (ended["errors"], ended["unpublished"]) == ([], 0)
    (row,) = (row for row in run.ledger.read()[0].to_pylist() if row["outcome"] == "failed")
    assert (row["n_replicates"], row["n_trained"]) == (0, 0)
    assert main(["verify", "tiny"]) == 0
    later = stores.sqlite(folder / "later")
    assert main(["sync", "tiny", "--tracking-uri", later]) == 0
    (parent,) = parents(connect(later), EXPERIMENT).values()
    assert parent.data.tags["mlflow.source.git.commit"] == "c0ffee", "the code that it went on with"


@pytest.mark.parametrize(
    ("setting", "node", "exact"),
    [
        ("training.log_every=10", None, True),
        ("training.log_every=10", "elsewhere", False),
        ("network.normalization=batch", None, False),
        ("network.architecture=resnet", None, False),
    ],
)
def test_only_a_plain_mlp_on_the_same_machine_is_held_to_the_last_bit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, setting: str, node: str | None, exact: bool
) -> None:
    compare, asked = replay._compare, []

    def spy(*arguments: Any) -> replay.Replayed:
        asked.append(arguments[-1])
        return compare(*arguments)

    monkeypatch.setattr(replay, "_compare", spy)
    small = (
        "search.sampler=random",
        "space.depth=4",
        "space.bias_variance=0",
        "training.steps=4",
        "criterion.at_least=1",
    )
    more = ("space.scheme=[he_normal, orthogonal]", "training.log_every=2", "training.batch_size=64", setting)
    assert _launch("--trials", "1", *(part for each in (*small, *more) for part in ("--set", each))) == 0
    if node is not None:
        monkeypatch.setattr(records.platform, "node", lambda: node)
    run = RunDir(folder / "runs", "tiny")
    assert replay.replay(run, run.ledger.read()[0]["trial_key"][0].as_py()).same
    assert asked == [exact]


def test_rounding_that_has_grown_is_no_other_training() -> None:
    """What networks of convolutions or with BatchNorm are stacked with changes the rounding of their sums."""

    def compare(exact: bool, *losses: float, outcome: str = "slow") -> replay.Replayed:
        steps, before = [10, 20, 30, 40], [2.0, 1.0, 0.5]
        base = {"seed": 0, "learning_rate": 0.1}
        record = [{**base, "outcome": "slow", "curve_step": steps[:3], "curve_loss": before}]
        again = [{**base, "outcome": outcome, "curve_step": steps[: len(losses)], "curve_loss": list(losses)}]
        return replay._compare("key", record, again, "commit", "commit", exact)

    grown = compare(False, 2.0, 1.0 + 1e-6, 0.6)
    assert (grown.same, grown.parted) == (True, 30)
    assert "the same up to rounding, which has grown by step 30; 0 of 1 networks" in grown.sentence()
    assert "recorded by" not in grown.sentence()
    assert replace(grown, recorded_commit="c0ffee").sentence().endswith("\n(recorded by c0ffee, replayed by commit)")
    assert [compare(False, *losses).parted for losses in ((2.0, 1.0), (2.0, 1.0, 0.5, 0.4))] == [30, 40]
    assert not compare(True, 2.0, 1.0 + 1e-6, 0.6).same
    assert not compare(False, 2.1, 1.0, 0.5).same
    assert not compare(True, 2.0, 1.0, 0.5, outcome="stalled").same
    assert compare(True, 2.0, 1.0, 0.5).parted is None
    nets = [
        {"seed": 0, "learning_rate": rate, "outcome": "diverged", "curve_step": [10, 20, 30], "curve_loss": losses}
        for rate, losses in ((0.1, [2.0, 1.0, math.nan]), (0.01, [2.0, 1.0, 0.5]))
    ]
    assert replay._compare("key", nets, nets, "commit", "commit", True).identical == 2
    later = [
        {**net, "curve_loss": losses} for net, losses in zip(nets, ([2.0, 1.0, 0.5], [2.0, 3.0, 3.0]), strict=True)
    ]
    assert replay._compare("key", nets, later, "commit", "commit", True).parted == 20
    assert compare(False, 2.0, math.inf).largest == math.inf  # diverged
    assert compare(True, 200.0, 1.0, 0.5).largest == pytest.approx(198 / 3)
    assert compare(False, 2.0, 1.0).largest == compare(False, 2.0, 1.0, math.nan).largest == math.inf


def test_a_sweep_that_is_launched_again_stays_with_its_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = stores.sqlite(folder / "own")
    assert _launch("--trials", "4", "--tracking-uri", uri) == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/other.db")
    assert _launch("--trials", "4") == 0
    assert main(["verify", "tiny"]) == 0
    assert RunDir(folder / "runs", "tiny").state()["tracking_uri"] == uri
    assert not (folder / "other.db").exists()


def test_the_password_of_a_store_is_not_kept_with_a_sweep_but_asked_for_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address, kept = (f"postgresql+psycopg2://me:{word}@host/runs" for word in ("secret", "***"))
    uri = stores.sqlite(folder / "own")
    run = RunDir(folder / "runs", "tiny")
    shown = mlflow_uri.shown
    with monkeypatch.context() as patch:  # as if the store were that
        patch.setattr(mlflow_uri, "shown", lambda given: shown(address if given == uri else given))
        assert _launch("--trials", "4", "--tracking-uri", uri) == 0
        assert (run.state()["tracking_uri"], run.state()["closed"]) == (kept, kept)
        run.note(closed="elsewhere")
        assert main(["sync", "tiny", "--tracking-uri", uri]) == 0
        assert run.state()["closed"] == kept
        patch.setattr(closing, "_map", None)
        assert main(["sync", "tiny", "--tracking-uri", uri]) == 0, "the map is there already"
    args = Namespace(tracking_uri=None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert arguments.uri(args, run) == address
    assert arguments.uri(Namespace(tracking_uri=uri), run) == uri
    for other in (uri, address.replace("host", "other")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
        for command in ("launch tiny.yaml --inline", "resume tiny --inline", "sync tiny", "verify tiny", "export tiny"):
            assert main(command.split()) == 2
            said = capsys.readouterr().err
            assert f"launched with {kept}, whose password is not on record" in said
            assert "MLFLOW_TRACKING_URI or --tracking-uri" in said


def test_a_store_in_a_folder_that_was_moved_is_not_begun_anew_where_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = folder / "moved"
    run = RunDir(folder / "runs", "tiny")
    run.create(reading.read("tiny.yaml"), {"tracking_uri": f"sqlite:///{moved}/mlflow.db"})
    for command in ("launch tiny.yaml --inline", "resume tiny --inline", "sync tiny", "verify tiny", "export tiny"):
        assert main(command.split()) == 2
        said = capsys.readouterr().err
        assert f"launched with sqlite:///{moved}/mlflow.db, but the folder {moved} is gone" in said
        assert "give the --tracking-uri that it has now" in said
    assert not moved.exists()


def test_a_store_that_is_lost_in_mid_sweep_is_waited_for_aloud_and_not_in_the_time_that_training_took(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    close, clock = driver.Publisher.close, driver.time.monotonic

    def slow(publisher: driver.Publisher, timeout: float) -> int:
        monkeypatch.setattr(driver.time, "monotonic", lambda: clock() + 1000)
        return close(publisher, timeout)

    monkeypatch.setattr(driver.Publisher, "close", slow)
    monkeypatch.setattr(driver.Publisher, "status", lambda _: "MLflow is 1 part behind")
    assert _launch("--trials", "4") == 0
    assert (folder / "runs/tiny/maps/map.png").is_file()
    said = capsys.readouterr().out
    assert "all is trained; waiting for MLflow, at most a minute ..." in said
    assert re.search(r"tiny: 4 trials, 16 networks in \d{1,2} s", said)


def test_limits_of_one_scheme_are_told_apart() -> None:
    rest = {"censored": "no", "low": 8.0, "high": 10.0, "trains_again_at": None, "predicted": None}
    rows = [
        {"scheme": "he_normal", "bias_mode": mode, "bias_variance": variance, "depth_limit": at, **rest}
        for mode, variance, at in (("zero", 0.0, 9.0), ("iid", 1.0, 4.0))
    ]
    title, header, texts = ending._limits(rows)
    assert title == "depth limits without biases and at the largest bias variance (1)"
    assert header == ["scheme", "bias mode", "bias variance", "depth limit", "90 % band", "theory"]
    assert [text[:4] for text in texts] == [["he_normal", "zero", "0", "9"], ["he_normal", "iid", "1", "4"]]
    assert ending._markdown(rows).splitlines()[5] == "| he_normal | iid | 1 | 4 | 8 to 10 | no theory |"


def test_limits_of_many_schemes_leave_the_page_its_commands(tmp_path: Path) -> None:
    """MLflow cuts off what is longer than a page may be, without a word."""
    rest = {"censored": "no", "depth_limit": 9.0, "low": 8.0, "high": 10.0, "trains_again_at": None, "predicted": None}
    rows = [
        {"scheme": f"orthogonal_pruned_{n}", "bias_mode": "iid", "bias_variance": at, **rest}
        for n in range(99)
        for at in (0.01, 1.0)
    ]
    tracker = stores.tracker(stores.sqlite(tmp_path))
    run_id = tracker.open()
    tracker.finish(ending.page_text(396, rows, ["Most ended slow."], None))
    page = connect(tracker.uri).get_run(run_id).data.tags["mlflow.note.content"]
    shown = page.count("| orthogonal_pruned_")
    assert 50 < shown < len(rows)
    assert f"theory |\n\n{len(rows) - shown} more rows: 'analysis summary' tells all of them.\n\nMost ended" in page
    assert page.endswith("analysis report exports/toy\n```")


@pytest.mark.usefixtures("folder")
def test_theory_at_the_end_is_of_the_steps_that_the_criterion_looks_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the words and on the map: all 30 steps tell apart what 10 of them do not."""
    drawn: list[MapInfo] = []
    monkeypatch.setattr(closing, "draw_map", lambda info, _: drawn.append(info) or [])
    rate = 1.0  # one that is enough for so few steps
    assert _launch("--set", "criterion={at_least: 0.3, within: 10}", "--set", f"training.learning_rate={rate}") == 0
    task: dict[str, Any] = {"learning_rate": rate, "tolerance": Tolerance.of(0.3)}
    limits = {n: depth_limit("he_normal", width=8, steps=n, **task) for n in (10, 30)}
    (found,) = {p.predicted[0] for info in drawn for p in info.panels if p.scheme == "he_normal"}
    assert found == pytest.approx(limits[10])
    assert round(limits[10]) != round(limits[30])
    row = next(line for line in capsys.readouterr().out.splitlines() if re.match(r"he_normal +0 ", line))
    assert row.split()[-1] == f"{limits[10]:.0f}"


def test_the_closing_limits_tell_schemes_apart_on_a_narrow_terminal() -> None:
    row = {"censored": "no", "depth_limit": 9.0, "low": 8.0, "high": 10.0, "trains_again_at": None, "predicted": None}
    axes = {"bias_mode": "iid", "width": 64, "density": 0.999, "bias_variance": 0.05}
    schemes = ("orthogonal_pruned", "orthogonal_sparse")
    axes_too = [{"scheme": s, **axes, "bias_mode": m, **row} for s in schemes for m in ("iid", "mirrored")]
    narrow = Console(width=50, file=io.StringIO())
    narrow.print(ending._limits_table(axes_too))
    assert isinstance(narrow.file, io.StringIO)
    assert "…" not in narrow.file.getvalue(), "of both the beginning alone was left"


@pytest.mark.parametrize(("unpublished", "words"), [(1, "the 1 pack that"), (2, "the 2 packs that")])
def test_what_mlflow_lacks_is_counted(unpublished: int, words: str) -> None:
    end: Any = SimpleNamespace(
        name="tiny", interrupted=False, unpublished=unpublished, tracking_uri="http://x", page="", trials=0
    )
    assert words in ending._next(end, "")


def test_every_command_to_go_on_with_has_the_folder_of_runs() -> None:
    end: Any = SimpleNamespace(
        name="tiny", interrupted=True, unpublished=1, tracking_uri="http://x", page="http://x/#", trials=4
    )
    said = ending._next(end, " --runs-dir 'my runs'")
    for verb in ("resume", "sync", "export"):
        assert f"  sweep {verb} tiny --runs-dir 'my runs'   " in said
    assert "mlflow ui" not in said, "a server is there already"
    assert said.startswith("next:\n")
    end.tracking_uri = "postgresql://me:***@host/runs"
    assert ending._next(end, "").startswith("next (the whole address of the store in MLFLOW_TRACKING_URI, for its ")
    end.tracking_uri = "http://x"
    end.interrupted, end.unpublished = False, 0
    assert "resume" not in ending._next(end, "")
    assert "sync" not in ending._next(end, "")


def test_a_slash_behind_the_address_of_a_server_is_not_doubled() -> None:
    away: Any = SimpleNamespace(uri="http://host:5000/", run_id="1", page=lambda: "/#/experiments/1")
    assert closing._page(away) == "http://host:5000/#/experiments/1"
    away.uri = "sqlite:///mlflow.db"
    assert closing._page(away) == "http://127.0.0.1:5000/#/experiments/1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["launch", "tniy"], ["tniy", "bundled", "quickstart"]),
        (["launch", "tiny.yaml", "--set", "space.scheme=[he_nromal]"], ["he_nromal", "he_normal"]),
        (["launch", "tiny.yaml", "--set", "space.depth=1"], ["depth", "at least 2"]),
        (["launch", "tiny.yaml", "--set", "search.sampler=boundry"], ["boundry", "boundary"]),
        (["launch", "tiny.yaml", "--trials", "0"], ["search.trials", "0"]),
        (["launch", "tiny.yaml", "--tracking-uri", "http://127.0.0.1:9"], ["127.0.0.1:9", "mlflow server"]),
        (["launch", "tiny.yaml", "--tracking-uri", "file:./mlruns"], ["sqlite:///"]),
        (["launch", "tiny.yaml", "--inline", "--address", "auto"], ["--inline", "--address"]),
        (["plan", "tiny.yaml", "--set", "dataset=digit"], ["digit", "digits"]),
        (["resume", "nothing"], ["nothing", "no sweep"]),
        (["status", "nothing"], ["nothing", "no sweep"]),
        (["stop", "nothing"], ["nothing", "no sweep"]),
        (["export", "nothing"], ["nothing"]),
        (["replay", "nothing", "abc"], ["nothing"]),
    ],
)
def test_a_mistake_is_one_sentence_with_exit_code_2_and_leaves_nothing_behind(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("sweep: ")
    assert said.count("\n") == 1
    assert all(word in said for word in words), said
    assert "Traceback" not in said
    left = {path.name for path in folder.iterdir()}
    assert left <= {"tiny.yaml", "runs", "mlflow.db"}, left
    assert not list((folder / "runs").glob("*")) if "runs" in left else True


def test_a_name_that_is_used_by_another_spec_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _launch("--trials", "4") == 0
    before = Ledger(folder / "runs/tiny").keys()
    capsys.readouterr()
    assert _launch("--trials", "4", "--set", "training.steps=7") == 2
    assert "different spec" in capsys.readouterr().err
    assert _launch("--trials", "4", "--set", "training.steps=7", "--runs-dir", "elsewhere") == 2
    assert "another spec" in capsys.readouterr().err
    assert Ledger(folder / "runs/tiny").keys() == before


def test_a_truncated_part_is_named_with_its_remedy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _launch("--trials", "8") == 0
    part = next((folder / "runs/tiny/ledger").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:500])
    capsys.readouterr()
    assert main(["status", "tiny"]) == 2
    said = capsys.readouterr().err
    assert part.name in said
    assert "resume" in said
    part.unlink()
    assert main(["resume", "tiny", "--inline"]) == 0
    assert Ledger(folder / "runs/tiny").read()[0].num_rows == 8


def test_a_part_that_was_moved_away_takes_the_place_of_the_one_that_mlflow_has(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _launch("--trials", "16", "--set", "training.steps=2", "--set", "criterion.at_least=0.9") == 0
    first, *_ = RunDir(Path("runs"), "tiny").ledger.parts()
    first.rename(folder / "damaged.parquet")
    assert main(["verify", "tiny"]) == 1
    assert main(["resume", "tiny", "--inline"]) == 0
    capsys.readouterr()
    assert main(["verify", "tiny"]) == 0, capsys.readouterr().out
    assert main(["export", "tiny"]) == 0
    trials = RunDir(Path("runs"), "tiny").ledger.read()[0]
    assert store.read(folder / "exports/tiny").trials["finished_at"].to_pylist() == trials["finished_at"].to_pylist()


def test_a_sweep_stops_when_the_map_is_good_enough(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    until = ["--set", "search.until={undecided: 0.9}", "--set", "criterion.at_least=0.25"]
    assert _launch("--trials", "60", *until) == 0
    assert 16 <= Ledger(folder / "runs/tiny").read()[0].num_rows < 60
    told = " ".join(capsys.readouterr().out.split())
    assert "sweep resume" not in told
    assert re.search(r"search\.until has ended it, for the map is good enough: undecided \d+% \(goal 90%\)", told)
    assert main(["resume", "tiny", "--trials", "70", "--inline"]) == 0
    assert "search.until has ended it" in capsys.readouterr().out, "or else nobody knows why no trial is added"


def test_a_data_set_that_cannot_be_had_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.chdir(tmp_path)
    where = ["--data-dir", str(tmp_path), "--inline"]
    assert main(["launch", "quickstart", "--set", "dataset=cifar10", *where]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sweep: dataset cifar10: ")
    assert said.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["launch", "quickstart", "--data-dir", str(tmp_path / "nowhere")])
    assert "there is no folder" in capsys.readouterr().err


@pytest.mark.usefixtures("folder")
def test_a_sweep_that_met_its_goal_is_finished(capsys: pytest.CaptureFixture[str]) -> None:
    assert _launch("--set", "search.until={undecided: 0.99}") == 0
    capsys.readouterr()
    assert main(["status", "tiny", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "finished"
    assert status["done"] < status["trials"] == 20
    assert main(["status", "tiny"]) == 0
    assert capsys.readouterr().out.endswith("; its search.until has ended it\n")
    assert main(["stop", "tiny"]) == 2
    said = capsys.readouterr().err
    assert "--trials" not in said, "which would add none"
    assert "launch its spec again with a lower one" in said


@pytest.mark.usefixtures("folder")
def test_why_there_is_no_map_is_said_as_analysis_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    axes = ("scheme=he_normal", "depth=3", "bias_variance=0")
    assert _launch("--trials", "2", *(word for axis in axes for word in ("--set", f"space.{axis}"))) == 0
    assert "no map: a map needs trials of more than one depth, but all 2 have depth 3" in capsys.readouterr().out


def test_a_question_of_any_characters_is_the_same_with_more_trials(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[SweepSpec] = []
    monkeypatch.setattr(session, "run", lambda spec, *_: resumed.append(spec) or 0)
    spec = reading.read("tiny.yaml", [r'question="How deep \U0001F600, \x7F or \u00fc?"'])
    RunDir(folder / "runs", "tiny").create(spec, {})
    assert main(["resume", "tiny", "--trials", "50"]) == 0
    assert resumed[0].question == spec.question == "How deep \U0001f600, \x7f or \u00fc?"
    assert resumed[0].search.trials == 50


@pytest.mark.parametrize(
    ("arguments", "address"),
    [([], "head:6379"), (["--address", "local"], None), (["--address", "auto"], "auto"), (["--inline"], "no Ray")],
)
def test_a_sweep_of_a_cluster_is_resumed_there_or_here(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    address: str | None,
) -> None:
    asked: list[str | None] = []

    def launched(_: SweepSpec, options: ready.Options, *__: Any) -> None:
        assert options.address == (None if options.inline else asked[0])
        raise ValueError("far enough")

    monkeypatch.setattr(session, "Cluster", lambda where: asked.append(where) or contextlib.nullcontext())
    monkeypatch.setattr(launch, "launch", launched)
    RunDir(folder / "runs", "tiny").create(reading.read("tiny.yaml"), {"address": "head:6379"})
    assert main(["resume", "tiny", *arguments]) == 2
    assert capsys.readouterr().err == "sweep: far enough\n"
    assert (asked or ["no Ray"]) == [address]


@pytest.mark.usefixtures("folder")
def test_fewer_trials_than_are_done_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert _launch("--trials", "8") == 0
    assert main(["resume", "tiny", "--inline", "--trials", "3"]) == 2
    assert "8 trials of 'tiny' are done already" in capsys.readouterr().err
    assert main(["status", "tiny"]) == 0
    assert "8/8" in capsys.readouterr().out


def test_nobody_else_can_run_a_sweep_before_its_end_is_on_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second launch in between would be told by MLflow that it has ended."""
    drivers = []
    finish = Tracker.finish

    def finishing(tracker: Tracker, *arguments: Any, **named: Any) -> None:
        drivers.append(RunDir(folder / "runs", "tiny").driver())
        finish(tracker, *arguments, **named)

    monkeypatch.setattr(Tracker, "finish", finishing)
    assert _launch("--trials", "8") == 0
    assert drivers == 2 * [os.getpid()]  # by the publisher, and with the map


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["launch", "tiny.yaml", "--inline", "--runs-dir", "tiny.yaml"], "tiny.yaml"),
        (["launch", "tiny.yaml", "--inline", "--runs-dir", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], place: str
) -> None:
    assert main([*arguments, "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["error"].startswith(place)
    assert len(said.err.splitlines()) == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["status", "status tiny", "stop tiny", "sync tiny", "verify tiny", "export tiny"])
def test_a_file_in_the_place_of_the_folder_of_runs_is_said_to_be_no_folder(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([*command.split(), "--runs-dir", "tiny.yaml"]) == 2
    assert capsys.readouterr().err == "sweep: tiny.yaml is no folder; give the --runs-dir that sweeps are kept in\n"


@pytest.mark.parametrize("command", [["plan", "quickstart"], ["status"], ["launch", "quickstart", "--inline"]])
def test_a_folder_that_is_gone_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    assert main(command) == 2
    assert capsys.readouterr().err == "sweep: the folder that this was started in is gone; change to another\n"


def test_a_relative_folder_of_data_is_the_same_for_workers_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data").mkdir()
    assert _launch("--trials", "8", "--data-dir", "data") == 0
    assert RunDir(folder / "runs", "tiny").state()["data_folder"] == str(folder / "data")
    monkeypatch.setenv("ISOINIT_DATA", "data")
    assert _launch("--trials", "8", "--name", "other") == 0
    assert RunDir(folder / "runs", "other").state()["data_folder"] == str(folder / "data")


def test_a_file_of_ones_own_lies_beside_the_spec_and_stays_what_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    mine: dict[str, Any] = {"x_train": rng.normal(y[:, None], 0.3, (90, 5)), "y_train": y,
                            "x_test": rng.normal(size=(3, 5)), "y_test": np.arange(3)}  # fmt: skip
    np.savez(folder / "mine.npz", **mine)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    launch_mine = ["launch", "../tiny.yaml", "--inline", "--set", "dataset=mine.npz", "--trials"]
    limits, drawn = closing.maps.scheme_limits, []
    monkeypatch.setattr(closing.maps, "scheme_limits", lambda *given: drawn.append(given[-1]) or limits(*given))
    assert main([*launch_mine, "8"]) == 0
    trials, _ = Ledger(Path("runs/tiny")).read()
    assert set(trials["dataset"].to_pylist()) == {"mine.npz"}
    assert "trained" in trials["outcome"].to_pylist(), "three classes on a line are learnt"
    share = data.between(data.load("mine.npz", ".."))
    assert share == pytest.approx(0.85, abs=0.05)

    mine["y_test"] = np.zeros(3, int)
    np.savez(folder / "mine.npz", **mine)
    data._load.cache_clear()  # as in another process
    capsys.readouterr()
    for again in ([*launch_mine, "16"], ["resume", "tiny", "--inline", "--trials", "16"]):
        assert main(again) == 2
        assert "mine.npz holds other data than when sweep 'tiny' began" in capsys.readouterr().err
    for uri in ("sqlite:///mlflow.db", "sqlite:///other.db"):
        assert main(["sync", "tiny", "--tracking-uri", uri]) == 0, "which needs no data"
        assert main(["export", "tiny", "--tracking-uri", uri]) == 0
        assert store.read("exports/tiny").task.between == {"mine.npz": share}
    assert Ledger(Path("runs/tiny")).read()[0].num_rows == 8
    assert len(drawn) >= 2, "at the launch's end, and for the other store"
    assert all(task.between == {"mine.npz": share} for task in drawn)


def test_a_convolution_wants_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "mine.npz", x_train=np.eye(2), y_train=[0, 1], x_test=np.eye(2), y_test=[0, 1])
    mine = ["--set", "dataset=mine.npz", "--set", "network.architecture=[mlp, cnn]"]
    for command in (["plan"], ["launch", "--inline"]):
        assert main([*command, "tiny.yaml", *mine]) == 2
        assert "cnn looks at images" in capsys.readouterr().err
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(("shape", "architecture"), [((4,), "resnet"), ((1, 1, 2), "cnn")])
def test_one_number_cannot_be_normalized(
    folder: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, ...], architecture: str
) -> None:
    x = np.arange(2 * math.prod(shape)).reshape(2, *shape)
    np.savez(folder / "mine.npz", x_train=x, y_train=[0, 1], x_test=x, y_test=[0, 1])
    mine = ["dataset=mine.npz", f"network.architecture={architecture}", "network.normalization=batch"]
    settings = [word for setting in [*mine, "training.batch_size=1"] for word in ("--set", setting)]
    for command in (["plan"], ["launch", "--inline"]):
        assert main([*command, "tiny.yaml", *settings]) == 2
        assert "training.batch_size must be at least 2 with network.normalization batch" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_a_store_that_has_trials_of_a_lost_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their export would be a mixture of two searches."""
    assert _launch("--trials", "8") == 0
    assert _launch("--trials", "16") == 0
    assert _launch("--trials", "8", "--runs-dir", "others") == 2
    assert "has 16 trials of a sweep 'tiny' that are not in this folder of runs" in capsys.readouterr().err
    assert not (folder / "others/tiny/spec.yaml").exists()


OF_ANOTHER = "has a sweep 'tiny' of another folder of runs, with which this one would be mixed; give this one another"


def _tag(uri: str = "sqlite:///mlflow.db") -> str:
    return parents(connect(uri), EXPERIMENT)["tiny"].data.tags["folder_id"]


def test_two_folders_that_begin_one_sweep_before_either_has_a_trial_are_told_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(driver.PackSearch, "ask", lambda _: None)
        assert _launch("--trials", "4") == 1
    client = connect("sqlite:///mlflow.db")
    client.update_run(parents(client, EXPERIMENT)["tiny"].info.run_id, status="RUNNING")  # as long as it does run
    others = ("--trials", "4", "--runs-dir", "others")
    capsys.readouterr()
    assert _launch(*others) == 2
    said = capsys.readouterr().err
    assert OF_ANOTHER in said
    assert said.count("\n") == 1
    assert not (folder / "others/tiny/spec.yaml").exists()
    assert _launch("--trials", "4") == 0
    assert _tag() == RunDir(folder / "runs", "tiny").state()["folder_id"]
    uri = stores.sqlite(folder / "own")
    assert _launch(*others, "--tracking-uri", uri) == 0  # as it was told to
    assert _tag(uri) == RunDir(folder / "others", "tiny").state()["folder_id"] != _tag()
    for where in ("runs", "others"):
        assert main(["verify", "tiny", "--runs-dir", where]) == 0
    assert main(["sync", "tiny", "--runs-dir", "others", "--tracking-uri", "sqlite:///mlflow.db"]) == 2
    assert OF_ANOTHER in capsys.readouterr().err


def test_two_folders_that_begin_one_sweep_before_there_is_a_store_are_told_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The publisher makes it, and finds out: no trial is lost, and no run has those of both."""
    monkeypatch.setattr(launch, "_absent", lambda _: True)
    assert _launch("--trials", "4") == 0
    capsys.readouterr()
    assert _launch("--trials", "4", "--runs-dir", "others", "--json") == 0
    ended = json.loads(capsys.readouterr().out)
    assert ended["unpublished"] == 1
    assert OF_ANOTHER in ended["errors"][0]
    assert main(["verify", "tiny"]) == 0
    assert main(["sync", "tiny", "--runs-dir", "others", "--tracking-uri", stores.sqlite(folder / "own")]) == 0


def test_the_run_that_is_verified_and_gone_on_with_is_that_of_the_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another folder's may be there, as where stores were merged, and have more trials."""
    assert _launch("--trials", "4") == 0
    client = connect(f"sqlite:///{folder}/mlflow.db")
    mine = parents(client, EXPERIMENT)["tiny"]
    tags = {name: mine.data.tags[name] for name in ("kind", "sweep", "spec_sha256")}
    other = client.create_run(mine.info.experiment_id, tags={**tags, "folder_id": "other"}).info.run_id
    client.log_metric(other, "trials/all", 99)
    assert main(["sync", "tiny"]) == 0
    capsys.readouterr()
    assert main(["verify", "tiny"]) == 1
    said = f"1 run of the sweep is there beside {mine.info.run_id}, which counts (delete the others): {other}\n"
    assert capsys.readouterr().out == said


@pytest.mark.usefixtures("folder")
def test_a_folder_goes_on_after_a_backup_and_without_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert _launch("--trials", "4") == 0
    first = _tag()
    shutil.copytree("runs", "backup")
    assert main(["resume", "tiny", "--inline", "--trials", "6"]) == 0
    shutil.rmtree("runs")
    Path("backup").rename("runs")
    assert main(["resume", "tiny", "--inline", "--trials", "6"]) == 0
    Path("runs/tiny/launch.json").unlink()
    assert main(["resume", "tiny", "--inline", "--trials", "8"]) == 0
    assert _tag() == first
    assert main(["sync", "tiny"]) == 0
    capsys.readouterr()
    assert main(["export", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == []


GRID = """
name: tiny
dataset: digits
space: {scheme: he_normal, depth: [2, 3, 4, 5, 6, 7], width: 8}
training: {learning_rate: 0.1, batch_size: 16, steps: 10, seeds: 1}
search: {sampler: grid, trials: 6, batch: 2}
"""


def test_a_sweep_whose_journal_is_lost_goes_on_from_its_ledger(folder: Path) -> None:
    (folder / "tiny.yaml").write_text(GRID)
    assert _launch("--trials", "4") == 0
    first = Ledger(folder / "runs/tiny").keys()
    (folder / "runs/tiny/packs.jsonl").unlink()
    assert main(["resume", "tiny", "--inline", "--trials", "6"]) == 0
    trials = Ledger(folder / "runs/tiny").read()[0]
    assert first < set(trials["trial_key"].to_pylist())
    assert sorted(trials["depth"].to_pylist()) == [2, 3, 4, 5, 6, 7]
    assert main(["verify", "tiny"]) == 0


def test_a_sweep_is_exported_from_wherever_one_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _launch("--trials", "8") == 0
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    capsys.readouterr()
    assert main(["export", "tiny", "--runs-dir", "../runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 8
    assert main(["verify", "tiny", "--runs-dir", "../runs"]) == 0
    assert not Path("mlflow.db").exists()
