"""What the boundary sampler has seen of a study, and what an ask need not compute again."""

from __future__ import annotations

import logging
import threading
from bisect import bisect
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from analysis.kernels import Kernel
from sweeps.boundary.placing import Key, Plan
from sweeps.boundary.trials import alike

_logger = logging.getLogger("sweeps.boundary")
_LOST = 8  # trials without a result, one after the other, that are no accident


class Seen(NamedTuple):
    """The trials of a study at one moment."""

    told: list[FrozenTrial]
    space: dict[str, BaseDistribution]  # of the parameters that all of `told` have, with the latest ranges
    running: list[FrozenTrial]


@dataclass
class Memory:
    """What an ask need not compute again. Losing it changes no ask."""

    storage: Any = None
    study_id: int = -1
    learnt: tuple[Key, tuple[Kernel, np.ndarray]] | None = None
    plan: Plan | None = None
    warned: set[str] = field(default_factory=set)
    order: list[tuple[datetime, int]] = field(default_factory=list)  # of `told`: when it ended, and its number
    told: list[FrozenTrial] = field(default_factory=list)
    shared: dict[str, BaseDistribution] | None = None  # parameters that all of `told` have, as one of them has them
    open: list[int] = field(default_factory=list)  # trials that had not ended when last looked at
    looked: int = 0
    lost: int = 0  # trials that ended without a result since the last that had one
    lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, study: Study) -> Seen:
        """What was told, in the order of completion, and what runs. Trials that had ended are not looked at again."""
        with self.lock:
            trials = study.get_trials(deepcopy=False)
            news = [trials[i] for i in (*self.open, *range(self.looked, len(trials)))]
            self.looked = len(trials)
            self.open = [t.number for t in news if not t.state.is_finished()]
            for t in news:
                if t.state.is_finished():
                    self.lost = 0 if t.state == TrialState.COMPLETE else self.lost + 1
            for t in filter(_told, news):
                key = _ended(t), t.number
                at = bisect(self.order, key)
                self.order.insert(at, key)
                self.told.insert(at, t)
                shared = t.distributions if self.shared is None else self.shared
                self.shared = {name: d for name, d in shared.items() if alike(d, t.distributions.get(name))}
            space = {name: self.told[-1].distributions[name] for name in self.shared or ()}
            running = [t for t in news if t.state == TrialState.RUNNING]
            return Seen(self.told.copy(), space, running)

    def warn(self, study: Study) -> None:
        if study.direction == StudyDirection.MINIMIZE:
            self._warn(
                "BoundarySampler takes a value above 0 for trained, whatever the direction of the study, and this "
                "study minimizes: create it with direction='maximize'."
            )
        if self.lost >= _LOST:
            self._warn(
                f"BoundarySampler reads nothing of trials that failed, as by a value that is NaN, or were pruned, and "
                f"the last {_LOST} did, so it asks for the same place again: a network that does not train is told as "
                "a finite value of 0 or less."
            )

    def warn_of_chance(self, name: str) -> None:
        if name not in (self.shared or ()):
            self._warn(
                f"BoundarySampler draws {name!r} by chance, for it places only parameters that all trials told have, "
                "with the same choices: give the branches of a conditional space a study each."
            )

    def _warn(self, what: str) -> None:
        if what not in self.warned:
            _logger.warning(what)
            self.warned.add(what)


def _ended(trial: FrozenTrial) -> datetime:
    """When a trial was told, by the clock that Optuna reads, which knows no time zone."""
    assert trial.datetime_complete is not None
    aware = trial.datetime_complete.tzinfo is not None
    return trial.datetime_complete.astimezone().replace(tzinfo=None) if aware else trial.datetime_complete


def _told(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE and trial.user_attrs.get("n_replicates") != 0
