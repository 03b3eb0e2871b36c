"""Sweeps that were trained in different ways and are read together are told apart by an axis of the map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exports
import numpy as np
import pyarrow.compute as pc
import pytest

from analysis import compare, joining, maps, rates, ratios, store, trainings
from analysis.__main__ import main
from analysis.outcome import Criterion
from analysis.schema import TRAINING
from analysis.store import Export


def _sweep(
    folder: Path, sha: str, *, n: int = 24, depth: float = 1.0, rate: float = 1.0, schemes: tuple[str, ...] = (),
    training: dict[str, Any] | None = None, threshold: float = 0.8, seed: int | None = None, **columns: Any
) -> Path:  # fmt: skip
    """A sweep under a spec of its own, of which some `columns`, fields of `training`, or learning rates are others.

    Depths are a share of those that are known to train, and so are its limits.
    """
    trials, replicates = exports.tables(n, seed=int(sha, 16) if seed is None else seed)
    if schemes:
        trials = trials.filter(pc.field("scheme").isin(schemes))
        replicates = replicates.filter(pc.field("trial_key").isin(trials["trial_key"].combine_chunks()))
    deep = [max(2, round(depth * value)) for value in trials["depth"].to_pylist()]
    keys = {key: f"{sha}{key[1:]}" for key in trials["trial_key"].to_pylist()}
    told = {**exports.SPEC["training"], **(training or {})}
    own = {"depth": deep, "spec_sha256": sha * 64, "trial_key": list(keys.values()), "sweep": folder.name}
    return exports.write(
        folder,
        exports.replaced(trials, **{**own, **columns}),
        exports.replaced(
            replicates,
            learning_rate=[round(rate * value, 9) for value in replicates["learning_rate"].to_pylist()],
            trial_key=[keys[key] for key in replicates["trial_key"].to_pylist()],
        ),
        {**exports.SPEC, "training": told, "criterion": {"metric": "train_accuracy", "at_least": threshold}},
    )


def _names(export: Export) -> set[str]:
    return set(export.trials[TRAINING].to_pylist()) if TRAINING in export.trials.column_names else set()


@pytest.fixture(scope="module")
def optimizers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adam at a tenth of the learning rates, whose networks train up to a third of the depth alone."""
    root = tmp_path_factory.mktemp("optimizers")
    some: dict[str, Any] = {"n": 120, "schemes": ("he_normal", "ll_orth")}  # fewer panels are drawn sooner
    adam = {"optimizer": "adam", "best_learning_rate": 0.001}
    return [
        _sweep(root / "plain", "1", best_learning_rate=0.01, **some),
        _sweep(root / "adaptive", "2", depth=1 / 3, rate=0.1, **adam, **some),
    ]


def test_each_training_has_its_own_limits(optimizers: list[Path]) -> None:
    """One map of both put the limits of `he_normal` where neither has them, and called the rest chance."""
    whole = joining.read(optimizers)
    assert _names(whole) == {"sgd", "adam"}
    limits = maps.scheme_limits(whole.trials)
    assert len(limits) == 2 * len(maps.scheme_limits(store.read(optimizers[0]).trials))
    changes = [r for r in ratios.changes(limits) if r.first == "training sgd" and r.censored == "no"]
    assert changes
    assert all(r.second == "adam" and r.low <= 3 <= r.high for r in changes), changes
    assert 2.4 < np.exp(np.mean([np.log(r.ratio) for r in changes])) < 3.6
    between = ratios.ratios(limits)
    assert between
    assert all("training sgd" in r.where or "training adam" in r.where for r in between), "schemes, where trained alike"


@pytest.mark.slow
def test_theory_is_asked_for_each_training_at_its_own_rate(optimizers: list[Path]) -> None:
    whole = joining.read(optimizers)
    info = maps.region_map(whole.trials)
    alone = {
        name: maps.region_map(store.read(folder).trials)
        for name, folder in zip(("sgd", "adam"), optimizers, strict=True)
    }
    assert (alone["sgd"].rates, alone["adam"].rates) == (("0.01",), ("",))
    assert set(info.rates) == {"0.01", ""}
    assert info.at_rate == " at learning rate 0.01 (sgd alone)"
    assert info._replace(rates=("0.01 to 0.1", "0.3")).at_rate == " at learning rates 0.01 to 0.1 and 0.3"
    assert info._replace(rates=("0.01 to 0.1",)).at_rate == " at learning rates 0.01 to 0.1"
    x = info.x.values[-1]
    for panel in info.panels:
        mine = panel.fixed[TRAINING]
        same = next(p for p in alone[mine].panels if p.scheme == panel.scheme)
        assert panel.slice == mine
        assert np.isclose(alone[mine].x.values[-1], x, rtol=0.5)
        assert panel.predicted[0] == same.predicted[0], (mine, panel.scheme)
    orth = {p.fixed[TRAINING]: p.predicted[-1] for p in info.panels if p.scheme == "ll_orth"}
    assert orth["sgd"] < orth["adam"], "whose steps theory does not know"


@pytest.mark.slow
def test_all_commands_tell_them_apart(
    optimizers: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*map(str, optimizers), "--out", str(tmp_path)]
    assert main(["compare", *given]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "They differ in optimizer (adam or sgd) and in learning rates (0.001 and 0.01 or 0.01 and 0.1), " in said
    assert "which the axis 'training' tells apart." in said
    assert "training sgd / adam" in said
    assert main(["report", *given]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "training sgd / adam" in page
    assert "Of the learning rates it knows 0.01, the least" in page
    assert main(["map", *given]) == 0
    assert {"adam", "sgd"} <= set(
        (tmp_path / "map.svg").read_text().replace("<!-- ", "\n").replace(" -->", "\n").split()
    )


def test_networks_are_paired_and_counted_within_a_training(tmp_path: Path) -> None:
    """Of two sweeps on the same points and seeds that differ in their momentum alone one hid the other."""
    folders = [
        _sweep(tmp_path / name, sha, seed=0, training={"momentum": momentum})
        for name, sha, momentum in (("one", "1", 0.0), ("other", "2", 0.9))
    ]
    pairs = [sum(p.pairs for p in compare.paired(e.trials, e.replicates)) for e in map(store.read, folders)]
    whole = joining.read(folders)
    assert _names(whole) == {"momentum 0", "momentum 0.9"}
    assert sum(p.pairs for p in compare.paired(whole.trials, whole.replicates)) == sum(pairs)
    assert sum(a.n for a in compare.agreement(whole.trials)) == 2 * sum(
        a.n for a in compare.agreement(store.read(folders[0]).trials)
    )


def test_what_differs_is_said_and_each_may_have_a_criterion_of_its_own(tmp_path: Path) -> None:
    one = _sweep(tmp_path / "one", "1")
    other = _sweep(tmp_path / "mnist", "2", rate=0.5, threshold=0.7, dataset="mnist", batch_size=32)
    whole = joining.read([one, other])
    assert trainings.mixed(whole) == {
        "dataset": ["digits", "mnist"],
        "batch size": ["32", "64"],
        "learning rates": ["0.005 and 0.05", "0.01 and 0.1"],
    }
    told = joining.joined(whole)
    assert "They differ in dataset (digits or mnist) and in batch size (32 or 64) and in learning rates" in told
    assert "each judged by the criterion of its own spec; --criterion judges all by one." in told
    assert joining.criterion(whole) == joining.OWN
    anew = joining.read([one, other], Criterion("train_accuracy", 0.9))
    assert joining.criterion(anew) == "train_accuracy>=0.9"
    assert "all judged by train_accuracy>=0.9" in joining.joined(anew)
    assert _names(anew) == {"digits", "mnist"}


def test_sweeps_that_were_trained_alike_have_no_such_axis(tmp_path: Path) -> None:
    whole = joining.read([_sweep(tmp_path / "one", "1"), _sweep(tmp_path / "other", "2", training={"seeds": 5})])
    assert TRAINING not in whole.trials.column_names
    assert trainings.mixed(whole) == {}
    assert joining.joined(whole).endswith("are read together, all judged by train_accuracy>=0.8.")


def test_learning_rates_that_differ_in_the_fourth_digit_are_others(tmp_path: Path) -> None:
    parts = [_sweep(tmp_path / f"x{rate}", sha, rate=rate) for sha, rate in (("1", 1.231), ("2", 1.2312))]
    assert _names(joining.read(parts)) == {f"learning rates 0.0{rate} and 0.{rate}" for rate in (1231, 12312)}


def test_a_training_that_goes_with_the_schemes_is_no_axis(tmp_path: Path) -> None:
    """Learning rates that were chosen for each scheme: its panels are apart as it is."""
    parts = [
        _sweep(tmp_path / "plain", "1", schemes=("he_normal", "orthogonal")),
        _sweep(tmp_path / "mirrored", "2", rate=0.1, schemes=("ll_orth",)),
    ]
    whole = joining.read(parts)
    assert TRAINING not in whole.trials.column_names
    assert "which goes with the scheme: a map does not tell what is due to which." in joining.joined(whole)
    third = _sweep(tmp_path / "both", "3", rate=0.1, schemes=("he_normal",))
    assert _names(joining.read([*parts, third])) == {"learning rates 0.001 and 0.01", "learning rates 0.01 and 0.1"}


def test_a_training_that_two_axes_tell_together_is_no_axis(tmp_path: Path) -> None:
    kinds = {"1": ("he_normal", 64, 32), "2": ("he_normal", 96, 64), "3": ("orthogonal", 64, 64),
             "4": ("orthogonal", 96, 32)}  # fmt: skip
    whole = joining.read([
        _sweep(tmp_path / sha, sha, schemes=(scheme,), width=width, batch_size=batch)
        for sha, (scheme, width, batch) in kinds.items()
    ])  # fmt: skip
    assert TRAINING not in whole.trials.column_names
    assert "which goes with the scheme and width" in joining.joined(whole)


def test_one_axis_is_enough_to_tell_a_training(tmp_path: Path) -> None:
    whole = joining.read([
        _sweep(tmp_path / "relu", "1", schemes=("he_normal",)),
        _sweep(tmp_path / "tanh", "2", schemes=("orthogonal",), activation="tanh", optimizer="adam"),
    ])  # fmt: skip
    assert "which goes with the scheme: a map" in joining.joined(whole)


def test_where_no_axis_of_few_values_varies_the_training_is_one(tmp_path: Path) -> None:
    """Widths that were drawn from a continuum are those of one sweep by chance."""
    only: dict[str, Any] = {"schemes": ("he_normal",)}
    folders = [_sweep(tmp_path / "one", "1", **only), _sweep(tmp_path / "two", "2", optimizer="adam", **only)]
    assert _names(joining.read(folders)) == {"sgd", "adam"}
    odd, even = [list(range(64 + first, 76 + first, 2)) for first in (0, 1)]
    folders = [
        _sweep(tmp_path / "odd", "3", width=odd, **only),
        _sweep(tmp_path / "even", "4", width=even, optimizer="adam", **only),
    ]
    assert _names(joining.read(folders)) == {"sgd", "adam"}


@pytest.mark.slow
def test_a_training_is_called_by_as_little_as_tells_it(tmp_path: Path) -> None:
    """By the steps alone, in the order of their numbers; where two things vary, by both."""
    steps = [_sweep(tmp_path / f"{n}", sha, steps=n, rate=1 / n) for n, sha in ((1000, "1"), (200, "2"), (50, "3"))]
    whole = joining.read(steps)
    assert _names(whole) == {"50 steps", "200 steps", "1000 steps"}
    shown = dict.fromkeys(p.slice for p in maps.region_map(whole.trials).panels)
    assert list(shown) == ["50 steps", "200 steps", "1000 steps"]
    assert trainings.mixed(whole)["steps"] == ["50", "200", "1000"]
    changed = ratios.changes(maps.scheme_limits(whole.trials))
    assert {(r.first, r.second) for r in changed if r.first.startswith("training")} == {
        ("training 200 steps", "50 steps"), ("training 1000 steps", "50 steps"), ("training 1000 steps", "200 steps")
    }, "the larger over the smaller"  # fmt: skip
    more = _sweep(tmp_path / "adam", "4", steps=50, rate=1 / 50, optimizer="adam")
    assert _names(joining.read([*steps, more])) == {"sgd, 50 steps", "sgd, 200 steps", "sgd, 1000 steps",
                                                    "adam, 50 steps"}  # fmt: skip


@pytest.mark.parametrize(
    ("training", "names"),
    [
        ({"weight_decay": 0.01}, {"weight decay 0", "weight decay 0.01"}),
        ({"momentum": 0.9995}, {"momentum 0", "momentum 0.9995"}),
        ({"nesterov": True}, {"nesterov no", "nesterov yes"}),
        ({"schedule": {"at": [0.5, 0.8], "factor": 0.1}}, {"rate constant", "rate times 0.1 at 0.5, 0.8 of the steps"}),
        ({"train_samples": 100}, {"all samples", "100 samples"}),
    ],
)
def test_what_the_spec_alone_says_of_a_training_counts(
    tmp_path: Path, training: dict[str, Any], names: set[str]
) -> None:
    plain = {
        "momentum": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "schedule": {"at": [], "factor": 0.1},
        "train_samples": None,
    }
    folders = [_sweep(tmp_path / "one", "1", training=plain), _sweep(tmp_path / "two", "2", training=plain | training)]
    assert _names(joining.read(folders)) == names
    (folders[1] / "spec.yaml").unlink()
    assert _names(joining.read(folders)) == set(), "what is not known of one is no difference"


def test_what_one_spec_does_not_say_hides_no_difference_between_the_others(tmp_path: Path) -> None:
    """One folder without spec.yaml made one map of two momenta, without a word."""
    folders = [
        _sweep(tmp_path / sha, sha, training={"momentum": momentum})
        for sha, momentum in (("1", 0.0), ("2", 0.9), ("3", 0.0))
    ]
    (folders[2] / "spec.yaml").unlink()
    assert _names(joining.read(folders)) == {"momentum 0", "momentum 0.9", "momentum unknown"}
    assert _names(joining.read(folders[::2])) == set()


def test_a_field_that_an_older_spec_lacks_is_no_difference(tmp_path: Path) -> None:
    folders = [_sweep(tmp_path / "old", "1"), _sweep(tmp_path / "new", "2", training={"nesterov": False})]
    assert _names(joining.read(folders)) == set()
    assert trainings.mixed(joining.read(folders)) == {}
    falls = _sweep(tmp_path / "falls", "3", training={"schedule": "cosine"})
    assert _names(joining.read([folders[0], falls])) == {"rate constant", "rate cosine"}


def test_places_that_trials_met_once_say_nothing_of_their_training(tmp_path: Path) -> None:
    """Drawn from many, no two sweeps are at one place, which is chance: they were read as one training."""
    rng = np.random.default_rng(2)

    def drawn() -> dict[str, Any]:
        return {"width": rng.choice([8, 16, 24, 32, 48, 64, 96, 128], 24).tolist(),
                "weight_scale": rng.choice([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2], 24).tolist()}  # fmt: skip

    folders = [_sweep(tmp_path / "one", "1", **drawn()), _sweep(tmp_path / "two", "2", optimizer="adam", **drawn())]
    places = [set(zip(*store.read(f).trials.select(["scheme", "width", "weight_scale"]).to_pydict().values(),
                      strict=True)) for f in folders]  # fmt: skip
    assert not places[0] & places[1], "or this tests nothing"
    assert _names(joining.read(folders)) == {"sgd", "adam"}


def test_trials_of_no_known_spec_are_told_apart_and_that_is_said(tmp_path: Path) -> None:
    """Tables of one's own have no spec_sha256."""
    folders = [
        _sweep(tmp_path / "one", "1", spec_sha256=None),
        _sweep(tmp_path / "two", "2", spec_sha256=None, optimizer="adam"),
        _sweep(tmp_path / "three", "3", rate=0.1),
    ]
    both = joining.read(folders[:2])
    assert _names(both) == {"sgd", "adam"}
    assert (
        joining.joined(both) == "The trials differ in optimizer (adam or sgd), which the axis 'training' tells apart."
    )
    assert _names(joining.read(folders[::2])) == {"learning rates 0.001 and 0.01", "learning rates 0.01 and 0.1"}


@pytest.mark.parametrize("abscissa", ["learning_rate", "steps"])
def test_what_a_map_is_over_is_not_said_to_be_told_apart_by_the_training(
    tmp_path: Path, abscissa: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exports.undrawn(monkeypatch)
    changed: dict[str, Any] = {"rate": 0.1} if abscissa == "learning_rate" else {"steps": 50}
    schemes = ("he_normal", "ll_orth")
    folders = [
        _sweep(tmp_path / "one", "1", schemes=schemes),
        _sweep(tmp_path / "two", "2", schemes=schemes, **changed),
        _sweep(tmp_path / "three", "3", schemes=schemes, optimizer="adam"),
    ]
    out = ["--abscissa", abscissa, "--out", str(tmp_path / "out")]
    assert main(["frontier", *map(str, folders[:2]), *out]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "all judged by train_accuracy>=0.8. Depth limits" in said
    assert main(["frontier", *map(str, folders), *out]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "They differ in optimizer (adam or sgd), which the axis 'training' tells apart." in said


def test_a_setting_that_one_sweep_does_not_know_may_differ(tmp_path: Path) -> None:
    """Tables of another tool leave out what it did not keep, and null is no neighbour of a name."""
    whole = joining.read([_sweep(tmp_path / "one", "1"), _sweep(tmp_path / "foreign", "2", dataset=None)])
    assert trainings.mixed(whole) == {"dataset": ["digits", "unknown"]}
    assert _names(whole) == {"digits", "unknown"}


def test_rates_that_are_left_out_or_are_the_axis_make_no_training(tmp_path: Path) -> None:
    whole = joining.read([_sweep(tmp_path / "one", "1"), _sweep(tmp_path / "other", "2", rate=0.1)])
    assert _names(whole) == {"learning rates 0.001 and 0.01", "learning rates 0.01 and 0.1"}
    assert _names(rates.only(whole, [0.01])) == set(), "all are judged at the one that both have"
    assert _names(rates.only(whole, [0.001, 0.1])) == {"learning rates 0.001", "learning rates 0.1"}
    unfolded = rates.unfold(whole)
    assert TRAINING not in unfolded.column_names
    assert unfolded["learning_rate"].unique().to_pylist() == [0.001, 0.01, 0.1]


def _all_failed(folder: Path) -> Path:
    export = store.read(folder)
    lost = exports.replaced(
        export.trials, outcome="failed", score=None, n_trained=0, n_replicates=0, best_learning_rate=None
    )
    return exports.write(folder, lost, export.replicates.slice(0, 0), dict(export.spec))


def test_trials_that_failed_are_no_training(tmp_path: Path) -> None:
    one, other = _sweep(tmp_path / "one", "1"), _all_failed(_sweep(tmp_path / "other", "2", optimizer="adam"))
    whole = joining.read([one, other])
    assert TRAINING not in whole.trials.column_names
    assert trainings.mixed(whole) == {}


def test_what_failed_trials_had_is_no_difference_between_the_others(tmp_path: Path) -> None:
    folders = [_sweep(tmp_path / sha, sha, training={"momentum": 0.0}) for sha in "12"]
    (folders[1] / "spec.yaml").unlink()
    lost = _all_failed(_sweep(tmp_path / "lost", "3", training={"momentum": 0.9}))
    assert _names(joining.read([*folders, lost])) == set()


@pytest.mark.parametrize(
    ("axis", "values"),
    [("weight_scale", (1.0, 0.5)), ("density", (1.0, 0.5)), ("activation", ("relu", "tanh"))],
)
def test_a_training_that_goes_with_another_axis_is_none(tmp_path: Path, axis: str, values: tuple[Any, Any]) -> None:
    one: dict[str, Any] = {axis: values[0]}
    other: dict[str, Any] = {axis: values[1], "optimizer": "adam"}
    whole = joining.read([_sweep(tmp_path / "one", "1", **one), _sweep(tmp_path / "other", "2", **other)])
    assert TRAINING not in whole.trials.column_names
    assert f"which goes with the {axis.replace('_', ' ')}: a map" in joining.joined(whole)
