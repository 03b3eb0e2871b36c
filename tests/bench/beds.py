"""Test beds of the boundary benchmark: a search space, a yes-or-no experiment, and the region it trains in.

Synthetic beds, all with four schemes, depth 2 to 256, bias variance 1e-4 to 1, width 16 to 1024, one network per trial;
u, v, w are their places in [0, 1] on the log scale:

    smooth    a limit in u that is a smooth function of v and w
    kinked    the smaller of a width law and a cap by the bias variance
    islands   smooth, and a second, deep region for two of the schemes
    noisy     smooth, a transition 2.5 times as wide, and one network in twenty flipped either way
    window    not monotone in depth: shallow nets of two schemes fail too, below a limit that rises with v

A real bed is a trials table of a dense grid (`sweep launch` of a grid spec, then `sweep export`); a trial is answered
by the nearest cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.special import expit
from scipy.stats import qmc

from analysis.axes import Axis, Category, Numeric, infer_axes
from analysis.points import Scale

SCHEMES = ("he", "xavier", "orthogonal", "looks_linear")
SCALES = {
    "depth": Scale(2, 256, log=True),
    "bias_variance": Scale(1e-4, 1.0, log=True),
    "width": Scale(16, 1024, log=True),
}


class Answer(NamedTuple):
    """What a trial gave, and the point that was really trained."""

    point: dict[str, Any]
    trained: int
    replicates: int


@dataclass(frozen=True)
class Synthetic:
    name: str

    space: ClassVar[dict[str, BaseDistribution]] = {
        "depth": IntDistribution(2, 256, log=True),
        "bias_variance": FloatDistribution(1e-4, 1.0, log=True),
        "width": IntDistribution(16, 1024, log=True),
        "scheme": CategoricalDistribution(SCHEMES),
    }
    floors: ClassVar[Mapping[str, float]] = {}
    axes: ClassVar[tuple[Axis, ...]] = (
        *(Numeric(name, scale) for name, scale in SCALES.items()),
        Category("scheme", SCHEMES),
    )

    def log_odds(self, u: np.ndarray, v: np.ndarray, w: np.ndarray, scheme: np.ndarray) -> np.ndarray:
        base, rise, bend = np.array([(0.42, 0.28, 0.15), (0.28, 0.05, -0.12), (0.52, 0.25, 0.22), (0.68, 0.15, 0.5)])[
            scheme
        ].T
        limit = base + rise * w - bend * v * v
        match self.name:
            case "smooth":
                return 30 * (limit - u)
            case "noisy":
                return 12 * (limit - u)
            case "kinked":
                base, rise, cap, start = np.array(
                    [(0.40, 0.45, 0.62, 0.6), (0.25, 0.0, 0.30, 0.8), (0.50, 0.40, 0.72, 0.5), (0.62, 0.5, 0.90, 0.3)]
                )[scheme].T
                return 60 * (np.minimum(base + rise * w, cap - 0.9 * np.maximum(0, v - start)) - u)
            case "islands":
                radius = np.sqrt(((u - 0.82) / 0.13) ** 2 + ((v - 0.3) / 0.22) ** 2 + ((w - 0.7) / 0.4) ** 2)
                island = np.where(scheme >= 2, 0.13 * (1 - radius), -9.0)
                return 50 * np.maximum(limit - 0.12 - u, island)
            case "window":
                least = np.where(scheme >= 2, 0.12 + 0.25 * v, -1.0)
                return 40 * np.minimum(limit + 0.05 - u, u - least)
        raise ValueError(f"a synthetic bed must be one of {BEDS}, but got {self.name!r}")

    def p(self, table: pa.Table) -> np.ndarray:
        """P(trained) at each row."""
        u, v, w = (SCALES[name].encode(table[name].to_numpy()) for name in SCALES)
        scheme = np.array([SCHEMES.index(s) for s in table["scheme"].to_pylist()])
        p = expit(self.log_odds(u, v, w, scheme))
        return 0.05 + 0.9 * p if self.name == "noisy" else p

    @cached_property
    def test(self) -> pa.Table:
        return spread(self.axes, 3000, seed=12345)

    @cached_property
    def inside(self) -> np.ndarray:
        return self.p(self.test) >= 0.5

    def limit(self, columns: pa.Table, depths: np.ndarray) -> np.ndarray:
        """True first exit of each column, in layers, on a line of depths."""
        inside = np.array([self.p(columns.set_column(0, "depth", pa.array([d] * len(columns)))) >= 0.5 for d in depths])
        return np.where(inside.all(axis=0), depths[-1], depths[np.argmin(inside, axis=0)])

    def answer(self, params: Mapping[str, Any], rng: np.random.Generator) -> Answer:
        p = self.p(pa.table({name: [params[name]] for name in self.space}))[0]
        return Answer(dict(params), int(rng.random() < p), 1)


BEDS = ("smooth", "kinked", "islands", "noisy", "window")


class Real:
    """A dense grid that was trained: the nearest cell answers. Cells of which exactly half trained are not tested."""

    def __init__(self, path: Path) -> None:
        grid = pq.read_table(path)
        self.name = path.stem
        self.axes = infer_axes(grid)
        self.space = {axis.name: _distribution(axis) for axis in self.axes}
        self.floors = {a.name: a.scale.floor for a in self.axes if isinstance(a, Numeric) and a.scale.floor > 0}
        trained, n = grid["n_trained"].to_numpy(), grid["n_replicates"].to_numpy()
        clear = 2 * trained != n
        self.test = grid.filter(pa.array(clear))
        self.inside = (2 * trained > n)[clear]
        self._levels = {a.name: np.unique(grid[a.name].to_numpy()) for a in self.axes if isinstance(a, Numeric)}
        names = list(self.space)
        self._cells = {
            tuple(row[name] for name in names): (row["n_trained"], row["n_replicates"]) for row in grid.to_pylist()
        }

    def answer(self, params: Mapping[str, Any], rng: np.random.Generator) -> Answer:
        del rng  # a cell always answers the same: its seeds are part of it
        point = {axis.name: self._nearest(axis, params[axis.name]) for axis in self.axes}
        return Answer(point, *self._cells[tuple(point.values())])

    def _nearest(self, axis: Axis, value: Any) -> Any:
        if isinstance(axis, Category):
            return value
        levels = self._levels[axis.name]
        distance = np.abs(axis.scale.encode(levels) - axis.scale.encode(np.array([value])))
        return levels[np.argmin(distance)].item()


Bed = Synthetic | Real


def _distribution(axis: Axis) -> BaseDistribution:
    if isinstance(axis, Category):
        return CategoricalDistribution(axis.levels)
    kind = IntDistribution if axis.name in ("depth", "width") else FloatDistribution
    low, high = (round(v) if kind is IntDistribution else v for v in (axis.scale.low, axis.scale.high))
    return kind(low, high, log=axis.scale.log)  # pyright: ignore[reportArgumentType]


def spread(axes: tuple[Axis, ...], count: int, seed: int) -> pa.Table:
    """Sobol points [count] over the axes; every scheme gets the same share."""
    cube = qmc.Sobol(len(axes), rng=np.random.default_rng(seed)).random(4096)[:count]
    return pa.table({axis.name: axis.cell(unit) for axis, unit in zip(axes, cube.T, strict=True)})
