"""Networks of any kind one after another, as a plain loop trains them: where stacking would lose.

The update rules are torch's, called as functions: a `torch.optim.Optimizer` loads torch's compiler when it is made,
which takes seconds in every worker.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from sweeps import kernel
from sweeps.spec import Training
from sweeps.stacking import Batches, Series, Start, moments, series

_LARGE = 2**17
"""Numbers of a weight from which on torch's fused SGD without momentum takes longer than its plain one (measured)."""


class Looped(NamedTuple):
    """A member: its place in the pack, its own network, and the moments of every parameter that trains."""

    place: int
    seed: int
    rate: float
    model: nn.Module
    moments: Sequence[Sequence[Tensor]]


class LoopStack:
    """Members of any kind, one after another; see `stack.Stack`."""

    def __init__(self, members: Sequence[Looped], training: Training) -> None:
        self._members, self._training = list(members), training

    @property
    def places(self) -> list[int]:
        return [member.place for member in self._members]

    def advance(self, batches: Mapping[int, Batches], factors: Sequence[float], done: int) -> tuple[Series, Series]:
        rows = [_train(member, batches[member.seed], factors, done, self._training) for member in self._members]
        loss, accuracy = (torch.stack(values) for values in zip(*rows, strict=True))
        return series(loss, accuracy)

    def keep(self, rows: Sequence[int]) -> None:
        self._members = [self._members[row] for row in rows]

    def write(self, row: int, model: nn.Module) -> nn.Module:
        return copy_tensors(self._members[row].model, model)


def _train(
    member: Looped, batches: Batches, factors: Sequence[float], done: int, training: Training
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy of every step, (S,) each."""
    member.model.train()
    parameters = _trained(member.model)
    counts = [torch.tensor(float(done), device=p.device) for p in parameters] if training.optimizer == "adam" else []
    losses, outputs = [], []
    for x, y, factor in zip(batches.x, batches.y, factors, strict=True):
        logits = member.model(x)
        loss = functional.cross_entropy(logits, y)
        loss.backward()
        _update(training, parameters, member.moments, member.rate * factor, counts)
        losses.append(loss.detach())
        outputs.append(logits.detach())
    return torch.stack(losses), (torch.stack(outputs).argmax(2) == batches.y).float().mean(1)


@torch.no_grad()
def _update(
    training: Training,
    parameters: Sequence[Tensor],
    moments: Sequence[Sequence[Tensor]],
    rate: float,
    counts: Sequence[Tensor],
) -> None:
    """One step of the update rule of a spec; uses the gradients up, and counts, which Adam alone needs."""
    mine, gradients = list(parameters), [_gradient(p) for p in parameters]
    if training.optimizer == "adam":
        first, second = map(list, zip(*moments, strict=True))
        adam(
            mine, gradients, first, second, [], list(counts), fused=True, amsgrad=False, beta1=kernel.ADAM_BETA1,
            beta2=kernel.ADAM_BETA2, lr=rate, weight_decay=training.weight_decay, eps=kernel.ADAM_EPSILON,
            maximize=False,
        )  # fmt: skip
    else:
        velocities: list[Tensor | None] = [m[0] if m else None for m in moments]
        fused = training.momentum > 0 or max(p.numel() for p in mine) < _LARGE
        sgd(
            mine, gradients, velocities, fused=fused, foreach=not fused, lr=rate, momentum=training.momentum,
            dampening=0.0, nesterov=training.nesterov, weight_decay=training.weight_decay, maximize=False,
        )  # fmt: skip
    for parameter in mine:
        parameter.grad = None


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "no network has parameters that its loss does not depend on"
    return parameter.grad


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, one that has several names once."""
    yield from model.named_parameters()
    yield from model.named_buffers()


@torch.no_grad()
def copy_tensors(source: nn.Module, target: nn.Module) -> nn.Module:
    """`target`, of the same structure, with the parameters and buffers of `source`."""
    for (_, mine), (_, theirs) in zip(tensors(target), tensors(source), strict=True):
        mine.copy_(theirs)
    return target


def begin(places: Sequence[int], starts: Sequence[Start], training: Training, device: torch.device) -> LoopStack:
    """A stack of members that begin, with copies of their networks."""
    rule = kernel.rule(training)
    members = []
    for place, (model, rate, seed) in zip(places, starts, strict=True):
        own = copy.deepcopy(model).to(device)
        members.append(Looped(place, seed, rate, own, [moments(rule, p) for p in _trained(own)]))
    return LoopStack(members, training)
