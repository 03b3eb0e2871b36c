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

from sweeps import kernel
from sweeps.flat import Layout, aligned, vectors, workspace_size
from sweeps.kernel import Floats
from sweeps.mlps import linears
from sweeps.spec import Training
from sweeps.stacking import LOSS_BOUND, Batches, Series, Start

_TESTED = 64  # samples at a time, at least, when a member is tested


def _address(values: NDArray[Any]) -> int:
    """Where an array's numbers are, 0 of an empty one."""
    assert values.flags.c_contiguous
    return values.ctypes.data if values.size else 0


class _Resident(NamedTuple):
    """A member of a kernel stack: where it is in the pack, how it started, and its vectors (see `flat.vectors`)."""

    place: int
    start: Start
    at: Layout
    vectors: tuple[Floats, Floats, Floats, Floats]


class KernelStack:
    """Plain MLPs of any depths, widths and activations, one after another; see `kernel`."""

    def __init__(self, places: Sequence[int], starts: Sequence[Start], training: Training) -> None:
        self._rule = kernel.rule(training)
        layouts = {id(model): Layout(model) for model in {id(s.model): s.model for s in starts}.values()}
        self._members = []
        for place, start in zip(places, starts, strict=True):
            at = layouts[id(start.model)]
            self._members.append(_Resident(place, start, at, vectors(start.model, at, self._rule)))
        self._tested = max(_TESTED, training.batch_size)
        self._work = aligned(max(workspace_size(at, self._tested) for at in layouts.values()))
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
