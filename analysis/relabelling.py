"""The tables of an export, judged by another criterion: the curves are stored, so nothing is trained again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from analysis.checks import REMEDY
from analysis.outcome import Criterion, Curve, Outcome, label
from analysis.schema import REPLICATES, TRIALS
from analysis.verdict import Replicate, summarize


def relabel(trials: pa.Table, replicates: pa.Table, criterion: Criterion) -> tuple[pa.Table, pa.Table]:
    """Both tables with the outcomes that `criterion` gives to the stored curves.

    Failed trials stay failed: there is no curve to judge.

    Raises:
        ValueError: the curves cannot decide the criterion, because they are missing, begin too late or end too early.
    """
    budgets: dict[str, int] = dict(zip(trials["trial_key"].to_pylist(), trials["steps"].to_pylist(), strict=True))
    longest = max(budgets.values())
    if criterion.within is not None and criterion.within > longest:
        raise ValueError(f"criterion '{criterion}' looks beyond the {longest} steps that were trained")
    judged: dict[str, list[Replicate]] = defaultdict(list)
    outcomes: list[str] = []
    passages: list[int | None] = []
    for row in _rows(replicates):
        _check_curve(row, criterion)
        curve = row.curve(budgets[row.trial_key])
        verdict = label(curve, criterion)
        if verdict.outcome in _UNFINISHED and row.steps_run < min(criterion.within or curve.budget, curve.budget):
            raise ValueError(
                f"criterion '{criterion}' cannot be decided: trial {row.trial_key} was stopped at success after "
                f"{row.steps_run} of {curve.budget} steps; choose a weaker criterion, or sweep without stop_on_success"
            )
        judged[row.trial_key].append(Replicate(row.seed, row.learning_rate, verdict))
        outcomes.append(verdict.outcome)
        passages.append(verdict.steps_to_threshold)
    replicates = _replace(replicates, REPLICATES, outcome=outcomes, steps_to_threshold=passages)
    return _resummarized(trials, judged), replicates


def _check_curve(row: _Row, criterion: Criterion) -> None:
    """Refuse a criterion of which this curve can say nothing."""
    if any(curve is None for curve in (row.step, row.loss, row.accuracy)):
        raise ValueError(
            f"criterion '{criterion}' cannot be decided: trial {row.trial_key} has no curve (null) for its network of "
            f"seed {row.seed}, learning rate {row.learning_rate:g}; {REMEDY}"
        )
    if criterion.within is not None and row.step and criterion.within < row.step[0]:
        raise ValueError(
            f"criterion '{criterion}' cannot be decided: the first recorded step is {row.step[0]} (trial "
            f"{row.trial_key}), so 'within' must be at least {row.step[0]}, but got {criterion.within}"
        )


_UNFINISHED = (Outcome.SLOW, Outcome.STALLED, Outcome.VANISHED)


class _Row(NamedTuple):
    """What judging a replicate needs, as plain Python values."""

    trial_key: str
    seed: int
    learning_rate: float
    steps_run: int
    test_accuracy: float | None
    log_forward_ratio: float | None
    log_gradient_ratio: float | None
    step: list[int] | None
    loss: list[float] | None
    accuracy: list[float] | None

    def curve(self, budget: int) -> Curve:
        probes = (self.test_accuracy, self.log_forward_ratio, self.log_gradient_ratio)
        return Curve(self.step or [], self.loss or [], self.accuracy or [], budget, *probes)


_PLAIN = _Row._fields[:7]
_LISTS = ("curve_step", "curve_loss", "curve_accuracy")


def _rows(replicates: pa.Table) -> Iterator[_Row]:
    """One batch of Arrow at a time becomes Python values, so memory stays bounded."""
    for batch in replicates.select([*_PLAIN, *_LISTS]).to_batches(max_chunksize=8192):
        for values in zip(*(batch[name].to_pylist() for name in (*_PLAIN, *_LISTS)), strict=True):
            yield _Row(*values)


def _resummarized(trials: pa.Table, judged: Mapping[str, list[Replicate]]) -> pa.Table:
    columns = ("n_replicates", "n_trained", "best_learning_rate", "outcome", "score")
    rows = []
    old = trials.select(["trial_key", *columns]).to_pylist()
    for row in old:
        key = row.pop("trial_key")
        if row["outcome"] == Outcome.FAILED:
            rows.append(row)
        elif key not in judged:
            raise ValueError(f"trial {key} has no replicates, so its criterion cannot be changed; {REMEDY}")
        else:
            rows.append(summarize(judged[key])._asdict())
    return _replace(trials, TRIALS, **{name: [row[name] for row in rows] for name in columns})


def _replace(table: pa.Table, schema: pa.Schema, **columns: list[Any]) -> pa.Table:
    for name, values in columns.items():
        field = schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    return table
