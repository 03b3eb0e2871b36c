"""A sweep on a cluster as cluster.yaml makes it: a head without CPUs, and a worker that does not see its disk."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.ledger import Ledger

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("hosts")]  # one by one: each has two nodes

SPEC = """
name: tiny
dataset: digits
space: {scheme: [he_normal, ll_orth], depth: [2, 4], width: 8}
training: {learning_rate: 0.1, batch_size: 16, steps: 10, seeds: 1}
criterion: {metric: train_accuracy, at_least: 0.5}
search: {sampler: grid, trials: 4, batch: 2}
resources: {max_failures: 0}
"""
BIN = Path(sys.executable).parent
HIDING = ["unshare", "--mount"]


def _environment(**variables: str) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_"))}
    return plain | variables


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment,
        cwd="/",
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(params=["disabled", "token"])
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a Ray of two nodes; for the worker the folder `runs` is an empty one of its own.

    It asks for the token in the home folder, as Ray does that is started where it was embedded before, or for none.
    """
    if subprocess.run([*HIDING, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to make a mount namespace")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    runs = tmp_path / "runs"
    runs.mkdir()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text(secrets.token_hex())
    environment = _environment(RAY_AUTH_MODE=request.param, HOME=str(tmp_path))
    ray = [str(BIN / "ray"), "start", "--block"]
    head = [*ray, "--head", f"--port={address.split(':')[1]}", "--num-cpus=0", "--include-dashboard=false"]
    worker = shlex.join([*ray, f"--address={address}", "--num-cpus=1"])
    short = tempfile.mkdtemp(prefix="ray")  # the paths of Ray's sockets must have less than 108 characters
    nodes = [_start([*head, f"--temp-dir={short}"], environment)]
    try:
        _wait_for(address, environment)
        hidden = f"mount -t tmpfs none {shlex.quote(str(runs))} && exec {worker}"
        nodes.append(_start([*HIDING, "sh", "-c", hidden], environment))
        yield address
    finally:
        for node in reversed(nodes):
            os.killpg(node.pid, signal.SIGKILL)
            node.wait(30)
        shutil.rmtree(short, ignore_errors=True)


def _wait_for(address: str, environment: dict[str, str]) -> None:
    probe = [str(BIN / "ray"), "health-check", "--address", address]
    deadline = time.monotonic() + 100
    while subprocess.run(probe, env=environment, capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline, "the head did not start"


def test_workers_need_not_see_the_disk_of_the_driver(cluster: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SPEC)
    command = [str(BIN / "sweep"), "launch", "tiny.yaml", "--address", "auto", "--json"]
    # What "auto" finds: on a machine with several Rays, the one that the variable names.
    environment = _environment(RAY_ADDRESS=cluster, HOME=str(tmp_path))
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout)
    assert end["errors"] == []
    assert end["trials"] == 4
    trials, _ = Ledger(tmp_path / "runs/tiny").read()
    assert trials.num_rows == 4
