"""A sweep's folder: one driver at a time, whoever was killed, and a progress line that says what happens."""

from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps import rundir, stopping
from sweeps.progress import Progress
from sweeps.reading import parse
from sweeps.rundir import RunDir
from sweeps.terminal import Lasting

SPEC = parse("name: toy\nspace: {scheme: he_normal, depth: 4, width: 8}")
HOLD = "import sys, time; from sweeps.rundir import RunDir; from pathlib import Path\n"
HOLD += "with RunDir(Path(sys.argv[1]), 'toy').driving(): print('held', flush=True); time.sleep(60)"


def test_one_driver_at_a_time_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "toy")
    assert run.driver() is None
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert run.driver() == holder.pid
        ours = f"'sweep status toy --runs-dir {tmp_path}' or .* 'sweep stop toy --runs-dir {tmp_path}'"
        with pytest.raises(ValueError, match=f"process {holder.pid}; .*{ours}"), run.driving():
            pass
        holder.send_signal(signal.SIGKILL)
    assert run.driver() is None
    with run.driving():
        assert int((run.path / "lock").read_text().split()[0]) == os.getpid()


def test_whoever_may_only_read_a_folder_sees_whether_its_sweep_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a colleague. Root may write anywhere, so that a test cannot take the right away."""

    def reading(path: Path, mode: str = "r", *more: Any, **given: Any) -> Any:
        assert mode == "r", "Permission denied"
        return before(path, mode, *more, **given)

    run = RunDir(tmp_path, "toy")
    with run.driving():
        before = Path.open
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", reading)
            assert run.driver() == os.getpid()
    monkeypatch.setattr(Path, "open", reading)
    assert run.driver() is None


def test_a_folder_keeps_its_spec_and_refuses_another(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "toy")
    run.check(SPEC, "data")
    run.create(SPEC, {"tracking_uri": "x", "data_digest": "data"})
    assert RunDir.existing(tmp_path, "toy").spec() == SPEC
    assert run.state() == {"tracking_uri": "x", "data_digest": "data"}
    run.check(parse("name: toy\nspace: {scheme: he_normal, depth: 4, width: 8}\nsearch: {trials: 7}"), "data")
    with pytest.raises(ValueError, match="different spec"):
        run.check(parse("name: toy\nspace: {scheme: he_normal, depth: 5, width: 8}"), "data")
    with pytest.raises(ValueError, match="digits holds other data than when sweep 'toy' began"):
        run.check(SPEC, "other data")
    with pytest.raises(ValueError, match="did you mean 'toy'"):
        RunDir.existing(tmp_path, "tyo")


def test_sweeps_are_listed_by_name(tmp_path: Path) -> None:
    names = ["toy", "a.b", "9", "Toy", "x_y", "m"]
    for name in names:
        RunDir(tmp_path, name).create(SPEC, {})
    assert RunDir.names(tmp_path) == sorted(names)
    with pytest.raises(ValueError, match=f"sweeps there: {', '.join(sorted(names))}$"):
        RunDir.existing(tmp_path, "other")


def test_the_id_of_a_folder_is_written_once_and_stays(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "toy")
    with run.driving():
        mine = run.identified()
        assert run.identified() == RunDir(tmp_path, "toy").identified() == mine
    run.create(SPEC, {"tracking_uri": "x"})
    run.create(SPEC, {"tracking_uri": "y"})
    run.note(status="FINISHED")
    assert run.identified() == mine
    assert run.state() == {"tracking_uri": "y", "status": "FINISHED", "folder_id": mine}
    other = RunDir(tmp_path / "other", "toy")
    with other.driving():
        assert other.identified() not in (None, mine)


def test_what_is_known_of_a_sweep_is_on_the_disk_before_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power cut takes the id of a folder that MLflow has heard of."""
    fsync, synced = os.fsync, list[tuple[int, int]]()

    def seen(handle: int) -> None:
        synced.append((os.fstat(handle).st_ino, os.fstat(handle).st_size))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", seen)
    run = RunDir(tmp_path, "toy")
    with run.driving():
        run.identified()
    file = (run.path / "launch.json").stat()
    assert synced[0] == (file.st_ino, file.st_size), "all of it"
    assert [inode for inode, _ in synced[1:]] == [run.path.stat().st_ino], "and its name"


def test_a_folder_of_an_earlier_version_or_without_its_record_gets_no_id(tmp_path: Path) -> None:
    """A store may know it by another already."""
    run = RunDir(tmp_path, "toy")
    run.create(SPEC, {"tracking_uri": "x"})
    assert run.identified() is None
    (run.path / "launch.json").unlink()
    assert run.identified() is None


def test_a_damaged_state_is_named_with_its_remedy(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "toy")
    run.create(SPEC, {})
    (run.path / "launch.json").write_text("{bad")
    with pytest.raises(ValueError, match=r"launch.json is damaged .*remove it"):
        run.state()


def test_a_launch_clears_an_old_request_to_stop(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "toy")
    run.create(SPEC, {})
    run.stop()
    assert run.stopped()
    with run.driving():
        assert not run.stopped()
        run.stop()  # while it starts
        run.create(SPEC, {})
        assert run.stopped()


def test_a_folder_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    said = pytest.raises(ValueError, match=r"runs/toy cannot be made \(Not a directory\); give another --runs-dir")
    with said, RunDir(tmp_path / "runs", "toy").driving():
        raise AssertionError("no one drives a sweep without a folder")


def test_a_look_at_who_is_driving_keeps_nobody_from_driving(tmp_path: Path) -> None:
    """A launch waits for the lock that a look takes for a moment; one that is held is refused within a second."""
    run = RunDir(tmp_path, "toy")
    with run.driving():
        pass
    with (run.path / "lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        timer = threading.Timer(0.1, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        timer.start()
        with run.driving():
            assert run.driver() == os.getpid()
        timer.join()


def test_a_driver_that_has_not_said_who_it_is_yet_is_waited_for(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "toy")
    run.path.mkdir(parents=True)
    with (run.path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def say() -> None:
            file.write("4711 0.0")
            file.flush()

        timer = threading.Timer(0.1, say)
        timer.start()
        assert run.driver() == 4711
        timer.join()


def test_a_lock_whose_holder_never_says_who_it_is_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "_PAUSE", 0.0)
    run = RunDir(tmp_path, "toy")
    run.path.mkdir(parents=True)
    with (run.path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="toy/lock is held by a process that does not say which; try again"):
            run.driver()


def test_a_terminal_that_is_lost_stops_a_sweep_once_however_often_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    monkeypatch.setattr(stopping, "leave_if_gone", lambda: left.append("left"))
    ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup themselves
    before = signal.getsignal(signal.SIGHUP)
    stop = stopping.Stop(lambda: False)
    with stop.signals(lambda _: None):
        assert not stop.wanted()
        for _ in range(2):  # the system tells it, and the shell
            signal.raise_signal(signal.SIGHUP)
        assert stop.wanted()
        assert left == ["left"] * 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGHUP) is before
    signal.signal(signal.SIGHUP, ours)


def test_nohup_is_heeded() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = stopping.Stop(lambda: False)
        with stop.signals(lambda _: None):
            signal.raise_signal(signal.SIGHUP)
            assert not stop.wanted()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


SHOW = """
import signal, sys, termios
from rich.console import Console
from sweeps.progress import Progress
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with Progress(40, [], console=Console(file=sys.stdout, force_terminal=True)):
    print("shown", flush=True)
    try:
        while True:
            termios.tcgetattr(0)
    except termios.error:
        pass
print("ended", flush=True)
open(sys.argv[1], "w").close()
"""


def test_a_sweep_that_was_left_in_the_background_ends_in_order_when_its_terminal_is_gone(tmp_path: Path) -> None:
    """No signal tells it, but the system takes no word more."""
    ours, its = os.openpty()
    sweep = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-c", SHOW, str(tmp_path / "ended")], stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    said = b""
    while b"shown" not in said:
        said += os.read(ours, 2**16)
    os.close(ours)
    assert sweep.wait(60) == 0
    assert (tmp_path / "ended").exists()


def test_a_sweep_whose_words_nobody_reads_any_more_goes_on() -> None:
    """As of `sweep launch | head -1`, which ended it at its second line, without a word."""
    theirs, ours = os.pipe()
    os.close(theirs)
    with os.fdopen(ours, "w") as file, Progress(40, [], console=Lasting(file=file)) as progress:
        for name in ("starting Ray", "starting packs"):
            progress.phase(name)
        progress.add(["trained"])
        assert progress.__rich__().plain.startswith("1/40 trials")


def test_progress_counts_outcomes_and_says_what_is_left() -> None:
    console = Console(file=io.StringIO(), width=200)
    with Progress(40, ["trained"] * 8, note=lambda: "MLflow is 2 parts behind", console=console) as progress:
        progress.add(["trained"] * 6)
        progress.add(["diverged"] * 2)
        line = progress.__rich__().plain
    assert line.startswith("16/40 trials  14 trained  2 diverged")
    assert "/min" in line
    assert "left" in line
    assert line.endswith("MLflow is 2 parts behind")
    assert not Progress(40, [], note=lambda: " ", console=None).__rich__().plain.endswith(" ")


def test_the_time_left_is_told_by_the_results_not_by_what_came_before_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A launch plans, compiles and starts Ray before it has any."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(100, ["trained"] * 10, console=None)
    now[0] = 60.0
    progress.add(["trained"] * 4)
    assert "left" not in progress.__rich__().plain
    now[0] = 70.0
    progress.add(["trained"] * 16)
    assert progress.__rich__().plain.endswith("96/min  44s left  1m10s gone")


@pytest.mark.parametrize(
    ("seconds", "said"), [(59.4, "59s"), (59.6, "1m00s"), (65, "1m05s"), (3599, "59m59s"), (3900, "1h05m")]
)
def test_how_long_a_run_is_gone_has_two_digits_after_its_first_unit(
    monkeypatch: pytest.MonkeyPatch, seconds: float, said: str
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(10, [], console=None)
    now[0] = seconds
    assert f"  {said} gone" in progress.__rich__().plain


def test_without_a_terminal_a_line_is_printed_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    shown = io.StringIO()
    progress = Progress(100, [], console=Console(file=shown, width=80))
    for second in range(1, 26):
        now[0] = float(second)
        progress.add(["trained"])
    assert [line.split("/")[0] for line in shown.getvalue().splitlines()] == ["10", "20"]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_phase_that_lasts_says_how_long_on_a_line_that_is_not_broken(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    shown = io.StringIO()
    progress = Progress(100, [], console=Console(file=shown, width=30, force_terminal=terminal))
    now[0] = 160.0
    progress.phase("waiting for a worker, which no node has", 90.0)
    said = "waiting for a worker, which no node has (1m10s so far)"
    assert shown.getvalue() == ("" if terminal else f"{said} ...\n")
    assert said in progress.__rich__().plain
    now[0] = 220.0
    assert "(2m10s so far)" in progress.__rich__().plain, "it goes on without being told again"
    progress.add(["trained"])
    assert "so far" not in progress.__rich__().plain
