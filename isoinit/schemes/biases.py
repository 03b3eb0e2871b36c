"""The biases of a network: drawn after its weights."""

import math
from itertools import groupby

from isoinit.schemes.base import Draw, Scheme
from isoinit.schemes.mirrored import interleave
from isoinit.schemes.wiring import Wiring, bias_of, copy_each, groups


def draw_biases(scheme: Scheme, wiring: Wiring, draw: Draw, mode: str, deviation: float) -> None:
    """Set the biases that a bias variance reaches: independent, or in the hidden layers [c; -c] (`mode` "mirrored")."""
    layers = scheme.biased(wiring)
    successors = [groups(layer) for layer in layers[1:]] + [1]
    biased = [(bias, (len(bias), mode == "mirrored" and x is not wiring.head, math.lcm(groups(x), after)))
              for x, after in zip(layers, successors, strict=True) if (bias := bias_of(x)) is not None]  # fmt: skip
    alike = [(form, [bias for bias, _ in part]) for form, part in groupby(biased, key=lambda pair: pair[1])]
    normals = draw.normals([(len(biases), size) for (size, _, _), biases in alike])
    for ((size, mirrored, blocks), biases), values in zip(alike, normals, strict=True):
        values.mul_(deviation)
        if mirrored:
            half = size // 2
            values[:, half : 2 * half] = -values[:, :half]
            if blocks > 1:
                values = values[:, interleave(size, blocks)]
        copy_each(biases, values)
