"""Where things lie in a figure of a map: positions along the abscissa, cells, ticks and labels."""

from __future__ import annotations

import math
import textwrap
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from analysis.draw.canvas import literal
from analysis.mapinfo import Abscissa, MapInfo
from analysis.words import value_text

LABELS: Final = 38  # letters of ticks side by side below a panel, at most
ROW_LETTERS: Final = 30  # of a text beside a row of panels, to a line
SYMBOL: Final = {
    "bias_variance": "bias variance $\\sigma_b^2$", "weight_scale": "factor $s$ on the weight variance",
    "width": "width $N$", "learning_rate": "learning rate $\\eta$", "density": "density $d$",
    "steps": "training budget (steps)",
    "depth": "depth $L$ (weight layers)",
}  # fmt: skip


class Along:
    """Positions on the abscissa: the logarithm, columns side by side, or a zero column a gap away from the rest."""

    def __init__(self, x: Abscissa) -> None:
        self.x = x
        rest = x.values[1:] if x.zero else x.values
        self.rest = rest
        if x.levels:
            self.edges = np.arange(len(rest) + 1) - 0.5
            self.zero = None
            return
        at = np.log10(rest)
        between = (at[1:] + at[:-1]) / 2  # whole numbers are not evenly spaced
        self.edges = np.concatenate([[2 * at[0] - between[0]], between, [2 * at[-1] - between[-1]]])
        self.unit = (self.edges[-1] - self.edges[0]) / 12  # of the zero column
        self.zero = self.edges[0] - self.unit if x.zero else None

    def limits(self) -> tuple[float, float]:
        """Both ends of the axis."""
        left = self.edges[0] if self.zero is None else self.zero - self.unit / 2
        return float(left), float(self.edges[-1])

    def marks(self, values: np.ndarray) -> np.ndarray:
        """Of trials at `values`. Those on a column are spread over its width as they come, or they would hide each
        other."""
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
        """`(positions, labels)`."""
        if self.x.levels:
            return list(range(len(self.rest))), [value_text(v) for v in self.rest]
        at, text = value_ticks(float(self.rest[0]), float(self.rest[-1]))
        return (at, text) if self.zero is None else ([self.zero, *at], ["0", *text])


def edges_around(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around ascending positive centres, halfway on the log scale."""
    centres = np.asarray(centres, float)  # squares of depths leave their integers
    inner = np.sqrt(centres[1:] * centres[:-1])
    return np.concatenate([[centres[0] ** 2 / inner[0]], inner, [centres[-1] ** 2 / inner[-1]]])


def bent(
    edges: np.ndarray, stepped: bool, values: np.ndarray | None = None, part: tuple[float, float] = (0.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """`(at, values)` of a line over columns: a flat piece over each, or a `part` of each, if stepped."""
    values = np.zeros(len(edges) - 1) if values is None else values
    if stepped:
        left, right = (edges[:-1] + share * np.diff(edges) for share in part)
        at = np.column_stack([left, right, right]).ravel()
        return at, np.column_stack([values, values, np.full(len(values), np.nan)]).ravel()
    at = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    return at, np.concatenate([values[:1], values, values[-1:]])


def label_axes(axis: Axes, info: MapInfo, left: str | None, *, bottom: bool) -> None:
    """Ticks everywhere; labels of the abscissa at the bottom, of the depth if `left`, a text before it, is given."""
    at, text = Along(info.x).ticks()
    axis.xaxis.set_major_locator(FixedLocator(at))
    crowded = len(text) * max(map(len, text)) > LABELS and info.x.levels
    slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axis.set_xticklabels(text, **slanted)
    depths = depth_ticks(info.depths)
    axis.yaxis.set_major_locator(FixedLocator(depths))
    axis.set_yticklabels([f"{d:g}" for d in depths])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.tick_params(length=3, width=0.6, labelleft=left is not None, labelbottom=bottom)
    if left is not None:
        lines = textwrap.wrap(literal(left), ROW_LETTERS)
        axis.set_ylabel("\n".join([*lines, SYMBOL["depth"]]))
    if bottom:
        axis.set_xlabel(SYMBOL[info.x.name])


def value_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """`(log10 of it, label)` of round values from `low` to `high`: powers of ten over a wide range, else 1, 2, 5 and so
    on, and evenly spaced ones where that leaves less than two."""
    ends = np.log10([low, high]) + np.array([-1e-6, 1e-6])
    decades = range(math.ceil(ends[0]), math.floor(ends[1]) + 1)
    if ends[1] - ends[0] >= 2:
        some = decades[:: math.ceil(len(decades) / 6)]
        return [float(d) for d in some], [f"$10^{{{d}}}$" for d in some]
    round_ones = [m * 10.0**e for e in range(math.floor(ends[0]), math.ceil(ends[1]) + 1) for m in (1, 2, 5)]
    values = [v for v in round_ones if ends[0] <= math.log10(v) <= ends[1]]
    if len(values) < 2:
        even = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
        values = [float(v) for v in even if ends[0] <= math.log10(v) <= ends[1]]
    return [math.log10(v) for v in values], [f"{v:g}" for v in values]


def span_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """`(value, label)` of round depths from `low` to `high`, no more than stand side by side in a panel."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    few = [
        [m * 10.0**e for e in decades for m in (1, 2, 5)],
        [10.0**e for e in decades[:: math.ceil(len(decades) / 7)]],
    ]
    within = [[v for v in some if low <= v * (1 + 1e-9) and v <= high * (1 + 1e-9)] for some in few]
    ticks = (within[0] if len(within[0]) <= 8 else within[1]) or [low]
    return ticks, [f"{v:g}" if v < 1e5 else _power(v) for v in ticks]


def _power(value: float) -> str:
    """A digit, unless it is 1, times a power of ten."""
    digit, exponent = f"{value:.0e}".split("e+")
    factor = "" if digit == "1" else rf"{digit}\times"
    return f"${factor}10^{{{int(exponent)}}}$"


def theory_shown(predicted: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Which predicted depth limits lie within a panel of these depths."""
    bottom, top = edges_around(depths)[[0, -1]]
    return (predicted >= bottom) & (predicted <= top)


def theory_text(predicted: float, depths: np.ndarray) -> str:
    """What to say of a predicted depth limit, for it may not be seen: `no theory`, `theory: 54, above`."""
    if np.isnan(predicted):
        return "no theory"
    if np.isinf(predicted):
        return "theory: no limit"
    bottom, top = edges_around(depths)[[0, -1]]
    return f"theory: {predicted:.0f}" + ", above" * bool(predicted > top) + ", below" * bool(predicted < bottom)


def theory_span(predicted: np.ndarray, depths: np.ndarray) -> str:
    """The same of all columns of a panel, [columns]: `theory: 94 to 237, above`."""
    known = predicted[~np.isnan(predicted)]
    low, high = (theory_text(float(v), depths) for v in ((known.min(), known.max()) if len(known) else (np.nan,) * 2))
    number, _, side = low.partition(",")
    if low == high:
        return low
    return f"{number if high.endswith(side) else low + ','} to {high.removeprefix('theory: ')}"


def depth_ticks(depths: np.ndarray) -> list[float]:
    """All of a few ascending depths, of many the round ones."""
    if len(depths) <= 6:
        return [float(d) for d in depths]
    nice = [m * 10**e for e in range(10) for m in (1, 2, 5)]
    return [float(d) for d in nice if depths[0] <= d <= depths[-1]] or [float(depths[0]), float(depths[-1])]
