"""The README tells the truth: its two commands, the subcommands and options it shows, its links, paths and code."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sweeps.reading import bundled

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/sweep launch quickstart",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
)
PATH = re.compile(r"(sweeps|isoinit|analysis|tests|\.ci)/[\w./*-]*|cluster\.yaml|pyproject\.toml|LICENSE")
OURS = re.compile(r"(?:[\w./-]*/)?(sweep|analysis) ([a-z]+)((?: .*)?)")


def blocks(text: str, language: str | None = None) -> list[str]:
    """Contents of the fenced code blocks, and of the indented ones when any language will do."""
    fenced = [code for kind, code in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S) if language in (None, kind)]
    indented = re.findall(r"(?:^(?: {4}|\t).*\n?)+", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return fenced if language else [*fenced, *indented]


def code(text: str) -> list[str]:
    """Lines of code blocks, with continuations joined and prompts and comments dropped, and inline code."""
    lines = "\n".join(blocks(text)).replace("\\\n", " ").splitlines()
    inline = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [re.sub(r"\s+#.*", "", line.strip().removeprefix("$ ")) for line in [*lines, *inline]]


def calls(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """(program, subcommand, arguments) of every call of ours, one by one of `a && b | c`."""
    for line in code(text):
        for part in re.split(r"&&|\||;", line):
            bare = part.strip()
            bare = bare.strip("'\"") if bare[:1] in ("'", '"') else bare
            if found := OURS.fullmatch(bare):
                program, command, rest = found.groups()
                yield program, command, shlex.split(rest)


@cache
def help_of(program: str, command: str) -> str | None:
    """What `program command --help` prints; None if there is no such command."""
    from analysis.__main__ import main as analysis
    from sweeps.__main__ import main as sweep

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
        try:
            {"sweep": sweep, "analysis": analysis}[program]([command, "--help"])
        except SystemExit as end:
            return out.getvalue() if end.code == 0 else None
    return None


def problems(text: str) -> list[str]:
    """Everything that the text says and that is not so."""
    found = []
    for program, command, arguments in calls(text):
        usage = help_of(program, command)
        if usage is None:
            found.append(f"'{program} {command}' is no command")
            continue
        options = [a.partition("=")[0] for a in arguments if a.startswith("--")]
        unknown = [option for option in options if not re.search(rf"{option}\b", usage)]
        found += [f"'{program} {command}' has no option {option}" for option in unknown]
        if command in ("launch", "plan") and arguments:
            spec = arguments[0]
            if spec.islower() and not spec.endswith(".yaml") and spec not in bundled():
                found.append(f"'{program} {command} {spec}': no such spec is bundled")
    anchors = {
        re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            found += [] if target[1:] in anchors else [f"no heading for {target}"]
        elif not re.match(r"https?:|mailto:", target) and not (ROOT / target.partition("#")[0]).exists():
            found.append(f"the link {target} leads nowhere")
    for line in code(text):
        if PATH.fullmatch(line) and not any(ROOT.glob(line)):
            found.append(f"there is no {line}")
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=["use", "test"])
def test_the_two_commands_stand_in_it_verbatim(command: str) -> None:
    assert command in [line.strip() for line in README.splitlines()]


def test_what_it_says_is_so() -> None:
    assert problems(README) == []


def test_it_shows_the_way_from_launch_to_map() -> None:
    shown = {(program, command) for program, command, _ in calls(README)}
    assert {("sweep", "launch"), ("sweep", "export"), ("analysis", "map")} <= shown


@pytest.mark.parametrize("place", [f"/{folder}/" for folder in ("work", "root", "home", "tmp")])
def test_it_names_no_place_of_one_machine(place: str) -> None:
    assert place not in README


@pytest.mark.parametrize("source", blocks(README, "python"))
def test_its_python_runs(source: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("lie", "problem"),
    [
        ("Use `sweep lunch quickstart`.", "no command"),
        ("    .venv/bin/sweep launch quickstart --speed 3\n", "no option --speed"),
        ("```\ncd x && sweep plan quickstrat\n```", "no such spec"),
        ("```sh\nanalysis map DIR \\\n  --colour red\n```", "no option --colour"),
        ("See [the design](docs/design.md).", "leads nowhere"),
        ("See [below](#nowhere).\n\n## Somewhere", "no heading"),
        ("It is in `sweeps/quantum.py`.", "there is no sweeps/quantum.py"),
    ],
)
def test_a_lie_would_be_found(lie: str, problem: str) -> None:
    (found,) = problems(lie)
    assert problem in found


def test_the_truth_passes() -> None:
    text = "`sweep launch quickstart --trials 8`, [here](#a-title-of-ours), `sweeps/specs/*.yaml`\n# A title, of ours\n"
    assert problems(text) == []


def test_the_help_of_a_benchmark_is_what_its_file_says() -> None:
    """Two said less, or all in one paragraph, with the command in its middle."""
    programs = {path.name: path.read_text() for path in (ROOT / "tests/bench").glob("*.py")}
    made = "argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)"
    asked = [name for name, text in programs.items() if "ArgumentParser(" in text]
    assert asked
    assert [name for name in asked if made not in programs[name]] == []
    assert [name for name in asked if f"python tests/bench/{name}" not in programs[name].split('"""')[1]] == []
