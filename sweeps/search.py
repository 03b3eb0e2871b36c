"""The Tune searcher: one Tune trial is a pack, and every trial of a pack is asked from and told to Optuna (`trials`).

Subclasses Tune's `OptunaSearch`, whose study it uses; what differs is that a suggestion is a whole pack,
and that the state is not pickled: a study is rebuilt from the ledger, and packs that were running are
taken from the journal.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from analysis.outcome import Outcome
from sweeps import samplers
from sweeps.failures import disk, unrecorded
from sweeps.journal import Journal
from sweeps.samplers import SAMPLERS
from sweeps.space import Space
from sweeps.spec import SweepSpec
from sweeps.tasks import Pack, Result, Task
from sweeps.trials import Trials

FIRST: Final = 4
"""Trials of the first packs of a sampler that learns from results."""


class PackSearch(OptunaSearch):
    """Asks for packs of trials until all that the spec wants are asked for, or `enough` says so.

    Args:
        spec, space: what to search.
        data_digest: digest of the data set, part of every trial key.
        journal: where packs are written before they are handed out.
        enough: called before a new pack with `rows`; True ends the search.
        on_failed: called with a pack that the infrastructure failed for good.
    """

    def __init__(
        self,
        spec: SweepSpec,
        space: Space,
        data_digest: str,
        journal: Journal,
        *,
        enough: Callable[[Sequence[dict[str, Any]]], bool] = lambda _: False,
        on_failed: Callable[[Pack], None] = lambda _: None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._spec, self._design = spec, space
        self._journal = journal
        self._enough = enough
        self.on_failed = on_failed
        self._packs: dict[str, Pack] = {}
        self._again: deque[Pack] = deque()
        self.asked = 0
        self.broken = ""
        """Why the search has ended before its time, as when the disk takes no more. Empty if all is well."""
        super().__init__(
            space=lambda _: None,  # the parameters are asked for below, by their distributions
            metric="score",
            mode="max",
            sampler=samplers.build(space, spec.search),
        )
        self._trials = Trials(self.study, space, spec, data_digest)

    @property
    def study(self) -> optuna.Study:
        assert self._ot_study is not None
        return self._ot_study

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Finished trials, as far as a map needs them: axes, role, counts and outcome."""
        return self._trials.rows

    @property
    def size(self) -> int:
        """Trials in the next pack."""
        return pack_size(self._spec, len(self._trials.rows))

    @property
    def exhausted(self) -> bool:
        """Whether every trial has been asked for."""
        return not self._again and self.asked >= self._spec.search.trials

    def rebuild(self, trials: Iterable[Mapping[str, Any]]) -> None:
        """Take over the finished trials of a ledger (rows of the `trials` table), and the journal.

        Journalled trials without a result are asked for again, with their keys and roles, before
        anything new is.
        """
        results = {row["trial_key"]: row for row in trials if row["outcome"] != Outcome.FAILED}
        for row in results.values():
            self._trials.take_over(row)
        wanting = self._without_result(results)
        for pack_id, tasks in wanting.items():  # by its name, so that it takes the place of one that MLflow has
            self._again.append(Pack(pack_id, tuple(self._trials.ask_again(task) for task in tasks)))
        self.asked = len(results) + sum(map(len, wanting.values()))
        if self.asked:
            self.study.sampler = samplers.going_on(self.study.sampler, self._design, self._spec.search, self.asked)

    def ask(self) -> Pack | None:
        """The next pack, journalled; None when the search has ended, or the journal cannot be written."""
        if self.broken or self.exhausted or self._enough(self.rows):
            return None
        if self._again:
            pack = self._again.popleft()
        else:
            count = min(self.size, self._spec.search.trials - self.asked)
            pack = _named([self._trials.ask() for _ in range(count)])
            self.asked += count
        try:
            self._journal.append(pack)
        except OSError as error:
            self.broken = unrecorded(disk(error))
            return None
        return pack

    def tell(self, results: Iterable[Result]) -> None:
        """Tell Optuna a pack's results."""
        for result in results:
            self._trials.tell(result)

    def fail(self, pack: Pack) -> None:
        """The infrastructure failed the pack for good: put it on record and go on."""
        self.on_failed(pack)
        self.tell(Result(task.number, Outcome.FAILED.value, None, 0, 0) for task in pack.tasks)

    def suggest(self, trial_id: str) -> Any:
        pack = self.ask()
        if pack is None:
            return Searcher.FINISHED
        self._packs[trial_id] = pack
        return {"pack": pack.to_dict()}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A pack reports once, when it completes."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pack = self._packs.pop(trial_id)
        if error:
            self.fail(pack)
        elif result:  # or else it was ended before it began, and the journal has it for a resume
            self.broken = self.broken or result.get("broken", "")
            self.tell(Result(**r) for r in result["results"])

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, but nothing is ever restored from it

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_text("the state of a sweep is its ledger and its journal\n")

    def restore(self, checkpoint_path: str) -> None:
        raise RuntimeError(f"{checkpoint_path}: a sweep is resumed with 'sweep resume', which reads its ledger")

    def _without_result(self, keys: Container[str]) -> dict[str, list[Task]]:
        """The journal's tasks whose keys are not among `keys`, by the id of the last pack that each was asked in."""
        found: dict[str, tuple[str, Task]] = {}
        for pack in self._journal.read():
            found |= {t.trial_key: (pack.pack_id, t) for t in pack.tasks if t.trial_key not in keys}
        by_pack: dict[str, list[Task]] = {}
        for pack_id, task in found.values():
            by_pack.setdefault(pack_id, []).append(task)
        return by_pack


def pack_size(spec: SweepSpec, told: int) -> int:
    """Trials in a pack that is asked for when `told` have a result.

    A sampler that learns asks the trials of large packs in ignorance of one another: until results are there, for small
    ones. What that is worth says `tests/bench/packs.py`.
    """
    if spec.resources.pack != "auto":
        return spec.resources.pack
    most = spec.search.batch
    return min(most, max(FIRST, told // 4)) if SAMPLERS[spec.search.sampler].adaptive else most


def _named(tasks: list[Task]) -> Pack:
    """A pack's id tells its place in the study and, by a hash of its keys, its content."""
    content = hashlib.sha256("".join(t.trial_key for t in tasks).encode()).hexdigest()[:10]
    return Pack(f"{tasks[0].number:06d}-{content}", tuple(tasks))
