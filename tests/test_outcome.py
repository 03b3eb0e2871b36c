"""The label: finite two-sided score, > 0 iff trained; first passage; monotone in the criterion; deterministic."""

from __future__ import annotations

import math
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.outcome import MEANING, Criterion, Curve, Label, Outcome, label
from analysis.verdict import Replicate, summarize

BUDGET = 100
wild = st.floats(width=32, allow_nan=True, allow_infinity=True)
shares = st.floats(0, 1, width=32) | st.just(math.nan)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    steps = sorted(draw(st.sets(st.integers(0, BUDGET), max_size=12)))
    losses = [draw(st.floats(0, width=32, allow_infinity=True) | st.just(math.nan)) for _ in steps]
    accuracy = [draw(shares) for _ in steps]
    probes = [draw(st.none() | wild) for _ in range(2)]
    return Curve(steps, losses, accuracy, BUDGET, draw(st.none() | shares), *probes)


@st.composite
def criteria(draw: st.DrawFn) -> Criterion:
    metric = draw(st.sampled_from(["train_accuracy", "test_accuracy", "train_loss"]))
    threshold = draw(st.floats(0.01, 1.0 if metric != "train_loss" else 10.0))
    within = None if metric == "test_accuracy" else draw(st.none() | st.integers(1, 2 * BUDGET))
    return Criterion(metric, threshold, within)


@settings(deadline=None)
@given(curves(), criteria())
def test_score_is_finite_two_sided_and_positive_iff_trained(curve: Curve, criterion: Criterion) -> None:
    result = label(curve, criterion)
    assert math.isfinite(result.score)
    assert -1.0 <= result.score <= 1.0
    assert (result.score > 0) == (result.outcome is Outcome.TRAINED) == (result.steps_to_threshold is not None)
    assert result.outcome is not Outcome.FAILED


@settings(deadline=None)
@given(curves(), criteria(), st.floats(0.1, 1.0))
def test_an_easier_threshold_never_lowers_the_score(curve: Curve, criterion: Criterion, ease: float) -> None:
    easier = criterion.threshold / ease if criterion.metric == "train_loss" else criterion.threshold * ease
    hard, easy = label(curve, criterion), label(curve, Criterion(criterion.metric, easier, criterion.within))
    assert easy.score >= hard.score or easy.score == pytest.approx(hard.score)
    if hard.steps_to_threshold is not None:
        assert easy.steps_to_threshold is not None
        assert easy.steps_to_threshold <= hard.steps_to_threshold


@settings(deadline=None)
@given(curves(), criteria(), st.integers(1, BUDGET))
def test_what_happens_after_the_horizon_changes_nothing(curve: Curve, criterion: Criterion, within: int) -> None:
    if criterion.metric == "test_accuracy":
        return
    short = Criterion(criterion.metric, criterion.threshold, within)
    kept = [i for i, step in enumerate(curve.step) if step <= within]
    cut = curve._replace(
        step=[curve.step[i] for i in kept],
        loss=[curve.loss[i] for i in kept],
        accuracy=[curve.accuracy[i] for i in kept],
    )
    assert label(curve, short) == label(cut, short)


@settings(deadline=None)
@given(curves(), criteria(), st.floats(-1e-7, 1e-7))
def test_a_fresh_curve_and_a_stored_one_get_the_same_label(curve: Curve, criterion: Criterion, shift: float) -> None:
    near = [criterion.threshold + shift for _ in curve.step]
    fresh = curve._replace(loss=near, accuracy=near)
    stored = fresh._replace(**{name: pa.array(near, pa.float32()).to_pylist() for name in ("loss", "accuracy")})
    assert label(fresh, criterion) == label(stored, criterion)


def test_a_loss_beyond_float32_is_infinite() -> None:
    assert label(Curve([10, 20], [1e300, 0.1], [0.1, 0.1], BUDGET), Criterion()).outcome is Outcome.DIVERGED


def test_threshold_that_float32_rounds_down_is_met_by_its_stored_value() -> None:
    stored = float(np.float32(0.9))
    assert stored < 0.9
    assert label(Curve([10], [0.1], [stored], BUDGET), Criterion(threshold=0.9)).outcome is Outcome.TRAINED
    assert label(Curve([10], [0.1], [0.2], BUDGET, test_accuracy=0.8), Criterion("test_accuracy", 0.8)).score > 0


def _curve(*accuracy: float, loss: tuple[float, ...] | None = None, **extra: float) -> Curve:
    steps = [10 * (i + 1) for i in range(len(accuracy))]
    return Curve(steps, list(loss or [1.0] * len(accuracy)), list(accuracy), BUDGET, **extra)


@pytest.mark.parametrize(
    ("curve", "outcome", "passage"),
    [
        (_curve(0.1, 0.85, 0.3, 0.9), Outcome.TRAINED, 20),  # first passage, not last
        (_curve(0.1, 0.85, 0.9, loss=(2.0, 1.0, math.nan)), Outcome.TRAINED, 20),  # trained before it diverged
        (_curve(0.1, 0.2, 0.9, loss=(2.0, math.inf, 0.1)), Outcome.DIVERGED, None),  # and never after
        (_curve(0.1, 0.2, 0.5), Outcome.SLOW, None),
        (_curve(0.1, 0.1, 0.1), Outcome.STALLED, None),
        (_curve(0.1, 0.1, 0.1, log_forward_ratio=-30.0), Outcome.VANISHED, None),
        (_curve(0.1, 0.1, 0.1, log_gradient_ratio=-math.inf), Outcome.VANISHED, None),
        (_curve(0.1, 0.2, 0.7, log_forward_ratio=-30.0), Outcome.SLOW, None),  # progress beats a faint start
        (_curve(0.1, 0.1 + 0.11 * 0.7), Outcome.SLOW, None),  # a tenth of the way to 0.8 is progress
        (_curve(0.1, 0.1 + 0.09 * 0.7), Outcome.STALLED, None),
        (_curve(0.1, 0.1, log_gradient_ratio=math.log(0.9e-6)), Outcome.VANISHED, None),  # a millionth has vanished
        (_curve(0.1, 0.1, log_gradient_ratio=math.log(1.1e-6)), Outcome.STALLED, None),
        (_curve(0.1, 0.1, log_forward_ratio=math.nan), Outcome.VANISHED, None),  # of a signal that is zero throughout
        (_curve(0.1, 0.5, 0.1), Outcome.SLOW, None),  # the best that was seen counts
        (_curve(0.1, 0.9, loss=(2.0, math.nan)), Outcome.DIVERGED, None),  # and not the step of the divergence
        (_curve(), Outcome.STALLED, None),  # nothing recorded: no evidence of anything
    ],
)
def test_outcomes(curve: Curve, outcome: Outcome, passage: int | None) -> None:
    result = label(curve, Criterion())
    assert (result.outcome, result.steps_to_threshold) == (outcome, passage)


def test_order_of_scores_tells_how_near_a_network_came() -> None:
    worst_to_best = [
        _curve(0.1, 0.1, loss=(math.nan, math.nan)),
        _curve(0.1, 0.1, 0.1, 0.1, 0.1, loss=(1.0, 1.0, 1.0, 1.0, math.nan)),
        _curve(0.1, 0.5),
        _curve(0.1, 0.7),
        _curve(0.1, 0.79),
        _curve(0.1, 0.799),
        _curve(0.1, 0.1, 0.1, 0.9),
        _curve(0.9),
    ]
    scores = [label(curve, Criterion()).score for curve in worst_to_best]
    assert scores == sorted(set(scores))


def test_a_network_that_diverges_at_the_last_step_within_the_horizon_has_half_of_the_worst_score() -> None:
    broken = _curve(0.1, 0.1, 0.1, loss=(1.0, 1.0, math.nan))._replace(budget=30)
    assert label(broken, Criterion())[:2] == (Outcome.DIVERGED, -0.5)
    assert label(broken, Criterion(within=30)).outcome is Outcome.DIVERGED
    assert label(broken, Criterion(within=29)).outcome is Outcome.STALLED


def test_the_test_accuracy_is_met_at_the_last_recorded_step() -> None:
    early = Curve([10, 40], [0.5, 0.1], [0.85, 0.99], BUDGET, test_accuracy=0.9)
    assert label(early, Criterion("test_accuracy", 0.8)).steps_to_threshold == 40


def test_fall_from_an_exploded_loss_is_not_most_of_the_way() -> None:
    exploded = Curve([10, 20], [1e12, 1e9], [0.1, 0.1], BUDGET)
    ordinary = Curve([10, 20], [2.3, 1.0], [0.1, 0.1], BUDGET)
    criterion = Criterion("train_loss", 0.5)
    assert label(exploded, criterion).score < -0.7 < label(ordinary, criterion).score


def test_test_accuracy_short_of_the_goal_after_a_good_training_start_is_not_stalled() -> None:
    curve = Curve([10, 20], [0.5, 0.1], [0.85, 0.99], BUDGET, test_accuracy=0.79)
    assert label(curve, Criterion("test_accuracy", 0.8)).outcome is Outcome.SLOW


@settings(deadline=None)
@given(criteria())
def test_criterion_reads_back_what_it_writes(criterion: Criterion) -> None:
    assert Criterion.parse(str(criterion)) == criterion


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy>=0.9", Criterion("train_accuracy", 0.9)),
        (" loss <= 0.5 within 100 ", Criterion("train_loss", 0.5, 100)),
        ("test_accuracy>=1", Criterion("test_accuracy", 1.0)),
    ],
)
def test_shorthand(text: str, expected: Criterion) -> None:
    assert Criterion.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("accuracy", "reads like"),
        ("accuracy>0.9", "reads like"),
        ("acuracy>=0.9", "did you mean 'accuracy'"),
        ("accuracy<=0.9", "needs >="),
        ("loss>=0.9", "needs <="),
        ("accuracy>=1.5", "threshold <= 1"),
        ("accuracy>=0", "0 < threshold"),
        ("loss<=1e999", "threshold"),
        ("accuracy>=1-2", "not a number"),
        ("accuracy>=0.8 within 0", "at least 1 step"),
        ("test_accuracy>=0.8 within 50", "leave out 'within'"),
    ],
)
def test_bad_criterion_is_one_clear_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Criterion.parse(text)


labels = st.builds(
    lambda score, kind: Label(Outcome.TRAINED if score > 0 else kind, score, 1 if score > 0 else None),
    st.sampled_from([-1.0, -0.75, -0.001, 0.25, 0.9]),
    st.sampled_from([Outcome.SLOW, Outcome.STALLED, Outcome.DIVERGED]),
)
groups = st.lists(
    st.builds(Replicate, st.integers(0, 9), st.sampled_from([0.1, 0.01, 0.001]), labels), min_size=1, max_size=9
)


@settings(deadline=None)
@given(groups, st.randoms(use_true_random=False))
def test_summary_keeps_the_law_of_the_score_and_knows_no_order(replicates: list[Replicate], rng: random.Random) -> None:
    summary = summarize(replicates)
    assert (
        (summary.score > 0) == (summary.outcome is Outcome.TRAINED) == (2 * summary.n_trained >= summary.n_replicates)
    )
    at_best = [r for r in replicates if r.learning_rate == summary.best_learning_rate]
    assert summary.n_replicates == len(at_best)
    for rate in {r.learning_rate for r in replicates}:
        assert sum(r.label.score > 0 for r in replicates if r.learning_rate == rate) <= summary.n_trained
    shuffled = list(replicates)
    rng.shuffle(shuffled)
    assert summarize(shuffled) == summary


def test_an_untrainable_rate_does_not_hide_a_trainable_point() -> None:
    bad, good = Label(Outcome.DIVERGED, -0.9, None), Label(Outcome.TRAINED, 0.5, 50)
    summary = summarize(
        [Replicate(0, 0.1, bad), Replicate(1, 0.1, bad), Replicate(0, 0.01, good), Replicate(1, 0.01, bad)]
    )
    assert summary == (2, 1, 0.01, Outcome.TRAINED, 0.5)


def test_no_replicates_cannot_be_summarized() -> None:
    with pytest.raises(ValueError, match="at least one replicate"):
        summarize([])


def test_every_outcome_has_its_sentence() -> None:
    assert set(MEANING) == set(Outcome)


def test_where_none_trained_a_rate_that_diverged_is_not_the_best() -> None:
    """Late divergence scores more than no progress at all; one rate without it is enough."""
    late, still = Label(Outcome.DIVERGED, -0.55, None), Label(Outcome.STALLED, -1.0, None)
    slow = Label(Outcome.SLOW, -0.3, None)
    both = [Replicate(seed, 0.1, late) for seed in (0, 1)] + [Replicate(seed, 0.01, still) for seed in (0, 1)]
    assert summarize(both) == (2, 0, 0.01, Outcome.STALLED, -1.0)
    one = [Replicate(0, 0.1, slow), Replicate(1, 0.1, late), Replicate(0, 0.01, still), Replicate(1, 0.01, still)]
    assert summarize(one).best_learning_rate == 0.01
    assert summarize(both[:2]).outcome is Outcome.DIVERGED


def test_where_some_trained_divergence_at_a_rate_is_no_matter_of_its_own() -> None:
    good, late, still = Label(Outcome.TRAINED, 0.5, 50), Label(Outcome.DIVERGED, -0.55, None), Outcome.STALLED
    mixed = [Replicate(0, 0.1, good), Replicate(1, 0.1, late)]
    whole = [Replicate(0, 0.01, good), Replicate(1, 0.01, Label(still, -1.0, None))]
    assert summarize(mixed + whole).best_learning_rate == 0.1
