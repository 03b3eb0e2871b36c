"""Depth limits of all schemes on one axis."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from analysis.draw.axes import Along, bent, edges_around, label_axes, theory_shown, theory_span
from analysis.draw.canvas import AGAIN, SOFT, STYLE, canvas, entry, head, legend_columns, literal, meaning, panel_title
from analysis.mapinfo import MapInfo, Panel, censoring
from analysis.words import counted

SCHEME: Final = (  # Okabe and Ito's colours, darkened where they are too light for a line; a marker for each
    ("#0072b2", "o"), ("#d55e00", "s"), ("#00866a", "D"), ("#b04a87", "^"),
    ("#b97a00", "v"), ("#3d9bd6", "P"), ("#14233a", "X"), ("#7a5195", "h"),
)  # fmt: skip


MARKERS: Final = 5  # along a continuous line
ABREAST: Final = 3  # panels in a row, at most
SAMPLE: Final = 3.2  # of a line in the legend, in letters
FILLED: Final = 6  # bands that lie upon each other, at most
ARROW: Final = 11  # points, of a limit beyond the depths tried
CYCLE: Final = ("-", (0, (7, 1, 1, 1)), (0, (7, 1, 1, 1, 1, 1)))  # dashes of each cycle of colours


_EDGE: Final = [withStroke(linewidth=2.6, foreground="white")]  # a theory that is right lies on the line it foretold


def frontier_figure(info: MapInfo) -> Figure:
    """All schemes on one axis: depth limit with its band, and the theory dashed; a panel per slice."""
    apart = [_unseen([p for p in info.panels if p.slice == text], info) for text in info.slices]
    drawn_limits = [panel.drawable.median for panel in info.panels]
    room = ARROW * ("above" in _sides(info, drawn_limits))  # for the arrows that leave the panels at their tops
    lines = max(text.count("\n") + bool(text) for text in apart)
    with mpl.rc_context(STYLE):
        figure, panels, columns = slice_panels(info, wide=3.9, high=3.4 + 0.13 * lines + room / 72)
        for x, (axis, text) in enumerate(zip(panels, info.slices, strict=True)):
            for panel in info.panels:
                if panel.slice == text:
                    _draw_frontier(axis, panel, info)
            axis.set_yscale("log")
            axis.set_xlim(*Along(info.x).limits())
            axis.set_ylim(*edges_around(info.depths)[[0, -1]])
            axis.set_title(panel_title(text) or " " * bool(room), loc="left", pad=6 + room + 10 * lines)
            axis.annotate(literal(apart[x]), (0, 1), (0, 4 + room), xycoords="axes fraction",
                          textcoords="offset points", va="bottom", fontsize=7.5, color=SOFT)  # fmt: skip
            axis.grid(axis="y", color="#e6e8eb", lw=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
            label_axes(axis, info, None if x % columns else "", bottom=x + columns >= len(info.slices))
        drawn = any(theory_shown(p.predicted, info.depths).any() for p in info.panels)
        head(
            figure,
            f"Depth limits: {info.sweep}",
            counted(info.n_trials, "trial")
            + "; median and 90 % band"
            + " (bars)" * _barred(info)
            + f"; dashed: theory{info.at_rate}" * drawn
            + meaning(info.criterion)
            + AGAIN * info.broken,
        )
        handles = [Line2D([], [], **stroke(info, s), ms=5, label=entry(s)) for s in info.schemes]
        handles += beyond(info, drawn_limits)
        figure.legend(handles=handles, loc="outside lower center", ncols=legend_columns(figure, handles, SAMPLE),
                      handlelength=SAMPLE)  # fmt: skip
    return figure


def slice_panels(info: MapInfo, wide: float, high: float) -> tuple[Figure, list[Axes], int]:
    """A figure with a panel per slice, in rows of as many, and how many those are."""
    rows = math.ceil(len(info.slices) / ABREAST)
    columns = math.ceil(len(info.slices) / rows)
    figure, axes = canvas(rows, columns, wide=wide, high=high)
    for axis in axes.flat[len(info.slices) :]:
        axis.set_visible(False)
    return figure, list(axes.flat[: len(info.slices)]), columns


def _unseen(panels: list[Panel], info: MapInfo) -> str:
    """Of which schemes no prediction is to be seen, and why not: `theory: no limit (ll_orth)`."""
    schemes: dict[str, list[str]] = {}
    for panel in panels:
        if not theory_shown(panel.predicted, info.depths).any():
            schemes.setdefault(theory_span(panel.predicted, info.depths), []).append(panel.scheme)
    return "\n".join(textwrap.wrap("; ".join(f"{why} ({', '.join(who)})" for why, who in schemes.items()), 62))


def _draw_frontier(axis: Axes, panel: Panel, info: MapInfo) -> None:
    along, line = Along(info.x), stroke(info, panel.scheme)
    order, count, stepped = info.schemes.index(panel.scheme), len(info.schemes), info.x.levels
    # over a level every scheme has a place of its own, or many bands would be one and the last line hide the others
    part = ((order + 0.08) / count, (order + 0.92) / count) if stepped else (0.0, 1.0)
    for edges, rows in along.blocks(np.stack([*panel.drawable, panel.predicted])):
        (at, median), (_, low), (_, high), (_, predicted) = (bent(edges, stepped, row, part) for row in rows)
        if not _barred(info):
            axis.fill_between(at, low, high, color=line["color"], alpha=0.13, lw=0)
        axis.plot(at, median, color=line["color"], ls=line["ls"], lw=2.2, solid_capstyle="butt")
        shown = np.where(np.isfinite(predicted), predicted, np.nan)
        dashes = (0 if stepped else 4 * (order % 2), (3, 5))  # of lines that coincide: in turn, with gaps between
        axis.plot(at, shown, color=line["color"], lw=1.2, ls=dashes, path_effects=_EDGE)
        places, found = _markers(edges, rows[:3], (order + 0.5) / count, stepped=stepped)
        seen = np.isfinite(found[0])
        if not seen.any():
            continue  # an empty line that is not clipped lies at the corner of the page, and the layout would reach it
        places, (height, *ends) = places[seen], found[:, seen]
        axis.plot(places, height, **{**line, "ls": ""}, ms=5, zorder=3, clip_on=False)
        if _barred(info):
            axis.vlines(places, *ends, color=line["color"], lw=1.0, zorder=2.5)
        draw_arrows(axis, places, height, line["color"], info)


def _barred(info: MapInfo) -> bool:
    """Whether bands are bars at the markers, for so many schemes lie over a continuum that none could be told."""
    return not info.x.levels and len(info.schemes) > FILLED


def _markers(edges: np.ndarray, limits: np.ndarray, phase: float, *, stepped: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where the markers of a line lie, and the `limits` [rows, columns] there: one in each of its pieces, at a `phase`
    in (0, 1) that differs from scheme to scheme, so that lines that coincide are all seen."""
    flat = stepped or len(edges) == 2
    pieces = edges if flat else np.linspace(edges[0], edges[-1], MARKERS + 1)
    places = pieces[:-1] + phase * np.diff(pieces)
    columns = np.searchsorted(edges, places) - 1
    own = limits[:, columns]
    if flat:
        return places, own
    found = np.stack([np.exp(np.interp(places, *bent(edges, stepped, np.log(row)))) for row in limits])
    ends = np.isnan(found[0])  # beside a gap, where the line ends at the middle of its column
    return np.where(ends, ((edges[:-1] + edges[1:]) / 2)[columns], places), np.where(ends, own, found)


def beyond(info: MapInfo, limits: Iterable[np.ndarray], *, across: bool = False) -> list[Line2D]:
    """Legend of the arrows that `draw_arrows` draws at `limits`, if there are any."""
    sides = [("above",), ("below",), ("above", "below")]
    kinds = ("right", "left", "leftright") if across else ("up", "down", "updown")
    kind = dict(zip(sides, kinds, strict=True)).get(tuple(sorted(_sides(info, limits) - {"no"})))
    marker = f"$\\{kind}arrow$" if kind else None
    arrow = {"ls": "", "marker": marker, "ms": 7, "color": SOFT}
    return [Line2D([], [], **arrow, label="beyond the depths tried")] if marker else []


def _sides(info: MapInfo, limits: Iterable[np.ndarray]) -> set[str]:
    """Where limits lie, as of `censoring`; nan, which is not drawn, on no side."""
    return {str(side) for some in limits for side in censoring(some, info.depths)}


def draw_arrows(
    axis: Axes, at: np.ndarray, limit: np.ndarray, colour: str, info: MapInfo, *, across: bool = False
) -> None:
    """Arrows from the limits at an end of the depths that were tried, towards where the true ones lie: upwards, or to
    the right where the depth lies `across`."""
    sides = censoring(limit, info.depths)
    for side, up in (("above", 1), ("below", -1)):
        for x, y in zip(at[sides == side], limit[sides == side], strict=True):
            arrow = {"arrowstyle": "<-", "color": colour, "lw": 0.9, "shrinkA": 0, "shrinkB": 2}
            tip, place = ((ARROW * up, 0), (y, x)) if across else ((0, ARROW * up), (x, y))
            axis.annotate("", place, tip, textcoords="offset points", annotation_clip=False, arrowprops=arrow)


def stroke(info: MapInfo, scheme: str) -> dict[str, Any]:
    """Colour, marker and dashes of a scheme, the same in every figure of a sweep; hollow markers from the second
    cycle of colours on."""
    cycle, place = divmod(sorted(info.schemes).index(scheme), len(SCHEME))
    colour, marker = SCHEME[place]
    face = "white" if cycle else colour
    return {"color": colour, "marker": marker, "mfc": face, "mew": 1.0, "ls": CYCLE[cycle % len(CYCLE)], "lw": 2.2}
