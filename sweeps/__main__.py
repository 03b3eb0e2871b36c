"""The `sweep` command: arguments in, calls out. Every error is one sentence and exit code 2."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

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


def parser() -> argparse.ArgumentParser:
    """The whole command line; each subcommand names its function in `run`."""
    top = argparse.ArgumentParser(
        prog="sweep",
        description="Map which initializers train: how deep, how wide, and with how much bias variance.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = top.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, help: str, run: commands.Command, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made = sub.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", parents=parents)
        made.set_defaults(run=run)
        return made

    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print machine-readable results on stdout")
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="where sweeps are kept (default: runs)"
    )
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow store: http://host:5000 or sqlite:///file.db "
        "(default: the one that the sweep was launched with, else MLFLOW_TRACKING_URI, else sqlite:///mlflow.db)",
    )
    spec = argparse.ArgumentParser(add_help=False)
    spec.add_argument("spec", metavar="SPEC", help="a bundled name (see 'sweep specs') or a YAML file")
    spec.add_argument("--name", help="call the sweep this instead of the spec's own name")
    spec.add_argument("--trials", type=int, metavar="N", help="short for --set search.trials=N")
    spec.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="FIELD=VALUE",
        help="put a value over a field of the spec, e.g. training.steps=300; may be repeated",
    )
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("name", metavar="NAME", help="name of a launched sweep")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--address", metavar="ADDRESS", help="a Ray cluster: 'auto' or host:port (default: a Ray of its own)"
    )
    where.add_argument("--inline", action="store_true", help="no Ray: train in this process, for tests and debuggers")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data-dir", type=_folder, metavar="DIR", help="folder that has the data sets, for machines without internet"
    )

    add("specs", "list the bundled specs and the questions they answer", commands.specs, as_json)
    add("schemes", "list the initialization schemes: source, architectures, what is exact", commands.schemes, as_json)
    add(
        "plan",
        "validate a spec and price it: trials, networks, FLOPs, time, predicted depth limits",
        commands.plan,
        spec,
        as_json,
        data,
    )
    add(
        "launch",
        "run a sweep, or go on with the sweep of the same name and spec",
        commands.launch,
        spec,
        runs,
        store,
        where,
        data,
        as_json,
    )
    add("status", "tell how far a sweep is", commands.status, name, runs, as_json)
    resumed = add(
        "resume",
        "go on with a sweep that was stopped or killed",
        commands.resume,
        name,
        runs,
        store,
        where,
        data,
        as_json,
    )
    resumed.add_argument("--trials", type=int, metavar="N", help="go on to this many trials")
    add(
        "stop",
        "let the running packs finish and then end the sweep; 'resume' goes on",
        commands.stop,
        name,
        runs,
        as_json,
    )
    add("sync", "send to MLflow what it has not received, the map too", commands.sync, name, runs, store, as_json)
    add("verify", "compare the ledger with MLflow, trial by trial", commands.verify, name, runs, store, as_json)
    exported = add(
        "export", "write both tables as Parquet, from MLflow alone", commands.export, name, runs, store, as_json
    )
    exported.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default: exports/NAME)")
    replayed = add(
        "replay",
        "train one trial again and compare its curves with the record",
        commands.replay,
        name,
        runs,
        as_json,
        data,
    )
    replayed.add_argument(
        "trial_key", metavar="TRIAL_KEY", help="the tag trial.key of its MLflow run, or the beginning of it"
    )
    add("doctor", "check this machine: what is missing, with the remedy", commands.doctor, runs, store, as_json)
    return top


def _folder(text: str) -> str:
    folder = Path(text).expanduser().resolve()  # workers have folders of their own to work in
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return str(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 (a check failed, or a sweep was interrupted) or 2 (a mistake)."""
    arguments = parser().parse_args(argv)
    try:
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
