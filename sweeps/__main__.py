"""The `sweep` command: arguments in, calls out. Every error is one sentence and exit code 2."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from sweeps import commands
from sweeps.failures import disk

EPILOG = """\
a first session:
  sweep specs                       what is bundled
  sweep plan quickstart             what it would train, and how long that takes
  sweep launch quickstart           train it; then 'mlflow ui' shows every trial
  sweep export quickstart           both tables as Parquet, for the 'analysis' command
  analysis map exports/quickstart   the trainable region of every scheme

SPEC is a bundled name or a YAML file; NAME is the name of a launched sweep.
A killed sweep loses nothing: 'sweep resume NAME' goes on where it stopped.
"""


def _path(text: str) -> Path:
    """A path as a shell would have it, which leaves the ~ of `--out=~/x` alone."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user, or one without a home
        raise argparse.ArgumentTypeError(f"{text}: there is no such home folder; write the path without a ~") from None


def _folder(text: str) -> str:
    folder = _path(text).resolve()  # workers have folders of their own to work in
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return str(folder)


class _Argument(NamedTuple):
    """One argument, as `add_argument` takes it; `more` beside its help."""

    name: str
    help: str
    more: Mapping[str, Any] = {}


_JSON = _Argument("--json", "print machine-readable results on stdout", {"action": "store_true"})
_RUNS = _Argument(
    "--runs-dir", "where sweeps are kept (default: runs)", {"type": _path, "default": Path("runs"), "metavar": "DIR"}
)
_STORE = _Argument(
    "--tracking-uri",
    "MLflow store: http://host:5000 or sqlite:///file.db "
    "(default: the one that the sweep was launched with, else MLFLOW_TRACKING_URI, else sqlite:///mlflow.db)",
    {"metavar": "URI"},
)
_SPEC = (
    _Argument("spec", "a bundled name (see 'sweep specs') or a YAML file", {"metavar": "SPEC"}),
    _Argument("--name", "call the sweep this instead of the spec's own name"),
    _Argument("--trials", "short for --set search.trials=N", {"type": int, "metavar": "N"}),
    _Argument(
        "--set",
        "put a value over a field of the spec, e.g. training.steps=300; may be repeated",
        {"action": "append", "default": [], "dest": "settings", "metavar": "FIELD=VALUE"},
    ),
)
_NAME = _Argument("name", "name of a launched sweep", {"metavar": "NAME"})
_NAMES = _Argument(
    "name", "name of a launched sweep (default: every sweep that is kept there)", {"metavar": "NAME", "nargs": "?"}
)
_INLINE = _Argument("--inline", "no Ray: train in this process, for tests and debuggers", {"action": "store_true"})
_RAY = _Argument("--address", "a Ray cluster: 'auto' or host:port (default: a Ray of its own)", {"metavar": "ADDRESS"})
_SAME_RAY = _Argument(
    "--address",
    "a Ray cluster: 'auto' or host:port, or 'local', a Ray of its own (default: what the sweep was launched with)",
    {"metavar": "ADDRESS"},
)
_DATA = _Argument(
    "--data-dir",
    "folder that has the data sets: an .npz of your own (default: where the spec is), or the public files, "
    "for machines without internet (default: ISOINIT_DATA)",
    {"type": _folder, "metavar": "DIR"},
)
_MORE = _Argument("--trials", "go on to this many trials", {"type": int, "metavar": "N"})
_OUT = _Argument("--out", "folder to write (default: exports/NAME)", {"type": _path, "metavar": "DIR"})
_KEY = _Argument("trial_key", "the tag trial.key of its MLflow run, or the beginning of it", {"metavar": "TRIAL_KEY"})

_COMMANDS: Final[tuple[tuple[str, str, commands.Command, tuple[_Argument, ...]], ...]] = (
    ("specs", "list the bundled specs and the questions they answer", commands.specs, (_JSON,)),
    ("schemes", "list the initialization schemes: source, architectures, what is exact", commands.schemes, (_JSON,)),
    ("plan", "validate a spec and price it: trials, networks, FLOPs, time, predicted depth limits", commands.plan,
     (*_SPEC, _JSON, _DATA)),
    ("launch", "run a sweep, or go on with the sweep of the same name and spec", commands.launch,
     (*_SPEC, _RUNS, _STORE, _RAY, _INLINE, _DATA, _JSON)),
    ("status", "tell how far a sweep is, or all that were launched", commands.status, (_NAMES, _RUNS, _JSON)),
    ("resume", "go on with a sweep that was stopped or killed", commands.resume,
     (_NAME, _RUNS, _STORE, _SAME_RAY, _INLINE, _DATA, _JSON, _MORE)),
    ("stop", "let the running packs finish and then end the sweep; 'resume' goes on", commands.stop,
     (_NAME, _RUNS, _JSON)),
    ("sync", "send to MLflow what it has not received, the map too", commands.sync, (_NAME, _RUNS, _STORE, _JSON)),
    ("verify", "compare the ledger with MLflow, trial by trial", commands.verify, (_NAME, _RUNS, _STORE, _JSON)),
    ("export", "write both tables as Parquet, from MLflow alone", commands.export,
     (_NAME, _RUNS, _STORE, _JSON, _OUT)),
    ("replay", "train one trial again and compare its curves with the record", commands.replay,
     (_NAME, _KEY, _RUNS, _JSON, _DATA)),
    ("doctor", "check this machine: what is missing, with the remedy", commands.doctor, (_RUNS, _STORE, _JSON)),
)  # fmt: skip

_NEED_RAY: Final = (commands.plan, commands.launch, commands.resume, commands.sync, commands.replay)
"""What loads it, be it only for the search that it is a part of."""


def parser() -> argparse.ArgumentParser:
    """The whole command line; each subcommand names its function in `run`."""
    top = argparse.ArgumentParser(
        prog="sweep",
        description="Map which initializers train: how deep, how wide, and with how much bias variance.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = top.add_subparsers(metavar="COMMAND", required=True)
    for name, help, run, arguments in _COMMANDS:
        made = sub.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        made.set_defaults(run=run)
        for argument in arguments:
            made.add_argument(argument.name, help=argument.help, **argument.more)
    return top


def _see_folder() -> None:
    """Without one a library that is loaded aborts the process, and no relative path means anything."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ValueError("the folder that this was started in is gone; change to another") from None


def _see_runs(arguments: argparse.Namespace) -> None:
    runs: Path | None = getattr(arguments, "runs_dir", None)
    if runs is not None and runs.exists() and not runs.is_dir():
        raise ValueError(f"{runs} is no folder; give the --runs-dir that sweeps are kept in")


def _see_home() -> None:
    from sweeps import installed  # not for `--help`, which should be quick

    if installed.home() is None:
        raise ValueError(f"{installed.HOMELESS}; {installed.HOME}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 (a check failed, or a sweep was stopped), 2 (a mistake) or 130 (a command
    was interrupted)."""
    arguments = parser().parse_args(argv)
    try:
        _see_folder()
        if arguments.run is not commands.doctor:  # which says it beside all else
            _see_runs(arguments)
        if arguments.run in _NEED_RAY:
            _see_home()
        return arguments.run(arguments)
    except (ValueError, OSError) as error:
        said = disk(error) if isinstance(error, OSError) else str(error)
        if getattr(arguments, "json", False):
            print(json.dumps({"error": said}))
        print(f"sweep: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        trains = arguments.run in (commands.launch, commands.resume)
        hint = "; what was finished is kept, and if there is something 'sweep resume' goes on" if trains else ""
        print(f"sweep: interrupted{hint}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
