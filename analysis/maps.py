"""Compute what a map shows: P(in region), the frontier with its band, the theory, the trials. No drawing.

A map has the depth upwards and one other axis, the abscissa, to the right: the bias variance, or if that is
constant or has but a few levels while another is a continuum, that one: what a sweep ranges over is what it asks
about, and cut at three levels it would be lost. An abscissa with at most `FEW` levels is drawn as columns, not as a
continuum. Every scheme has a panel, and so has every level of what else varies, or of a few of them (`slices`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from analysis.axes import infer_axes, met_before, names, one_name, unbiased
from analysis.checks import need
from analysis.mapinfo import Abscissa, MapInfo, Marks, Panel, limits, points
from analysis.outcome import NOT_KNOWN, Outcome, Task
from analysis.predictions import Descents, descents, predicted_limits
from analysis.region import SURE, RegionModel, state, usable
from analysis.schema import AXES, COORDINATES, RATE, STEPS
from analysis.slices import FEW, slices

ABSCISSAS: Final = ("bias_variance", "weight_scale", "width", "density")
UNFOLDED: Final = (RATE, STEPS)  # abscissas of trials that are told apart by them (`rates`, `budgets`)
DEPTHS, COLUMNS = 44, 36  # cells of a continuous map


def region_map(
    trials: pa.Table,
    *,
    sweep: str | None = None,
    criterion: str = "",
    model: RegionModel | None = None,
    abscissa: str | None = None,
    task: Task = NOT_KNOWN,
) -> MapInfo:
    """The map of a table of trials.

    Args:
        model: fitted to the same trials; fitted here if it is not given.
        abscissa: one of `ABSCISSAS`, or of `UNFOLDED`; by default the first of `ABSCISSAS` with more than `FEW` levels,
            else that varies.
        task: what networks are trained for, which theory is told.

    Raises:
        ValueError: no trial says anything, a column is missing, or the depth does not vary, so that there is no
            frontier.
    """
    trials = _mappable(trials)
    x = _abscissa(trials, abscissa)
    model = model or RegionModel.fit(trials, infer_axes(trials, *[name for name in UNFOLDED if name == abscissa]))
    depths = _depths(trials)
    trained = descents(trials, task)
    panels = [_panel(fixed, text, rows, model, depths, x, trained) for fixed, text, rows in slices(trials, x.name)]
    told = () if x.name == RATE else tuple(dict.fromkeys(descent.learning_rates for descent in trained.values()))
    return MapInfo(sweep or called(trials), criterion, depths, x, _ordered(panels), _count(trials), told)


def called(trials: pa.Table) -> str:
    """The sweeps that the trials are of, as far as they say."""
    return ", ".join(sorted(trials["sweep"].drop_null().unique().to_pylist())) or "unnamed"


def _count(trials: pa.Table) -> int:
    return len(trials["trial_key"].unique()) if "trial_key" in trials.column_names else len(trials)


def _ordered(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    reach = {p.scheme: np.mean([q.frontier.median for q in panels if q.scheme == p.scheme]) for p in panels}
    order = list(dict.fromkeys(p.slice for p in panels))
    return tuple(sorted(panels, key=lambda p: (order.index(p.slice), reach[p.scheme], p.scheme)))


def no_map(trials: pa.Table) -> str:
    """The sentence why there is no map of these trials, of which at least one did not fail; empty if there is one."""
    trials = usable(trials)
    depths = trials["depth"].unique().to_pylist()
    who = "the only one has" if len(trials) == 1 else f"all {len(trials)} have"
    return f"a map needs trials of more than one depth, but {who} depth {depths[0]}" if len(depths) < 2 else ""


def fitted(trials: pa.Table) -> RegionModel | None:
    """The model that maps and limits of these trials are read off; None if there is no map of them."""
    try:
        trials = _mappable(trials)
    except ValueError:  # which `region_map` and `scheme_limits` say
        return None
    return RegionModel.fit(trials)


def _mappable(trials: pa.Table) -> pa.Table:
    need(trials, [*AXES, "sweep", "outcome"], "a map")
    if reason := no_map(trials):
        raise ValueError(reason)
    trials = usable(trials)
    if unknown := set(names(trials["outcome"]).unique().to_pylist()) - set(Outcome):
        law = f"the outcome of a trial on a map must be one of {', '.join(Outcome)}"  # others have no mark
        raise ValueError(f"{law}, but got {min(unknown)!r}" + " for null" * ("" in unknown))
    return trials


def _depths(trials: pa.Table) -> np.ndarray:
    levels = np.unique(trials["depth"].to_numpy())
    if len(levels) <= FEW:
        return levels
    return np.unique(np.geomspace(levels[0], levels[-1], DEPTHS).round().astype(int))


def _abscissa(trials: pa.Table, name: str | None) -> Abscissa:
    known = (*ABSCISSAS, *(name for name in UNFOLDED if name in trials.column_names))
    if name is not None and name not in known:
        raise ValueError(f"the abscissa of a map must be one of {', '.join(known)}, but got {name!r}")
    counts = {n: len(trials[n].unique()) for n in ABSCISSAS}
    name = name or next((n for least in (FEW, 1) for n in ABSCISSAS if counts[n] > least), ABSCISSAS[0])
    levels = np.unique(trials[name].to_numpy())
    if len(levels) <= FEW:
        return Abscissa(name, levels, levels=True)
    positive = levels[levels > 0]
    grid = np.geomspace(positive[0], positive[-1], COLUMNS)
    if np.issubdtype(levels.dtype, np.integer):
        grid = np.unique(grid.round().astype(levels.dtype))
    values = np.concatenate([[0], grid]) if levels[0] == 0 else grid
    return Abscissa(name, values, levels=False)


def _panel(
    fixed: dict[str, Any],
    text: str,
    rows: pa.Table,
    model: RegionModel,
    depths: np.ndarray,
    x: Abscissa,
    trained: Descents,
) -> Panel:
    cells = points(fixed, depth=np.repeat(depths, len(x.values)), **{x.name: np.tile(x.values, len(depths))})
    p = model.p_in_region(cells).reshape(len(depths), len(x.values))
    columns = points(fixed, depth=np.full(len(x.values), depths[0]), **{x.name: x.values})
    predicted, why_not = predicted_limits(columns, trained)
    depth, across = rows["depth"].to_numpy(), rows[x.name].to_numpy()
    counts = np.zeros(p.shape, int)
    np.add.at(counts, (_cell(depths, depth), _cell(x.values, across)), 1)
    share = rows["n_trained"].to_numpy() / rows["n_replicates"].to_numpy()
    marks = Marks(depth, across, share, np.array(rows["outcome"].to_pylist()))
    limit = model.depth_limit(columns)
    again = trains_again(p, limit.median, depths)
    return Panel(fixed["scheme"], fixed, text, p, state(p), counts, limit, predicted, why_not, marks, again)


def trains_again(p: np.ndarray, limit: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Least depth beyond each limit that is surely in the region, nan where none is; `p` is [depths, columns]."""
    again = (p >= SURE) & (depths[:, None] > limit)
    return np.where(again.any(axis=0), depths[again.argmax(axis=0)], np.nan)


def _cell(centres: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Index of the nearest centre on a log scale; zero belongs to a centre of zero alone."""
    zero = centres == 0
    distance = np.abs(_log(values)[:, None] - _log(centres))
    distance[(values[:, None] == 0) != zero] = np.inf
    return distance.argmin(axis=1)


def _log(values: np.ndarray) -> np.ndarray:
    return np.log(np.where(values > 0, values, 1.0))


def scheme_limits(trials: pa.Table, model: RegionModel | None = None, task: Task = NOT_KNOWN) -> pa.Table:
    """Depth limit of every scheme (and slice) at a few values of the abscissa, those of `Abscissa.few`.

    One value alone would not say what the axis does, which is what a sweep over it asks. Bias modes have one row where
    the bias variance is zero, for there they are one. Columns as of `limits`, `task` as of
    `region_map`. A second for some hundred trials.
    """
    trials = _mappable(trials)
    model = model or RegionModel.fit(trials)
    x = _abscissa(trials, None)
    first = x._replace(values=x.values[x.few])
    depths = _depths(trials)
    trained = descents(trials, task)
    panels = [_panel(fixed, text, rows, model, depths, first, trained) for fixed, text, rows in slices(trials, x.name)]
    found = limits(MapInfo("", "", depths, first, _ordered(panels), len(trials)))
    modes = trials.filter(pa.array(~unbiased(trials)))["bias_mode"].unique()
    return found if len(modes) < 2 else _once(found)


def _once(found: pa.Table) -> pa.Table:
    """The limits, with one row for every set of networks without biases: under no mode, before the others."""
    new = ~met_before(found, [axis for axis in COORDINATES if axis in found.column_names and axis != "depth"])
    none = unbiased(found)
    return pa.concat_tables([one_name(found.filter(pa.array(rows))) for rows in (new & none, new & ~none)])
