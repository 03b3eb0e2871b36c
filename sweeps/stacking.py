"""What all stacks share: batches, starts, where a curve ends, and the update rule in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweeps import kernel

Series = NDArray[np.float64]

LOSS_BOUND: Final = 2.0**24
"""Chosen: a loss (nats) above it counts as diverged. float32 numbers of that size lie 1 or more apart, so the
logits no longer resolve one nat."""


class Batches(NamedTuple):
    """S consecutive batches of one seed: x (S, B, *input_shape), y (S, B)."""

    x: Tensor
    y: Tensor


class Start(NamedTuple):
    """A member to be trained: its initialized network (whose tensors are copied), learning rate and batch order."""

    model: nn.Module
    rate: float
    seed: int


def per_member(batches: Mapping[int, Batches], seeds: Sequence[int], step: int) -> tuple[Tensor, Tensor]:
    """The batches of a step, x (K, B, *input_shape) and y (K, B), of members with these seeds."""
    return (
        torch.stack([batches[seed].x[step] for seed in seeds]),
        torch.stack([batches[seed].y[step] for seed in seeds]),
    )


def series(loss: Tensor, accuracy: Tensor) -> tuple[Series, Series]:
    """Losses and accuracies (K, S) as they are recorded: what follows a divergence is not a number."""
    losses, accuracies = (values.cpu().double().numpy() for values in (loss, accuracy))  # not every device has float64
    broken = np.logical_or.accumulate(~(losses <= LOSS_BOUND), axis=1)
    broken = np.pad(broken, ((0, 0), (1, 0)))[:, :-1]  # the step that broke still counts
    losses[broken] = accuracies[broken] = np.nan
    return losses, accuracies


def of_steps(results: Sequence[tuple[Tensor, Tensor]]) -> tuple[Series, Series]:
    """The `series` of S steps' losses and accuracies, (K,) each."""
    loss, accuracy = (torch.stack(values, 1) for values in zip(*results, strict=True))
    return series(loss, accuracy)


def moments(rule: kernel.Rule, parameter: Tensor) -> tuple[Tensor, ...]:
    """As many zero moments as the rule keeps for a parameter."""
    count = 2 if rule.kind == kernel.ADAM else int(rule.momentum > 0)
    return tuple(torch.zeros_like(parameter) for _ in range(count))


def step_numbers(factors: Sequence[float], done: int, device: torch.device) -> Tensor:
    """What an update depends on that changes from step to step, for S steps after `done` earlier ones.

    (S, 3), on the device, where a captured step can read it: the factor on the learning rates, and by what Adam
    divides its first moment and the root of its second.
    """
    beta1, beta2 = kernel.ADAM_BETA1, kernel.ADAM_BETA2
    rows = [(factor, 1 - beta1**count, (1 - beta2**count) ** 0.5) for count, factor in enumerate(factors, done + 1)]
    return torch.tensor(rows, device=device)


def update(
    rule: kernel.Rule,
    parameter: Tensor,
    gradient: Tensor,
    moments: Sequence[Tensor],
    rates: Tensor,
    corrections: Sequence[Tensor],
) -> None:
    """One step in place of K members' parameter (K, ...); rates (K,), Adam's corrections as in `step_numbers`.

    May use the gradient up.
    """
    rates = rates.view(-1, *[1] * (parameter.dim() - 1))
    if rule.decay > 0:
        gradient = gradient + float(rule.decay) * parameter
    if rule.kind == kernel.ADAM:
        beta1, beta2 = kernel.ADAM_BETA1, kernel.ADAM_BETA2
        first, second = moments
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = second.sqrt().div_(corrections[1]).add_(kernel.ADAM_EPSILON)
        parameter.sub_(rates / corrections[0] * first / scale)
        return
    if rule.momentum > 0:
        velocity = moments[0].mul_(float(rule.momentum)).add_(gradient)
        gradient = gradient + float(rule.momentum) * velocity if rule.nesterov else velocity
    parameter.addcmul_(gradient, rates, value=-1)


def compiled_update(
    rule: kernel.Rule, parameter: Tensor, gradient: Tensor, moments: Sequence[Tensor], rates: Tensor, count: int
) -> None:
    """`update` on a CPU, the `count`-th, in one pass instead of one for each operation."""
    rows = len(parameter)
    w, g, *kept = (tensor.view(rows, -1).numpy() for tensor in (parameter, gradient.contiguous(), *moments))
    none = np.empty((rows, 0), np.float32)
    first, second, *_ = (*kept, none, none)
    kernel.update_stacked(w, g, first, second, rates.numpy(), rule, count)
