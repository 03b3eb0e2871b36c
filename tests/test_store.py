"""The edge of the analysis: what it opens, what it refuses, and judging stored curves by another criterion."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import exports
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.outcome import Criterion
from analysis.relabelling import relabel
from analysis.schema import Took, stamp
from analysis.store import read, settled

JUDGED = ("n_replicates", "n_trained", "best_learning_rate", "outcome", "score")


@pytest.fixture(scope="module")
def made() -> tuple[pa.Table, pa.Table]:
    return exports.tables(80)


@pytest.fixture
def folder(made: tuple[pa.Table, pa.Table], tmp_path: Path) -> Path:
    return exports.write(tmp_path / "export", *made)


def test_reads_all_parts_and_the_criterion(folder: Path, made: tuple[pa.Table, pa.Table]) -> None:
    export = read(folder)
    assert export.trials.select(["trial_key", "depth"]).equals(made[0].select(["trial_key", "depth"]))
    assert len(export.replicates) == len(made[1])
    assert export.criterion == Criterion("train_accuracy", 0.8)
    assert export.spec["name"] == "made-up"


def test_the_time_of_the_sweep_stays_when_it_is_judged_anew(made: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    took = Took(78, 41.25, 49.5)  # 2 of the 80 failed
    folder = exports.write(tmp_path / "timed", stamp(made[0], took), made[1])
    assert read(folder).took == read(folder, Criterion("train_accuracy", 0.9)).took == took


def test_two_sweeps_in_one_folder_took_no_time_together(made: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    folder = exports.write(tmp_path / "two", stamp(made[0], Took(78, 41.25, 49.5)), made[1])
    other, networks = exports.tables(20, seed=1)
    pq.write_table(stamp(other, Took(20, 9.0, 8.0)), folder / "trials" / "a-second.parquet")
    pq.write_table(networks, folder / "replicates" / "a-second.parquet")
    assert read(folder).took is None


@pytest.mark.parametrize(("year", "said"), [(10_000, "253402300800000000"), (0, "-62167219200000000")])
def test_a_date_of_no_calendar_is_refused(
    made: tuple[pa.Table, pa.Table], tmp_path: Path, year: int, said: str
) -> None:
    """The report ended in a traceback of it, after everything had been computed."""
    date = np.datetime64(year - 1970, "Y").astype("datetime64[us]").astype(np.int64)
    dates = made[0]["finished_at"].cast(pa.int64()).to_pylist()
    dates[2], dates[3] = None, int(date)
    column = pa.array(dates, pa.int64()).cast(pa.timestamp("us", "UTC"))
    trials = made[0].set_column(made[0].schema.get_field_index("finished_at"), "finished_at", column)
    with pytest.raises(
        ValueError, match=f"finished_at must lie in the years 1 to 9999, but is {said} micro.* in row 4 "
    ):
        read(exports.write(tmp_path / "dated", trials, made[1]))


def test_a_missing_spec_is_no_obstacle(folder: Path) -> None:
    (folder / "spec.yaml").unlink()
    assert read(folder).criterion is None


def test_same_criterion_changes_nothing(made: tuple[pa.Table, pa.Table]) -> None:
    trials, replicates = relabel(*made, exports.CRITERION)
    assert trials.select(JUDGED).equals(made[0].select(JUDGED))
    columns = ["outcome", "steps_to_threshold"]
    assert replicates.select(columns).equals(made[1].select(columns))
    assert trials.schema.equals(made[0].schema, check_metadata=True)


def test_a_new_criterion_moves_the_outcomes_in_its_direction(made: tuple[pa.Table, pa.Table]) -> None:
    def trained(criterion: str) -> set[str]:
        trials, _ = relabel(*made, Criterion.parse(criterion))
        return set(trials.filter(pc.field("score") > 0)["trial_key"].to_pylist())

    easy, medium, hard = (trained(f"accuracy>={a}") for a in (0.4, 0.8, 0.93))
    assert hard < medium < easy
    assert trained("accuracy>=0.8 within 30") < medium
    assert trained("loss<=0.1") < medium


def test_first_passage_is_read_from_the_curve(made: tuple[pa.Table, pa.Table]) -> None:
    _, replicates = relabel(*made, Criterion("train_accuracy", 0.5))
    for row in replicates.slice(0, 40).to_pylist():
        good = [s for s, a in zip(row["curve_step"], row["curve_accuracy"], strict=True) if a >= 0.5]
        assert row["steps_to_threshold"] == (good[0] if good else None)


def test_failed_trials_stay_failed(made: tuple[pa.Table, pa.Table]) -> None:
    trials, _ = relabel(*made, Criterion("train_accuracy", 0.2))
    failed = trials.filter(pc.field("outcome") == "failed")
    assert len(failed) == failed["score"].null_count == 2
    assert len(settled(trials)) == len(trials) - 2


def test_curves_that_stopped_at_success_cannot_judge_a_harder_criterion(made: tuple[pa.Table, pa.Table]) -> None:
    trials, replicates = made
    rows = replicates.to_pylist()
    for row in rows:
        stop = row["steps_to_threshold"]
        if stop is not None:
            kept = row["curve_step"].index(stop) + 1
            row |= {name: row[name][:kept] for name in ("curve_step", "curve_loss", "curve_accuracy")}
            row["steps_run"] = stop
    stopped = pa.Table.from_pylist(rows, schema=replicates.schema)
    assert relabel(trials, stopped, Criterion("train_accuracy", 0.6))[0]["n_trained"]
    with pytest.raises(ValueError, match=r"stopped at success after .* weaker criterion"):
        relabel(trials, stopped, Criterion("train_accuracy", 0.96))


def test_criterion_beyond_the_budget_is_refused(made: tuple[pa.Table, pa.Table]) -> None:
    with pytest.raises(ValueError, match="beyond the 100 steps"):
        relabel(*made, Criterion("train_accuracy", 0.8, within=500))


def test_a_partitioned_table_is_told_from_one_that_is_missing(folder: Path) -> None:
    (folder / "trials" / "scheme=he_normal").mkdir()
    for part in (folder / "trials").glob("*.parquet"):
        part.rename(part.parent / "scheme=he_normal" / part.name)
    with pytest.raises(
        ValueError, match=r"holds trials/ cut into folders .*; write trials/\*\.parquet, not partitioned"
    ):
        read(folder)


def test_foreign_folders(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere is not a folder; give the folder that 'sweep export' wrote"):
        read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no trials/\*\.parquet"):
        read(tmp_path)
    shutil.rmtree(folder / "replicates")
    with pytest.raises(ValueError, match=r"holds no replicates/\*\.parquet"):
        read(folder)
    shutil.copytree(folder / "trials", folder / "replicates")
    with pytest.raises(ValueError, match="replicates: not a sweep's table"):
        read(folder)


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_torn_part_is_named(folder: Path, keep: float) -> None:
    part = folder / "replicates" / "part-1.parquet"
    whole = part.read_bytes()
    part.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=re.escape(f"{part} cannot be read as Parquet")):
        read(folder)


def test_corrupt_page_is_named(folder: Path) -> None:
    part = folder / "trials" / "part-0.parquet"
    data = bytearray(part.read_bytes())
    data[4:400] = b"\xff" * 396
    part.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"part-0\.parquet cannot be read"):
        read(folder)


def test_inconsistent_tables(folder: Path, made: tuple[pa.Table, pa.Table]) -> None:
    trials, replicates = made
    shutil.copy(folder / "trials" / "part-0.parquet", folder / "trials" / "part-2.parquet")
    with pytest.raises(ValueError, match="occurs 2 times in trials; run 'sweep export' again into an empty folder"):
        read(folder)
    (folder / "trials" / "part-2.parquet").unlink()
    pq.write_table(trials.slice(0, 1), folder / "trials" / "part-0.parquet")
    with pytest.raises(
        ValueError, match="which trials does not have; filter replicates by the trial_key of trials too"
    ):
        read(folder)
    strange = trials.set_column(
        trials.schema.get_field_index("outcome"), trials.schema.field("outcome"), pa.array(["fine"] * len(trials))
    )
    exports.write(folder, strange, replicates)
    with pytest.raises(ValueError, match=r"outcome must be one of trained, .* but got 'fine'"):
        read(folder)
    exports.write(folder, trials.slice(0, 0), replicates.slice(0, 0))
    with pytest.raises(ValueError, match="holds no trial yet"):
        read(folder)


@pytest.mark.parametrize("text", ["{", "just words", "[1, 2]", "name: 2026-13-45"])
def test_broken_spec_is_named(folder: Path, text: str) -> None:
    (folder / "spec.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"spec\.yaml is not"):
        read(folder)


def test_a_horizon_before_the_first_recorded_step_is_refused(made: tuple[pa.Table, pa.Table]) -> None:
    """It would judge nothing: every network would be called stalled."""
    with pytest.raises(ValueError, match=r"first recorded step is 10 \(trial \w+\), so 'within' must be at least 10"):
        relabel(*made, Criterion("train_accuracy", 0.2, within=9))
    assert len(relabel(*made, Criterion("train_accuracy", 0.2, within=10))[0]) == 80


def _put(table: pa.Table, name: str, value: object, row: int = 2) -> pa.Table:
    values = table[name].to_pylist()
    values[row] = value
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("depth", 0, "depth must be finite and 1 or more, but is 0 in row 3 (1 of 40 rows are wrong)"),
        ("width", -8, "width must be finite and 1 or more, but is -8 in row 3"),
        ("bias_variance", float("nan"), "bias_variance must be finite and 0 or more, but is nan in row 3"),
        ("bias_variance", -1.0, "bias_variance must be finite and 0 or more, but is -1.0 in row 3"),
        ("weight_scale", float("inf"), "weight_scale must be finite and above 0, but is inf in row 3"),
        ("density", 0.0, "density must be finite and above 0 and at most 1, but is 0.0 in row 3"),
        ("density", 2.0, "density must be finite and above 0 and at most 1, but is 2.0 in row 3"),
        ("steps", 0, "steps must be finite and 1 or more, but is 0 in row 3"),
        ("n_trained", 99, "0 <= n_trained <= n_replicates must hold, but n_trained is 99 in row 3"),
        ("n_trained", -1, "0 <= n_trained <= n_replicates must hold, but n_trained is -1 in row 3"),
        ("n_trained", None, "0 <= n_trained <= n_replicates must hold, but n_trained is null in row 3"),
        ("n_replicates", None, "where n_replicates is null"),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_column_value_and_count(
    made: tuple[pa.Table, pa.Table], tmp_path: Path, column: str, value: object, says: str
) -> None:
    folder = exports.write(tmp_path / "export", _put(made[0], column, value), made[1])
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{folder}/trials/part-0.parquet: ")


@pytest.mark.parametrize("column", ["outcome", "n_trained", "n_replicates"])
@pytest.mark.parametrize("trained", [True, False])
def test_an_outcome_that_its_counts_contradict_is_refused(
    made: tuple[pa.Table, pa.Table], tmp_path: Path, column: str, trained: bool
) -> None:
    """The tally of outcomes and the map were of different trials."""
    trials = made[0]
    outcomes = trials["outcome"].to_pylist()
    row = next(i for i, said in enumerate(outcomes) if said != "failed" and (said == "trained") is trained)
    other: dict[str, object] = {"outcome": "slow" if trained else "trained", "n_trained": 2 * (not trained)}
    if column == "n_replicates":  # half of them is enough, and less is not
        trials = _put(_put(trials, "n_replicates", 5, row), "n_trained", 2 if trained else 3, row)
    else:
        trials = _put(trials, column, other[column], row)
    key = trials["trial_key"][row].as_py()
    says = f"outcome must be trained where at least half .* trained, and only there, but is .* row .*: trial {key}, of"
    with pytest.raises(ValueError, match=says):
        read(exports.write(tmp_path / "export", trials, made[1]))


def test_half_of_the_networks_are_enough_and_a_failed_trial_may_have_none(
    made: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    row = made[0]["outcome"].to_pylist().index("trained")
    trials = _put(_put(made[0], "n_replicates", 4, row), "n_trained", 2, row)
    assert len(read(exports.write(tmp_path / "export", trials, made[1])).trials) == 80
    row = made[0]["n_trained"].to_pylist().index(0)
    none = _put(_put(made[0], "n_replicates", 0, row), "outcome", "trained", row)
    with pytest.raises(ValueError, match="of which 0 of 0 trained"):
        read(exports.write(tmp_path / "none", none, made[1]))


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_a_learning_rate_that_cannot_be_is_refused(
    made: tuple[pa.Table, pa.Table], tmp_path: Path, value: float
) -> None:
    folder = exports.write(tmp_path / "export", made[0], _put(made[1], "learning_rate", value))
    with pytest.raises(ValueError, match=f"learning_rate must be finite and above 0, but is {value} in row 3"):
        read(folder)


@pytest.mark.parametrize("name", ["curve_loss", "curve_accuracy"])
def test_curves_of_unequal_length_are_refused(made: tuple[pa.Table, pa.Table], tmp_path: Path, name: str) -> None:
    folder = exports.write(tmp_path / "export", made[0], _put(made[1], name, [1.0, 0.5]))
    says = f"{name} must be as long as curve_step, but has 2 values for 10 steps in row 3 "
    with pytest.raises(ValueError, match=says):
        read(folder)


def test_what_lies_just_within_a_law_is_read(made: tuple[pa.Table, pa.Table], tmp_path: Path) -> None:
    """One layer, the first day of the calendar, and a curve of which nothing is known."""
    day = pa.array([-62135596800000000] * len(made[0]), pa.int64()).cast(pa.timestamp("us", "UTC"))
    trials = made[0].set_column(made[0].schema.get_field_index("finished_at"), "finished_at", day)
    replicates = _put(made[1], "curve_step", None)
    export = read(exports.write(tmp_path / "export", _put(trials, "depth", 1), replicates))
    assert (export.trials["depth"][2].as_py(), export.replicates["curve_step"].null_count) == (1, 1)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("steps_run", None, "'steps_run' must be known in every row, but is null in 1"),
        ("curve_step", [*range(9), None], "curve_step must be known at every recorded step, but is null at 1"),
    ],
)
def test_steps_that_are_null_are_refused(
    made: tuple[pa.Table, pa.Table], tmp_path: Path, column: str, value: object, says: str
) -> None:
    """They were a traceback as soon as the curves were judged anew."""
    folder = exports.write(tmp_path / "export", made[0], _put(made[1], column, value))
    with pytest.raises(ValueError, match=says):
        read(folder)


def test_a_criterion_within_the_longest_budget_is_within_that_of_each_trial(made: tuple[pa.Table, pa.Table]) -> None:
    trials, replicates = made
    whole = relabel(trials, replicates, Criterion("train_accuracy", 0.8, within=100))[0]
    assert whole.select(JUDGED).equals(trials.select(JUDGED))
    open_ends = set(replicates.filter(~pc.field("outcome").isin(["trained", "diverged"]))["trial_key"].to_pylist())
    rows = zip(trials["trial_key"].to_pylist(), trials["outcome"].to_pylist(), strict=True)
    longer = next(i for i, (key, outcome) in enumerate(rows) if outcome == "trained" and key not in open_ends)
    mixed = relabel(_put(trials, "steps", 200, longer), replicates, Criterion("train_accuracy", 0.8, within=150))[0]
    assert mixed["outcome"].equals(trials["outcome"])


def test_a_curve_of_no_step_is_judged_by_what_was_measured_before_it(made: tuple[pa.Table, pa.Table]) -> None:
    replicates = made[1]
    for name in ("curve_step", "curve_loss", "curve_accuracy"):
        replicates = _put(replicates, name, [], 0)
    assert relabel(made[0], replicates, Criterion("train_accuracy", 0.8, within=50))[1]["outcome"][0].as_py() in (
        "stalled",
        "vanished",
    )


@pytest.mark.parametrize("ratio", [-50.0, -0.1])
def test_a_network_that_was_stopped_is_not_called_vanished_or_stalled(
    made: tuple[pa.Table, pa.Table], ratio: float
) -> None:
    row = made[1]["outcome"].to_pylist().index("trained")
    replicates = made[1]
    for name, value in (("curve_step", [10]), ("curve_loss", [0.5]), ("curve_accuracy", [0.85]), ("steps_run", 10),
                        ("log_forward_ratio", ratio)):  # fmt: skip
        replicates = _put(replicates, name, value, row)
    with pytest.raises(ValueError, match="was stopped at success after 10 of 100 steps"):
        relabel(made[0], replicates, Criterion("train_accuracy", 0.9))


def test_the_test_accuracy_that_was_measured_is_judged(made: tuple[pa.Table, pa.Table]) -> None:
    replicates = relabel(*made, Criterion("test_accuracy", 0.9))[1].to_pylist()
    trained = [(row["test_accuracy"] or 0.0) >= 0.9 for row in replicates]
    assert any(trained)
    assert [row["outcome"] == "trained" for row in replicates] == trained


def test_a_trial_whose_networks_are_missing_is_named(made: tuple[pa.Table, pa.Table]) -> None:
    key = made[0]["trial_key"][0].as_py()
    with pytest.raises(ValueError, match=f"trial {key} has no replicates, so its criterion cannot be changed"):
        relabel(made[0], made[1].filter(pc.field("trial_key") != key), Criterion())


@pytest.mark.parametrize("name", ["curve_loss", "curve_accuracy"])
def test_a_curve_that_is_null_cannot_be_judged_anew(made: tuple[pa.Table, pa.Table], tmp_path: Path, name: str) -> None:
    folder = exports.write(tmp_path / "export", made[0], _put(made[1], name, None))
    assert read(folder)
    with pytest.raises(ValueError, match=r"cannot be decided: trial \w+ has no curve \(null\)"):
        read(folder, Criterion("train_accuracy", 0.5))


def test_a_network_that_occurs_twice_is_refused(folder: Path, made: tuple[pa.Table, pa.Table]) -> None:
    """A part of replicates that was copied beside itself: judged anew, every trial had twice as many seeds."""
    part = sorted((folder / "replicates").glob("*.parquet"))[0]
    shutil.copy(part, part.with_name("copy.parquet"))
    twice, rows = len(pq.read_table(part)), len(made[1])
    sentence = f"{twice} of {rows + twice} rows of replicates are of one that another row has; run 'sweep export' again"
    with pytest.raises(ValueError, match=sentence):
        read(folder)


def test_one_network_too_many_and_an_outcome_of_a_network_that_is_none_are_refused(
    made: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    twice = pa.concat_tables([made[1], made[1].slice(0, 1)])
    with pytest.raises(ValueError, match=f"but 1 of {len(twice)} rows of replicates are of one that another row has"):
        read(exports.write(tmp_path / "twice", made[0], twice))
    with pytest.raises(ValueError, match=r"outcome must be one of trained, .* but got 'fine'"):
        read(exports.write(tmp_path / "word", made[0], _put(made[1], "outcome", "fine")))


def test_a_rule_is_that_of_all_trials_if_no_two_are_of_different_specs(
    made: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    """Trials that do not say of which spec they are do not tell another one."""
    for name, sha, common in (("null", None, True), ("two", "2" * 64, False)):
        folder = exports.write(tmp_path / name, _put(made[0], "spec_sha256", sha), made[1])
        assert (read(folder).common, read(folder).trainings) == (common, {})
        assert read(folder, Criterion("train_accuracy", 0.7)).common
    unsaid = exports.write(tmp_path / "unsaid", exports.replaced(made[0], spec_sha256=None), made[1])
    assert (read(unsaid).common, read(unsaid).trainings) == (True, {})


@pytest.mark.parametrize(
    ("rule", "read_as"),
    [
        ({"metric": "train_loss", "at_most": 0.5, "within": 40}, Criterion("train_loss", 0.5, 40)),
        ({"at_least": 1}, Criterion("train_accuracy", 1.0)),
        ({"metric": "train_loss", "at_least": None}, None),
        ({}, None),
    ],
)
def test_a_criterion_is_read_whole_or_is_not_known(
    made: tuple[pa.Table, pa.Table], tmp_path: Path, rule: dict[str, object], read_as: Criterion | None
) -> None:
    assert read(exports.write(tmp_path / "export", *made, {**exports.SPEC, "criterion": rule})).criterion == read_as


def test_trials_without_replicates_are_refused_unless_they_failed(
    made: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    trials, replicates = made
    assert len(read(exports.write(tmp_path / "some-failed", trials, replicates)).trials) == 80
    failed = trials.filter(pc.field("outcome") == "failed")
    assert len(read(exports.write(tmp_path / "all-failed", failed, replicates.slice(0, 0))).replicates) == 0
    with pytest.raises(ValueError, match="78 of 80 trials did not fail but have no replicates, such as trial"):
        read(exports.write(tmp_path / "none", trials, replicates.slice(0, 0)))
    key = trials["trial_key"][0].as_py()
    with pytest.raises(ValueError, match=f"1 of 80 trials did not fail but have no replicates, such as trial {key}"):
        read(exports.write(tmp_path / "one", trials, replicates.filter(pc.field("trial_key") != key)))


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("abc", "criterion must be a mapping such as {at_least: 0.8}, but got 'abc'"),
        ({"at_least": [1]}, "criterion.at_least must be a number, but got [1]"),
        ({"at_least": "abc"}, "criterion.at_least must be a number, but got 'abc'"),
        ({"at_least": True}, "criterion.at_least must be a number, but got True"),
        ({"metric": ["a"], "at_least": 0.8}, "criterion.metric must be a name, but got ['a']"),
        ({"metric": "acc", "at_least": 0.8}, "criterion.metric must be one of train_accuracy"),
        ({"at_most": 0.5}, "a criterion of train_accuracy needs at_least and no at_most, but got {'at_most': 0.5}"),
        ({"metric": "train_loss", "at_least": 0.5}, "a criterion of train_loss needs at_most and no at_least, but"),
        ({"metric": "train_loss", "at_least": 1, "at_most": 2}, "needs at_most and no at_least"),
        ({"metric": "loss", "at_most": 0.5}, "criterion.metric must be one of train_accuracy"),
        ({"at_least": 0.8, "within": 2.5}, "criterion.within must be a whole number of steps, but got 2.5"),
        ({"at_least": 7}, "0 < threshold <= 1 for"),
        ({"at_least": 10**400}, "int too large to convert to float"),
        ({"metric": "train_loss", "at_most": float("inf")}, "a finite threshold above 0 for train_loss, but got inf"),
    ],
)
def test_a_criterion_of_the_wrong_type_names_file_and_field(
    made: tuple[pa.Table, pa.Table], tmp_path: Path, rule: object, says: str
) -> None:
    folder = exports.write(tmp_path / "export", *made, {**exports.SPEC, "criterion": rule})
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{folder}/spec.yaml: ")
