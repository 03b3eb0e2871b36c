"""The map of the trainable region: a panel per scheme and slice, with frontier, theory and trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from analysis.draw.axes import ROW_LETTERS, Along, bent, edges_around, label_axes, theory_shown, theory_text
from analysis.draw.canvas import (
    AGAIN,
    INK,
    SOFT,
    STYLE,
    THEORY,
    canvas,
    file_names,
    head,
    legend_columns,
    meaning,
    panel_title,
    save,
)
from analysis.mapinfo import MapInfo, Marks, Panel, censoring
from analysis.outcome import Outcome
from analysis.words import band_text, counted, limit_text, value_text

REGION: Final = LinearSegmentedColormap.from_list("region", ["#eec39a", "#f7e6d3", "#fbfaf8", "#d3e4ee", "#9cc3da"])
MARK: Final[Mapping[str, tuple[str, str, float]]] = {  # marker, colour, size
    Outcome.TRAINED: ("o", "#0a5390", 20),
    Outcome.SLOW: ("D", "#9a6b00", 15),
    Outcome.STALLED: ("s", "#4c535c", 16),
    Outcome.VANISHED: ("v", "#7a3fa0", 21),
    Outcome.DIVERGED: ("^", "#c0321a", 21),
}
PANEL: Final = 2.65  # inches
SHOWN: Final = 500  # marks of a panel, at most: more would hide the region and its frontier
BAND: Final = 0.08  # opacity: the colour beneath must be seen
_SHORT = {"bias_variance": "$\\sigma_b^2$", "weight_scale": "$s$", "width": "$N$", "density": "$d$",
          "learning_rate": "$\\eta$", "steps": "steps"}  # fmt: skip
_HALO = [withStroke(linewidth=3.2, foreground="white", alpha=0.85)]


def draw_map(info: MapInfo, path_stem: str | Path, *, pdf: bool = False) -> list[Path]:
    """Write `STEM.png`, `STEM.svg` and, if `pdf`, `STEM.pdf` with all schemes side by side, and `STEM-<scheme>.*` with
    each alone."""
    written = save(map_figure(info), path_stem, pdf=pdf)
    if len(info.schemes) > 1:
        for scheme, name in zip(info.schemes, file_names(info.schemes), strict=True):
            alone = info._replace(panels=tuple(p for p in info.panels if p.scheme == scheme))
            written += save(map_figure(alone), f"{path_stem}-{name}", pdf=pdf)
    return written


def map_figure(info: MapInfo) -> Figure:
    """Small multiples on shared axes: a row of schemes per slice, or wrapped rows if there is one slice."""
    rows = _grid(info)
    with mpl.rc_context(STYLE):
        figure, axes = canvas(len(rows), max(map(len, rows)), wide=PANEL, high=PANEL)
        mesh = None
        for y, row in enumerate(rows):
            for x, axis in enumerate(axes[y]):
                if x >= len(row):
                    axis.set_visible(False)
                    continue
                mesh = _draw_panel(axis, row[x], info)
                text = row[x].slice if len(info.schemes) > 1 else ""
                label_axes(axis, info, text if x == 0 else None, bottom=y == len(rows) - 1 or x >= len(rows[y + 1]))
        assert mesh is not None
        bar = figure.colorbar(mesh, ax=axes.ravel().tolist(), shrink=0.7 / len(rows) ** 0.5, aspect=24, pad=0.015)
        bar.set_label("P(in the trainable region)", labelpad=6)
        bar.set_ticks([0, 0.05, 0.5, 0.95, 1], labels=["0", "", "0.5", "", "1"])
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        alone = f", {info.schemes[0]}" if len(info.schemes) == 1 else ""
        drawn = f" (of each panel {SHOWN} are drawn)" * any(len(p.marks.depth) > SHOWN for p in info.panels)
        subtitle = counted(info.n_trials, "trial") + drawn + meaning(info.criterion) + AGAIN * info.broken
        head(figure, f"Trainable region: {info.sweep}{alone}", subtitle)
        handles = _legend(info)
        columns = legend_columns(figure, handles)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.5)
    return figure


def _grid(info: MapInfo) -> list[list[Panel]]:
    """Rows of panels: every slice begins a row, and rows of more than four are wrapped into even ones."""
    by_slice = len(info.slices) > 1 and len(info.schemes) > 1
    groups = [[p for p in info.panels if p.slice == text] for text in info.slices] if by_slice else [[*info.panels]]
    most = max(map(len, groups))
    wide = math.ceil(most / math.ceil(most / 4))
    return [group[i : i + wide] for group in groups for i in range(0, len(group), wide)]


def _draw_panel(axis: Axes, panel: Panel, info: MapInfo) -> QuadMesh:
    along = Along(info.x)
    rows = edges_around(info.depths)
    meshes = [
        axis.pcolormesh(edges, rows, block, cmap=REGION, vmin=0, vmax=1, rasterized=True)
        for edges, block in along.blocks(panel.p_in_region)
    ]
    limits = np.stack([*panel.drawable, panel.predicted])
    for edges, (median, low, high, predicted) in along.blocks(limits):
        _draw_lines(axis, edges, median, low, high, predicted, stepped=info.x.levels)
    _draw_marks(axis, panel, along)
    axis.set_yscale("log")
    axis.set_xlim(*along.limits())
    axis.set_ylim(rows[0], rows[-1])
    if along.zero is not None:
        gap = (along.zero + along.unit / 2, along.edges[0])
        axis.add_patch(Rectangle((gap[0], rows[0]), gap[1] - gap[0], rows[-1] - rows[0], color="white", zorder=1.5))
    name = (len(info.schemes) == 1 and panel.slice) or panel.scheme
    axis.set_title(panel_title(name, ROW_LETTERS), loc="left", fontweight="bold", pad=26)
    axis.text(0, 1.03, _limit_text(panel, info), transform=axis.transAxes, fontsize=7.5, color=SOFT)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return meshes[-1]


def _limit_text(panel: Panel, info: MapInfo) -> str:
    column = info.x.headline
    ends = {name: v[column] for name, v in zip(("depth_limit", "low", "high"), panel.frontier, strict=True)}
    sides = {f"censored_{name}": str(censoring(ends[name], info.depths)) for name in ("low", "high")}
    again = panel.trains_again[column]
    row = {**ends, **sides, "censored": str(censoring(ends["depth_limit"], info.depths))}
    limit = limit_text(row | {"trains_again_at": None if np.isnan(again) else int(again)})
    band = "" if band_text(row) == limit_text(row) else f" ({band_text(row)})"
    theory = theory_text(float(panel.predicted[column]), info.depths)
    where = f"at {_SHORT[info.x.name]} = {value_text(info.x.values[column])}"
    return f"{where}: depth limit {limit}{band}\n{theory}"


def _draw_lines(
    axis: Axes,
    edges: np.ndarray,
    median: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    predicted: np.ndarray,
    *,
    stepped: bool,
) -> None:
    """Median and band, and the prediction; over each column flat if there are few, else as curves."""
    at = bent(edges, stepped)[0]

    def bend(values: np.ndarray) -> np.ndarray:
        return bent(edges, stepped, values)[1]

    axis.fill_between(at, bend(low), bend(high), color=INK, alpha=BAND, lw=0, zorder=2)
    for edge in (low, high):
        axis.plot(at, bend(edge), color=INK, lw=0.7, alpha=0.7, zorder=2)
    axis.plot(at, bend(median), color=INK, lw=2.0, zorder=3, solid_capstyle="butt")
    shown = np.where(np.isfinite(predicted), predicted, np.nan)
    axis.plot(at, bend(shown), color=THEORY, lw=1.7, ls=(0, (4, 2)), zorder=5, path_effects=_HALO)


def _draw_marks(axis: Axes, panel: Panel, along: Along) -> None:
    n = len(panel.marks.depth)
    some = np.linspace(0, n - 1, min(n, SHOWN)).round().astype(int)
    marks = Marks(*(values[some] for values in panel.marks))
    at = along.marks(marks.x)
    for outcome, (marker, colour, size) in MARK.items():
        mine = marks.outcome == outcome
        share = marks.trained[mine][:, None]
        faces = share * np.array(to_rgb(colour)) + (1 - share) * np.ones(3)
        axis.scatter(
            at[mine],
            marks.depth[mine],
            s=size,
            marker=marker,
            c=faces,
            edgecolors=colour,
            linewidths=0.9,
            zorder=4,
            clip_on=False,
        )


def _legend(info: MapInfo) -> list[Any]:
    present = {outcome for panel in info.panels for outcome in panel.marks.outcome}
    marks = [
        Line2D([], [], ls="", marker=marker, color=colour, mfc=colour if outcome == Outcome.TRAINED else "white",
               ms=math.sqrt(size), mew=0.9, label=str(outcome))
        for outcome, (marker, colour, size) in MARK.items() if outcome in present
    ]  # fmt: skip
    lines: list[Any] = [
        Line2D([], [], color=INK, lw=2.0, label="frontier (median)"),
        Patch(fc=to_rgba(INK, 2 * BAND), ec=to_rgba(INK, 0.7), lw=0.7, label="its 90 % band"),
    ]
    if any(theory_shown(panel.predicted, info.depths).any() for panel in info.panels):
        lines.append(Line2D([], [], color=THEORY, lw=1.7, ls=(0, (4, 2)), label=f"depth limit by theory{info.at_rate}"))
    return [*marks, *lines, Line2D([], [], ls="", label="fill: share of seeds that trained")]
