"""What is missing on this machine, with the remedy. It looks and changes nothing, and loads neither ray nor mlflow."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sweeps import data, installed, machine, mlflow_uri, provenance, sources
from sweeps.ray_address import started_here
from sweeps.sources import Source

GIB: Final = 2**30
LEAST_DISK: Final = 2 * GIB  # chosen: Ray's logs, a ledger and an MLflow store of some thousand trials
LEAST_SHM: Final = GIB // 2  # chosen: Docker gives 64 MiB, on which Ray's object store falls back to the disk
PATIENCE: Final = 5.0  # seconds to wait for an answer from the network


class Check(NamedTuple):
    """One thing looked at. `remedy` says what to do: a must if not `ok`, else a hint or empty."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose(runs: Path = Path("runs"), tracking_uri: str | None = None) -> list[Check]:
    """Every check, in the order in which one would mend what is broken.

    Args:
        runs: the folder in which sweeps are to be kept.
        tracking_uri: the MLflow store; default: `MLFLOW_TRACKING_URI`, or `mlflow.db` in this folder.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or mlflow_uri.DEFAULT_URI
    if not installed.has("isoinit"):
        return [Check("isoinit", False, "is not installed in this environment", "pip install -e .")]
    return [
        python(),
        *packages(),
        devices(),
        threads(),
        _check("home", installed.home() is not None, str(installed.home() or installed.HOMELESS), installed.HOME),
        writable(runs),
        free("disk", _existing(runs), LEAST_DISK, "free some, or keep the sweeps elsewhere with --runs-dir"),
        free("shared memory", Path("/dev/shm"), LEAST_SHM, "enlarge it: docker run --shm-size=2g, or remount /dev/shm"),
        clock(),
        store(uri),
        ray_address(os.environ.get("RAY_ADDRESS", "")),
        commit(),
        *data_sets(),
    ]


def render(checks: list[Check]) -> str:
    """One line per check, and a last line with the verdict."""
    width = max(len(check.name) for check in checks)
    lines = [
        f"{'ok  ' if check.ok else 'FAIL'} {check.name:{width}}  {check.detail}"
        + (f" -> {check.remedy}" if check.remedy else "")
        for check in checks
    ]
    broken = [check.name for check in checks if not check.ok]
    return "\n".join([*lines, f"to mend: {', '.join(broken)}" if broken else "this machine can run sweeps"])


def _check(name: str, ok: bool, detail: str, remedy: str) -> Check:
    return Check(name, ok, detail, "" if ok else remedy)


def python() -> Check:
    needed, found = installed.pythons(), ".".join(map(str, sys.version_info[:3]))
    return _check("python", found in needed, f"{found} (needs {needed})", f"use a Python {needed}")


def packages() -> list[Check]:
    """A line for each package that is absent or off its pin, or a single line if none is."""
    needed = installed.needed()
    found = [(fault, f"pip install '{package}'") for package in needed for fault in installed.faults(package)]
    wrong = [Check(name, False, how, remedy) for (name, how), remedy in found]
    return wrong or [Check("packages", True, f"all {len(needed)} at their pins")]


def devices() -> Check:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found = f"torch {torch.__version__} on {', '.join([*names, f'{machine.cores()} CPUs'])}"
    if names or shutil.which("nvidia-smi") is None:
        return Check("devices", True, found)
    remedy = "install the torch wheel for the driver's CUDA version, or update the driver"
    return Check("devices", False, f"{found}; there is an NVIDIA driver, but torch finds no GPU", remedy)


def threads() -> Check:
    """More threads than CPUs make every pack slower, and Ray gives a pack the CPUs it asked for."""
    setting, cpus = os.environ.get("OMP_NUM_THREADS", ""), machine.cores()
    if not setting:
        return Check("threads", True, "OMP_NUM_THREADS is not set: each pack uses the CPUs it asks for")
    fine = setting.isdecimal() and 1 <= int(setting) <= cpus
    return _check("threads", fine, f"OMP_NUM_THREADS={setting} on {cpus} CPUs", f"unset it, or set 1 to {cpus}")


def writable(folder: Path) -> Check:
    place = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            return Check("runs", True, f"{folder.absolute()} can be written")
    except OSError as error:
        return Check("runs", False, f"{place} cannot be written ({error.strerror})", "give another --runs-dir")


def free(name: str, place: Path, least: int, remedy: str) -> Check:
    if not place.exists():
        return Check(name, True, f"this system has no {place}")
    room = shutil.disk_usage(place).free
    remedy = f"at least {least / GIB:g} GiB are wanted: {remedy}"
    return _check(name, room >= least, f"{room / GIB:.1f} GiB free in {place}", remedy)


def clock() -> Check:
    """A clock that was never set is behind the files of this program."""
    newest = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
    fine = time.time() > newest - 60  # chosen: seconds that a file server may be ahead
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    detail = now if fine else f"{now} is before this program was written"
    return _check("clock", fine, detail, "set it: timedatectl set-ntp true")


def store(uri: str) -> Check:
    """Whether MLflow's store is of a kind that works, and there."""
    try:
        mlflow_uri.check(uri)
    except ValueError as error:
        detail, _, remedy = str(error).partition("; ")
        return Check("mlflow", False, detail, remedy or "give another --tracking-uri")
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        return Check("mlflow", True, f"{uri} answers")
    if (file := mlflow_uri.file(uri)) is not None:
        made = "" if file.parent.exists() else ", which a launch makes"
        return Check("mlflow", True, f"{uri}, in {file.parent}{made}")
    return _socket(
        "mlflow",
        mlflow_uri.shown(uri),
        parts.hostname,
        parts.port,
        "start the database, or give another --tracking-uri",
    )


def ray_address(address: str) -> Check:
    """Whether a Ray answers where RAY_ADDRESS points."""
    start = "start it with 'ray start --head', or unset RAY_ADDRESS to use a Ray of its own"
    if address in ("", "local"):
        return Check("ray", True, "a sweep starts a Ray of its own, or joins the one of --address")
    if address == "auto":
        found = started_here()
        if found is None:
            return Check("ray", False, "RAY_ADDRESS=auto, but no Ray was started on this machine", start)
        address = found
    parts = urlsplit(address if "://" in address else f"//{address}")
    return _socket("ray", f"RAY_ADDRESS={address}", parts.hostname, parts.port, start)


def _socket(name: str, what: str, host: str | None, port: int | None, remedy: str) -> Check:
    if host is None or port is None:
        return Check(name, False, f"{what} names no host and port", "write host:port")
    try:
        with socket.create_connection((host, port), timeout=PATIENCE):
            return Check(name, True, f"{what} answers")
    except OSError as error:
        return Check(name, False, f"{what} does not answer ({error})", remedy)


def commit() -> Check:
    found = provenance.git_commit()
    hint = "commit your changes, so that records name the code they came from" if found.endswith("+dirty") else ""
    return Check("commit", True, found, hint)


def data_sets() -> list[Check]:
    """A line for each data set; one that is not at hand is downloaded when it is first used."""
    return [_data_set(name, source) for name, source in data.DATASETS.items()]


def _data_set(name: str, source: Source) -> Check:
    if not source.sha256:
        return Check(f"data {name}", True, "comes with scikit-learn")
    if (place := sources.at_hand(name, source)) is not None:
        return Check(f"data {name}", True, f"in {place}")
    hint = f"without internet: set {sources.FOLDER_VARIABLE} to a folder with {source.arrays}"
    return Check(f"data {name}", True, "is downloaded when it is first used", hint)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
