"""What becomes of packs that Ray does not train: those that wait when a sweep is stopped, and those that fail."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import (
    GetTimeoutError,
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    WorkerCrashedError,
)

from sweeps import data, failures, hooks, pack, provenance, tuner, waiting, writer
from sweeps.arrays import Raw
from sweeps.reading import parse
from sweeps.spec import Resources
from sweeps.tasks import Origin, Pack

NODE = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: PackTrainable\n"
    "The actor died because its node has died. Node Id: c0ffee\n\tthe actor's node was terminated unexpectedly: health"
)
MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.1, ID: 64) was "
    "5.02GB used / 23.54GB limit (0.21)\nTop 10 memory users: PID\nRefer to the documentation on how to address the "
    "out of memory issue: https://docs.ray.io"
)
AWAY = (
    "The actor 3af6 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed "
    "rpc_code: 14. The task may or may not have been executed on the actor."
)
KILLED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: ..."
RAISED = "ray::PackTrainable.train()\n  File 'pack.py', line 1\nRuntimeError: this node has other data for 'digits'"


ABSENT = (
    "The actor died because of an error raised in its creation task, ray::ResourceTrainable.__init__() (pid=4, "
    "ip=10.0.0.2, actor_id=c0)\nRuntimeError: The actor with name ResourceTrainable failed to import on the worker. "
    "This may be because needed library dependencies are not installed in the worker environment:\n\n"
    "ray::ResourceTrainable.__init__() (pid=4, ip=10.0.0.2, actor_id=c0)\n  ^^^^\n"
    "ModuleNotFoundError: No module named 'sweeps'"
)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            ABSENT,
            "isoinit is not installed on node 10.0.0.2, or not as it is here (ModuleNotFoundError: No module named "
            "'sweeps'); install there what the driver has",
        ),
        (NODE, "its node was lost"),
        (AWAY, "its worker cannot be reached; its node may be lost"),
        (MEMORY, "its node ran out of memory, with 5.02GB of 23.54GB used"),
        (KILLED, "its worker's process was killed or crashed, perhaps for want of memory"),
        (RAISED, "RuntimeError: this node has other data for 'digits'"),
        ("", "its worker died, and Ray does not say why"),
    ],
)
def test_what_ray_says_of_a_failure_becomes_a_clause(said: str, reason: str) -> None:
    earlier = f"Failure # 1 (occurred at 2026-01-01_00-00-00)\n{NODE}\nFailure # 2 (occurred at 2026-01-01_00-00-01)\n"
    assert failures.reason(f"{earlier}{said}" if said else "") == reason


def test_a_pack_that_fails_says_why_and_where_all_of_it_is(tmp_path: Path) -> None:
    told: list[Any] = []
    watcher = hooks.Watcher(lambda *said, **_: told.append(said), tmp_path / "errors.txt")
    noted = tmp_path / "error.txt"
    trial: Any = SimpleNamespace(config={"pack": {"pack_id": "p1", "tasks": [1, 2]}}, error_file=str(noted))
    noted.write_text(f"Failure # 1 (occurred at noon)\n{MEMORY}\n")
    watcher.on_trial_recover(0, [], trial)
    assert told == []
    noted.write_text(f"{noted.read_text()}Failure # 2 (occurred at night)\n{NODE}\n")
    watcher.on_trial_error(0, [], trial)
    where = tmp_path / "errors.txt"
    sentence = f"pack p1 failed: its node was lost; all that Ray says is in {where}"
    assert told == [(["failed", "failed"], sentence)]
    kept = where.read_text()
    assert [kept.count(text) for text in ("pack p1, failure", MEMORY, NODE)] == [2, 1, 1]


def test_a_pack_that_fails_says_so_where_nothing_can_be_written_either(tmp_path: Path) -> None:
    told: list[Any] = []
    where = tmp_path / "errors.txt"
    where.mkdir()
    trial: Any = SimpleNamespace(config={"pack": {"pack_id": "p1", "tasks": [1]}}, error_file=None)
    watcher = hooks.Watcher(lambda *said, **_: told.append(said), where)
    watcher.on_trial_recover(0, [], trial)
    watcher.on_trial_error(0, [], trial)
    unkept = f"all that Ray says could not be kept ({where}: Is a directory)"
    assert told == [(["failed"], f"pack p1 failed: its worker died, and Ray does not say why; {unkept}")]


def test_a_worker_needs_no_copy_of_a_file_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack.gc, "freeze", lambda: None)
    monkeypatch.setattr(pack.torch, "set_num_threads", lambda _: None)
    spec = parse("{name: toy, dataset: mine.npz, space: {scheme: he_normal, depth: 4, width: 8}}")
    raw = Raw(np.eye(2, dtype=np.float32), np.arange(2), np.eye(2, dtype=np.float32), np.arange(2))
    digest = data.made("mine.npz", raw).digest
    context = pack.Context(
        spec.model_dump(mode="json"), Origin("toy", "", ""), digest, "/proc/nowhere", provenance.code(), raw
    )
    worker = pack.PackTrainable.__new__(pack.PackTrainable)
    worker.setup({"pack": Pack("p1", ()).to_dict()}, context)
    assert worker._dataset.x_train.tolist() == [[1, -1], [-1, 1]]


@pytest.mark.parametrize(
    ("setting", "cpus", "threads"), [("3", 1, 3), ("", 2, 2), ("", 0.5, 1), ("4,2", 1, 4), ("0", 2, 1), ("two", 2, 2)]
)
def test_no_setting_of_threads_keeps_a_worker_from_its_packs(
    monkeypatch: pytest.MonkeyPatch, setting: str, cpus: float, threads: int
) -> None:
    """Ray leaves a variable alone that is set, to whatever."""
    given: list[int] = []
    monkeypatch.setattr(pack.gc, "freeze", lambda: None)
    monkeypatch.setattr(pack.torch, "set_num_threads", given.append)
    monkeypatch.setenv("OMP_NUM_THREADS", setting)
    spec = parse("{name: toy, space: {scheme: he_normal, depth: 4, width: 8}}", [f"resources.cpus={cpus}"])
    digest = data.load("digits").digest
    context = pack.Context(spec.model_dump(mode="json"), Origin("toy", "", ""), digest, None, provenance.code())
    worker = pack.PackTrainable.__new__(pack.PackTrainable)
    worker.setup({"pack": Pack("p1", ()).to_dict()}, context)
    assert given == [threads]


def test_a_node_with_other_data_than_the_driver_trains_nothing_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((pack.gc, "freeze"), (pack.torch, "set_num_threads")):
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(pack.platform, "node", lambda: "w1")
    monkeypatch.setattr(pack.ray.util, "get_node_ip_address", lambda: "10.0.0.2")
    spec = parse("{name: toy, dataset: digits, space: {scheme: he_normal, depth: 4, width: 8}}").model_dump(mode="json")
    ledger, here = MagicMock(), data.load("digits").digest
    context = pack.Context(spec, Origin("toy", "", ""), "f00", None, provenance.code(), writer=ledger)
    worker = pack.PackTrainable.__new__(pack.PackTrainable)
    worker.setup({"pack": Pack("p1", ()).to_dict()}, context)
    told = worker.step()
    named = f"node w1 (10.0.0.2) has other data for 'digits' than the driver: digest {here}, there f00; remove"
    assert told["broken"].startswith(named)
    assert (told["results"], told["done"]) == ([], True)
    assert ledger.mock_calls == []
    worker.setup({"pack": Pack("p1", ()).to_dict()}, replace(context, data_digest=here))
    assert worker._refused == ""


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"sweeps/train.py": "0"}, "in sweeps/train.py"),
        ({"isoinit/ours.py": "0", "sweeps/train.py": "0", "sweeps/zz.py": "0"}, "in isoinit/ours.py and 2 more files"),
    ],
)
def test_a_node_with_other_code_than_the_driver_trains_nothing_and_is_named(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str], where: str
) -> None:
    monkeypatch.setattr(pack.platform, "node", lambda: "w1")
    monkeypatch.setattr(pack.ray.util, "get_node_ip_address", lambda: "10.0.0.2")
    spec: dict[str, Any] = {"not": "read by code that may not know it"}
    ledger = MagicMock()
    context = pack.Context(spec, Origin("toy", "", ""), "", None, provenance.code() | change, writer=ledger)
    worker = pack.PackTrainable.__new__(pack.PackTrainable)
    worker.setup({"pack": "p1"}, context)
    named = f"node w1 (10.0.0.2) has another isoinit than the driver began with ({where})"
    for _ in range(2):
        told = worker.step()
        assert (told["results"], told["broken"], told["done"]) == (
            [],
            f"{named}; install there what the driver has",
            True,
        )
        assert worker.reset_config({"pack": "p2"})
    assert ledger.mock_calls == []


def test_code_is_the_same_wherever_it_lies_and_another_if_a_module_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def code(place: str, *more: str) -> dict[str, str]:
        for package in ("isoinit", "analysis", "sweeps"):
            for name in (f"{package}/__init__.py", f"{package}/part/math.py", *more):
                (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / place / name).write_text(name)
        found = provenance.find_spec
        spec = lambda name: SimpleNamespace(submodule_search_locations=[str(tmp_path / place / name)])  # noqa: E731
        monkeypatch.setattr(provenance, "find_spec", spec)
        made = provenance.code()
        monkeypatch.setattr(provenance, "find_spec", found)
        return made

    here = code("one")
    assert len(here) == 6
    hidden = "sweeps/.ipynb_checkpoints/math.py", "sweeps/.#math.py", "sweeps/notes.txt", "tests/test_math.py"
    assert code("other", *hidden) == here
    (tmp_path / "other/sweeps/.lock.py").symlink_to("nowhere")
    assert code("other") == here
    assert code("third", "analysis/new.py").keys() - here.keys() == {"analysis/new.py"}
    real = provenance.code()
    assert real["sweeps/pack.py"] == hashlib.sha256(Path(pack.__file__).read_bytes()).hexdigest()
    assert {"isoinit/schemes/base.py", "analysis/schema.py", "sweeps/kernel/__init__.py"} <= real.keys()


def _silent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A handle of a writer that never answers, of which Ray says so at once."""

    def get(asked: str, timeout: float) -> None:
        raise GetTimeoutError(f"{asked} was not ready after {timeout} s")

    monkeypatch.setattr(writer.ray, "get", get)
    return SimpleNamespace(begin=MagicMock(), append=MagicMock())


def test_a_worker_whose_ledger_is_silent_ends_the_sweep_instead_of_waiting_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = pack.PackTrainable.__new__(pack.PackTrainable)
    worker._context = SimpleNamespace(writer=_silent(monkeypatch))  # pyright: ignore[reportAttributeAccessIssue]
    worker._pack, worker._refused = Pack("p1", ()), ""
    told = worker.step()
    assert (told["results"], told["done"]) == ([], True)
    assert "has not answered for 300 s" in told["broken"]


def test_a_failure_that_a_silent_ledger_does_not_take_ends_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "short of memory" in tuner._append(_silent(monkeypatch), pa.table({"outcome": ["failed"]}))


def test_what_the_ledger_says_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer.ray, "get", lambda asked, timeout: f"{asked}: No space left")  # noqa: ARG005
    ledger: Any = SimpleNamespace(append=SimpleNamespace(remote=lambda _: "ledger/x"))
    assert tuner._append(ledger, pa.table({"outcome": ["failed"]})) == "ledger/x: No space left"


@pytest.mark.parametrize("kind", [NodeDiedError, OutOfMemoryError, WorkerCrashedError])
def test_a_worker_that_ray_kills_for_want_of_memory_costs_its_pack_an_attempt_and_not_the_sweep(kind: Any) -> None:
    """Tune calls it an unexpected exception, and ends."""
    told: list[tuple[str, Exception]] = []
    manager, worker = RayActorManager(resource_manager=MagicMock()), TrackedActor(1, on_error=_noted(told, "worker"))
    task = TrackedActorTask(worker, on_error=_noted(told, "pack"))
    manager._live_actors_to_ray_actors_resources[worker] = (MagicMock(), MagicMock())
    with hooks.lost_workers():
        manager._actor_task_failed(task, kind(MEMORY))
    assert [who for who, _ in told] == ["worker", "pack"]
    assert all(isinstance(error, RayActorError) for _, error in told)
    assert {str(error) for _, error in told} == {str(kind(MEMORY))}
    assert worker.actor_id in manager._failed_actor_ids
    with pytest.raises(RuntimeError, match="unexpected"):
        manager._actor_task_failed(task, kind(MEMORY))


def test_packs_run_where_workers_may_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, met = RayActorManager._actor_task_failed, []
    fit = lambda: met.append(RayActorManager._actor_task_failed)  # noqa: E731
    for name in ("with_parameters", "with_resources"):  # which would ask a Ray
        monkeypatch.setattr(tuner.tune, name, lambda trainable, *_, **__: trainable)
    monkeypatch.setattr(tuner.tune, "Tuner", lambda *_, **__: SimpleNamespace(fit=fit))
    monkeypatch.setattr(tuner, "_nodes", lambda: [{"CPU": 2.0}])
    monkeypatch.setattr(tuner.ray, "available_resources", lambda: {"CPU": 2.0})
    tuner._tune(MagicMock(), MagicMock(), Resources(), tmp_path, None, MagicMock(), MagicMock(), lambda: False)
    assert met != [usual]
    assert RayActorManager._actor_task_failed is usual


def test_an_error_of_ray_that_is_no_workers_is_told_as_ray_tells_it() -> None:
    manager, lost = RayActorManager(resource_manager=MagicMock()), LocalRayletDiedError()
    with pytest.raises(LocalRayletDiedError), hooks.lost_workers():
        manager._actor_task_failed(TrackedActorTask(TrackedActor(1)), lost)
    with pytest.raises(RuntimeError, match="mine"), hooks.lost_workers():
        raise RuntimeError("mine") from OSError("no Ray")


def _noted(told: list[tuple[str, Exception]], who: str) -> Any:
    return lambda _, error: told.append((who, error))


def _controller(*states: tuple[str, str | None], workers: int = 1) -> tuple[Any, list[Any], list[Any]]:
    """One that has started workers for packs of these states and workers, the packs, and those it was told to end."""
    trials = [SimpleNamespace(status=s, temporary_state=SimpleNamespace(ray_actor=actor)) for s, actor in states]
    ended: list[Any] = []
    within = SimpleNamespace(_actor_manager=SimpleNamespace(num_live_actors=workers))
    made = SimpleNamespace(get_trials=lambda: trials, stop_trial=ended.append, _tune_controller=within)
    return made, trials, ended


def test_packs_without_a_worker_are_ended_when_the_sweep_is_stopped() -> None:
    stopped: list[bool] = []
    queue = hooks.Queue(lambda: bool(stopped), lambda _: None)
    states = [("RUNNING", "worker"), ("PENDING", "worker"), ("PENDING", None), ("TERMINATED", None)]
    controller, trials, ended = _controller(*states)
    assert queue.choose_trial_to_run(controller) is trials[1]
    assert ended == []
    stopped.append(True)
    queue.choose_trial_to_run(controller)
    assert ended == [trials[2]]


@pytest.mark.parametrize(
    ("states", "workers", "waits"),
    [
        ([("PENDING", None), ("PENDING", None), ("TERMINATED", None)], 0, True),
        ([("PENDING", None), ("RUNNING", "worker")], 1, False),
        ([("PENDING", None)], 1, False),  # which loads its libraries
        ([("TERMINATED", None)], 0, False),
        ([], 0, False),
    ],
)
def test_a_sweep_waits_if_there_are_packs_and_no_worker_for_one(
    states: list[tuple[str, str | None]], workers: int, waits: bool
) -> None:
    told: list[bool] = []
    hooks.Queue(lambda: False, told.append).choose_trial_to_run(_controller(*states, workers=workers)[0])
    assert told == [waits]
    hooks.Queue(lambda: True, told.append).choose_trial_to_run(_controller(*states, workers=workers)[0])
    assert told == [waits], "whoever has stopped it is not told to"


def test_a_wait_for_workers_is_told_now_and_then_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now, why, told = [1000.0], ["no node"], []
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    wait = waiting.Waiting(lambda: why[0], lambda *said: told.append((now[0], *said)))

    def look(waits: bool, *seconds: float) -> list[Any]:
        told.clear()
        for second in seconds:
            now[0] = 1000.0 + second
            wait.look(waits)
        return told.copy()

    assert look(False, -9.0) == []
    assert [at for at, *_ in look(True, *range(3000))] == [1010, 1020, 1040, 1080, 1160, 1320, 1640, 2240, 2840, 3440]
    assert {tuple(said) for _, *said in told} == {("no node", 1000.0)}
    assert look(False, 3001, 3002) == [(4001.0, "starting packs")]
    assert look(True, 3003, 3012) == [], "a new wait has a time of its own"
    assert look(True, 3013) == [(4013.0, "no node", 4003.0)]
    look(False, 3014)
    why[0] = ""  # there is room, and Ray takes its time
    assert look(True, 4000, 4100) == look(False, 4101) == []


NONE_HAS = (
    "which no node has; unless one is coming, start one, or end the sweep with 'sweep stop toy --runs-dir {runs}' and "
    "ask for less"
)


FULL = (
    "waiting for a worker that has room for a pack; another sweep keeps its workers until it ends, fewer of them if "
    "its resources.packs_at_once says so"
)


@pytest.mark.parametrize(
    ("asked", "nodes", "free", "said"),
    [
        ({}, [{"CPU": 2.0}], {}, FULL),
        ({}, [{"CPU": 2.0}], {"CPU": 1.0}, FULL),
        ({}, [{"CPU": 2.0}], {"CPU": 2.0}, "starting packs"),
        ({}, [{}], {}, f"waiting for a worker with 2 CPUs (resources.cpus) for a pack, {NONE_HAS}"),
        (
            {},
            [{"CPU": 1.0}] * 4,
            {"CPU": 4.0},
            f"waiting for a worker with 2 CPUs (resources.cpus) for a pack, {NONE_HAS}",
        ),
        (
            {"gpus": 1.0},
            [{"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}],
            {"CPU": 9.0, "GPU": 1.0},
            f"waiting for a worker with 2 CPUs (resources.cpus) and 1 GPU (resources.gpus) for a pack, {NONE_HAS}",
        ),
    ],
)
def test_packs_that_have_no_worker_yet_are_said_to_wait(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    nodes: list[dict[str, float]],
    free: dict[str, float],
    said: str,
) -> None:
    monkeypatch.setattr(tuner, "tune", MagicMock())
    lost = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    monkeypatch.setattr(tuner.ray, "nodes", lambda: [lost, *({"Alive": True, "Resources": n} for n in nodes)])
    monkeypatch.setattr(tuner.ray, "available_resources", lambda: free)
    told: list[str] = []
    given: Any = MagicMock()
    folder = tmp_path / "toy"
    tuner._tune(given, given, Resources(cpus=2, **asked), folder, "host:1", given, told.append, lambda: False)
    assert told == [said.format(runs=tmp_path)]


@pytest.mark.parametrize(
    ("nodes", "gpus"),
    [
        ([{"CPU": 8.0}], 0.0),
        ([{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}], 1.0),
        ([{"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0}], 0.0),  # the packs would fit no node
    ],
)
def test_a_pack_takes_a_gpu_by_itself_where_it_finds_its_cpus_too(nodes: list[dict[str, float]], gpus: float) -> None:
    assert tuner._gpus(Resources(cpus=2), nodes) == gpus
    assert tuner._gpus(Resources(cpus=2, gpus=0.5), nodes) == 0.5


@pytest.mark.parametrize(("address", "slots"), [(None, 3), ("host:1", 8)])
def test_so_many_packs_are_asked_for_at_once_as_fit_the_nodes_one_by_one(address: str | None, slots: int) -> None:
    nodes: list[dict[str, float]] = [{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 1.0}, {"CPU": 3.0}, {}]
    assert tuner._slots(Resources(cpus=2), 0.0, nodes, address) == slots
    assert tuner._slots(Resources(cpus=2), 0.0, nodes * 4, address) == 12


def test_a_ray_that_breaks_down_leaves_a_command_that_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuner, "_writer", lambda _: None)
    monkeypatch.setattr(tuner, "_tune", MagicMock(side_effect=RayError("its head\nis gone")))
    spec = parse("{name: toy, space: {scheme: he_normal, depth: 4, width: 8}}")
    context = pack.Context(spec.model_dump(mode="json"), Origin("toy", "", ""), "digest", None, {})
    given: Any = MagicMock()
    said = r"\(its head is gone\).* 'sweep resume toy --runs-dir 'my runs'' goes on"
    with pytest.raises(ValueError, match=said):
        tuner.run_packs(given, context, spec.resources, Path("my runs/toy"), given, given, given, lambda: False)
