"""Packs on Ray: the Tune trainable and the run of all packs of a sweep.

A pack goes in, its records go to the ledger, and a small result is reported. The ledger's writer
acknowledges a part before anything is reported, because Tune keeps every result in its experiment
state: bytes must not travel there, and a result that is reported must be on disk.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ray
import torch
from ray import tune
from ray.exceptions import RayError
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from analysis.outcome import Outcome
from sweeps import data, failures, work
from sweeps.arrays import Raw
from sweeps.cluster import Cluster
from sweeps.ledger import encode
from sweeps.spec import Resources, SweepSpec
from sweeps.tasks import Origin, Pack, results
from sweeps.writer import LedgerWriter

if TYPE_CHECKING:  # a worker searches nothing, and Optuna takes a second to load
    from sweeps.search import PackSearch

AHEAD: Final = 8
"""Packs asked for at once on a cluster of any size: waiting packs are what makes it scale up."""


@dataclass(frozen=True)
class Context:
    """What every pack of a sweep needs; sent to the workers once."""

    spec: dict[str, Any]
    origin: Origin
    data_digest: str
    data_folder: str | None
    own: Raw | None = None
    """The data, if they are a file of the user's, which the workers do not have."""
    writer: Any = None
    """Handle of the `LedgerWriter`, once there is one."""


class PackTrainable(tune.Trainable):
    """Trains one pack a step; the actor, with its data and warm libraries, is reused for the next pack."""

    def setup(self, config: dict[str, Any], context: Context | None = None) -> None:
        assert context is not None
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
        self._context = context
        self._spec = SweepSpec.model_validate(context.spec)
        self._pack = Pack.from_dict(config["pack"])
        name = self._spec.dataset
        self._dataset = data.made(name, context.own) if context.own else data.load(name, context.data_folder)
        if self._dataset.digest != context.data_digest:
            raise RuntimeError(
                f"this node has other data for {name!r}: digest {self._dataset.digest}, "
                f"while the driver has {context.data_digest}; remove the cached copy on one of them"
            )
        gc.freeze()  # the libraries stay: to look through them again took a tenth of a small network's time

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._pack = Pack.from_dict(new_config["pack"])
        return True

    def step(self) -> dict[str, Any]:
        attempt, told = ray.get(self._context.writer.begin.remote(self._pack.to_dict()))
        waited, unrecorded = 0.0, ""
        if told is None:
            told, waited, unrecorded = self._train(attempt)
        score = sum(r["score"] for r in told) / max(len(told), 1)
        return {"results": told, "score": score, "waited": waited, "unrecorded": unrecorded, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # a pack is short: after a failure it is trained again from its start

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing was saved; see `save_checkpoint`."""

    def _train(self, attempt: int) -> tuple[list[dict[str, Any]], float, str]:
        """What came out, the seconds waited, and why it could not be recorded: then nothing came out."""
        context = self._context
        device = work.device_for(len(ray.get_gpu_ids()))
        with work.waiting(device) as waited:
            part = work.run(self._pack, self._spec, self._dataset, context.origin, attempt=attempt, device=device)
        unrecorded: Any = ray.get(context.writer.append.remote(encode(part)))
        if unrecorded:
            return [], waited(), unrecorded
        return [asdict(r) for r in results(part, self._pack)], waited(), ""


def run_packs(
    search: PackSearch,
    context: Context,
    resources: Resources,
    folder: Path,
    cluster: Cluster,
    finished: Callable[..., None],
    phase: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    """Train all packs that `search` asks for, on a Ray that is starting or has started.

    Args:
        folder: the sweep's folder on this node, which the ledger's writer is pinned to.
        finished: called with the outcomes of every pack that ended, what went wrong if it failed, and the seconds that
            it waited for a core which others had.
        phase: called with a few words while there is no pack to count.
        stopped: whether packs that still wait for a worker of a cluster shall be left to a resume.

    Raises:
        ValueError: that Ray cannot be reached or started, or breaks down.
    """
    phase("starting Ray" if cluster.address is None else f"joining Ray at {cluster.address}")
    cluster.ready()
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    writer: Any = LedgerWriter.options(scheduling_strategy=here).remote(str(folder.resolve()))  # pyright: ignore
    context = replace(context, writer=writer)
    spec = SweepSpec.model_validate(context.spec)

    def failed(pack: Pack) -> None:
        part = work.failed(pack, spec, context.origin, attempt=resources.max_failures + 1)
        search.unrecorded = search.unrecorded or ray.get(writer.append.remote(encode(part)))

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
            lambda: stopped() or bool(search.unrecorded),
        )
    except RayError as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"Ray broke down ({said}); what was finished is kept, 'sweep resume {spec.name}' goes on"
        ) from error


def _tune(
    search: PackSearch,
    context: Context,
    resources: Resources,
    folder: Path,
    address: str | None,
    finished: Callable[..., None],
    phase: Callable[[str], None],
    stopped: Callable[[], bool],
) -> None:
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)  # nothing is restored from it
    storage = folder / "tune"
    here: Mapping[str, float] = ray.cluster_resources()
    gpus = (1.0 if here.get("GPU", 0) >= 1 else 0.0) if resources.gpus == "auto" else resources.gpus
    room = _room(resources, gpus, ray.available_resources())
    phase("starting packs" if room else "waiting for a worker that has room for a pack")
    tune.Tuner(
        tune.with_resources(tune.with_parameters(PackTrainable, context=context), {"cpu": resources.cpus, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            search_alg=search,
            scheduler=None if address is None else _Queue(stopped),  # a Ray of our own has a core for every pack
            num_samples=-1,
            max_concurrent_trials=_slots(resources, gpus, here, address),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="packs",
            storage_path=str(storage.resolve()),
            failure_config=tune.FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # workers do not see this disk
            callbacks=[_Watcher(finished, folder / "errors.txt")],
            verbose=0,
        ),
    ).fit()
    shutil.rmtree(storage, ignore_errors=True)  # the sweep's state is its ledger


class _Queue(FIFOScheduler):
    """First in, first out, until the sweep is stopped: then packs without a worker, which may never come, are ended."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        super().__init__()
        self._stopped = stopped

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        if self._stopped():
            for trial in tune_controller.get_trials():
                if trial.status == Trial.PENDING and trial.temporary_state.ray_actor is None:
                    tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)

    def __reduce__(self) -> Any:
        return FIFOScheduler, ()


class _Watcher(TrialProgressCallback):
    """Stands in for Tune's own callback of this kind, which prints a line for every pack that is ended."""

    def __init__(self, finished: Callable[..., None], errors: Path) -> None:
        self._finished, self._errors = finished, errors

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        """A pack reports once, when it completes."""

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        told = trial.last_result
        if "results" in told:  # or else it was ended before it began
            self._finished([r["outcome"] for r in told["results"]], waited=told["waited"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._keep(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        pack, (said, kept) = trial.config["pack"], self._keep(trial)
        sentence = f"pack {pack['pack_id']} failed: {failures.reason(said)}; {kept}"
        self._finished([Outcome.FAILED.value] * len(pack["tasks"]), sentence)

    def _keep(self, trial: Any) -> tuple[str, str]:
        """What Tune has noted of the failures of a pack, and where the last is: in a file that outlives Tune's own."""
        noted = trial.error_file  # its get_error looks where this is copied to later
        said = Path(noted).read_text(errors="replace") if noted else ""
        try:
            with failures.writing(self._errors), self._errors.open("a") as file:
                file.write(f"pack {trial.config['pack']['pack_id']}, failure {failures.last(said)}\n\n")
        except OSError as error:
            return said, f"all that Ray says could not be kept ({failures.disk(error)})"
        return said, f"all that Ray says is in {self._errors}"

    def __reduce__(self) -> Any:
        return tune.Callback, ()  # Tune pickles what it is given, but nothing is ever restored from it


def _slots(resources: Resources, gpus: float, here: Mapping[str, float], address: str | None) -> int:
    """Packs at once: as many as fit now, and on a cluster at least so many that it scales up."""
    if resources.packs_at_once != "auto":
        return resources.packs_at_once
    return max(1 if address is None else AHEAD, _room(resources, gpus, here))


def _room(resources: Resources, gpus: float, there: Mapping[str, float]) -> int:
    """How many packs fit there."""
    fit = there.get("CPU", 0) / resources.cpus
    if gpus:
        fit = min(fit, there.get("GPU", 0) / gpus)
    return math.floor(fit)
