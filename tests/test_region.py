"""The region read from tables of trials: axes, three states, progress, and the audit error."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from analysis import region
from analysis.axes import Category, Numeric, infer_axes, met_before
from analysis.maps import region_map
from analysis.region import RegionModel, audit_error, progress, state, wilson

SCHEMES = {"short": 6.0, "long": 30.0}  # limits in depth at small bias variance


def trains(scheme: np.ndarray, depth: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return depth <= np.vectorize(SCHEMES.get)(scheme) * np.where(bias > 0.3, 0.5, 1.0)


def table(n: int, seed: int = 0, role: str = "random", seeds: int = 2) -> pa.Table:
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(np.log(2), np.log(100), n)).round().astype(int)
    bias = np.where(rng.random(n) < 0.2, 0.0, 10 ** rng.uniform(-4, 0, n))
    scheme = rng.choice(list(SCHEMES), n)
    return pa.table(
        {
            "scheme": pa.array(scheme).dictionary_encode(),
            "architecture": pa.array(["mlp"] * n).dictionary_encode(),
            "depth": pa.array(depth, pa.int32()),
            "width": pa.array([64] * n, pa.int32()),
            "bias_variance": bias,
            "n_replicates": pa.array([seeds] * n, pa.int16()),
            "n_trained": pa.array(seeds * trains(scheme, depth, bias), pa.int16()),
            "role": pa.array([role] * n).dictionary_encode(),
            "outcome": pa.array(["trained"] * n).dictionary_encode(),
        }
    )


@pytest.fixture(scope="module")
def model() -> RegionModel:
    return RegionModel.fit(table(300))


def test_axes_are_those_that_vary(model: RegionModel):
    assert [axis.name for axis in model.axes] == ["depth", "bias_variance", "scheme"]
    depth, bias, scheme = model.axes
    assert isinstance(depth, Numeric)
    assert depth.scale.log
    assert isinstance(bias, Numeric)
    assert bias.scale.low == pytest.approx(bias.scale.floor / 10)
    assert scheme == Category("scheme", ("long", "short"))


def test_a_column_of_ones_own_is_an_axis_where_it_is_asked_for_and_holds_numbers():
    """A slip in its name went without a word, and a number that was missing made a scale without ends."""
    trials = table(40).append_column("dropout", pa.array([0.1, 0.3] * 20))
    assert "dropout" not in [axis.name for axis in infer_axes(trials)]
    assert "dropout" in [axis.name for axis in infer_axes(trials, "dropout")]
    with pytest.raises(ValueError, match="an axis of one's own needs the columns dropuot, but dropuot is missing"):
        infer_axes(trials, "dropuot")
    for values, says in (([0.1, None] * 20, "finite and a number, but is null in row 2"), (["a", "b"] * 20, "numbers")):
        with pytest.raises(ValueError, match=f"dropout must be .*{says}"):
            infer_axes(trials.set_column(len(trials.column_names) - 1, "dropout", pa.array(values)), "dropout")


def test_map_is_right_and_says_when_it_is_sure(model: RegionModel):
    test = table(600, seed=1)
    p = model.p_in_region(test)
    truth = trains(test["scheme"].to_numpy(), test["depth"].to_numpy(), test["bias_variance"].to_numpy())
    assert np.mean((p >= 0.5) != truth) < 0.05
    decided = state(p) != "undecided"
    assert decided.mean() > 0.7
    assert np.mean((p >= 0.5)[decided] != truth[decided]) < 0.02


def test_only_the_axes_and_the_counts_are_needed(model: RegionModel):
    few = table(300).select(["scheme", "depth", "bias_variance", "n_replicates", "n_trained"])
    test = table(50, seed=1)
    np.testing.assert_array_equal(RegionModel.fit(few).p_in_region(test), model.p_in_region(test))


def test_failed_trials_are_dropped(model: RegionModel):
    wrong = table(100, seed=7).set_column(8, "outcome", pa.array(["failed"] * 100).dictionary_encode())
    wrong = wrong.set_column(6, "n_trained", pa.array([2] * 100, pa.int16()))
    empty = table(50, seed=8).set_column(5, "n_replicates", pa.array([0] * 50, pa.int16()))
    both = pa.concat_tables([t.unify_dictionaries() for t in (table(300), wrong, empty)])
    test = table(50, seed=1)
    np.testing.assert_array_equal(RegionModel.fit(both).p_in_region(test), model.p_in_region(test))


def test_hyperparameters_come_from_the_first_to_finish(monkeypatch: pytest.MonkeyPatch):
    """In whatever order the rows are; by chance, or by row, the shuffled table would give others."""
    monkeypatch.setattr(region, "LEARN_ON", 60)
    monkeypatch.setattr(region, "FEW_TRIALS", 0)
    dated = table(200).append_column("finished_at", pa.array(range(200), pa.timestamp("us")))
    shuffled = dated.take(pa.array(np.random.default_rng(0).permutation(200)))
    first, second = (RegionModel.fit(t).mixture[0][1].theta for t in (dated, shuffled))
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)
    axes = infer_axes(dated)
    few = RegionModel.fit(dated.slice(0, 60), axes).mixture[0][1].theta
    np.testing.assert_allclose(first, few, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("trained", [0, 2])
def test_one_class_still_fits(trained: int):
    trials = table(40).set_column(6, "n_trained", pa.array([trained] * 40))
    p = RegionModel.fit(trials).p_in_region(trials)
    assert np.all((p > 0.5) == bool(trained))


def test_a_single_trial_and_a_single_place_still_fit():
    assert RegionModel.fit(table(1)).p_in_region(table(3)).shape == (3,)
    same = pa.concat_tables([table(1)] * 5)
    assert RegionModel.fit(same).p_in_region(same) == pytest.approx(np.full(5, 0.5), abs=0.5)


def test_zero_that_no_trial_had_is_a_decade_under_the_least():
    """As it would be beside them; it has no logarithm, and what was said of it was no number."""
    trials = table(60)
    trials = trials.filter(pa.array(trials["bias_variance"].to_numpy() > 0))
    model, least = RegionModel.fit(trials), trials["bias_variance"].to_numpy().min()
    at = trials.column_names.index("bias_variance")
    zero, below = (trials.set_column(at, "bias_variance", pa.array([v] * len(trials))) for v in (0.0, least / 10))
    np.testing.assert_allclose(model.p_in_region(zero), model.p_in_region(below))
    np.testing.assert_allclose(model.depth_limit(zero), model.depth_limit(below))
    axis = Numeric.infer("bias_variance", np.array([1e-4, 1e-2]))
    assert np.isnan(axis.encode(pa.chunked_array([[float("nan")]])))[0], "what is missing is no zero"


def test_linear_scale_for_negative_values_and_floor_for_zero():
    negative = Numeric.infer("x", np.array([-1.0, 3.0]))
    assert not negative.scale.log
    floored = Numeric.infer("bias_variance", np.array([0.0, 1e-4, 1e-2]))
    np.testing.assert_allclose(floored.decode(floored.encode(pa.chunked_array([[0.0, 1e-4, 1e-2]]))), [0, 1e-4, 1e-2])


def test_unknown_levels_and_missing_columns_say_what_is_known(model: RegionModel):
    points = table(2).set_column(0, "scheme", pa.array(["shorts", "long"]))
    with pytest.raises(ValueError, match="did you mean 'short'"):
        model.p_in_region(points)
    with pytest.raises(ValueError, match="bias_variance"):
        model.p_in_region(table(2).drop(["bias_variance"]))
    with pytest.raises(ValueError, match="n_trained"):
        RegionModel.fit(table(2).drop(["n_trained"]))
    for call in (model.p_in_region, model.depth_limit, RegionModel.fit):
        with pytest.raises(ValueError, match=r"needs a pyarrow.Table, as pa.table.data. makes one, but got a dict"):
            call(table(2).to_pydict())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="none of 3"):
        RegionModel.fit(table(3).set_column(8, "outcome", pa.array(["failed"] * 3)))


def test_progress_falls_with_trials():
    early, late = progress(table(40)), progress(table(400))
    assert late.undecided < early.undecided
    assert late.frontier_band < early.frontier_band < 1
    assert late.undecided < 0.2


@pytest.mark.filterwarnings("error")
def test_progress_without_any_axis_is_of_the_one_point_there_is():
    """It was nan, the mean of no cells."""
    one = table(60).select(["n_replicates", "n_trained"])
    for trained, undecided in ((4, 0.0), (2, 1.0)):
        four = one.set_column(0, "n_replicates", pa.array([4] * 60))
        assert progress(four.set_column(1, "n_trained", pa.array([trained] * 60))).undecided == undecided


def test_progress_without_depth_has_no_band():
    flat = table(60).drop(["depth"])
    assert np.isnan(progress(flat).frontier_band)
    with pytest.raises(ValueError, match="more than one depth"):
        RegionModel.fit(flat).depth_limit(flat)


def test_cells_lie_in_the_space_and_on_few_levels():
    axes = infer_axes(table(300).set_column(3, "width", pa.array([32, 64, 128] * 100)))
    cells = RegionModel.fit(table(300).set_column(3, "width", pa.array([32, 64, 128] * 100)), axes).cells(256)
    assert set(cells["width"].to_pylist()) == {32, 64, 128}
    assert set(cells["scheme"].to_pylist()) == set(SCHEMES)
    assert min(cells["depth"].to_pylist()) >= 2
    assert max(cells["depth"].to_pylist()) <= 100


@pytest.mark.parametrize("role", ["audit", "start"])
def test_audit_error_does_not_see_the_audit(role: str):
    """Audit trials that all contradict the others are all wrong: a model that had read them would agree with some."""
    others = table(200, role="boundary")
    audit = table(40, seed=5, role=role)
    flipped = audit.set_column(6, "n_trained", pa.array(2 - audit["n_trained"].to_numpy(), pa.int16()))
    honest = audit_error(pa.concat_tables([t.unify_dictionaries() for t in (others, audit)]))
    lying = audit_error(pa.concat_tables([t.unify_dictionaries() for t in (others, flipped)]))
    assert honest.n == lying.n == 40
    assert honest.wrong + lying.wrong == 40
    assert honest.error < 0.15
    assert (lying.low, lying.high) == wilson(lying.wrong, 40)


def test_a_map_of_mostly_audit_trials_is_judged_as_nearly_the_whole(monkeypatch: pytest.MonkeyPatch):
    """Where 32 of 48 trials were the start, a model of the other 16 was judged, whose map nobody is shown."""
    parts = (table(16, role="boundary"), table(32, seed=5, role="start"))
    fit, sizes = RegionModel.fit.__func__, []  # type: ignore[attr-defined]

    def counted(cls: type[RegionModel], trials: pa.Table, *rest: object) -> RegionModel:
        sizes.append(len(trials))
        return fit(cls, trials, *rest)

    monkeypatch.setattr(RegionModel, "fit", classmethod(counted))
    found = audit_error(pa.concat_tables([t.unify_dictionaries() for t in parts]))
    assert len(sizes) == 3
    assert min(sizes) >= 0.75 * 48 - 1
    assert sum(48 - size for size in sizes) == 32, "each audit trial is kept from one model"
    assert found.n == 32
    monkeypatch.setattr(RegionModel, "p_in_region", lambda _, points: np.zeros(len(points)))
    none = audit_error(pa.concat_tables([t.unify_dictionaries() for t in parts]))
    assert none.wrong == np.sum(2 * parts[1]["n_trained"].to_numpy() > parts[1]["n_replicates"].to_numpy())


def test_a_part_that_is_held_out_is_a_fair_sample_of_trials_that_come_in_turns(monkeypatch: pytest.MonkeyPatch):
    """Of a Sobol sequence every other trial is in the shallow half: held out together, they left a model of the deep
    half to be judged on the other."""
    depths = np.tile([2, 50, 4, 90], 10)
    columns = {"role": ["sobol"] * 40, "n_trained": np.where(depths < 20, 2, 0), "n_replicates": [2] * 40}
    fit, means = RegionModel.fit.__func__, []  # type: ignore[attr-defined]

    def seen(cls: type[RegionModel], trials: pa.Table, *rest: object) -> RegionModel:
        means.append(np.mean(trials["depth"].to_numpy() < 20))
        return fit(cls, trials, *rest)

    monkeypatch.setattr(RegionModel, "fit", classmethod(seen))
    found = audit_error(pa.table({"depth": depths, **columns}))
    assert (found.n, found.wrong, len(means)) == (40, 0, 4)
    assert all(0.35 < mean < 0.65 for mean in means), "it is 1 / 3 or 2 / 3 without those of every fourth"


@pytest.mark.parametrize("role", ["start", "random", "sobol"])
def test_a_map_of_trials_placed_by_chance_alone_is_judged_on_each_by_a_model_of_the_others(role: str):
    result, grid = audit_error(table(60, role=role)), audit_error(table(60, role="grid"))
    assert (result.n, result.ties, grid.n) == (60, 0, 0)
    assert 0 < result.error < 0.3, "of a model that has seen them it were 0"
    flipped = table(60, role=role)
    flipped = flipped.set_column(6, "n_trained", pa.array(np.where(np.arange(60) % 2, 2, 0), pa.int16()))
    assert audit_error(flipped).error > 0.3, "what follows no law cannot be foreseen"


def test_audit_error_is_unknown_where_too_few_were_placed():
    result = audit_error(table(7, role="start"))
    assert np.isnan(result.error)
    assert (result.low, result.high, result.n) == (0.0, 1.0, 0)


def test_of_audits_alone_only_those_between_their_seeds_are_ties():
    tied = table(4, role="audit").set_column(6, "n_trained", pa.array([1] * 4, pa.int16()))
    result = audit_error(pa.concat_tables([t.unify_dictionaries() for t in (table(12, role="audit"), tied)]))
    assert (result.n, result.ties) == (12, 4)


def test_without_an_axis_that_moves_all_trials_are_of_one_point():
    """It was an error of zip, in the midst of a sweep."""
    trials = pa.table({"bias_mode": ["iid", "iid", "mirrored"], "bias_variance": [0.0] * 3})
    assert met_before(trials, []).tolist() == [False, False, True]


def test_audit_error_sets_ties_aside():
    audit = table(10, role="audit").set_column(6, "n_trained", pa.array([1] * 10, pa.int16()))
    result = audit_error(pa.concat_tables([t.unify_dictionaries() for t in (table(50, role="boundary"), audit)]))
    assert (result.n, result.ties) == (0, 10)
    assert (result.low, result.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (1, 40, 0.0044, 0.1288)]
)
def test_wilson_agrees_with_published_values(k: int, n: int, low: float, high: float):
    """As by R's `prop.test(k, n, correct = FALSE)`, which is the score interval."""
    assert wilson(k, n) == pytest.approx((low, high), abs=2e-4)


def test_the_interval_of_none_and_of_all_ends_where_shares_do():
    """Of all of 10 it ended at .9999999999999999, by rounding."""
    for n in range(1, 200):
        assert wilson(0, n)[0] == 0
        assert wilson(n, n)[1] == 1
        assert wilson(0, n)[1] == pytest.approx(1 - wilson(n, n)[0])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("n_trained", 99, "0 <= n_trained <= n_replicates must hold, but n_trained is 99 in row 1"),
        ("n_trained", None, "n_trained is null in row 1"),
        ("depth", 0, "depth must be finite and 1 or more, but is 0 in row 1"),
        ("bias_variance", float("nan"), "bias_variance must be finite and 0 or more, but is nan in row 1"),
    ],
)
def test_no_map_is_made_of_numbers_that_cannot_be(name: str, value: float | None, says: str) -> None:
    trials = table(40)
    column = pa.array([value, *trials[name].to_pylist()[1:]], trials.schema.field(name).type)
    with pytest.raises(ValueError, match=says):
        RegionModel.fit(trials.set_column(trials.column_names.index(name), name, column))


def test_a_share_is_no_count() -> None:
    """Half of 2 networks, written as .5 of them, was read as a quarter: a map on which nothing trains."""
    trials = table(40)
    place = trials.column_names.index("n_trained")
    whole = trials["n_trained"].to_numpy().astype(float)
    whole[0] = 1
    RegionModel.fit(trials.set_column(place, "n_trained", pa.array(whole)))
    with pytest.raises(
        ValueError, match=r"n_trained must be a whole number of networks, not a share, but is 0.5 in row 1 "
    ):
        RegionModel.fit(trials.set_column(place, "n_trained", pa.array(whole / 2)))
    more = trials["n_replicates"].to_numpy().astype(float)
    more[1] = np.inf
    with pytest.raises(ValueError, match=r"n_replicates must be a whole number of networks.* but is inf in row 2 "):
        RegionModel.fit(trials.set_column(trials.column_names.index("n_replicates"), "n_replicates", pa.array(more)))


@pytest.mark.parametrize("depth", [None, 0, -3])
def test_points_without_a_depth_are_refused(model: RegionModel, depth: int | None) -> None:
    points = table(3).set_column(2, "depth", pa.array([4, depth, 9], pa.int32()))
    with pytest.raises(ValueError, match=r"depth must be finite and 1 or more, but is .* in row 2"):
        model.p_in_region(points)


def test_names_may_be_views_of_strings_as_polars_writes_them() -> None:
    """Arrow filters no such column, which ended as its error."""

    def viewed(plain: pa.Table) -> pa.Table:
        names = {name: pa.array(plain[name].to_pylist(), pa.string_view()) for name in ("scheme", "role", "outcome")}
        return pa.table({name: names.get(name, plain[name]) for name in plain.column_names})

    trials, points = table(250), table(9, seed=5)
    mine, theirs = RegionModel.fit(viewed(trials)), RegionModel.fit(trials)
    np.testing.assert_array_equal(mine.p_in_region(viewed(points)), theirs.p_in_region(points))
    both = pa.concat_tables([table(10, seed=1, role="audit"), table(60)], promote_options="permissive")
    assert audit_error(viewed(both)) == audit_error(both)


def test_a_name_that_is_missing_is_no_level_of_its_own() -> None:
    trials = table(40)
    for name in ("scheme", "architecture"):
        column = pa.array([*trials[name].to_pylist()[:-1], None])
        some = trials.set_column(trials.column_names.index(name), name, column)
        with pytest.raises(ValueError, match=f"{name} must be known in every row, but is null in row 40 "):
            RegionModel.fit(some)
    model = RegionModel.fit(trials)
    with pytest.raises(ValueError, match="scheme must be known in every row, but is null in row 1 "):
        model.p_in_region(pa.table({"depth": [5], "bias_variance": [0.1], "scheme": pa.array([None], pa.string())}))


def test_a_minimal_table_says_which_column_is_missing() -> None:
    few = table(40).select(["scheme", "depth", "bias_variance", "n_replicates", "n_trained"])
    with pytest.raises(ValueError, match="the error of a map needs the columns role, but role is missing"):
        audit_error(few)
    with pytest.raises(ValueError, match=r"a map needs the columns scheme, .* but architecture, .* are missing"):
        region_map(few)


def _modes(n: int, seed: int = 0) -> pa.Table:
    """Trials of two bias modes, of which one trains far deeper the larger the biases; without biases they are one."""
    made = table(n, seed)
    mode = np.random.default_rng(seed + 1).choice(["iid", "mirrored"], n)
    deep = (mode == "mirrored") & (made["bias_variance"].to_numpy() > 0)
    trained = np.where(made["depth"].to_numpy() <= np.where(deep, 60, 12), 2, 0)
    place = made.schema.get_field_index("n_trained")
    made = made.set_column(place, "n_trained", pa.array(trained, pa.int16()))
    return made.append_column("bias_mode", pa.array(mode).dictionary_encode())


def test_networks_without_biases_are_one_whatever_their_bias_mode_is_called():
    model = RegionModel.fit(_modes(120))
    assert [axis.name for axis in model.axes] == ["depth", "bias_variance", "scheme", "bias_mode"]
    columns = pa.table({"scheme": ["long"] * 3, "bias_variance": [0.0] * 3, "bias_mode": ["iid", "mirrored", "zero"]})
    columns = columns.append_column("depth", pa.array([10.0] * 3))
    for answers in (model.p_in_region(columns), *model.depth_limit(columns)):
        np.testing.assert_allclose(answers, answers[0], rtol=1e-9)
    biased = columns.slice(0, 2).set_column(1, "bias_variance", pa.array([0.1, 0.1]))
    iid, mirrored = model.depth_limit(biased).median
    assert mirrored > 2 * iid
    with pytest.raises(ValueError, match="bias_mode must be one of"):
        model.p_in_region(biased.set_column(2, "bias_mode", pa.array(["zero", "mirorred"])))


def test_the_same_networks_under_another_name_are_no_second_witness():
    made = _modes(60)
    none = np.flatnonzero(made["bias_variance"].to_numpy() == 0)
    other = {"iid": "mirrored", "mirrored": "iid"}
    modes = pa.array([other[mode] for mode in made["bias_mode"].to_pylist()]).dictionary_encode()
    renamed = made.set_column(made.schema.get_field_index("bias_mode"), "bias_mode", modes).take(none)
    at = _modes(80, seed=5)
    once, named_twice, seen_twice = (
        RegionModel.fit(trials).p_in_region(at)
        for trials in (made, pa.concat_tables([made, renamed]), pa.concat_tables([made, made.take(none)]))
    )
    np.testing.assert_array_equal(once, named_twice)
    assert np.abs(once - seen_twice).max() > 1e-3


def test_a_mode_that_only_says_there_are_no_biases_is_no_axis():
    made = _modes(60)
    mode = np.where(made["bias_variance"].to_numpy() == 0, "zero", "iid")
    made = made.set_column(made.schema.get_field_index("bias_mode"), "bias_mode", pa.array(mode))
    assert "bias_mode" not in [axis.name for axis in infer_axes(made)]
