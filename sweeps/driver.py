"""The driver of a sweep: it owns the search and the publisher, while packs are trained by workers, or here.

Here they are trained one after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa
from rich.console import Console

from analysis.outcome import Criterion, Outcome
from sweeps import data, plan, provenance, tracking, work
from sweeps.cluster import Cluster
from sweeps.failures import disk, unrecorded
from sweeps.goal import Goal
from sweeps.journal import Journal
from sweeps.progress import Progress
from sweeps.publisher import Publisher
from sweeps.ready import Sweep
from sweeps.rundir import RunDir, flag
from sweeps.search import PackSearch
from sweeps.stopping import Stop
from sweeps.tasks import results


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
    goal: str
    """How good the map is, if that has ended the sweep before its last trial; else empty."""
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


class Driver:
    """Asks for packs, has them trained, and keeps account of what became of them. Good for one `drive`."""

    def __init__(self, sweep: Sweep, console: Console | None) -> None:
        spec, run = sweep.spec, sweep.run
        self._sweep = sweep
        self._known = [row for row in run.ledger.read()[0].to_pylist() if row["outcome"] != Outcome.FAILED]
        self._publisher = Publisher(sweep.tracker, run.ledger)
        self._goal = Goal(spec.search.until, 2 * spec.search.batch)
        self._stop = Stop(run.stopped)
        self._search = PackSearch(
            spec,
            sweep.design,
            sweep.dataset.digest,
            Journal(run.journal),
            enough=lambda rows: self._stop.wanted() or self._goal.reached(rows),
        )
        self._search.rebuild(self._known)
        self._progress = Progress(
            max(spec.search.trials, self._search.asked),
            [row["outcome"] for row in self._known],
            note=lambda: " ".join([self._goal.note, self._publisher.status()]),
            console=console,
        )
        self._errors: list[str] = []
        self._waits: list[float] = []

    def drive(self, ray: Cluster | None) -> Finished:
        """Train all that is wanting, on `ray`, on a Ray of its own, or here.

        Raises:
            ValueError: Ray cannot be reached or breaks down, or the disk takes no more.
        """
        with self._progress, self._publisher, self._stop.signals(self._progress.phase):
            made = None if self._known else _plan(self._sweep, self._progress)
            started = time.monotonic()  # a first plan measures the machine
            self._train(ray)
            seconds = time.monotonic() - started
            if self._search.broken:
                again = f"sweep resume {self._sweep.spec.name}{flag(self._sweep.options.runs)}"
                raise ValueError(
                    f"the sweep has ended, for {self._search.broken}; what was finished is kept, and when that is "
                    f"mended '{again}' goes on"
                )
            if self._publisher.status():
                self._progress.phase("all is trained; waiting for MLflow, at most a minute")
        return self._finished(made, seconds)

    def _train(self, ray: Cluster | None) -> None:
        if self._search.exhausted:
            self._progress.phase("nothing is left to train")
        elif self._sweep.options.inline:
            _run_inline(self._sweep, self._search, self._count)
        else:
            self._run_on_ray(ray)

    def _run_on_ray(self, ray: Cluster | None) -> None:
        from sweeps.pack import Context
        from sweeps.tuner import run_packs

        sweep, spec, options = self._sweep, self._sweep.spec, self._sweep.options
        own = data.own(spec.dataset, options.data_folder) if data.is_own(spec.dataset) else None
        context = Context(
            spec.model_dump(mode="json"),
            sweep.origin,
            sweep.dataset.digest,
            options.data_folder,
            provenance.code(),
            own,
        )
        with ExitStack() as stack:
            cluster = ray or stack.enter_context(Cluster(options.address))
            run_packs(
                self._search,
                context,
                spec.resources,
                sweep.run.path,
                cluster,
                self._count,
                self._progress.phase,
                self._stop.wanted,
            )

    def _count(self, outcomes: Sequence[str], error: str = "", waited: float = 0.0) -> None:
        """Take note of a pack that ended, as `run_packs` tells it."""
        self._progress.add(outcomes)
        self._publisher.notify()
        self._errors.extend([error] if error else [])
        self._waits.append(waited)

    def _finished(self, made: plan.Plan | None, seconds: float) -> Finished:
        """What came of it; if all that was planned was done, and no more, the plan is told what that took."""
        run, spec = self._sweep.run, self._sweep.spec
        trials, replicates = run.ledger.read()
        done = sum(outcome != Outcome.FAILED for outcome in trials["outcome"].to_pylist())
        busy = self._busy(trials)
        others = sum(self._waits) / busy if busy else 0.0
        reached = done < spec.search.trials and self._goal.reached(self._search.rows)
        kept = made if made is not None and done == made.trials else None  # or else other work was planned than done
        if kept is not None:
            plan.remember(kept, busy, seconds, others)
        return Finished(
            run,
            trials,
            replicates,
            new_trials=done - len(self._known),
            interrupted=done < spec.search.trials and not reached,
            goal=self._goal.note if reached else "",
            unpublished=self._publisher.remaining(),
            tracker=self._sweep.tracker,
            criterion=spec.criterion.build(),
            seconds=seconds,
            predicted_seconds=None if kept is None else kept.seconds,
            others=others,
            errors=self._errors,
        )

    def _busy(self, trials: pa.Table) -> float:
        """Seconds that this launch's trials took together."""
        known = {row["trial_key"] for row in self._known}
        rows = trials.select(["trial_key", "seconds"]).to_pylist()
        return sum(row["seconds"] or 0.0 for row in rows if row["trial_key"] not in known)


def _run_inline(sweep: Sweep, search: PackSearch, finished: Callable[[Sequence[str]], None]) -> None:
    while (pack := search.ask()) is not None:
        part = work.run(pack, sweep.spec, sweep.dataset, sweep.origin)
        try:
            sweep.run.ledger.append(part)
        except OSError as error:
            search.broken = unrecorded(disk(error))
            return
        told = results(part, pack)
        search.tell(told)
        finished([r.outcome for r in told])


def _plan(sweep: Sweep, progress: Progress) -> plan.Plan | None:
    """The plan of a whole sweep on this machine; None where it cannot know the workers."""
    if sweep.options.inline or sweep.options.address is not None:
        return None
    progress.phase("planning; the first time code is compiled and the speed of this machine measured")
    made = plan.plan(sweep.spec, data_folder=sweep.options.data_folder)
    progress.phase(plan.headline(made))
    return made
