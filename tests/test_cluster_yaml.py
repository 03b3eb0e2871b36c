"""cluster.yaml, as far as it can be proved without a cloud: what Ray checks, what Ray does not, and what it runs."""

from __future__ import annotations

import copy
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "cluster.yaml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

NODE_KEYS = {"InstanceType", "ImageId", "BlockDeviceMappings", "InstanceMarketOptions", "IamInstanceProfile", "KeyName"}
"""Arguments of EC2's RunInstances that may stand in a node_config; Ray passes any key on, misspelt ones too."""


@pytest.fixture
def config() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


def check(config: dict[str, Any]) -> None:
    """Ray's own checks, and those of the parts that Ray hands to AWS unread.

    Raises:
        ValueError: one of ours fails.
        Exception: Ray refuses the file.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))
    for name, node in config.get("available_node_types", {}).items():
        machine = node["node_config"]
        if unknown := machine.keys() - NODE_KEYS:
            raise ValueError(f"{name}.node_config: EC2 does not know {', '.join(sorted(unknown))}")
        if not re.fullmatch(r"[a-z]+\d[a-z-]*\.(\d*x?large|medium|small|metal)", machine["InstanceType"]):
            raise ValueError(f"{name}.node_config: {machine['InstanceType']!r} does not read like an instance type")
        if not re.match(r"ami-[0-9a-f]{8,17}$|resolve:ssm:/", machine["ImageId"]):
            raise ValueError(f"{name}.node_config: {machine['ImageId']!r} is neither an AMI id nor a parameter's name")


def test_ray_and_we_accept_the_file(config: dict[str, Any]) -> None:
    check(config)


def on_premise() -> dict[str, Any]:
    """The file as its comments tell to rewrite it for one's own hosts."""
    before, _, rest = TEXT.partition("\nprovider:")
    return yaml.safe_load(before.replace("\n#| ", "\n") + "\nfile_mounts:" + rest.partition("\nfile_mounts:")[2])


def test_ray_accepts_it_as_rewritten_for_own_hosts() -> None:
    config = on_premise()
    assert config["provider"]["type"] == "local"
    assert len(config["provider"]["worker_ips"]) == config["min_workers"]
    check(config | {"max_workers": config["min_workers"]})


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "misspelt key": lambda c: c.update(max_worker=c.pop("max_workers")),
    "head is no node type": lambda c: c.update(head_node_type="main"),
    "half a CPU": lambda c: c["available_node_types"]["cpu"]["resources"].update(CPU=0.5),
    "misspelt key of EC2": lambda c: c["available_node_types"]["gpu"]["node_config"].update(InstanceTyp="g6.xlarge"),
    "misspelt machine": lambda c: c["available_node_types"]["gpu"]["node_config"].update(InstanceType="g6.xlargee"),
    "misspelt image": lambda c: c["available_node_types"]["cpu"]["node_config"].update(ImageId="ubuntu-24.04"),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_file_is_refused(config: dict[str, Any], broken: str) -> None:
    import jsonschema

    BREAKS[broken](config)
    with pytest.raises((ValueError, jsonschema.ValidationError)):
        check(config)


def test_the_head_trains_nothing_and_workers_cost_nothing_when_idle(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"], "a spot head would take the sweep with it"
    assert {"--num-cpus=0", "--num-gpus=0"} <= set(shlex.split(config["head_start_ray_commands"][-1]))
    assert any(node["node_config"]["InstanceType"].startswith("g") for node in types.values())
    for name, node in types.items():
        assert node["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}, name
        assert node["min_workers"] == 0, name
        assert 0 < node["max_workers"] <= config["max_workers"], name


def test_every_node_installs_this_project_and_one_ray(config: dict[str, Any]) -> None:
    (install,) = [c for c in config["setup_commands"] if "pip install" in c and "ray" in c]
    words = shlex.split(install)
    assert words[words.index("-e") + 1] in config["file_mounts"]
    assert config["file_mounts"] == {"~/isoinit": "."}
    pinned = Requirement(next(word for word in words if word.startswith("ray[")))
    ours = next(r for r in map(Requirement, PROJECT["dependencies"]) if r.name == "ray")
    (pin,) = pinned.specifier
    assert pin.operator == "=="
    assert "*" not in pin.version, "a worker that starts later would get a later Ray, which the head refuses"
    assert pin.version in ours.specifier
    assert pinned.extras == ours.extras


def commands(config: dict[str, Any]) -> list[str]:
    return [command for key, value in config.items() if key.endswith("_commands") for command in value]


def test_nothing_listens_to_the_world(config: dict[str, Any]) -> None:
    assert config["provider"]["security_group"].keys() == {"GroupName"}, "a rule of one's own may open a port"
    everything = " ".join(commands(config))
    assert "0.0.0.0" not in everything
    assert "--dashboard-host=127.0.0.1" in everything
    assert "--host 127.0.0.1 --port 5000" in everything


def test_bash_can_read_each_command_as_ray_wraps_it(config: dict[str, Any]) -> None:
    for command in [*commands(config), *commands(on_premise())]:
        done = subprocess.run(["bash", "-n", "-c", f"export A=1 && ({command})"], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"


COMMENTS = "\n".join(line[4:] for line in TEXT.splitlines() if line.startswith("#   ")).replace("\\\n", " ")


def test_the_commands_in_its_comments_are_understood() -> None:
    from sweeps.__main__ import parser

    calls = re.findall(r"\bsweep [^'#\n]+", COMMENTS)
    assert {call.split()[1] for call in calls} >= {"doctor", "launch", "stop", "export"}
    for call in calls:
        parser().parse_args(shlex.split(call)[1:])


def test_a_job_reaches_the_shell_as_written() -> None:
    """Ray joins the words after `--` with quotes: a quoted command would be one word, and `~` would stay `~`."""
    jobs = re.findall(r"ray job submit .* -- +(.*)", COMMENTS)
    assert [job.split()[1] for job in jobs] == ["launch", "resume"]
    for job in jobs:
        assert shlex.join(shlex.split(job)) == " ".join(job.split())


def written_by(config: dict[str, Any], home: Path) -> str:
    """What the commands leave in `home`, run with `sudo` and `pip` that do nothing but write files; the unit's text."""
    for name, body in {"sudo": 'if [ "$1" = tee ]; then cat > "$HOME/unit"; fi', "pip": "true"}.items():
        script = home / "venv/bin" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    env = {"HOME": str(home), "PATH": f"{home}/venv/bin:{os.environ['PATH']}"}
    for command in [*config["setup_commands"], *config["head_setup_commands"]] * 2:  # `ray up` may be run again
        subprocess.run(["bash", "-ec", f"({command})"], env=env, check=True, cwd=home)
    return (home / "unit").read_text()


def test_the_head_learns_its_environment_once(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("alias t='cd ~/isoinit'\n")
    written_by(config, tmp_path)
    assert (tmp_path / ".bashrc").read_text().splitlines() == ["alias t='cd ~/isoinit'", ". ~/.isoinit"]
    shell = "source ~/.bashrc; echo $PATH; echo $MLFLOW_TRACKING_URI; echo $RAY_AUTH_MODE"
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(["bash", "-c", shell], env=env, check=True, capture_output=True, text=True)
    path, uri, auth = done.stdout.splitlines()
    assert path.startswith(f"{tmp_path}/venv/bin:")
    assert (uri, auth) == ("http://127.0.0.1:5000", "disabled")


def test_mlflow_is_supervised(config: dict[str, Any], tmp_path: Path) -> None:
    unit = written_by(config, tmp_path)
    assert {"Restart=always", "StartLimitIntervalSec=0", "WantedBy=multi-user.target"} <= set(unit.splitlines())
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    assert {f"User={user}", f"WorkingDirectory={tmp_path}/mlflow"} <= set(unit.splitlines())
    assert f"\nExecStart={tmp_path}/venv/bin/mlflow server " in unit


def test_no_command_is_for_one_user(config: dict[str, Any]) -> None:
    everything = " ".join(commands(config))
    assert "/home/" not in everything
    assert config["auth"]["ssh_user"] not in everything


def test_ray_starts_with_all_threads_and_sends_no_statistics(config: dict[str, Any], tmp_path: Path) -> None:
    """Though `ray up` sets one and the other before the commands."""
    (tmp_path / "ray").write_text("#!/bin/sh\necho threads=$OMP_NUM_THREADS statistics=$RAY_USAGE_STATS_ENABLED\n")
    (tmp_path / "ray").chmod(0o755)

    def told(command: str) -> str:
        wrapped = f"export OMP_NUM_THREADS=1 && (export RAY_USAGE_STATS_ENABLED=1; {command})"
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        return subprocess.run(["bash", "-c", wrapped], env=env, check=True, capture_output=True, text=True).stdout

    assert "threads= " in told(config["worker_start_ray_commands"][-1])
    assert "statistics=0" in told(config["head_start_ray_commands"][-1])


def _get(url: str, host: str) -> int:
    request = urllib.request.Request(url, headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_mlflow_service_serves_its_own_host_only(config: dict[str, Any], tmp_path: Path) -> None:
    unit = dict(line.split("=", 1) for line in written_by(config, tmp_path).splitlines() if "=" in line)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, *arguments = shlex.split(unit["ExecStart"].replace("5000", str(port)))
    assert Path(program).name == "mlflow"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *arguments],
        cwd=tmp_path,
        env={**os.environ, **dict(pair.split("=") for pair in unit["Environment"].split())},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 200
        while True:
            assert server.poll() is None, "the service ended by itself"
            assert time.monotonic() < deadline, "the service did not answer"
            try:
                status = _get(f"http://127.0.0.1:{port}/health", f"127.0.0.1:{port}")
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(1)
        assert status == 200
        experiments = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=0"
        assert _get(experiments, f"localhost:{port}") == 200
        assert _get(experiments, "evil.example") == 403
        assert (tmp_path / "mlflow.db").exists()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
