"""How the cost of a trial grows with the number of trials, the size of a pack, the depth and the width.

    python tests/bench/scale.py [--samplers boundary sobol random tpe] [--counts 100 1000 5000] [--out scale.json]

`search`: CPU milliseconds a trial to ask and tell at n finished trials, over the next 64 trials in packs of 16.
`training`: CPU milliseconds a network and step, and GFLOP/s, for packs of 1 to 256 networks at depths and widths.
CPU times of this process, one thread; medians of `--rounds` interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machines import machine

from sweeps import data, network, space, train
from sweeps.journal import Journal
from sweeps.reading import parse
from sweeps.search import PackSearch
from sweeps.spec import Point, Training
from sweeps.tasks import Pack, Result

SPEC = """
name: scale
space:
  scheme: [xavier_normal, he_normal, orthogonal, ll_gauss, ll_orth]
  depth: {low: 2, high: 100, log: true}
  width: [16, 32, 64, 128]
  bias_variance: {low: 1.0e-4, high: 1.0, log: true, zero: true}
search: {batch: 16}
"""
LIMIT = {"xavier_normal": 9, "he_normal": 25, "orthogonal": 30, "ll_gauss": 50, "ll_orth": 95}
PROBED = 64


def judge(pack: Pack) -> list[Result]:
    """A frontier, so that samplers have something to find."""
    told = []
    for task in pack.tasks:
        margin = 1 - task.point.depth / (LIMIT[task.point.scheme] * (task.point.width / 64) ** 0.5)
        told.append(Result(task.number, "trained" if margin > 0 else "slow", max(-1.0, margin), 2, 2 * (margin > 0)))
    return told


def search(sampler: str, counts: list[int]) -> dict[str, float]:
    """Milliseconds of CPU a trial at each count of finished trials; those before come from random search."""
    found = {}
    for count in counts:
        spec = parse(SPEC, [f"search.sampler={sampler}", f"search.trials={count + PROBED}"])
        past = parse(SPEC, ["search.sampler=random", f"search.trials={count}"])
        with tempfile.TemporaryDirectory() as folder:
            random = PackSearch(past, space.build(past), "scale", Journal(Path(folder) / "past.jsonl"))
            rows: list[dict[str, Any]] = []
            while (pack := random.ask()) is not None:
                results = judge(pack)
                random.tell(results)
                for task, result in zip(pack.tasks, results, strict=True):
                    rows.append(
                        {**task.point._asdict(), "trial_key": task.trial_key, "role": task.role, **vars(result)}
                    )
            asked = PackSearch(spec, space.build(spec), "scale", Journal(Path(folder) / "packs.jsonl"))
            asked.rebuild(rows)
            started = time.process_time()
            while (pack := asked.ask()) is not None:
                asked.tell(judge(pack))
            found[str(count)] = 1000 * (time.process_time() - started) / PROBED
    return found


def training(size: int, depth: int, width: int, steps: int = 100) -> dict[str, float]:
    dataset = data.load("digits")
    point = Point("ll_orth", "mlp", "relu", "none", depth, width, 1.0, "iid", 0.0, 1.0)
    members = [train.Member(point, seed, 0.01) for seed in range(size)]

    def seconds(count: int) -> float:
        started = time.process_time()
        train.train(members, dataset, Training(steps=count))
        return time.process_time() - started

    seconds(1)  # compiles and warms
    slope = max((seconds(3 * steps) - seconds(steps)) / (2 * steps), 1e-9)
    flops = size * network.flops(point, dataset, Training(steps=1))
    return {"ms_per_network_step": 1000 * slope / size, "gflops": flops / slope / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="+", default=["boundary", "sobol", "random", "tpe"])
    parser.add_argument("--counts", nargs="+", type=int, default=[100, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shapes = [(k, 16, 64) for k in (1, 4, 16, 64, 256)]
    shapes += [(16, depth, 64) for depth in (4, 64)] + [(16, 16, width) for width in (16, 256)]
    rounds = [
        {
            "search": {sampler: search(sampler, options.counts) for sampler in options.samplers},
            "training": {
                f"networks {k} depth {depth} width {width}": training(k, depth, width) for k, depth, width in shapes
            },
        }
        for _ in range(options.rounds)
    ]
    report = {
        "median": _median(rounds),
        "n": options.rounds,
        **machine(),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text)


def _median(values: list[Any]) -> Any:
    """Leaf by leaf."""
    if isinstance(values[0], dict):
        return {key: _median([v[key] for v in values]) for key in values[0]}
    return statistics.median(values)


if __name__ == "__main__":
    main()
