"""An export judged within smaller and smaller budgets of steps: every network's curve is stored, so none is trained
again. A schedule of the learning rate stays that of the whole budget, though (`note`)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis import trainings
from analysis.axes import FEW
from analysis.relabelling import relabel
from analysis.schema import STEPS
from analysis.store import Export, settled


def unfold(export: Export) -> pa.Table:
    """The trials once for every budget, judged within it at their best learning rate there; `steps` is the budget.

    Those that were trained for less than a budget have no say in it. Networks are the same at all budgets, which a map
    over them takes for chance.

    Raises:
        ValueError: it is not known by which criterion to judge, or that knows the end of training alone.
    """
    rule = export.criterion
    if rule is None or not export.common:
        raise ValueError(
            "within fewer steps trials are judged anew, and the folders do not say by which one criterion: give "
            "--criterion too"
        )
    if rule.metric == "test_accuracy":
        raise ValueError(
            "the test accuracy is measured at the end, so nothing is known of it after fewer steps: judge by another "
            "criterion, as by --criterion 'accuracy>=0.8'"
        )
    parts = []
    for budget in budgets(export):
        trials = export.trials.filter(pc.field(STEPS) >= budget)
        replicates = export.replicates.filter(pc.field("trial_key").isin(trials["trial_key"].combine_chunks()))
        judged, _ = relabel(trials, replicates, dataclasses.replace(rule, within=budget))
        place, field = judged.schema.get_field_index(STEPS), judged.schema.field(STEPS)
        parts.append(judged.set_column(place, field, pa.array([budget] * len(judged), field.type)))
    return trainings.apart(export._replace(trials=pa.concat_tables(parts)), but=STEPS)


def _flat(lists: pa.ChunkedArray) -> np.ndarray:
    return pc.list_flatten(lists).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]


def note(export: Export) -> str:
    """What does not shrink with the budget, as a sentence; empty if all does."""
    schedules = [trainings.schedule(training.get("schedule")) for training in export.trainings.values()]
    falls = any(schedule != trainings.CONSTANT for schedule in schedules)
    told = "Within fewer steps the learning rate falls when it does in the whole budget, not at the same share of them."
    return told if falls else ""


def budgets(export: Export) -> list[int]:
    """At most `FEW` budgets, descending: the whole, its half, and so on down to the first step recorded, each at a step
    that was recorded."""
    curves = export.replicates["curve_step"]
    recorded = np.unique(_flat(curves))
    trials = settled(export.trials)
    whole = max((trials if len(trials) else export.trials)[STEPS].to_pylist())
    if export.criterion is not None and export.criterion.within is not None:
        whole = min(whole, export.criterion.within)
    if not len(recorded):
        return [whole]
    first = int(_flat(pc.list_slice(curves, 0, 1)).max())  # pyright: ignore[reportAttributeAccessIssue]
    count = min(FEW, 1 + int(math.log2(whole / first)))
    ratio = max(2.0, (whole / first) ** (1 / (FEW - 1)))
    wanted = [max(first, whole / ratio**k) for k in range(1, count)]  # the last is `first`, but for rounding
    places = np.searchsorted(recorded, wanted, side="right") - 1
    return [whole, *dict.fromkeys(int(recorded[place]) for place in places)]
