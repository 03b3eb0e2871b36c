"""What it costs to initialize and to probe a network: in training steps, and as a share of a pack's time.

    python tests/bench/initialize.py [--depth 100] [--width 64] [--rounds 9] [--share-rounds 3] [--networks 32]
        [--schemes orthogonal ...] [--out initialize.json]

Every scheme for MLPs at one depth and width, batch 64, one thread, CPU times. `initialize_steps`, `probe_steps`: in
units of forward and backward of the same network in eager mode, timed in the same round, as who has one network pays.
`together`: what --networks networks take one after another, in units of what they take as a pack sets them up, narrow
ones alike as one and the QRs of many as one. `shares`: of packs of --networks networks, half as many points with 2
seeds each, at 4 learning rates and at 1, over 200 steps, what it takes until they can be trained: `build` (building and
initializing), `probe`, and both together, `prepare`, in the same round; with `prepare_ms` for each network. `mixes`:
the same of packs of 64 points with 2 seeds each, at 1 rate, of all schemes, widths and depths of a mix. Medians over
rounds (of the shares and mixes: --share-rounds); shares are null if a network diverged, because the training then ends
early. Then EOI at depth 1000, width 128.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from machines import machine
from torch import nn
from torch.nn import functional

from isoinit import MLP, SCHEMES, initialize, probe
from isoinit.probe import probes
from isoinit.schemes import Scheme
from sweeps import data, preparing, train
from sweeps.history import Replicate
from sweeps.spec import Point, Training

Key = tuple[Point, int]  # and its seed
DIGITS = data.load("digits")
MIXES = ([16, 32, 64], [4, 16, 64]), ([16], [4, 10, 16]), ([32, 64, 128], [2, 4, 8, 16, 32])


def measure(name: str, depth: int, width: int, rounds: int, share_rounds: int, networks: int) -> dict[str, Any]:
    scheme = SCHEMES[name]
    x, y = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10
    model = MLP(64, width, depth, 10, (scheme.activations or ("relu",))[0])
    density = density_of(scheme, width)

    wanted = pack(name, depth, width, networks)

    def start() -> None:
        source = torch.Generator().manual_seed(0)
        initialize(model, name, density=density, data=x if scheme.needs_data else None, generator=source)

    def step() -> None:
        functional.cross_entropy(model(x), y).backward()

    for call in (start, step):
        call()
    times = [(cpu_seconds(start), cpu_seconds(lambda: probe(model, x, y)), cpu_seconds(step)) for _ in range(rounds)]
    return {
        "initialize_ms": 1e3 * min(t[0] for t in times),
        "step_ms": 1e3 * min(t[2] for t in times),
        "initialize_steps": statistics.median(t[0] / t[2] for t in times),
        "probe_steps": statistics.median(t[1] / t[2] for t in times),
        "together": together(name, depth, width, networks, rounds),
        "shares": {f"rates_{rates}": shares(wanted, rates, share_rounds) for rates in (4, 1)},
    }


def shares(wanted: Sequence[Key], rates: int, rounds: int) -> dict[str, float] | None:
    """Of a pack's CPU time, what its networks take until they can be trained: to be built and to be probed."""
    members = [train.Member(*key, 1e-5) for key in wanted for _ in range(rates)]
    x, y = DIGITS.x_train[: preparing.PROBE_INPUTS], DIGITS.y_train[: preparing.PROBE_INPUTS]
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        models: list[nn.Module] = []
        kept: list[object] = []  # to delete them is not part of either
        with preparing.collected_later():
            build = cpu_seconds(lambda into=models: into.extend(preparing.initialized(wanted, DIGITS, x).values()))
            probing = cpu_seconds(lambda of=models, into=kept: into.append(probes(of, x, y)))
        models.clear()
        prepare = cpu_seconds(lambda into=kept: into.append(preparing.prepare(wanted, DIGITS, torch.device("cpu"))))
        kept.clear()
        replicates: list[Replicate] = []
        whole = cpu_seconds(lambda into=replicates: into.extend(train.train(members, DIGITS, Training(steps=200))))
        if any(r.steps_run < 200 for r in replicates):
            return None
        found.append(
            {
                "build": build / whole,
                "probe": probing / whole,
                "prepare": prepare / whole,
                "prepare_ms": 1e3 * prepare / len(wanted),
            }
        )
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def mixes(rounds: int) -> list[dict[str, Any]]:
    names = [name for name, scheme in SCHEMES.items() if "mlp" in scheme.architectures and name != "sample_variance"]
    source, found = random.Random(0), []
    for widths, depths in MIXES:
        points = [
            point(source.choice(names), source.choice(depths), source.choice(widths), 1 + i / 1000) for i in range(64)
        ]
        wanted = [(one, seed) for one in points for seed in (0, 1)]
        found.append({"widths": widths, "depths": depths, "shares": shares(wanted, 1, rounds)})
    return found


def pack(name: str, depth: int, width: int, networks: int) -> list[Key]:
    return [(point(name, depth, width, 1 + i // 2 / 1000), i % 2) for i in range(networks)]


def point(name: str, depth: int, width: int, weight_scale: float) -> Point:
    scheme = SCHEMES[name]
    activation = (scheme.activations or ("relu",))[0]
    return Point(name, "mlp", activation, "none", depth, width, weight_scale, "zero", 0.0, density_of(scheme, width))


def density_of(scheme: Scheme, width: int) -> float:
    """An eighth, or what the mirrored cores of narrow networks have at least."""
    return max(0.125, 1 / (width // 2)) if scheme.sparse else 1.0


def together(name: str, depth: int, width: int, networks: int, rounds: int) -> float:
    wanted = pack(name, depth, width, networks)
    x = DIGITS.x_train[: preparing.PROBE_INPUTS]

    def at_once() -> object:
        return preparing.initialized(wanted, DIGITS, x)

    def one_by_one() -> object:
        return [preparing.initialized([key], DIGITS, x) for key in wanted]

    at_once()
    pairs = [(at_once, one_by_one), (one_by_one, at_once)]
    with preparing.collected_later():
        found = [{call: cpu_seconds(call) for call in pairs[i % 2]} for i in range(rounds)]
    return statistics.median(times[one_by_one] / times[at_once] for times in found)


def cpu_seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def deep_eoi() -> dict[str, float]:
    model = MLP(784, 128, 1000, 10)
    source = torch.Generator().manual_seed(0)
    return {
        "depth": 1000,
        "width": 128,
        "seconds": cpu_seconds(lambda: initialize(model, "eoi", density=0.125, generator=source)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--share-rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=32)
    parser.add_argument("--schemes", nargs="*", help="all for MLPs if not given")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = arguments.schemes or [name for name, scheme in SCHEMES.items() if "mlp" in scheme.architectures]
    sizes = arguments.depth, arguments.width, arguments.rounds, arguments.share_rounds, arguments.networks
    result = {
        **machine(),
        "depth": arguments.depth,
        "width": arguments.width,
        "rounds": arguments.rounds,
        "schemes": {n: measure(n, *sizes) for n in names},
        "mixes": mixes(arguments.share_rounds),
        "eoi": deep_eoi(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
