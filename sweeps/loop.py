"""Networks of any kind one after another, as a plain loop trains them: where stacking would lose."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeps.spec import Training
from sweeps.stacking import Batches, Series, Start, series


class Looped(NamedTuple):
    """A member: its place in the pack, and what a plain loop has of it."""

    place: int
    seed: int
    rate: float
    model: nn.Module
    optimizer: torch.optim.Optimizer


class LoopStack:
    """Members of any kind, one after another; see `stack.Stack`."""

    def __init__(self, members: Sequence[Looped]) -> None:
        self._members = list(members)

    @property
    def places(self) -> list[int]:
        return [member.place for member in self._members]

    def advance(self, batches: Mapping[int, Batches], factors: Sequence[float], done: int) -> tuple[Series, Series]:
        rows = [list(_steps(member, batches[member.seed], factors)) for member in self._members]
        return series([tuple(map(torch.stack, zip(*step, strict=True))) for step in zip(*rows, strict=True)])  # pyright: ignore[reportArgumentType]

    def keep(self, rows: Sequence[int]) -> None:
        self._members = [self._members[row] for row in rows]

    def write(self, row: int, model: nn.Module) -> nn.Module:
        return copy_tensors(self._members[row].model, model)


def _steps(member: Looped, batches: Batches, factors: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """Loss and accuracy, as scalars, of every step."""
    member.model.train()
    for x, y, factor in zip(batches.x, batches.y, factors, strict=True):
        for group in member.optimizer.param_groups:
            group["lr"] = member.rate * factor
        logits = member.model(x)
        loss = functional.cross_entropy(logits, y)
        member.optimizer.zero_grad()
        loss.backward()
        member.optimizer.step()
        yield loss.detach(), (logits.detach().argmax(1) == y).float().mean()


def optimizer(model: nn.Module, rate: float, training: Training) -> torch.optim.Optimizer:
    """The update rule of a spec."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if training.optimizer == "adam":
        return torch.optim.Adam(trained, rate, weight_decay=training.weight_decay, fused=True)
    return torch.optim.SGD(
        trained, rate, training.momentum, weight_decay=training.weight_decay, nesterov=training.nesterov, fused=True
    )


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
    """A stack of members that begin."""
    members = zip(places, starts, strict=True)
    return LoopStack([start(place, s.seed, s.rate, s.model, training, device) for place, s in members])


def start(place: int, seed: int, rate: float, model: nn.Module, training: Training, device: torch.device) -> Looped:
    """A member that begins, with a copy of `model`."""
    own = copy.deepcopy(model).to(device)
    return Looped(place, seed, rate, own, optimizer(own, rate, training))


def resume(rule: torch.optim.Optimizer, parameter: nn.Parameter, moments: Sequence[Tensor], done: int) -> None:
    """Give the update rule the moments (as `stacking.moments` has them) of a parameter after `done` steps."""
    if isinstance(rule, torch.optim.Adam):
        first, second = (moment.clone() for moment in moments)
        rule.state[parameter] = {
            "step": torch.tensor(float(done), device=parameter.device), "exp_avg": first, "exp_avg_sq": second,
        }  # fmt: skip
    elif moments:
        rule.state[parameter] = {"momentum_buffer": moments[0].clone()}
