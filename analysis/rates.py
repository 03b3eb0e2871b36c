"""An export judged at some of its learning rates, as if no others had been tried: every network's curve is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from analysis import trainings
from analysis.outcome import Outcome
from analysis.relabelling import relabel
from analysis.schema import RATE
from analysis.store import Export


def parse(text: str) -> tuple[float, ...]:
    """Learning rates as a command is given them: `0.1` or `0.1,0.03`.

    Raises:
        ValueError: one of them is not a finite number above 0.
    """
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"learning rates read like '0.1' or '0.1,0.03', but got {text!r}") from None
    if not all(0 < rate < math.inf for rate in rates):
        raise ValueError(f"a learning rate is a finite number above 0, but got {text!r}")
    return rates


def only(export: Export, rates: Sequence[float]) -> Export:
    """The export with every trial judged at its best among `rates`. Trials that were trained at none of them are left
    out, and counted in `without`.

    Raises:
        ValueError: no network was trained at one of the rates, or it is not known by which criterion to judge.
    """
    judged = _only(export, rates)
    return judged._replace(trials=trainings.apart(judged))


def _only(export: Export, rates: Sequence[float]) -> Export:
    there = sorted(export.replicates["learning_rate"].unique().to_pylist())
    chosen = [rate for rate in there if any(_same(rate, wanted) for wanted in rates)]
    for wanted in rates:
        if not any(_same(rate, wanted) for rate in there):
            known = ", ".join(f"{rate:g}" for rate in there)
            raise ValueError(f"no network was trained at learning rate {wanted:g}; there are {known}")
    if export.criterion is None or not export.common:
        raise ValueError(
            "at fewer learning rates trials are judged anew, and the folders do not say by which one criterion: give "
            "--criterion too"
        )
    replicates = export.replicates.filter(pc.field("learning_rate").isin(chosen))
    keys = replicates["trial_key"].unique()
    judged = pc.field("trial_key").isin(keys) | (pc.field("outcome") == pa.scalar(str(Outcome.FAILED)))
    trials, replicates = relabel(export.trials.filter(judged), replicates, export.criterion)
    return export._replace(
        trials=trials,
        replicates=replicates,
        took=None,  # that was of all networks
        rates=tuple(chosen),
        without=len(export.trials) - len(trials),
    )


def unfold(export: Export) -> pa.Table:
    """The trials once for every learning rate that they were trained at, judged there, with the column
    `learning_rate`: of a map over it. Networks of one seed start alike at all rates, which the map takes for chance.

    Raises:
        ValueError: as of `only`.
    """
    rates = sorted(export.replicates[RATE].unique().to_pylist())
    parts = [_with(_only(export, [rate]).trials, RATE, rate) for rate in rates]
    return trainings.apart(export._replace(trials=pa.concat_tables(parts)), but=trainings.RATES)


def _with(trials: pa.Table, name: str, value: float) -> pa.Table:
    return trials.append_column(name, pa.array([value] * len(trials), pa.float64()))


def text(rates: Sequence[float]) -> str:
    """` at learning rate 0.1`, or that of several; nothing of none."""
    if not rates:
        return ""
    shown = ", ".join(f"{rate:g}" for rate in rates)
    return f" at learning rate {shown}" if len(rates) == 1 else f" at the best of learning rates {shown}"


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9)
