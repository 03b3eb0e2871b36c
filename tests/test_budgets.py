"""Trials judged within smaller budgets of steps: what a depth limit would have been after fewer."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import exports
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis import budgets, joining, maps, store, unfolded
from analysis.__main__ import main
from analysis.compare import agreement
from analysis.outcome import Criterion, Task
from analysis.schema import RATE, STEPS, TRAINING
from analysis.store import Export
from isoinit.theory.predict import Tolerance, depth_limit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exports.write(tmp_path_factory.mktemp("budgets") / "made-up", *exports.tables(120))


@pytest.fixture(scope="module")
def export(folder: Path) -> Export:
    return store.read(folder)


def _recorded(export: Export, steps: list[int]) -> Export:
    """The export with curves that were recorded at other steps."""
    rows = [row | {"curve_step": steps, "curve_loss": [1.0] * len(steps), "curve_accuracy": [0.5] * len(steps)}
            for row in export.replicates.to_pylist()]  # fmt: skip
    replicates = pa.Table.from_pylist(rows, export.replicates.schema)
    place = export.trials.schema.get_field_index(STEPS)
    whole = pa.array([steps[-1]] * len(export.trials), pa.int32())
    trials = export.trials.set_column(place, export.trials.schema.field(place), whole)
    return export._replace(trials=trials, replicates=replicates)


@pytest.mark.parametrize(
    ("recorded", "found"),
    [
        (list(range(10, 201, 10)), [200, 100, 50, 20, 10]),
        (list(range(1, 101)), [100, 50, 25, 12, 6, 3, 1]),
        (list(range(30, 301, 30)), [300, 150, 60, 30]),
        ([64], [64]),
        ([50, 64], [64]),
        ([1, 64], [64, 1]),
        ([2**k for k in range(15)], [16384, 4096, 1024, 256, 64, 16, 4, 1]),
        (list(range(1, 201)), [200, 93, 44, 20, 9, 4, 2, 1]),
    ],
)
def test_budgets_halve_and_are_steps_that_were_recorded(export: Export, recorded: list[int], found: list[int]) -> None:
    """No more than have a column each; of many the steps between two are greater."""
    assert budgets.budgets(_recorded(export, recorded)) == found


def test_trials_that_failed_have_no_budget(export: Export) -> None:
    """A sweep of ten times the steps that all failed left nothing but the last columns to the one that did not."""
    rows = export.trials.to_pylist()
    lost = [row | {STEPS: 1000} if row["outcome"] == "failed" else row for row in rows]
    assert budgets.budgets(export._replace(trials=pa.Table.from_pylist(lost, export.trials.schema))) == [
        100,
        50,
        20,
        10,
    ]
    none = [row | {"outcome": "failed"} for row in rows]
    empty = export._replace(
        trials=pa.Table.from_pylist(none, export.trials.schema), replicates=export.replicates.slice(0, 0)
    )
    assert budgets.budgets(empty) == [100]
    assert budgets.budgets(empty._replace(replicates=export.replicates)) == [100, 50, 20, 10], "was a max() of nothing"


def test_a_criterion_within_some_steps_has_no_greater_budget(export: Export) -> None:
    assert budgets.budgets(export) == [100, 50, 20, 10]
    assert budgets.budgets(export._replace(criterion=Criterion(within=60))) == [60, 30, 10]
    assert budgets.budgets(export._replace(criterion=Criterion(within=4))) == [4], "before the first step recorded"
    assert budgets.budgets(export._replace(criterion=Criterion(within=600))) == [100, 50, 20, 10]


def test_a_budget_is_within_the_reach_of_all_curves(export: Export) -> None:
    """Where one sweep recorded its 25th step first, nothing is known of all within 10."""
    late = _recorded(export, [25, 50, 75, 100]).replicates
    both = pa.concat_tables([export.replicates.slice(0, 9), late.slice(9)])
    assert budgets.budgets(export._replace(replicates=both)) == [100, 50, 25]


def test_the_rule_of_a_map_over_budgets_has_no_budget_of_its_own(export: Export) -> None:
    within = export._replace(criterion=Criterion(within=60))
    assert unfolded.rule(within, STEPS) == "train_accuracy>=0.8 within each budget of steps"
    assert unfolded.rule(within, RATE) == "train_accuracy>=0.8 within 60 at each learning rate"
    assert unfolded.rule(within, None) == "train_accuracy>=0.8 within 60"
    assert (within.task.rule, within._replace(common=False).task.rule) == (Criterion(within=60), None)


def test_limits_of_every_budget_are_not_said_to_be_of_one(export: Export) -> None:
    slow = pa.array(["slow"] * len(export.trials), pa.string())
    trials = export.trials.set_column(export.trials.column_names.index("outcome"), "outcome", slow)
    assert "are of this budget" in unfolded.note(export, None, trials)
    assert unfolded.note(export, STEPS, trials) == ""


@pytest.mark.parametrize(
    "command", ["summary", "frontier", *(pytest.param(c, marks=pytest.mark.slow) for c in ("map", "compare", "report"))]
)
def test_theory_is_of_the_steps_that_the_criterion_looks_at(
    command: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, drawn = maps.region_map, []
    monkeypatch.setattr(maps, "region_map", lambda *some, **named: drawn.append(made(*some, **named)) or drawn[-1])
    rule = Criterion(threshold=0.5, within=20)
    limit, whole = (depth_limit("he_normal", width=64, steps=n, tolerance=Tolerance.of(0.5)) for n in (20, 100))
    given = [command, str(folder), "--criterion", "accuracy>=0.5 within 20"]
    assert main(given + ["--json"] * (command != "report") + ["--out", str(tmp_path)] * (command != "summary")) == 0
    text = capsys.readouterr().out
    if command == "report":
        page = (tmp_path / "report.html").read_text()
        assert f">{limit:.0f}<" in page
        (info,) = drawn
        assert [p.predicted[0] for p in info.panels if p.scheme == "he_normal"] == pytest.approx([limit])
        table = page[page.index("Does theory say rightly") :].split("</table>")[0]
        rows = [re.sub("<.*?>", " ", row).split() for row in table.split("<tr>")]
        for told in agreement(store.read(folder, rule).trials, Task(rule)):
            (row,) = [row for row in rows if told.scheme in row]
            assert row[2] == f"{100 * told.share:.0f}", row
        return
    found = json.loads(text)
    if command == "map":
        assert f"theory: {limit:.0f}" in (tmp_path / "map.svg").read_text()
        assert f"theory: {whole:.0f}" not in (tmp_path / "map.svg").read_text()
    else:
        rows = [row for row in found["limits"] if row["scheme"] == "he_normal" and row["bias_variance"] == 0]
        assert [row["predicted"] for row in rows] == pytest.approx([limit] * len(rows))
        assert rows
    if command == "compare":
        assert main([*given, "--out", str(tmp_path)]) == 0
        row = next(
            line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:2] == ["he_normal", "0"]
        )
        assert row[-1] == f"{limit:.0f}"
        read = store.read(folder, rule).trials
        assert {a["scheme"]: a["agree"] for a in found["agreement"]} == {
            a.scheme: a.agree for a in agreement(read, Task(rule))
        }
        assert any(a.agree != b.agree for a, b in zip(agreement(read, Task(rule)), agreement(read), strict=True))


def test_unfolded_every_trial_is_there_once_for_every_budget_and_judged_within_it(export: Export) -> None:
    unfolded = budgets.unfold(export)
    assert unfolded[STEPS].value_counts().to_pylist() == [{"values": n, "counts": 120} for n in (100, 50, 20, 10)]
    for steps in (100, 50, 20, 10):
        mine = unfolded.filter(pc.field(STEPS) == steps)
        judged = store.judged(export, Criterion("train_accuracy", 0.8, steps)).trials
        assert mine.drop_columns([STEPS]).equals(judged.drop_columns([STEPS]))
    whole = unfolded.filter(pc.field(STEPS) == 100).drop_columns([STEPS])
    assert whole["n_trained"].equals(export.trials["n_trained"])
    assert pc.sum(unfolded["n_trained"]).as_py() < 4 * pc.sum(export.trials["n_trained"]).as_py()  # pyright: ignore


def test_what_was_trained_for_less_than_a_budget_has_no_say_in_it(export: Export, tmp_path: Path) -> None:
    """Two sweeps of unlike budgets are one training here: the axis tells them apart."""
    trials, replicates = exports.tables(24, seed=1)
    rows = [row | {"steps": 50, "spec_sha256": "5" * 64} for row in trials.to_pylist()]
    short = [
        row | {"steps_run": min(50, row["steps_run"])}
        | {name: row[name][:5] for name in ("curve_step", "curve_loss", "curve_accuracy")}
        for row in replicates.to_pylist()
    ]  # fmt: skip
    other = exports.write(
        tmp_path / "short", pa.Table.from_pylist(rows, trials.schema), pa.Table.from_pylist(short, replicates.schema)
    )
    whole = joining.read([*export.folders, other])
    assert set(whole.trials[TRAINING].to_pylist()) == {"50 steps", "100 steps"}
    unfolded = budgets.unfold(whole)
    assert TRAINING not in unfolded.column_names
    counts = {row["values"]: row["counts"] for row in unfolded[STEPS].value_counts().to_pylist()}
    assert counts == {100: 120, 50: 144, 20: 144, 10: 144}


@pytest.mark.slow
def test_a_limit_grows_with_the_budget(export: Export) -> None:
    info = maps.region_map(budgets.unfold(export), abscissa=STEPS)
    assert (info.x.values.tolist(), info.x.levels, info.n_trials) == ([10, 20, 50, 100], True, 120 - 3)
    for panel in info.panels:
        assert (np.diff(panel.frontier.median) >= 0).all(), panel
        assert panel.frontier.median[0] < panel.frontier.median[-1]
        if panel.scheme in ("he_normal", "orthogonal"):
            assert (np.diff(panel.predicted) > 0).all(), "theory knows the budget, too"
    alone = {p.scheme: p.frontier.median[0] for p in maps.region_map(export.trials).panels}
    for panel in info.panels:
        if panel.slice == "bias variance 0":
            assert np.isclose(panel.frontier.median[-1], alone[panel.scheme], rtol=0.25)


@pytest.mark.slow
def test_the_frontier_over_the_budget_is_a_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["frontier", str(folder), "--abscissa", "steps", "--out", str(tmp_path)]
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["steps"] for row in found["limits"]} == {10, 20, 50, 100}
    drawn = " ".join(re.findall("<!-- (.*?) -->", (tmp_path / "frontier.svg").read_text()))
    assert "training budget (steps)" in drawn
    assert "within each budget of steps" in drawn
    assert "at learning rate 0.01" not in drawn.replace("theory at learning rate", "")
    assert found["note"] == ""
    assert main([*given, "--criterion", "accuracy>=0.5 within 50", "--learning-rates", "0.01"]) == 0
    said = capsys.readouterr().out
    drawn = " ".join(re.findall("<!-- (.*?) -->", (tmp_path / "frontier.svg").read_text()))
    assert "within each budget of steps at learning rate 0.01" in drawn
    assert "of this budget" not in said
    assert "the learning rate falls" not in said
    assert " 50 " in said
    assert " 100 " not in said


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"criterion": None}, "do not say by which one criterion: give --criterion too"),
        ({"common": False}, "do not say by which one criterion: give --criterion too"),
        ({"criterion": Criterion("test_accuracy", 0.8)}, "the test accuracy is measured at the end"),
    ],
)
def test_what_cannot_be_judged_within_fewer_steps_is_refused(export: Export, changed: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        budgets.unfold(export._replace(**changed))


def test_networks_that_were_stopped_at_success_are_judged_within_fewer_steps_too(export: Export) -> None:
    rows = []
    for row in export.replicates.to_pylist():
        end = row["steps_to_threshold"]
        if end is not None:
            kept = row["curve_step"].index(end) + 1
            row |= {"steps_run": end} | {n: row[n][:kept] for n in ("curve_step", "curve_loss", "curve_accuracy")}
        rows.append(row)
    stopped = export._replace(replicates=pa.Table.from_pylist(rows, export.replicates.schema))
    one, other = budgets.unfold(stopped), budgets.unfold(export)
    assert one["n_trained"].equals(other["n_trained"])
    harder = stopped._replace(criterion=replace(Criterion(), threshold=0.9))
    with pytest.raises(ValueError, match="was stopped at success after"):
        budgets.unfold(harder)


_FALLS = {"at": [0.5], "factor": 0.1}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["frontier", "map"])
def test_a_schedule_that_does_not_shrink_with_the_budget_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Its steps are shares of the whole budget."""
    exports.undrawn(monkeypatch)
    training = {**exports.SPEC["training"], "schedule": _FALLS}
    folder = exports.write(tmp_path / "falls", *exports.tables(16), {**exports.SPEC, "training": training})
    given = [command, str(folder), "--abscissa", "steps", "--out", str(tmp_path)]
    assert main(given) == 0
    assert "the learning rate falls when it does in the whole budget" in " ".join(capsys.readouterr().out.split())
    assert main([*given, "--json"]) == 0
    assert "the learning rate falls" in json.loads(capsys.readouterr().out)["note"]
    assert main([command, str(folder), "--out", str(tmp_path)]) == 0
    assert "the learning rate falls" not in " ".join(capsys.readouterr().out.split()), "a map of the whole budget"


@pytest.mark.parametrize("schedule", [_FALLS, {"at": 0.5, "factor": 0.1}, "cosine"])
def test_a_schedule_may_be_said_in_the_words_of_another_tool(export: Export, schedule: Any) -> None:
    one_of_two = {"1": {"schedule": schedule}, "2": {"schedule": None}}
    assert "the learning rate falls" in budgets.note(export._replace(trainings=one_of_two))


@pytest.mark.parametrize("schedule", [None, {"at": [], "factor": 0.1}, "constant"])
def test_a_constant_rate_needs_no_note(export: Export, schedule: Any) -> None:
    assert budgets.note(export._replace(trainings={"1": {"schedule": schedule}})) == ""
