"""What theory says of a sweep before anything of it is trained: how deep each scheme would go."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from analysis.outcome import Criterion
from isoinit.theory.many import foresee
from isoinit.theory.predict import default_variance, depth_limit, has_theory
from isoinit.theory.tolerance import Tolerance
from sweeps.spec import Point, Training

ASKED: Final = 16
"""Points of a scheme that theory is asked about: a limit of a smooth activation costs a tenth of a second."""


class Kind(NamedTuple):
    """What of a network depth limits differ most by."""

    scheme: str
    architecture: str
    activation: str
    normalization: str

    @classmethod
    def of(cls, point: Point) -> Kind:
        return cls(point.scheme, point.architecture, point.activation, point.normalization)


def by_kind(
    points: Sequence[Point], training: Training, rule: Criterion | None = None, between: float | None = None
) -> dict[Kind, list[float]]:
    """As `predicted`, of the points of every kind apart, and of no more of them in all."""
    kinds: dict[Kind, list[Point]] = {}
    for point in points:
        kinds.setdefault(Kind.of(point), []).append(point)
    schemes = Counter(kind.scheme for kind in kinds)
    return {
        kind: predicted(mine, training, rule, between, max(1, ASKED // schemes[kind.scheme]))[kind.scheme]
        for kind, mine in kinds.items()
    }


def predicted(
    points: Sequence[Point],
    training: Training,
    rule: Criterion | None = None,
    between: float | None = None,
    asked_of: int = ASKED,
) -> dict[str, list[float]]:
    """The depth limits of every scheme at the smallest bias variance, at some of `points`; empty: no theory.

    At all learning rates, for a trial that trains at one of them has trained, and in the steps of plain descent that
    there are, or those that the criterion looks at, for the share of inputs that it wants told apart, of data with
    this share of the variance `between` classes.
    """
    rate, greatest = told_rates(training) or (None, None)
    task: dict[str, Any] = {"learning_rate": rate, "greatest_rate": greatest}
    if rate is not None:
        within = (rule and rule.within) or training.steps
        task["steps"] = min(training.steps, within)
        task["tolerance"] = Tolerance.of(rule and rule.told, between)
    least = min(p.bias_variance for p in points)
    asked: dict[str, list[dict[str, Any]]] = {}
    for scheme in dict.fromkeys(p.scheme for p in points):
        # of the depth a limit does not depend
        some = list(dict.fromkeys(p._replace(depth=2, bias_variance=least) for p in points if p.scheme == scheme))
        some = some[:: math.ceil(len(some) / asked_of)]
        asked[scheme] = [question | task for p in some if (question := _question(p)) is not None]
    foresee((question | {"depth": 2} for questions in asked.values() for question in questions), limits=True)
    return {scheme: [depth_limit(**question) for question in questions] for scheme, questions in asked.items()}


def told_rates(training: Training) -> tuple[float, float] | None:
    """The least and the greatest of the learning rates, which theory is told; None: of no plain descent."""
    return (min(training.learning_rate), max(training.learning_rate)) if training.optimizer == "sgd" else None


def _question(point: Point) -> dict[str, Any] | None:
    """What theory is asked of the depth limit of a point; None if there is no theory for it."""
    kind = {
        "scheme": point.scheme,
        "architecture": point.architecture,
        "activation": point.activation,
        "normalization": point.normalization,
        "sigma_b2": point.bias_variance,
        "bias_mode": point.bias_mode if point.bias_variance else "zero",
    }
    if not has_theory(**kind):
        return None
    variance = None
    if point.weight_scale != 1:
        variance = point.weight_scale * default_variance(point.scheme, point.activation)
    return {**kind, "width": point.width, "sigma_w2": variance, "density": point.density}
