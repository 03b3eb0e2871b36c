"""Theory against measurement, and schemes on paired seeds: counts that can be checked by hand."""

from __future__ import annotations

import math
from itertools import islice

import exports
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis import tables
from analysis.compare import _POINT, Agreement, Paired, agreement, paired
from analysis.maps import region_map, scheme_limits
from analysis.outcome import Criterion, Task
from analysis.predictions import Descent, descents, predicted_limits, predictions, rates
from analysis.ratios import Ratio, changes, ratios
from isoinit.theory.ensemble import Ensemble
from isoinit.theory.predict import Prediction, Tolerance, predict
from isoinit.theory.tolerance import BETWEEN


@pytest.fixture(scope="module")
def made() -> tuple[pa.Table, pa.Table]:
    return exports.tables(80, shared_points=True)


def _with(table: pa.Table, name: str, value: object) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, pa.array([value] * len(table), table.schema.field(name).type))


def test_predictions_are_those_of_the_theory(made: tuple[pa.Table, pa.Table]) -> None:
    trials = made[0].slice(0, 8)
    for row, found in zip(trials.to_pylist(), predictions(trials), strict=True):
        point = {"depth": row["depth"], "width": 64, "sigma_b2": row["bias_variance"], "bias_mode": "iid"}
        assert found == predict(row["scheme"], **point)


def test_many_narrow_nets_with_biases_are_asked_at_once_and_once(made: tuple[pa.Table, pa.Table]) -> None:
    many = _with(_with(_with(made[0].slice(0, 20), "scheme", "ll_gauss"), "bias_mode", "iid"), "width", 24)
    found = predictions(many)
    for row, told in list(zip(many.to_pylist(), found, strict=True))[:3]:
        alone = Ensemble(24, 1.0, -math.log(row["bias_variance"]), 0.0)
        assert isinstance(told, Prediction)
        assert told.alignment == pytest.approx(next(islice(alone, row["depth"] - 2, None)).distance, rel=1e-12)
    assert all(a is b for a, b in zip(predictions(many), found, strict=True))


def test_weight_scale_multiplies_the_scheme_s_own_variance(made: tuple[pa.Table, pa.Table]) -> None:
    he = made[0].filter(pc.field("scheme") == "he_normal").slice(0, 1)
    halved = predictions(_with(he, "weight_scale", 0.5))[0]
    xavier = predictions(_with(he, "scheme", "xavier_normal"))[0]
    assert not isinstance(halved, str)
    assert not isinstance(xavier, str)
    assert halved.sigma_w2 == pytest.approx(1.0)
    assert halved.depth_limit == pytest.approx(xavier.depth_limit)


def test_theory_is_asked_at_the_least_and_the_greatest_of_the_best_learning_rates(
    made: tuple[pa.Table, pa.Table],
) -> None:
    trials = made[0]
    best = trials["best_learning_rate"].drop_null().to_pylist()
    assert len(set(best)) == 2
    assert rates(trials) == (min(best), max(best)) == descents(trials)[""][1::3]
    assert rates(_with(trials, "best_learning_rate", 0.4)) == (0.4, 0.4)
    assert rates(_with(trials, "best_learning_rate", None)) is None
    for other in (_with(trials, "optimizer", "adam"), trials.drop_columns(["best_learning_rate"])):
        assert rates(other) is None
    mixed = pa.concat_tables([trials, _with(trials, "optimizer", "adam")])
    assert rates(mixed) is None


def test_theory_is_asked_within_the_steps_of_plain_descent(made: tuple[pa.Table, pa.Table]) -> None:
    trials = _with(_with(made[0], "scheme", "orthogonal"), "width", 64)
    limits = {}
    for steps in (20, 300):
        mine = _with(trials, "steps", steps)
        assert descents(mine)[""].steps == steps
        limits[steps] = region_map(mine).panels[0].predicted
        assert limits[steps][0] == predict("orthogonal", depth=2, width=64, steps=steps).depth_limit
        (found,) = agreement(mine)
        told = sum(n for (outcome, _), n in found.counts.items() if outcome == "trained")
        limits[steps, "told"] = told
    assert (limits[20] < limits[300]).all()
    assert limits[20, "told"] < limits[300, "told"]
    both = pa.concat_tables([_with(trials, "steps", 20), _with(trials, "steps", 300)])
    assert descents(both)[""].steps is None
    assert region_map(both).panels[0].predicted[0] == predict("orthogonal", depth=2, width=64).depth_limit
    told = sum(n for (outcome, _), n in agreement(both)[0].counts.items() if outcome == "trained")
    assert told == limits[20, "told"] + limits[300, "told"], "each trial within its own"
    assert descents(_with(trials, "optimizer", "adam"))[""] == Descent()
    assert descents(trials.drop_columns(["steps"]))[""].steps is None


def test_theory_is_asked_within_the_steps_that_the_criterion_looks_at(made: tuple[pa.Table, pa.Table]) -> None:
    trials = _with(_with(_with(made[0], "scheme", "orthogonal"), "width", 64), "steps", 300)
    limit = predict("orthogonal", depth=2, width=64, steps=20).depth_limit
    task = Task(Criterion(within=20))
    assert region_map(trials, task=task).panels[0].predicted[0] == limit
    assert scheme_limits(trials, None, task)["predicted"].to_pylist()[0] == limit
    told = [sum(n for (outcome, _), n in agreement(trials, Task(Criterion(within=w)))[0].counts.items()
                if outcome == "trained") for w in (20, 300, None)]  # fmt: skip
    assert told[0] < told[1] == told[2]
    longer = pa.concat_tables([_with(trials, "best_learning_rate", 0.1), _with(trials, "steps", 600)])
    assert descents(longer)[""][1:5:3] == rates(trials) == (0.01, 0.1)
    quick = pa.concat_tables([_with(trials, "best_learning_rate", 0.001), _with(trials, "steps", 600)])
    assert descents(quick)[""][1:5:3] == (0.01, 0.1), "of the longest alone"


@pytest.mark.parametrize(
    ("dataset", "rule", "told", "between"),
    [
        ("digits", Criterion(), None, None),
        ("digits", Criterion(threshold=0.9), 0.9, None),
        ("mnist", Criterion("test_accuracy", 0.9), 0.9, BETWEEN["mnist"]),
        ("cifar10", Criterion("train_loss", 0.5), None, BETWEEN["cifar10"]),
        ("mine.npz", Criterion(threshold=0.5), 0.5, 0.1),
        ("other.npz", Criterion(threshold=0.5), None, None),  # a low criterion of data that may be hard
        ("other.npz", Criterion(threshold=0.9), 0.9, None),
        ("mnist digits", None, None, None),
    ],
)
def test_theory_knows_the_share_that_the_criterion_wants_and_the_data(
    made: tuple[pa.Table, pa.Table], dataset: str, rule: Criterion | None, told: float | None, between: float | None
) -> None:
    trials = _with(_with(_with(made[0], "scheme", "orthogonal"), "width", 64), "steps", 300)
    trials = pa.concat_tables(_with(trials, "dataset", name) for name in dataset.split())
    wanted = predict("orthogonal", depth=2, width=64, steps=300, tolerance=Tolerance.of(told, between)).depth_limit
    task = Task(rule, {"mine.npz": 0.1})
    assert region_map(trials, task=task).panels[0].predicted[0] == wanted
    assert scheme_limits(trials, None, task)["predicted"].to_pylist()[0] == wanted
    usual = predict("orthogonal", depth=2, width=64, steps=300).depth_limit
    assert (wanted == usual) == (told is None and between is None)
    if told == 0.5:
        assert agreement(trials, task)[0].counts != agreement(trials)[0].counts


def test_a_learning_rate_that_is_too_great_ends_networks_in_theory_too(made: tuple[pa.Table, pa.Table]) -> None:
    trials = _with(_with(_with(made[0], "scheme", "ll_orth"), "width", 64), "steps", 600)
    limits = {}
    for rate in (0.4, 0.01):
        mine = _with(trials, "best_learning_rate", rate)
        info = region_map(mine)
        limits[rate] = info.panels[0].predicted
        assert info.at_rate == f" at learning rate {rate:g}"
        for variance, limit in list(zip(info.x.values, limits[rate], strict=True))[-3:]:
            point = {"width": 64, "sigma_b2": float(variance), "bias_mode": "iid", "learning_rate": rate, "steps": 600}
            assert limit == predict("ll_orth", depth=2, **point).depth_limit
        (found,) = agreement(mine)
        told = {outcome for outcome, _ in found.counts}
        assert ("diverged" in told) == (rate == 0.4)
    assert (limits[0.4] < limits[0.01]).all()
    adam = region_map(_with(trials, "optimizer", "adam"))
    assert adam.at_rate == ""
    assert (adam.panels[0].predicted >= limits[0.01]).all()


def test_the_density_of_a_sparse_scheme_reaches_the_theory(made: tuple[pa.Table, pa.Table]) -> None:
    one = _with(made[0].slice(0, 1), "scheme", "he_pruned")
    told = predictions(pa.concat_tables([one, _with(one, "density", 0.125)]))
    row = one.to_pylist()[0]
    asked = {"depth": row["depth"], "width": 64, "sigma_b2": row["bias_variance"], "bias_mode": "iid"}
    assert told == [predict("he_pruned", density=d, **asked) for d in (1.0, 0.125)]
    assert told[0] != told[1]
    refused = predictions(_with(_with(one, "scheme", "he_normal"), "density", 0.125))[0]
    assert "sparse schemes: eoi" in str(refused)


def test_bias_mode_zero_means_no_bias_whatever_its_variance_says(made: tuple[pa.Table, pa.Table]) -> None:
    zero = _with(_with(made[0].slice(0, 4), "bias_mode", "zero"), "bias_variance", 1.0)
    none = _with(zero, "bias_variance", 0.0)
    assert predicted_limits(zero)[0].tolist() == predicted_limits(none)[0].tolist()


def test_no_theory_is_a_sentence_and_a_nan(made: tuple[pa.Table, pa.Table]) -> None:
    limits, reason = predicted_limits(_with(made[0].slice(0, 3), "scheme", "hand_made"))
    assert all(math.isnan(v) for v in limits)
    assert "hand_made" in reason
    report = agreement(_with(made[0], "scheme", "hand_made"))[0]
    assert (report.n, report.audit_n) == (0, 0)
    assert math.isnan(report.share)
    assert "hand_made" in report.why_no_theory
    assert "known:" not in report.why_no_theory  # networks of it were trained, so it is not misspelled


def test_an_activation_without_a_theory_leaves_the_theory_out(made: tuple[pa.Table, pa.Table]) -> None:
    limits, reason = predicted_limits(_with(made[0].slice(0, 3), "activation", "of_my_own"))
    assert all(math.isnan(v) for v in limits)
    assert "of_my_own" in reason
    assert "of_my_own" in agreement(_with(made[0], "activation", "of_my_own"))[0].why_no_theory


def test_why_there_is_no_theory_names_the_scheme_once(made: tuple[pa.Table, pa.Table]) -> None:
    for name, value in (("activation", "crelu"), ("activation", "of_my_own"), ("scheme", "hand_made")):
        found = agreement(_with(made[0], name, value))
        reasons = tables.reasons(found)
        assert reasons
        assert [reason.count(scheme.scheme) for reason, scheme in zip(reasons, found, strict=True)] == [1] * len(found)


def test_agreement_counts_what_the_eye_counts(made: tuple[pa.Table, pa.Table]) -> None:
    trials = made[0].filter(pc.field("outcome") != "failed")
    told = dict(zip(trials["trial_key"].to_pylist(), predictions(trials, descents(trials)), strict=True))
    for found in agreement(made[0]):
        rows = trials.filter(pc.field("scheme") == found.scheme).to_pylist()
        right = [
            (getattr(told[r["trial_key"]], "outcome", "") == "trained") == (r["outcome"] == "trained") for r in rows
        ]
        assert (found.n, found.agree) == (len(rows), sum(right))
        assert found.audit_n == sum(r["role"] == "audit" for r in rows)
        assert sum(found.counts.values()) == found.n
        assert found.low <= found.share <= found.high


@pytest.mark.parametrize(("role", "fair"), [("audit", 1), ("start", 1), ("random", 1), ("sobol", 1), ("boundary", 0)])
def test_a_fair_sample_is_of_all_trials_that_chance_placed(
    made: tuple[pa.Table, pa.Table], role: str, fair: int
) -> None:
    for found in agreement(_with(made[0], "role", role)):
        assert (found.audit_n, found.audit_agree) == (fair * found.n, fair * found.agree)


def test_paired_seeds_find_the_order_that_was_put_in(made: tuple[pa.Table, pa.Table]) -> None:
    found = {(p.first, p.second): p for p in paired(*made)}
    assert len(found) == 6
    worse = found["he_normal", "ll_orth"]
    assert worse.only_first == worse.first_better == 0
    assert worse.second_better > 0
    assert worse.high < 0.5
    for pair in found.values():
        assert pair.pairs == 2 * pair.points  # two seeds each
        decided = pair.first_better + pair.second_better
        assert decided <= pair.points
        assert math.isnan(pair.share) if not decided else pair.share == pair.first_better / decided
        assert pair.only_first + pair.only_second <= pair.pairs


@pytest.mark.parametrize("name", [name for name in _POINT if name != "scheme"])
def test_pairs_need_the_same_point(made: tuple[pa.Table, pa.Table], name: str) -> None:
    """A depth of its own for every trial, and so on."""
    trials, replicates = _with(made[0], "bias_variance", 0.1), made[1]
    names = isinstance(trials[name][0].as_py(), str)
    own = [str(i) if names else (i + 1) / (len(trials) if name == "density" else 1) for i in range(len(trials))]
    assert paired(trials, replicates)
    apart = trials.set_column(trials.schema.get_field_index(name), name, pa.array(own))
    assert paired(apart, replicates) == []


def test_pairs_are_judged_at_the_best_rate_of_each_trial(made: tuple[pa.Table, pa.Table]) -> None:
    """Networks of he_normal train at the best rate only, those of the others at the other rates only."""
    trials, replicates = made
    rows = trials.select(["trial_key", "scheme", "best_learning_rate"]).to_pylist()
    of = {row["trial_key"]: row for row in rows}
    outcomes = [
        "trained" if (r["learning_rate"] == row["best_learning_rate"]) == (row["scheme"] == "he_normal") else "slow"
        for r in replicates.select(["trial_key", "learning_rate"]).to_pylist()
        for row in [of[r["trial_key"]]]
    ]
    place = replicates.schema.get_field_index("outcome")
    for pair in paired(trials, replicates.set_column(place, "outcome", pa.array(outcomes))):
        ahead = {"first": pair.only_first, "second": pair.only_second}
        side = "first" if pair.first == "he_normal" else "second"
        mine = pair.pairs if "he_normal" in (pair.first, pair.second) else 0
        assert ahead == {"first": 0, "second": 0, side: mine}


def test_networks_of_trials_that_are_left_out_are_left_out(made: tuple[pa.Table, pa.Table]) -> None:
    trials, replicates = made[0].slice(0, 40), made[1]
    own = replicates.filter(pc.field("trial_key").isin(trials["trial_key"].combine_chunks()))
    assert len(own) < len(replicates)
    assert list(map(repr, paired(trials, replicates))) == list(map(repr, paired(trials, own)))


def test_networks_without_their_seeds_are_no_pairs(made: tuple[pa.Table, pa.Table]) -> None:
    """It was Arrow's error, of a field."""
    trials, replicates = made
    with pytest.raises(ValueError, match=r"a comparison on pairs needs the columns trial_key, .*, but seed is missing"):
        paired(trials, replicates.drop_columns(["seed"]))
    with pytest.raises(ValueError, match=r"needs a pyarrow.Table"):
        paired(trials, replicates.to_pydict())  # pyright: ignore[reportArgumentType]


def test_two_seeds_of_one_point_are_one_witness() -> None:
    trials, replicates = exports.tables(8, shared_points=True)
    pairs = {(p.first, p.second): p for p in paired(trials, replicates)}
    assert all(p.points <= 2 for p in pairs.values())
    assert all(p.low < 0.5 < p.high for p in pairs.values() if p.first_better + p.second_better == 1)


def _limits(**columns: list) -> pa.Table:
    return pa.table({"bias_variance": [0.0] * len(columns["scheme"]), **columns})


def test_ratio_of_two_lognormal_bands_is_their_quadrature() -> None:
    sigma = math.log(1.2)
    table = _limits(
        scheme=["a", "b"],
        depth_limit=[40.0, 10.0],
        low=[40 * math.exp(-sigma), 10 * math.exp(-sigma)],
        high=[40 * math.exp(sigma), 10 * math.exp(sigma)],
        censored=["no", "no"],
        censored_low=["no", "no"],
        censored_high=["no", "no"],
    )
    (ratio,) = ratios(table)
    assert (ratio.first, ratio.second, ratio.bounded) == ("a", "b", False)
    assert ratio.ratio == pytest.approx(4.0)
    assert math.log(ratio.high / 4) == pytest.approx(math.sqrt(2) * sigma)
    assert math.log(4 / ratio.low) == pytest.approx(math.sqrt(2) * sigma)


def test_an_interval_of_a_ratio_has_of_each_band_the_side_that_moves_it() -> None:
    same = {name: ["no", "no"] for name in ("censored", "censored_low", "censored_high")}
    table = _limits(scheme=["b", "a"], depth_limit=[10.0, 40.0], low=[8.0, 20.0], high=[15.0, 50.0], **same)
    (ratio,) = ratios(table)
    assert math.log(4 / ratio.low) == pytest.approx(math.hypot(math.log(40 / 20), math.log(15 / 10)))
    assert math.log(ratio.high / 4) == pytest.approx(math.hypot(math.log(50 / 40), math.log(10 / 8)))
    (even,) = ratios(_limits(scheme=["b", "a"], depth_limit=[10.0] * 2, low=[9.0] * 2, high=[11.0] * 2, **same))
    assert (even.first, even.second, even.ratio) == ("a", "b", 1.0), "of equal limits in the order of their names"


def test_ratios_stay_within_a_slice_and_tell_bounds() -> None:
    table = pa.table(
        {
            "scheme": ["a", "b", "a", "b"],
            "width": [32, 32, 64, 64],
            "bias_variance": [0.0] * 4,
            "depth_limit": [10.0, 20.0, 30.0, 100.0],
            "low": [9.0, 19.0, 28.0, 90.0],
            "high": [11.0, 22.0, 33.0, 100.0],
            "censored": ["no", "no", "no", "above"],
            "censored_low": ["no"] * 4,
            "censored_high": ["no", "no", "no", "above"],
        }
    )
    assert [(r.where, r.first, r.bounded) for r in ratios(table)] == [("width 32", "b", False), ("width 64", "b", True)]
    scales = [0.50000001, 0.50000001, 0.50000002, 0.50000002]
    near = table.drop_columns(["width"]).append_column("weight_scale", pa.array(scales))
    assert [(r.where, r.first) for r in ratios(near)] == [("weight scale 0.5", "b")] * 2


def _two(**ends: tuple[str, str]) -> pa.Table:
    """Limits 30 and 10 of a and b, with bands, cut off at `ends`."""
    plain = {name: ["no", "no"] for name in ("censored", "censored_low", "censored_high")}
    cut = {name: list(values) for name, values in ends.items()}
    return _limits(scheme=["a", "b"], depth_limit=[30.0, 10.0], low=[20.0, 8.0], high=[40.0, 15.0], **(plain | cut))


@pytest.mark.parametrize("end", ["above", "below"])
def test_two_limits_beyond_one_end_have_no_ratio(end: str) -> None:
    (ratio,) = ratios(_two(censored=(end, end)))
    assert (ratio.censored, ratio.bounded) == ("unknown", True)
    assert all(math.isnan(v) for v in (ratio.ratio, ratio.low, ratio.high))
    assert tables.ratio_rows([ratio])[1] == []
    assert tables.ratio_note([ratio]).startswith("Nothing is known of 1 ratio more")
    assert tables.ratio_note(ratios(_two())) == ""


def test_what_biases_do_to_a_scheme_is_a_ratio_within_each_mode() -> None:
    """Only schemes were compared, so no number said what mirrored biases give back, or what biases cost."""
    same = {"censored": ["no"] * 3, "censored_low": ["no"] * 3, "censored_high": ["no"] * 3}
    table = pa.table(
        {"scheme": ["a"] * 3, "bias_mode": ["zero", "iid", "mirrored"], "bias_variance": [0.0, 1.0, 1.0],
         "depth_limit": [80.0, 10.0, 40.0], "low": [70.0, 9.0, 30.0], "high": [90.0, 11.0, 50.0], **same}
    )  # fmt: skip
    told = {(r.where, r.first, r.second): r.ratio for r in changes(table)}
    assert told == {
        ("a, bias mode iid", "bias variance 1", "0"): pytest.approx(1 / 8),
        ("a, bias mode mirrored", "bias variance 1", "0"): pytest.approx(1 / 2),
        ("a, bias variance 1", "bias mode mirrored", "iid"): pytest.approx(4),
    }


def test_steps_of_an_axis_are_ratios_to_the_next_value_of_the_same_scheme() -> None:
    same = {"censored": ["no"] * 4, "censored_low": ["no"] * 4, "censored_high": ["no"] * 4}
    table = pa.table(
        {"scheme": ["a", "a", "a", "b"], "width": [64, 16, 32, 64], "bias_variance": [0.0] * 4,
         "depth_limit": [40.0, 5.0, 20.0, 7.0], "low": [39.0, 4.0, 19.0, 6.0], "high": [41.0, 6.0, 21.0, 8.0], **same}
    )  # fmt: skip
    assert [(r.where, r.first, r.second, round(r.ratio, 6)) for r in changes(table)] == [
        ("a", "width 32", "16", 4.0),
        ("a", "width 64", "32", 2.0),
    ]
    assert tables.ratio_rows(changes(table), "values")[0] == ["values", "where", "ratio", "90 % interval"]


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (("no", "below"), "below"),
        (("no", "above"), "above"),
        (("above", "no"), "below"),
        (("below", "no"), "above"),
        (("above", "below"), "below"),
        (("below", "above"), "above"),
        (("above", "above"), "unknown"),
    ],
)
def test_what_a_wider_network_changes_may_be_but_a_bound(ends: tuple[str, str], told: str) -> None:
    """`ends` are those of widths 32 and 64, and the ratio is of the second over the first."""
    table = pa.table(
        {"scheme": ["a"] * 2, "width": [32, 64], "depth_limit": [10.0, 10.0], "low": [9.0] * 2, "high": [11.0] * 2,
         "censored": list(ends), "censored_low": ["no"] * 2, "censored_high": ["no"] * 2}
    )  # fmt: skip
    (change,) = changes(table)
    assert (change.first, change.second, change.censored) == ("width 64", "32", told)


def test_of_an_axis_of_names_every_two_are_compared_in_the_order_of_their_numbers() -> None:
    same = {name: ["no"] * 3 for name in ("censored", "censored_low", "censored_high")}
    table = pa.table(
        {"scheme": ["a"] * 3, "training": ["200 steps", "1000 steps", "50 steps"], "depth_limit": [20.0, 100.0, 5.0],
         "low": [19.0, 90.0, 4.0], "high": [21.0, 110.0, 6.0], **same}
    )  # fmt: skip
    assert [(r.first, r.second, round(r.ratio, 6)) for r in changes(table)] == [
        ("training 200 steps", "50 steps", 4.0),
        ("training 1000 steps", "50 steps", 20.0),
        ("training 1000 steps", "200 steps", 5.0),
    ]


def test_of_no_trial_at_all_no_share_is_told() -> None:
    """`0 to 100 %` stood beside a scheme that theory says nothing of, as if something had been counted."""
    none = Agreement("mine", 0, 0, math.nan, 0.0, 1.0, 0, 0, {}, "there is no line for mine")
    assert tables.agreement_rows([none])[1] == [["mine", "0", "-", "-", "0 of 0"]]


def test_schemes_that_never_differ_are_named_in_one_sentence(made: tuple[pa.Table, pa.Table]) -> None:
    even = paired(*made)[0]._replace(first="x", second="y", first_better=0, second_better=0)
    assert len(tables.paired_rows([*paired(*made), even])[1]) == len(tables.paired_rows(paired(*made))[1])
    assert "x : y" in tables.paired_note([even])


@pytest.mark.parametrize(
    ("ends", "censored", "open_low", "open_high"),
    [
        ({"censored": ("above", "no"), "censored_high": ("above", "no")}, "above", False, True),
        ({"censored": ("no", "below"), "censored_low": ("no", "below")}, "above", False, True),
        ({"censored": ("no", "above"), "censored_high": ("no", "above")}, "below", True, False),
        ({"censored_high": ("above", "no")}, "no", False, True),
        ({"censored_low": ("below", "below")}, "no", True, True),
        ({"censored_low": ("no", "above")}, "no", False, False),
    ],
)
def test_what_rests_on_a_cut_off_end_is_open(ends: dict, censored: str, open_low: bool, open_high: bool) -> None:
    (whole,), (ratio,) = ratios(_two()), ratios(_two(**ends))
    assert (whole.bounded, ratio.bounded, ratio.censored) == (False, True, censored)
    assert ratio.ratio == pytest.approx(3.0)
    assert ratio.low == (0.0 if open_low else whole.low)
    assert ratio.high == (math.inf if open_high else whole.high)


def test_networks_under_two_names_count_once() -> None:
    """Biases of zero variance are none, iid or mirrored or zero."""
    trials, replicates = exports.tables(32, shared_points=True)
    once = _with(trials, "bias_variance", 0.0)
    keys = [f"again-{key}" for key in trials["trial_key"].to_pylist()]
    again = _with(once, "bias_mode", "mirrored")
    again = again.set_column(again.schema.get_field_index("trial_key"), "trial_key", pa.array(keys))
    networks = [f"again-{key}" for key in replicates["trial_key"].to_pylist()]
    copies = replicates.set_column(replicates.schema.get_field_index("trial_key"), "trial_key", pa.array(networks))
    both = pa.concat_tables([once, again]), pa.concat_tables([replicates, copies])
    assert list(map(repr, paired(*both))) == list(map(repr, paired(once, replicates)))  # nan is not nan
    assert [(a.n, a.agree) for a in agreement(both[0])] == [(a.n, a.agree) for a in agreement(once)]
    biased = pa.concat_tables([_with(t, "bias_variance", 0.1) for t in (once, again)])
    assert [a.n for a in agreement(biased)] == [2 * a.n for a in agreement(once)]
    assert [p.pairs for p in paired(biased, both[1])] == [2 * p.pairs for p in paired(once, replicates)]


def test_a_table_of_limits_has_the_axes_that_vary_and_the_abscissa_as_the_last() -> None:
    made = pa.table({
        "scheme": ["a", "a"], "bias_variance": [0.0, 0.5], "density": [1.0, 1.0], "width": [64, 32],
        "depth_limit": [10.0, 2.0], "low": [8.0, 2.0], "high": [15.0, 3.0], "censored": ["no", "below"],
        "censored_low": ["no", "below"], "censored_high": ["no", "no"],
        "trains_again_at": pa.array([None, 40], pa.int32()), "predicted": [12.0, math.inf],
    })  # fmt: skip
    header, rows = tables.limit_rows(made)
    assert header == ["scheme", "bias variance", "width", "depth limit", "90 % band", "theory"]
    assert rows == [
        ["a", "0", "64", "10", "8 to 15", "12"],
        ["a", "0.5", "32", "< 2, trains again at 40", "< 2 to 3", "no limit"],
    ]
    assert tables.headline(made) == "at the smallest and the largest width (32 and 64)", "in the order of their numbers"
    below, again = tables.limit_note(made).split("; see the map. ")
    assert "fail already at the least depth" in below
    assert again.startswith("1 of 2 limits is not monotone: ")
    assert tables.notes(made, pa.table({"outcome": ["trained"]})) == [tables.limit_note(made)]


def test_tables_of_comparisons_say_of_whom_every_number_is() -> None:
    told = Agreement("a", 20, 18, 0.9, 0.7, 0.97, 5, 4, {}, "")
    assert tables.agreement_rows([told])[1] == [["a", "20", "90 %", "70 to 97 %", "4 of 5"]]
    pair = Paired("a", "b", 40, 9, 3, 20, 7, 2, 7 / 9, 0.45, 0.94)
    assert tables.paired_rows([pair])[1] == [["a : b", "40", "9 : 3", "20", "7 : 2", "45 to 94 %"]]
    assert tables.paired_note([pair]) == ""
    ratio = Ratio("", "a", "b", 2.0, 1.5, 3.0, False, "no")
    assert tables.ratio_rows([ratio]) == (["schemes", "ratio", "90 % interval"], [["a / b", "2.00", "1.50 to 3.00"]])


def test_why_there_is_no_theory_names_a_scheme_whose_name_is_a_part_of_a_word() -> None:
    none = Agreement("he", 0, 0, math.nan, 0.0, 1.0, 0, 0, {}, "the width is odd")
    assert tables.reasons([none]) == ["he: the width is odd"]
