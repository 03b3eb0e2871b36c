"""What do publishing and exporting cost? Per child run, and `sweep export` against `get_metric_history` per run.

    python tests/bench/export.py [--trials 1000] [--packs 50] [--rounds 5] [--sample 100] [--out export.json]

A synthetic sweep (2 seeds at 2 learning rates, 20 recorded points) goes into a fresh SQLite store. The slow ways ask
`search_runs` for all runs and then, run by run, for the histories of the two curves or of every metric, in a sample
of the runs; their times are scaled up to all runs. They get one curve per trial, the export those of all networks.
Arms are interleaved within a round; times are CPU times of the process (a shared machine disturbs them least), and the
number given is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from machines import machine
from stores import sqlite, tracker
from tables import pack

from sweeps import parts
from sweeps.export import export
from sweeps.ledger import Ledger
from sweeps.mlflow_runs import children, parents
from sweeps.mlflow_store import connect
from sweeps.tracking import sync

CURVES = ("train/loss", "train/accuracy")


def seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def measure(trials: int, packs: int, rounds: int, sample: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri, book = sqlite(folder), Ledger(folder / "toy")
        each = trials // packs
        append = [seconds(lambda n=n: book.append(parts.part(*pack(n, each, recorded=20)))) for n in range(packs)]
        publish = seconds(lambda: sync(book, tracker(uri)))
        client = connect(uri)

        runs = children(client, parents(client, "isoinit")["toy"])
        assert len(runs) == packs * each
        some = random.Random(0).sample(runs, min(sample, len(runs)))

        def histories(every_metric: bool) -> None:
            for run in some:
                for key in run.data.metrics if every_metric else CURVES:
                    client.get_metric_history(run.info.run_id, key)

        fast, listing, curves, everything = [], [], [], []
        for _ in range(rounds):
            fast.append(seconds(lambda: export(uri, "toy", folder / "out")))
            listing.append(seconds(lambda: children(client, parents(client, "isoinit")["toy"])))
            for arm, every_metric in ((curves, False), (everything, True)):
                arm.append(listing[-1] + seconds(lambda e=every_metric: histories(e)) * len(runs) / len(some))
        return {
            "trials": len(runs),
            "append_ms_per_part": 1e3 * statistics.median(append),
            "publish_ms_per_trial": 1e3 * publish / len(runs),
            "export_s": statistics.median(fast),
            "search_runs_s": statistics.median(listing),
            "curves_s": statistics.median(curves),
            "every_metric_s": statistics.median(everything),
            "speedup_curves": statistics.median(s / f for s, f in zip(curves, fast, strict=True)),
            "speedup_every_metric": statistics.median(s / f for s, f in zip(everything, fast, strict=True)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--packs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=100, help="runs that the slow ways ask for")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result = {
        **machine(),
        "rounds": args.rounds,
        **measure(args.trials, args.packs, args.rounds, args.sample),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
