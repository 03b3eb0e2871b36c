"""`SAMPLERS`: by which rule the next points are chosen. One line adds a sampler.

Every sampler is an Optuna sampler; `tpe` and `gp` are Optuna's own, the others ours: a study that is rebuilt from a
ledger must go on where it stopped, and Optuna's samplers keep where they are in attributes or in a generator's state.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from sweeps.boundary import BoundarySampler
from sweeps.boundary.coordinates import axis_of
from sweeps.space import Space
from sweeps.spec import Search


class _AloneSampler(BaseSampler):
    """Asks for every parameter by itself."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}


class GridSampler(_AloneSampler):
    """Visits the full factorial design in a random order, each point once.

    A point counts as visited when the study has a trial at it that did not fail, so that a rebuilt
    study goes on where it stopped. Once all are visited it begins anew.
    """

    def __init__(self, grid: list[dict[str, Any]], seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(grid))
        self._grid = [grid[i] for i in order]
        self._names = sorted(grid[0])
        self._left = deque(self._key(point) for point in self._grid)
        self._visited: Counter[tuple[Any, ...]] = Counter()
        self._running: dict[int, tuple[Any, ...]] = {}
        self._read = 0
        """Trials of the study that were looked at: all before are visited, running or failed."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        trials = study.get_trials(deepcopy=False)
        for t in trials[self._read :]:
            if t.number != trial.number and len(t.params) == len(self._names):
                self._visit(t.number, self._key(t.params))
        self._read = len(trials)
        for number in [n for n in self._running if trials[n].state.is_finished()]:
            key = self._running.pop(number)
            if trials[number].state is TrialState.FAIL:
                self._visited[key] -= 1
                self._left.appendleft(key)
        fixed = trial.system_attrs.get("fixed_params", {})  # an enqueued trial knows where it goes
        self._visit(trial.number, self._key(fixed) if len(fixed) == len(self._names) else self._next(trial.number))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._running[trial.number][self._names.index(param_name)]

    def _next(self, number: int) -> tuple[Any, ...]:
        while self._left and self._visited[self._left[0]] > 0:
            self._left.popleft()
        return self._left.popleft() if self._left else self._key(self._grid[number % len(self._grid)])

    def _visit(self, number: int, key: tuple[Any, ...]) -> None:
        self._running[number] = key
        self._visited[key] += 1

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(params[name] for name in self._names)


class NumberedSampler(_AloneSampler):
    """Points that follow from the seed and the trial's number alone, so that trials n, n + 1, ... are the same in a
    study that is rebuilt from the first n.

    Args:
        space: the parameters.
        points: of the trial with this number, a place in the unit cube, uniform in it; [parameters].
    """

    def __init__(self, space: Space, points: Callable[[int], np.ndarray]) -> None:
        self._axes = {name: axis_of(name, d, space.floors) for name, d in space.distributions.items()}
        self._points = points
        self._at = -1, np.empty(0)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._at[0] != trial.number:
            self._at = trial.number, self._points(trial.number)
        return self._axes[param_name].chance(self._at[1][list(self._axes).index(param_name)])


@dataclass(frozen=True)
class Sampler:
    """How to build a sampler, and what to expect of it."""

    summary: str
    build: Callable[[Space, Search], BaseSampler]
    adaptive: bool = False
    """Whether its points depend on results."""
    ask_seconds: float = 0.001
    """To ask and tell the first trials, on one core (`tests/bench/scale.py`)."""
    ask_growth: float = 0.0
    """Seconds more for every trial that is finished."""

    def asking(self, trials: int) -> float:
        """Seconds that a sweep of so many trials asks for, about."""
        return trials * (self.ask_seconds + trials / 2 * self.ask_growth)


def _random(space: Space, search: Search) -> BaseSampler:
    return NumberedSampler(
        space, lambda number: np.random.default_rng([search.seed, number]).random(len(space.distributions))
    )


def _sobol(space: Space, search: Search) -> BaseSampler:
    sequence = qmc.Sobol(max(len(space.distributions), 1), rng=np.random.default_rng(search.seed))

    def point(number: int) -> np.ndarray:
        if number < sequence.num_generated:
            sequence.reset()
        if ahead := number - sequence.num_generated:
            sequence.fast_forward(ahead)
        return sequence.random()[0]

    return NumberedSampler(space, point)


def _boundary(space: Space, search: Search) -> BaseSampler:
    return BoundarySampler(
        seed=search.seed,
        depth=space.parameter("depth"),
        audit=search.audit,
        batch=search.batch,
        floors=space.floors,
        idle=space.idle,
    )


SAMPLERS: Final[Mapping[str, Sampler]] = {
    "boundary": Sampler(
        "seeks the edge of the trainable region: the fewest trials a map",
        _boundary,
        adaptive=True,
        ask_seconds=0.0125,
        ask_growth=2.5e-6,
    ),
    "sobol": Sampler("low-discrepancy points, spread evenly", _sobol),
    "random": Sampler("independent uniform points", _random),
    "grid": Sampler(
        "full factorial design over lists and the `levels` of ranges",
        lambda p, s: GridSampler(p.grid(), s.seed),
    ),
    "tpe": Sampler(
        "optimizes the score",
        lambda _, s: TPESampler(seed=s.seed),
        adaptive=True,
        ask_seconds=0.003,
        ask_growth=4.5e-6,
    ),
    "gp": Sampler(
        "optimizes the score",
        lambda _, s: GPSampler(seed=s.seed),
        adaptive=True,
        ask_seconds=0.1,
        ask_growth=4e-3,
    ),
}
"""By which rule the next points are chosen."""


def build(space: Space, search: Search) -> BaseSampler:
    """The sampler that a spec asks for.

    Raises:
        ValueError: what its line builds is none; Optuna would take its own instead of nothing, and never say so.
    """
    built: object = SAMPLERS[search.sampler].build(space, search)
    if not isinstance(built, BaseSampler):
        raise ValueError(
            f"search.sampler: {search.sampler} in sweeps/samplers.py builds {built!r}, which is no Optuna sampler; let "
            "its `build` return one"
        )
    return built


def going_on(sampler: BaseSampler, space: Space, search: Search, asked: int) -> BaseSampler:
    """The sampler of a study that was rebuilt with so many trials, the same each time.

    Optuna's own keep where they are in a generator, and would draw again what they drew first: they get another seed,
    which follows from that of the spec and the number of trials. Ours have none, and follow from the study.
    """
    if type(sampler).reseed_rng is BaseSampler.reseed_rng:
        return sampler
    seed = int(np.random.default_rng([search.seed, asked]).integers(2**31))
    return build(space, search.model_copy(update={"seed": seed}))
