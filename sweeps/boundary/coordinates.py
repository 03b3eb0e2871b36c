"""A search space as coordinates of the sampler's model: numbers on [0, 1] on their own scale, choices as codes.

Every coordinate that is handed out is one that the distribution can express: integers and steps are snapped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.stats import qmc

from analysis.points import CENTRE, Points, Scale

CANDIDATES = 1024
PAIRS = 3  # of places around a point
STEP = 0.1  # from it to them, in the unit cube


@dataclass(frozen=True)
class Numeric:
    """A numeric parameter; its coordinate runs from 0 to 1 on its own scale."""

    name: str
    scale: Scale
    step: float
    whole: bool

    def encode(self, values: Sequence[float]) -> np.ndarray:
        return self.scale.encode(np.array(values, float))

    def place(self, unit: np.ndarray) -> np.ndarray:
        """The nearest coordinates whose values the distribution can express."""
        return self.scale.encode(self._snapped(self.scale.decode(unit)))

    def chance(self, unit: float) -> int | float:
        """A value, uniform on the axis if `unit` is on [0, 1).

        On a linear scale the values at the ends have a whole step to them, as those between have. A log scale is that
        of a quantity which is only counted in whole numbers: there a value has what is nearest to it from low to high,
        as it has in a map.
        """
        margin = 0.0 if self.scale.log else self.step / 2
        wide = replace(self.scale, low=self.scale.low - margin, high=self.scale.high + margin)
        return self._plain(self._snapped(wide.decode(np.array(unit))))

    def value(self, coordinate: float) -> int | float:
        return self._plain(self._snapped(self.scale.decode(np.array(coordinate))))

    def _plain(self, value: np.ndarray) -> int | float:
        return round(float(value)) if self.whole else float(value)

    def _snapped(self, values: np.ndarray) -> np.ndarray:
        low, high = self.scale.low, self.scale.high
        if self.step:
            values = low + self.step * np.round((values - low) / self.step)
        return np.clip(values, low, high)


@dataclass(frozen=True)
class Choice:
    """A categorical parameter; its coordinate is the index of the choice."""

    name: str
    distribution: CategoricalDistribution

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        return np.array([self.distribution.to_internal_repr(v) for v in values])

    def place(self, unit: np.ndarray) -> np.ndarray:
        return np.floor(unit * len(self.distribution.choices))

    def chance(self, unit: float) -> Any:
        """A choice, each as likely as the others if `unit` is uniform on [0, 1)."""
        return self.value(float(self.place(np.array(unit))))

    def value(self, coordinate: float) -> Any:
        """The choice of this code; of `CENTRE`, where all are the same, the first."""
        return self.distribution.choices[max(int(coordinate), 0)]


def axis_of(name: str, distribution: BaseDistribution, floors: Mapping[str, float]) -> Numeric | Choice:
    if isinstance(distribution, CategoricalDistribution):
        return Choice(name, distribution)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, log, step = distribution.low, distribution.high, distribution.log, distribution.step
    floor = floors.get(name, -np.inf)
    if not (isinstance(floor, Real) and floor <= high):
        raise ValueError(f"`floors[{name!r}] <= {high}` must hold, its highest value, but got ({floor=}).")
    scale = Scale(low, high, log, float(floor))
    return Numeric(name, scale, step or 0, isinstance(distribution, IntDistribution))


@dataclass(frozen=True)
class Axes:
    """The parameters of a search space as axes of the model, depth first.

    `idle` has pairs of indices of a categorical and a numeric axis: at the low end of the latter all choices of the
    former are one, whose code is `CENTRE`.
    """

    numeric: tuple[Numeric, ...]
    categorical: tuple[Choice, ...]
    frontier: bool
    idle: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(
        cls,
        space: Mapping[str, BaseDistribution],
        depth: str | None,
        floors: Mapping[str, float],
        idle: Mapping[str, str],
    ) -> Axes:
        axes = [axis_of(name, space[name], floors) for name in sorted(space, key=lambda name: (name != depth, name))]
        numeric = tuple(axis for axis in axes if isinstance(axis, Numeric))
        categorical = tuple(axis for axis in axes if isinstance(axis, Choice))
        numbers, choices = [axis.name for axis in numeric], [axis.name for axis in categorical]
        both = {
            name: other
            for name, other in idle.items()
            if name in space and (not isinstance(other, str) or other in space)
        }
        for name, other in both.items():
            if name not in choices or other not in numbers:
                raise ValueError(
                    f"`idle` must map a categorical to a numeric parameter, but got ({name!r}: {other!r}); "
                    f"categorical: {choices}, numeric: {numbers}"
                )
        pairs = tuple((choices.index(name), numbers.index(other)) for name, other in both.items())
        return cls(numeric, categorical, bool(numeric) and numeric[0].name == depth, pairs)

    @property
    def levels(self) -> tuple[int, ...]:
        """Numbers of choices of the categorical axes."""
        return tuple(len(axis.distribution.choices) for axis in self.categorical)

    def points(self, params: Sequence[Mapping[str, Any]]) -> Points:
        """Where the trials with these parameters are."""
        return self._stack([axis.encode([p[axis.name] for p in params]) for axis in self._all], len(params))

    def candidates(self, rng: np.random.Generator, tried: Set[bytes]) -> Points:
        """Places spread evenly that exist and, if there are any left, were not tried before."""
        cube = qmc.Sobol(len(self._all), rng=rng).random(CANDIDATES)
        points = self._stack([axis.place(unit) for axis, unit in zip(self._all, cube.T, strict=True)], CANDIDATES)
        found, first = np.unique(keys(points), return_index=True)
        new = first[_not_in(tried, found)]
        return points.take(np.sort(new if len(new) else first))

    def around(self, rng: np.random.Generator, at: Points, tried: Set[bytes]) -> Points:
        """Places next to the one point `at` that were not tried before: pairs on opposite sides, in random order."""
        ways = rng.normal(size=(PAIRS, 1, len(self.numeric)))
        ways *= STEP / np.maximum(np.linalg.norm(ways, axis=2, keepdims=True), 1e-12)
        cube = np.clip(at.x + np.concatenate([ways, -ways], axis=1).reshape(2 * PAIRS, len(self.numeric)), 0, 1)
        numbers = [axis.place(unit) for axis, unit in zip(self.numeric, cube.T, strict=True)]
        turns = np.arange(2 * PAIRS)[:, None] % np.array(
            self.levels, int
        )  # beside a place of all choices, each of them
        codes = np.where(at.c == CENTRE, turns, at.c)
        points = self._stack([*numbers, *codes.T], 2 * PAIRS)
        found, first = np.unique(keys(points), return_index=True)
        return points.take(np.sort(first[_not_in(tried, found)]))

    def holding(self, points: Points, fixed: Mapping[str, Any]) -> Points:
        """These places [n], moved to where the parameters `fixed` have their values."""
        columns = [*points.x.T, *np.maximum(points.c, 0).T]
        for i, axis in enumerate(self._all):
            if axis.name in fixed:
                columns[i] = axis.encode([fixed[axis.name]] * len(points.x))
        return self._stack(columns, len(points.x))

    def params(self, point: Points) -> dict[str, Any]:
        coordinates = [*point.x[0], *point.c[0]]
        return {axis.name: axis.value(u) for axis, u in zip(self._all, coordinates, strict=True)}

    @property
    def _all(self) -> tuple[Numeric | Choice, ...]:
        return self.numeric + self.categorical

    def _stack(self, columns: Sequence[np.ndarray], rows: int) -> Points:
        stacked = np.column_stack([np.empty((rows, 0)), *columns])
        numeric = len(self.numeric)
        x, c = stacked[:, :numeric], stacked[:, numeric:].astype(int)
        for choice, number in self.idle:
            c[x[:, number] == 0, choice] = CENTRE
        return Points(x, c)


def keys(points: Points) -> np.ndarray:
    """One comparable value per point: equal for equal places, whatever the last bits say."""
    rows = np.ascontiguousarray(np.column_stack([points.x, points.c]).round(9) + 0.0)
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()


def known(points: Points) -> frozenset[bytes]:
    """The keys of points, to look others up in: there may be very many."""
    return frozenset(keys(points).tolist())


def _not_in(tried: Set[bytes], found: np.ndarray) -> np.ndarray:
    return np.array([key not in tried for key in found.tolist()], bool)
