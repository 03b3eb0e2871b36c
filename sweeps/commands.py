"""What each subcommand of `sweep` does. Imports stand in the functions, so that `--help` is quick."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.words import counted, strict_json
from sweeps import arguments, reading

Command = Callable[[argparse.Namespace], int]


def specs(args: argparse.Namespace) -> int:
    found = {name: reading.parse(text, origin=name) for name, text in reading.bundled().items()}
    if args.json:
        return _json({name: spec.question for name, spec in found.items()})
    table = Table("spec", "question", "trials", "networks", box=None, pad_edge=False)
    for name, spec in found.items():
        networks = spec.search.trials * spec.training.seeds * len(spec.training.learning_rate)
        table.add_row(name, spec.question, str(spec.search.trials), str(networks))
    console = Console()
    console.print(table)
    console.print("how long one takes on this machine: sweep plan SPEC", highlight=False)
    return 0


def schemes(args: argparse.Namespace) -> int:
    from isoinit.schemes import SCHEMES

    if args.json:
        fields = ("source", "summary", "architectures", "bias_modes", "exact")
        return _json({s.name: {name: getattr(s, name) for name in fields} for s in SCHEMES.values()})
    console = Console()
    for s in SCHEMES.values():
        console.print(Text.assemble((s.name, "bold"), f"  {' '.join(s.architectures)}  ", (s.source, "dim")))
        console.print(Padding(Text(s.summary), (0, 0, 0, 4)))
        console.print(Padding(Text(f"exact: {s.exact}", style="dim"), (0, 0, 0, 4)))
    return 0


def launch(args: argparse.Namespace) -> int:
    from sweeps import session
    from sweeps.rundir import RunDir

    spec = arguments.spec(args)
    args.data_dir = arguments.data_dir(args, spec)
    return session.run(spec, args, arguments.uri(args, RunDir(args.runs_dir, spec.name)))


def resume(args: argparse.Namespace) -> int:
    from sweeps import session

    run = arguments.existing(args)
    if reason := run.misnamed():
        raise ValueError(reason)
    state = run.state()
    spec = run.spec()
    if args.trials is not None:
        outcomes = run.ledger.read()[0]["outcome"].to_pylist()
        done = sum(outcome != "failed" for outcome in outcomes)
        if args.trials < done:
            raise ValueError(f"--trials {args.trials}: {done} trials of {args.name!r} are done already; ask for more")
        as_yaml = yaml.safe_dump(spec.model_dump(mode="json"))
        spec = reading.parse(as_yaml, [f"search.trials={args.trials}"], origin=args.name)
    if not args.inline:  # or else what began on a cluster could not be gone on with here
        args.address = args.address or state.get("address")
    args.data_dir = args.data_dir or state.get("data_folder")
    return session.run(spec, args, arguments.uri(args, run))


def status(args: argparse.Namespace) -> int:
    from sweeps import standing
    from sweeps.rundir import RunDir

    if args.name is not None:
        told = [standing.Standing.of(arguments.existing(args))]
    else:
        told = [standing.look(RunDir(args.runs_dir, name)) for name in RunDir.names(args.runs_dir)]
    if args.json:
        found = [one._asdict() for one in told]
        return _json(found if args.name is None else found[0])
    print("\n".join(one.text(arguments.flag(args)) for one in told) or f"no sweep was launched in {args.runs_dir}")
    return 0


def stop(args: argparse.Namespace) -> int:
    run = arguments.existing(args)
    driver = run.driver()
    if driver is None:
        from sweeps import standing

        if reason := run.misnamed():
            raise ValueError(reason)
        now = standing.Standing.of(run)
        if now.met:
            raise ValueError(
                f"sweep {args.name!r} is finished, for its map is as good as its search.until asks; to go on with it, "
                "launch its spec again with a lower one"
            )
        finished = now.state == "finished"
        again = f"sweep resume {args.name}{arguments.flag(args)}{' --trials N' if finished else ''}"
        raise ValueError(
            f"sweep {args.name!r} is {'finished' if finished else 'not running'}; '{again}' would go on with it"
        )
    run.stop()
    if args.json:
        return _json({"name": args.name, "pid": driver})
    print(
        f"{args.name}: process {driver} ends after its running packs; "
        f"'sweep resume {args.name}{arguments.flag(args)}' goes on"
    )
    return 0


def sync(args: argparse.Namespace) -> int:
    from sweeps import closing, mlflow_uri

    run = arguments.existing(args)
    uri = arguments.uri(args, run)
    sent = closing.sync(run, uri)
    if args.json:
        return _json({"name": args.name, "sent": sent, "tracking_uri": mlflow_uri.shown(uri)})
    print(f"{args.name}: sent {counted(sent, 'part')} to {mlflow_uri.shown(uri)}")
    return 0


def verify(args: argparse.Namespace) -> int:
    from sweeps import export as exporting

    run = arguments.existing(args)
    problems = exporting.verify(run.ledger, arguments.uri(args, run), args.name, folder_id=run.state().get("folder_id"))
    if args.json:
        _json({"problems": problems})
    else:
        print("\n".join(problems) or f"{args.name}: ledger and MLflow agree")
    return 1 if problems else 0


def export(args: argparse.Namespace) -> int:
    from sweeps import export as exporting
    from sweeps.rundir import RunDir

    run = RunDir(args.runs_dir, args.name)
    out = args.out or Path("exports") / args.name
    done = exporting.export(arguments.uri(args, run), args.name, out)
    if args.json:
        counts = {"trials": done.trials.num_rows, "replicates": done.replicates.num_rows}
        return _json({"out": str(out), **counts, "missing": done.missing})
    for lack in done.missing:
        print(f"warning: {lack}")
    print(f"{out}: {done.trials.num_rows} trials, {done.replicates.num_rows} networks")
    folder = shlex.quote(str(out))
    print(f"next: analysis summary {folder}   analysis map {folder}   analysis report {folder}")
    return 0


def plan(args: argparse.Namespace) -> int:
    from sweeps import plan as planning

    with Console(stderr=True).status(
        "planning; the first time code is compiled and the speed of this machine measured"
    ):
        spec = arguments.spec(args)
        made = planning.plan(spec, data_folder=arguments.data_dir(args, spec))
    if args.json:
        return _json(made.to_dict())
    Console().print(planning.render(made))
    return 0


def replay(args: argparse.Namespace) -> int:
    from sweeps import replay as replaying

    run = arguments.existing(args)
    outcome = replaying.replay(run, args.trial_key, data_folder=args.data_dir or run.state().get("data_folder"))
    if args.json:
        _json(outcome.to_dict())
    else:
        print(outcome.sentence())
    return 0 if outcome.same else 1


def doctor(args: argparse.Namespace) -> int:
    from sweeps import doctor as diagnosing

    checks = diagnosing.diagnose(runs=args.runs_dir, tracking_uri=args.tracking_uri)
    if args.json:
        _json([check._asdict() for check in checks])
    else:
        print(diagnosing.render(checks))
    return 0 if all(check.ok for check in checks) else 1


def _json(value: Any) -> int:
    print(strict_json(value))
    return 0
