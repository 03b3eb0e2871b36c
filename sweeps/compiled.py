"""Plain MLPs on a CPU: one after another through the compiled `kernel`, each from its own flat vectors.

Nothing is stacked, so members of any sizes are one stack, and each is as wide as it trains soonest, see `widths`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoinit.activations import activation_name
from isoinit.networks import MLP
from sweeps import kernel, widths
from sweeps.kernel import LINE, Floats
from sweeps.ragged import apart, linears
from sweeps.spec import Training
from sweeps.stacking import LOSS_BOUND, Batches, Series, Start

_TESTED = 64  # samples at a time, at least, when a member is tested


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
    """Length of the scratch vector that `kernel.train_members` needs: features, two gradients, one weight gradient."""
    widest = int(max(fan_in.max(), fan_out.max()))
    features = sum(padded(batch * size) for size in (*fan_in[1:].tolist(), int(fan_out[-1])))
    return features + 2 * padded(batch * max(2, widest)) + padded(int((fan_in * fan_out).max())) + padded(widest)


class _Layout:
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


def _address(values: NDArray[Any]) -> int:
    """Where an array's numbers are, 0 of an empty one."""
    assert values.flags.c_contiguous
    return values.ctypes.data if values.size else 0


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
        layouts = {id(model): _Layout(model) for model in {id(s.model): s.model for s in starts}.values()}
        self._members = []
        for place, start in zip(places, starts, strict=True):
            at = layouts[id(start.model)]
            self._members.append(_Resident(place, start, at, _vectors(start.model, at, self._rule)))
        self._tested = max(_TESTED, training.batch_size)
        self._work = aligned(max(workspace_size(at.fans[0], at.fans[1], self._tested) for at in layouts.values()))
        self._tabulate()

    def _tabulate(self) -> None:
        """What the compiled call needs of every member, see `kernel.train_members`."""
        columns = np.cumsum([0, *(m.at.fans.shape[1] for m in self._members)])
        self._rates = np.array([[m.start.rate] for m in self._members], np.float32).reshape(-1, 1)
        members = list(zip(self._members, columns.tolist(), strict=False))
        fans = [m.at.fans[[0, 1, 3]] for m in self._members]
        self._fans = np.concatenate([np.empty((3, 0), np.int64), *fans], 1)
        sizes = [[m.at.fans.shape[1], m.at.activation, column, 0] for m, column in members]
        self._sizes = np.array(sizes, np.int64).reshape(-1, 4)
        self._addresses = np.array([[*map(_address, m.vectors), 0] for m in self._members], np.int64).reshape(-1, 5)

    @property
    def places(self) -> list[int]:
        return [member.place for member in self._members]

    def advance(self, batches: Mapping[int, Batches], factors: Sequence[float], done: int) -> tuple[Series, Series]:
        loss, accuracy = np.full((2, len(self._members), len(factors)), np.nan)
        rates = self._rates * np.array(factors, np.float32)
        inputs = {seed: b.x.contiguous() for seed, b in batches.items()}  # kept until the call is over
        labels = torch.stack([b.y for b in batches.values()]).numpy()
        index = {seed: i for i, seed in enumerate(inputs)}
        for row, member in enumerate(self._members):
            seed = member.start.seed
            self._addresses[row, 4], self._sizes[row, 3] = inputs[seed].data_ptr(), index[seed]
        kernel.train_members(
            self._addresses, self._sizes, self._fans, self._rule, rates, done, labels, LOSS_BOUND, True, self._work,
            loss, accuracy,
        )  # fmt: skip
        return loss, accuracy

    def accuracies(self, rows: Sequence[int], x: Tensor, y: Tensor) -> list[float]:
        """Shares of the samples x (N, *input_shape) that members put into their classes y (N,)."""
        if not rows:
            return []
        hits = np.zeros(len(rows))
        whole = len(y) - len(y) % self._tested
        for part, size in ((slice(0, whole), self._tested), (slice(whole, len(y)), len(y) - whole)):
            if len(y[part]):
                hits += self._hits(rows, x[part].contiguous(), y[part].view(1, -1, size))
        return (hits / len(y)).tolist()

    def _hits(self, rows: Sequence[int], x: Tensor, y: Tensor) -> NDArray[np.float64]:
        """How many of the samples x (S * B, *input_shape) members put into their classes y (1, S, B)."""
        addresses, sizes = self._addresses[rows], self._sizes[rows]
        addresses[:, 4], sizes[:, 3] = x.data_ptr(), 0
        rates = np.zeros((len(rows), y.shape[1]), np.float32)
        loss, accuracy = np.zeros((2, *rates.shape))
        kernel.train_members(
            addresses, sizes, self._fans, self._rule, rates, 0, y.numpy(), LOSS_BOUND, False, self._work,
            loss, accuracy,
        )  # fmt: skip
        return np.rint(accuracy * y.shape[2]).sum(1)

    def keep(self, rows: Sequence[int]) -> None:
        self._members = [self._members[row] for row in rows]
        self._tabulate()

    def write(self, row: int, model: nn.Module) -> nn.Module:
        member = self._members[row]
        views = member.at.views(torch.from_numpy(member.vectors[0]))
        with torch.no_grad():
            for n, (layer, (weight, bias)) in enumerate(zip(linears(model), views, strict=True)):
                member.at.part(layer.weight, n).copy_(weight)
                layer.bias.copy_(bias)
        return model


def _vectors(model: nn.Module, at: _Layout, rule: kernel.Rule) -> tuple[Floats, Floats, Floats, Floats]:
    """Flat parameters, the rule's two moments and the mask of one member; those not needed are empty."""
    layers = linears(model)
    masked = any(getattr(layer, "masked", False) for layer in layers)
    adam = rule.kind == kernel.ADAM
    weights, first, second, mask = (
        aligned(at.size if needed else 0) for needed in (True, adam or rule.momentum > 0, adam, masked)
    )
    _load(layers, at, weights)
    if masked:
        mask[:] = 1
        with torch.no_grad():
            for n, (layer, (ones, _)) in enumerate(zip(layers, at.views(torch.from_numpy(mask)), strict=True)):
                if getattr(layer, "masked", False):
                    ones.copy_(at.part(layer.get_buffer("mask"), n))
        weights *= mask
    return weights, first, second, mask


def _load(layers: Sequence[nn.Linear], at: _Layout, into: Floats) -> None:
    """Copy every layer's weight and bias into the flat vector."""
    parameters = [p for layer in layers for name in ("weight", "bias") if (p := layer._parameters[name]) is not None]
    assert len(parameters) == 2 * len(layers)
    assert all(p.dtype == torch.float32 and p.is_cpu for p in parameters)
    kept = [p if p.is_contiguous() else p.contiguous() for p in parameters]
    addresses = np.array([p.data_ptr() for p in kept]).reshape(-1, 2)
    kernel.load(addresses, at.fans, at.split, into)
