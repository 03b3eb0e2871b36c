"""What holds exactly, measured: the invariants of every scheme, and the statements that must hold.

    OMP_NUM_THREADS=1 python tests/bench/schemes.py [--seeds 3]

Everything by a second route, in float64 where not said otherwise: Jacobians by `torch.func.jacrev` (the probe goes
backwards through copies), laws of weights by Kolmogorov-Smirnov tests against scipy's, activations in numpy from the
weights. The numbers are the worst over seeds, inputs and layers; a p-value is the first seed's.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from isoinit import CNN, MLP, SCHEMES, ResNet, initialize
from isoinit.schemes import Scheme, read
from isoinit.schemes.base import Draw
from isoinit.schemes.rotations import rotations

CUT = 2 / stats.truncnorm(-2, 2).std()  # where a normal of variance 1 ends that was cut at two standard deviations
LAWS: dict[str, Any] = {
    "normal": stats.norm(),
    "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "truncated": stats.truncnorm(-2, 2, scale=CUT / 2),
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(seed: int, *shape: int) -> Tensor:
    return torch.randn(2, *shape, generator=generator(1000 + seed), dtype=torch.float64)


def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    rows = torch.func.jacrev(lambda v: model(v[None])[0])(x)
    assert isinstance(rows, Tensor)
    return rows.detach().reshape(rows.shape[0], -1)


def deviation(model: nn.Module, seed: int, *shape: int) -> float:
    """Largest |singular value - 1| at two inputs."""
    dtype = next(model.parameters()).dtype
    spectra = [torch.linalg.svdvals(jacobian(model, x)) for x in points(seed, *shape).to(dtype)]
    return max(float((s - 1).abs().max()) for s in spectra)


def chain(*widths: int) -> nn.Sequential:
    layers = [part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


def network(scheme: Scheme, size: int = 12, width: int = 24, depth: int = 202) -> nn.Module:
    activation = scheme.activations[0] if scheme.activations else "relu"
    if "mlp" in scheme.architectures:
        return MLP(size, size if activation == "crelu" else width, depth, size, activation).double()
    return ResNet((size,), width, depth, size, (scheme.blocks or ("post",))[0], activation).double()


def filled(scheme: Scheme, model: nn.Module, seed: int, *shape: int, **arguments: Any) -> nn.Module:
    if scheme.needs_data:
        arguments["data"] = torch.randn(200, *shape, generator=generator(500 + seed), dtype=torch.float64)
    if scheme.sparse:
        arguments.setdefault("density", 0.125)
    return initialize(model, scheme, generator=generator(seed), **arguments)


def weight_variance(scheme: Scheme, seed: int) -> tuple[float, str]:
    assert scheme.variance is not None
    model = filled(scheme, network(scheme, 100, 300, 8), seed, 100)
    draws = [
        (layer.weight.detach() / math.sqrt(scheme.variance(layer.weight.shape[1], layer.weight.shape[0]))).flatten()
        for layer in read(model).layers
    ]
    values = torch.cat(draws).numpy()
    kind = scheme.name.rsplit("_", 1)[-1]
    law = LAWS["uniform" if scheme.name == "torch_default" else kind if kind in LAWS else "normal"]
    kept = values[values != 0]
    p = stats.kstest(kept * math.sqrt(len(kept) / len(values)), law.cdf).pvalue
    return abs(values.var() - 1), f"KS p = {p:.2f}, n = {len(kept)}"


def semi_orthogonal(scheme: Scheme, seed: int) -> tuple[float, str]:
    assert scheme.gain is not None
    worst = 0.0
    models = [filled(scheme, network(scheme, 40, 33, 5), seed, 40)]
    if "cnn" in scheme.architectures:
        models.append(filled(scheme, CNN((6, 5, 5), 8, 5, 4).double(), seed, 6, 5, 5))
    for model in models:
        for layer in read(model).layers:
            w = layer.weight.detach().flatten(1)
            w = w[:, w.any(0)] if layer.weight.dim() > 2 and scheme.name != "orthogonal" else w
            gram = w @ w.T if len(w) <= w.shape[1] else w.T @ w
            worst = max(worst, float((gram - scheme.gain**2 * torch.eye(len(gram))).abs().max()))
    return worst, "matrices 33 x 40, 33 x 33, 40 x 33" + (" and kernels" if len(models) > 1 else "")


def mirror(scheme: Scheme, seed: int) -> tuple[float, str]:
    wiring, h = read(filled(scheme, network(scheme), seed, 12)), 12
    ends = [
        wiring.stem[0].weight[:h] + wiring.stem[0].weight[h:],
        wiring.head.weight[:, :h] + wiring.head.weight[:, h:],
    ]
    inner = [
        part
        for layer in wiring.stem[1:]
        for part in (layer.weight[:h] + layer.weight[h:], layer.weight[:, :h] + layer.weight[:, h:])
    ]
    return max(float(part.detach().abs().max()) for part in (*ends, *inner)), "202 layers"


def isometry(scheme: Scheme, seed: int) -> tuple[float, str]:
    worst = 0.0
    for mode in ("zero", "mirrored"):
        model = filled(scheme, network(scheme), seed, 12, bias_mode=mode, bias_variance=float(mode == "mirrored"))
        worst = max(worst, deviation(model, seed, 12))
    return worst, "202 weight layers, biases zero and mirrored of variance 1"


def density(scheme: Scheme, seed: int) -> tuple[float, str]:
    worst = 0.0
    for target in (0.05, 0.125, 0.3, 0.7, 1.0):
        model = filled(scheme, network(scheme, 64, 64, 6), seed, 64, density=target)
        for layer in read(model).layers:
            sides = [n // 2 if "mirror" in scheme.invariants and n == 64 else n for n in layer.weight.shape]
            if scheme.name == "ll_eoi":
                first, last = layer is read(model).layers[0], layer is read(model).head
                sides = [64 if last else 32, 64 if first else 32]
            share = float(layer.get_buffer("mask").double().mean())
            worst = max(worst, abs(share - max(target, 1 / max(sides))) * max(sides))
    return worst, "|density - target| max(n, m), five targets; at most 0.5"


def identity(scheme: Scheme, seed: int) -> tuple[float, str]:
    block = (scheme.blocks or ("post",))[0]
    model = filled(scheme, ResNet((16,), 16, 202, 16, block).double(), seed, 16)
    streams: list[Tensor] = []
    for module in read(model).signals:
        module.register_forward_hook(lambda _m, _i, out: streams.append(out.detach()))
    model(points(seed, 16))
    return float((streams[-1] - streams[0]).abs().max()), "100 blocks, largest change of the stream"


def by_hand(scheme: Scheme, seed: int) -> Iterator[np.ndarray]:
    """Pre-activations of the batch the scheme saw, (samples, units), layer by layer, in numpy."""
    model = filled(scheme, network(scheme, 50, 60, 20), seed, 50)
    signal = torch.randn(200, 50, generator=generator(500 + seed), dtype=torch.float64).numpy()
    for layer in read(model).layers:
        assert layer.bias is not None
        z = signal @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        yield z
        signal = np.maximum(z, 0)


def unit_variance(scheme: Scheme, seed: int) -> tuple[float, str]:
    return max(abs(z.var() - 1) for z in by_hand(scheme, seed)), "20 layers, batch of 200"


def sample_variance(scheme: Scheme, seed: int) -> tuple[float, str]:
    return max(abs(z.var(0).mean() - 1) for z in by_hand(scheme, seed)), "20 layers, batch of 200"


def deterministic(scheme: Scheme, seed: int) -> tuple[float, str]:
    one, two = (filled(scheme, network(scheme), s, 12) for s in (seed, seed + 1))
    return max(
        float((a - b).detach().abs().max()) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    ), "two seeds"


MEASURES: dict[str, Callable[[Scheme, int], tuple[float, str]]] = {
    f.__name__: f
    for f in (weight_variance, semi_orthogonal, mirror, isometry, density, identity, unit_variance, sample_variance,
              deterministic)
}  # fmt: skip


def statements() -> Iterator[tuple[str, Callable[[int], float]]]:
    """The statements that must hold, as largest |singular value - 1|."""

    def mlp(s: int, scheme: str, *sizes: int, activation: str = "relu", **arguments: Any) -> float:
        into, width, depth, out = sizes
        model = MLP(into, width, depth, out, activation).double()
        return deviation(initialize(model, scheme, generator=generator(s), **arguments), s, into)

    def cnn(s: int, scheme: str, **arguments: Any) -> float:
        model = CNN((4, 6, 6), 8, 61, 144, pooling="none").double()
        return deviation(initialize(model, scheme, generator=generator(s), **arguments), s, 4, 6, 6)

    def single(s: int) -> float:
        return deviation(initialize(MLP(24, 48, 200, 24), "ll_orth", generator=generator(s)), s, 24)

    def narrow(s: int, narrowing: str, *widths: int) -> float:
        model = chain(*widths)
        return deviation(initialize(model, "ll_orth", narrowing=narrowing, generator=generator(s)), s, widths[0])

    def risotto(s: int, scheme: str, **arguments: Any) -> float:
        model = ResNet((12,), 24, 202, 12, (SCHEMES[scheme].blocks or ("",))[0]).double()
        return deviation(initialize(model, scheme, generator=generator(s), **arguments), s, 12)

    zigzag = (24, 64, 128, 64, 48, 96, 24)
    mirrored = {"bias_mode": "mirrored", "bias_variance": 1.0}
    yield "ll_orth, 24 -> 48 x 199 -> 24", lambda s: mlp(s, "ll_orth", 24, 48, 200, 24)
    yield "the same in float32", single
    yield "ll_orth, 784 -> 100 x 49 -> 10", lambda s: mlp(s, "ll_orth", 784, 100, 50, 10)
    yield "ll_orth, odd width 49, depth 32", lambda s: mlp(s, "ll_orth", 24, 49, 32, 24)
    yield "ll_orth, mirrored biases of variance 1, depth 200", lambda s: mlp(s, "ll_orth", 24, 48, 200, 24, **mirrored)
    yield (
        "ll_orth, mirrored biases of variance 100, depth 200",
        lambda s: mlp(s, "ll_orth", 24, 48, 200, 24, bias_mode="mirrored", bias_variance=100.0),
    )
    yield (
        "not: ll_orth, iid biases of variance 1e-4, depth 200",
        lambda s: mlp(s, "ll_orth", 24, 48, 200, 24, bias_mode="iid", bias_variance=1e-4),
    )
    yield "ll_eoi, density 12.5 %, core 64, depth 40", lambda s: mlp(s, "ll_eoi", 64, 128, 40, 64, density=0.125)
    yield (
        "ll_eoi, density 12.5 % by ERK",
        lambda s: mlp(s, "ll_eoi", 64, 128, 40, 64, density=0.125, distribution="erk"),
    )
    yield "ll_crelu, depth 200", lambda s: mlp(s, "ll_crelu", 24, 24, 200, 24, activation="crelu")
    yield (
        "ll_crelu, iid biases of variance 10",
        lambda s: mlp(s, "ll_crelu", 24, 24, 200, 24, activation="crelu", bias_mode="iid", bias_variance=10.0),
    )
    yield f"ll_orth tracked, {zigzag}", lambda s: narrow(s, "tracked", *zigzag)
    yield f"not: ll_orth free, {zigzag}", lambda s: narrow(s, "free", *zigzag)
    yield (
        "ll_orth tracked, odd widths 24, 65, 129, 65, 49, 97, 10",
        lambda s: narrow(s, "tracked", 24, 65, 129, 65, 49, 97, 10),
    )
    yield "ll_orth CNN, 60 convolutions, zero padding, 4 x 6 x 6", lambda s: cnn(s, "ll_orth")
    yield "ll_orth CNN, mirrored biases of variance 1", lambda s: cnn(s, "ll_orth", **mirrored)
    yield "ll_eoi CNN, density 25 %", lambda s: cnn(s, "ll_eoi", density=0.25)
    for name in ("risotto_b", "risotto_c"):
        for alpha in (1.0, 0.3):
            yield (
                f"{name}, 100 blocks, alpha = {alpha}, mirrored biases of variance 1",
                lambda s, name=name, alpha=alpha: risotto(s, name, alpha=alpha, **mirrored),
            )
        yield (
            f"not: {name}, 100 blocks, iid biases of variance 0.1",
            lambda s, name=name: risotto(s, name, bias_mode="iid", bias_variance=0.1),
        )


def sparse(count: int = 400) -> tuple[float, float]:
    """Worst |A A^T - I| and |density - target| max(n, m) of EOI matrices of random shapes up to 70 and densities."""
    rng = np.random.default_rng(0)
    worst = [0.0, 0.0]
    for _ in range(count):
        rows, columns = (int(n) for n in rng.integers(1, 71, 2))
        most = max(rows, columns)
        target = float(rng.choice([1 / most, 1.0, rng.uniform(1 / most, 1)]))
        draw = Draw(generator(int(rng.integers(1 << 31))), torch.float64)
        for a in rotations(2, rows, columns, target, draw):
            gram = a @ a.mT if rows <= columns else a.mT @ a
            worst[0] = max(worst[0], float((gram - torch.eye(len(gram))).abs().max()))
            worst[1] = max(worst[1], abs(float((a != 0).double().mean()) - target) * most)
    return worst[0], worst[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    print(f"Python {platform.python_version()}, torch {version('torch')}, scipy {version('scipy')}, "
          f"{torch.get_num_threads()} threads, {len(seeds)} seeds\n")  # fmt: skip
    print("| scheme | source | architectures | what is exact | measured, worst |\n|---|---|---|---|---|")
    for scheme in SCHEMES.values():
        found = []
        for invariant in scheme.invariants:
            results = [MEASURES[invariant](scheme, s) for s in seeds]
            found.append(f"{invariant} {max(r[0] for r in results):.1e} ({results[0][1]})")
        print(f"| `{scheme.name}` | {scheme.source} | {' '.join(scheme.architectures)} | {scheme.exact} | "
              f"{'; '.join(found)} |", flush=True)  # fmt: skip
    print("\n| must hold (or, after 'not', must not) | largest abs(s - 1) |\n|---|---|")
    for name, measure in statements():
        print(f"| {name} | {max(measure(s) for s in seeds):.1e} |", flush=True)
    orthogonality, distance = sparse()
    print(f"| EOI, 800 matrices of random shapes to 70 x 70: max abs(A A^T - I) | {orthogonality:.1e} |")
    print(f"| the same: max abs(density - target) max(n, m), at most 0.5 | {distance:.4f} |")
    for dtype in (torch.float32, torch.float64):
        begin = time.perf_counter()
        initialize(MLP(784, 128, 1000, 10, "tanh").to(dtype), "eoi", density=0.125, generator=generator(0))
        print(f"| seconds to initialize EOI, 1000 layers of width 128, {dtype} | {time.perf_counter() - begin:.1f} |")


if __name__ == "__main__":
    main()
