"""Is a pack ever slower than a plain loop? Milliseconds per network and step of what has no compiled kernel.

    python tests/bench/modules.py [--members 1 4 16] [--rounds 3] [--out modules.json]

CNNs, ResNets and batch normalization of several sizes, batches of 16 to 512, SGD and Adam, on digits. The packs are
those that a sweep would build; the plain loop is `nn.Module`, autograd and `torch.optim`, and records what a pack does,
loss and accuracy of every step. CPU time of one thread, arms interleaved, median over rounds; `x<members>` is plain
over pack. With `--kernel` the same for plain MLPs from width 1 to 1024, alone, which the compiled kernel trains.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from machines import machine
from torch import nn

from isoinit import networks, schemes
from sweeps import data, stack, train
from sweeps.preparing import generator
from sweeps.spec import Training
from sweeps.stack import Batches, Start

DIGITS = data.load("digits")
LEAST = 0.03  # CPU seconds of a measurement
Shape = dict[str, Any]


def shape(architecture: str, width: int, depth: int, normalization: str = "none") -> Shape:
    return {"architecture": architecture, "width": width, "depth": depth, "normalization": normalization}


MODULES = [
    shape("mlp", 16, 4, "batch"),
    shape("mlp", 64, 16, "batch"),
    shape("mlp", 256, 4, "batch"),
    shape("mlp", 512, 4, "batch"),
    shape("cnn", 7, 5),
    shape("cnn", 8, 5),
    shape("cnn", 12, 5),
    shape("cnn", 32, 5),
    shape("cnn", 16, 16, "batch"),
    shape("resnet", 8, 8, "batch"),
    shape("resnet", 15, 8, "batch"),
    shape("resnet", 32, 8, "batch"),
]
KERNEL = [shape("mlp", width, depth) for width in (1, 16, 64, 256, 1024) for depth in (2, 16)]
ADAM, SGD, MOMENTUM = {"optimizer": "adam"}, {}, {"momentum": 0.9}


def network(of: Shape, seed: int) -> nn.Module:
    options = {name: value for name, value in of.items() if name != "architecture"}
    model = networks.build(of["architecture"], DIGITS.input_shape, out_features=10, **options)
    return schemes.initialize(model, "he_normal", generator=generator(seed, "init"))


def plain(model: nn.Module, given: Batches, training: Training) -> Callable[[], object]:
    parameters = list(model.parameters())
    if training.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, 1e-4)
    else:
        optimizer = torch.optim.SGD(parameters, 1e-3, momentum=training.momentum)

    def run() -> list[tuple[float, float]]:
        record = []
        for x, y in zip(given.x, given.y, strict=True):
            logits = model(x)
            loss = nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            record.append((loss.item(), (logits.argmax(1) == y).float().mean().item()))
        return record

    return run


def packed(models: list[nn.Module], given: Batches, training: Training) -> Callable[[], object]:
    (pack,) = stack.build([Start(m, 1e-4, 0) for m in models], training, torch.device("cpu"))
    return lambda: pack.advance({0: given}, [1.0] * training.steps, 0)


def measure(of: Shape, members: list[int], rounds: int, batch: int, rule: dict[str, Any]) -> dict[str, Any]:
    steps = 10 if of["architecture"] == "mlp" and of["width"] < 512 else 5  # at a stretch; a sweep's default is 10
    training = Training(batch_size=batch, steps=steps, **rule)
    samples = train.order(0, DIGITS, training)
    given = Batches(DIGITS.x_train[samples], DIGITS.y_train[samples])
    arms = {0: (plain(network(of, 0), given, training), 1)}
    for count in members:
        arms[count] = (packed([network(of, seed) for seed in range(count)], given, training), count)
    taken: dict[int, list[float]] = {name: [] for name in arms}
    for round_ in range(rounds + 1):
        for name, (run, count) in arms.items():
            calls, start = 0, time.process_time()
            while (used := time.process_time() - start) < LEAST:
                run()
                calls += 1
            if round_:  # the first warms up
                taken[name].append(used / calls / steps / count * 1e3)
    ratios = {
        f"x{m}": round(statistics.median(p / t for p, t in zip(taken[0], taken[m], strict=True)), 2) for m in members
    }
    return {**of, "batch": batch, **rule, "plain_ms": round(statistics.median(taken[0]), 3), **ratios}


def cells(kernel: bool) -> list[tuple[Shape, int, dict[str, Any]]]:
    if kernel:
        each = [(of, batch, rule) for of in KERNEL for batch in (1, 64, 512) for rule in (SGD, MOMENTUM, ADAM)]
        return [c for c in each if c[0]["width"] * c[0]["depth"] * c[1] < 2**22]
    small = [(of, batch, SGD) for of in MODULES for batch in (16, 64)]
    return [*small, *((of, 64, ADAM) for of in MODULES), *((of, 512, SGD) for of in MODULES[:4])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kernel", action="store_true", help="plain MLPs")
    parser.add_argument("--out", help="file for the JSON; default: standard output")
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":  # libraries read it when loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows = []
    for of, batch, rule in cells(options.kernel):
        members = [1] if options.kernel else options.members
        rows.append(measure(of, members, options.rounds, batch, rule))
        print(json.dumps(rows[-1]), file=sys.stderr)
    lowest = min(value for row in rows for name, value in row.items() if name[0] == "x")
    report = {"lowest": lowest, "rounds": options.rounds, **machine(), "shapes": rows}
    text = json.dumps(report, indent=1)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
