"""From a training curve to an outcome and a score: the one rule that map and sampler share.

The curve is kept and the label derived, so a criterion can be changed after training. A replicate is
*trained* at the first recorded step at which its criterion holds (first passage), so that the label
does not depend on whether training went on afterwards.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


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
VANISHED_LOG: Final = math.log(1e-6)  # chosen: norm ratio below which float32 training sees nothing

_SENSE = {"train_accuracy": 1.0, "test_accuracy": 1.0, "train_loss": -1.0}
_ALIAS = {"accuracy": "train_accuracy", "loss": "train_loss"}
_SHORTHAND = re.compile(r"\s*(\w+)\s*(>=|<=)\s*([0-9.eE+-]+)\s*(?:within\s+(\d+))?\s*")


@dataclass(frozen=True)
class Criterion:
    """`metric` must reach `threshold` within `within` steps (None: within the curve).

    `metric` is `train_accuracy` or `test_accuracy` (at least) or `train_loss` (at most, in nats).
    The test accuracy is only known at the end, so it is met at the last step or never.
    """

    metric: str = "train_accuracy"
    threshold: float = 0.8
    within: int | None = None

    def __post_init__(self) -> None:
        if self.metric not in _SENSE:
            raise ValueError(f"criterion.metric must be one of {', '.join(_SENSE)}, but got {self.metric!r}")
        top = 1.0 if self.metric.endswith("accuracy") else math.inf
        if not (0.0 < self.threshold <= top and math.isfinite(self.threshold)):
            raise ValueError(f"criterion: 0 < threshold <= {top} must hold for {self.metric}, got {self.threshold}")
        if self.within is not None and self.within < 1:
            raise ValueError(f"criterion.within must be at least 1 step, but got {self.within}")

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
        return f"{self.metric}{sign}{self.threshold:g}" + (f" within {self.within}" if self.within else "")


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


def _series(curve: Curve, metric: str) -> tuple[list[int], list[float]]:
    """Recorded steps and values, larger is better; the test accuracy is one more point at the end."""
    values = curve.loss if metric == "train_loss" else curve.accuracy
    steps, good = list(curve.step), [_SENSE[metric] * float(v) for v in values]
    if metric == "test_accuracy":  # the training accuracy only says where the way to the threshold began
        last = steps[-1:] or [curve.budget]
        return last, [math.nan if curve.test_accuracy is None else curve.test_accuracy]
    return steps, good


def _vanished(curve: Curve) -> bool:
    ratios = (curve.log_forward_ratio, curve.log_gradient_ratio)
    return any(r is not None and (r < VANISHED_LOG or math.isnan(r)) for r in ratios)


def label(curve: Curve, criterion: Criterion) -> Label:
    """Outcome and score of one replicate.

    The score is finite, in [-1, 1] and > 0 iff trained. Trained networks score higher the sooner
    they meet the criterion, the others the further they got towards it; a network that diverged
    scores higher the later it did.
    """
    horizon = min(criterion.within or curve.budget, curve.budget)
    steps, good = _series(curve, criterion.metric)
    goal = _SENSE[criterion.metric] * criterion.threshold
    reached = next((s for s, g in zip(steps, good, strict=True) if g >= goal and s <= horizon), None)
    if reached is not None:
        return Label(Outcome.TRAINED, 1.0 - reached / (curve.budget + 1), reached)
    if not all(math.isfinite(v) for v in curve.loss):
        broke = next(s for s, v in zip(curve.step, curve.loss, strict=True) if not math.isfinite(v))
        return Label(Outcome.DIVERGED, -1.0 + 0.5 * min(broke, curve.budget) / curve.budget, None)
    progress = _progress(curve, criterion, steps, good, goal, horizon)
    score = -max(1.0 - progress, 1e-3)
    if progress >= SLOW_PROGRESS:
        return Label(Outcome.SLOW, score, None)
    return Label(Outcome.VANISHED if _vanished(curve) else Outcome.STALLED, score, None)


def _progress(
    curve: Curve, criterion: Criterion, steps: list[int], good: list[float], goal: float, horizon: int
) -> float:
    """Share in [0, 1] of the way from the first recorded value to the goal, by the horizon."""
    start = curve.accuracy[:1] if criterion.metric == "test_accuracy" else good[:1]
    seen = [g for s, g in zip(steps, good, strict=True) if s <= horizon and math.isfinite(g)]
    if not seen or not start or not math.isfinite(start[0]) or start[0] >= goal:
        return 0.0
    return min(max((max(seen) - start[0]) / (goal - start[0]), 0.0), 1.0)


class Replicate(NamedTuple):
    seed: int
    learning_rate: float
    label: Label


class Summary(NamedTuple):
    """What a trial's replicates say of its point; the Bernoulli counts are over seeds."""

    n_replicates: int
    n_trained: int
    best_learning_rate: float
    outcome: Outcome
    score: float


def summarize(replicates: Sequence[Replicate]) -> Summary:
    """Judge a trial at its best learning rate: the one with most trained seeds, then the best score.

    The trial is trained iff at least half of the seeds are (P(trained) >= 1/2): its score is the
    upper median of the seeds' scores, and its outcome that of the seed which has it.
    """
    if not replicates:
        raise ValueError("a trial needs at least one replicate, but got none")
    by_rate: dict[float, list[Label]] = {}
    for r in replicates:
        by_rate.setdefault(r.learning_rate, []).append(r.label)

    def merit(rate: float) -> tuple[int, float]:
        labels = by_rate[rate]
        return _trained(labels), sum(item.score for item in labels)

    best = max(by_rate, key=merit)
    labels = sorted(by_rate[best], key=lambda item: item.score, reverse=True)
    middle = labels[(len(labels) - 1) // 2]
    return Summary(len(labels), _trained(labels), best, middle.outcome, middle.score)


def _trained(labels: Sequence[Label]) -> int:
    return sum(item.outcome is Outcome.TRAINED for item in labels)
