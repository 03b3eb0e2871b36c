"""The `analysis` command: arguments in, calls out. Every error is one sentence and exit code 2."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import commands
from analysis.maps import ABSCISSAS, UNFOLDED
from isoinit.theory.tolerance import BETWEEN

EPILOG = """\
DIR is a folder that 'sweep export' wrote: trials/, replicates/ and spec.yaml.

examples:
  analysis summary exports/quickstart                              outcomes, depth limits, error of the map
  analysis map exports/quickstart                                  the trainable region of every scheme
  analysis map exports/quickstart --criterion 'accuracy>=0.9'      the same curves, judged by another rule
  analysis map exports/quickstart --learning-rates 0.1 --out fast  the region of one learning rate
  analysis report exports/quickstart --out .                       everything on one page: report.html
  analysis frontier exports/quickstart --abscissa steps            the depth limit over the training budget
  analysis compare exports/sgd exports/adam --out both             two sweeps read as one
  analysis theory he_normal --depth 100 --width 64 --out .         norm, gradient, angle, spectrum over depth

words:
  trained      met the criterion within the budget at the best of the trial's learning rates, for half of its seeds
  region       where P(trained) is at least 1/2, and frontier, its edge: the depth limit of a scheme
  band         holds the frontier with 90 % probability, given the trials and the smoothness of the frontier
  > and <      a limit, or an end of a band, that lies at an end of the depths that were tried; more is not known of it
  trains again deeper than its limit, where networks first stop training, this one is surely in the region once more
  theory       predicts the start of training, by gradient descent within their steps at the least of the trials' best
               learning rates, where networks are most stable, up to the accuracy that the criterion asks for
  undecided    a cell that lies in the region with a probability between 5 and 95 %
  training     an axis of sweeps that are read as one and were trained in different ways, by another optimizer say
  audit trial  placed uniformly at random (role audit, start, random or sobol): only they give an error of the map that
               trusts no model

In JSON, "inf" is a depth limit that theory does not see, or the open end of a ratio's interval; null is no theory, or
a ratio of which nothing is known.
"""
CRITERION = (
    "judge the stored curves by this rule instead of the sweep's, without training again: 'accuracy>=0.9', "
    "'loss<=0.5', 'test_accuracy>=0.9', the first two optionally followed by ' within 100' (steps)"
)
RATES = (
    "judge every trial at its best among these of the sweep's learning rates, as if no others had been tried: '0.1' or "
    "'0.1,0.03' (the trials stay where they were placed, for the best of all)"
)


_ANEW = "; curves are judged anew for learning_rate, at each rate, and for steps, within each of some budgets"


def parser() -> argparse.ArgumentParser:
    """The whole command line; each subcommand names its function in `run`."""
    top = argparse.ArgumentParser(
        prog="analysis",
        description="Read exported sweeps: which initializers train, how deep, and how sure that is.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub = top.add_subparsers(metavar="COMMAND", required=True)
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print machine-readable results on stdout")
    paper = argparse.ArgumentParser(add_help=False)
    paper.add_argument("--pdf", action="store_true", help="draw figures as PDF, too, for a paper")
    source, target, unfolded = _source(), _target(*ABSCISSAS), _target(*ABSCISSAS, *UNFOLDED)
    for name, help, run, parents in (
        ("summary", "count outcomes, list depth limits and the error of the map", commands.summarize, ()),
        (
            "map",
            "draw P(in region) over depth and bias variance, with trials and theory",
            commands.draw_map,
            (unfolded, paper),
        ),
        (
            "frontier",
            "tabulate and draw the depth limit of every scheme with its band",
            commands.frontier,
            (unfolded, paper),
        ),
        ("compare", "theory against measurement, and scheme against scheme", commands.compare, (target, paper)),
        ("report", "write one self-contained HTML page with all of it", commands.report, (target,)),
    ):
        made = sub.add_parser(
            name, help=help, description=f"{help[0].upper()}{help[1:]}.", parents=[source, *parents, as_json]
        )
        made.set_defaults(run=run)
    _add_theory(sub, paper, as_json)
    return top


def _folder(text: str) -> Path:
    """A folder that is named; `Path("")`, of a variable of the shell that is not set, is the current one."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must name a folder, '.' for the current one, but got {text!r}")
    return Path(text)


def _source() -> argparse.ArgumentParser:
    """What every command about exports takes: their folders, and by which rule they are judged."""
    source = argparse.ArgumentParser(add_help=False)
    source.add_argument(
        "dirs",
        metavar="DIR",
        type=_folder,
        nargs="+",
        help="a folder that 'sweep export' wrote; several are read as one sweep, told apart by how they were trained",
    )
    source.add_argument("--criterion", metavar="RULE", help=CRITERION)
    source.add_argument("--learning-rates", metavar="LIST", help=RATES)
    return source


def _target(*abscissas: str) -> argparse.ArgumentParser:
    """What every command that draws takes: where its files go, and what lies along the maps."""
    target = argparse.ArgumentParser(add_help=False)
    target.add_argument(
        "--out", type=_folder, metavar="DIR", help="folder to write (default: DIR/analysis of a single DIR)"
    )
    target.add_argument(
        "--abscissa",
        choices=abscissas,
        help="axis to the right of the depth (default: the first with more than a few levels, else the first that "
        "varies)" + _ANEW * (set(UNFOLDED) <= set(abscissas)),
    )
    return target


def _add_theory(sub: argparse._SubParsersAction[argparse.ArgumentParser], *parents: argparse.ArgumentParser) -> None:
    help = "what theory says of a scheme over depth, next to random networks; needs no sweep"
    made = sub.add_parser("theory", help=help, description=f"{help[0].upper()}{help[1:]}.", parents=parents)
    made.add_argument("scheme", metavar="SCHEME", help="its name, as in 'sweep schemes'")
    made.add_argument("--depth", type=int, required=True, metavar="L", help="weight layers, at least 2")
    made.add_argument("--width", type=int, required=True, metavar="N", help="units of a hidden layer")
    made.add_argument("--bias-variance", type=float, default=0.0, metavar="V", help="variance of a bias (default: 0)")
    made.add_argument("--bias-mode", choices=("iid", "mirrored"), default="iid", help="how biases are drawn")
    made.add_argument(
        "--weight-scale", type=float, default=1.0, metavar="F", help="factor on the scheme's weight variance"
    )
    made.add_argument(
        "--density",
        type=float,
        default=1.0,
        metavar="D",
        help="share of weights that a scheme leaves (default: 1)",
    )
    made.add_argument(
        "--learning-rate",
        metavar="R[,R]",
        help="of gradient descent, which must be stable and, with --steps, enough for them; of several any may train "
        "it (default: so small that it is stable, and enough)",
    )
    made.add_argument("--steps", type=int, metavar="T", help="of gradient descent, to train in (default: some 250)")
    made.add_argument("--accuracy", type=float, metavar="A", help="that it has to reach in the --steps (default: 0.8)")
    made.add_argument("--dataset", choices=BETWEEN, help="to reach it on (default: digits)")
    made.add_argument("--activation", metavar="NAME", help="activation function (default: the scheme's, mostly relu)")
    made.add_argument("--architecture", metavar="NAME", help="mlp, cnn or resnet (default: what the scheme is for)")
    made.add_argument("--normalization", default="none", choices=("none", "batch"), help="(default: none)")
    made.add_argument(
        "--nets", type=int, metavar="K", help="random networks to simulate; 0: none (default: what takes seconds)"
    )
    made.add_argument("--seed", type=int, default=0, help="of the simulation (default: 0)")
    made.add_argument("--out", type=_folder, metavar="DIR", help="also draw it, into this folder")
    made.set_defaults(run=commands.theory)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 2 for a mistake, or 130 if interrupted."""
    arguments = parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter still gets the rest
    try:
        return arguments.run(arguments)
    except BrokenPipeError:  # the reader, 'head' say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        sentence = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            sentence = f"{error.filename}: {error.strerror}"
        if arguments.json:
            print(json.dumps({"error": sentence}))
        print(f"analysis: {sentence}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("analysis: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
