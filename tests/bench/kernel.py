"""How fast is a pack? Training in GFLOP/s against this machine's sgemm, a plain loop, and jitted JAX.

    python tests/bench/kernel.py [--widths 16 64 256] [--depths 4 16 64] [--rounds 5] [--out kernel.json]

Every arm trains the same ReLU networks (digits, batch 64, SGD) on one thread and records the same, loss and accuracy
of every step. Arms are interleaved within a round, times are CPU times of the process (a shared machine disturbs them
least), and the number given is the median over rounds. FLOPs are those of the weight layers, as `sweeps.network.flops`
counts them. JAX is optional (`pip install isoinit[bench]`); without it its arm is left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machines import machine
from torch import Tensor, nn

from isoinit import networks, schemes
from sweeps import data, train
from sweeps.network import flops
from sweeps.preparing import generator
from sweeps.spec import Point, Training
from sweeps.stack import Batches, KernelStack, Start

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "NPROC": "1",  # size of XLA's thread pool
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
BATCH, STEPS, RATE = 64, 10, 0.01
DIGITS = data.load("digits")
TRAINING = Training(batch_size=BATCH, steps=STEPS)


def members(width: int, depth: int) -> int:
    """Enough to fill the batched products of JAX, few enough for the memory."""
    return max(4, min(64, 2**24 // (width * width * depth)))


def network(width: int, depth: int, seed: int) -> nn.Module:
    model = networks.build("mlp", DIGITS.input_shape, width=width, depth=depth, out_features=10)
    return schemes.initialize(model, "he_normal", generator=generator(seed, "init"))


def batches() -> Batches:
    samples = train.order(0, DIGITS, TRAINING)
    return Batches(DIGITS.x_train[samples], DIGITS.y_train[samples])


Arm = tuple[Callable[[], object], int]
"""A function that trains `int` networks for `STEPS` steps."""


def stack_arm(width: int, depth: int) -> Arm:
    count = members(width, depth)
    model = network(width, depth, 0)
    pack = KernelStack(range(count), [Start(model, RATE, 0)] * count, TRAINING)
    given = {0: batches()}
    return lambda: pack.advance(given, [1.0] * STEPS, 0), count


def plain_arm(width: int, depth: int) -> Arm:
    source = network(width, depth, 0)
    layers: list[nn.Module] = [nn.Flatten()]
    for layer in source.get_submodule("layers").children():
        assert isinstance(layer, nn.Linear)
        copy = nn.Linear(layer.in_features, layer.out_features)
        copy.load_state_dict(layer.state_dict())
        layers += [copy, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    given = batches()

    def run() -> list[tuple[Tensor, Tensor]]:
        record = []
        for x, y in zip(given.x, given.y, strict=True):
            logits = model(x)
            loss = nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            record.append((loss.detach(), (logits.detach().argmax(1) == y).float().mean()))
        return record

    return run, 1


def jax_arm(width: int, depth: int) -> Arm:
    jax: Any = importlib.import_module("jax")
    jnp: Any = importlib.import_module("jax.numpy")
    count = members(width, depth)
    given = batches()
    x, y = jnp.asarray(given.x.flatten(2).numpy()), jnp.asarray(given.y.numpy())
    layers = [p.detach().numpy() for p in network(width, depth, 0).parameters()]
    weights = [jnp.asarray(np.stack([w.T] * count)) for w in layers[::2]]
    biases = [jnp.asarray(np.stack([b] * count)) for b in layers[1::2]]

    def loss(parameters, x, y):
        *hidden, (w, b) = parameters
        for v, c in hidden:
            x = jax.nn.relu(x @ v + c)
        logits = x @ w + b
        mean = -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()
        return mean, (logits.argmax(1) == y).mean()

    def step(parameters, batch):
        record, gradient = jax.vmap(jax.value_and_grad(loss, has_aux=True), (0, None, None))(parameters, *batch)
        return jax.tree.map(lambda p, g: p - RATE * g, parameters, gradient), record

    parameters = list(zip(weights, biases, strict=True))
    compiled = jax.jit(lambda p: jax.lax.scan(step, p, (x, y)))
    return lambda: jax.block_until_ready(compiled(parameters)), count


def sgemm_arm(size: int = 2048) -> tuple[Callable[[], object], float]:
    a, b, out = (torch.randn(size, size) for _ in range(3))
    return lambda: torch.mm(a, b, out=out), 2.0 * size**3


def seconds(run: Callable[[], object], least: float = 0.15) -> float:
    """CPU seconds per call, over calls that take at least so long together."""
    calls, start = 0, time.process_time()
    while (used := time.process_time() - start) < least:
        run()
        calls += 1
    return used / calls


def measure(width: int, depth: int, rounds: int, arms: dict[str, Callable[[int, int], Arm]]) -> dict[str, object]:
    point = Point("he_normal", "mlp", "relu", "none", depth, width, 1.0, "zero", 0.0, 1.0)
    work = flops(point, DIGITS, TRAINING)
    peak, peak_work = sgemm_arm()
    ready = {name: arm(width, depth) for name, arm in arms.items()}
    for run, _ in ready.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in ("sgemm", *ready)}
    for _ in range(rounds):
        rates["sgemm"].append(peak_work / seconds(peak) / 1e9)
        for name, (run, count) in ready.items():
            rates[name].append(count * work / seconds(run) / 1e9)
    result: dict[str, object] = {"width": width, "depth": depth, "members": members(width, depth)}
    result |= {f"{name}_gflops": round(statistics.median(values), 2) for name, values in rates.items()}
    for name in rates:
        if name != "stack":
            ratios = [a / b for a, b in zip(rates["stack"], rates[name], strict=True)]
            result[f"stack_over_{name}"] = round(statistics.median(ratios), 3)
    return result


def main() -> None:
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):  # libraries read them when loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--depths", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="file for the JSON; default: standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    arms: dict[str, Callable[[int, int], Arm]] = {"stack": stack_arm, "plain": plain_arm}
    if importlib.util.find_spec("jax"):
        arms["jax"] = jax_arm
    shapes = [(w, depth) for w in options.widths for depth in options.depths]
    rows = []
    for width, depth in shapes:
        rows.append(measure(width, depth, options.rounds, arms))
        print(json.dumps(rows[-1]), file=sys.stderr)
    report = {
        "what": "training, GFLOP/s of CPU time, 1 thread, median over interleaved rounds",
        "rounds": options.rounds, "batch_size": BATCH, "steps": STEPS, "dataset": "digits",
        **machine(), "shapes": rows,
    }  # fmt: skip
    text = json.dumps(report, indent=1)
    if options.out:
        with open(options.out, "w") as file:
            file.write(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
