"""Sweeps on a real Ray: embedded, killed and resumed, with workers that die."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stores

from sweeps.journal import Journal
from sweeps.ledger import Ledger
from sweeps.rundir import RunDir

pytestmark = pytest.mark.cluster

SPEC = """
name: tiny
dataset: digits
space:
  scheme: [he_normal, xavier_normal]
  depth: {low: 2, high: 20, log: true}
  width: 8
  bias_variance: {low: 1.0e-3, high: 1.0, log: true, zero: true}
training: {learning_rate: [0.1, 0.01], batch_size: 16, steps: 100, seeds: 2}
criterion: {metric: train_accuracy, at_least: 0.5}
search: {sampler: sobol, trials: 48, batch: 4}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(SPEC)
    stores.sqlite(tmp_path)
    return tmp_path


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sweeps", *arguments]


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}


def _sweep(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments),
        cwd=folder,
        env=_environment() | variables,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def _check_whole(folder: Path, trials: int) -> None:
    """Ledger, MLflow and export have every trial once."""
    table, replicates = Ledger(folder / "runs/tiny").read()
    keys = table["trial_key"].to_pylist()
    assert len(keys) == len(set(keys)) == trials
    assert replicates.num_rows == 4 * trials
    verified = _sweep(folder, "verify", "tiny", "--json")
    assert verified.returncode == 0, verified.stdout
    exported = _sweep(folder, "export", "tiny", "--json")
    assert json.loads(exported.stdout)["trials"] == trials
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("isoinit")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.kind = 'trial'", max_results=1000)
    assert sorted(run.data.tags["trial.key"] for run in runs) == sorted(keys)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_sweep_runs_on_an_embedded_ray(folder: Path) -> None:
    """Whatever other Ray is about: the variable stands for one that this machine runs or ran."""
    done = _sweep(folder, "launch", "tiny.yaml", "--json", "--trials", "12", RAY_ADDRESS="127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout)
    assert (end["trials"], end["networks"], end["unpublished"]) == (12, 48, 0)
    assert 0 < end["others"] < 1  # the workers say how long they waited
    _check_whole(folder, 12)
    assert not list((folder / "runs/tiny").glob("tune/*"))


def test_files_of_the_user_are_not_taken_for_ours_or_pythons(folder: Path) -> None:
    for name in ("analysis.py", "isoinit.py", "random.py"):
        (folder / name).write_text("raise ImportError('a file of the user')\n")
    command = [str(Path(sys.executable).parent / "sweep"), "launch", "tiny.yaml", "--json", "--trials", "4"]
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"] == 4


@pytest.mark.parametrize("moment", ["before the first pack is finished", "after a part", "while packs are running"])
def test_a_sweep_whose_driver_was_killed_is_finished_by_resume(folder: Path, moment: str) -> None:
    """SIGKILL leaves no time for anything; the processes of its Ray end by themselves."""
    run = folder / "runs/tiny"
    driver = subprocess.Popen(
        _command("launch", "tiny.yaml"),
        cwd=folder,
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wanted = {"before the first pack is finished": 0, "after a part": 1, "while packs are running": 3}[moment]
        deadline = time.monotonic() + 120
        while not ((run / "packs.jsonl").exists() and len(list(run.glob("ledger/*.parquet"))) >= wanted):
            assert driver.poll() is None, "the sweep ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    killed = Ledger(run).keys()
    journalled = {t.trial_key for pack in Journal(run / "packs.jsonl").read() for t in pack.tasks}
    assert len(killed) < 48

    status = _sweep(folder, "status", "tiny")
    assert "not running" in status.stdout
    resumed = _sweep(folder, "resume", "tiny")
    assert resumed.returncode == 0, resumed.stderr
    _check_whole(folder, 48)
    assert Ledger(run).keys() >= killed | journalled


@pytest.mark.parametrize("how", ["sweep stop", "Ctrl-C", "SIGTERM"])
def test_a_sweep_is_stopped_after_its_running_packs_and_resumed(folder: Path, how: str) -> None:
    """Every pack that was begun is finished: Tune's own handler of Ctrl-C would kill those that run, and Ray's of
    SIGTERM the driver."""
    driver = subprocess.Popen(
        _command("launch", "tiny.yaml", "--set", "training.steps=4000"),
        cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    run = folder / "runs/tiny"
    while not list(run.glob("ledger/*.parquet")):
        assert driver.poll() is None
        time.sleep(0.05)
    if how != "sweep stop":
        driver.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
    else:
        assert _sweep(folder, "stop", "tiny").returncode == 0
    said, _ = driver.communicate(timeout=120)
    asked = {task.trial_key for pack in Journal(run / "packs.jsonl").read() for task in pack.tasks}
    assert Ledger(run).keys() == asked
    assert driver.returncode == 1
    assert "sweep resume tiny" in said
    assert 0 < len(Ledger(run).keys()) < 48
    assert _sweep(folder, "resume", "tiny").returncode == 0
    _check_whole(folder, 48)


def test_a_sweep_whose_terminal_hangs_up_finishes_its_running_packs_and_its_page(folder: Path) -> None:
    """The hang-up ends the shell, goes to the driver and to all that it has started, and no word is taken any more."""
    ours, its = os.openpty()
    command = shlex.join(_command("launch", "tiny.yaml", "--set", "training.steps=4000"))
    shell = subprocess.Popen(
        # which may be ignored, where tests run under nohup
        ["env", "--default-signal=HUP", "setsid", "--ctty", "sh", "-c", f"{command}; exit 0"],
        cwd=folder, env=_environment(), stdin=its, stdout=its, stderr=its,
    )  # fmt: skip
    os.close(its)
    os.set_blocking(ours, False)
    run = folder / "runs/tiny"
    try:
        while not list(run.glob("ledger/*.parquet")):
            assert shell.poll() is None
            time.sleep(0.05)
            with contextlib.suppress(BlockingIOError):
                os.read(ours, 2**16)
    finally:
        os.close(ours)
    assert shell.wait(timeout=120) == -signal.SIGHUP
    while RunDir(folder / "runs", "tiny").driver() is not None:
        time.sleep(0.05)
    table, _ = Ledger(run).read()
    asked = {task.trial_key for pack in Journal(run / "packs.jsonl").read() for task in pack.tasks}
    assert set(table["trial_key"].to_pylist()) == asked
    assert set(table["attempt"].to_pylist()) == {1}
    assert 0 < len(asked) < 48
    assert json.loads((run / "launch.json").read_text())["status"] == "KILLED"
    assert list(run.glob("maps/*"))


def test_a_worker_that_dies_costs_an_attempt_and_no_trial(folder: Path) -> None:
    _kill_while_it_trains(folder, _TRAINABLE)
    assert max(Ledger(folder / "runs/tiny").read()[0]["attempt"].to_pylist()) == 2


def test_the_writer_of_the_ledger_may_die(folder: Path) -> None:
    _kill_while_it_trains(folder, r"ray::LedgerWriter")


def test_a_sweep_whose_results_the_disk_does_not_take_ends_at_once(folder: Path) -> None:
    blocked = folder / "runs/tiny/ledger/.partial"
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    ended = _sweep(folder, "launch", "tiny.yaml")
    assert ended.returncode == 2
    assert "nothing more can be recorded" in ended.stderr
    assert "ledger/.partial: File exists" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    asked = [task.trial_key for pack in Journal(folder / "runs/tiny/packs.jsonl").read() for task in pack.tasks]
    assert 0 < len(asked) == len(set(asked)) < 48  # which a resume asks for again: see test_full_disk.py
    assert Ledger(folder / "runs/tiny").keys() == set()


_TRAINABLE = r"ray::\w*Trainable.train"


def _kill_while_it_trains(folder: Path, name: str) -> None:
    """A sweep of which one actor is killed ends with all its trials."""
    driver = subprocess.Popen(
        _command("launch", "tiny.yaml", "--json", "--set", "training.steps=20000", "--trials", "8"),
        cwd=folder, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        _wait_for_worker(driver.pid)
        os.kill(_wait_for_worker(driver.pid, name), signal.SIGKILL)
        said, _ = driver.communicate(timeout=200)
    finally:
        driver.kill()
    assert driver.returncode == 0
    assert json.loads(said)["trials"] == 8
    _check_whole(folder, 8)


def _wait_for_worker(driver: int, name: str = _TRAINABLE) -> int:
    """Process id of an actor of this driver's Ray, by default a pack's while it trains."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in found.splitlines()[1:]]
        parent = {int(pid): int(ppid) for pid, ppid, _ in rows}
        for pid, _, arguments in rows:
            if re.match(name, arguments) and _descends(int(pid), driver, parent):
                return int(pid)
        time.sleep(0.05)
    raise AssertionError("no pack was ever trained")


def _descends(pid: int, ancestor: int, parent: dict[int, int]) -> bool:
    while pid in parent:
        pid = parent[pid]
        if pid == ancestor:
            return True
    return False
