"""What theory says of the points of a table, each asked once, and many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.outcome import NOT_KNOWN, Task
from analysis.schema import AXES, RATE, STEPS, TRAINING
from isoinit.theory.many import AT_ONCE, foresee
from isoinit.theory.predict import Prediction, default_variance, no_theory, predict, predicted_outcome
from isoinit.theory.theories import THEORIES
from isoinit.theory.tolerance import BETWEEN, DEFAULT, Tolerance


class Descent(NamedTuple):
    """What theory is told of how networks are trained; of all but plain descent nothing."""

    plain: bool = False
    rate: float | None = None  # the least, as of `rates`
    steps: int | None = None  # None: not known, or not the same for all
    within: int | None = None  # steps that the criterion looks at; None: all
    greatest: float | None = None  # as of `rates`
    told: float | None = None  # share of inputs that the criterion wants told apart; None: not known
    between: float | None = None  # share of the data's variance between classes; None: not known

    @property
    def learning_rates(self) -> str:
        """`0.1`, or `0.01 to 0.1`; nothing if theory is told of none."""
        if self.rate is None:
            return ""
        return " to ".join(dict.fromkeys(f"{rate:g}" for rate in (self.rate, self.greatest) if rate is not None))


Descents = Mapping[str, Descent]
"""For each way in which networks are trained; that of all is called nothing."""


NO_DESCENTS: Final[Descents] = MappingProxyType({})


class NoTheory(str):
    """Why theory says nothing of a point."""


@lru_cache(maxsize=65536)
def _answer(_ask: Callable[..., Any], *_point: Any) -> list[Any]:
    """Where what theory says of a point goes: empty until then."""
    return []


def _question(
    scheme: str,
    architecture: str,
    activation: str,
    normalization: str,
    depth: int,
    width: int,
    weight_scale: float,
    bias_mode: str,
    bias_variance: float,
    density: float,
    learning_rate: float | None,
    steps: int | None,
    greatest: float | None,
    told: float | None,
    between: float | None,
) -> dict[str, Any] | NoTheory:
    """What theory is to be asked of a point, or the sentence why it says nothing."""
    if scheme not in THEORIES:  # not misspelled, for networks of it were trained
        return NoTheory(f"there is no line for {scheme} in isoinit/theory/theories.py")
    kind = {"architecture": architecture, "activation": activation, "normalization": normalization}
    sigma_b2 = 0.0 if bias_mode == "zero" else bias_variance
    reason = no_theory(scheme, **kind, sigma_b2=sigma_b2, bias_mode=bias_mode)
    if reason:
        return NoTheory(reason)
    scaled = None if weight_scale == 1 else default_variance(scheme, activation) * weight_scale
    return {"scheme": scheme, **kind, "depth": depth, "width": width, "sigma_w2": scaled, "sigma_b2": sigma_b2,
            "bias_mode": bias_mode, "density": density, "learning_rate": learning_rate, "steps": steps,
            "greatest_rate": greatest, "tolerance": Tolerance.of(told, between)}  # fmt: skip


def _told(ask: Callable[..., Any], question: dict[str, Any] | NoTheory) -> Any:
    if isinstance(question, NoTheory):
        return question
    try:
        return ask(**question)
    except ValueError as error:
        return NoTheory(str(error))


def rates(trials: pa.Table) -> tuple[float, float] | None:
    """The learning rates that theory is asked about: the least and the greatest that was a trial's best. None: of no
    plain descent.

    A trial has trained if it did at one of its rates; the least is the most stable one, the greatest the soonest.
    """
    if not {"optimizer", "best_learning_rate"} <= set(trials.column_names):
        return None
    found = [rate for rate in trials["best_learning_rate"].to_pylist() if rate is not None and rate > 0]
    plain = trials["optimizer"].unique().to_pylist() == ["sgd"]
    return (min(found), max(found)) if plain and found else None


def descents(trials: pa.Table, task: Task = NOT_KNOWN) -> dict[str, Descent]:
    """How the networks of each training were trained, all for this task."""
    if TRAINING not in trials.column_names:
        return {"": _descent(trials, task)}
    ways = trials[TRAINING].unique().to_pylist()
    return {way: _descent(trials.filter(pc.field(TRAINING) == way), task) for way in ways}


def _descent(trials: pa.Table, task: Task) -> Descent:
    if "optimizer" not in trials.column_names or trials["optimizer"].unique().to_pylist() != ["sgd"]:
        return Descent()
    least, greatest = rates(trials) or (None, None)
    asked, within = _asked(trials, task), task.rule and task.rule.within
    if STEPS not in trials.column_names:
        return Descent(True, least, None, within, greatest, *asked)
    steps = trials[STEPS].unique().to_pylist()
    longest = rates(trials.filter(pc.field(STEPS) == max(steps)))  # in fewer steps only greater rates are of use
    budget = steps[0] if len(steps) == 1 else None
    return Descent(True, longest and longest[0], budget, within, longest and greatest, *asked)


def _asked(trials: pa.Table, task: Task) -> tuple[float | None, float | None]:
    """The last two fields of a `Descent`. Of data that are not known a low criterion may say that they are hard."""
    sets = trials["dataset"].unique().to_pylist() if "dataset" in trials.column_names else []
    between = {**BETWEEN, **task.between}.get(sets[0]) if len(sets) == 1 else None
    told = task.rule and task.rule.told
    return told if told is None or between is not None else max(told, DEFAULT.told.value), between


def _ask(ask: Callable[..., Any], points: pa.Table, of: Descents) -> list[Any]:
    rows = points.select(AXES).to_pylist()
    ways, rates, steps = (
        points[name].to_pylist() if name in points.column_names else [none] * len(rows)
        for name, none in ((TRAINING, None), (RATE, None), (STEPS, None))
    )
    for row, way, rate, budget in zip(rows, ways, rates, steps, strict=True):
        descent = of.get(way or "", Descent())
        several = descent.rate is None or rate is None
        row[RATE] = descent.rate if several else rate
        known = budget if descent.plain and budget is not None else descent.steps
        row[STEPS] = known if known is None or descent.within is None else min(known, descent.within)
        row["greatest"] = descent.greatest if several else None
        row["told"], row["between"] = descent.told, descent.between
    answers = [_answer(ask, *row.values()) for row in rows]
    new = {id(answer): (answer, row) for answer, row in zip(answers, rows, strict=True) if not answer}
    left = [(answer, _question(**row)) for answer, row in new.values()]
    for i in range(0, len(left), AT_ONCE):
        some = left[i : i + AT_ONCE]
        foresee((q for _, q in some if not isinstance(q, NoTheory)), limits=ask is predict)
        for answer, question in some:
            answer[:] = [_told(ask, question)]
    return [answer[0] for answer in answers]


def predictions(points: pa.Table, of: Descents = NO_DESCENTS) -> list[Prediction | NoTheory]:
    """For each row of a table with the columns of `AXES`: the prediction, or why there is none.

    Args:
        of: as of `descents`, if learning rates and steps are to be accounted for; where the table has a column of
            either, that goes before.
    """
    return _ask(predict, points, of)


def predicted_outcomes(points: pa.Table, of: Descents = NO_DESCENTS) -> list[str | NoTheory]:
    """The same for the outcome alone, many times as soon."""
    return _ask(predicted_outcome, points, of)


def predicted_limits(points: pa.Table, of: Descents = NO_DESCENTS) -> tuple[np.ndarray, str]:
    """Predicted depth limits [n], inf: no limit, nan: no theory; and the reason of the first nan."""
    found = predictions(points, of)
    reason = next((p for p in found if isinstance(p, NoTheory)), "")
    return np.array([np.nan if isinstance(p, NoTheory) else p.depth_limit for p in found]), reason
