"""What packs that grow are worth: the error of a map whose trials are asked for in packs, several at once.

    python tests/bench/packs.py [--map grid.parquet ...] [--beds smooth ...] [--at-once 2] [--seeds 10]

As a sweep does, the boundary sampler is asked for a pack whenever one of those `--at-once` has ended, that which began
first: packs of `search.batch` from the start on (`even`), and of the sizes that a sweep's are (`growing`, see
`sweeps.search.pack_size`). Beds, maps and errors are those of `boundary.py`; printed are medians over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import optuna
from beds import BEDS, Answer, Bed, Real, Synthetic
from boundary import AUDIT, judge, told

from sweeps.boundary import BoundarySampler
from sweeps.reading import read
from sweeps.search import pack_size

COUNTS: Final = (48, 64, 100)
SPEC: Final = read("quickstart")
BATCH: Final = SPEC.search.batch
SIZES: Final[dict[str, Callable[[int], int]]] = {
    "even": lambda _: BATCH,
    "growing": lambda results: pack_size(SPEC, results),
}


def trials(bed: Bed, seed: int, size: Callable[[int], int], at_once: int) -> Iterator[list[Answer]]:
    """The first n trials for each n of `COUNTS`."""
    rng = np.random.default_rng([seed, 1])
    sampler = BoundarySampler(seed=seed, audit=AUDIT, batch=BATCH, floors=bed.floors)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    answers: list[Answer] = []
    running: list[list[optuna.Trial]] = []
    while len(answers) < COUNTS[-1]:
        while len(running) < at_once:
            running.append([study.ask(dict(bed.space)) for _ in range(size(len(answers)))])
        for trial in running.pop(0):
            answers.append(told(study, trial, bed, rng))
            if len(answers) in COUNTS:
                yield list(answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beds", nargs="*", default=list(BEDS))
    parser.add_argument("--map", nargs="*", type=Path, default=[], help="Parquet trials tables of dense grids")
    parser.add_argument("--at-once", type=int, default=2, help="packs")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    shown = " | ".join(f"error %, layers at {n}" for n in COUNTS)
    print(f"| bed | packs | {shown} |\n|---|---|{'---|' * len(COUNTS)}")
    for bed in [*map(Synthetic, options.beds), *map(Real, options.map)]:
        for name, size in SIZES.items():
            runs = [
                [judge(bed, answers, seed) for answers in trials(bed, seed, size, options.at_once)]
                for seed in range(options.seeds)
            ]
            cells = [
                f"{100 * np.median([r['error'] for r in at]):.2f}, {np.median([r['layers'] for r in at]):.0f}"
                for at in zip(*runs, strict=True)
            ]
            print(f"| {bed.name} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
