"""What a figure of a map shows, as named tuples, and the same as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.frontier import Band


class Abscissa(NamedTuple):
    """The axis to the right: its columns, ascending. `levels`: these are all there are; else cells of a continuum.
    A zero of a continuum is the first column, on its own, for the others lie on a log scale."""

    name: str
    values: np.ndarray
    levels: bool

    @property
    def zero(self) -> bool:
        return not self.levels and bool(self.values[0] == 0)

    @property
    def headline(self) -> int:
        """The column that one number stands for: no bias or the smallest, the unscaled weights, the largest net."""
        if self.name == "bias_variance":
            return 0
        if self.name == "weight_scale":
            return int(np.abs(np.log(self.values)).argmin())
        return len(self.values) - 1

    @property
    def few(self) -> list[int]:
        """The columns that show what the axis does: both ends, and the headline where it lies between them."""
        return sorted({0, self.headline, len(self.values) - 1})


class Marks(NamedTuple):
    """The trials of a panel, each array [trials]."""

    depth: np.ndarray
    x: np.ndarray
    trained: np.ndarray  # share of the seeds that trained
    outcome: np.ndarray


class Panel(NamedTuple):
    """One scheme in one slice. P and states are [depths, columns], bands and limits [columns].

    `trains_again` is the least depth beyond the limit that is in the region after all (P >= 0.95), nan where none is: a
    column with one is not monotone, and its limit is not the greatest depth that trains.
    """

    scheme: str
    fixed: Mapping[str, Any]  # the other axes
    slice: str  # those of them that vary, as text
    p_in_region: np.ndarray
    state: np.ndarray
    n_trials: np.ndarray
    frontier: Band
    predicted: np.ndarray  # depth limit by theory: inf: no limit, nan: no theory
    why_no_theory: str
    marks: Marks
    trains_again: np.ndarray

    @property
    def drawable(self) -> Band:
        """The frontier, nan where a column is not monotone: there the first exit is not the edge of the region."""
        return Band(*(np.where(np.isnan(self.trains_again), values, np.nan) for values in self.frontier))


class MapInfo(NamedTuple):
    sweep: str
    criterion: str
    depths: np.ndarray  # whole depths, ascending: the rows of every panel
    x: Abscissa
    panels: tuple[Panel, ...]  # slice by slice, in each the schemes by rising depth limit
    n_trials: int
    rates: tuple[str, ...] = ()  # `Descent.learning_rates` of each training; none: theory is asked at each

    @property
    def at_rate(self) -> str:
        """` at learning rate 0.1`, after a word for the theory, which knows those of plain descent alone."""
        known = [rate for rate in self.rates if rate]
        whose = " (sgd alone)" * (len(known) < len(self.rates))
        several = "s" * (len(known) > 1 or any(" to " in rate for rate in known))
        return f" at learning rate{several} {' and '.join(known)}{whose}" if known else ""

    @property
    def schemes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(p.scheme for p in self.panels))

    @property
    def broken(self) -> bool:
        """Whether some column has no frontier to draw, for it is not monotone."""
        return any(np.isfinite(p.trains_again).any() for p in self.panels)

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(p.slice for p in self.panels))


def points(fixed: Mapping[str, Any], **columns: np.ndarray) -> pa.Table:
    """A table of points of the search space: some axes vary, the others are fixed."""
    n = len(next(iter(columns.values())))
    return pa.table({**{name: [value] * n for name, value in fixed.items()}, **columns})


def cells(info: MapInfo) -> pa.Table:
    """The map as a table, one row per cell: axes, p_in_region, state (in, out, undecided), n_trials in the cell."""
    return pa.concat_tables(
        points(
            panel.fixed,
            **{
                "depth": np.repeat(info.depths, len(info.x.values)),
                info.x.name: np.tile(info.x.values, len(info.depths)),
                "p_in_region": panel.p_in_region.ravel(),
                "state": panel.state.ravel(),
                "n_trials": panel.n_trials.ravel(),
            },
        )
        for panel in info.panels
    )


def limits(info: MapInfo) -> pa.Table:
    """The frontier as a table, one row per column of each panel: axes, depth_limit with its 90 % band, prediction.

    `censored` says that the limit is at an end of the depths that were tried: `below` or `above`, else `no`;
    `censored_low` and `censored_high` say it of the ends of the band. `trains_again_at` is the least depth beyond the
    limit that is in the region after all (P >= 0.95), null where none is.
    """
    return pa.concat_tables(
        points(
            panel.fixed,
            **{
                info.x.name: info.x.values,
                "depth_limit": panel.frontier.median,
                "low": panel.frontier.low,
                "high": panel.frontier.high,
                "censored": censoring(panel.frontier.median, info.depths),
                "censored_low": censoring(panel.frontier.low, info.depths),
                "censored_high": censoring(panel.frontier.high, info.depths),
                "trains_again_at": pa.array(panel.trains_again, from_pandas=True).cast(pa.int32()),
                "predicted": panel.predicted,
            },
        )
        for panel in info.panels
    )


def censoring(limit: np.ndarray, depths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where each limit lies: `above` or `below` what was tried (to 1 %), else `no`.

    Of depths that are closer than that the nearer end counts, of one alone that beyond which the limit is.
    """
    middle = (float(depths[0]) + float(depths[-1])) / 2
    above, below = max(0.99 * depths[-1], middle), min(1.01 * depths[0], middle)
    return np.select([limit >= above, limit <= below], ["above", "below"], "no")
