"""Depth limits: those of all schemes on one axis, and the measured against the predicted ones."""

from __future__ import annotations

import math
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.draw.axes import Along, bent, depth_ticks, edges_around, label_axes
from analysis.draw.canvas import SOFT, STYLE, canvas, head, legend_columns, meaning
from analysis.maps import SYMBOL, MapInfo, Panel

SCHEME: Final = (  # Okabe and Ito's colours, darkened where they are too light for a line; a marker for each
    ("#0072b2", "o"), ("#d55e00", "s"), ("#00866a", "D"), ("#b04a87", "^"),
    ("#b97a00", "v"), ("#3d9bd6", "P"), ("#14233a", "X"), ("#7a5195", "h"),
)  # fmt: skip


def frontier_figure(info: MapInfo) -> Figure:
    """All schemes on one axis: depth limit with its band, and the theory dashed; a panel per slice."""
    with mpl.rc_context(STYLE):
        figure, axes = canvas(1, len(info.slices), wide=3.9, high=3.4)
        for x, (axis, text) in enumerate(zip(axes[0], info.slices, strict=True)):
            for panel in info.panels:
                if panel.slice == text:
                    _draw_frontier(axis, panel, info)
            axis.set_yscale("log")
            axis.set_xlim(*Along(info.x).limits())
            axis.set_ylim(edges_around(info.depths)[[0, -1]])
            axis.set_title(text, loc="left")
            axis.grid(axis="y", color="#e6e8eb", lw=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
            label_axes(axis, info, "" if x == 0 else None, bottom=True)
        head(
            figure,
            f"Depth limits: {info.sweep}",
            "median and 90 % band; dashed: theory" + meaning(info.criterion),
        )
        handles = [Line2D([], [], color=_ink(info, s)[0], lw=2.2, label=s) for s in info.schemes]
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(figure))
    return figure


def _draw_frontier(axis: Axes, panel: Panel, info: MapInfo) -> None:
    along = Along(info.x)
    colour = _ink(info, panel.scheme)[0]
    for edges, rows in along.blocks(np.stack([*panel.frontier, panel.predicted])):
        (at, median), (_, low), (_, high), (_, predicted) = (bent(edges, info.x.levels, row) for row in rows)
        axis.fill_between(at, low, high, color=colour, alpha=0.13, lw=0)
        axis.plot(at, median, color=colour, lw=2.2, solid_capstyle="butt")
        shown = np.where(np.isfinite(predicted), predicted, np.nan)
        axis.plot(at, shown, color=colour, lw=1.2, ls=(0, (4, 2)))


def agreement_figure(info: MapInfo) -> Figure:
    """Measured against predicted depth limit of every column; where theory sees none, at the far right."""
    finite = np.concatenate([p.predicted[np.isfinite(p.predicted)] for p in info.panels])
    low, deepest = float(info.depths[0]), float(max(info.depths[-1], *finite, 0))
    endless = deepest * 1.6
    with mpl.rc_context(STYLE):
        figure, axes = canvas(1, 1, wide=4.6, high=3.9)
        axis: Axes = axes[0, 0]
        axis.plot([low, deepest], [low, deepest], color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=1)
        for panel in info.panels:
            _draw_agreement(axis, panel, info, endless)
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
        axis.set(xlabel="predicted depth limit (layers)", ylabel="measured depth limit (layers)")
        head(figure, f"Theory and measurement: {info.sweep}", f"a point per {SYMBOL[info.x.name]}; bars: 90 % band")
        handles = [
            Line2D([], [], ls="", color=_ink(info, s)[0], marker=_ink(info, s)[1], ms=5, label=s) for s in info.schemes
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(figure))
    return figure


def _draw_agreement(axis: Axes, panel: Panel, info: MapInfo, endless: float) -> None:
    colour, marker = _ink(info, panel.scheme)
    known = ~np.isnan(panel.predicted)
    at = np.where(np.isinf(panel.predicted), endless, panel.predicted)[known]
    at = at * np.exp(0.05 * (((np.arange(len(at)) * 0.618034) % 1) - 0.5))  # equal predictions side by side
    median, low, high = (v[known] for v in panel.frontier)
    bars = np.stack([median - low, high - median])
    axis.errorbar(
        at, median, bars, fmt=marker, color=colour, ms=3.5, lw=0.5, alpha=0.75, markeredgewidth=0, elinewidth=0.5
    )


def _ink(info: MapInfo, scheme: str) -> tuple[str, str]:
    """Colour and marker of a scheme, the same in every figure of a sweep."""
    return SCHEME[sorted(info.schemes).index(scheme) % len(SCHEME)]
