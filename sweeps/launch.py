"""Run a sweep: on an embedded Ray, on a Ray cluster, or inline in this process.

The driver owns the search, the ledger's writer and the publisher; workers only train packs.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from analysis import region
from analysis.outcome import Criterion, Outcome
from sweeps import data, provenance, space, tracking, work
from sweeps.progress import Progress
from sweeps.publisher import Publisher
from sweeps.runcard import Identity
from sweeps.rundir import RunDir
from sweeps.search import Journal, PackSearch
from sweeps.spec import SweepSpec

# Before ray.tune is imported: no CSV, JSON and TensorBoard files per pack, no console of its own, no telemetry.
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Options:
    """Where a sweep runs; nothing of it changes a result."""

    runs: Path = Path("runs")
    tracking_uri: str = tracking.DEFAULT_URI
    address: str | None = None
    """Address of a Ray cluster, or `auto`; None embeds one."""
    inline: bool = False
    data_folder: str | None = None


@dataclass(frozen=True)
class Finished:
    """What a launch leaves behind."""

    run: RunDir
    trials: pa.Table
    replicates: pa.Table
    interrupted: bool
    """Ended before its last trial, by a signal or by 'sweep stop'."""
    unpublished: int
    """Parts that the tracking server has not received yet."""
    tracker: tracking.Tracker
    criterion: Criterion
    seconds: float
    predicted_seconds: float | None
    errors: list[str]
    """What the infrastructure said when packs failed for good."""


def launch(spec: SweepSpec, options: Options, console: Console | None = None) -> Finished:
    """Run `spec` to its end, or go on with it; the same spec continues a sweep of its name.

    Raises:
        ValueError: the spec cannot be run, the name is taken, or the tracking server or the Ray
            cluster cannot be reached; nothing is written then.
    """
    design = space.build(spec)
    if spec.search.sampler == "grid":
        size = len(design.grid())
        spec = spec.model_copy(
            update={"search": spec.search.model_copy(update={"trials": min(spec.search.trials, size)})}
        )
    tracking.check(options.tracking_uri)
    dataset = data.load(spec.dataset, folder=options.data_folder)
    origin = work.Origin(spec.name, spec.sha256, provenance.git_commit())
    run = RunDir(options.runs, spec.name)
    tracker = tracking.Tracker(options.tracking_uri, _identity(spec, dataset, origin))
    with run.driving():
        run.check(spec)
        if not _absent(options.tracking_uri):  # or else the publisher creates it meanwhile, which takes seconds
            with tracking.one_sentence(options.tracking_uri):
                tracker.open()
        state = {"tracking_uri": options.tracking_uri, "address": options.address, "data_folder": options.data_folder}
        run.create(spec, state)
        return _drive(spec, design, dataset, origin, run, tracker, options, console)


def _drive(
    spec: SweepSpec,
    design: space.Space,
    dataset: data.Dataset,
    origin: work.Origin,
    run: RunDir,
    tracker: tracking.Tracker,
    options: Options,
    console: Console | None,
) -> Finished:
    started, errors = time.monotonic(), []
    publisher = Publisher(tracker, run.ledger)
    known = run.ledger.read()[0]
    results = [row for row in known.to_pylist() if row["outcome"] != Outcome.FAILED]
    stopping = threading.Event()

    def failed(pack: work.Pack) -> None:
        run.ledger.append(work.failed(pack, spec, origin, attempt=spec.resources.max_failures + 1))

    search = PackSearch(
        spec,
        design,
        dataset.digest,
        Journal(run.journal),
        enough=lambda: stopping.is_set() or run.stopped() or _reached(spec, run),
        on_failed=failed,
    )
    search.rebuild(results)
    with (
        publisher,
        Progress(
            max(spec.search.trials, search.asked),
            [row["outcome"] for row in results],
            note=publisher.status,
            console=console,
        ) as progress,
        _graceful(stopping, progress),
    ):

        def finished(outcomes: list[str]) -> None:
            progress.add(outcomes)
            publisher.notify()

        if options.inline:
            _run_inline(spec, dataset, origin, run, search, finished)
        else:
            _run_on_ray(spec, dataset, origin, run, search, finished, options, progress, errors)
    trials, replicates = run.ledger.read()
    done = sum(outcome != Outcome.FAILED for outcome in trials["outcome"].to_pylist())
    interrupted = done < spec.search.trials and not _reached(spec, run)
    return Finished(
        run,
        trials,
        replicates,
        interrupted,
        publisher.remaining(),
        tracker,
        spec.criterion.build(),
        time.monotonic() - started,
        None,
        errors,
    )


def sync(run: RunDir, uri: str) -> int:
    """Send to MLflow what it has not received of a sweep; how many parts that were.

    Raises:
        ValueError: the store cannot be reached, or the sweep is running and publishes by itself.
    """
    tracking.check(uri)
    spec = run.spec()
    dataset = data.load(spec.dataset, folder=run.state().get("data_folder"))
    commits = run.ledger.read()[0]["git_commit"].unique().to_pylist()
    origin = work.Origin(spec.name, spec.sha256, commits[-1] if commits else provenance.git_commit())
    with run.driving():
        return tracking.sync(run.ledger, tracking.Tracker(uri, _identity(spec, dataset, origin)))


def _absent(uri: str) -> bool:
    """Whether `uri` is a database file that is not there yet."""
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def _identity(spec: SweepSpec, dataset: data.Dataset, origin: work.Origin) -> Identity:
    return Identity(
        name=spec.name,
        spec=spec,
        git_commit=origin.git_commit,
        dataset_digest=dataset.digest,
        environment=provenance.environment(),
    )


def _reached(spec: SweepSpec, run: RunDir) -> bool:
    """Whether the map is as good as the spec's `search.until` asks for."""
    until = spec.search.until
    if until.undecided is None and until.frontier_band is None:
        return False
    trials = run.ledger.read()[0]
    done = trials.filter(pc.not_equal(trials["outcome"], Outcome.FAILED.value))
    if len(done) < 2 * spec.search.batch:
        return False
    now = region.progress(done)
    wanted = ((until.undecided, now.undecided), (until.frontier_band, now.frontier_band))
    return all(goal is None or value <= goal for goal, value in wanted)


def _graceful(stopping: threading.Event, progress: Progress) -> Any:
    """A first Ctrl-C or SIGTERM lets the running packs finish; a second one ends at once."""
    return _Signals(stopping, progress)


class _Signals:
    def __init__(self, stopping: threading.Event, progress: Progress) -> None:
        self._stopping, self._progress = stopping, progress
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: object) -> None:
        if self._stopping.is_set():
            raise KeyboardInterrupt
        self._stopping.set()
        self._progress.phase("stopping after the packs that are running (again: at once)")


def _run_inline(
    spec: SweepSpec,
    dataset: data.Dataset,
    origin: work.Origin,
    run: RunDir,
    search: PackSearch,
    finished: Callable[[list[str]], None],
) -> None:
    while (pack := search.ask()) is not None:
        part = work.run(pack, spec, dataset, origin)
        run.ledger.append(part)
        results = work.results(part, pack)
        search.tell(results)
        finished([r.outcome for r in results])


def _run_on_ray(
    spec: SweepSpec,
    dataset: data.Dataset,
    origin: work.Origin,
    run: RunDir,
    search: PackSearch,
    finished: Callable[[list[str]], None],
    options: Options,
    progress: Progress,
    errors: list[str],
) -> None:
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    import ray
    from ray import tune
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from sweeps.pack import Context, LedgerWriter, PackTrainable

    class Watcher(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            finished([r["outcome"] for r in trial.last_result["results"]])

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            finished([Outcome.FAILED.value] * len(trial.config["pack"]["tasks"]))
            said = str(trial.get_error() or "").strip().splitlines()
            errors.append(f"pack {trial.config['pack']['pack_id']} failed: {said[-1] if said else 'its worker died'}")

        def __reduce__(self) -> Any:
            return tune.Callback, ()  # Tune pickles what it is given, but nothing is ever restored from it

    progress.phase("starting Ray" if options.address is None else f"joining Ray at {options.address}")
    _start_ray(ray, options.address)
    try:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        writer = LedgerWriter.options(scheduling_strategy=here).remote(str(run.path.resolve()))  # pyright: ignore
        gpus = _gpus(spec, ray.cluster_resources())
        context = Context(spec.model_dump(mode="json"), origin, dataset.digest, options.data_folder, writer)
        storage = run.path / "tune"
        progress.phase("starting packs")
        tune.Tuner(
            tune.with_resources(
                tune.with_parameters(PackTrainable, context=context), {"cpu": spec.resources.cpus, "gpu": gpus}
            ),
            tune_config=tune.TuneConfig(
                metric="score",
                mode="max",
                search_alg=search,
                num_samples=-1,
                max_concurrent_trials=_slots(spec, gpus, ray.cluster_resources(), options.address),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=str(storage.resolve()),
                failure_config=tune.FailureConfig(max_failures=spec.resources.max_failures),
                callbacks=[Watcher()],
                verbose=0,
            ),
        ).fit()
        shutil.rmtree(storage, ignore_errors=True)
    finally:
        ray.shutdown()


def _start_ray(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(num_cpus=os.cpu_count(), include_dashboard=False, **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(
            f"--address {address}: no Ray cluster can be reached there ({error}); start one with 'ray start --head' "
            "or 'ray up cluster.yaml', or leave --address out to run on this machine"
        ) from None


def _gpus(spec: SweepSpec, resources: dict[str, float]) -> float:
    if spec.resources.gpus == "auto":
        return 1.0 if resources.get("GPU", 0) >= 1 else 0.0
    return spec.resources.gpus


def _slots(spec: SweepSpec, gpus: float, resources: dict[str, float], address: str | None) -> int:
    """Packs at once: as many as fit now, and on a cluster at least so many that it scales up."""
    if spec.resources.packs_at_once != "auto":
        return spec.resources.packs_at_once
    fit = resources.get("CPU", 0) / spec.resources.cpus
    if gpus:
        fit = min(fit, resources.get("GPU", 0) / gpus)
    return max(1 if address is None else 8, math.floor(fit))
