"""A plain MLP as the flat vectors that the compiled `kernel` trains: where its layers lie, and how they get there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoinit.activations import activation_name
from isoinit.networks import MLP
from sweeps import kernel, widths
from sweeps.kernel import LINE, Floats
from sweeps.mlps import apart, linears, masked


def padded(size: int) -> int:
    """`size` rounded up to whole cache lines."""
    return -(-size // LINE) * LINE


def aligned(size: int) -> Floats:
    """Zeros that start on a cache line: where a product's operands lie may change its rounding."""
    buffer = np.zeros(size + LINE, np.float32)
    start = -buffer.ctypes.data // buffer.itemsize % LINE
    return buffer[start : start + size]


def parameter_count(fan_in: NDArray[np.int64], fan_out: NDArray[np.int64]) -> int:
    """Length of the flat vector of parameters, padding included."""
    return sum(padded(i * o) + padded(o) for i, o in zip(fan_in.tolist(), fan_out.tolist(), strict=True))


def workspace_size(at: Layout, batch: int) -> int:
    """Length of the scratch vector that `kernel.train_members` needs: features, slopes of those that do not tell them,
    two gradients, one weight gradient."""
    fan_in, fan_out = at.fans[:2]
    widest = int(max(fan_in.max(), fan_out.max()))
    kept = fan_out[:-1].tolist() if at.activation >= kernel.CURVED else []
    features = sum(padded(batch * size) for size in (*fan_in[1:].tolist(), int(fan_out[-1]), *kept))
    return features + 2 * padded(batch * max(2, widest)) + padded(int((fan_in * fan_out).max())) + padded(widest)


class Layout:
    """Where a plain MLP's parameters are in its flat vector (see `kernel`), zeros beside them if it is padded."""

    def __init__(self, model: nn.Module) -> None:
        assert isinstance(model, MLP)
        layers = linears(model)
        self.activation = kernel.ACTIVATIONS[activation_name(model.activation)]
        self.split = 2 if self.activation == kernel.CRELU else 1  # features that leave a unit
        mine, units = np.array([(x.in_features, x.out_features) for x in layers], np.int64).T
        fan_out = np.array([*map(widths.stored, units[:-1].tolist()), units[-1]])
        fan_in = np.array([mine[0], *(self.split * fan_out[:-1])])
        self.fans = np.stack([fan_in, fan_out, mine, units])
        self.size = parameter_count(fan_in, fan_out)

    def views(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per layer, the weight as `part` has it, and the bias."""
        found, offset = [], 0
        for layer, (i, o, mine, units) in enumerate(self.fans.T.tolist()):
            split = self.split if layer else 1
            stored = flat[offset : offset + i * o]
            weight = stored.view(o, i).T if layer + 1 == self.fans.shape[1] else stored.view(i, o)
            offset += padded(i * o)
            used = weight.unflatten(0, (split, -1))[:, : mine // split, :units]
            found.append((used, flat[offset : offset + units]))
            offset += padded(o)
        return found

    def part(self, weight: Tensor, layer: int) -> Tensor:
        """View on a weight of a layer, as `apart` has it."""
        return apart(weight, self.split if layer else 1)


def vectors(model: nn.Module, at: Layout, rule: kernel.Rule) -> tuple[Floats, Floats, Floats, Floats]:
    """Flat parameters, the rule's two moments and the mask of one member; those not needed are empty."""
    layers = linears(model)
    sparse = any(map(masked, layers))
    adam = rule.kind == kernel.ADAM
    weights, first, second, mask = (
        aligned(at.size if needed else 0) for needed in (True, adam or rule.momentum > 0, adam, sparse)
    )
    _load(layers, at, weights)
    if sparse:
        mask[:] = 1
        with torch.no_grad():
            for n, (layer, (ones, _)) in enumerate(zip(layers, at.views(torch.from_numpy(mask)), strict=True)):
                if masked(layer):
                    ones.copy_(at.part(layer.get_buffer("mask"), n))
        weights *= mask
    return weights, first, second, mask


def _load(layers: Sequence[nn.Linear], at: Layout, into: Floats) -> None:
    """Copy every layer's weight and bias into the flat vector."""
    parameters = [p for layer in layers for name in ("weight", "bias") if (p := layer._parameters[name]) is not None]
    assert len(parameters) == 2 * len(layers)
    assert all(p.dtype == torch.float32 and p.is_cpu for p in parameters)
    kept = [p if p.is_contiguous() else p.contiguous() for p in parameters]
    addresses = np.array([p.data_ptr() for p in kept]).reshape(-1, 2)
    kernel.load(addresses, at.fans, at.split, into)
