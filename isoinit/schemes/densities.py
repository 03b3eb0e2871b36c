"""How many weights of each layer a sparse scheme keeps: the same share everywhere, or Erdos-Renyi-Kernel.

After the public code of Nowak et al. 2024 (arXiv 2406.01755).
"""

from collections.abc import Sequence
from itertools import accumulate

from isoinit.layers import WeightLayer
from isoinit.schemes.wiring import Run


def layer_densities(layers: Sequence[WeightLayer], density: float, distribution: str) -> list[float]:
    """Density of each layer: the same everywhere, or Erdos-Renyi-Kernel with the total density exact."""
    if distribution == "uniform":
        return [density] * len(layers)
    sizes = [layer.weight.numel() for layer in layers]
    raw = [sum(layer.weight.shape) / size for layer, size in zip(layers, sizes, strict=True)]
    dense: set[int] = set()
    while True:
        sparse = [i for i in range(len(layers)) if i not in dense]
        if not sparse:
            return [1.0] * len(layers)
        budget = density * sum(sizes) - sum(sizes[i] for i in dense)
        scale = budget / sum(raw[i] * sizes[i] for i in sparse)
        worst = max(sparse, key=lambda i: raw[i])
        if scale * raw[worst] <= 1:
            return [1.0 if i in dense else scale * raw[i] for i in range(len(layers))]
        dense.add(worst)


def run_densities(runs: Sequence[Run], density: float, distribution: str) -> list[float]:
    """`layer_densities`, equal in layers of one shape."""
    of_layers = layer_densities([layer for run in runs for layer in run.layers], density, distribution)
    firsts = accumulate((len(run.layers) for run in runs[:-1]), initial=0)
    return [of_layers[first] for first in firsts]


def finest(side: int, taps: int) -> int:
    """n, of the least density 1/n at which each of `side` rows has a weight, in the core of a kernel by the rule of
    `isoinit.schemes.sparse`."""
    return side if taps == 1 else min(side**2, taps * side)
