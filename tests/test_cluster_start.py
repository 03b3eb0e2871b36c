"""How Ray is started: in which thread, and on a machine that is too busy for it."""

from __future__ import annotations

import os
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import ray
from ray._private import ray_constants

from sweeps import cluster, launch, ray_address
from sweeps.__main__ import main

LATE = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What `ray.init` was called with, once `_init` has replaced it by one that fails as told and then works."""
    made: list[dict[str, object]] = []
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return made


def _init(monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], *failures: Exception) -> None:
    waiting = list(failures)

    def init(**options: object) -> None:
        attempts.append(options)
        if waiting:
            raise waiting.pop(0)

    monkeypatch.setattr(ray, "init", init)


def _start(address: str | None) -> None:
    with cluster.Cluster(address) as up:
        up.ready()


class _Gcs(grpc.GenericRpcHandler):
    """A Ray that answers the question whether it is alive, if the one who asks need not show a token."""

    def __init__(self, wants: bool) -> None:
        self._wants = wants

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        assert handler_call_details.method == "/ray.rpc.NodeInfoGcsService/CheckAlive"

        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            if self._wants:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_Gcs(request.param)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of its own, without a token."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    monkeypatch.setattr(os, "environ", plain | {"HOME": str(tmp_path), "RAY_TMPDIR": str(tmp_path)})
    return tmp_path


@pytest.mark.usefixtures("home")
def test_a_folder_of_temporary_files_that_is_too_deep_for_ray_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]]
) -> None:
    """As that of a batch job; Ray names no variable that would move it."""
    path = "/scratch/very/deep/plasma_store"
    _init(monkeypatch, attempts, OSError(f"failed: AF_UNIX path length cannot exceed 107 bytes: {path}"))
    with pytest.raises(ValueError, match=rf"too long for them \(.*{path}\); set RAY_TMPDIR=/tmp .*--inline"):
        _start(None)
    assert len(attempts) == 1


@pytest.mark.usefixtures("home")
def test_ray_leaves_signals_to_the_driver() -> None:
    """Its own handler of SIGTERM, which it sets when it starts, aborts the process in the midst of its last packs."""
    name = "RAY_DISABLE_FAILURE_SIGNAL_HANDLER"
    assert hasattr(ray_constants, name)  # or else this Ray knows no such variable
    ray_address.set_environment(None)
    assert os.environ[name] == "1"


@pytest.mark.parametrize(
    ("address", "said", "mode"),
    [(True, {}, "token"), (False, {}, "disabled"), (True, {"RAY_AUTH_MODE": "disabled"}, "disabled")],
    indirect=["address"],
)
@pytest.mark.parametrize("how", ["by address", "RAY_ADDRESS", "the last one", "the last one by name"])
def test_whoever_joins_is_of_the_mode_of_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
    attempts: list[dict[str, object]],
    home: Path,
    address: str,
    said: dict[str, str],
    mode: str,
    how: str,
) -> None:
    for folder in (".ray", "ray"):
        (home / folder).mkdir()
    (home / ".ray/auth_token").write_text("secret")
    os.environ.update(said)
    if how == "RAY_ADDRESS":
        os.environ["RAY_ADDRESS"] = address
    if how == "the last one by name":
        os.environ["RAY_ADDRESS"] = "auto"
    (home / "ray/ray_current_cluster").write_text(f"{address}\n" if how.startswith("the last") else "127.0.0.1:1")
    _init(monkeypatch, attempts)
    with cluster.Cluster(address if how == "by address" else "auto") as up:
        assert os.environ["RAY_AUTH_MODE"] == mode  # for Ray reads it when it is imported, by whoever is first
        up.ready()
    assert len(attempts) == 1


@pytest.mark.parametrize("address", [True], indirect=True)
@pytest.mark.parametrize("begun", [False, True])
def test_the_mode_is_known_before_the_driver_is_loaded(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], home: Path, address: str, begun: bool
) -> None:
    found: list[str | None] = []

    def run(*_: object) -> None:
        found.append(os.environ.get("RAY_AUTH_MODE"))
        raise ValueError("enough")

    assert attempts == []
    os.environ["RAY_AUTH_TOKEN"] = "secret"
    (home / "runs/quickstart").mkdir(parents=True)
    if begun:
        (home / "runs/quickstart/packs.jsonl").touch()
    monkeypatch.chdir(home)
    monkeypatch.setattr(launch, "launch", run)
    assert main(["launch", "quickstart", "--address", address]) == 2
    assert found == ["token"]


@pytest.mark.parametrize("address", [True], indirect=True)
def test_a_token_that_is_wanted_and_not_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], home: Path, address: str
) -> None:
    assert not (home / ".ray").exists()
    _init(monkeypatch, attempts)
    with pytest.raises(ValueError, match=r"shows its token; copy ~/\.ray/auth_token"):
        _start(address)
    os.environ["RAY_AUTH_TOKEN"] = "secret"
    _start(address)
    assert len(attempts) == 1


@pytest.mark.parametrize("named", ["http://127.0.0.1:8265", "ray://127.0.0.1:10001"])
def test_the_address_of_another_service_of_ray_is_refused_at_once(home: Path, named: str) -> None:
    assert list(home.iterdir()) == []
    with pytest.raises(ValueError, match=rf"--address {named}: .* by HOST:PORT.*'ray job submit'"):
        _start(named)
    os.environ["RAY_ADDRESS"] = named
    with pytest.raises(ValueError, match=f"--address auto: .* not by {named}"):
        _start("auto")


def test_a_variable_that_names_no_cluster_is_not_taken_for_one(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], home: Path
) -> None:
    """Ray would start one here, and a sweep that is meant for a cluster be trained by this machine."""
    assert list(home.iterdir()) == []
    os.environ["RAY_ADDRESS"] = "local"
    _init(monkeypatch, attempts)
    with pytest.raises(
        ValueError, match=r"--address auto: RAY_ADDRESS=local names no cluster; unset .*--address local"
    ):
        _start("auto")
    assert attempts == []
    _start(None)
    assert [options["address"] for options in attempts] == ["local"]


@pytest.mark.parametrize("address", [False], indirect=True)
def test_a_ray_of_another_version_is_one_sentence_with_its_own_remedy(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], home: Path, address: str
) -> None:
    assert list(home.iterdir()) == attempts == []
    said = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.2\nThis process on node ..."
    )
    _init(monkeypatch, attempts, RuntimeError(said))
    with pytest.raises(ValueError, match=r"another than here .*Ray: 2\.59\.0 Python: .*; launch from") as told:
        _start(address)
    assert "\n" not in str(told.value)


class _HangsUp(socketserver.BaseRequestHandler):
    """A program that is no Ray."""


@pytest.mark.parametrize("named", ["--address", "RAY_ADDRESS", "the last one"])
@pytest.mark.parametrize(("listens", "why"), [(False, "refused"), (True, "does not answer as Ray does")])
def test_a_ray_that_is_gone_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], home: Path, named: str, listens: bool, why: str
) -> None:
    """Ray itself tries for ten minutes and more, as after its machine was started anew, where its mark still is."""
    _init(monkeypatch, attempts)
    (home / "ray").mkdir()
    with socketserver.TCPServer(("127.0.0.1", 0), _HangsUp, bind_and_activate=False) as server:
        server.server_bind()
        if listens:
            server.server_activate()
            threading.Thread(target=server.serve_forever).start()
        address = f"127.0.0.1:{server.socket.getsockname()[1]}"
        if named == "RAY_ADDRESS":
            os.environ["RAY_ADDRESS"] = address
        (home / "ray/ray_current_cluster").write_text(address if named == "the last one" else "127.0.0.1:1")
        with pytest.raises(ValueError, match=f"no Ray cluster can be reached there .*{address}: .*{why}"):
            _start(address if named == "--address" else "auto")
        if listens:
            server.shutdown()
    assert not attempts


def test_a_ray_of_our_own_sees_to_its_token_itself(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], home: Path
) -> None:
    _init(monkeypatch, attempts)
    _start(None)
    assert "RAY_AUTH_MODE" not in os.environ
    assert list(home.iterdir()) == []


def test_where_the_home_folder_takes_no_token_ray_gets_one_by_name(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], home: Path
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != home)
    _init(monkeypatch, attempts)
    _start(None)
    first = os.environ["RAY_AUTH_TOKEN"]
    assert len(first) >= 32
    _start(None)
    assert os.environ["RAY_AUTH_TOKEN"] == first


def test_a_token_that_is_there_is_used_though_the_home_folder_is_read_only(
    monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]], home: Path
) -> None:
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").write_text("secret")
    monkeypatch.setattr(os, "access", lambda *_: False)
    _init(monkeypatch, attempts)
    _start(None)
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_a_late_start_is_tried_once_more(monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]]) -> None:
    _init(monkeypatch, attempts, Exception(LATE))
    _start(None)
    assert [options["address"] for options in attempts] == ["local", "local"]


def test_two_late_starts_are_one_sentence(monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]]) -> None:
    _init(monkeypatch, attempts, Exception(LATE), Exception(LATE), AssertionError("a third start"))
    with pytest.raises(ValueError, match=r"too busy.*sweep resume"):
        _start(None)


def test_any_other_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch, attempts: list[dict[str, object]]) -> None:
    _init(monkeypatch, attempts, OSError("no space left on device"))
    with pytest.raises(OSError, match="no space left"):
        _start(None)
    assert len(attempts) == 1


def test_one_thread_starts_and_stops_it_and_lives_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's processes are killed when the thread that started them ends."""
    seen: list[threading.Thread] = []
    monkeypatch.setattr(ray, "init", lambda **_: seen.append(threading.current_thread()))
    monkeypatch.setattr(ray, "shutdown", lambda: seen.append(threading.current_thread()))
    with cluster.Cluster() as up:
        up.ready()
        assert seen[0].is_alive()
        assert seen[0] is not threading.current_thread()
    assert seen == [seen[0]] * 2
    assert not seen[0].is_alive()


def test_it_may_be_left_before_the_end_and_is_stopped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a map is drawn while Ray's processes end."""
    stops: list[threading.Event] = []
    going_on = threading.Event()

    def slow() -> None:
        stops.append(going_on)
        assert going_on.wait(10)

    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", slow)
    with cluster.Cluster() as up:
        up.ready()
        left = up.leave()
        assert not left.done()
        going_on.set()
    assert left.done()
    assert len(stops) == 1


def test_what_fails_in_its_thread_is_told_where_it_is_waited_for() -> None:
    with cluster.Cluster("127.0.0.1:1") as up, pytest.raises(ValueError, match=r"--address 127.0.0.1:1: no Ray"):
        up.ready()


def test_a_mistake_in_a_spec_is_told_without_starting_ray(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[object] = []
    monkeypatch.setattr(ray, "init", lambda **given: started.append(given))
    monkeypatch.chdir(tmp_path)
    assert main(["launch", "quickstart", "--set", "criterion.at_least=0.05"]) == 2
    assert "criterion.at_least" in capsys.readouterr().err
    assert not started
