"""What a map over an abscissa is of: the trials of an export, or for a map over the learning rate or the training
budget each of them many times, once for every rate or budget."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from analysis import budgets, joining, rates, tables, trainings
from analysis.schema import RATE, STEPS
from analysis.store import Export


def over(export: Export, abscissa: str | None) -> pa.Table:
    """The trials.

    Raises:
        ValueError: as of `rates.unfold` and `budgets.unfold`.
    """
    unfold = {RATE: rates.unfold, STEPS: budgets.unfold}.get(abscissa or "")
    return export.trials if unfold is None else unfold(export)


def rule(export: Export, abscissa: str | None) -> str:
    """By which rule they are judged, as text."""
    if abscissa == RATE:
        return f"{export.criterion} at each learning rate"
    if abscissa == STEPS and export.criterion is not None:
        return f"{replace(export.criterion, within=None)} within each budget of steps{rates.text(export.rates)}"
    return joining.criterion(export)


def joined(export: Export, abscissa: str | None) -> str:
    """What there is to know of an export that several sweeps make up; what the abscissa is of is no training."""
    return joining.joined(export, but={RATE: trainings.RATES, STEPS: STEPS}.get(abscissa or "", ""))


def kept(export: Export, abscissa: str | None) -> str:
    """What of a training is not that of a smaller budget, if the map is over budgets; else empty."""
    return budgets.note(export) if abscissa == STEPS else ""


def note(export: Export, abscissa: str | None, trials: pa.Table) -> str:
    """What must be known of the budget to read the limits of `trials`, as of `over`; empty if nothing."""
    return kept(export, abscissa) if abscissa == STEPS else tables.budget_note(trials)
