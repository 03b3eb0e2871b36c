"""A sweep that is run from the command line, from the start of Ray to the closing words.

Ray is loaded in a thread of its own beside the libraries, and starts while the search is made ready; all of these take
seconds: so `launch`, `closing` and `ending` are imported only then.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.words import strict_json
from sweeps import arguments, mlflow_uri
from sweeps.cluster import Cluster
from sweeps.ray_address import OWN_RAY, set_environment
from sweeps.rundir import RunDir
from sweeps.spec import SweepSpec
from sweeps.terminal import Lasting

if TYPE_CHECKING:
    from sweeps import ending


def run(spec: SweepSpec, args: argparse.Namespace, uri: str) -> int:
    """Launch, then say what came out, where it is, and what to do next; the exit code."""
    console = Lasting(stderr=args.json)
    if args.inline and args.address:
        raise ValueError("--inline trains in this process and --address on a cluster; give one of them")
    _refuse_what_ray_deletes(args.runs_dir, uri)
    address = None if args.address == OWN_RAY else args.address  # it outdoes the one that the sweep was launched with
    with contextlib.ExitStack() as stack:
        ray = None
        if not args.inline and not RunDir(args.runs_dir, spec.name).journal.exists():
            mlflow_uri.check(uri)  # again below, but a mistake should not wait for Ray
            ray = stack.enter_context(Cluster(address))
        elif not args.inline:
            set_environment(address)  # the driver starts it if anything is left to train, but Ray is imported below
        from sweeps import launch as launching

        options = launching.Options(args.runs_dir, uri, address, args.inline, args.data_dir)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout))  # Tune prints errors
        ends: list[ending.End] = []

        def close(finished: launching.Finished) -> None:
            from sweeps import closing

            if ray is not None:
                ray.leave()
            ends.append(closing.close(finished))

        finished = launching.launch(spec, options, console, ray, close)
    from sweeps import ending

    if args.json:
        print(strict_json(ends[0].to_dict()))
    else:
        console.print(ending.render(ends[0], arguments.flag(args)), soft_wrap=True)  # commands are to be copied
    return 1 if finished.interrupted else 0


def _refuse_what_ray_deletes(runs: Path, uri: str) -> None:
    """A job that is submitted with a working directory runs in a copy of it, which goes when Ray wants its room, or
    with the cluster."""
    store = mlflow_uri.file(uri)
    for what, path, option in (("run folder", runs, "--runs-dir"), ("tracking store", store, "--tracking-uri")):
        if path is not None and "working_dir_files" in path.absolute().parts:
            raise ValueError(
                f"{option}: the {what} would be {path.absolute()}, in the copy of a job's working directory that Ray "
                "deletes; give the path of one that stays"
            )
