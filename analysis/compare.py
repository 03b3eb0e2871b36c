"""Theory against measurement, and scheme against scheme on the same points and seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.outcome import Outcome
from analysis.region import usable, wilson
from analysis.schema import AXES
from isoinit.theory.predict import Prediction, predict


@lru_cache(maxsize=65536)
def _prediction(
    scheme: str,
    architecture: str,
    activation: str,
    normalization: str,
    depth: int,
    width: int,
    weight_scale: float,
    bias_mode: str,
    bias_variance: float,
) -> Prediction | str:
    """What theory says of a point, or the sentence why it says nothing."""

    def ask(sigma_w2: float | None) -> Prediction:
        return predict(
            scheme,
            architecture=architecture,
            activation=activation,
            normalization=normalization,
            depth=depth,
            width=width,
            sigma_w2=sigma_w2,
            sigma_b2=0.0 if bias_mode == "zero" else bias_variance,
            bias_mode=bias_mode,
        )

    try:
        standard = ask(None)
        return standard if weight_scale == 1 else ask(standard.sigma_w2 * weight_scale)
    except ValueError as error:
        return str(error)


_ASKED = tuple(axis for axis in AXES if axis != "density")  # no theory depends on the density


def predictions(points: pa.Table) -> list[Prediction | str]:
    """For each row of a table with the columns of `AXES`: the prediction, or why there is none."""
    return [_prediction(**row) for row in points.select(_ASKED).to_pylist()]


def predicted_limits(points: pa.Table) -> tuple[np.ndarray, str]:
    """Predicted depth limits [n], inf: no limit, nan: no theory; and the reason of the first nan."""
    found = predictions(points)
    reason = next((p for p in found if isinstance(p, str)), "")
    return np.array([np.nan if isinstance(p, str) else p.depth_limit for p in found]), reason


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
    """Predicted against measured outcomes, scheme by scheme."""
    trials = usable(trials)
    found = predictions(trials)
    rows = trials.select(["scheme", "role", "outcome"]).to_pylist()
    return [
        _agreement(scheme, [(row, p) for row, p in zip(rows, found, strict=True) if row["scheme"] == scheme])
        for scheme in sorted({row["scheme"] for row in rows})
    ]


def _agreement(scheme: str, pairs: Sequence[tuple[dict[str, Any], Prediction | str]]) -> Agreement:
    reason = next((p for _, p in pairs if isinstance(p, str)), "")
    told = [(row, p.outcome) for row, p in pairs if isinstance(p, Prediction)]
    right = [(outcome == Outcome.TRAINED) == (row["outcome"] == Outcome.TRAINED) for row, outcome in told]
    audit = [ok for (row, _), ok in zip(told, right, strict=True) if row["role"] == "audit"]
    n, agree = len(told), sum(right)
    low, high = wilson(agree, n) if n else (0.0, 1.0)
    counts = Counter((str(outcome), str(row["outcome"])) for row, outcome in told)
    share = agree / n if n else float("nan")
    return Agreement(scheme, n, agree, share, low, high, len(audit), sum(audit), dict(counts), reason)


class Paired(NamedTuple):
    """Two schemes on the same points and seeds: common random numbers, so only the discordant pairs count.

    `share` is the share of the discordant pairs that only the first trained, with its 95 % Wilson interval:
    above 1/2 throughout, the first is the better one at these points. nan if no pair is discordant.
    """

    first: str
    second: str
    points: int
    pairs: int
    both: int
    only_first: int
    only_second: int
    neither: int
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
    where = [axis for axis in AXES if axis != "scheme"]
    where += ["dataset", "optimizer", "batch_size", "steps"]
    rows = trials.select(["trial_key", "scheme", "best_learning_rate", *where]).to_pylist()
    by_key = {row["trial_key"]: row for row in rows}
    found: dict[str, dict[_Key, bool]] = {}
    for network in replicates.select(["trial_key", "seed", "learning_rate", "outcome"]).to_pylist():
        row = by_key.get(network["trial_key"])
        if row is not None and network["learning_rate"] == row["best_learning_rate"]:
            key = (tuple(row[axis] for axis in where), network["seed"])
            found.setdefault(row["scheme"], {})[key] = network["outcome"] == Outcome.TRAINED
    return found


def _paired(first: str, second: str, a: dict[_Key, bool], b: dict[_Key, bool]) -> Paired:
    common = a.keys() & b.keys()
    counts = Counter((a[key], b[key]) for key in common)
    only_a, only_b = counts[True, False], counts[False, True]
    low, high = wilson(only_a, only_a + only_b) if only_a + only_b else (0.0, 1.0)
    share = only_a / (only_a + only_b) if only_a + only_b else float("nan")
    tally = (counts[True, True], only_a, only_b, counts[False, False])
    return Paired(first, second, len({point for point, _ in common}), len(common), *tally, share, low, high)


class Ratio(NamedTuple):
    """Depth limit of the first scheme over that of the second, with a 90 % interval.

    `bounded`: one of the limits lies at an end of the depths that were tried, so the ratio is only a bound.
    """

    first: str
    second: str
    ratio: float
    low: float
    high: float
    bounded: bool


def ratios(limits: pa.Table) -> list[Ratio]:
    """Ratios between the schemes of a table as `maps.limits` gives it, restricted to one column of one slice.

    The interval is put together from the two bands on the log scale (MOVER, Zou & Donner 2008) as if they were
    independent. The model shares strength between schemes, so they err together rather, and it is too wide.
    """
    rows = sorted(limits.to_pylist(), key=lambda row: -row["depth_limit"])
    assert len({row["scheme"] for row in rows}) == len(rows)
    return [_ratio(a, b) for a, b in combinations(rows, 2)]


def _ratio(a: dict[str, Any], b: dict[str, Any]) -> Ratio:
    (a_mid, a_low, a_high), (b_mid, b_low, b_high) = (
        np.log([row["depth_limit"], row["low"], row["high"]]) for row in (a, b)
    )
    down, up = np.hypot(a_mid - a_low, b_high - b_mid), np.hypot(a_high - a_mid, b_mid - b_low)
    middle = a_mid - b_mid
    bounded = a["censored"] != "no" or b["censored"] != "no"
    ratio, low, high = np.exp([middle, middle - down, middle + up]).tolist()
    return Ratio(a["scheme"], b["scheme"], ratio, low, high, bounded)
