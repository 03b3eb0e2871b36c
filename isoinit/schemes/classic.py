"""Variance-scaling and orthogonal initializers: every layer on its own, whatever stands between the layers.

Glorot & Bengio 2010 (xavier), He et al. 2015 arXiv 1502.01852 (he), LeCun et al. 1998 (lecun), Saxe et al. 2014
arXiv 1312.6120 (orthogonal).
"""

import math
from collections.abc import Callable

from torch import Tensor

from isoinit.layers import WeightLayer, activation_name
from isoinit.schemes.base import Draw, Scheme
from isoinit.schemes.wiring import Wiring, fans

Variance = Callable[[int, int], float]


def xavier(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)


def he(fan_in: int, fan_out: int) -> float:  # noqa: ARG001 - one signature for all variance rules
    return 2 / fan_in


def lecun(fan_in: int, fan_out: int) -> float:  # noqa: ARG001
    return 1 / fan_in


def gain(wiring: Wiring) -> float:
    """sqrt(2) where half of the second moment passes the activation (relu, crelu), else 1.

    1 and not torch's 5/3 for tanh: with zero bias the mean-field critical value is exactly 1.
    """
    return math.sqrt(2) if activation_name(wiring.activation) in ("relu", "crelu") else 1.0


def _fill(wiring: Wiring, standard: list[Tensor], variance: Variance) -> None:
    for layer, values in zip(wiring.layers, standard, strict=True):
        layer.weight.copy_(values.mul_(math.sqrt(variance(*fans(layer)))))


def normal(variance: Variance) -> Callable[..., None]:
    def apply(wiring: Wiring, draw: Draw) -> None:
        _fill(wiring, draw.normals([tuple(layer.weight.shape) for layer in wiring.layers]), variance)

    return apply


def orthogonal(wiring: Wiring, draw: Draw) -> None:
    """Haar times `gain` on the weight flattened to (out, in * taps), as torch does; groups on their own."""
    matrices = draw.haar([shape for layer in wiring.layers for shape in _flat_groups(layer)])
    remaining = iter(matrices)
    for layer in wiring.layers:
        parts = [next(remaining) for _ in _flat_groups(layer)]
        for rows, part in zip(layer.weight.chunk(len(parts)), parts, strict=True):
            rows.copy_((part * gain(wiring)).view(rows.shape))


def _flat_groups(layer: WeightLayer) -> list[tuple[int, int]]:
    count = getattr(layer, "groups", 1)
    return [(layer.weight.shape[0] // count, layer.weight[0].numel())] * count


_GLOROT = "Glorot & Bengio 2010"
_HE = "He et al. 2015, arXiv 1502.01852"

SCHEMES = (
    Scheme(
        name="xavier_normal",
        source=_GLOROT,
        summary="N(0, 2/(fan_in + fan_out)); halves the squared norm of a ReLU signal per layer",
        apply=normal(xavier),
        invariants=("weight_variance",),
        variance=xavier,
    ),
    Scheme(
        name="he_normal",
        source=_HE,
        summary="N(0, 2/fan_in); keeps the mean squared norm of a ReLU signal, not the typical one",
        apply=normal(he),
        invariants=("weight_variance",),
        variance=he,
    ),
    Scheme(
        name="orthogonal",
        source="Saxe et al. 2014, arXiv 1312.6120",
        summary="Haar semi-orthogonal, gain sqrt(2) for ReLU; keeps the norm on average only",
        apply=orthogonal,
        invariants=("semi_orthogonal",),
    ),
)
