"""Run a sweep: on an embedded Ray, on a Ray cluster, or inline in this process.

The driver owns the search and the publisher; packs are trained by workers, or here, one after another.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from analysis import region
from analysis.outcome import Criterion, Outcome
from sweeps import capacity, data, mlflow_store, plan, provenance, space, tracking, work
from sweeps.cluster import Cluster
from sweeps.failures import disk
from sweeps.progress import Progress
from sweeps.publisher import Publisher
from sweeps.runcard import Identity
from sweeps.rundir import RunDir
from sweeps.search import Journal, PackSearch
from sweeps.spec import SweepSpec, Until
from sweeps.tasks import Origin, results


@dataclass(frozen=True)
class Options:
    """Where a sweep runs; nothing of it changes a result."""

    runs: Path = Path("runs")
    tracking_uri: str = mlflow_store.DEFAULT_URI
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
    new_trials: int
    """How many of `trials` this launch has trained; failed ones are none."""
    interrupted: bool
    """Ended before its last trial: by a signal, by 'sweep stop', or because packs failed for good."""
    unpublished: int
    """Parts that the tracking server has not received yet."""
    tracker: tracking.Tracker
    criterion: Criterion
    seconds: float
    predicted_seconds: float | None
    """What `sweep plan` would have said of just this; None unless the whole sweep ran at one go, on known workers."""
    others: float
    """Of the time of this launch's packs, the share in which other programs had the cores."""
    errors: list[str]
    """What the infrastructure said when packs failed for good."""


@dataclass(frozen=True)
class _Sweep:
    """All that a launch has made ready."""

    spec: SweepSpec
    design: space.Space
    dataset: data.Dataset
    origin: Origin
    run: RunDir
    tracker: tracking.Tracker
    options: Options


def launch(
    spec: SweepSpec,
    options: Options,
    console: Console | None = None,
    ray: Cluster | None = None,
    close: Callable[[Finished], None] = lambda _: None,
) -> Finished:
    """Run `spec` to its end, or go on with it; the same spec continues a sweep of its name.

    Args:
        ray: the Ray of `options.address`, entered before, so that it starts meanwhile.
        close: called at the end, while nobody else can run this sweep.

    Raises:
        ValueError: the spec cannot be run, the name is taken, or the tracking server or the Ray
            cluster cannot be reached; no sweep is written then.
    """
    here = options.address is None
    if folder := options.data_folder or (os.environ.get(data.FOLDER_VARIABLE) if here else None):
        resolved = Path(folder).expanduser().resolve()  # workers have folders of their own to work in
        options = replace(options, data_folder=str(resolved))
    design = space.build(spec)
    if spec.search.sampler == "grid":
        search = spec.search.model_copy(update={"trials": min(spec.search.trials, len(design.grid()))})
        spec = spec.model_copy(update={"search": search})
    options = replace(options, tracking_uri=mlflow_store.lasting(options.tracking_uri))
    mlflow_store.check(options.tracking_uri)
    dataset = data.load(spec.dataset, folder=options.data_folder)
    capacity.check_data(spec, dataset)  # before a worker finds out
    if here and not options.inline:
        capacity.check(spec, design, dataset)
    origin = Origin(spec.name, spec.sha256, provenance.git_commit())
    run = RunDir(options.runs, spec.name)
    tracker = tracking.Tracker(options.tracking_uri, identity(spec, dataset.digest, origin))
    with run.driving():
        run.check(spec, dataset.digest)
        if ray is not None and options.address is not None:
            ray.ready()
        if not _absent(options.tracking_uri):  # or else the publisher creates it meanwhile, which takes seconds
            with mlflow_store.one_sentence(options.tracking_uri):
                tracker.open(fresh=not run.journal.exists())
        state = {"tracking_uri": options.tracking_uri, "address": options.address, "data_folder": options.data_folder,
                 "data_digest": dataset.digest}  # fmt: skip
        run.create(spec, state)
        finished = _drive(_Sweep(spec, design, dataset, origin, run, tracker, options), console, ray)
        close(finished)
        return finished


def _drive(sweep: _Sweep, console: Console | None, ray: Cluster | None) -> Finished:
    spec, run, options = sweep.spec, sweep.run, sweep.options
    known = [row for row in run.ledger.read()[0].to_pylist() if row["outcome"] != Outcome.FAILED]
    publisher = Publisher(sweep.tracker, run.ledger)
    goal = _Goal(spec.search.until, 2 * spec.search.batch)
    stopping = threading.Event()

    def stopped() -> bool:
        return stopping.is_set() or run.stopped()

    search = PackSearch(
        spec,
        sweep.design,
        sweep.dataset.digest,
        Journal(run.journal),
        enough=lambda rows: stopped() or goal.reached(rows),
    )
    search.rebuild(known)
    total = max(spec.search.trials, search.asked)
    progress = Progress(
        total, [r["outcome"] for r in known], note=lambda: " ".join([goal.note, publisher.status()]), console=console
    )
    errors: list[str] = []
    waits: list[float] = []
    with progress, publisher, _graceful(stopping, progress):

        def finished(outcomes: Sequence[str], error: str = "", waited: float = 0.0) -> None:
            progress.add(outcomes)
            publisher.notify()
            errors.extend([error] if error else [])
            waits.append(waited)

        made = None if known else _plan(sweep, progress)
        started = time.monotonic()  # a first plan measures the machine
        if search.exhausted:
            progress.phase("nothing is left to train")
        elif options.inline:
            _run_inline(sweep, search, finished)
        else:
            from sweeps import pack

            own = data.own(spec.dataset, options.data_folder) if data.is_own(spec.dataset) else None
            context = pack.Context(
                spec.model_dump(mode="json"), sweep.origin, sweep.dataset.digest, options.data_folder, own
            )
            with ExitStack() as stack:
                cluster = ray or stack.enter_context(Cluster(options.address))
                pack.run_packs(search, context, spec.resources, run.path, cluster, finished, progress.phase, stopped)
        seconds = time.monotonic() - started
        if search.unrecorded:
            raise ValueError(
                f"the sweep has ended, for nothing more can be recorded ({search.unrecorded}); what was finished is "
                f"kept, and when that is mended 'sweep resume {spec.name}' goes on"
            )
        if publisher.status():
            progress.phase("all is trained; waiting for MLflow, at most a minute")
    trials, replicates = run.ledger.read()
    done = sum(outcome != Outcome.FAILED for outcome in trials["outcome"].to_pylist())
    kept = made if made is not None and done == made.trials else None  # or else other work was planned than was done
    known_keys = {row["trial_key"] for row in known}
    new = [row for row in trials.select(["trial_key", "seconds"]).to_pylist() if row["trial_key"] not in known_keys]
    busy = sum(row["seconds"] or 0.0 for row in new)
    others = sum(waits) / busy if busy else 0.0
    if kept is not None:
        plan.remember(kept, busy, seconds, others)
    return Finished(
        run,
        trials,
        replicates,
        new_trials=done - len(known),
        interrupted=done < spec.search.trials and not goal.reached(search.rows),
        unpublished=publisher.remaining(),
        tracker=sweep.tracker,
        criterion=spec.criterion.build(),
        seconds=seconds,
        predicted_seconds=None if kept is None else kept.seconds,
        others=others,
        errors=errors,
    )


def _run_inline(sweep: _Sweep, search: PackSearch, finished: Callable[[Sequence[str]], None]) -> None:
    while (pack := search.ask()) is not None:
        part = work.run(pack, sweep.spec, sweep.dataset, sweep.origin)
        try:
            sweep.run.ledger.append(part)
        except OSError as error:
            search.unrecorded = disk(error)
            return
        told = results(part, pack)
        search.tell(told)
        finished([r.outcome for r in told])


def _plan(sweep: _Sweep, progress: Progress) -> plan.Plan | None:
    """The plan of a whole sweep on this machine; None where it cannot know the workers."""
    if sweep.options.inline or sweep.options.address is not None:
        return None
    progress.phase("planning")
    made = plan.plan(sweep.spec, data_folder=sweep.options.data_folder)
    progress.phase(plan.headline(made))
    return made


class _Goal:
    """Whether the map is as good as `search.until` asks for; looked at when enough new trials are there."""

    def __init__(self, until: Until, step: int) -> None:
        self._until, self._step = until, step
        self._seen, self._reached = 0, False
        self.note = ""

    def reached(self, rows: Sequence[dict[str, Any]]) -> bool:
        until = self._until
        if (until.undecided is None and until.frontier_band is None) or len(rows) < self._step or self._reached:
            return self._reached
        if len(rows) > self._seen:
            self._seen = len(rows)
            in_order = [row | {"finished_at": place} for place, row in enumerate(rows)]
            now = region.progress(pa.Table.from_pylist(in_order))
            wanted = {"undecided": (now.undecided, until.undecided), "band": (now.frontier_band, until.frontier_band)}
            asked = {name: pair for name, pair in wanted.items() if pair[1] is not None}
            self._reached = all(value <= goal for value, goal in asked.values() if goal is not None)
            self.note = "  ".join(
                f"{name} {value:.0%}" + (f" (goal {goal:.0%})" if goal is not None else "")
                for name, (value, goal) in wanted.items()
                if np.isfinite(value)
            )
        return self._reached


@contextmanager
def _graceful(stopping: threading.Event, progress: Progress) -> Iterator[None]:
    """A first Ctrl-C or SIGTERM lets the running packs finish; a second one ends at once."""

    def handle(_: int, __: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()
        progress.phase("stopping after the packs that are running (again: at once)")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _absent(uri: str) -> bool:
    """Whether `uri` is a database file that is not there yet."""
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def identity(spec: SweepSpec, data_digest: str, origin: Origin) -> Identity:
    """What a sweep is, as MLflow is told."""
    return Identity(
        name=spec.name,
        spec=spec,
        git_commit=origin.git_commit,
        dataset_digest=data_digest,
        environment=provenance.environment(),
    )
