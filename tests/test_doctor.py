"""`sweep doctor` finds what is broken, each case broken here on purpose, and names a remedy for it."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pooch
import pytest
from packaging.requirements import Requirement

from sweeps import data, doctor, installed, sources


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "OMP_NUM_THREADS", sources.FOLDER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_this_machine_can_run_sweeps() -> None:
    checks = doctor.diagnose()
    assert [check for check in checks if not check.ok and check.name not in ("disk", "shared memory")] == []
    assert {f"data {name}" for name in data.DATASETS} <= {check.name for check in checks}
    assert list(Path.cwd().iterdir()) == [], "looking must change nothing"


def test_a_line_for_each_check_and_the_verdict() -> None:
    checks = [doctor.Check("clock", True, "noon"), doctor.Check("disk", False, "0 GiB", "free some")]
    assert doctor.render(checks).splitlines() == [
        "ok   clock  noon",
        "FAIL disk   0 GiB -> free some",
        "to mend: disk",
    ]
    assert doctor.render(checks[:1]).endswith("this machine can run sweeps")


def broken(check: doctor.Check, *parts: str) -> None:
    assert not check.ok
    assert check.remedy
    for part in parts:
        assert part in f"{check.detail} -> {check.remedy}"


def test_a_package_off_its_pin_or_absent_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "requires", {"isoinit": ["numpy>=99", "no-such-package", "scipy"]}.get)
    off, absent = doctor.packages()
    broken(off, importlib.metadata.version("numpy"), "pip install 'numpy>=99'")
    broken(absent, "not installed", "pip install 'no-such-package'")


def test_the_parts_of_an_extra_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ["no-such-dashboard; extra == 'default'", "no-such-tuner; extra == 'tune'", "click"]
    monkeypatch.setattr(installed, "requires", {"isoinit": ["ray[default]"], "ray": parts}.get)
    (check,) = doctor.packages()
    broken(check, "lacks no-such-dashboard", "ray[default]")
    assert "tuner" not in check.detail


def test_ray_is_required_with_its_dashboard() -> None:
    """Without `ray[default]` a job cannot be submitted; the pins must keep asking for it."""
    (ray,) = [r for r in map(Requirement, importlib.metadata.requires("isoinit") or []) if r.name == "ray"]
    assert {"default", "tune"} <= ray.extras


def test_an_old_python_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    broken(doctor.python(), "3.10.4", ">=3.11")


def test_an_unused_gpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    broken(doctor.devices(), "no GPU", "CUDA")
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert doctor.devices().ok


@pytest.mark.parametrize(("setting", "ok"), [("", True), ("1", True), ("0", False), ("4096", False), ("two", False)])
def test_thread_settings(monkeypatch: pytest.MonkeyPatch, setting: str, ok: bool) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    assert doctor.threads().ok is ok
    assert bool(doctor.threads().remedy) is not ok


@pytest.mark.skipif(os.geteuid() != 0 and not Path("/proc").exists(), reason="needs a folder nobody can write")
def test_a_folder_that_cannot_be_written_is_found() -> None:
    broken(doctor.writable(Path("/proc/runs")), "cannot be written", "--runs-dir")


def test_too_little_room_is_found(tmp_path: Path) -> None:
    broken(doctor.free("disk", tmp_path, 2**60, "free some"), "GiB free", "free some")
    assert doctor.free("disk", tmp_path, 1, "free some").ok
    assert doctor.free("shared memory", tmp_path / "absent", 1, "").ok


def test_a_clock_in_the_past_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    broken(doctor.clock(), "before", "timedatectl")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/refusing/health": 403}.get(self.path, 200))
        self.end_headers()
        self.wfile.write(b"OK" if self.path == "/health" else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def nobody() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


def test_a_tracking_server_is_asked(server: str) -> None:
    assert doctor.store(f"http://{server}").ok
    broken(doctor.store(f"http://{server}/refusing"), "--allowed-hosts")
    broken(doctor.store(f"http://{nobody()}"), "mlflow server")


def test_a_store_that_mlflow_cannot_use_is_found(tmp_path: Path) -> None:
    broken(doctor.store("file:./mlruns"), "sqlite:///")
    broken(doctor.store("sqlite:////proc/absent/mlflow.db"), "/proc/absent/mlflow.db cannot be written")
    broken(doctor.store(f"postgresql://user@{nobody()}/mlflow"), "does not answer")
    assert "secret" not in doctor.store(f"postgresql://user:secret@{nobody()}/mlflow").detail
    (tmp_path / "mlflow.db").write_text("no database")
    broken(doctor.store("sqlite:///mlflow.db"), "no SQLite database")


def test_the_folder_of_a_store_may_be_one_that_a_launch_makes(tmp_path: Path) -> None:
    check = doctor.store("sqlite:///absent/mlflow.db")
    assert check.ok
    assert check.detail == f"sqlite:///absent/mlflow.db, in {tmp_path}/absent, which a launch makes"
    (tmp_path / "absent").mkdir()
    assert doctor.store("sqlite:///absent/mlflow.db").detail.endswith(f"in {tmp_path}/absent")


def test_the_store_of_the_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    assert [check.name for check in doctor.diagnose() if not check.ok and check.name == "mlflow"] == ["mlflow"]
    assert all(check.ok for check in doctor.diagnose(tracking_uri="sqlite:///mlflow.db") if check.name == "mlflow")


@pytest.mark.parametrize("form", ["{}", "ray://{}", "http://{}", "auto"])
def test_ray_is_reached_where_its_address_points(
    form: str, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    for place, ok in ((server, True), (nobody(), False)):
        (tmp_path / "ray/ray_current_cluster").write_text(f"{place}\n")
        check = doctor.ray_address(form.format(place))
        assert check.ok is ok
        assert place in check.detail


def test_a_ray_address_that_leads_nowhere_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    broken(doctor.ray_address("auto"), "ray start --head")
    broken(doctor.ray_address("head-node"), "host:port")


def test_a_dirty_commit_is_told_but_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOINIT_GIT_COMMIT", "0123abc+dirty")
    check = doctor.commit()
    assert check.ok
    assert "commit your changes" in check.remedy


def test_data_sets_at_hand_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")

    def found() -> set[str]:
        return {check.name for check in doctor.data_sets() if "downloaded" not in check.detail}

    shipped = {f"data {name}" for name, source in data.DATASETS.items() if not source.url}
    assert found() == shipped
    monkeypatch.setenv(sources.FOLDER_VARIABLE, str(tmp_path / "folder"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mnist.npz").touch()
    (tmp_path / "cache/fashion_mnist").mkdir(parents=True)
    (tmp_path / "cache/fashion_mnist/train-images-idx3-ubyte.gz").touch()
    assert found() == {*shipped, "data mnist"}, "one file of four is not a data set"
    for file in data.DATASETS["fashion_mnist"].sha256:
        (tmp_path / "cache/fashion_mnist" / file).touch()
    assert found() == {*shipped, "data mnist", "data fashion_mnist"}
    (tmp_path / "cache/cifar10").mkdir()
    (tmp_path / "cache/cifar10/cifar10.npz").touch()
    assert found() == {*shipped, "data mnist", "data fashion_mnist"}, "arrays are looked for in a folder alone"


def test_a_user_without_a_home_folder_is_told_to_set_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container with `--user 12345`, whom the system does not know, if HOME is not set either."""
    from sweeps import runcard
    from sweeps.__main__ import main

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    said = "this user has no home folder, without which Ray does not load"
    (check,) = [check for check in doctor.diagnose() if check.name == "home"]
    broken(check, said, "set HOME to one that can be written")
    for command in (["plan", "quickstart"], ["launch", "quickstart", "--inline"], ["sync", "toy"]):
        assert main(command) == 2
        assert capsys.readouterr().err == f"sweep: {said}; {check.remedy}\n"
    assert runcard._origin("unknown")["mlflow.user"] == str(os.getuid())
    assert list(Path.cwd().iterdir()) == []


def test_it_loads_neither_ray_nor_mlflow() -> None:
    program = "import sys; from sweeps import doctor; doctor.diagnose(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"ray", "mlflow", "optuna"} & set(done.stdout.split()) == set()


def test_the_command_fails_if_something_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps.__main__ import main

    monkeypatch.setattr(doctor, "diagnose", lambda **_: [doctor.Check("disk", True, "")])
    assert main(["doctor"]) == 0
    monkeypatch.setattr(doctor, "diagnose", lambda **_: [doctor.Check("disk", False, "", "free some")])
    assert main(["doctor"]) == 1
