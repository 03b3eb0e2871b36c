"""The run of all packs of a sweep on Ray, by a Tuner: what is started, watched, and ended there."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import ray
from ray import tune
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps import records
from sweeps.cluster import Cluster
from sweeps.failures import unrecorded
from sweeps.hooks import Queue, Watcher, lost_workers
from sweeps.pack import Context, PackTrainable
from sweeps.parts import encode
from sweeps.rundir import flag
from sweeps.search import PackSearch
from sweeps.spec import Resources, SweepSpec
from sweeps.tasks import Pack
from sweeps.waiting import Waiting
from sweeps.writer import LedgerWriter, Silent, answer

AHEAD: Final = 8
"""Packs asked for at once on a cluster of any size: waiting packs are what makes it scale up."""


def run_packs(
    search: PackSearch,
    context: Context,
    resources: Resources,
    folder: Path,
    cluster: Cluster,
    finished: Callable[..., None],
    phase: Callable[..., None],
    stopped: Callable[[], bool],
) -> None:
    """Train all packs that `search` asks for, on a Ray that is starting or has started.

    Args:
        folder: the sweep's folder on this node, which the ledger's writer is pinned to.
        finished: called with the outcomes of every pack that ended, what went wrong if it failed, and the seconds that
            it waited for a core which others had.
        phase: called with a few words while there is no pack to count, and with the time since when it is so.
        stopped: whether packs that still wait for a worker of a cluster shall be left to a resume.

    Raises:
        ValueError: that Ray cannot be reached or started, or breaks down.
    """
    phase("starting Ray" if cluster.address is None else f"joining Ray at {cluster.address}")
    cluster.ready()
    writer = _writer(folder)
    context = replace(context, writer=writer)
    spec = SweepSpec.model_validate(context.spec)

    def failed(pack: Pack) -> None:
        part = records.failed(pack, spec, context.origin, attempt=resources.max_failures + 1)
        search.broken = search.broken or unrecorded(_append(writer, part))

    search.on_failed = failed
    try:
        _tune(
            search,
            context,
            resources,
            folder,
            cluster.address,
            finished,
            phase,
            lambda: stopped() or bool(search.broken),
        )
    except RayError as error:
        said = " ".join(str(error).split())
        again = f"sweep resume {spec.name}{flag(folder.parent)}"
        raise ValueError(f"Ray broke down ({said}); what was finished is kept, '{again}' goes on") from error


def _writer(folder: Path) -> Any:
    """A ledger's writer on this node, which has the folder."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return LedgerWriter.options(scheduling_strategy=here).remote(str(folder.resolve()))  # pyright: ignore


def _append(writer: Any, part: pa.Table) -> str:
    """Why a part could not be recorded; empty if it was."""
    try:
        return answer(writer.append.remote(encode(part)))
    except Silent as error:
        return str(error)


def _tune(
    search: PackSearch,
    context: Context,
    resources: Resources,
    folder: Path,
    address: str | None,
    finished: Callable[..., None],
    phase: Callable[..., None],
    stopped: Callable[[], bool],
) -> None:
    for name in (
        "ray.tune.execution.experiment_state",  # nothing is restored from it
        "ray.tune.tune",  # says at the end by its own names which packs failed, which ours says
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    storage = folder / "tune"
    nodes = _nodes()
    gpus = _gpus(resources, nodes)
    stop = f"sweep stop {folder.name}{flag(folder.parent)}"

    def lack() -> str:
        return _lack(resources, gpus, _nodes(), ray.available_resources(), stop)

    phase(lack() or "starting packs")
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(PackTrainable, context=context), {"cpu": resources.cpus, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            search_alg=search,
            # A Ray of our own has a core for every pack.
            scheduler=None if address is None else Queue(stopped, Waiting(lack, phase).look),
            num_samples=-1,
            max_concurrent_trials=_slots(resources, gpus, nodes, address),
            reuse_actors=True,
        ),
        run_config=_run_config(storage, resources, Watcher(finished, folder / "errors.txt")),
    )
    with lost_workers():
        tuner.fit()
    shutil.rmtree(storage, ignore_errors=True)  # the sweep's state is its ledger


def _run_config(storage: Path, resources: Resources, watcher: Watcher) -> tune.RunConfig:
    return tune.RunConfig(
        name="packs",
        storage_path=str(storage.resolve()),
        failure_config=tune.FailureConfig(max_failures=resources.max_failures),
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # workers do not see this disk
        callbacks=[watcher],
        verbose=0,
    )


def _gpus(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> float:
    """GPUs of a pack: unless it is said how many, one if a node has one beside the CPUs that the pack takes."""
    if resources.gpus != "auto":
        return resources.gpus
    return 1.0 if any(_room(resources, 1.0, node) for node in nodes) else 0.0


def _nodes() -> list[Mapping[str, float]]:
    """What the nodes have that are there now."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _lack(
    resources: Resources, gpus: float, nodes: Sequence[Mapping[str, float]], free: Mapping[str, float], stop: str
) -> str:
    """Why a pack has to wait for a worker; empty if it need not. As a cluster may grow, one that fits no node waits."""
    if not sum(_room(resources, gpus, node) for node in nodes):
        asked = [("CPU", "cpus", resources.cpus), ("GPU", "gpus", gpus)]
        wanted = " and ".join(
            f"{number:g} {unit}{'' if number == 1 else 's'} (resources.{field})"
            for unit, field, number in asked
            if number
        )
        return (
            f"waiting for a worker with {wanted} for a pack, which no node has; unless one is coming, start one, or "
            f"end the sweep with '{stop}' and ask for less"
        )
    if _room(resources, gpus, free):
        return ""
    return (
        "waiting for a worker that has room for a pack; another sweep keeps its workers until it ends, fewer of them "
        "if its resources.packs_at_once says so"
    )


def _slots(resources: Resources, gpus: float, nodes: Sequence[Mapping[str, float]], address: str | None) -> int:
    """Packs at once: as many as fit now, and on a cluster at least so many that it scales up."""
    if resources.packs_at_once != "auto":
        return resources.packs_at_once
    return max(1 if address is None else AHEAD, sum(_room(resources, gpus, node) for node in nodes))


def _room(resources: Resources, gpus: float, node: Mapping[str, float]) -> int:
    """How many packs fit there: each on one node."""
    fit = node.get("CPU", 0) / resources.cpus
    if gpus:
        fit = min(fit, node.get("GPU", 0) / gpus)
    return math.floor(fit)
