"""Exports of several folders are read as one; those that were trained in other ways: `test_trainings`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import exports
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis import joining, store
from analysis.__main__ import main
from analysis.outcome import Outcome
from analysis.schema import TRIALS, Took, stamp, stamp_between


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two sweeps of different points under two specs."""
    root, made = tmp_path_factory.mktemp("exports"), []
    for seed, name in enumerate(("one", "other")):
        trials, replicates = exports.tables(24, seed=seed)
        trials = trials.filter(pc.field("scheme").isin(["he_normal", "orthogonal"]))  # fewer panels are drawn sooner
        replicates = replicates.filter(pc.field("trial_key").isin(trials["trial_key"].combine_chunks()))
        trials = stamp(exports.replaced(trials, sweep=name, spec_sha256=str(seed) * 64), Took(12, 10.0, 10.0))
        made.append(exports.write(root / name, trials, replicates, {**exports.SPEC, "name": name}))
    return made[0], made[1]


def test_one_folder_is_read_as_ever(folders: tuple[Path, Path]) -> None:
    alone, read = joining.read(folders[:1]), store.read(folders[0])
    assert alone.trials.equals(read.trials)
    assert alone._replace(trials=None, replicates=None) == read._replace(trials=None, replicates=None)
    assert (read.common, read.repeated, joining.joined(read)) == (True, 0, "")


def test_two_sweeps_are_one_with_all_their_trials_and_networks(folders: tuple[Path, Path]) -> None:
    parts, whole = [store.read(folder) for folder in folders], joining.read(folders)
    for name in ("trials", "replicates"):
        keys = [getattr(part, name)["trial_key"].to_pylist() for part in parts]
        assert getattr(whole, name)["trial_key"].to_pylist() == keys[0] + keys[1]
    assert joining.criterion(whole) == "train_accuracy>=0.8"
    assert joining.joined(whole).endswith("are read together, all judged by train_accuracy>=0.8.")
    assert whole.took is None, "no time of one sweep is that of two"
    assert whole.spec == {}


def test_the_same_networks_count_once_and_a_trial_that_failed_gives_way(folders: tuple[Path, Path]) -> None:
    twice = joining.read([folders[0], folders[0]])
    once = store.read(folders[0])
    assert sorted(twice.trials["trial_key"].to_pylist()) == sorted(once.trials["trial_key"].to_pylist())
    assert len(twice.replicates) == len(once.replicates)
    assert joining.joined(twice) == "12 trials of several folders are counted once."
    assert joining.joined(twice._replace(repeated=1)) == "1 trial of several folders is counted once."
    assert twice.spec == once.spec

    trials, replicates = once.trials, once.replicates
    keys = trials["trial_key"].to_pylist()
    good = next(k for k, o in zip(keys, trials["outcome"].to_pylist(), strict=True) if o != Outcome.FAILED)
    rows = [
        {**row, "outcome": "failed", "score": None, "n_trained": 0, "n_replicates": 0}
        if row["trial_key"] == good
        else row
        for row in trials.to_pylist()
    ]
    kept = [row for row in replicates.to_pylist() if row["trial_key"] != good]
    broken = exports.write(
        folders[0].parent / "broken",
        pa.Table.from_pylist(rows, schema=TRIALS),
        pa.Table.from_pylist(kept, schema=replicates.schema),
    )
    mended = joining.read([broken, folders[0]])
    assert mended.trials["outcome"].to_pylist().count("failed") == trials["outcome"].to_pylist().count("failed")
    assert len(mended.replicates) == len(replicates)


def test_a_rule_is_that_of_all_only_where_every_folder_says_so(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Folders without a spec.yaml say none, and that of a folder with trials of two specs is of one of them."""
    unsaid = [shutil.copytree(folder, tmp_path / folder.name) for folder in folders]
    for folder in unsaid:
        (folder / "spec.yaml").unlink()
    one, other = (store.read(folder) for folder in folders)
    trials = pa.concat_tables([one.trials, other.trials])
    mixed = exports.write(tmp_path / "mixed", trials, pa.concat_tables([one.replicates, other.replicates]))
    for parts in (unsaid, [folders[0], mixed]):
        whole = joining.read(parts)
        assert joining.criterion(whole) == joining.OWN
        assert "each judged by the criterion of its own spec; " in joining.joined(whole)
    assert joining.criterion(store.read(unsaid[0])) == ""


def test_data_of_one_name_are_known_if_all_folders_mean_the_same(folders: tuple[Path, Path], tmp_path: Path) -> None:
    made = []
    for share, name in ((0.3, "mine.npz"), (0.3, "mine.npz"), (0.4, "mine.npz"), (0.5, "other.npz")):
        trials, replicates = exports.tables(12, seed=len(made))
        named = trials.set_column(trials.column_names.index("dataset"), "dataset", pa.array([name] * len(trials)))
        made.append(exports.write(tmp_path / f"{len(made)}", stamp_between(named, share), replicates))
    assert store.read(made[0]).between == joining.read(made[:2]).between == {"mine.npz": 0.3}
    assert joining.read(made).between == {"other.npz": 0.5}
    assert joining.read([made[0], *folders]).between == {"mine.npz": 0.3}


@pytest.mark.parametrize("command", ["summary", "map", "frontier", "compare", "report"])
def test_every_command_takes_several_folders(
    command: str,
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if command != "report":  # a page looks at its figures
        exports.undrawn(monkeypatch)
    given = [command, *map(str, folders)]
    if command != "summary":
        assert main(given) == 2
        assert "several folders are read as one: name the folder to write into with --out" in capsys.readouterr().err
        given += ["--out", str(tmp_path)]
    assert main(given) == 0
    if command == "report":
        page = (tmp_path / "report.html").read_text()
        assert "Trials of 2 different specs" in page
        assert all(f"name: {name}\n" in page for name in ("one", "other"))
    else:
        assert "Trials of 2 different specs" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["frontier", "compare"])
def test_machines_are_told_too(
    command: str, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *map(str, folders), "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["joined"].startswith("Trials of 2 different specs")
