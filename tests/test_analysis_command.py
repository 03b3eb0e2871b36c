"""The `analysis` command: what it prints and writes, and that every mistake is one sentence and exit code 2."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import exports
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from analysis import store, summary, tables
from analysis.__main__ import main
from analysis.outcome import Criterion, Outcome
from analysis.region import AuditError, RegionModel
from analysis.schema import Took, stamp
from analysis.terminal import show


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exports.write(tmp_path_factory.mktemp("export") / "made-up", *exports.tables(72, shared_points=True))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scheme, to draw less."""
    trials, replicates = exports.tables(80)
    trials = trials.filter(pc.field("scheme") == "ll_orth")
    replicates = replicates.filter(pc.field("trial_key").isin(trials["trial_key"].to_pylist()))
    return exports.write(tmp_path_factory.mktemp("small"), trials, replicates)


def _flat() -> tuple[pa.Table, pa.Table]:
    """Tables of a sweep with one depth: no map can be made."""
    trials, replicates = exports.tables(16)
    place = trials.schema.get_field_index("depth")
    depths = pa.array([9] * len(trials), pa.int32())
    return trials.set_column(place, trials.schema.field("depth"), depths), replicates


@pytest.fixture(scope="module")
def one_depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exports.write(tmp_path_factory.mktemp("flat"), *_flat())


def _json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_summary_counts_every_trial(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "summary", str(folder))
    assert (found["trials"], found["failed"]) == (72, 1)
    assert sum(t["trials"] for t in found["tallies"]) == 72
    assert sum(sum(t["outcomes"].values()) for t in found["tallies"]) == 72
    assert found["limits"][0]["scheme"] == "xavier_normal"
    assert found["audit"]["n"] + found["audit"]["ties"] == 10
    main(["summary", str(folder)])
    text = capsys.readouterr().out
    assert "Does the map find the limits that were put in?" in text
    assert "ll_orth" in text
    assert "audit trials" in text


def test_a_question_is_told_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = "Which depths [in layers] train, [/of all]?"
    folder = exports.write(tmp_path / "asked", *_flat(), spec={**exports.SPEC, "question": asked})
    assert main(["summary", str(folder)]) == 0
    assert asked in capsys.readouterr().out


def test_summary_tallies_agree_with_a_count_row_by_row(folder: Path) -> None:
    export = store.read(folder)
    rows = {row["trial_key"]: row for row in export.trials.to_pylist()}
    outcomes = Counter((row["scheme"], row["outcome"]) for row in rows.values())
    networks = Counter(rows[key]["scheme"] for key in export.replicates["trial_key"].to_pylist())
    tallies = summary.summarize(export).tallies
    assert [tally.scheme for tally in tallies] == sorted(exports.LIMITS)
    assert any(tally.outcomes["failed"] for tally in tallies)
    for tally in tallies:
        assert tally.outcomes == {str(o): outcomes[tally.scheme, o] for o in Outcome}
        assert (tally.trials, tally.networks) == (sum(tally.outcomes.values()), networks[tally.scheme])


def test_a_harder_criterion_leaves_fewer_trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def trained(*rule: str) -> int:
        tallies = _json(capsys, "summary", str(folder), *rule)["tallies"]
        return sum(t["outcomes"]["trained"] for t in tallies)

    assert trained("--criterion", "accuracy>=0.95") < trained() == trained("--criterion", "accuracy>=0.8")


def test_map_writes_pictures_and_cells(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "map", str(small), "--out", str(tmp_path))
    names = {Path(f).name for f in found["files"]}
    assert {"map.png", "map.svg", "map.parquet"} == names
    assert all(Path(f).stat().st_size for f in found["files"])
    assert len(pq.read_table(tmp_path / "map.parquet")) == found["cells"]
    assert sum(found["shares"].values()) == pytest.approx(1)


@pytest.mark.slow
def test_figures_of_a_paper_are_pdf_with_letters_in_it_and_no_date(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[bytes] = []
    for out in (tmp_path / "one", tmp_path / "other"):
        written = _json(capsys, "frontier", str(small), "--out", str(out), "--pdf")["files"]
        assert str(out / "frontier.pdf") in written
        made.append((out / "frontier.pdf").read_bytes())
    assert made[0].startswith(b"%PDF-")
    assert made[0] == made[1]
    assert b"CreationDate" not in made[0]
    assert b"/TrueType" in made[0] or b"/CIDFontType2" in made[0]  # which publishers take, and not Type 3
    assert b"/Type3" not in made[0]
    for command, stem in (("map", "map"), ("compare", "compare")):
        assert main([command, str(small), "--out", str(tmp_path), "--pdf"]) == 0
        assert (tmp_path / f"{stem}.pdf").is_file()
    assert (
        main(["theory", "he_normal", "--depth", "4", "--width", "8", "--nets", "0", "--pdf", "--out", str(tmp_path)])
        == 0
    )
    assert (tmp_path / "theory-he_normal.pdf").is_file()
    with pytest.raises(SystemExit):
        main(["report", str(small), "--pdf"])
    assert "unrecognized arguments: --pdf" in capsys.readouterr().err


def test_frontier_writes_the_same_table_twice(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "frontier", str(folder), "--out", str(tmp_path))
    assert pq.read_table(tmp_path / "frontier.parquet").to_pylist()[0]["scheme"] == found["limits"][0]["scheme"]
    assert len(pa_csv.read_csv(tmp_path / "frontier.csv")) == len(found["limits"])
    assert (tmp_path / "frontier.png").is_file()


def test_a_limit_that_theory_does_not_find_is_infinite_in_json_too(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON has no infinity; theory has, of ll_orth without biases, where the learning rate is not that of descent."""
    trials, replicates = (pq.read_table(small / name) for name in ("trials", "replicates"))
    place = trials.column_names.index("optimizer")
    adam = trials.set_column(place, trials.schema.field("optimizer"), pa.array(["adam"] * len(trials)))
    found = _json(capsys, "frontier", str(exports.write(tmp_path / "adam", adam, replicates)), "--out", str(tmp_path))
    assert "inf" in {row["predicted"] for row in found["limits"]}


def test_compare_tells_theory_and_pairs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "compare", str(folder), "--out", str(tmp_path))
    assert {a["scheme"] for a in found["agreement"]} == set(exports.LIMITS)
    assert len(found["paired"]) == 6
    assert len({ratio["where"] for ratio in found["ratios"]}) == 2, "at both ends of the bias variance"
    assert len(found["ratios"]) == 12
    assert (tmp_path / "compare.png").is_file()


def test_report_is_one_page_that_loads_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["report", str(folder), "--out", str(tmp_path)])
    assert "report.html" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    outside = [url for url in re.findall(r'(?:src|href)="([^"]*)"|url\(', page) if not url.startswith("data:")]
    assert outside == []
    assert "<script" not in page
    assert page.count("<img") == 3
    sizes = re.findall(r'max-width: ([\d.]+)rem; min-width: ([\d.]+)rem" src="[^,"]*,([^"]*)"', page)
    for most, least, data in sizes:  # type of one size in all of them, that a narrow screen does not shrink to nothing
        (points,) = re.findall(rb'<svg[^>]* width="([\d.]+)pt"', base64.b64decode(data)[:2000])
        assert float(most) / float(points) == pytest.approx(6.5 / 72, abs=1e-3)
        assert float(least) / float(points) == pytest.approx(4 / 72, abs=1e-3)
    assert len(sizes) == 3
    for said in ("train_accuracy&gt;=0.8", "0" * 40, "1" * 64, "sampler: random", "digits", "Wilson", "spec.yaml"):
        assert said in page, said
    tags = re.findall(r"<(/?)(table|figure|p|ul|li|h2|tr|td|th|dl|header|pre|div)\b", page)
    assert sum(1 if not slash else -1 for slash, _ in tags) == 0


def test_what_a_sweep_took_stands_beside_its_prediction(
    one_depth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an export that says it; of another, such as a resumed sweep's, no time is told."""
    trials, replicates = _flat()
    timed = exports.write(tmp_path / "timed", stamp(trials, Took(16, 41.4, 49.0)), replicates)
    sentence = "16 trials, 64 networks in 41 s, predicted 49 s (16 % less)"
    for folder, told in ((timed, True), (one_depth, False)):
        found = _json(capsys, "summary", str(folder))
        assert (found["wall_seconds"], found["predicted_seconds"]) == ((41.4, 49.0) if told else (None, None))
        main(["summary", str(folder)])
        first = capsys.readouterr().out.splitlines()[0]
        assert first == f"made-up  {sentence if told else '16 trials, 64 networks'}"
        main(["report", str(folder), "--out", str(tmp_path)])
        capsys.readouterr()
        page = (tmp_path / "report.html").read_text()
        assert (f">{sentence}</p>" in page, "predicted 49" in page, 'class="took"' in page) == (told, told, told)


def test_trials_of_several_specs_say_by_which_rule_they_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials, replicates = _flat()
    assert summary.joined(store.read(exports.write(tmp_path / "one", trials, replicates))) == ""
    place = trials.schema.get_field_index("spec_sha256")
    hashes = pa.array([str(i % 2) * 64 for i in range(len(trials))])
    two = exports.write(tmp_path / "two", trials.set_column(place, trials.schema.field(place), hashes), replicates)
    told = "Trials of 2 different specs (spec_sha256) are read together, "
    own = f"{told}each judged by the criterion of its own spec; train_accuracy>=0.8 is that of spec.yaml alone; "
    assert _json(capsys, "summary", str(two))["joined"].startswith(own)
    anew = _json(capsys, "summary", str(two), "--criterion", "accuracy>=0.9")["joined"]
    assert anew == f"{told}all judged by train_accuracy>=0.9."
    main(["summary", str(two)])
    assert "Trials of 2 different specs" in capsys.readouterr().out
    assert summary.criterion(store.read(two)) == "the criterion of each trial's own sweep"
    assert summary.criterion(store.read(two, Criterion("train_accuracy", 0.9))) == "train_accuracy>=0.9"
    main(["report", str(two), "--out", str(tmp_path)])
    assert "each judged by the criterion of its own spec" in (tmp_path / "report.html").read_text()


def test_an_unknown_error_of_a_map_says_what_it_takes() -> None:
    """Of a grid of hundreds of trials it wanted more of them, and of tied audits none."""
    takes = "audit trials (uniformly random ones) that are not tied between their seeds, in a sweep of 8 trials or more"
    none = AuditError(float("nan"), 0.0, 1.0, 0, 0, 0)
    assert summary.audit_text(None) == summary.audit_text(none) == f"The error of the map is unknown: it takes {takes}."
    assert summary.audit_text(none._replace(ties=3)).endswith(f"{takes}; 3 were tied between their seeds.")
    some = AuditError(1.0, 0.2, 1.0, 1, 1, 1)
    told = "Map error on 1 audit trial that the model had not seen: 1 wrong, 100.0 % (95 % interval 20.0 to 100.0 %)"
    assert summary.audit_text(some) == f"{told}; 1 more was tied between their seeds."
    assert summary.audit_text(some._replace(ties=0)) == f"{told}."


def test_a_limit_below_all_depths_tried_is_not_a_scheme_that_trains_nowhere() -> None:
    limits = pa.table({"censored": ["no", "above"], "trains_again_at": pa.array([None, None], pa.int32())})
    assert tables.limit_note(limits) == ""
    below = limits.set_column(0, "censored", pa.array(["no", "below"]))
    assert "fail already at the least depth that was tried, not that no deeper ones train" in tables.limit_note(below)


def test_limits_of_a_budget_are_told_from_those_of_a_network() -> None:
    """Where nearly all that fails is slow, `< 2` beside the theory's `no limit` looked like a theory refuted."""
    trials = exports.tables(40)[0].filter(pc.field("outcome") != "failed")

    def told(trained: int, slow: int, stalled: int) -> str:
        outcomes = ["trained"] * trained + ["slow"] * slow + ["stalled"] * stalled + ["failed"]
        some = trials.slice(0, len(outcomes))
        at = some.schema.get_field_index("outcome")
        return tables.budget_note(some.set_column(at, "outcome", pa.array(outcomes)))

    assert told(9, 3, 2).startswith("3 of 5 trials that did not train ended slow")
    assert f"after the {exports.STEPS} steps" in told(9, 3, 2)
    assert told(9, 2, 2) == told(9, 0, 0) == ""
    both = exports.replaced(trials.slice(0, 2), outcome="slow", steps=[100, 200])
    assert "after their steps." in tables.budget_note(both)
    lost = exports.replaced(trials.slice(0, 5), outcome=["slow"] * 2 + ["failed"] * 3)
    assert tables.budget_note(lost).startswith("2 of 2 trials"), "those that failed say nothing of steps"


@pytest.mark.parametrize("command", ["summary", "frontier", "compare"])
def test_every_table_of_limits_says_that_they_are_of_the_budget(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The summary alone did."""
    export = store.read(small)
    rows = [row | ({} if row["outcome"] in ("trained", "failed") else {"outcome": "slow"})
            for row in export.trials.to_pylist()]  # fmt: skip
    assert any(row["outcome"] == "slow" for row in rows)
    folder = exports.write(tmp_path / "short", pa.Table.from_pylist(rows, export.trials.schema), export.replicates)
    out = [] if command == "summary" else ["--out", str(tmp_path)]
    assert main([command, str(folder), *out]) == 0
    assert "So the depth limits are of this budget" in " ".join(capsys.readouterr().out.split())


def test_report_escapes_what_it_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {**exports.SPEC, "question": "<b>bold</b> & 'quoted'"}
    exports.write(tmp_path / "e", *_flat(), spec)
    assert main(["report", str(tmp_path / "e"), "--json"]) == 0
    page = Path(json.loads(capsys.readouterr().out)["files"][0]).read_text()
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#x27;quoted&#x27;" in page


def test_a_sweep_without_a_map_still_has_a_summary_and_a_page(
    one_depth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _json(capsys, "summary", str(one_depth))["limits"] == []
    main(["summary", str(one_depth)])
    assert "No depth limits: a map needs trials of more than one depth" in capsys.readouterr().out
    assert main(["report", str(one_depth), "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "more than one depth" in page
    assert "Does theory say rightly whether a point trains?" in page
    assert "Gaussian-process" not in page


def test_what_needs_no_map_is_compared_without_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials, replicates = exports.tables(16, shared_points=True)
    place = trials.schema.get_field_index("depth")
    trials = trials.set_column(place, trials.schema.field("depth"), pa.array([9] * len(trials), pa.int32()))
    folder = exports.write(tmp_path / "flat", trials, replicates)
    found = _json(capsys, "compare", str(folder))
    assert {a["scheme"] for a in found["agreement"]} == set(exports.LIMITS)
    assert len(found["paired"]) == 6
    assert (found["files"], found["limits"], found["ratios"]) == ([], [], [])
    assert "more than one depth" in found["note"]
    assert main(["compare", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "No depth limits: a map needs trials of more than one depth" in text
    assert "On the same points and seeds" in text
    main(["report", str(folder), "--out", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert "On the same points and seeds" in page
    assert "The map is a logistic" not in page


@pytest.mark.parametrize("command", ["map", "frontier", "compare", "report"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise AssertionError("the model was fitted first")

    monkeypatch.setattr(RegionModel, "fit", fit)
    assert main([command, str(folder), "--out", str(folder / "spec.yaml" / "below")]) == 2
    assert "spec.yaml is a file, not a folder to write into" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["summary", "nowhere"], "nowhere is not a folder; give the folder that 'sweep export' wrote"),
        (["map", "EXPORT", "--criterion", "acuracy>=0.9"], "did you mean 'accuracy'"),
        (["map", "EXPORT", "--criterion", "accuracy>=0.9 within 900"], "looks beyond the 100 steps"),
        (["map", "FLAT"], "more than one depth"),
        (["frontier", "FLAT"], "more than one depth"),
        (["map", "EXPORT", "--criterion", ""], "a criterion reads like 'accuracy>=0.9'"),
        (["map", "EXPORT", "--criterion", "accuracy>=0.9 within 5"], "the first recorded step is 10"),
        (
            ["report", "EXPORT", "--out", "EXPORT/spec.yaml"],
            "spec.yaml is a file, not a folder to write into; name",
        ),
        (
            ["theory", "he_normal", "--depth", "4", "--width", "8", "--pdf"],  # drew nothing, without a word
            "--pdf draws a figure, but there is no folder for one: name it with --out",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    argv: list[str], says: str, folder: Path, one_depth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [a.replace("EXPORT", str(folder)).replace("FLAT", str(one_depth)) for a in argv]
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert err.count("\n") == 1
    assert err.startswith("analysis: ")
    assert main([*argv, "--json"]) == 2
    assert says in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    "argv",
    [["theory", "he_normal", "--depth", "9", "--width", "8", "--out", ""], ["map", "x", "--out", " "], ["map", ""]],
)
def test_a_folder_without_a_name_is_not_the_current_one(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`--out "$FOLDER"` of a variable that is not set wrote wherever one was."""
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "must name a folder, '.' for the current one, but got '" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_sentence(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map.parquet").mkdir()
    assert main(["map", str(small), "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "map.parquet cannot be written (" in err
    assert err.count("\n") == 1


def test_a_full_disk_is_told_with_the_file(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frontier.png").symlink_to("/dev/full")
    assert main(["frontier", str(small), "--out", str(tmp_path)]) == 2
    said = f"analysis: {tmp_path / 'frontier.png'} cannot be written (No space left on device); make room"
    assert capsys.readouterr().err.startswith(said)


def test_schemes_are_told_apart_on_a_narrow_terminal() -> None:
    narrow = Console(width=30, file=io.StringIO())
    show(narrow, "", ["scheme", *"abcd"], [["ll_orthogonal", *["12.5 to 99"] * 4], ["ll_gaussian", *["3"] * 4]])
    assert isinstance(narrow.file, io.StringIO)
    assert "…" not in narrow.file.getvalue(), "of both the beginning alone was left"


def test_a_terminal_that_lacks_a_letter_gets_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["theory", "he_normal", "--depth", "4", "--width", "8", "--nets", "0"]) == 0
    out.seek(0)
    assert " ? " in out.read(), "a plus-minus"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    assert "words:" in text
    for command in ("summary", "map", "frontier", "compare", "report"):
        assert command in text


def test_needs_no_torch_ray_optuna_or_mlflow(small: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from analysis.__main__ import main\n"
        f"assert main(['report', {str(small)!r}, '--out', {str(tmp_path)!r}]) == 0\n"
        "print(sorted({'torch', 'ray', 'optuna', 'mlflow', 'pydantic', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_stops_early_gets_no_traceback(small: Path) -> None:
    command = f"{sys.executable} -m analysis summary {small} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(("command", "fits"), [("compare", 1), ("report", 2)])
def test_a_model_is_fitted_once_and_once_without_the_audits(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, fits: int
) -> None:
    """A fit is most of the time that a large export takes."""
    fit, seen = RegionModel.fit.__func__, []  # type: ignore[attr-defined]

    def counted(cls: type[RegionModel], trials: pa.Table, *rest: object) -> RegionModel:
        seen.append(len(trials))
        return fit(cls, trials, *rest)

    monkeypatch.setattr(RegionModel, "fit", classmethod(counted))
    assert main([command, str(small), "--out", str(tmp_path / "made")]) == 0
    assert len(seen) == fits
