"""What padding gives: microseconds per network and step by width, padded as `sweeps.widths` says, not, or otherwise.

    python tests/bench/widths.py [--widths 8 10 31 60] [--activations relu crelu] [--rounds 3] [--out widths.json]

MLPs of depth 10 alone in the compiled kernel, batches of 64 random samples of 64 numbers, 10 classes, SGD. CPU time of
one thread, arms interleaved, median over rounds. `padded` and `as it is` are what they say, the others all multiples of
8 that are near; `gain` is `as it is` over `padded`, `loss` is `padded` over the best of all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from unittest import mock

import torch
from machines import machine

from isoinit import networks, schemes
from sweeps import kernel, widths
from sweeps.preparing import generator
from sweeps.spec import Training
from sweeps.stack import Batches, KernelStack, Start

WIDTHS = (1, 4, 8, 10, 16, 17, 24, 31, 33, 40, 48, 60, 73, 90, 100, 112, 113, 120, 127, 129, 150, 200, 250)
LEAST = 0.02  # CPU seconds of a measurement
INPUTS, CLASSES, DEPTH, BATCH = 64, 10, 10, 64


def start(width: int, activation: str) -> Start:
    model = networks.build(
        "mlp", (INPUTS,), width=width, depth=DEPTH, out_features=CLASSES, activation=activation, normalization="none"
    )
    return Start(schemes.initialize(model, "xavier_normal", generator=generator(0, "init")), 1e-4, 0)


def measure(one: Start, stored: int, steps: int) -> float:
    """Seconds per step of a network that is trained so wide."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(steps, BATCH, INPUTS, generator=source)
    given = {0: Batches(x, torch.randint(CLASSES, (steps, BATCH), generator=source))}
    with mock.patch.object(widths, "stored", return_value=stored):
        pack = KernelStack([0], [one], Training(batch_size=BATCH))
    pack.advance({0: Batches(given[0].x[:2], given[0].y[:2])}, [1.0] * 2, 0)
    started = time.process_time()
    pack.advance(given, [1.0] * steps, 0)
    return (time.process_time() - started) / steps


def compare(width: int, activation: str, rounds: int) -> dict[str, float | int | str]:
    one, chosen = start(width, activation), widths.stored(width)
    block = -(-width // kernel.BLOCK) * kernel.BLOCK
    arms = dict.fromkeys([width, chosen, block, block + kernel.BLOCK])
    steps = max(5, round(LEAST / measure(one, width, 3)))
    seconds: dict[int, list[float]] = {arm: [] for arm in arms}
    for _ in range(rounds):
        for arm, taken in seconds.items():
            taken.append(measure(one, arm, steps))
    found = {arm: 1e6 * statistics.median(taken) for arm, taken in seconds.items()}
    return {
        "width": width, "activation": activation, "padded to": chosen, "padded": found[chosen],
        "as it is": found[width], "gain": found[width] / found[chosen], "loss": found[chosen] / min(found.values()),
        **{str(arm): found[arm] for arm in found},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--activations", nargs="+", default=["relu", "crelu"], choices=kernel.ACTIVATIONS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for activation in options.activations:
        print(f"{activation}: width, padded to, us as it is, us padded, gain, loss")
        for width in options.widths:
            row = compare(width, activation, options.rounds)
            results.append(row)
            print(
                f"{width:5} {row['padded to']:5} {row['as it is']:9.1f} {row['padded']:9.1f}"
                f" {row['gain']:6.2f} {row['loss']:6.2f}",
                flush=True,
            )
    if options.out:
        with open(options.out, "w") as file:
            json.dump({"machine": machine(), "rounds": options.rounds, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
