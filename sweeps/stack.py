"""K networks as one: give it batches, it gives back every member's losses.

Three kinds with one life cycle. A *kernel stack* (CPU, plain MLPs of any sizes) trains one member after
another inside a compiled call. A *ragged stack* (other devices, plain MLPs alike in all but depth) is made of stacked
matrix products. A *module stack* (any architecture and device, members of one structure) runs all members as
one network with `torch.func`. All start from initialized modules, advance, drop members that are done, and write a
member back into a module.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from isoinit.layers import activation_name
from isoinit.networks import MLP
from sweeps import kernel, loop
from sweeps.loop import Looped, LoopStack
from sweeps.ragged import RaggedStack, linears
from sweeps.spec import Training
from sweeps.stacking import LOSS_BOUND, Batches, Series, Start, compiled_update, moments, of_steps, per_member, update

_WORTH_STACKING, _LARGEST = 4, 2**16
"""On a CPU `vmap` beats a loop from so many members with convolutions on, from twice as many without, and never if a
weight has `_LARGEST` numbers: larger products fill a core by themselves, and batched ones are slower."""
_FEATURES, _POSITIONS = 2**14, 2**16
"""And only while a layer's output for a batch has no more numbers than this, of a linear layer or of a convolution."""
_AT_ONCE = 2**19
"""Numbers of all members that go through a layer together. All measured with `tests/bench/modules.py`."""


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
        else:
            stacks.append(kind(places, members, training, device))
    return stacks


def _group(model: nn.Module, device: torch.device) -> tuple[Any, ...]:
    """The kind of stack that a network belongs to, and what its members have in common."""
    if _plain(model):
        if device.type == "cpu":
            return (KernelStack,)
        first, *_, head = linears(model)
        masked = any(getattr(layer, "masked", False) for layer in linears(model))
        return RaggedStack, first.weight.shape, head.weight.shape, activation_name(model.activation), masked
    return ModuleStack, str(model), tuple((name, t.shape, t.requires_grad) for name, t in loop.tensors(model))


def _plain(model: nn.Module) -> TypeGuard[MLP]:
    return (
        isinstance(model, MLP)
        and not model.norms
        and activation_name(model.activation) in kernel.ACTIVATIONS
        and all(parameter.requires_grad for parameter in model.parameters())
    )


class _Layout:
    """Where a plain MLP's parameters are in its flat vector (see `kernel`)."""

    def __init__(self, model: nn.Module) -> None:
        assert isinstance(model, MLP)
        self.fan_in = np.array([layer.in_features for layer in linears(model)], np.int64)
        self.fan_out = np.array([layer.out_features for layer in linears(model)], np.int64)
        self.size = kernel.parameter_count(self.fan_in, self.fan_out)
        self.activation = kernel.ACTIVATIONS[activation_name(model.activation)]

    def views(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Per layer, the weight as torch has it (fan_out, fan_in), and the bias."""
        found, offset = [], 0
        for i, o in zip(self.fan_in.tolist(), self.fan_out.tolist(), strict=True):
            stored = flat[offset : offset + i * o]
            head = len(found) + 1 == len(self.fan_in)
            offset += kernel.padded(i * o)
            found.append((stored.view(o, i) if head else stored.view(i, o).T, flat[offset : offset + o]))
            offset += kernel.padded(o)
        return found


class _Resident(NamedTuple):
    """A member of a kernel stack: where it is in the pack, how it started, and its vectors (see `_vectors`)."""

    place: int
    start: Start
    at: _Layout
    vectors: tuple[kernel.Floats, kernel.Floats, kernel.Floats, kernel.Floats]


class KernelStack:
    """Plain MLPs of any depths, widths and activations, one after another; see `kernel`."""

    def __init__(self, places: Sequence[int], starts: Sequence[Start], training: Training) -> None:
        self._rule = kernel.rule(training)
        layouts: dict[int, _Layout] = {}
        self._members = []
        for place, start in zip(places, starts, strict=True):
            at = layouts.setdefault(id(start.model), _Layout(start.model))
            self._members.append(_Resident(place, start, at, _vectors(start.model, at, self._rule)))
        sizes = [kernel.workspace_size(at.fan_in, at.fan_out, training.batch_size) for at in layouts.values()]
        self._work = kernel.aligned(max(sizes))

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


def _vectors(
    model: nn.Module, at: _Layout, rule: kernel.Rule
) -> tuple[kernel.Floats, kernel.Floats, kernel.Floats, kernel.Floats]:
    """Flat parameters, the rule's two moments and the mask of one member; those not needed are empty."""
    masks = [getattr(layer, "mask", None) for layer in linears(model)]
    masked = any(mask is not None for mask in masks)
    adam = rule.kind == kernel.ADAM
    weights, first, second, mask = (
        kernel.aligned(at.size if needed else 0) for needed in (True, adam or rule.momentum > 0, adam, masked)
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


class ModuleStack:
    """Networks of one structure as one network, by `torch.func.vmap` over their stacked parameters.

    As soon as they are too few for that to pay they run one after another.
    """

    def __init__(
        self, places: Sequence[int], starts: Sequence[Start], training: Training, device: torch.device
    ) -> None:
        self._training, self._rule = training, kernel.rule(training)
        self._loop: LoopStack | None = None
        self._largest = max(p.numel() for p in starts[0].model.parameters())
        self._convolves = any(p.dim() > 2 for p in starts[0].model.parameters())
        if not self._worth_stacking(len(starts), device):
            self._loop = loop.begin(places, starts, training, device)
            return
        self._places = list(places)
        self._seeds = [s.seed for s in starts]
        self._rates = torch.tensor([s.rate for s in starts], device=device)
        self._template = copy.deepcopy(starts[0].model).to("meta")
        named = [dict(loop.tensors(s.model)) for s in starts]
        tensors = {name: torch.stack([n[name].detach() for n in named]).to(device) for name in named[0]}
        trained = [name for name, parameter in self._template.named_parameters() if parameter.requires_grad]
        self._trained = {name: tensors.pop(name) for name in trained}
        self._fixed = tensors
        self._moments = {name: moments(self._rule, value) for name, value in self._trained.items()}

    def _worth_stacking(self, count: int, device: torch.device) -> bool:
        least = _WORTH_STACKING * (1 if self._convolves else 2)
        return count > 1 if device.type != "cpu" else count >= least and self._largest < _LARGEST

    @property
    def places(self) -> list[int]:
        return self._places if self._loop is None else self._loop.places

    def advance(self, batches: Mapping[int, Batches], factors: Sequence[float], done: int) -> tuple[Series, Series]:
        if self._loop is None and self._streams(batches[self._seeds[0]].x):
            self._loop = self._one_by_one(range(len(self._places)))
        if self._loop is not None:
            return self._loop.advance(batches, factors, done)
        self._template.train()
        return of_steps(
            [self._step(*per_member(batches, self._seeds, s), factor, done + s + 1) for s, factor in enumerate(factors)]
        )

    def _streams(self, x: Tensor) -> bool:
        """Whether a member's features alone outgrow the cache of a CPU; x (S, B, *input_shape)."""
        most = _POSITIONS if self._convolves else _FEATURES
        return x.device.type == "cpu" and self._features(x) > most

    def _features(self, x: Tensor) -> int:
        """Numbers that the widest layer hands on of one member's batch; x (., B, *input_shape), resolution kept."""
        positions = math.prod(x.shape[3:])
        widths = [p.shape[1] * (positions if p.dim() > 3 else 1) for p in self._trained.values() if p.dim() > 2]
        return x.shape[1] * max(widths)

    def _step(self, x: Tensor, y: Tensor, factor: float, count: int) -> tuple[Tensor, Tensor]:
        most = len(x) if x.device.type != "cpu" else max(_WORTH_STACKING, _AT_ONCE // self._features(x))
        parts = [slice(start, start + most) for start in range(0, len(x), most)]
        results = [self._part_of_step(part, x[part], y[part], factor, count) for part in parts]
        losses, hits = (torch.cat(values) for values in zip(*results, strict=True))
        return losses, hits

    def _part_of_step(self, part: slice, x: Tensor, y: Tensor, factor: float, count: int) -> tuple[Tensor, Tensor]:
        trained = {name: parameter[part].detach().requires_grad_() for name, parameter in self._trained.items()}
        fixed = {name: value[part] for name, value in self._fixed.items()}
        logits = torch.vmap(self._forward)(trained, fixed, x)
        losses = functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)
        gradients = torch.autograd.grad(losses.sum(), list(trained.values()), materialize_grads=True)
        apply = compiled_update if x.device.type == "cpu" else update
        with torch.no_grad():
            for (name, parameter), gradient in zip(trained.items(), gradients, strict=True):
                kept = [moment[part] for moment in self._moments[name]]
                apply(self._rule, parameter.detach(), gradient, kept, self._rates[part] * factor, count)
            return losses.detach(), (logits.argmax(2) == y).float().mean(1)

    def _forward(self, trained: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self._template, (trained, fixed), (x,))

    def keep(self, rows: Sequence[int]) -> None:
        if self._loop is not None:
            self._loop.keep(rows)
        elif self._worth_stacking(len(rows), self._rates.device):
            self._keep(rows)
        else:
            self._loop = self._one_by_one(rows)

    def _keep(self, rows: Sequence[int]) -> None:
        self._places, self._seeds = ([values[r] for r in rows] for values in (self._places, self._seeds))
        index = torch.tensor(rows, dtype=torch.long, device=self._rates.device)
        self._rates = self._rates[index]
        self._trained, self._fixed = (
            {name: value.detach()[index] for name, value in tensors.items()} for tensors in (self._trained, self._fixed)
        )
        self._moments = {name: tuple(moment[index] for moment in kept) for name, kept in self._moments.items()}

    def _one_by_one(self, rows: Sequence[int]) -> LoopStack:
        """These members on their own, who go on as they would have in here."""
        members = []
        for row in rows:
            model = self.write(row, copy.deepcopy(self._template).to_empty(device=self._rates.device))
            kept = [[moment[row].clone() for moment in self._moments[name]] for name in self._trained]
            members.append(Looped(self._places[row], self._seeds[row], float(self._rates[row]), model, kept))
        return LoopStack(members, self._training)

    def write(self, row: int, model: nn.Module) -> nn.Module:
        if self._loop is not None:
            return self._loop.write(row, model)
        tensors = self._trained | self._fixed
        with torch.no_grad():
            for name, tensor in loop.tensors(model):
                tensor.copy_(tensors[name][row])
        return model
