"""What MLflow shows of a sweep, that publishing again changes nothing, and that a store may be down."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stores import SPEC, sqlite, tracker
from tables import pack

from analysis.schema import Took
from sweeps import bulk, parts, runcard
from sweeps.export import export, find, verify
from sweeps.ledger import Ledger
from sweeps.mlflow_runs import SWEEPS, all_parents, children, deleted, experiments, parents
from sweeps.mlflow_store import EXPERIMENT, connect, one_sentence
from sweeps.mlflow_uri import check, is_masked, lasting, shown
from sweeps.parentrun import find_or_create
from sweeps.publisher import Publisher
from sweeps.tracking import Tracker, sync


def _book(folder: Path, packs: int = 2, **options: Any) -> Ledger:
    book = Ledger(folder / "toy")
    for number in range(packs):
        book.append(parts.part(*pack(number, **options)))
    return book


def _everything(uri: str) -> list[Any]:
    """All that MLflow has of all runs, but for the environment, which a launch adds to."""
    client = connect(uri)
    found = client.search_runs([e.experiment_id for e in client.search_experiments()], order_by=["run_id"])
    trials = [run for run in found if run.data.tags["kind"] == "trial"]
    points = [client.get_metric_history(run.info.run_id, key) for run in trials for key in run.data.metrics]
    histories = sorted((m.run_id or "", m.key, m.step, m.value, m.timestamp) for history in points for m in history)
    return [[(r.info.run_id, r.info.status, r.data.params, r.data.tags) for r in found], histories]


def test_a_child_run_says_what_the_ledger_says(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1, trials=12)
    assert sync(book, tracker(uri)) == 1
    client = connect(uri)
    parent = parents(client, "isoinit")["toy"]
    runs = {run.data.tags["trial.key"]: run for run in children(client, parent)}
    rows = parts.part(*pack(0, 12)).to_pylist()
    assert runs.keys() == {row["trial_key"] for row in rows}
    assert {"trained", "diverged"} <= {row["outcome"] for row in rows}
    for row in rows:
        run = runs[row["trial_key"]]
        assert run.info.status == "FINISHED"
        assert run.info.end_time == row["finished_at"].timestamp() * 1000
        assert run.info.start_time == row["finished_at"].timestamp() * 1000 - 500
        assert run.info.run_name == f"{row['scheme']} L{row['depth']} N64 sb2={row['bias_variance']:.3g}"
        assert run.data.params["depth"] == str(row["depth"])
        assert float(run.data.params["bias_variance"]) == row["bias_variance"]
        tags = run.data.tags
        assert (tags["outcome"], tags["role"], tags["sweep"]) == (row["outcome"], "random", "toy")
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert tags["mlflow.source.git.commit"] == "0" * 40
        assert run.data.metrics["score"] == row["score"]
        assert run.data.metrics["best_learning_rate"] == row["best_learning_rate"]
        shown = [r for r in row["replicates"] if r["learning_rate"] == row["best_learning_rate"]]
        shown = next(r for r in shown if r["outcome"] == row["outcome"])
        history = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/loss")]
        finite = [p for p in zip(shown["curve_step"], shown["curve_loss"], strict=True) if math.isfinite(p[1])]
        assert sorted(history) == finite
        (last,) = client.get_metric_history(run.info.run_id, "final_train_accuracy")
        assert (last.step, last.value) == (shown["steps_run"], shown["final_train_accuracy"])
        assert all(abs(value) < 1e300 for value in run.data.metrics.values())


def test_the_parent_run_says_what_the_sweep_is(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=2, trials=5)
    sync(book, tracker(uri))
    client = connect(uri)
    run = parents(client, "isoinit")["toy"]
    assert (run.info.run_name, run.info.status) == ("toy", "FINISHED")
    assert run.data.params["training.steps"] == "200"
    assert run.data.params["space.depth.high"] == "100.0"
    assert run.data.tags["spec_sha256"] == SPEC.sha256
    assert (run.data.tags["mlflow.source.git.commit"], run.data.tags["mlflow.source.git.dirty"]) == ("a" * 40, "true")
    outcomes = book.read()[0]["outcome"].to_pylist()
    assert run.data.metrics["trials/all"] == 10
    assert run.data.metrics["trials/trained"] == outcomes.count("trained") > 0
    counted = client.get_metric_history(run.info.run_id, "trials/all")
    assert [(m.step, m.value) for m in counted] == [(5, 5.0), (10, 10.0)]
    assert all(m.timestamp >= run.info.start_time for m in counted)
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("**Which train?**")
    assert f"| trained | {outcomes.count('trained')} |" in note
    assert "sweep export toy" in note
    assert run.inputs is not None
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "d" * 36)
    assert json.loads(used.dataset.source) == {"name": "digits", "digest": "d" * 64}
    assert used.tags[0].value == "training"
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"parts", "spec.yaml"}


def test_a_launch_marks_the_sweep_as_running_and_adds_its_environment(tmp_path: Path) -> None:
    uri = sqlite(tmp_path)
    sync(_book(tmp_path, packs=1), tracker(uri))
    again = tracker(uri)
    run_id = again.open()
    assert again.page() == "/#/experiments/1/runs?workflowType=machine_learning"
    assert connect(uri).get_run(run_id).info.status == "RUNNING"
    assert sync(Ledger(tmp_path / "toy"), tracker(uri)) == 0  # after a kill: it is not running any more
    assert connect(uri).get_run(run_id).info.status == "FINISHED"
    (told,) = connect(uri).list_artifacts(run_id, "environment")
    said = json.loads((tmp_path / "mlartifacts" / "isoinit" / run_id / "artifacts" / told.path).read_text())
    assert said == {"git_commit": "a" * 40 + "+dirty", "python": "3.11", "torch": "2.13"}


def test_only_finite_numbers_and_at_most_so_many_points_are_sent() -> None:
    rows = parts.part(*pack(0, 12, budget=3000, recorded=3000)).to_pylist()
    assert any(not math.isfinite(v) for row in rows for r in row["replicates"] for v in r["curve_loss"])
    for row in rows:
        row["score"] = math.inf
        numbers = runcard.trial_numbers(row)
        assert all(math.isfinite(n.value) for n in numbers)
        assert "score" not in {n.key for n in numbers}
        assert len(numbers) <= 1000  # what one log_batch may hold
        steps = [n.step for n in numbers if n.key == "train/accuracy"]
        assert len(steps) == 100
        assert steps == sorted(set(steps))


def test_names_say_what_is_not_as_usual() -> None:
    (row,) = pack(0, 1)[0].to_pylist()
    row |= {"scheme": "ll_orth", "depth": 32, "bias_variance": 0.01}
    assert runcard.trial_name(row) == "ll_orth L32 N64 sb2=0.01"
    row |= {"weight_scale": 2.0, "density": 0.125, "architecture": "cnn", "bias_mode": "mirrored"}
    assert runcard.trial_name(row) == "ll_orth L32 N64 sb2=0.01 sw2*2 density=0.125 cnn mirrored"


def test_the_page_of_a_sweep_that_has_neither_question_nor_trials_says_what_it_is_of() -> None:
    quiet = SPEC.model_copy(update={"question": ""})
    note = runcard.sweep_note(runcard.Identity("toy", quiet, "c0ffee", "d" * 64, flag=" --runs-dir here"), Counter())
    assert note.startswith(f"Code c0ffee, data digits ({'d' * 12}), criterion {SPEC.criterion.build()}.\n\n")
    assert "No trial is finished yet." in note
    assert "| outcome |" not in note
    assert "sweep resume toy --runs-dir here\n" in note


def test_publishing_again_changes_nothing(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path)
    sync(book, tracker(uri))
    before = _everything(uri)
    assert len(before[0]) == 9
    assert sync(book, tracker(uri)) == 0
    again = tracker(uri)
    again.open(launching=False)
    for path in book.parts():
        again.publish(path)
    assert _everything(uri) == before


def _rows(database: Path) -> dict[str, list[Any]]:
    """Every row of every table that says something of runs; a run by its name and its trial, for ids are random."""
    with closing(sqlite3.connect(database)) as store:
        key = dict(store.execute("select run_uuid, value from tags where key = 'trial.key'"))
        key |= {
            run: "sweep" for (run,) in store.execute("select run_uuid from tags where key = 'kind' and value = 'sweep'")
        }
        found: dict[str, list[Any]] = {}
        for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
            cursor = store.execute(f"select * from {table}")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor]
            for row in rows:
                for run, known in key.items():
                    row |= {name: str(value).replace(run, known) for name, value in row.items() if run in str(value)}
            found[table] = sorted([sorted(map(str, row.items())) for row in rows if row.get("run_uuid") != "sweep"])
    return found


def test_runs_written_at_once_are_row_by_row_those_that_the_client_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {True: tmp_path / "at-once", False: tmp_path / "one-by-one"}
    for at_once, folder in folders.items():
        folder.mkdir()
        with monkeypatch.context() as patch:
            if not at_once:
                patch.setattr(bulk, "possible", lambda _: False)
            sync(_book(folder, packs=2, trials=12), tracker(sqlite(folder)))
    tables = [_rows(folder / "mlflow.db") for folder in folders.values()]
    for rows, folder in zip(tables, folders.values(), strict=True):  # the same place but for the folder
        rows["runs"] = [[item.replace(folder.as_uri(), "") for item in row] for row in rows["runs"]]
    assert tables[0] == tables[1]
    assert len(tables[0]["runs"]) == 24


def test_runs_are_written_at_once_into_a_database_and_not_to_a_server(tmp_path: Path) -> None:
    assert bulk.possible(connect(sqlite(tmp_path)))
    assert not bulk.possible(connect("http://127.0.0.1:9"))


def test_a_pack_that_the_database_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1, trials=3)
    first = tracker(uri)
    first.open()
    with monkeypatch.context() as patch:
        # a number twice: the last table but one refuses, after runs, tags and params were written
        patch.setattr(runcard, "trial_numbers", lambda _: [runcard.Number("score", 1.0, 0)] * 2)
        with pytest.raises(ValueError, match="MLflow at sqlite"):
            first.publish(book.parts()[0])
    run_id = tracker(uri).open()
    assert children(connect(uri), connect(uri).get_run(run_id)) == []
    sync(book, tracker(uri))
    assert verify(book, uri, "toy") == []


@pytest.mark.parametrize("at_once", [True, False])
def test_a_kill_after_any_call_leaves_no_duplicate_and_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1, trials=2)
    from mlflow import MlflowClient

    if not at_once:
        monkeypatch.setattr(bulk, "possible", lambda _: False)

    class Killed(BaseException):
        pass

    def then_die(call: Callable[..., Any], life: list[int]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            result = call(*args, **options)
            life[0] -= 1
            if life[0] == 0:
                raise Killed
            return result

        return wrapped

    writes = ("create_experiment", "create_run", "log_batch", "log_inputs", "log_text", "log_dict", "log_artifact")
    running = kills = 0
    finished = False
    while not finished:  # each launch lives for one call more than the one before
        with monkeypatch.context() as patch:
            life = [kills + 1]
            for method in (*writes, "set_tag", "set_terminated"):
                patch.setattr(MlflowClient, method, then_die(getattr(MlflowClient, method), life))
            patch.setattr(bulk, "write", then_die(bulk.write, life))
            try:
                sync(book, tracker(uri))
                finished = True
            except Killed:
                kills += 1
        left = parents(connect(uri), "isoinit").get("toy")
        running += left is not None and "RUNNING" in {r.info.status for r in children(connect(uri), left)}
    assert kills > 5
    assert running >= 2 or at_once  # it was killed after a child was created, and after it was filled
    assert verify(book, uri, "toy") == []
    assert book.unpublished(parents(connect(uri), "isoinit")["toy"].info.run_id) == []
    experiment = connect(uri).get_experiment_by_name("isoinit")
    assert experiment is not None
    assert len(connect(uri).search_runs([experiment.experiment_id])) == 3


def test_who_is_refused_leaves_the_other_sweep_as_it_is(tmp_path: Path) -> None:
    """It may be at work: a trial of it that is being written is no orphan."""
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    sync(book, tracker(uri))
    client = connect(uri)
    writing = children(client, parents(client, "isoinit")["toy"])[0].info.run_id
    client.update_run(writing, "RUNNING")
    with pytest.raises(ValueError, match="not in this folder of runs"):
        tracker(uri).open(fresh=True)
    assert client.get_run(writing).info.status == "RUNNING"


def test_an_orphan_is_not_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1, trials=2)
    from mlflow import MlflowClient

    first = tracker(uri)
    first.open()
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "possible", lambda _: False)  # as to a server, run by run
        patch.setattr(MlflowClient, "set_terminated", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            first.publish(book.parts()[0])
    run_id = tracker(uri).open()
    run = connect(uri).get_run(run_id)
    (orphan,) = children(connect(uri), run)
    assert orphan.info.status == "KILLED"
    assert "No trial is finished yet." in run.data.tags["mlflow.note.content"]
    sync(book, tracker(uri))
    run = connect(uri).get_run(run_id)
    assert [child.info.status for child in children(connect(uri), run)] == ["FINISHED"] * 2
    assert run.data.metrics["trials/all"] == 2


def test_who_is_told_to_stop_sends_no_other_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, book, stop = sqlite(tmp_path), _book(tmp_path, packs=1), threading.Event()
    monkeypatch.setattr(bulk, "possible", lambda _: False)  # as to a server, run by run
    mine = tracker(uri)
    mine.open()
    stop.set()
    assert not mine.publish(book.parts()[0], stop)
    assert children(connect(uri), parents(connect(uri), "isoinit")["toy"]) == []


def test_a_result_replaces_a_failure_in_its_run(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), Ledger(tmp_path / "toy")
    book.append(parts.part(*pack(0, failed=[1])))
    sync(book, tracker(uri))
    run = parents(connect(uri), "isoinit")["toy"]
    assert sorted(r.info.status for r in children(connect(uri), run)) == ["FAILED", *["FINISHED"] * 3]
    book.append(parts.part(*pack(0, attempt=2)))
    assert sync(book, tracker(uri)) == 1
    assert verify(book, uri, "toy") == []
    runs = children(connect(uri), run)
    assert [r.info.status for r in runs] == ["FINISHED"] * 4
    assert sorted(r.data.metrics["attempt"] for r in runs) == [1, 1, 1, 2]  # results that stood are as they were


def test_an_empty_store_is_filled_again_from_the_ledger(tmp_path: Path) -> None:
    book = _book(tmp_path)
    one, two = sqlite(tmp_path / "one"), sqlite(tmp_path / "two")
    assert sync(book, tracker(one)) == 2
    assert sync(book, tracker(two)) == 2
    assert verify(book, two, "toy") == []


def test_a_name_taken_by_another_spec_is_refused(tmp_path: Path) -> None:
    uri = sqlite(tmp_path)
    tracker(uri).open()
    other = SPEC.model_copy(update={"dataset": "mnist"})
    with pytest.raises(ValueError, match=rf"has a sweep 'toy' with another spec \({SPEC.sha256[:12]}\); give"):
        Tracker(uri, runcard.Identity("toy", other, "", "d")).open()
    more = SPEC.model_copy(update={"search": SPEC.search.model_copy(update={"trials": 999})})
    Tracker(uri, runcard.Identity("toy", more, "", "d")).open()  # going on with more trials is the same sweep


def test_no_password_is_printed_with_what_a_store_has_or_lacks(tmp_path: Path) -> None:
    client, uri, printed = (
        connect(sqlite(tmp_path)),
        "postgresql://me:secret@host/db",
        "MLflow at postgresql://me:***@host/db",
    )
    tracker(sqlite(tmp_path)).open()
    other = runcard.Identity("toy", SPEC.model_copy(update={"dataset": "mnist"}), "", "d")
    gone: Any = SimpleNamespace(
        tracking_uri=uri,
        get_experiment_by_name=lambda _: SimpleNamespace(lifecycle_stage="deleted", experiment_id="7"),
    )
    for refused in (
        lambda: find_or_create(client, uri, other, EXPERIMENT, fresh=False),
        lambda: find(client, uri, "zoo", EXPERIMENT),
        lambda: experiments(gone, EXPERIMENT),
    ):
        with pytest.raises(ValueError, match=re.escape(printed)) as error:
            refused()
        assert "secret" not in str(error.value)


FOREIGN = (
    r"^MLflow at sqlite.* has a sweep 'toy' of another folder of runs, with which this one would be mixed; "
    r"give this one another --name or --tracking-uri, or go on in the other folder$"
)


def test_a_run_without_trials_whose_launch_has_ended_is_another_folders_to_go_on_with(tmp_path: Path) -> None:
    """Its folder may be gone, as after a launch that was stopped at once and cleaned up."""
    uri = sqlite(tmp_path)
    one, two = (tracker(uri, folder_id=name) for name in ("one", "two"))
    one.open(launching=True)
    with pytest.raises(ValueError, match="of another folder of runs"):
        two.open(launching=True)
    one.finish(status="KILLED")
    assert two.open(launching=True) == one.run_id
    with pytest.raises(ValueError, match="of another folder of runs"):
        tracker(uri, folder_id="one").open(launching=True)


def test_a_sweep_of_another_folder_is_refused_and_its_run_left_as_it_is(tmp_path: Path) -> None:
    """Their trials would be a mixture of two searches; before there is any, spec and data are the same."""
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    tracker(uri, folder_id="one").open()
    for _ in ("before it has trials", "after"):
        before = _everything(uri)
        for act in (
            lambda: tracker(uri, folder_id="two").open(),
            lambda: sync(book, tracker(uri, folder_id="two")),
        ):
            with pytest.raises(ValueError, match=FOREIGN):
                act()
        assert _everything(uri) == before
        sync(book, tracker(uri, folder_id="one"))
    assert verify(book, uri, "toy") == []


def test_a_folder_whose_id_is_not_known_is_not_checked(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path)
    tracker(uri, folder_id="one").open()
    assert sync(book, tracker(uri)) == 2
    assert parents(connect(uri), "isoinit")["toy"].data.tags["folder_id"] == "one"


def test_a_run_of_an_earlier_version_gets_the_id_of_the_folder_that_goes_on_with_it(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path)
    sync(book, tracker(uri))
    assert "folder_id" not in parents(connect(uri), "isoinit")["toy"].data.tags
    assert sync(book, tracker(uri, folder_id="one")) == 0
    with pytest.raises(ValueError, match=FOREIGN):
        tracker(uri, folder_id="two").open()


def test_a_store_that_was_restored_or_emptied_or_is_another_is_none_of_another_folder(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    sync(book, tracker(uri, folder_id="one"))
    old = (tmp_path / "mlflow.db").read_bytes()
    book.append(parts.part(*pack(1)))
    sync(book, tracker(uri, folder_id="one"))
    (tmp_path / "mlflow.db").write_bytes(old)
    assert sync(book, tracker(uri, folder_id="one")) == 1
    assert sync(book, tracker(sqlite(tmp_path), folder_id="one")) == 2  # emptied
    assert sync(book, tracker(sqlite(tmp_path / "second"), folder_id="one")) == 2
    assert verify(book, uri, "toy") == []
    assert sync(book, tracker(uri, folder_id="one")) == 0


@pytest.mark.parametrize("killed", [False, True])
def test_of_two_folders_that_make_a_run_at_once_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Be it that one of them is killed before it sees the other's."""
    from mlflow import MlflowClient

    uri, create = sqlite(tmp_path), MlflowClient.create_run
    winner, loser = (tracker(uri, folder_id=name) for name in ("winner", "loser"))

    def late(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(MlflowClient, "create_run", create)
        winner.open()
        made = create(*given, **named)
        return sys.exit("killed") if killed else made

    monkeypatch.setattr(MlflowClient, "create_run", late)
    if killed:
        with pytest.raises(SystemExit):
            loser.open()
    for _ in ("when it sees the other", "again"):
        with pytest.raises(ValueError, match=FOREIGN):
            loser.open()
        assert tracker(uri, folder_id="winner").open() == winner.run_id
    ((only,),) = all_parents(connect(uri), "isoinit").values()
    assert only.info.run_id == winner.run_id
    assert deleted(connect(uri), "isoinit", "toy") == "", "nobody should restore what was withdrawn"


def test_of_two_folders_that_see_no_run_and_make_one_no_two_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    uri, create, both = sqlite(tmp_path), MlflowClient.create_run, threading.Barrier(2)
    connect(uri).create_experiment("isoinit")

    def together(*given: Any, **named: Any) -> Any:
        both.wait(60)
        return create(*given, **named)

    monkeypatch.setattr(MlflowClient, "create_run", together)
    trackers = [tracker(uri, folder_id=name) for name in ("one", "two")]
    refused: list[str] = []

    def launch(mine: Tracker) -> None:
        try:
            mine.open()
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=launch, args=[mine]) for mine in trackers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused
    assert all(re.match(FOREIGN, said) for said in refused), refused
    assert len(all_parents(connect(uri), "isoinit").get("toy", [])) == 2 - len(refused)


def test_an_experiment_that_may_not_be_changed_takes_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow also lets the later of two fail that set a tag for the first time."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(*_: Any) -> None:
        raise MlflowException("no permission")

    uri = sqlite(tmp_path)
    connect(uri).create_experiment("isoinit", (tmp_path / "artifacts").as_uri())  # or else they go to where tests run
    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    assert tracker(uri).open() == parents(connect(uri), "isoinit")["toy"].info.run_id
    tracker(new := sqlite(tmp_path / "new")).open()
    (experiment,) = connect(new).search_experiments(filter_string="name = 'isoinit'")
    assert SWEEPS in experiment.tags, "one of ours has its tag from the first"


def test_the_end_does_not_wait_for_a_store_that_has_the_sweep_of_another_folder(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    tracker(uri, folder_id="one").open()
    mine, tries = tracker(uri, folder_id="two"), []
    opening = mine.open
    mine.open = lambda: tries.append(1) or opening()  # type: ignore[method-assign]
    with Publisher(mine, book, last_wait=5) as publisher:
        pass
    assert len(tries) <= 2  # at once, and at the end
    assert publisher.remaining() == 1
    assert re.match(FOREIGN, mine.failure or "")


def test_finish_may_come_again_with_a_map(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    mine = tracker(uri)
    sync(book, mine)
    picture = tmp_path / "map.svg"
    picture.write_text("<svg/>")
    client = connect(uri)
    assert "wall_seconds" not in parents(client, "isoinit")["toy"].data.metrics
    assert not mine.mapped()
    mine.finish("ll_orth trains to 90 layers.", [picture], took=Took(4, 41.25, 49.5))
    run = parents(client, "isoinit")["toy"]
    assert (run.data.metrics["wall_seconds"], run.data.metrics["predicted_seconds"]) == (41.25, 49.5)
    assert "ll_orth trains to 90 layers." in run.data.tags["mlflow.note.content"]
    assert [f.path for f in client.list_artifacts(run.info.run_id, "maps")] == ["maps/map.svg"]
    assert mine.mapped()
    assert sync(book, tracker(uri)) == 0
    assert parents(client, "isoinit")["toy"].data.tags == run.data.tags
    mine.open()
    note = parents(client, "isoinit")["toy"].data.tags["mlflow.note.content"]
    assert "90 layers" not in note, "that was said of fewer trials than this launch adds"
    assert "| outcome |" in note


def _until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_the_publisher_publishes_while_the_sweep_goes_on_and_ends_it(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), Ledger(tmp_path / "toy")
    mine = tracker(uri)
    with Publisher(mine, book) as publisher:
        book.append(parts.part(*pack(0)))
        publisher.notify()
        _until(lambda: mine.run_id is not None and publisher.remaining() == 0)
        assert connect(uri).get_run(mine.run_id or "").info.status == "RUNNING"
        book.append(parts.part(*pack(1)))  # not notified: the end publishes it all the same
    assert (publisher.remaining(), publisher.status()) == (0, "")
    assert verify(book, uri, "toy") == []
    assert connect(uri).get_run(mine.run_id or "").info.status == "FINISHED"


def test_a_sweep_that_ends_by_an_error_is_not_called_finished(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    mine = tracker(uri)

    def interrupted() -> None:
        with Publisher(mine, book) as publisher:
            _until(lambda: mine.run_id is not None and publisher.remaining() == 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sync(book, tracker(uri)) == 0
    assert connect(uri).get_run(mine.run_id or "").info.status == "KILLED"


def test_a_store_that_is_down_delays_the_display_and_nothing_else(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path)
    mine = tracker("http://127.0.0.1:9")  # nobody listens to the discard port
    with Publisher(mine, book, last_wait=20) as publisher:
        _until(lambda: publisher.error is not None)
        reason = "MLflow at http://127.0.0.1:9: it cannot be reached (Connection refused)"
        assert publisher.status() == f"MLflow is 2 parts behind: {reason}"
        mine.uri = uri  # it comes back
    assert (publisher.remaining(), publisher.error) == (0, None)
    assert verify(book, uri, "toy") == []


def test_the_end_tries_again_while_there_is_time(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    mine, tries = tracker(uri), []
    opening = mine.open

    def third() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("down")
        return opening()

    mine.open = third  # type: ignore[method-assign]
    publisher = Publisher(mine, book)
    publisher._stop.wait = lambda _=None: False  # type: ignore[method-assign]
    with publisher:
        pass
    assert (publisher.remaining(), publisher.error) == (0, None)


def test_what_remains_when_time_is_out_is_told_and_synced_later(tmp_path: Path) -> None:
    book = _book(tmp_path)
    mine = tracker("http://127.0.0.1:9")
    started = time.monotonic()
    with Publisher(mine, book, last_wait=0.1) as publisher:
        pass
    assert time.monotonic() - started < 30
    assert publisher.remaining() == 2
    assert sync(book, tracker(sqlite(tmp_path))) == 2


class _Down:
    """A tracker whose store never answers."""

    run_id: str | None = None

    def __init__(self) -> None:
        self.tries = 0

    def open(self) -> str:
        self.tries += 1
        raise ValueError("down")


def test_news_do_not_make_it_knock_more_often(tmp_path: Path) -> None:
    down = _Down()
    with Publisher(down, _book(tmp_path, 1), last_wait=0.0) as publisher:  # type: ignore[arg-type]
        for _ in range(50):
            publisher.notify()
            time.sleep(0.01)
        assert down.tries == 1  # the first wait is a second
    assert publisher.remaining() == 1


def test_it_knocks_less_and_less_often_but_does_not_give_up(tmp_path: Path) -> None:
    waits: list[float] = []
    publisher = Publisher(_Down(), _book(tmp_path, 1), longest_wait=5.0)  # type: ignore[arg-type]

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 5:
            publisher._stop.set()

    publisher._closing.wait = wait  # type: ignore[method-assign,assignment]
    publisher._publish()
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]


class _Up:
    """A tracker whose store takes every part; what the publisher says of itself meanwhile is kept."""

    run_id, failure = "run", None

    def __init__(self) -> None:
        self.publisher: Publisher | None = None
        self.said: list[str] = []

    def publish(self, *_: Any) -> bool:
        self.said.append(self.publisher.status() if self.publisher else "")
        return True

    def finish(self, **_: Any) -> None:
        pass


def test_it_counts_down_what_it_is_behind_and_one_part_is_no_news(tmp_path: Path) -> None:
    up = _Up()
    up.publisher = publisher = Publisher(up, _book(tmp_path, 3))  # type: ignore[arg-type]
    assert publisher._drain(closing=False)
    assert up.said == ["MLflow is 3 parts behind", "MLflow is 2 parts behind", ""]
    assert publisher.waiting == 0


def test_it_sleeps_until_there_is_news(tmp_path: Path) -> None:
    publisher = Publisher(_Up(), _book(tmp_path, 1))  # type: ignore[arg-type]
    publisher.notify()
    news: list[bool] = []

    def wait() -> None:
        news.append(publisher._news.is_set())
        if len(news) == 2:
            publisher._stop.set()

    publisher._news.wait = wait  # type: ignore[method-assign,assignment]
    publisher._publish()
    assert news == [True, False]


def test_a_store_that_came_back_is_asked_again_as_soon_as_at_first(tmp_path: Path) -> None:
    publisher = Publisher(_Down(), _book(tmp_path, 1))  # type: ignore[arg-type]
    answers, waits = iter([False, False, True, False]), []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            publisher._stop.set()

    publisher._drain = lambda _: next(answers)  # type: ignore[method-assign]
    publisher._closing.wait = wait  # type: ignore[method-assign,assignment]
    publisher.notify()
    publisher._publish()
    assert waits == [1.0, 2.0, 1.0]


def test_a_store_that_has_the_sweep_of_another_folder_for_a_while_is_asked_on(tmp_path: Path) -> None:
    """Until the launch of the other has ended, or somebody has deleted its run."""
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    other = tracker(uri, folder_id="one")
    other.open()
    with Publisher(tracker(uri, folder_id="two"), book) as publisher:
        _until(lambda: publisher.error is not None)
        other.finish(status="KILLED")
    assert (publisher.remaining(), publisher.error) == (0, None)


@pytest.mark.parametrize(("last", "wanted"), [(60.0, [60.0, 5.0]), (2.0, [2.0, 2.0])])
def test_who_interrupts_a_sweep_waits_seconds_for_mlflow_and_not_a_minute(
    tmp_path: Path, last: float, wanted: list[float]
) -> None:
    waits: list[float] = []
    publisher = Publisher(_Up(), _book(tmp_path, 1), last_wait=last)  # type: ignore[arg-type]
    publisher.close = lambda timeout: waits.append(timeout) or 0  # type: ignore[method-assign]
    for kind in (None, KeyboardInterrupt):
        publisher.__exit__(kind)
    assert waits == wanted


class _Stopped:
    """A tracker that is told to stop in the middle of a part."""

    run_id, failure = "run", None

    def publish(self, _: Path, stop: threading.Event) -> bool:
        return not stop.wait(60)


def test_a_part_that_was_sent_in_part_is_not_marked_and_the_sweep_not_ended(tmp_path: Path) -> None:
    with Publisher(_Stopped(), _book(tmp_path, 1), last_wait=0.0) as publisher:  # type: ignore[arg-type]
        pass
    assert (publisher.remaining(), publisher.error) == (1, None)


class _Broken:
    """A tracker with a mistake in it."""

    run_id: str | None = None
    failure: str | None = None

    def open(self) -> str:
        raise KeyError("sweep")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_the_publisher_ends_it_with_its_reason_and_not_the_sweep(tmp_path: Path) -> None:
    broken = _Broken()
    started = time.monotonic()
    with Publisher(broken, _book(tmp_path, 1)) as publisher:  # type: ignore[arg-type]
        _until(lambda: publisher.error is not None)
    assert time.monotonic() - started < 30  # nobody waits for it at the end
    assert publisher.remaining() == 1
    assert broken.failure == publisher.error == "publishing has ended by a KeyError: 'sweep'"
    assert publisher.status() == f"MLflow is 1 part behind: {publisher.error}"


@pytest.mark.parametrize("earlier", [None, "MLflow at http://127.0.0.1:9: it cannot be reached"])
def test_a_store_that_hangs_is_named_when_time_is_out(tmp_path: Path, earlier: str | None) -> None:
    """If nothing says why it does not answer."""
    mine, end = tracker("http://127.0.0.1:9"), threading.Event()
    mine.failure = earlier

    def hang(**_: Any) -> str:
        end.wait(60)
        raise ValueError("late")

    mine.open = hang  # type: ignore[method-assign]
    publisher = Publisher(mine, _book(tmp_path, 1), last_wait=0.0)
    join, publisher._thread.join = publisher._thread.join, lambda _=None: None  # type: ignore[method-assign]
    with publisher:
        pass
    assert mine.failure == (earlier or "MLflow at http://127.0.0.1:9 has not answered in time")
    end.set()
    join()


DRIVERS = {
    "postgresql+psycopg2://u@host/db": ("psycopg2", "psycopg2-binary"),
    "postgresql+psycopg://u@host/db": ("psycopg", "psycopg[binary]"),
    "mysql+pymysql://u@host/db": ("pymysql", "pymysql"),
    "mysql://u@host/db": ("MySQLdb", "mysqlclient"),
    "mssql://u@host/db": ("pyodbc", "pyodbc"),
}


@pytest.mark.parametrize(("uri", "driver"), DRIVERS.items())
def test_a_driver_that_is_missing_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, driver: tuple[str, str]
) -> None:
    module, package = driver
    monkeypatch.setitem(sys.modules, module, None)  # missing on every machine
    book = _book(tmp_path, 1)
    for act in (
        lambda: sync(book, tracker(uri)),
        lambda: export(uri, "toy", tmp_path / "out"),
        lambda: verify(book, uri, "toy"),
    ):
        with pytest.raises(ValueError) as error:
            act()
        assert str(error.value) == f"MLflow at {uri}: the module {module} is missing; pip install '{package}'"


def test_a_database_server_that_is_down_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow itself would sleep between ten attempts for 100 s."""
    from mlflow.store.db import utils

    attempts = []

    class Down:
        def connect(self) -> None:
            attempts.append(1)
            raise ConnectionRefusedError("connection refused")

    monkeypatch.setattr(utils, "create_sqlalchemy_engine", lambda _: Down())
    with pytest.raises(ValueError, match=r"^MLflow at mysql://u@host/db: it cannot be reached \(connection refused\)$"):
        connect("mysql://u@host/db")
    assert attempts == [1]


def test_what_is_below_mlflow_fails_in_one_sentence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ValueError, match=r"MLflow at mysql\+nobody:.* Can't load .*give another --tracking-uri"
    ) as error:
        tracker("mysql+nobody://u@host/db").open()
    assert "\n" not in str(error.value)
    from mlflow import MlflowClient

    class NoCredentialsError(Exception):
        """As the client of an artifact store has it."""

    def refuse(*_: Any) -> None:
        raise NoCredentialsError("Unable to locate credentials\nat all")

    uri, book = sqlite(tmp_path), _book(tmp_path, 1)
    monkeypatch.setattr(MlflowClient, "log_artifact", refuse)
    with pytest.raises(ValueError, match="NoCredentialsError: Unable to locate credentials; is it a store"):
        sync(book, tracker(uri))


def test_a_database_that_another_program_keeps_locked_is_not_called_unfit() -> None:
    said = "MLflow at x: another program keeps its database locked; try again"
    with pytest.raises(ValueError, match=said), one_sentence("x"):
        raise sqlite3.OperationalError("database is locked")


def _with_table(path: Path, name: str) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"create table {name} (a integer)")
        database.commit()
    return path


def test_a_database_that_is_not_mlflows_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    refused = {
        damaged: "is no SQLite database, or a damaged one .* move it away: 'sweep sync' fills a new one",
        _with_table(tmp_path / "notes.db", "notes"): "database of another program, with the table notes; give another",
        _with_table(tmp_path / "runs.db", "runs"): "database of another program, with the table runs; give another",
        _with_table(tmp_path / "labs.db", "experiments"): "database of another program, with the table experiments",
    }
    for path, words in refused.items():
        before = path.read_bytes()
        for act in (check, connect):
            with pytest.raises(ValueError, match=words) as error:
                act(f"sqlite:///{path}")
            assert "\n" not in str(error.value)
        assert path.read_bytes() == before
    (tmp_path / "empty.db").touch()
    check(f"sqlite:///{tmp_path}/empty.db")
    check(f"sqlite:///{_with_table(tmp_path / 'half.db', 'alembic_version')}")  # MLflow was killed while it made it


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (sqlite3.SQLITE_CANTOPEN, r"mlflow\.db cannot be read \(why\); give another --tracking-uri$"),
        (sqlite3.SQLITE_IOERR | 1 << 8, r"mlflow\.db cannot be read \(why\); give another --tracking-uri$"),
        (sqlite3.SQLITE_CORRUPT, "is no SQLite database, or a damaged one"),
        (sqlite3.SQLITE_BUSY | 1 << 8, ""),
    ],
)
def test_a_database_that_cannot_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    """Or who may not read that of a colleague is told to move it away. Root may read all, so the error is made."""

    def refuse(*_: Any, **__: Any) -> None:
        error = sqlite3.OperationalError("why")
        error.sqlite_errorcode = code
        raise error

    uri = sqlite(tmp_path)
    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(ValueError, match=said) if said else nullcontext():  # another mends it, or writes
        check(uri)


def test_a_database_that_is_made_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Of a launch that was killed while it was made half of the tables were left, and no resume could go on."""
    path, made, sizes = tmp_path / "new" / "mlflow.db", threading.Event(), set[int]()

    def watch() -> None:
        while not made.wait(0.01):
            sizes.update(file.stat().st_size for file in path.parent.glob("mlflow.db"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    connect(f"sqlite:///{path}").search_experiments()
    made.set()
    watcher.join()
    assert sizes <= {path.stat().st_size}
    assert [file.name for file in path.parent.iterdir()] == ["mlflow.db"]


def test_a_database_that_another_sweep_makes_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sweeps that were the first of a folder at once ruined each other's tables."""
    copy = shutil.copyfile
    tracker(sqlite(tmp_path / "others")).open()

    def late(source: Path, target: Path) -> None:
        copy(source, target)
        copy(tmp_path / "others" / "mlflow.db", tmp_path / "mlflow.db")

    monkeypatch.setattr(shutil, "copyfile", late)
    assert list(parents(connect(f"sqlite:///{tmp_path}/mlflow.db"), "isoinit")) == ["toy"]


def test_a_database_is_made_where_a_file_has_but_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    connect(f"sqlite:///{tmp_path}/mlflow.db")
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (500, "the server answers with error 500, again and again; its log says why"),
        (401, "it wants to know who asks; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_a_server_that_fails_is_told_by_its_error_and_not_by_the_address_that_was_asked(code: int, said: str) -> None:
    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(code)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        uri = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ValueError) as caught:
            tracker(uri).open()
        server.shutdown()
        thread.join()
    assert str(caught.value) == f"MLflow at {uri}: {said}"


def test_tables_that_are_half_made_are_told_with_the_remedy() -> None:
    said = "MLflow at x: its tables are half made.* move the file away: 'sweep sync' fills a new one"
    with pytest.raises(ValueError, match=said), one_sentence("x"):
        raise sqlite3.OperationalError("table trace_info already exists")


def test_a_database_that_another_writes_to_is_none_the_worse(tmp_path: Path) -> None:
    uri = sqlite(tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        check(uri)


@pytest.mark.parametrize("name", ["why?", "a%20b"])
def test_a_name_that_is_another_in_an_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It would be kept in `why`, or in `a b`."""
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    for act in (check, connect):
        for uri in ("sqlite:///mlflow.db", f"sqlite:///{tmp_path}/{name}/mlflow.db"):
            with pytest.raises(ValueError, match=rf"{re.escape(name)}/mlflow\.db would be another file to MLflow"):
                act(uri)
    check(f"sqlite:///{tmp_path}/100%/a b#c/mlflow.db")


def test_tables_of_another_release_are_told_with_the_whole_command_that_mends_them(tmp_path: Path) -> None:
    uri = sqlite(tmp_path / "my stores")
    with closing(sqlite3.connect(tmp_path / "my stores/mlflow.db")) as database:
        database.execute("update alembic_version set version_num = 'cc1f77228345'")
        database.commit()
    with pytest.raises(ValueError, match=r"version cc1f77228345, where this one has \w+\)") as caught:
        parents(connect(uri), "isoinit")
    assert f"run 'mlflow db upgrade '{uri}'', else give another --tracking-uri" in str(caught.value)


def test_an_experiment_that_was_deleted_is_told_with_what_restores_it(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path / "my store"), _book(tmp_path, packs=1)
    sync(book, tracker(uri))
    client = connect(uri)
    client.delete_experiment(parents(client, "isoinit")["toy"].info.experiment_id)
    command = f"'MLFLOW_TRACKING_URI='{uri}' mlflow experiments restore -x 1', or give another --tracking-uri"
    for act in (
        lambda: sync(book, tracker(uri)),
        lambda: export(uri, "toy", tmp_path / "out"),
        lambda: verify(book, uri, "toy"),
    ):
        with pytest.raises(ValueError, match=f"'isoinit' was deleted there; restore it with {re.escape(command)}$"):
            act()
    client.restore_experiment("1")
    assert verify(book, uri, "toy") == []


def test_a_sweep_whose_run_was_deleted_is_told_with_what_restores_it(tmp_path: Path) -> None:
    uri, book = sqlite(tmp_path), _book(tmp_path, packs=1)
    running = tracker(uri)
    sync(book, running)
    client = connect(uri)
    run_id = parents(client, "isoinit")["toy"].info.run_id
    client.delete_run(run_id)
    command = f"restore it with 'MLFLOW_TRACKING_URI={uri} mlflow runs restore --run-id {run_id}', or "
    for act in (lambda: export(uri, "toy", tmp_path / "out"), lambda: verify(book, uri, "toy")):
        with pytest.raises(ValueError, match=rf"deleted in MLflow at {uri}; {command}.* 'sweep sync toy' where"):
            act()
    for strange in ("to", "to'y"):
        with pytest.raises(ValueError, match=rf"^no sweep {re.escape(repr(strange))} in MLflow"):
            verify(book, uri, strange)
    with pytest.raises(ValueError, match=rf"the run was deleted there; {command}give another"):  # while it runs
        running.publish(book.parts()[0])
    client.restore_run(run_id)
    assert verify(book, uri, "toy") == []


def test_a_place_that_cannot_be_written_is_found_out_at_once(tmp_path: Path) -> None:
    started = time.monotonic()
    (tmp_path / "file").touch()
    for path in (Path("/proc/x.db"), Path("/proc/a/b/x.db"), tmp_path / "file" / "x.db"):
        for act in (check, connect):
            with pytest.raises(ValueError, match=rf"{path} cannot be written \(.+\); give another --tracking-uri"):
                act(f"sqlite:///{path}")
    check(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert time.monotonic() - started < 30


def test_check_tells_stores_from_what_is_none(tmp_path: Path) -> None:
    check(sqlite(tmp_path))
    check(f"sqlite:///{tmp_path}/new.db")
    check("postgresql+psycopg2://user@host/db")
    (tmp_path / "notes.txt").write_text("this is not a database")
    for uri, message in (
        ("file:./mlruns", "no longer keeps runs in a folder; write sqlite:///"),
        ("file:///tmp/mlruns", "no longer keeps runs in a folder; write sqlite:///"),
        ("./mlruns", "no longer keeps runs in a folder; write sqlite:///"),
        ("sqlite+pysqlite:///mlflow.db", "named without a driver; write sqlite:///"),
        ("ftp://host", "must begin with http://, https:// or sqlite:///"),
        ("sqlite://mlflow.db", "or sqlite:///"),
        (f"sqlite:///{tmp_path}/notes.txt", "no SQLite database"),
        (f"sqlite:///{tmp_path}", "no SQLite database"),
        ("http://127.0.0.1:9", r"no MLflow server answers there \(\[Errno \d+\] "),
        ("http://host:port", "no MLflow server answers there"),
        ("http://[host", "no MLflow server answers there"),
        ("http://me:secret@host", r"//me:\*\*\*@host: user and password .* set MLFLOW_TRACKING_USERNAME and MLFLOW_TR"),
        ("oracle://me:secret@host/db", r"oracle://me:\*\*\*@host/db: it must begin with"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            check(uri)
        assert "\n" not in str(error.value)
        assert "secret" not in str(error.value), "what is printed is kept in logs"


@pytest.mark.parametrize(
    ("uri", "printed"),
    [
        ("postgresql+psycopg2://me:se/cr:et@host:5432/db?x=a@b", "postgresql+psycopg2://me:***@host:5432/db?x=a@b"),
        ("mysql://me:secret@[::1]/db", "mysql://me:***@[::1]/db"),
        ("postgresql://:secret@/db", "postgresql://:***@/db"),
        (
            "postgresql://host/db?user=me&password=se:cr&sslmode=require",
            "postgresql://host/db?user=me&password=***&sslmode=require",
        ),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////home/a:b@c/mlflow.db", "sqlite:////home/a:b@c/mlflow.db"),
    ],
)
def test_no_password_of_a_database_is_printed(uri: str, printed: str) -> None:
    assert shown(uri) == printed
    assert not is_masked(uri)
    assert is_masked(printed) == (uri != printed)
    with pytest.raises(ValueError, match=re.escape(f"MLflow at {printed}: it cannot be reached")), one_sentence(uri):
        raise ConnectionRefusedError(111, "Connection refused")
    remedy = re.escape(f"MLFLOW_TRACKING_URI={shlex.quote(printed)} mlflow runs restore")
    with pytest.raises(ValueError, match=remedy), one_sentence(uri):
        raise OSError("The run 0a must be in the 'active' state")


def test_a_store_in_a_home_folder_is_one_wherever_it_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shell puts the folder in place of a ~ behind sqlite:///."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    sqlite(tmp_path / "home")
    uri = "sqlite:///~/mlflow.db"
    check(uri)
    assert lasting(uri) == f"sqlite:///{tmp_path}/home/mlflow.db"
    book = _book(tmp_path, packs=1)
    assert sync(book, tracker(uri)) == 1
    assert verify(book, uri, "toy") == []
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["mlartifacts", "mlflow.db"]
    assert list(Path.cwd().iterdir()) == []
    for act in (check, connect, lasting):
        with pytest.raises(
            ValueError, match=r"tracking URI sqlite:///~nobody-here/x\.db: there is no such home folder"
        ):
            act("sqlite:///~nobody-here/x.db")


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.requestline.split()[1]  # of more slashes than one `path` has one
            self.send_response(status if asked == "/health" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"OK", None),
        (200, b"OK\n", None),
        (200, b"<html>", "not an MLflow server"),
        (404, b"", "not an MLflow server"),
        (403, b"", "--allowed-hosts"),
    ],
)
def test_check_tells_an_mlflow_server_from_another(status: int, body: bytes, message: str | None) -> None:
    with _answering(status, body) as uri:
        if message is None:
            check(uri)
        else:
            with pytest.raises(ValueError, match=message):
                check(uri)


def test_importing_tracking_does_not_import_mlflow() -> None:
    program = "import sys, sweeps.tracking, sweeps.export; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@contextmanager
def _server(folder: Path, port: int) -> Iterator[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "store"),
    ]
    uri = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 180
            while True:
                try:
                    check(uri)
                    break
                except ValueError:
                    assert process.poll() is None, (folder / "server.log").read_text()
                    assert time.monotonic() < end, (folder / "server.log").read_text()
                    time.sleep(0.5)
            yield uri
        finally:
            os.killpg(process.pid, 9)
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_over_http_through_an_outage(tmp_path: Path) -> None:
    sqlite(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    book = _book(tmp_path, 2)
    with _server(tmp_path, port) as uri:
        mine = tracker(uri)
        publisher = Publisher(mine, book, longest_wait=2.0, last_wait=120.0)
        publisher.__enter__()
        _until(lambda: mine.run_id is not None and publisher.remaining() == 0)
    book.append(parts.part(*pack(2)))
    publisher.notify()
    _until(lambda: publisher.error is not None)
    assert publisher.waiting == 1
    with _server(tmp_path, port):
        publisher.__exit__(None)
        assert publisher.remaining() == 0
        assert verify(book, uri, "toy") == []
        done = export(uri, "toy", tmp_path / "out")
        assert [repr(t.to_pylist()) for t in (done.trials, done.replicates)] == [
            repr(t.to_pylist()) for t in book.read()
        ]
        assert done.missing == ()
