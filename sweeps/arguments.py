"""What the arguments that several commands share stand for: a spec, a launched sweep, a store, a folder of data.

Imports stand in the functions for the same reason as in `commands`.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps import reading

if TYPE_CHECKING:
    from sweeps.rundir import RunDir
    from sweeps.spec import SweepSpec


def spec(args: argparse.Namespace) -> SweepSpec:
    settings = list(args.settings)
    if args.trials is not None:
        settings.append(f"search.trials={args.trials}")
    if args.name is not None:
        settings.append(f"name={json.dumps(args.name, ensure_ascii=False)}")
    return reading.read(args.spec, settings)


def data_dir(args: argparse.Namespace, spec: SweepSpec) -> str | None:
    """The folder of the data: where none is given and the data lie beside the spec, that."""
    beside = Path(args.spec).resolve().parent
    return args.data_dir or (str(beside) if (beside / spec.dataset).is_file() else None)


def existing(args: argparse.Namespace) -> RunDir:
    from sweeps.rundir import RunDir

    return RunDir.existing(args.runs_dir, args.name)


def uri(args: argparse.Namespace, run: RunDir) -> str:
    """The MLflow store of a sweep: the one given now, else the one of its launch, else the environment's.

    Raises:
        ValueError: that of its launch was in a folder that is gone, as where all was moved: a new one would be made
            there, and the one that was moved would stay as it is; or it has a password, which the folder does not
            keep, nor the environment has.
    """
    from sweeps import mlflow_uri

    if args.tracking_uri:
        return args.tracking_uri
    usual = os.environ.get("MLFLOW_TRACKING_URI") or mlflow_uri.DEFAULT_URI
    if known := run.state().get("tracking_uri"):
        if mlflow_uri.is_masked(known):
            if known == mlflow_uri.shown(usual):
                return usual
            raise ValueError(
                f"sweep {run.path.name!r} was launched with {known}, whose password is not on record; give the whole "
                "address by MLFLOW_TRACKING_URI or --tracking-uri"
            )
        database = mlflow_uri.file(known)
        if database is not None and not database.parent.exists():
            raise ValueError(
                f"sweep {run.path.name!r} was launched with {known}, but the folder {database.parent} is gone; if it "
                f"was moved, give the --tracking-uri that it has now, which in this folder is {mlflow_uri.DEFAULT_URI}"
            )
        return known
    return usual


def flag(args: argparse.Namespace) -> str:
    """The --runs-dir option of the commands that the user is told to go on with; empty if they need none."""
    from sweeps import rundir

    return rundir.flag(args.runs_dir)
