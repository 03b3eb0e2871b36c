"""Measured depth limits beside those that theory predicts, a row for each, so that none hides another."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.draw.axes import SYMBOL, edges_around, span_ticks
from analysis.draw.canvas import AGAIN, SOFT, STYLE, THEORY, entry, head, legend_columns, meaning, panel_title
from analysis.draw.limits import beyond, draw_arrows, slice_panels, stroke
from analysis.mapinfo import MapInfo, Panel
from analysis.words import counted, value_text

ROW: Final = 0.15  # inches
ROWS: Final = 60  # of a panel: with more of them it shows only what the axis does, at its ends
SHOWN: Final = 5  # columns of a continuum
GAP: Final = 0.4  # between two schemes, in rows
PALE: Final = "#d5d8dc"
_SMALL: Final[dict[str, Any]] = {
    "fontsize": 7.0, "color": SOFT, "va": "center", "bbox": {"fc": "white", "ec": "none", "pad": 0.5},
}  # fmt: skip


class _Layout(NamedTuple):
    """Where things lie: which columns of the map are shown, the row of each scheme's name, and the ends to the right.

    `endless` is where a prediction of no limit lies, right of `border`; the axis ends at `right`.
    """

    columns: list[int]
    names: dict[str, float]
    rows: float
    low: float
    deepest: float
    border: float
    endless: float
    right: float

    def places(self, scheme: str) -> np.ndarray:
        """The rows of a scheme's columns: below its name, or beside it if there is but one."""
        alone = len(self.columns) == 1
        return self.names[scheme] + (np.zeros(1) if alone else np.arange(1, len(self.columns) + 1))


def agreement_figure(info: MapInfo) -> Figure:
    """Measured and predicted depth limit of each scheme at a few columns, a panel per slice; no limit: far right."""
    layout = _layout(info)
    with mpl.rc_context(STYLE):
        alone = len(info.slices) == 1
        high = ROW * layout.rows + 0.3
        figure, axes, columns = slice_panels(info, wide=4.6 if alone else 3.6, high=high)
        for x, (axis, text) in enumerate(zip(axes, info.slices, strict=True)):
            bottom, left = x + columns >= len(info.slices), x % columns == 0
            _set_scales(axis, info, layout, bottom=bottom, left=left)
            panels = {panel.scheme: panel for panel in info.panels if panel.slice == text}
            for scheme in info.schemes:
                if scheme in panels:
                    _draw_agreement(axis, panels[scheme], info, layout)
                else:
                    axis.text(layout.right, layout.names[scheme], "not tried ", ha="right", **_SMALL)
            axis.set_title(panel_title(text), loc="left")
        trials, rule = counted(info.n_trials, "trial"), meaning(info.criterion) + AGAIN * info.broken
        head(figure, f"Theory and measurement: {info.sweep}", f"{trials}; {_where(info, layout)}{rule}")
        told = any(not np.isnan(p.predicted[layout.columns]).all() for p in info.panels)
        handles = [
            Line2D([], [], color=SOFT, marker="o", ms=4, lw=1.0, label="measured, 90 % band"),
            *(
                [
                    Line2D(
                        [], [], ls="", color=THEORY, marker="|", ms=8, mew=2, label=f"predicted by theory{info.at_rate}"
                    )
                ]
                * told
            ),
            *beyond(info, [p.drawable.median[layout.columns] for p in info.panels], across=True),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(figure, handles))
    return figure


def _layout(info: MapInfo) -> _Layout:
    count = len(info.x.values)
    some = list(range(count)) if info.x.levels else sorted({round(i) for i in np.linspace(0, count - 1, SHOWN)})
    columns = some if len(info.schemes) * (len(some) + 1) <= ROWS else info.x.few
    each = (len(columns) + 1 if len(columns) > 1 else 1) + GAP
    names = {scheme: i * each for i, scheme in enumerate(reversed(info.schemes))}
    finite = np.concatenate([info.depths, *(p.predicted[np.isfinite(p.predicted)] for p in info.panels)])
    low, deepest = float(finite.min()), float(finite.max())
    unsaid = any(not np.isfinite(p.predicted).all() for p in info.panels)
    border, endless, right = (
        deepest * (deepest / low) ** share for share in (0.04, 0.11 * unsaid, 0.05 + 0.14 * unsaid)
    )
    return _Layout(columns, names, each * len(names) - GAP, low, deepest, border, endless, right)


def _where(info: MapInfo, layout: _Layout) -> str:
    """Which columns the rows are."""
    shown, there = len(layout.columns), len(info.x.values)
    if there == 1:
        return f"at {SYMBOL[info.x.name]} = {value_text(info.x.values[0])}"
    some = f", {shown} of its {there} values" if info.x.levels and shown < there else ""
    return f"a row per {SYMBOL[info.x.name]}{some}"


def _set_scales(axis: Axes, info: MapInfo, layout: _Layout, *, bottom: bool, left: bool) -> None:
    ticks, labels = span_ticks(layout.low, layout.deepest)
    if any(np.isinf(p.predicted).any() for p in info.panels):
        ticks, labels = [*ticks, layout.endless], [*labels, "no limit"]
    left_end = min(layout.low * (layout.low / layout.deepest) ** 0.03, float(edges_around(info.depths)[0]))
    axis.set(xscale="log", xlim=(left_end, layout.right), ylim=(layout.rows - 0.4, -0.6))
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels(labels)
    for tick in ticks[: len(labels) - ("no limit" in labels)]:
        axis.axvline(tick, color="#eceef0", lw=0.6, zorder=0)
    if "no limit" in labels:
        axis.axvline(layout.border, color=PALE, lw=0.8, zorder=0)
    words = [value_text(info.x.values[i], 2) for i in layout.columns]
    rows = [(y, entry(scheme), True) for scheme, y in layout.names.items()]
    if len(words) > 1:
        rows += [(y, word, False) for s in layout.names for y, word in zip(layout.places(s), words, strict=True)]
    axis.tick_params(labelbottom=bottom, labelleft=left)
    axis.yaxis.set_major_locator(FixedLocator([y for y, _, _ in rows]))
    shown = axis.set_yticklabels([word for _, word, _ in rows])
    for text, (_, _, bold) in zip(shown if left else [], rows, strict=left):
        text.set(fontweight="bold" if bold else "normal", fontsize=8 if bold else 7)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_xlabel("depth limit (weight layers)" * bottom)
    axis.set_ylabel((SYMBOL[info.x.name] if len(words) > 1 else "scheme") * left)


def _draw_agreement(axis: Axes, panel: Panel, info: MapInfo, layout: _Layout) -> None:
    line, rows, name = stroke(info, panel.scheme), layout.places(panel.scheme), layout.names[panel.scheme]
    predicted = panel.predicted[layout.columns]
    median, low, high = (values[layout.columns] for values in panel.drawable)
    theory = np.where(np.isinf(predicted), layout.endless, predicted)
    axis.hlines(rows, np.fmin(theory, median), np.fmax(theory, median), color=PALE, lw=1.2, zorder=1)
    bars, seen = np.stack([median - low, high - median]), np.isfinite(median)
    axis.errorbar(median[seen], rows[seen], xerr=bars[:, seen], color=line["color"], marker=line["marker"],
                  mfc=line["mfc"], mew=0.8, ms=4, ls="", elinewidth=1.0, zorder=3)  # fmt: skip
    axis.plot(theory, rows, color=THEORY, marker="|", ms=8, mew=2, ls="", zorder=4)
    draw_arrows(axis, rows[seen], median[seen], line["color"], info, across=True)
    silent = np.isnan(predicted)
    for y in [name] if silent.all() else rows[silent]:
        axis.text(layout.right, y, "no theory ", ha="right", **_SMALL)
    for y in rows[~seen]:
        axis.text(axis.get_xlim()[0], y, " trains again deeper", ha="left", **_SMALL)
