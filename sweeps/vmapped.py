"""Networks of one structure as one network, by `torch.func.vmap` over their stacked parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from sweeps import captured, kernel, loop
from sweeps.loop import Looped, LoopStack
from sweeps.spec import Training
from sweeps.stacking import (
    Batches,
    Series,
    Start,
    compiled_update,
    moments,
    of_steps,
    per_member,
    step_numbers,
    update,
)

_WORTH_STACKING, _LARGEST = 4, 2**16
"""On a CPU `vmap` beats a loop from so many members with convolutions on, from twice as many without, and never if a
weight has `_LARGEST` numbers: larger products fill a core by themselves, and batched ones are slower."""
_FEATURES, _POSITIONS = 2**14, {8: 2**15, 4: 5 * 2**12, 1: 2**13}
"""And only while a layer's output for a batch has no more numbers than this, of a linear layer or of a convolution: by
the first of these that divides its channels, for where that is 1 a convolution in groups is slow, one alone is not."""
_AT_ONCE = 2**19
"""Numbers of all members that go through a layer together. All measured with `tests/bench/modules.py`."""


def _positions(channels: int) -> int:
    """The largest output of a convolution that is stacked on a CPU."""
    return next(most for factor, most in _POSITIONS.items() if channels % factor == 0)


class ModuleStack:
    """Networks of one structure as one network, by `torch.func.vmap` over their stacked parameters.

    As soon as they are too few for that to pay they run one after another.
    """

    def __init__(
        self,
        places: Sequence[int],
        starts: Sequence[Start],
        training: Training,
        device: torch.device,
        steps: captured.Steps | None = None,
    ) -> None:
        self._training, self._rule = training, kernel.rule(training)
        self._compiled = device.type == "cpu" and steps is None
        self._steps = steps or captured.steps(device)
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
        results = []
        if self._compiled:
            for s, factor in enumerate(factors):
                results.append(self._step_in_parts(*per_member(batches, self._seeds, s), factor, done + s + 1))
            return of_steps(results)
        for s, row in enumerate(step_numbers(factors, done, self._rates.device)):
            x, y = per_member(batches, self._seeds, s)
            results.append(self._steps.run(self._step, (x, y, row), self._training.steps - done - s))
        return of_steps(results)

    def _streams(self, x: Tensor) -> bool:
        """Whether a member's features alone outgrow the cache of a CPU; x (S, B, *input_shape)."""
        channels = [p.shape[1] for p in self._trained.values() if p.dim() > 3]
        most = min((_positions(width) for width in channels), default=_FEATURES)
        return x.device.type == "cpu" and self._features(x) > most

    def _features(self, x: Tensor) -> int:
        """Numbers that the widest layer hands on of one member's batch; x (., B, *input_shape), resolution kept."""
        positions = math.prod(x.shape[3:])
        widths = [p.shape[1] * (positions if p.dim() > 3 else 1) for p in self._trained.values() if p.dim() > 2]
        return x.shape[1] * max(widths)

    def _step_in_parts(self, x: Tensor, y: Tensor, factor: float, count: int) -> captured.Results:
        """On a CPU, of no more members at once than its cache holds."""
        most = max(_WORTH_STACKING, _AT_ONCE // self._features(x))
        results = []
        for start in range(0, len(x), most):
            part = slice(start, start + most)
            apply = partial(compiled_update, self._rule, rates=self._rates[part] * factor, count=count)
            results.append(self._part_of_step(part, x[part], y[part], apply))
        losses, hits = (torch.cat(values) for values in zip(*results, strict=True))
        return losses, hits

    def _step(self, x: Tensor, y: Tensor, numbers: Tensor) -> captured.Results:
        """On other devices, where it may be captured: see `captured.Step`."""
        factor, *corrections = numbers.unbind()
        apply = partial(update, self._rule, rates=self._rates * factor, corrections=corrections)
        return self._part_of_step(slice(None), x, y, apply)

    def _part_of_step(self, part: slice, x: Tensor, y: Tensor, apply: Callable[..., None]) -> captured.Results:
        trained = {name: parameter[part].detach().requires_grad_() for name, parameter in self._trained.items()}
        fixed = {name: value[part] for name, value in self._fixed.items()}
        logits = torch.vmap(self._forward)(trained, fixed, x)
        losses = functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)
        gradients = torch.autograd.grad(losses.sum(), list(trained.values()), materialize_grads=True)
        with torch.no_grad():
            for (name, parameter), gradient in zip(trained.items(), gradients, strict=True):
                apply(parameter.detach(), gradient, [moment[part] for moment in self._moments[name]])
            return losses.detach(), (logits.argmax(2) == y).float().mean(1)

    def _forward(self, trained: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self._template, (trained, fixed), (x,))

    def keep(self, rows: Sequence[int]) -> None:
        self._steps.renew()
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
