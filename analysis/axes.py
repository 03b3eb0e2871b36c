"""The axes of a trials table: columns of numbers and names, and their places in the cube where the model lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.checks import check_axes, check_known, need
from analysis.points import CENTRE, Points, Scale
from analysis.schema import TRAINING

NUMERIC = ("depth", "width", "weight_scale", "bias_variance", "density")  # depth first: the kernel asks for it
CATEGORICAL = ("scheme", "architecture", "activation", "normalization", "bias_mode")  # and TRAINING, where it is
FEW = 8  # an axis with at most this many levels has no cells between them


@dataclass(frozen=True)
class Numeric:
    """A numeric axis. Zero on a log scale is a decade under the floor, as what is below it is, or under the low end."""

    name: str
    scale: Scale
    levels: tuple[float, ...] = ()  # if they are few, cells lie on them

    @classmethod
    def infer(cls, name: str, values: np.ndarray) -> Numeric:
        """Log scale for positive values; zero beside positive values lies a decade under the least; else linear."""
        levels = np.unique(values)
        few = tuple(levels.tolist()) if len(levels) <= FEW else ()
        low, high = float(levels[0]), float(levels[-1])
        if low < 0 or high == 0:
            return cls(name, Scale(low, high), few)
        floor = float(levels[levels > 0][0])
        scale = Scale(low, high, log=True) if low > 0 else Scale(floor / 10, high, log=True, floor=floor)
        return cls(name, scale, few)

    def encode(self, column: pa.ChunkedArray) -> np.ndarray:
        values = floats(column)
        return self.scale.encode(np.where(values <= 0, self.scale.low / 10, values) if self.scale.log else values)

    def decode(self, unit: np.ndarray) -> np.ndarray:
        values = self.scale.decode(unit)
        return np.where(values < self.scale.floor, 0.0, values)

    def cell(self, unit: np.ndarray) -> np.ndarray:
        """Values for `unit` in [0, 1)."""
        if not self.levels:
            return self.decode(unit)
        return np.array(self.levels)[(unit * len(self.levels)).astype(int)]


@dataclass(frozen=True)
class Category:
    """A categorical axis."""

    name: str
    levels: tuple[str, ...]

    def encode(self, column: pa.ChunkedArray) -> np.ndarray:
        check_known(self.name, column)
        values = names(column)
        codes = pc.index_in(values, pa.array(self.levels, pa.string()))  # pyright: ignore[reportAttributeAccessIssue]
        if codes.null_count:
            unknown = values.filter(codes.is_null())[0].as_py()
            near = get_close_matches(unknown, self.levels, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{self.name} must be one of {list(self.levels)} seen by the model, but got {unknown!r}{hint}"
            )
        return codes.to_numpy()

    def cell(self, unit: np.ndarray) -> np.ndarray:
        return np.array(self.levels)[(unit * len(self.levels)).astype(int)]


Axis = Numeric | Category


def infer_axes(trials: pa.Table, *more: str) -> tuple[Axis, ...]:
    """The axes that vary in `trials`, with the range and the levels that occur; bias modes, where there are biases.

    Args:
        more: numeric columns that are axes too.

    Raises:
        ValueError: one of these is missing, or holds what is no number.
    """
    need(trials, more, "an axis of one's own")
    check_axes(trials, more)
    axes: list[Axis] = [
        Numeric.infer(name, floats(trials[name]))
        for name in (*NUMERIC, *more)
        if name in trials.column_names and len(trials[name].unique()) > 1
    ]
    for name in (*CATEGORICAL, TRAINING):
        rows = trials.filter(pa.array(~unbiased(trials))) if name == "bias_mode" else trials
        if name in rows.column_names:
            check_known(name, rows[name])
        levels = names(rows[name]).unique().to_pylist() if name in rows.column_names else []
        if len(levels) > 1:
            axes.append(Category(name, tuple(sorted(levels))))
    return tuple(axes)


def encode(axes: Sequence[Axis], points: pa.Table) -> Points:
    need(points, [axis.name for axis in axes], "what the model is asked of")
    points = filterable(points)
    check_axes(points, [axis.name for axis in axes if isinstance(axis, Numeric)])
    x = [axis.encode(points[axis.name]) for axis in axes if isinstance(axis, Numeric)]
    c = [_codes(axis, points) for axis in axes if isinstance(axis, Category)]
    empty = np.zeros((len(points), 0))
    return Points(np.column_stack([empty, *x]), np.column_stack([empty, *c]).astype(int))


def _codes(axis: Category, points: pa.Table) -> np.ndarray:
    if axis.name != "bias_mode":
        return axis.encode(points[axis.name])
    none = unbiased(points)
    codes = np.full(len(points), CENTRE)
    codes[~none] = axis.encode(points[axis.name].filter(pa.array(~none)))
    return codes


def unbiased(points: pa.Table) -> np.ndarray:
    """Which [n] points have no biases, under whatever name: all bias modes of variance 0 are one."""
    none = np.zeros(len(points), bool)
    if "bias_mode" in points.column_names:
        none |= names(points["bias_mode"]).to_numpy() == "zero"
    if "bias_variance" in points.column_names:
        none |= floats(points["bias_variance"]) == 0
    return none


def one_name(points: pa.Table) -> pa.Table:
    """The same points, all that have no biases under the name of mode `zero`, variance 0."""
    none = pa.array(unbiased(points))
    for name, value in (("bias_mode", "zero"), ("bias_variance", 0.0)):
        if name in points.column_names:
            at = points.column_names.index(name)
            column = pc.if_else(none, value, points[name])  # pyright: ignore[reportAttributeAccessIssue]
            points = points.set_column(at, name, column)
    return points


def met_before(trials: pa.Table, by: Sequence[str]) -> np.ndarray:
    """Which [n] trials have networks, the same in the columns `by`, that occurred before under another name."""
    if "bias_mode" not in trials.column_names:
        return np.zeros(len(trials), bool)
    first: dict[tuple[Any, ...], Any] = {}
    columns = one_name(trials).select(by).to_pydict().values()
    keys = zip(*columns, strict=True) if columns else [()] * len(trials)
    modes = trials["bias_mode"].to_pylist()
    return np.array([first.setdefault(key, mode) != mode for key, mode in zip(keys, modes, strict=True)], bool)


def has_depth(axes: Sequence[Axis]) -> bool:
    return bool(axes) and axes[0].name == "depth"


def names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as strings; what is missing is the empty one."""
    return pc.fill_null(column.cast(pa.string()), "")


def filterable(table: pa.Table) -> pa.Table:
    """The table, its views of strings, as Polars writes them, as strings, for Arrow takes no rows of views; and its
    decimals, as databases have them, as floats, for numpy takes no powers of those."""
    schema = pa.schema([f.with_type(_plain(f.type)) for f in table.schema], table.schema.metadata)
    return table if schema.equals(table.schema) else table.cast(schema)


def _plain(kind: pa.DataType) -> pa.DataType:
    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return pa.float64() if pa.types.is_decimal(kind) else views.get(kind, kind)


def floats(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(float)
