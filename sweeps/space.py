"""The axes of a spec as Optuna distributions, and the way between parameters and points.

An axis with one value is fixed and unknown to Optuna. Names are categorical. A list of numbers is an
ordered axis `<axis>_level`, the index into the sorted list, so that neighbouring levels stay
neighbours. A log range with `zero` starts one decade lower: all that is drawn below `low` means 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweeps import bounds, possible
from sweeps.spec import Point, SweepSpec
from sweeps.values import Range

FLOOR: Final = 10.0
"""A range with `zero` is extended by this factor below `low`; values there mean zero."""

_WHOLE = ("depth", "width")


@dataclass(frozen=True)
class Axis:
    """One axis: its Optuna parameter (None if fixed), and the way there and back."""

    name: str
    parameter: str
    distribution: BaseDistribution | None
    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any]
    levels: tuple[Any, ...]
    """Values that the grid sampler visits."""


@dataclass(frozen=True)
class Space:
    axes: tuple[Axis, ...]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {a.parameter: a.distribution for a in self.axes if a.distribution is not None}

    @property
    def floors(self) -> dict[str, float]:
        """Parameters with a zero level: below this value they mean zero."""
        return {
            a.parameter: a.distribution.low * FLOOR
            for a in self.axes
            if isinstance(a.distribution, FloatDistribution) and a.decode(a.distribution.low) == 0.0
        }

    @property
    def idle(self) -> dict[str, str]:
        """The parameter of the bias modes, if there are several, and that at whose low end all of them are one."""
        modes, variance = (next(a for a in self.axes if a.name == name) for name in ("bias_mode", "bias_variance"))
        if modes.distribution is None or variance.distribution is None or variance.levels[0] != 0:
            return {}
        return {modes.parameter: variance.parameter}

    def point(self, params: Mapping[str, Any]) -> Point:
        """The point of these parameters. Without biases all bias modes are the same network: it gets the first."""
        point = Point(**{a.name: a.decode(params.get(a.parameter)) for a in self.axes})
        if point.bias_variance:
            return point
        return point._replace(bias_mode=next(a.levels[0] for a in self.axes if a.name == "bias_mode"))

    def params(self, point: Point) -> dict[str, Any]:
        """Parameters that `self.point` maps to `point`."""
        return {a.parameter: a.encode(getattr(point, a.name)) for a in self.axes if a.distribution is not None}

    def parameter(self, axis: str) -> str | None:
        """Name of the Optuna parameter that moves along `axis`; None if the axis is fixed."""
        return next((a.parameter for a in self.axes if a.name == axis and a.distribution is not None), None)

    def grid(self) -> list[dict[str, Any]]:
        """Parameters of every point of the full factorial design, once each.

        Raises:
            ValueError: it has more points than can be held.
        """
        moving = [a for a in self.axes if a.distribution is not None]
        if (points := math.prod(len(a.levels) for a in moving)) > bounds.GRID:
            raise ValueError(
                f"search.sampler: a grid must have at most {bounds.GRID} points, but that of this space has {points}; "
                "lower the 'levels' of its ranges, or choose another sampler"
            )
        design = [
            {a.parameter: a.encode(v) for a, v in zip(moving, values, strict=True)}
            for values in itertools.product(*(a.levels for a in moving))
        ]
        return [self.params(point) for point in dict.fromkeys(map(self.point, design))]

    def corners(self) -> Iterator[Point]:
        """Points with every combination of names and the extremes of every number, for validation."""
        for values in itertools.product(*(_extremes(a) for a in self.axes)):
            yield Point(*values)


def build(spec: SweepSpec) -> Space:
    """The space of a spec, every combination of which can be built.

    Raises:
        ValueError: a scheme, data set or sampler is unknown, or a scheme cannot have one of the
            architectures, depths, widths, bias modes or densities; says which, and what is possible.
    """
    space, network = spec.space, spec.network
    given: dict[str, Any] = {
        "scheme": space.scheme,
        "architecture": network.architecture,
        "activation": network.activation,
        "normalization": network.normalization,
        **{name: getattr(space, name) for name in Point._fields[4:]},
    }
    built = Space(tuple(_build_axis(name, given[name]) for name in Point._fields))
    possible.check(built, spec)
    return built


def _build_axis(name: str, given: list[Any] | Range) -> Axis:
    if isinstance(given, Range):
        return _range_axis(name, given)
    levels = tuple(dict.fromkeys(given))
    if len(levels) == 1:
        return Axis(name, name, None, lambda _: levels[0], lambda _: None, levels)
    if isinstance(levels[0], str):
        return Axis(name, name, CategoricalDistribution(levels), str, str, levels)
    ordered = tuple(sorted(levels))
    index = IntDistribution(0, len(ordered) - 1)
    return Axis(name, f"{name}_level", index, lambda i: ordered[i], ordered.index, ordered)


def _range_axis(name: str, given: Range) -> Axis:
    scale = np.geomspace if given.log else np.linspace
    rounded = scale(given.low, given.high, given.levels)  # if its ends are close, to the same value or beyond them
    values = list(dict.fromkeys(min(max(float(v), given.low), given.high) for v in rounded))
    if name in _WHOLE:
        whole = IntDistribution(int(given.low), int(given.high), log=given.log)
        return Axis(name, name, whole, int, int, tuple(dict.fromkeys(round(v) for v in values)))
    if not given.zero:
        real = FloatDistribution(given.low, given.high, log=given.log)
        return Axis(name, name, real, float, float, tuple(values))
    low = given.low / FLOOR
    floored = FloatDistribution(low, given.high, log=True)
    return Axis(
        name,
        name,
        floored,
        lambda v: 0.0 if v < given.low else float(v),
        lambda v: low if v == 0.0 else float(v),
        (0.0, *values),
    )


def _extremes(axis: Axis) -> list[Any]:
    """All names; of numbers the least, the next (the other parity of a whole range) and the largest."""
    if isinstance(axis.levels[0], str):
        return list(axis.levels)
    ordered: list[Any] = [axis.levels[0], *axis.levels[1:2], axis.levels[-1]]
    if axis.name in _WHOLE and axis.distribution is not None and axis.parameter == axis.name:
        ordered[1] = min(ordered[0] + 1, ordered[-1])
    elif axis.parameter != axis.name:
        ordered = list(axis.levels)
    return list(dict.fromkeys(ordered))


def within(spec: SweepSpec, design: Space) -> SweepSpec:
    """`spec`, asking for no more trials than its grid has."""
    if spec.search.sampler != "grid":
        return spec
    search = spec.search.model_copy(update={"trials": min(spec.search.trials, len(design.grid()))})
    return spec.model_copy(update={"search": search})
