"""What it costs to initialize and to probe a network, as a multiple of one training step.

    python tests/bench/initialize.py [--depth 100] [--width 64] [--rounds 9] [--out initialize.json]

Every scheme for MLPs at one depth and width, batch 64, one thread; the step is forward and backward of the same network
in eager mode, timed in the same round, and the ratio is the median over rounds. Then EOI at depth 1000, width 128.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from isoinit import MLP, SCHEMES, initialize, probe


def seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure(name: str, depth: int, width: int, rounds: int) -> dict[str, float]:
    scheme = SCHEMES[name]
    x, y = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10
    model = MLP(64, width, depth, 10, (scheme.activations or ("relu",))[0])
    density = 0.125 if scheme.sparse else 1.0

    def start() -> None:
        source = torch.Generator().manual_seed(0)
        initialize(model, name, density=density, data=x if scheme.needs_data else None, generator=source)

    def step() -> None:
        functional.cross_entropy(model(x), y).backward()

    for call in (start, step):
        call()
    times = [(seconds(start), seconds(lambda: probe(model, x, y)), seconds(step)) for _ in range(rounds)]
    return {
        "initialize_ms": 1e3 * min(t[0] for t in times),
        "step_ms": 1e3 * min(t[2] for t in times),
        "initialize_steps": statistics.median(t[0] / t[2] for t in times),
        "probe_steps": statistics.median(t[1] / t[2] for t in times),
    }


def deep_eoi() -> dict[str, float]:
    model = MLP(784, 128, 1000, 10)
    source = torch.Generator().manual_seed(0)
    return {
        "depth": 1000,
        "width": 128,
        "seconds": seconds(lambda: initialize(model, "eoi", density=0.125, generator=source)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name, scheme in SCHEMES.items() if "mlp" in scheme.architectures]
    result = {
        "machine": platform.processor() or platform.machine(),
        "torch": version("torch"),
        "depth": arguments.depth,
        "width": arguments.width,
        "rounds": arguments.rounds,
        "schemes": {n: measure(n, arguments.depth, arguments.width, arguments.rounds) for n in names},
        "eoi": deep_eoi(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
