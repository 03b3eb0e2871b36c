"""Ratios of depth limits: between schemes, and between the values of an axis for one scheme.

A limit may lie beyond the depths that were tried, so a ratio may be but a bound, or nothing may be known of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.schema import COORDINATES
from analysis.words import natural, value_text


class Ratio(NamedTuple):
    """Depth limit of the first scheme, or value of an axis, over that of the second, with a 90 % interval.

    `where`: values of the other axes that vary. `censored`: `above` or `below` if one of the limits lies at an end of
    the depths that were tried, or both at opposite ones, so that the true ratio is more or less than `ratio`; `unknown`
    if both lie at the same end, so that nothing is known of it and all three numbers are nan; else `no`. An end of the
    interval that rests on what is cut off is open: 0 or inf. `bounded`: a limit or an end of a band is cut off.
    """

    where: str
    first: str
    second: str
    ratio: float
    low: float
    high: float
    bounded: bool
    censored: str


def ratios(limits: pa.Table) -> list[Ratio]:
    """Ratios between the schemes of a table as `mapinfo.limits` gives it, where all other axes are the same.

    The interval is put together from the two bands on the log scale (MOVER, Zou & Donner 2008) as if they were
    independent. The model shares strength between schemes, so they err together rather, and it is too wide.
    """
    rows = limits.to_pylist()
    axes = [axis for axis in COORDINATES if axis in limits.column_names and axis not in ("scheme", "depth")]
    varying = [axis for axis in axes if len({row[axis] for row in rows}) > 1]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[axis] for axis in varying), []).append(row)
    made = []
    for values, group in groups.items():
        where = ", ".join(f"{a.replace('_', ' ')} {value_text(v)}" for a, v in zip(varying, values, strict=True))
        group.sort(key=lambda row: (-row["depth_limit"], row["scheme"]))
        made += [_ratio(where, a["scheme"], b["scheme"], a, b) for a, b in combinations(group, 2)]
    return made


def changes(limits: pa.Table) -> list[Ratio]:
    """What each axis does to the depth limit of a scheme: ratios between its values, where all else is the same.

    Of numbers the larger over the next smaller one, of names every two. Networks without biases are one, so they are
    compared with those of every bias mode. Intervals are as of `ratios`, and all the more too wide.
    """
    rows = limits.to_pylist()
    axes = [axis for axis in COORDINATES if axis in limits.column_names and axis not in ("scheme", "depth")]
    varying = [axis for axis in axes if len({row[axis] for row in rows}) > 1]
    return [made for axis in varying for made in _along(axis, varying, rows)]


def _along(axis: str, varying: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[Ratio]:
    modes = {row["bias_mode"] for row in rows if row.get("bias_mode", "zero") != "zero"}
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        of_all = modes and row["bias_mode"] == "zero" and axis != "bias_mode"
        for mode in sorted(modes) if of_all else [row.get("bias_mode", "zero")]:
            named = row | {"bias_mode": mode}
            words = [f"{name.replace('_', ' ')} {value_text(named[name])}" for name in varying if name != axis]
            groups.setdefault((row["scheme"], *words), []).append(row)
    made = []
    for where, group in groups.items():
        group.sort(key=lambda row: natural(row[axis]) if isinstance(row[axis], str) else row[axis])
        pairs = combinations(group, 2) if isinstance(group[0][axis], str) else pairwise(group)
        for low, high in pairs:
            first, second = (value_text(row[axis]) for row in (high, low))
            made.append(_ratio(", ".join(where), f"{axis.replace('_', ' ')} {first}", second, high, low))
    return made


def _ratio(where: str, first: str, second: str, a: dict[str, Any], b: dict[str, Any]) -> Ratio:
    (a_mid, a_low, a_high), (b_mid, b_low, b_high) = (
        np.log([row["depth_limit"], row["low"], row["high"]]) for row in (a, b)
    )
    down, up = np.hypot(a_mid - a_low, b_high - b_mid), np.hypot(a_high - a_mid, b_mid - b_low)
    middle = a_mid - b_mid
    ratio, low, high = np.exp([middle, middle - down, middle + up]).tolist()
    ends = ("censored", "censored_low", "censored_high")
    bounded = any(row[end] != "no" for row in (a, b) for end in ends)
    censored = _RATIO[a["censored"], b["censored"]]
    if censored == "unknown":
        return Ratio(where, first, second, math.nan, math.nan, math.nan, bounded, censored)
    if a["censored_low"] == "below" or b["censored_high"] == "above":
        low = 0.0
    if a["censored_high"] == "above" or b["censored_low"] == "below":
        high = math.inf
    return Ratio(where, first, second, ratio, low, high, bounded, censored)


_RATIO: Final = {  # what is known of the ratio, by where the limits of the first and of the second lie
    ("no", "no"): "no", ("above", "no"): "above", ("no", "below"): "above", ("above", "below"): "above",
    ("below", "no"): "below", ("no", "above"): "below", ("below", "above"): "below",
    ("above", "above"): "unknown", ("below", "below"): "unknown",
}  # fmt: skip
