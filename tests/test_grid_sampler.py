"""The full factorial design: every point once, whatever fails, is enqueued, or was there before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial

from sweeps.samplers import GridSampler

SPACE: dict[str, BaseDistribution] = {"a": CategoricalDistribution((1, 2, 3)), "b": CategoricalDistribution(("x", "y"))}
GRID: list[dict[str, Any]] = [{"a": a, "b": b} for a, b in product((1, 2, 3), ("x", "y"))]


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(sampler=GridSampler(GRID, 0))


def _visits(study: optuna.Study) -> Counter[tuple[Any, ...]]:
    return Counter((t.params["a"], t.params["b"]) for t in study.trials if t.state is not TrialState.FAIL)


ONCE = Counter({(p["a"], p["b"]): 1 for p in GRID})


def test_every_point_is_visited_once_and_then_again(study: optuna.Study) -> None:
    for _ in GRID:
        study.tell(study.ask(SPACE), 0.0)
    assert _visits(study) == ONCE
    for _ in GRID:
        study.ask(SPACE)
    assert _visits(study) == ONCE + ONCE


def test_running_trials_count_and_failed_ones_are_visited_again(study: optuna.Study) -> None:
    asked = [study.ask(SPACE) for _ in range(4)]
    study.tell(asked[1], state=TrialState.FAIL)
    study.tell(asked[0], 0.0)
    for _ in range(3):
        study.ask(SPACE)
    assert _visits(study) == ONCE


def test_an_enqueued_trial_takes_its_own_point_and_no_other(study: optuna.Study) -> None:
    study.enqueue_trial(GRID[4])
    for _ in GRID:
        study.ask(SPACE)
    assert study.trials[0].params == GRID[4]
    assert _visits(study) == ONCE


def test_a_study_that_is_filled_again_goes_on_where_it_stopped(study: optuna.Study) -> None:
    for point in (GRID[5], GRID[0]):
        study.add_trial(create_trial(value=0.0, params=point, distributions=SPACE))
    for _ in range(4):
        study.ask(SPACE)
    assert _visits(study) == ONCE


def test_an_ask_does_not_look_at_every_trial_again(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = [{"a": a} for a in range(400)]
    sampler = GridSampler(grid, 0)
    looked = 0
    key: Callable[[dict[str, Any]], tuple[Any, ...]] = sampler._key

    def counted(params: Any) -> tuple[Any, ...]:
        nonlocal looked
        looked += 1
        return key(params)

    monkeypatch.setattr(sampler, "_key", counted)
    study = optuna.create_study(sampler=sampler)
    for _ in grid:
        study.tell(study.ask({"a": CategoricalDistribution(tuple(range(400)))}), 0.0)
    assert looked < 3 * len(grid)
