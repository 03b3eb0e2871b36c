"""Plain MLPs on a CPU: one after another through the compiled `kernel`, each from its own flat vectors.

Nothing is stacked, so widths are neither grouped nor padded, and members of any sizes are one stack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoinit.layers import activation_name
from isoinit.networks import MLP
from sweeps import kernel
from sweeps.kernel import LINE, Floats
from sweeps.ragged import linears
from sweeps.spec import Training
from sweeps.stacking import LOSS_BOUND, Batches, Series, Start


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


def workspace_size(fan_in: NDArray[np.int64], fan_out: NDArray[np.int64], batch: int) -> int:
    """Length of the scratch vector that `train_steps` needs: features, two gradients, one weight gradient."""
    widest = int(max(fan_in.max(), fan_out.max()))
    features = sum(padded(batch * size) for size in (*fan_in[1:].tolist(), int(fan_out[-1])))
    return features + 2 * padded(batch * max(2, widest)) + padded(int((fan_in * fan_out).max())) + padded(widest)


class _Layout:
    """Where a plain MLP's parameters are in its flat vector (see `kernel`)."""

    def __init__(self, model: nn.Module) -> None:
        assert isinstance(model, MLP)
        self.fan_in = np.array([layer.in_features for layer in linears(model)], np.int64)
        self.fan_out = np.array([layer.out_features for layer in linears(model)], np.int64)
        self.size = parameter_count(self.fan_in, self.fan_out)
        self.activation = kernel.ACTIVATIONS[activation_name(model.activation)]

    def views(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per layer, the weight as torch has it (fan_out, fan_in), and the bias."""
        found, offset = [], 0
        for i, o in zip(self.fan_in.tolist(), self.fan_out.tolist(), strict=True):
            stored = flat[offset : offset + i * o]
            head = len(found) + 1 == len(self.fan_in)
            offset += padded(i * o)
            found.append((stored.view(o, i) if head else stored.view(i, o).T, flat[offset : offset + o]))
            offset += padded(o)
        return found


class _Resident(NamedTuple):
    """A member of a kernel stack: where it is in the pack, how it started, and its vectors (see `_vectors`)."""

    place: int
    start: Start
    at: _Layout
    vectors: tuple[Floats, Floats, Floats, Floats]


class KernelStack:
    """Plain MLPs of any depths, widths and activations, one after another; see `kernel`."""

    def __init__(self, places: Sequence[int], starts: Sequence[Start], training: Training) -> None:
        self._rule = kernel.rule(training)
        layouts: dict[int, _Layout] = {}
        self._members = []
        for place, start in zip(places, starts, strict=True):
            at = layouts.setdefault(id(start.model), _Layout(start.model))
            self._members.append(_Resident(place, start, at, _vectors(start.model, at, self._rule)))
        sizes = [workspace_size(at.fan_in, at.fan_out, training.batch_size) for at in layouts.values()]
        self._work = aligned(max(sizes))

    @property
    def places(self) -> list[int]:
        return [member.place for member in self._members]

    def advance(self, batches: Mapping[int, Batches], factors: Sequence[float], done: int) -> tuple[Series, Series]:
        loss, accuracy = np.full((2, len(self._members), len(factors)), np.nan)
        schedule = np.asarray(factors, np.float32)
        data = {seed: (b.x.flatten(2).numpy(), b.y.numpy()) for seed, b in batches.items()}
        for row, (_, start, at, vectors) in enumerate(self._members):
            rates = np.float32(start.rate) * schedule
            kernel.train_steps(
                *vectors, at.fan_in, at.fan_out, at.activation, self._rule, rates, done,
                *data[start.seed], LOSS_BOUND, self._work, loss[row], accuracy[row],
            )  # fmt: skip
        return loss, accuracy

    def keep(self, rows: Sequence[int]) -> None:
        self._members = [self._members[row] for row in rows]

    def write(self, row: int, model: nn.Module) -> nn.Module:
        member = self._members[row]
        views = member.at.views(torch.from_numpy(member.vectors[0]))
        with torch.no_grad():
            for layer, (weight, bias) in zip(linears(model), views, strict=True):
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
        return model


def _vectors(model: nn.Module, at: _Layout, rule: kernel.Rule) -> tuple[Floats, Floats, Floats, Floats]:
    """Flat parameters, the rule's two moments and the mask of one member; those not needed are empty."""
    masks = [getattr(layer, "mask", None) for layer in linears(model)]
    masked = any(mask is not None for mask in masks)
    adam = rule.kind == kernel.ADAM
    weights, first, second, mask = (
        aligned(at.size if needed else 0) for needed in (True, adam or rule.momentum > 0, adam, masked)
    )
    with torch.no_grad():
        for layer, (weight, bias) in zip(linears(model), at.views(torch.from_numpy(weights)), strict=True):
            weight.copy_(layer.weight)
            bias.copy_(layer.bias)
        if masked:
            mask[:] = 1
            for kept, (ones, _) in zip(masks, at.views(torch.from_numpy(mask)), strict=True):
                if kept is not None:
                    ones.copy_(kept)
            weights *= mask
    return weights, first, second, mask
