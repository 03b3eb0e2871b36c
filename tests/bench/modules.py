"""From how many members on does a module stack beat a plain loop? Milliseconds per network and step.

    OMP_NUM_THREADS=1 python tests/bench/modules.py [--members 1 3 4 16] [--rounds 3] [--out modules.json]

Networks without a compiled kernel (CNNs, ResNets, batch normalization), digits, batch 64, SGD. CPU time of the
process, arms interleaved, median over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isoinit import networks, schemes
from sweeps import data, train
from sweeps.spec import Training
from sweeps.stack import Batches, ModuleStack, Start

DIGITS = data.load("digits")
STEPS = 3
TRAINING = Training(batch_size=64, steps=STEPS)
SHAPES: list[dict[str, Any]] = [
    {"architecture": "mlp", "width": 16, "depth": 4, "normalization": "batch"},
    {"architecture": "mlp", "width": 64, "depth": 16, "normalization": "batch"},
    {"architecture": "cnn", "width": 8, "depth": 5, "normalization": "none"},
    {"architecture": "cnn", "width": 32, "depth": 5, "normalization": "none"},
    {"architecture": "resnet", "width": 8, "depth": 8, "normalization": "batch"},
]


def network(shape: dict[str, Any], seed: int) -> nn.Module:
    options = {name: value for name, value in shape.items() if name != "architecture"}
    model = networks.build(shape["architecture"], DIGITS.input_shape, out_features=10, **options)
    return schemes.initialize(model, "he_normal", generator=train.generator(seed, "init"))


def plain(model: nn.Module, given: Batches) -> Callable[[], object]:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def run() -> None:
        for x, y in zip(given.x, given.y, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    return run


def stacked(models: list[nn.Module], given: Batches) -> Callable[[], object]:
    stack = ModuleStack(range(len(models)), [Start(m, 0.01, 0) for m in models], TRAINING, torch.device("cpu"))
    return lambda: stack.advance({0: given}, [1.0] * STEPS, 0)


def measure(shape: dict[str, Any], members: list[int], rounds: int) -> dict[str, Any]:
    samples = train.order(0, DIGITS, TRAINING)
    given = Batches(DIGITS.x_train[samples], DIGITS.y_train[samples])
    arms = {"plain": (plain(network(shape, 0), given), 1)}
    for count in members:
        arms[f"stack_of_{count}"] = (stacked([network(shape, seed) for seed in range(count)], given), count)
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for round_ in range(rounds + 1):
        for name, (run, count) in arms.items():
            start = time.process_time()
            run()
            if round_:  # the first warms up
                taken[name].append((time.process_time() - start) / STEPS / count * 1e3)
    return shape | {f"{name}_ms": round(statistics.median(values), 3) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 3, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="file for the JSON; default: standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    report = {
        "shapes": [measure(shape, options.members, options.rounds) for shape in SHAPES],
        "torch": torch.__version__, "machine": platform.machine(), "cores": os.cpu_count(),
    }  # fmt: skip
    text = json.dumps(report, indent=1)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
