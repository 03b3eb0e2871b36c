"""Measured depth limits against those that theory predicts."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.draw.axes import SYMBOL, depth_ticks, edges_around
from analysis.draw.canvas import AGAIN, SOFT, STYLE, head, legend_columns, literal, meaning, panel_title
from analysis.draw.limits import beyond, draw_arrows, slice_panels, stroke
from analysis.mapinfo import MapInfo, Panel


def agreement_figure(info: MapInfo) -> Figure:
    """Measured against predicted depth limit of every column, a panel per slice; no predicted limit: far right."""
    finite = np.concatenate([info.depths, *(p.predicted[np.isfinite(p.predicted)] for p in info.panels)])
    span = float(finite.min()), float(finite.max())
    with mpl.rc_context(STYLE):
        alone = len(info.slices) == 1
        silent = [s for s in info.schemes if all(np.isnan(p.predicted).all() for p in info.panels if p.scheme == s)]
        absent = [_absent(info, text, silent) for text in info.slices]
        lines = max(text.count("\n") + bool(text) for text in absent)
        high = 3.9 if alone else 3.5 + 0.13 * lines
        figure, axes, columns = slice_panels(info, wide=4.6 if alone else 3.9, high=high)
        for x, (axis, text) in enumerate(zip(axes, info.slices, strict=True)):
            _set_scales(axis, info, *span)
            for panel in info.panels:
                if panel.slice == text:
                    _draw_agreement(axis, panel, info, _endless(span[1]))
            axis.set_title(panel_title(text), loc="left", pad=6 + 10 * lines)
            axis.annotate(literal(absent[x]), (0, 1), (0, 4), xycoords="axes fraction", textcoords="offset points",
                          va="bottom", fontsize=7.5, color=SOFT)  # fmt: skip
            bottom, left = x + columns >= len(info.slices), x % columns == 0
            axis.tick_params(labelbottom=bottom, labelleft=left)
            axis.set_xlabel("predicted depth limit (layers)" * bottom)
            axis.set_ylabel("measured depth limit (layers)" * left)
        head(
            figure,
            f"Theory and measurement: {info.sweep}",
            f"a point per {SYMBOL[info.x.name]}; bars: 90 % band" + meaning(info.criterion) + AGAIN * info.broken,
        )
        handles = [
            Line2D([], [], **{**stroke(info, s), "ls": ""}, ms=5, label=literal(s) + " (no theory)" * (s in silent))
            for s in info.schemes
        ]
        handles += beyond(info, [p.drawable.median[~np.isnan(p.predicted)] for p in info.panels])
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(figure, len(handles)))
    return figure


def _absent(info: MapInfo, text: str, silent: Sequence[str]) -> str:
    """Of which schemes theory says nothing in a slice, but for the `silent` ones, of which it nowhere does."""
    panels = [p for p in info.panels if p.slice == text and p.scheme not in silent]
    schemes = [p.scheme for p in panels if np.isnan(p.predicted).all()]
    return textwrap.fill(f"no theory ({', '.join(schemes)})", 62) if schemes else ""


def _endless(deepest: float) -> float:
    """Where a point lies of which theory sees no limit."""
    return deepest * 1.6


def _set_scales(axis: Axes, info: MapInfo, low: float, deepest: float) -> None:
    endless = _endless(deepest)
    axis.plot([low, deepest], [low, deepest], color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=1)
    axis.set(xscale="log", yscale="log", xlim=(low * 0.9, endless * 1.25), ylim=edges_around(info.depths)[[0, -1]])
    ticks = depth_ticks(np.array([low, *np.geomspace(low, deepest, 8)[1:]]))
    axis.xaxis.set_major_locator(FixedLocator([*ticks, endless]))
    axis.set_xticklabels([*(f"{t:g}" for t in ticks), "no limit"])
    depths = depth_ticks(info.depths)
    axis.yaxis.set_major_locator(FixedLocator(depths))
    axis.set_yticklabels([f"{d:g}" for d in depths])
    for along in (axis.xaxis, axis.yaxis):
        along.set_minor_locator(NullLocator())
    axis.axvline(math.sqrt(deepest * endless), color="#d5d8dc", lw=0.8)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_agreement(axis: Axes, panel: Panel, info: MapInfo, endless: float) -> None:
    points = {**stroke(info, panel.scheme), "ls": ""}
    known = ~np.isnan(panel.predicted) & np.isnan(panel.trains_again)
    at = np.where(np.isinf(panel.predicted), endless, panel.predicted)[known]
    at = at * np.exp(0.05 * (((np.arange(len(at)) * 0.618034) % 1) - 0.5))  # equal predictions side by side
    median, low, high = (v[known] for v in panel.frontier)
    bars = np.stack([median - low, high - median])
    axis.errorbar(at, median, bars, **{**points, "mew": 0.7, "lw": 0.5}, ms=3.5, alpha=0.75, elinewidth=0.5)
    draw_arrows(axis, at, median, points["color"], info)
