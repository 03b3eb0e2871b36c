"""The sampler: whose turn it is, what was told, which model; where the model looks is `placing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from analysis.gp import LogisticGP, learn, thin
from analysis.kernels import Kernel
from analysis.points import Counts, Points
from analysis.threads import one_thread
from sweeps.boundary.coordinates import Axes, axis_of
from sweeps.boundary.memory import Memory, Seen
from sweeps.boundary.placing import Key, Plan
from sweeps.boundary.trials import PLACE, counts_of, fits, going, read_of

ROLE = "boundary:role"  # system attribute of every trial: start, boundary, audit or enqueued
START = 8  # trials of the space-filling start
LEARN_ON = 200  # the first trials told, that hyperparameters are learnt from: bounds the time of an ask
ACTIVE = 400  # trials the posterior is conditioned on: likewise
GROWTH = 1.25  # hyperparameters are learnt anew when the trials have grown by this factor
SOBOL_AXES = 64


class BoundarySampler(BaseSampler):
    """Sampler that maps where trials succeed. See the package's docstring for the method.

    Args:
        seed: Of everything random. None draws one.
        depth: Name of the parameter along which success is expected to end at a limit that depends on the others
            (how deep can it be?). The classifier then knows such limits; without that parameter it is plain Matern.
        audit: Share of trials placed uniformly at random, whatever was seen before: only they give an error of the map
            that trusts no model. They are tagged `start` (the first, counted in the share) and `audit` in the system
            attribute `boundary:role`. What is asked before 8 trials are told is the start: of a short sweep by several
            workers, whose first batches are all of it, the share may be larger.
        batch: Trials asked before their results are told, roughly. More results than this never wait to be read.
        floors: `{name: low}` for a parameter that means exactly zero below `low`. Its distribution is
            `FloatDistribution(low / 10, high, log=True)`; whatever falls below `low` is asked, and seen, as `low / 10`.
        idle: `{name: other}` for a categorical parameter that makes no difference where the numeric parameter `other`
            is at its low end (or below its floor), as the kind of biases makes none where their variance is zero. All
            choices are one place there, and the first is asked for.

    An ask is a function of the seed, the trial's number and the trials of the study (outcomes in the order of
    completion, and what is running), so another process, or a resumed study, asks the same. What is kept in memory
    only saves time.

    What is placed are the parameters that all trials told have, with the same choices; a range is that of the latest
    of them, so it may be widened when the edge turns out to lie beyond it. The rest is drawn by chance.

    Trials count if they are complete. `FAIL` means broken infrastructure and is dropped, as is `PRUNED`: a network that
    diverges should be told as a failure with a finite score.
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        depth: str | None = "depth",
        audit: float = 0.1,
        batch: int = 16,
        floors: Mapping[str, float] | None = None,
        idle: Mapping[str, str] | None = None,
    ) -> None:
        if seed is not None and not (isinstance(seed, Integral) and seed >= 0):
            raise ValueError(f"`seed >= 0` must hold, of a whole number, or None, but got ({seed=}).")
        if not (isinstance(audit, Real) and 0 <= audit <= 1):
            raise ValueError(f"`0 <= audit <= 1` must hold, of a number, but got ({audit=}).")
        if not isinstance(batch, Integral) or batch < 1:
            raise ValueError(f"`batch >= 1` must hold, of a whole number, but got ({batch=}).")
        if not (depth is None or isinstance(depth, str)):
            raise ValueError(f"`depth` must be the name of a parameter, or None, but got ({depth=}).")
        self._floors = _by_name("floors", floors)
        self._idle = _by_name("idle", idle)
        self._seed = int(np.random.default_rng().integers(2**63)) if seed is None else seed
        self._depth = depth
        self._audit = audit
        self._batch = batch
        self._start = qmc.Sobol(SOBOL_AXES, rng=self._rng("start")).random(4 * START)
        self._memory = Memory()

    def _rng(self, *key: str | int) -> np.random.Generator:
        """A generator of its own for every purpose, so that draws do not depend on what was drawn before."""
        words = [int.from_bytes(k.encode(), "little") if isinstance(k, str) else k for k in key]
        return np.random.default_rng([self._seed, *words])

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._raise_error_if_multi_objective(study)
        memory = self._recall(study)
        seen = memory.look(study)
        memory.warn(study)
        fixed = "fixed_params" in trial.system_attrs
        role = "enqueued" if fixed else self._role(seen, trial.number)
        study._storage.set_trial_system_attr(trial._trial_id, ROLE, role)
        trial.system_attrs[ROLE] = role  # Optuna does not read the storage again before it infers the space

    def _role(self, seen: Seen, number: int) -> str:
        """The start is as random as an audit: what it has of their share is not asked again."""
        if len(seen.told) < START:
            return "start"
        starts = sum(t.system_attrs.get(ROLE) == "start" for t in (*seen.told, *seen.running))
        due = number * self._audit >= starts
        return "audit" if due and self._rng("role", number).random() < self._audit else "boundary"

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if trial.system_attrs.get(ROLE) in ("start", "audit"):
            return {}
        return {name: d for name, d in self._recall(study).look(study).space.items() if not d.single()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        axis = axis_of(param_name, param_distribution, self._floors)
        order = len(trial.params)  # the same for a parameter in every trial, unless the space is conditional
        if trial.system_attrs.get(ROLE) == "boundary":
            self._recall(study).warn_of_chance(param_name)
        starts = trial.system_attrs.get(ROLE, "start") == "start"
        if starts and trial.number < len(self._start) and order < SOBOL_AXES:
            unit = self._start[trial.number, order]
        else:
            purpose = ROLE if param_name == "role" else param_name  # "role" is drawn from to say what an audit is
            unit = self._rng(purpose, trial.number).random()
        return axis.chance(float(unit))

    @one_thread()
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        if not search_space:
            return {}
        axes = Axes.of(search_space, self._depth, self._floors, self._idle)
        memory = self._recall(study)
        seen = memory.look(study)
        there = search_space.keys()
        told = seen.told if seen.space.keys() >= there else [t for t in seen.told if there <= t.params.keys()]
        others = [t for t in seen.running if t.number != trial.number and fits(t, search_space)]
        running = [place for t in others if there <= (place := going(t, search_space)).keys()]
        read = read_of(len(told), self._batch)
        plan = self._plan(memory, axes, told[:read])
        waiting = axes.points([*(t.params for t in told[read:]), *running])
        for _ in range(sum(self._chooses(t, search_space, trial, seen) for t in others)):
            waiting = waiting.beside(plan.candidates.take([plan.choose(waiting)]))
        if fixed := trial.system_attrs.get("fixed_params"):  # those of an enqueued trial, of which the rest is placed
            plan = plan.where(fixed)
        best = plan.choose(waiting)
        params = axes.params(plan.candidates.take([best]))
        place = {name: search_space[name].to_internal_repr(value) for name, value in params.items()}
        study._storage.set_trial_system_attr(trial._trial_id, PLACE, place)
        return params

    def _chooses(self, other: FrozenTrial, space: Mapping[str, Any], trial: FrozenTrial, seen: Seen) -> bool:
        """Whether another process seems to choose a place right now: it comes before `trial`, which is to know where.

        One that was killed while it did is forgotten a batch later.
        """
        early = trial.number - self._batch <= other.number < trial.number
        role = other.system_attrs.get(ROLE) or self._role(seen, other.number)
        return early and role == "boundary" and not space.keys() <= going(other, space).keys()

    def _plan(self, memory: Memory, axes: Axes, told: Sequence[FrozenTrial]) -> Plan:
        """Model and candidates after the trials `told`: a function of the seed and of those alone."""
        key = axes, tuple(t.number for t in told)
        if memory.plan and memory.plan.key == key:
            return memory.plan
        points, counts = axes.points([t.params for t in told]), counts_of(told)
        kernel = Kernel(points.x.shape[1], points.c.shape[1], axes.frontier, axes.levels)
        kernel, theta = self._learnt(memory, kernel, points, counts, key)
        active = thin(kernel, theta, points, counts, ACTIVE, self._rng("thin", len(told)))
        gp = LogisticGP.condition(kernel, theta, points.take(active), counts.take(active))
        plan = Plan.make(key, gp, active, points, counts, self._rng)
        memory.plan = plan  # several threads may ask at once: each returns its own
        return plan

    def _learnt(
        self, memory: Memory, kernel: Kernel, points: Points, counts: Counts, key: Key
    ) -> tuple[Kernel, np.ndarray]:
        """Kernel and hyperparameters learnt from the first START * GROWTH^i trials told, for the largest such i."""
        axes, numbers = key
        if len(numbers) < START:
            return kernel, kernel.prior[0]
        size = int(START * GROWTH ** np.floor(np.log(len(numbers) / START) / np.log(GROWTH) + 1e-9))
        size = min(size, LEARN_ON)
        learnt_from = axes, numbers[:size]
        known = memory.learnt
        if known is None or known[0] != learnt_from:
            first = slice(0, size)
            known = learnt_from, learn(kernel, points.take(first), counts.take(first))
            memory.learnt = known
        return known[1]

    def _recall(self, study: Study) -> Memory:
        memory = self._memory  # another thread, with another study, may put its own in the place
        if memory.storage is not study._storage or memory.study_id != study._study_id:
            self._memory = memory = Memory(study._storage, study._study_id)
        return memory

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_memory"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _memory=Memory())


def _by_name(option: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of an option that says something of parameters by their names."""
    if given is not None and not (isinstance(given, Mapping) and all(isinstance(name, str) for name in given)):
        raise ValueError(f"`{option}` must map names of parameters to values, or be None, but got ({given!r}).")
    return dict(given or {})
