"""Trials a minute: this project against the way a competent user writes the same sweep with stock parts.

    python tests/bench/throughput.py [--widths 16 32 64] [--trials 3840] [--rounds 2] [--stock-seconds 60]
        [--out throughput.json]

Arms, interleaved, each in a fresh process per round, 2 slots, SQLite MLflow, the same networks, drawn at random, so
that no arm searches its way to cheaper ones (He, `--widths`, depth 4, 16 or 64, batch 64 of digits, 300 SGD steps at
learning rate 0.003), 10 points of loss and accuracy a trial, no early stopping. The stock arms, which finish few, draw
every shape once before any comes again: else their mix would be another one each time.

    ours         sweep launch, one seed and one learning rate, so that a trial is one network
    stock_reuse  Tuner + OptunaSearch + MLflowLoggerCallback, nn.Sequential loop, reuse_actors=True
    stock_fresh  the same with a fresh actor per trial

Ours counts everything from before Ray is started to the last run in MLflow. The stock arms run for `--stock-seconds`
and are timed from their first finished trial to their last, which leaves their start-up out: `ratio_to_stock_*` leans
their way. `steady_ratio_to_stock_*` times ours from its first finished pack on, too, still to the last run in MLflow.
The ratio of a round is ours over stock; the median over rounds is reported.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machines import machine
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

ARMS = ("ours", "stock_reuse", "stock_fresh")
DEPTHS = (4, 16, 64)
BATCH, STEPS, RATE, POINTS = 64, 300, 0.003, 10
SPEC = f"""
name: throughput
space:
  scheme: he_normal
  depth: [{", ".join(map(str, DEPTHS))}]
  width: [64]
  bias_variance: {{low: 1.0e-4, high: 0.01, log: true}}
training:
  learning_rate: [{RATE}]
  batch_size: {BATCH}
  steps: {STEPS}
  log_every: {STEPS // POINTS}
  seeds: 1
search: {{sampler: random, trials: 240, batch: 24}}
"""


class Balanced(RandomSampler):
    """Shapes in blocks of all of them, shuffled. Tune pickles it, hence up here."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__(seed=0)
        self._shapes = list(itertools.product(DEPTHS, widths))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name not in ("depth", "width"):
            return super().sample_independent(study, trial, param_name, param_distribution)
        block, place = divmod(trial.number, len(self._shapes))
        shapes = random.Random(block).sample(self._shapes, len(self._shapes))
        return shapes[place][param_name == "width"]


def ours(trials: int, widths: list[int]) -> dict[str, float]:
    from sweeps import launch
    from sweeps.reading import parse

    spec = parse(SPEC, [f"search.trials={trials}", f"space.width={widths}"])
    started = time.perf_counter()
    finished = launch.launch(spec, launch.Options())
    wall, ended = time.perf_counter() - started, datetime.now(UTC)
    table = finished.trials.to_pydict()
    first = min(table["finished_at"])
    later = sum((at - first).total_seconds() > 0.1 for at in table["finished_at"])
    assert len(table["depth"]) == trials
    assert finished.unpublished == 0
    return {
        "trials": trials,
        "seconds": wall,
        "per_minute": 60 * trials / wall,
        "steady_per_minute": 60 * later / (ended - first).total_seconds(),
        "mean_depth": statistics.mean(table["depth"]),
        "mean_width": statistics.mean(table["width"]),
        "gigaflop": statistics.mean(table["flops"]) / 1e9,
        "outside_training": 1 - sum(table["seconds"]) / (2 * wall),
    }


def stock(seconds: float, reuse: bool, widths: list[int]) -> dict[str, float]:
    import ray
    import torch
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    def train(config: dict[str, Any]) -> None:
        from sklearn.datasets import load_digits
        from torch import nn

        torch.set_num_threads(1)
        images, labels = load_digits(return_X_y=True)
        x = torch.tensor(images, dtype=torch.float32) / 16 - 0.3
        y = torch.tensor(labels)
        sizes = [64, *[config["width"]] * (config["depth"] - 1), 10]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            linear = nn.Linear(fan_in, fan_out)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.normal_(linear.bias, std=config["bias_variance"] ** 0.5)
            layers += [linear, nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        loss_function = nn.CrossEntropyLoss()
        loss_sum = hits = 0.0
        for step in range(1, STEPS + 1):
            batch = torch.randint(0, len(x), (BATCH,))
            out = model(x[batch])
            loss = loss_function(out, y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            hits += (out.argmax(1) == y[batch]).float().mean().item()
            if step % (STEPS // POINTS) == 0:
                n = STEPS // POINTS
                tune.report({"loss": loss_sum / n, "accuracy": hits / n})
                loss_sum = hits = 0.0

    ends: list[float] = []
    depths: list[int] = []
    sizes: list[int] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter())
            depths.append(trial.config["depth"])
            sizes.append(trial.config["width"])

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                {
                    "depth": CategoricalDistribution(DEPTHS),
                    "width": CategoricalDistribution(widths),
                    "bias_variance": FloatDistribution(1e-4, 0.01, log=True),
                },
                metric="loss",
                mode="min",
                sampler=Balanced(widths),
            ),
            num_samples=-1,
            max_concurrent_trials=2,
            reuse_actors=reuse,
            time_budget_s=seconds,
        ),
        run_config=tune.RunConfig(
            storage_path=str(Path("tune").resolve()),
            callbacks=[MLflowLoggerCallback(tracking_uri="sqlite:///stock.db", experiment_name="stock"), Clock()],
            verbose=0,
        ),
    ).fit()
    ray.shutdown()
    if len(ends) < 3:
        raise SystemExit(f"only {len(ends)} stock trials finished in {seconds:.0f} s: raise --stock-seconds")
    wall = ends[-1] - ends[0]
    return {
        "trials": len(ends) - 1,
        "seconds": wall,
        "per_minute": 60 * (len(ends) - 1) / wall,
        "mean_depth": statistics.mean(depths),
        "mean_width": statistics.mean(sizes),
    }


def run(arm: str, options: argparse.Namespace) -> dict[str, float]:
    """One arm in a process and a folder of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--arm", arm]
    command += ["--trials", str(options.trials), "--stock-seconds", str(options.stock_seconds)]
    command += ["--widths", *map(str, options.widths)]
    quiet = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **quiet}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, check=True,
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64], help="of the networks, mixed if several")
    parser.add_argument("--trials", type=int, default=3840, help="networks in our arm (at least 200)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--stock-seconds", type=float, default=60.0, help="time that a stock arm has")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        result = (
            ours(options.trials, options.widths)
            if options.arm == "ours"
            else stock(options.stock_seconds, options.arm == "stock_reuse", options.widths)
        )
        print(json.dumps(result))
        return
    rounds: list[dict[str, dict[str, float]]] = []
    for _ in range(options.rounds):
        rounds.append({arm: run(arm, options) for arm in ARMS})
        print(json.dumps(rounds[-1]), flush=True)

    def ratio(arm: str, ours: str = "per_minute") -> float:
        return statistics.median(r["ours"][ours] / r[arm]["per_minute"] for r in rounds)

    report = {
        "ratio_to_stock_reuse": ratio("stock_reuse"),
        "ratio_to_stock_fresh": ratio("stock_fresh"),
        "steady_ratio_to_stock_reuse": ratio("stock_reuse", "steady_per_minute"),
        "steady_ratio_to_stock_fresh": ratio("stock_fresh", "steady_per_minute"),
        "arms": {
            arm: {"n": sum(r[arm]["trials"] for r in rounds), "seconds": sum(r[arm]["seconds"] for r in rounds)}
            for arm in ARMS
        },
        "widths": options.widths,
        "rounds": rounds,
        **machine(),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
