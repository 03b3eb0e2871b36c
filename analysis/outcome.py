"""From a training curve to an outcome and a score: the one rule that map and sampler share; `verdict` is of a trial.

The curve is kept and the label derived, so a criterion can be changed after training. A replicate is
*trained* at the first recorded step at which its criterion holds (first passage), so that the label
does not depend on whether training went on afterwards.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np


class Outcome(StrEnum):
    """What became of a network. `FAILED` is about infrastructure and is never data about a network."""

    TRAINED = "trained"
    SLOW = "slow"
    STALLED = "stalled"
    VANISHED = "vanished"
    DIVERGED = "diverged"
    FAILED = "failed"


MEANING: Final[Mapping[Outcome, str]] = {
    Outcome.TRAINED: "met its criterion within the budget",
    Outcome.SLOW: "made progress, but missed the criterion: try more steps",
    Outcome.STALLED: "made no progress although its signal was alive: try other learning rates",
    Outcome.VANISHED: "made no progress, and signal or gradient had vanished at initialization",
    Outcome.DIVERGED: "its loss became infinite or not a number: try smaller learning rates",
    Outcome.FAILED: "the infrastructure failed; says nothing about the network",
}

SLOW_PROGRESS: Final = 0.1  # chosen: share of the way from the first recorded value to the threshold
VANISHED_LOG: Final = math.log(1e-6)  # chosen: a log ratio at initialization below which training sees nothing

_SENSE = {"train_accuracy": 1.0, "test_accuracy": 1.0, "train_loss": -1.0}
_ALIAS = {"accuracy": "train_accuracy", "loss": "train_loss"}
_SHORTHAND = re.compile(r"\s*(\w+)\s*(>=|<=)\s*([0-9.eE+-]+)\s*(?:within\s+(\d+))?\s*")


@dataclass(frozen=True)
class Criterion:
    """`metric` must reach `threshold` within `within` steps (None: within the curve).

    `metric` is `train_accuracy` or `test_accuracy` (at least) or `train_loss` (at most, in nats).
    The test accuracy is only known at the end, so it is met at the last step or never, and knows
    no `within`.
    """

    metric: str = "train_accuracy"
    threshold: float = 0.8
    within: int | None = None

    def __post_init__(self) -> None:
        if self.metric not in _SENSE:
            near = difflib.get_close_matches(self.metric, [*_SENSE, *_ALIAS], n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"criterion.metric must be one of {', '.join(_SENSE)}, but got {self.metric!r}{hint}")
        top = 1.0 if self.metric.endswith("accuracy") else math.inf
        if not (0.0 < self.threshold <= top and math.isfinite(self.threshold)):
            law = f"0 < threshold <= {top:g}" if math.isfinite(top) else "a finite threshold above 0"
            raise ValueError(f"criterion must have {law} for {self.metric}, but got {self.threshold:g}")
        if self.within is not None and self.within < 1:
            raise ValueError(f"criterion.within must be at least 1 step, but got {self.within}")
        if self.within is not None and self.metric == "test_accuracy":
            raise ValueError(
                "criterion.within makes no sense for test_accuracy, which is measured at the end: leave out 'within'"
            )

    @property
    def told(self) -> float | None:
        """The share of inputs that have to be told rightly; None where a loss is asked for."""
        return None if self.metric == "train_loss" else self.threshold

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """`accuracy>=0.9`, `loss<=0.5`, `test_accuracy>=0.9`, optionally followed by `within 100`."""
        match = _SHORTHAND.fullmatch(text)
        if match is None:
            raise ValueError(f"a criterion reads like 'accuracy>=0.9' or 'loss<=0.5 within 100', but got {text!r}")
        metric, sign, value, within = match.groups()
        metric = _ALIAS.get(metric, metric)
        if metric in _SENSE and sign != (">=" if _SENSE[metric] > 0 else "<="):
            raise ValueError(f"criterion {text!r}: {metric} needs {'>=' if sign == '<=' else '<='}")
        try:
            threshold = float(value)
        except ValueError:
            raise ValueError(f"criterion {text!r}: {value!r} is not a number") from None
        return cls(metric, threshold, int(within) if within else None)

    def __str__(self) -> str:
        sign = ">=" if _SENSE[self.metric] > 0 else "<="
        return f"{self.metric}{sign}{float(self.threshold)}" + (f" within {self.within}" if self.within else "")


class Task(NamedTuple):
    """What networks are trained for.

    `rule` is the criterion that all are judged by, None if it is not known; `between` says by the name of a data set
    which share of the variance of its inputs lies between the means of its classes, as far as that is known.
    """

    rule: Criterion | None = None
    between: Mapping[str, float] = MappingProxyType({})


NOT_KNOWN: Final = Task()


class Curve(NamedTuple):
    """A replicate's record: recorded steps, loss and accuracy there, and the budget in steps."""

    step: Sequence[int]
    loss: Sequence[float]
    accuracy: Sequence[float]
    budget: int
    test_accuracy: float | None = None
    log_forward_ratio: float | None = None
    log_gradient_ratio: float | None = None


class Label(NamedTuple):
    outcome: Outcome
    score: float
    steps_to_threshold: int | None


def label(curve: Curve, criterion: Criterion) -> Label:
    """Outcome and score of one replicate: whichever comes first of threshold, divergence and horizon.

    The score is finite, in [-1, 1] and > 0 iff trained. Trained networks score higher the sooner
    they meet the criterion, the others the further they got towards it; a network that diverged
    scores higher the later it did. Nothing after the horizon (`criterion.within`) is looked at. The
    curve is judged as the float32 that it is kept as, so a fresh one and a stored one get the same label.
    """
    curve = curve._replace(loss=_as_kept(curve.loss), accuracy=_as_kept(curve.accuracy))
    horizon = min(criterion.within or curve.budget, curve.budget)
    broke = _first_not_finite(curve, horizon)
    steps, good = _series(curve, criterion.metric)
    end = horizon if broke is None else broke - 1
    goal = _goal(criterion)
    reached = next((s for s, g in zip(steps, good, strict=True) if g >= goal and s <= end), None)
    if reached is not None:
        return Label(Outcome.TRAINED, 1.0 - reached / (curve.budget + 1), reached)
    if broke is not None:
        return Label(Outcome.DIVERGED, -1.0 + 0.5 * broke / curve.budget, None)
    progress = _progress(curve, criterion.metric, goal, [g for s, g in zip(steps, good, strict=True) if s <= end])
    score = -max(1.0 - progress, 1e-3)
    if progress >= SLOW_PROGRESS:
        return Label(Outcome.SLOW, score, None)
    return Label(Outcome.VANISHED if _vanished(curve) else Outcome.STALLED, score, None)


def _as_kept(values: Sequence[float]) -> list[float]:
    with np.errstate(over="ignore"):  # beyond float32 is infinite, in the table too
        return np.asarray(values, np.float32).tolist()


def _goal(criterion: Criterion) -> float:
    """The threshold, larger is better. Curves are kept as float32, in which 0.9 is a little less than 0.9."""
    goal = _SENSE[criterion.metric] * criterion.threshold
    return min(goal, float(np.float32(goal)))


def _first_not_finite(curve: Curve, horizon: int) -> int | None:
    return next((s for s, v in zip(curve.step, curve.loss, strict=True) if s <= horizon and not math.isfinite(v)), None)


def _series(curve: Curve, metric: str) -> tuple[Sequence[int], Sequence[float]]:
    """Steps and values, larger is better; of the test accuracy only the end is known."""
    if metric == "train_loss":
        return curve.step, [-v for v in curve.loss]
    if metric == "train_accuracy":
        return curve.step, curve.accuracy
    last = min(curve.step[-1], curve.budget) if len(curve.step) else curve.budget
    return [last], [math.nan if curve.test_accuracy is None else curve.test_accuracy]


def _progress(curve: Curve, metric: str, goal: float, seen: Sequence[float]) -> float:
    """Share in [0, 1] of the way from the first recorded value to the goal, which was not reached.

    For the test accuracy the way begins at the first training accuracy, or at 0 if that is past the goal.
    For the loss it is measured on a log scale, or every fall from an exploded loss would be most of the way.
    """
    finite = [v for v in seen if math.isfinite(v)]
    if metric == "train_loss":
        finite, goal = [-math.log(-v) for v in finite], -math.log(-goal)
    first = curve.accuracy[:1] if metric == "test_accuracy" else finite[:1]
    if not finite or not len(first) or not math.isfinite(first[0]):
        return 0.0
    start = first[0] if first[0] < goal else 0.0
    return min(max((max(finite) - start) / (goal - start), 0.0), 1.0)


def _vanished(curve: Curve) -> bool:
    ratios = (curve.log_forward_ratio, curve.log_gradient_ratio)
    return any(r is not None and (r < VANISHED_LOG or math.isnan(r)) for r in ratios)
