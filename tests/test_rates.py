"""Trials judged at some of their learning rates, as if no others had been tried."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import exports
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis import joining, maps, rates, store, tables
from analysis.__main__ import main
from analysis.axes import infer_axes
from analysis.maps import scheme_limits
from analysis.outcome import Criterion
from analysis.schema import RATE, Took, stamp
from analysis.store import Export

FAST, SLOW = exports.RATES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trials, replicates = exports.tables(120)
    return exports.write(tmp_path_factory.mktemp("rates") / "made-up", stamp(trials, Took(120, 9.0, 9.0)), replicates)


@pytest.fixture(scope="module")
def export(folder: Path) -> Export:
    return store.read(folder)


def test_at_all_rates_nothing_changes(export: Export) -> None:
    whole = rates.only(export, exports.RATES)
    assert whole.trials.equals(export.trials)
    assert str(whole.replicates.to_pylist()) == str(export.replicates.to_pylist()), "as text, for NaN is not itself"


@pytest.mark.parametrize("rate", exports.RATES)
def test_at_one_rate_the_networks_of_that_rate_are_counted(export: Export, rate: float) -> None:
    alone = rates.only(export, [rate])
    assert alone.replicates["learning_rate"].unique().to_pylist() == [rate]
    assert alone.trials["trial_key"].equals(export.trials["trial_key"]), "those that failed are still there"
    trained: dict[str, list[bool]] = {}
    for row in export.replicates.to_pylist():
        if row["learning_rate"] == rate:
            trained.setdefault(row["trial_key"], []).append(row["outcome"] == "trained")
    for row in alone.trials.to_pylist():
        mine = trained.get(row["trial_key"], [])
        assert (row["n_trained"], row["n_replicates"]) == (sum(mine), len(mine))
        assert row["best_learning_rate"] == (rate if mine else None)
        assert (row["outcome"] == "trained") == (bool(mine) and 2 * sum(mine) >= len(mine))


def test_a_limit_is_that_of_the_rate(export: Export) -> None:
    """In this export all networks of the larger rate diverge from .7 of the limit on."""
    limits = [scheme_limits(rates.only(export, some).trials)["depth_limit"].to_numpy() for some in ([FAST], [SLOW])]
    assert 0.6 < np.exp(np.log(limits[0] / limits[1]).mean()) < 0.85, limits


def test_a_criterion_and_rates_go_together(export: Export) -> None:
    harder = Criterion.parse("accuracy>=0.95")
    one = rates.only(store.judged(export, harder), [SLOW])
    other = store.judged(rates.only(export, [SLOW]), harder)
    assert one.trials.equals(other.trials)
    assert joining.criterion(one) == joining.criterion(other) == "train_accuracy>=0.95 at learning rate 0.01"


def test_trials_without_the_rate_are_left_out_and_told(export: Export) -> None:
    keys = pa.array(export.trials["trial_key"].to_pylist()[:5])
    lacking = ~(pc.field("trial_key").isin(keys) & (pc.field("learning_rate") == FAST))
    fewer = rates.only(export._replace(replicates=export.replicates.filter(lacking)), [FAST])
    assert fewer.without == 5
    assert not set(keys.to_pylist()) & set(fewer.trials["trial_key"].to_pylist())
    assert joining.joined(fewer) == (
        "Trials are judged at learning rate 0.1, but were placed, and took their time, for all learning rates. "
        "5 trials were trained at none of these, and left out."
    )
    assert joining.joined(fewer._replace(without=1)).endswith(" 1 trial was trained at none of these, and left out.")
    assert joining.joined(fewer._replace(without=0)).endswith(", for all learning rates.")
    assert fewer.took is None, "in that time other networks were trained too"


def test_without_one_criterion_there_is_nothing_to_judge_by(export: Export) -> None:
    for unknown in (export._replace(criterion=None), export._replace(common=False)):
        with pytest.raises(ValueError, match="do not say by which one criterion: give --criterion too"):
            rates.only(unknown, [FAST])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fast", "learning rates read like '0.1' or '0.1,0.03', but got 'fast'"),
        ("", "learning rates read like"),
        ("0.1,", "learning rates read like"),
        ("0", "a learning rate is a finite number above 0, but got '0'"),
        ("0.1,nan", "a learning rate is a finite number above 0"),
        ("0.1,0.2", "no network was trained at learning rate 0.2; there are 0.01, 0.1"),
    ],
)
def test_a_mistake_is_one_sentence(folder: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(folder), "--learning-rates", text]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_rates_are_compared_as_numbers() -> None:
    assert rates.parse("1e-1, 3e-2") == (0.1, 0.03)
    assert rates.text([0.1]) == " at learning rate 0.1"
    assert rates.text([0.01, 0.1]) == " at the best of learning rates 0.01, 0.1"
    assert rates.text([]) == ""


@pytest.mark.slow
def test_every_output_says_at_which_rate(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--learning-rates", "0.1"]
    assert main(["summary", str(folder), *chosen, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["criterion"] == "train_accuracy>=0.8 at learning rate 0.1"
    assert (found["wall_seconds"], found["networks"]) == (None, 2 * (120 - 3))
    assert math.isclose(found["seconds"], 120 * 0.25)
    assert main(["summary", str(folder), *chosen]) == 0
    assert "took their time, for all learning rates" in " ".join(capsys.readouterr().out.split())
    assert main(["compare", str(folder), *chosen, "--out", str(tmp_path)]) == 0
    lines = re.findall("<!-- (.*?) -->", (tmp_path / "compare.svg").read_text())
    assert "at learning rate 0.1" in " ".join(lines)
    assert main(["report", str(folder), *chosen, "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "<code>train_accuracy&gt;=0.8 at learning rate 0.1</code>" in page
    assert "took their time, for all learning rates" in page


def test_unfolded_every_trial_is_there_once_for_every_rate_and_judged_at_it(export: Export) -> None:
    unfolded = rates.unfold(export)
    assert unfolded["learning_rate"].value_counts().to_pylist() == [
        {"values": rate, "counts": 120} for rate in sorted(exports.RATES)
    ]
    for rate in exports.RATES:
        mine = unfolded.filter(pc.field("learning_rate") == rate).drop_columns(["learning_rate"])
        assert mine.equals(rates.only(export, [rate]).trials)


def test_a_map_over_the_learning_rate(export: Export) -> None:
    """The limits of the larger rate are .7 of the smaller one's; of theory they are less where that is unstable,
    within enough steps for the smaller one."""
    unfolded = rates.unfold(export)
    unfolded = unfolded.set_column(unfolded.column_names.index("steps"), "steps", pa.array([6000] * len(unfolded)))
    info = maps.region_map(unfolded, abscissa=RATE)
    assert (info.x.values.tolist(), info.x.levels, info.n_trials) == ([SLOW, FAST], True, 120 - 3)
    quotients = np.array([panel.frontier.median[1] / panel.frontier.median[0] for panel in info.panels])
    assert 0.6 < np.exp(np.log(quotients).mean()) < 0.85, quotients
    assert all(panel.predicted[0] >= panel.predicted[1] for panel in info.panels)
    assert any(panel.predicted[0] > panel.predicted[1] for panel in info.panels)
    assert sum(panel.n_trials.sum() for panel in info.panels) == 2 * (120 - 3)


def test_trials_are_told_apart_by_rate_only_where_that_is_asked_for(export: Export) -> None:
    unfolded = rates.unfold(export)
    assert "learning_rate" not in [axis.name for axis in infer_axes(unfolded)]
    assert "learning_rate" in [axis.name for axis in infer_axes(unfolded, "learning_rate")]
    with pytest.raises(
        ValueError, match="must be one of bias_variance, weight_scale, width, density, steps, but got 'learn"
    ):
        maps.region_map(export.trials, abscissa=RATE)


def test_the_frontier_over_the_learning_rate_is_a_command(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["frontier", str(folder), "--abscissa", "learning_rate", "--out", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["learning_rate"] for row in found["limits"]} == set(exports.RATES)
    assert "learning rate" in (tmp_path / "frontier.svg").read_text()
    assert "at each learning rate" in (tmp_path / "frontier.svg").read_text()


def test_a_budget_is_blamed_for_limits_at_each_rate_by_what_ended_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Judged at their best rates most failed slowly, at the larger rate they diverged: its limits are of no budget."""
    trials, replicates = exports.tables(60)
    rows = replicates.to_pylist()
    slow = [row | {"outcome": "slow" if row["outcome"] == "stalled" else row["outcome"]} for row in rows]
    outcomes = ["slow" if v not in ("trained", "failed") else v for v in trials["outcome"].to_pylist()]
    trials = trials.set_column(trials.column_names.index("outcome"), "outcome", pa.array(outcomes))
    folder = exports.write(tmp_path / "slow", trials, pa.Table.from_pylist(slow, replicates.schema))
    diverged = rates.unfold(store.read(folder))
    told = tables.budget_note(diverged)
    for chosen, says in (([], tables.budget_note(trials)), (["--abscissa", RATE], told)):
        assert main(["frontier", str(folder), *chosen, "--out", str(tmp_path)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert ("So the depth limits are of this budget" in said) == bool(says)
        assert says in said
    assert tables.budget_note(trials)
    assert not told
    every = diverged.set_column(diverged.column_names.index("outcome"), "outcome", pa.array(["slow"] * len(diverged)))
    assert f"of {len(every)} trials, counted at each learning rate, that did not train" in tables.budget_note(every)
