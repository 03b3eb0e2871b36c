"""K networks as one: give it batches, it gives back every member's losses.

Three kinds with one life cycle. A *kernel stack* (CPU, plain MLPs of any sizes) trains one member after
another inside a compiled call. A *ragged stack* (other devices, plain MLPs of any depths, of widths that do not
differ too much, see `widths`, and of activations whose features tell their slopes) is made of stacked matrix products.
A *module stack* (any architecture and device, members of one structure) runs all members as one network with
`torch.func`. Its steps and those of a ragged stack may be replayed as graphs on a CUDA device (see `captured`). All
start from initialized modules, advance, drop members that are done, and write a member back into a module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from isoinit.activations import DERIVATIVES
from sweeps import loop, widths
from sweeps.compiled import KernelStack
from sweeps.mlps import activation, linears, masked, plain
from sweeps.ragged import RaggedStack
from sweeps.spec import Training
from sweeps.stacking import Batches, Series, Start
from sweeps.vmapped import ModuleStack

__all__ = ["Batches", "KernelStack", "ModuleStack", "RaggedStack", "Stack", "Start", "build"]


class Stack(Protocol):
    """Networks in training; `places` are the members' positions in the pack, in the order of all results."""

    @property
    def places(self) -> list[int]: ...

    def advance(self, batches: Mapping[int, Batches], factors: Sequence[float], done: int) -> tuple[Series, Series]:
        """Train on the S batches of each member's seed, after `done` earlier steps.

        `factors` (S,) multiply the learning rates. Returns losses and accuracies (K, S) on the batches, before
        their updates; what follows a divergence is not a number.
        """
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all members but these rows."""
        ...

    def write(self, row: int, model: nn.Module) -> nn.Module:
        """Copy a member's parameters and buffers into `model`, which has its structure, and return that."""
        ...


def build(starts: Sequence[Start], training: Training, device: torch.device) -> list[Stack]:
    """As few stacks as hold all the members."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, start in enumerate(starts):
        groups.setdefault(_group(start.model, device), []).append(place)
    stacks: list[Stack] = []
    for (kind, *_), places in groups.items():
        members = [starts[p] for p in places]
        if kind is KernelStack:
            stacks.append(KernelStack(places, members, training))
        elif kind is ModuleStack:
            stacks.append(ModuleStack(places, members, training, device))
        else:
            for rows in _alike_enough([start.model for start in members], training, device):
                chosen = [members[row] for row in rows]
                stacks.append(RaggedStack([places[row] for row in rows], chosen, training, device))
    return stacks


def _alike_enough(models: Sequence[nn.Module], training: Training, device: torch.device) -> list[list[int]]:
    """Which MLPs to stack, alike but in width and depth, by their rows."""
    layers = [linears(model) for model in models]
    sizes = [widths.Sized(first.out_features, len(rest) + 1) for first, *rest in layers]
    sides = layers[0][0].in_features + layers[0][-1].out_features
    return widths.stacked(sizes, sides, training.batch_size, widths.costs(device))


def _group(model: nn.Module, device: torch.device) -> tuple[Any, ...]:
    """The kind of stack that a network belongs to, and what its members have in common."""
    if plain(model) and device.type == "cpu":
        return (KernelStack,)
    if plain(model) and activation(model) in DERIVATIVES:
        first, *_, head = linears(model)
        sparse = any(map(masked, linears(model)))
        return RaggedStack, first.in_features, head.out_features, activation(model), sparse
    return ModuleStack, str(model), tuple((name, t.shape, t.requires_grad) for name, t in loop.tensors(model))
