"""What a trial of a study says: where it is, or is going, what became of its networks, and when that is news."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from analysis.points import Counts

_PER_STEP: Final = 16  # trials told for each result more per plan
PLACE: Final = "boundary:place"
"""System attribute: where a trial was sent, for other threads and processes while it suggests one by one."""


def alike(a: BaseDistribution, b: BaseDistribution | None) -> bool:
    """Whether a value says the same by both: the range of a number may change, as Optuna allows."""
    if isinstance(a, FloatDistribution | IntDistribution) and isinstance(b, FloatDistribution | IntDistribution):
        return type(a) is type(b) and a.log == b.log
    return a == b


def fits(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> bool:
    """Whether what a trial was given of this space, so far, is of this space: one with other choices is elsewhere."""
    return all(alike(d, space[name]) for name, d in trial.distributions.items() if name in space)


def going(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The parameters that a trial has, and those that its objective will be given once it suggests them."""
    place = trial.system_attrs.get(PLACE, {})
    ahead = {name: d.to_external_repr(place[name]) for name, d in space.items() if name in place}
    return ahead | trial.params


def new_after(told: int, batch: int) -> int:
    """Results per new plan: few at first, and a divisor of the batch, so that a batch told is a batch read."""
    return max(step for step in range(1, min(batch, 1 + told // _PER_STEP) + 1) if batch % step == 0)


def read_of(told: int, batch: int) -> int:
    """How many of the trials told a plan reads: whole steps, and none fewer than before, when steps have grown."""
    before = _PER_STEP * (new_after(told, batch) - 1) - 1  # the last count at which they were shorter
    return max(t - t % new_after(t, batch) for t in (told, max(before, 0)))


def counts_of(told: Sequence[FrozenTrial]) -> Counts:
    """How many networks of each trial trained, and how many there are.

    Raises:
        ValueError: a trial's user attributes say something else.
    """
    return Counts(*np.array([_count(t) for t in told]).reshape(-1, 2).T)


def _count(trial: FrozenTrial) -> tuple[float, float]:
    """How many of its networks trained, and how many there are."""
    try:
        n = float(trial.user_attrs.get("n_replicates", 1))
        k = float(trial.user_attrs.get("n_trained", n * (trial.values[0] > 0)))
    except (TypeError, ValueError):
        n = k = np.nan
    if not 0 <= k <= n < np.inf:
        given = {name: trial.user_attrs[name] for name in ("n_trained", "n_replicates") if name in trial.user_attrs}
        raise ValueError(
            f"`0 <= n_trained <= n_replicates` must hold, of finite numbers (n_replicates is 1 if it is not set), but "
            f"trial {trial.number} has {given}: set both before a trial is told."
        )
    return k, n
