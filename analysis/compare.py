"""Theory against measurement, and scheme against scheme on the same points and seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.axes import met_before, one_name
from analysis.checks import need
from analysis.outcome import Outcome
from analysis.predictions import NoTheory, predicted_outcomes
from analysis.region import AUDIT_ROLES, usable, wilson
from analysis.schema import AXES
from analysis.words import value_text

_POINT = (*AXES, "dataset", "optimizer", "batch_size", "steps")


class Agreement(NamedTuple):
    """How often theory and training agree whether a point trains, for one scheme.

    `share` has a 95 % Wilson interval, which is of this collection of trials: a boundary search asks where it is
    hard to tell. `counts` are of pairs (predicted, measured) of outcomes.
    """

    scheme: str
    n: int
    agree: int
    share: float
    low: float
    high: float
    audit_n: int  # the same for audit trials alone: these are a fair sample of the search space
    audit_agree: int
    counts: dict[tuple[str, str], int]
    why_no_theory: str


def agreement(trials: pa.Table) -> list[Agreement]:
    """Predicted against measured outcomes, scheme by scheme; networks under two names count once."""
    need(trials, [*_POINT, "role", "outcome"], "the agreement with theory")
    trials = usable(trials)
    trials = trials.filter(pa.array(~met_before(trials, _POINT)))
    found = predicted_outcomes(trials)
    rows = trials.select(["scheme", "role", "outcome"]).to_pylist()
    return [
        _agreement(scheme, [(row, p) for row, p in zip(rows, found, strict=True) if row["scheme"] == scheme])
        for scheme in sorted({row["scheme"] for row in rows})
    ]


def _agreement(scheme: str, pairs: Sequence[tuple[dict[str, Any], str | NoTheory]]) -> Agreement:
    reason = next((p for _, p in pairs if isinstance(p, NoTheory)), "")
    told = [(row, p) for row, p in pairs if not isinstance(p, NoTheory)]
    right = [(outcome == Outcome.TRAINED) == (row["outcome"] == Outcome.TRAINED) for row, outcome in told]
    audit = [ok for (row, _), ok in zip(told, right, strict=True) if row["role"] in AUDIT_ROLES]
    n, agree = len(told), sum(right)
    low, high = wilson(agree, n) if n else (0.0, 1.0)
    counts = Counter((str(outcome), str(row["outcome"])) for row, outcome in told)
    share = agree / n if n else float("nan")
    return Agreement(scheme, n, agree, share, low, high, len(audit), sum(audit), dict(counts), reason)


class Paired(NamedTuple):
    """Two schemes on the same points and seeds: common random numbers, so only where they differ counts.

    Of `pairs` of networks (one point and seed each), `only_first` had only the first scheme's network trained.
    Seeds of one point are no independent witnesses, so the interval is over points: `share` is the share of
    the points decided for the first (more of its seeds trained) among those decided at all, with its 95 % Wilson
    interval; nan if none is.
    """

    first: str
    second: str
    pairs: int
    only_first: int
    only_second: int
    points: int
    first_better: int
    second_better: int
    share: float
    low: float
    high: float


def paired(trials: pa.Table, replicates: pa.Table) -> list[Paired]:
    """Every two schemes that share points and seeds, each seed judged at its trial's best learning rate."""
    by_scheme = _trained_by_point(usable(trials), replicates)
    made = [_paired(a, b, by_scheme[a], by_scheme[b]) for a, b in combinations(sorted(by_scheme), 2)]
    return [pair for pair in made if pair.pairs]


_Key = tuple[tuple[Any, ...], int]


def _trained_by_point(trials: pa.Table, replicates: pa.Table) -> dict[str, dict[_Key, bool]]:
    """scheme -> (all other axes and the data set, seed) -> whether that network trained."""
    need(trials, ["trial_key", "best_learning_rate", *_POINT], "a comparison on pairs")
    rows = one_name(trials.select(["trial_key", "best_learning_rate", *_POINT])).to_pylist()
    by_key = {row["trial_key"]: row for row in rows}
    found: dict[str, dict[_Key, bool]] = {}
    for network in replicates.select(["trial_key", "seed", "learning_rate", "outcome"]).to_pylist():
        row = by_key.get(network["trial_key"])
        if row is not None and network["learning_rate"] == row["best_learning_rate"]:
            key = (tuple(row[name] for name in _POINT if name != "scheme"), network["seed"])
            found.setdefault(row["scheme"], {})[key] = network["outcome"] == Outcome.TRAINED
    return found


def _paired(first: str, second: str, a: dict[_Key, bool], b: dict[_Key, bool]) -> Paired:
    differences = [(point, a[point, seed] - b[point, seed]) for point, seed in a.keys() & b.keys()]
    balance: Counter[tuple[Any, ...]] = Counter()
    for point, difference in differences:
        balance[point] += difference
    only_first, only_second = (sum(d == sign for _, d in differences) for sign in (1, -1))
    better, worse = sum(v > 0 for v in balance.values()), sum(v < 0 for v in balance.values())
    decided = better + worse
    low, high = wilson(better, decided) if decided else (0.0, 1.0)
    share = better / decided if decided else float("nan")
    tally = (len(differences), only_first, only_second, len(balance), better, worse)
    return Paired(first, second, *tally, share, low, high)


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
    rows = sorted(limits.to_pylist(), key=lambda row: (-row["depth_limit"], row["scheme"]))
    axes = [axis for axis in AXES if axis in limits.column_names and axis not in ("scheme", "depth")]
    varying = [axis for axis in axes if len({row[axis] for row in rows}) > 1]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[axis] for axis in varying), []).append(row)
    made = []
    for values, group in groups.items():
        where = ", ".join(f"{a.replace('_', ' ')} {value_text(v)}" for a, v in zip(varying, values, strict=True))
        made += [_ratio(where, a["scheme"], b["scheme"], a, b) for a, b in combinations(group, 2)]
    return made


def changes(limits: pa.Table) -> list[Ratio]:
    """What each axis does to the depth limit of a scheme: ratios between its values, where all else is the same.

    Of numbers the larger over the next smaller one, of names every two. Networks without biases are one, so they are
    compared with those of every bias mode. Intervals are as of `ratios`, and all the more too wide.
    """
    rows = limits.to_pylist()
    axes = [axis for axis in AXES if axis in limits.column_names and axis not in ("scheme", "depth")]
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
        group.sort(key=lambda row: row[axis])
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
