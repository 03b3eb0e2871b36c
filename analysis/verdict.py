"""From the labels of a trial's networks to the verdict on the trial: map and sampler share this rule too.

Networks are trained with several seeds at several learning rates, so that a point is not called untrainable for a bad
step size; which rate a trial is judged at is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from analysis.outcome import Label, Outcome


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
    """Judge a trial at its best learning rate: most trained seeds, then the best score, then the smaller rate.

    If none trained at any rate, rates at which a network diverged come after all others, whatever their scores: one
    that diverged late scores more than one that never moved, which is no reason to prefer its rate.

    The trial is trained iff at least half of the seeds are (P(trained) >= 1/2): its score is the
    upper median of the seeds' scores, and its outcome that of the seed which has it.
    """
    if not replicates:
        raise ValueError("a trial needs at least one replicate, but got none")
    by_rate: dict[float, list[Label]] = {}
    for r in replicates:
        by_rate.setdefault(r.learning_rate, []).append(r.label)

    none_trained = not any(map(_trained, by_rate.values()))

    def merit(rate: float) -> tuple[int, bool, float, float]:
        labels = by_rate[rate]
        whole = none_trained and all(item.outcome is not Outcome.DIVERGED for item in labels)
        return _trained(labels), whole, math.fsum(item.score for item in labels) / len(labels), -rate

    best = max(by_rate, key=merit)
    labels = sorted(by_rate[best], key=lambda item: (item.score, item.outcome), reverse=True)
    middle = labels[(len(labels) - 1) // 2]
    return Summary(len(labels), _trained(labels), best, middle.outcome, middle.score)


def _trained(labels: Sequence[Label]) -> int:
    return sum(item.outcome is Outcome.TRAINED for item in labels)
