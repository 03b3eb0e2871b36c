"""Theory against measurement, and scheme against scheme on the same points and seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pyarrow as pa

from analysis.axes import met_before, one_name
from analysis.checks import need
from analysis.outcome import NOT_KNOWN, Outcome, Task
from analysis.predictions import NoTheory, descents, predicted_outcomes
from analysis.region import AUDIT_ROLES, usable, wilson
from analysis.schema import AXES, TRAINING

_POINT = (*AXES, "dataset", "optimizer", "batch_size", "steps")
_NETWORK = ["trial_key", "seed", "learning_rate", "outcome"]


def _point(trials: pa.Table) -> list[str]:
    """The columns by which networks of one seed are the same."""
    return [*_POINT, *([TRAINING] if TRAINING in trials.column_names else [])]


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


def agreement(trials: pa.Table, task: Task = NOT_KNOWN) -> list[Agreement]:
    """Predicted against measured outcomes, scheme by scheme; networks under two names count once.

    Args:
        task: what networks are trained for, which theory is told.
    """
    need(trials, [*_POINT, "role", "outcome"], "the agreement with theory")
    trials = usable(trials)
    trials = trials.filter(pa.array(~met_before(trials, _point(trials))))
    found = predicted_outcomes(trials, descents(trials, task))
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
    """scheme -> (all other axes and the training, seed) -> whether that network trained."""
    need(trials, ["trial_key", "best_learning_rate", *_POINT], "a comparison on pairs")
    need(replicates, _NETWORK, "the networks of a comparison on pairs")
    point = _point(trials)
    rows = one_name(trials.select(["trial_key", "best_learning_rate", *point])).to_pylist()
    by_key = {row["trial_key"]: row for row in rows}
    found: dict[str, dict[_Key, bool]] = {}
    for network in replicates.select(_NETWORK).to_pylist():
        row = by_key.get(network["trial_key"])
        if row is not None and network["learning_rate"] == row["best_learning_rate"]:
            key = (tuple(row[name] for name in point if name != "scheme"), network["seed"])
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
