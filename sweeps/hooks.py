"""What Tune calls while it runs packs: whom to run next, and what to tell of those that ended or failed.

Tune pickles both, and nothing is ever restored from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayError, WorkerCrashedError
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler

from analysis.outcome import Outcome
from sweeps import failures

LOST: Final = (NodeDiedError, OutOfMemoryError, WorkerCrashedError)
"""How a call ends whose worker is gone, beside `RayActorError`."""


@contextmanager
def lost_workers() -> Iterator[None]:
    """Meanwhile a worker that Ray kills, for want of memory on its node, is one that died: its pack is tried again.

    Tune 2.60 ends the whole run by whatever is neither `RayActorError` nor an error of the pack's own.

    Raises:
        RayError: there was such an error, and no worker is lost by it.
    """
    failed = RayActorManager._actor_task_failed

    def told(self: RayActorManager, tracked_actor_task: Any, exception: Exception) -> None:
        died = RayActorError(error_msg=str(exception)) if isinstance(exception, LOST) else exception
        failed(self, tracked_actor_task, died)

    RayActorManager._actor_task_failed = told
    try:
        yield
    except RuntimeError as error:
        if isinstance(error.__cause__, RayError):
            raise error.__cause__ from None
        raise
    finally:
        RayActorManager._actor_task_failed = failed


class Queue(FIFOScheduler):
    """First in, first out, until the sweep is stopped: then packs without a worker, which may never come, are ended.

    Until then `waits` is called, again and again, with whether there are packs and none of them has a worker.
    """

    def __init__(self, stopped: Callable[[], bool], waits: Callable[[bool], None]) -> None:
        super().__init__()
        self._stopped, self._waits = stopped, waits

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        waiting = [
            trial
            for trial in tune_controller.get_trials()
            if trial.status == Trial.PENDING and trial.temporary_state.ray_actor is None
        ]
        if self._stopped():
            for trial in waiting:
                tune_controller.stop_trial(trial)
        else:
            # A pack whose worker still loads its libraries is not told from one without; the manager knows of both.
            workers = tune_controller._tune_controller._actor_manager.num_live_actors
            self._waits(bool(waiting) and not workers)
        return super().choose_trial_to_run(tune_controller)

    def __reduce__(self) -> Any:
        return FIFOScheduler, ()


class Watcher(TrialProgressCallback):
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
