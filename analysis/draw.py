"""Draw what `maps` computed: the only file that knows matplotlib. Figures are objects; there is no global state.

Colours are told apart by readers with any colour vision, and everything a colour says a shape says too.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.maps import SYMBOL, Abscissa, MapInfo, Panel
from analysis.outcome import Outcome
from analysis.profiles import ProfileInfo
from isoinit.theory.simulate import DEAD

INK, THEORY, SOFT = "#14233a", "#a3195b", "#5d6673"
REGION: Final = LinearSegmentedColormap.from_list("region", ["#eec39a", "#f7e6d3", "#fbfaf8", "#d3e4ee", "#9cc3da"])
MARK: Final[Mapping[str, tuple[str, str, float]]] = {  # marker, colour, size
    Outcome.TRAINED: ("o", "#0a5390", 20),
    Outcome.SLOW: ("D", "#9a6b00", 15),
    Outcome.STALLED: ("s", "#4c535c", 16),
    Outcome.VANISHED: ("v", "#7a3fa0", 21),
    Outcome.DIVERGED: ("^", "#c0321a", 21),
}
STYLE: Final[dict[Any, Any]] = {
    "font.size": 9.0, "font.family": "DejaVu Sans", "axes.titlesize": 10.0, "axes.labelsize": 9.0,
    "axes.linewidth": 0.7, "axes.edgecolor": SOFT, "axes.labelcolor": INK, "text.color": INK, "axes.titlecolor": INK,
    "xtick.color": SOFT, "ytick.color": SOFT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0, "ytick.labelsize": 8.0, "legend.fontsize": 8.0, "legend.frameon": False,
    "svg.fonttype": "path", "svg.hashsalt": "isoinit", "savefig.facecolor": "white",
}  # fmt: skip
SCHEME: Final = (  # Okabe and Ito's colours, darkened where they are too light for a line; a marker for each
    ("#0072b2", "o"), ("#d55e00", "s"), ("#00866a", "D"), ("#b04a87", "^"),
    ("#b97a00", "v"), ("#3d9bd6", "P"), ("#14233a", "X"), ("#7a5195", "h"),
)  # fmt: skip
PANEL: Final = 2.65  # inches
BAND: Final = 0.08  # opacity: the colour beneath must be seen
_SHORT = {"bias_variance": "$\\sigma_b^2$", "weight_scale": "weight scale", "width": "$N$", "density": "density"}
_HALO = [withStroke(linewidth=3.2, foreground="white", alpha=0.85)]


def draw_map(info: MapInfo, path_stem: str | Path) -> list[Path]:
    """Write `STEM.png` and `STEM.svg` with all schemes side by side, and `STEM-<scheme>.*` with each alone."""
    written = save(map_figure(info), path_stem)
    if len(info.schemes) > 1:
        for scheme in info.schemes:
            alone = info._replace(panels=tuple(p for p in info.panels if p.scheme == scheme))
            written += save(map_figure(alone), f"{path_stem}-{scheme}")
    return written


def save(figure: Figure, path_stem: str | Path) -> list[Path]:
    """The figure as PNG (200 dpi) and as SVG, without a date, so that the same map gives the same bytes."""
    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    with mpl.rc_context(STYLE):
        figure.savefig(paths[0], dpi=200)
        figure.set_layout_engine("none")  # laid out once is enough
    paths[1].write_bytes(svg(figure))
    return paths


def map_figure(info: MapInfo) -> Figure:
    """Small multiples on shared axes: a row of schemes per slice, or wrapped rows if there is one slice."""
    rows = _grid(info)
    with mpl.rc_context(STYLE):
        figure, axes = _canvas(len(rows), max(map(len, rows)), wide=PANEL, high=PANEL)
        mesh = None
        for y, row in enumerate(rows):
            for x, axis in enumerate(axes[y]):
                if x >= len(row):
                    axis.set_visible(False)
                    continue
                mesh = _draw_panel(axis, row[x], info)
                text = row[x].slice if len(info.schemes) > 1 else ""
                _label_axes(axis, info, text if x == 0 else None, bottom=y == len(rows) - 1 or x >= len(rows[y + 1]))
        assert mesh is not None
        bar = figure.colorbar(mesh, ax=axes.ravel().tolist(), shrink=0.7 / len(rows) ** 0.5, aspect=24, pad=0.015)
        bar.set_label("P(in the trainable region)", labelpad=6)
        bar.set_ticks([0, 0.05, 0.5, 0.95, 1], labels=["0", "", "0.5", "", "1"])
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        alone = f", {info.schemes[0]}" if len(info.schemes) == 1 else ""
        _head(figure, f"Trainable region: {info.sweep}{alone}", f"{info.n_trials} trials" + _with(info.criterion))
        figure.legend(
            handles=_legend(info), loc="outside lower center", ncols=_legend_columns(figure), handletextpad=0.5
        )
    return figure


def _with(criterion: str) -> str:
    return (
        f"; trained means {criterion.replace('_', ' ').replace('>=', ' ≥ ').replace('<=', ' ≤ ')}" if criterion else ""
    )


def _grid(info: MapInfo) -> list[list[Panel]]:
    """Rows of panels: every slice begins a row, and rows of more than four are wrapped into even ones."""
    by_slice = len(info.slices) > 1 and len(info.schemes) > 1
    groups = [[p for p in info.panels if p.slice == text] for text in info.slices] if by_slice else [[*info.panels]]
    most = max(map(len, groups))
    wide = math.ceil(most / math.ceil(most / 4))
    return [group[i : i + wide] for group in groups for i in range(0, len(group), wide)]


def _canvas(rows: int, columns: int, *, wide: float, high: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(max(columns * wide + 1.4, 4.6), rows * high + 1.35), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    return figure, axes


def _head(figure: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle at the top left, 0.6 inches that the layout leaves alone."""
    height, left = figure.get_figheight(), 0.1 / figure.get_figwidth()
    figure.text(left, 1 - 0.1 / height, title, va="top", fontsize=12, fontweight="bold")
    figure.text(left, 1 - 0.34 / height, subtitle, va="top", fontsize=8.5, color=SOFT)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, 0, 1, 1 - 0.56 / height))


def svg(figure: Figure) -> bytes:
    """The figure as an SVG document, without a date."""
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None})
    return buffer.getvalue()


class _Along:
    """Positions on the abscissa: the logarithm, columns side by side, or a zero column a gap away from the rest."""

    def __init__(self, x: Abscissa) -> None:
        self.x = x
        rest = x.values[1:] if x.zero and not x.levels else x.values
        self.rest = rest
        if x.levels:
            self.edges = np.arange(len(rest) + 1) - 0.5
            self.zero = None
            return
        at = np.log10(rest)
        half = (at[1] - at[0]) / 2
        self.edges = np.concatenate([at - half, [at[-1] + half]])
        self.unit = (self.edges[-1] - self.edges[0]) / 12  # of the zero column
        self.zero = self.edges[0] - self.unit if x.zero else None

    def limits(self) -> tuple[float, float]:
        left = self.edges[0] if self.zero is None else self.zero - self.unit / 2
        return float(left), float(self.edges[-1])

    def marks(self, values: np.ndarray) -> np.ndarray:
        """Trials on a column are spread over its width, in the order they come, or they would hide each other."""
        spread = (np.arange(len(values)) * 0.618034) % 1 - 0.5
        if self.x.levels:
            column = np.abs(values[:, None] - self.rest).argmin(axis=1)
            return column + 0.6 * spread
        at = np.log10(np.where(values > 0, values, 1.0))
        return at if self.zero is None else np.where(values > 0, at, self.zero + 0.7 * self.unit * spread)

    def blocks(self, columns: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """`(edges, values)` of what is drawn in one piece; `columns` has the columns as its last axis."""
        if self.zero is None:
            return [(self.edges, columns)]
        own = self.zero + self.unit * np.array([-0.5, 0.5])
        return [(own, columns[..., :1]), (self.edges, columns[..., 1:])]

    def ticks(self) -> tuple[list[float], list[str]]:
        if self.x.levels:
            return list(range(len(self.rest))), [f"{v:g}" for v in self.rest]
        low, high = np.log10(self.rest[[0, -1]])
        decades = [d for d in range(math.floor(low), math.ceil(high) + 1) if low - 1e-6 <= d <= high + 1e-6]
        if len(decades) > 1:
            at, text = [float(d) for d in decades], [f"$10^{{{d}}}$" for d in decades]
        else:
            values = np.geomspace(self.rest[0], self.rest[-1], 7)[1::2]
            at, text = np.log10(values).tolist(), [f"{v:.3g}" for v in values]
        return (at, text) if self.zero is None else ([self.zero, *at], ["0", *text])


def _draw_panel(axis: Axes, panel: Panel, info: MapInfo) -> QuadMesh:
    along = _Along(info.x)
    rows = _edges(info.depths)
    meshes = [
        axis.pcolormesh(edges, rows, block, cmap=REGION, vmin=0, vmax=1, rasterized=True)
        for edges, block in along.blocks(panel.p_in_region)
    ]
    limits = np.stack([*panel.frontier, panel.predicted])
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
    axis.set_title(name, loc="left", fontweight="bold", pad=16)
    axis.text(0, 1.03, _limit_text(panel, info), transform=axis.transAxes, fontsize=7.5, color=SOFT)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return meshes[-1]


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around ascending positive centres, halfway on the log scale."""
    inner = np.sqrt(centres[1:] * centres[:-1])
    return np.concatenate([[centres[0] ** 2 / inner[0]], inner, [centres[-1] ** 2 / inner[-1]]])


def _limit_text(panel: Panel, info: MapInfo) -> str:
    median, low, high = (float(v[0]) for v in panel.frontier)
    sign = ">" if median >= 0.99 * info.depths[-1] else "<" if median <= 1.01 * info.depths[0] else ""
    return f"depth limit {sign}{median:.0f} ({low:.0f}–{high:.0f}) at {_SHORT[info.x.name]} = {info.x.values[0]:.2g}"


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
    at = _bent(edges, stepped)[0]

    def bend(values: np.ndarray) -> np.ndarray:
        return _bent(edges, stepped, values)[1]

    axis.fill_between(at, bend(low), bend(high), color=INK, alpha=BAND, lw=0, zorder=2)
    for edge in (low, high):
        axis.plot(at, bend(edge), color=INK, lw=0.7, alpha=0.7, zorder=2)
    axis.plot(at, bend(median), color=INK, lw=2.0, zorder=3, solid_capstyle="butt")
    shown = np.where(np.isfinite(predicted), predicted, np.nan)
    axis.plot(at, bend(shown), color=THEORY, lw=1.7, ls=(0, (4, 2)), zorder=5, path_effects=_HALO)


def _bent(edges: np.ndarray, stepped: bool, values: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """`(at, values)` of a line over columns: a flat piece over each if stepped or if there is but one."""
    values = np.zeros(len(edges) - 1) if values is None else values
    if stepped or len(edges) == 2:
        at = np.column_stack([edges[:-1], edges[1:], edges[1:]]).ravel()
        return at, np.column_stack([values, values, np.full(len(values), np.nan)]).ravel()
    at = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    return at, np.concatenate([values[:1], values, values[-1:]])


def _draw_marks(axis: Axes, panel: Panel, along: _Along) -> None:
    at = along.marks(panel.marks.x)
    for outcome, (marker, colour, size) in MARK.items():
        mine = panel.marks.outcome == outcome
        share = panel.marks.trained[mine][:, None]
        faces = share * np.array(to_rgb(colour)) + (1 - share) * np.ones(3)
        axis.scatter(
            at[mine],
            panel.marks.depth[mine],
            s=size,
            marker=marker,
            c=faces,
            edgecolors=colour,
            linewidths=0.9,
            zorder=4,
            clip_on=False,
        )


def _label_axes(axis: Axes, info: MapInfo, left: str | None, *, bottom: bool) -> None:
    """Ticks everywhere; labels of the abscissa at the bottom, of the depth if `left`, a text before it, is given."""
    at, text = _Along(info.x).ticks()
    axis.xaxis.set_major_locator(FixedLocator(at))
    axis.set_xticklabels(text)
    axis.xaxis.set_minor_locator(NullLocator())
    depths = _depth_ticks(info.depths)
    axis.yaxis.set_major_locator(FixedLocator(depths))
    axis.set_yticklabels([f"{d:g}" for d in depths])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.tick_params(length=3, width=0.6, labelleft=left is not None, labelbottom=bottom)
    if left is not None:
        axis.set_ylabel(f"{left}\n{SYMBOL['depth']}" if left else SYMBOL["depth"])
    if bottom:
        axis.set_xlabel(SYMBOL[info.x.name])


def _depth_ticks(depths: np.ndarray) -> list[float]:
    if len(depths) <= 6:
        return [float(d) for d in depths]
    nice = [m * 10**e for e in range(5) for m in (1, 2, 5)]
    return [float(d) for d in nice if depths[0] <= d <= depths[-1]] or [float(depths[0]), float(depths[-1])]


def frontier_figure(info: MapInfo) -> Figure:
    """All schemes on one axis: depth limit with its band, and the theory dashed; a panel per slice."""
    with mpl.rc_context(STYLE):
        figure, axes = _canvas(1, len(info.slices), wide=3.9, high=3.4)
        for x, (axis, text) in enumerate(zip(axes[0], info.slices, strict=True)):
            for panel in info.panels:
                if panel.slice == text:
                    _draw_frontier(axis, panel, info)
            axis.set_yscale("log")
            axis.set_xlim(*_Along(info.x).limits())
            axis.set_ylim(_edges(info.depths)[[0, -1]])
            axis.set_title(text, loc="left")
            axis.grid(axis="y", color="#e6e8eb", lw=0.6)
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
            _label_axes(axis, info, "" if x == 0 else None, bottom=True)
        _head(figure, f"Depth limits: {info.sweep}", "median and 90 % band; dashed: theory" + _with(info.criterion))
        handles = [Line2D([], [], color=_ink(info, s)[0], lw=2.2, label=s) for s in info.schemes]
        figure.legend(handles=handles, loc="outside lower center", ncols=_legend_columns(figure))
    return figure


def _ink(info: MapInfo, scheme: str) -> tuple[str, str]:
    """Colour and marker of a scheme, the same in every figure of a sweep."""
    return SCHEME[sorted(info.schemes).index(scheme) % len(SCHEME)]


def _draw_frontier(axis: Axes, panel: Panel, info: MapInfo) -> None:
    along = _Along(info.x)
    colour = _ink(info, panel.scheme)[0]
    for edges, rows in along.blocks(np.stack([*panel.frontier, panel.predicted])):
        (at, median), (_, low), (_, high), (_, predicted) = (_bent(edges, info.x.levels, row) for row in rows)
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
        figure, axes = _canvas(1, 1, wide=4.6, high=3.9)
        axis: Axes = axes[0, 0]
        axis.plot([low, deepest], [low, deepest], color=SOFT, lw=0.9, ls=(0, (1, 2)), zorder=1)
        for panel in info.panels:
            _draw_agreement(axis, panel, info, endless)
        axis.set(xscale="log", yscale="log", xlim=(low * 0.9, endless * 1.25), ylim=_edges(info.depths)[[0, -1]])
        ticks = _depth_ticks(np.array([low, *np.geomspace(low, deepest, 8)[1:]]))
        axis.xaxis.set_major_locator(FixedLocator([*ticks, endless]))
        axis.set_xticklabels([*(f"{t:g}" for t in ticks), "no limit"])
        depths = _depth_ticks(info.depths)
        axis.yaxis.set_major_locator(FixedLocator(depths))
        axis.set_yticklabels([f"{d:g}" for d in depths])
        for along in (axis.xaxis, axis.yaxis):
            along.set_minor_locator(NullLocator())
        axis.axvline(math.sqrt(deepest * endless), color="#d5d8dc", lw=0.8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set(xlabel="predicted depth limit (layers)", ylabel="measured depth limit (layers)")
        _head(figure, f"Theory and measurement: {info.sweep}", f"a point per {SYMBOL[info.x.name]}; bars: 90 % band")
        handles = [
            Line2D([], [], ls="", color=_ink(info, s)[0], marker=_ink(info, s)[1], ms=5, label=s) for s in info.schemes
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=_legend_columns(figure))
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
    if any(np.isfinite(panel.predicted).any() for panel in info.panels):
        lines.append(Line2D([], [], color=THEORY, lw=1.7, ls=(0, (4, 2)), label="depth limit by theory"))
    return [*marks, *lines, Line2D([], [], ls="", label="fill: share of seeds that trained")]


def _legend_columns(figure: Figure) -> int:
    return max(2, min(9, int(figure.get_figwidth() / 1.35)))


def profile_figure(info: ProfileInfo) -> Figure:
    """Norm, gradient, correlation over depth, and the singular values: theory as lines, random networks as dots."""
    theory, measured = info.theory, info.simulation
    point = theory.prediction
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        norm, gradient, angle, spectrum = figure.subplots(2, 2).ravel()
        _fan(norm, theory.layers, theory.log_norm, measured and measured.log_norm)
        _fan(gradient, theory.layers, theory.gradient_bands, measured and measured.log_gradient)
        norm.set(title="squared norm, $\\log\\,|x_l|^2 / |x_0|^2$")
        gradient.set(title="squared gradient, $\\log\\,|J_l v|^2 / |v|^2$")
        angle.plot(theory.layers, theory.correlation, color=THEORY, lw=1.8)
        angle.set(title="correlation of two inputs")
        if measured is not None:
            living = np.isfinite(measured.correlation).any(axis=0)
            found = np.nanquantile(measured.correlation[:, living], [0.05, 0.5, 0.95], axis=0)
            _dots(angle, theory.layers[living], found)
        angle.set_ylim(min(-0.05, angle.get_ylim()[0]), 1.05)
        for axis in (norm, gradient, angle):
            axis.set_xlabel("layer $l$")
        _draw_spectrum(spectrum, info)
        for axis in (norm, gradient, angle, spectrum):
            axis.spines[["top", "right"]].set_visible(False)
            axis.title.set_position((0.0, 1.0))
            axis.title.set_horizontalalignment("left")
        kind = f"{point.architecture}, {point.activation}" + ", batch normalization" * (point.normalization == "batch")
        where = f"{kind}, depth {point.depth}, width {point.width}, $\\sigma_w^2$ = {point.sigma_w2:.3g}"
        bias = f", $\\sigma_b^2$ = {point.sigma_b2:.3g} ({point.bias_mode})" if point.sigma_b2 else ", no bias"
        _head(figure, f"Theory at initialization: {point.scheme}", where + bias)
        handles: list[Any] = [
            Line2D([], [], color=THEORY, lw=1.8, label="theory: median"),
            Patch(fc=to_rgba(THEORY, 0.2), label="theory: 50 and 90 % of seeds"),
        ]
        if measured is not None:
            label = f"{info.nets} random networks: 5, 50, 95 %"
            handles.append(Line2D([], [], ls="", marker="o", ms=3.5, color=INK, label=label))
        else:
            handles.append(Line2D([], [], ls="", label="random networks: not simulated"))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


LEAST_SPAN: Final = 0.2  # of an axis of logs


def _fan(axis: Axes, layers: np.ndarray, quantiles: np.ndarray, measured: np.ndarray | None) -> None:
    """Quantiles [layers, 5] as bands around the median; measurements [nets, layers] as dots at theirs.

    Dead nets lie at the lower edge, a little below all others.
    """
    found = np.empty((3, 0)) if measured is None else np.quantile(measured, [0.05, 0.5, 0.95], axis=0, method="nearest")
    every = np.concatenate([quantiles.ravel(), found.ravel()])
    alive = every[every > DEAD] if (every > DEAD).any() else np.zeros(1)
    floor = alive.min() - 0.12 * max(np.ptp(alive), 1.0)
    quantiles = np.maximum(quantiles, floor)
    for low, high in ((0, 4), (1, 3)):
        axis.fill_between(layers, quantiles[:, low], quantiles[:, high], color=THEORY, alpha=0.14, lw=0)
    axis.plot(layers, quantiles[:, 2], color=THEORY, lw=1.8)
    if measured is not None:
        _dots(axis, layers, np.maximum(found, floor))
    low, high = axis.get_ylim()
    if high - low < LEAST_SPAN:  # rounding is not drawn as a law
        axis.set_ylim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
    if (every <= DEAD).any():
        axis.axhline(floor, color=SOFT, lw=0.6, ls=":")
        axis.annotate("dead", (1, floor), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", fontsize=7.5, color=SOFT)  # fmt: skip


def _dots(axis: Axes, layers: np.ndarray, quantiles: np.ndarray) -> None:
    """Three quantiles [3, layers] at some fifteen layers: the median as a dot, the others as a bar."""
    some = np.unique(np.linspace(0, len(layers) - 1, 15).round().astype(int))
    low, median, high = quantiles[:, some]
    bars = np.stack([median - low, high - median])
    axis.errorbar(layers[some], median, bars, fmt="o", color=INK, ms=3.2, lw=0.7, elinewidth=0.7, zorder=3)


def _draw_spectrum(axis: Axes, info: ProfileInfo) -> None:
    """Singular values in rising order against their rank; zeros lie at the lower edge."""
    theory, measured = info.theory, info.simulation
    shown = [v[v > 0] for v in (theory.singular_values, *([measured.singular_values] if measured else []))]
    logs = np.log10(np.concatenate([v.ravel() for v in shown if v.size] or [np.ones(1)]))
    floor = max(float(logs.min()), float(logs.max()) - 8) - 0.3

    def height(values: np.ndarray) -> np.ndarray:
        return np.maximum(np.log10(np.maximum(values, 1e-300)), floor)

    if len(theory.singular_values):
        axis.plot(theory.singular_levels, height(theory.singular_values), color=THEORY, lw=1.8)
    else:
        why = "\n".join(textwrap.wrap(f"theory: {theory.spectrum_route}", 44))
        if measured is None:
            axis.set_yticks([])
        axis.text(0.03, 0.95, why, transform=axis.transAxes, va="top", fontsize=7.5, color=SOFT)
    if measured is not None:
        ranked = np.sort(measured.singular_values, axis=1)
        levels = (np.arange(ranked.shape[1]) + 0.5) / ranked.shape[1]
        _dots(axis, levels, np.quantile(height(ranked), [0.05, 0.5, 0.95], axis=0))
    axis.set(title="singular values of the Jacobian, $\\log_{10} s$", xlabel="rank (share below)")
    axis.set_ylim(floor - 0.1, float(logs.max()) + 0.3)
