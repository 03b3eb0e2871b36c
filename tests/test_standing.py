"""`sweep status`: how far a sweep is, and all that are kept in a folder."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from stores import SPEC
from tables import pack

from sweeps import parts
from sweeps.__main__ import main
from sweeps.rundir import RunDir


def _sweep(runs: Path, name: str, packs: int) -> RunDir:
    run = RunDir(runs, name)
    run.create(SPEC.model_copy(update={"name": name, "search": SPEC.search.model_copy(update={"trials": 8})}), {})
    for number in range(packs):
        run.ledger.append(parts.part(*pack(number, failed=[0] if number else [])))
    return run


def test_a_trial_that_failed_is_not_done_and_one_that_was_trained_again_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _sweep(tmp_path, "toy", 2)
    assert main(["status", "toy", "--runs-dir", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "toy: not running, 7/8 trials:" in told
    assert "1 failed" in told
    assert f"sweep resume toy --runs-dir {tmp_path}" in told
    run.ledger.append(parts.part(*pack(1, attempt=2)))
    assert main(["status", "toy", "--runs-dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["done"], found["trials"], found["pid"]) == ("finished", 8, 8, None)
    assert sum(found["outcomes"].values()) == 8
    assert "failed" not in found["outcomes"]


def test_all_sweeps_are_told_and_a_damaged_one_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _sweep(tmp_path, "empty", 0)
    whole = _sweep(tmp_path, "whole", 1)
    shutil.copytree(whole.path, tmp_path / "torn")
    (part,) = (tmp_path / "torn/ledger").glob("*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    with whole.driving():
        assert main(["status", "--runs-dir", str(tmp_path)]) == 0
    empty, go_on, torn, running = capsys.readouterr().out.splitlines()
    assert empty == "empty: not running, 0/8 trials: nothing finished yet"
    assert go_on.startswith("go on with: sweep resume empty")
    assert torn.startswith("torn: ")
    assert "is not a readable part of the ledger" in torn
    assert running.startswith("whole: running in process ")
    assert "4/8 trials" in running
    assert main(["status", "--runs-dir", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == ["empty", "torn", "whole"]
    assert [set(one) >= {"state", "done"} for one in found] == [True, False, True]
    assert main(["status", "torn", "--runs-dir", str(tmp_path)]) == 2


@pytest.mark.parametrize("copied", [True, False])
def test_a_folder_that_was_copied_or_renamed_does_not_go_on_and_says_what_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    """What is trained in it would be recorded in the folder of its name."""
    monkeypatch.chdir(tmp_path)
    whole = _sweep(Path("runs"), "toy", 1)
    if copied:
        shutil.copytree(whole.path, "runs/other")
    else:
        whole.path.rename("runs/other")
    said = "folder runs/other holds sweep 'toy', which does not go on under another name; "
    said += "go on with that of runs/toy" if copied else "call the folder toy again"
    assert main(["status", "other"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [said]
    for again in (["resume", "other", "--inline"], ["sync", "other"], ["stop", "other"]):
        assert main(again) == 2
        assert capsys.readouterr().err == f"sweep: {said}\n"
    with pytest.raises(ValueError, match=re.escape(said)):  # as a launch with --name other asks
        RunDir(Path("runs"), "other").check(SPEC.model_copy(update={"name": "other"}), "data")


def test_a_folder_without_sweeps_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--runs-dir", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == f"no sweep was launched in {tmp_path / 'none'}\n"
