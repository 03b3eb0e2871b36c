"""Plain MLPs of any depths as stacked matrix products: what a device runs that is slow at many small ones.

Members stand deepest first, so that hidden layer l works on the first K_l of them, a slice: no depth is padded, and a
pack launches as many products as its deepest member alone. Those narrower than the widest are padded with units that
stay 0, see `widths`, which says who is stacked with whom. The backward pass is written out, so that the
parameters of all hidden layers are one tensor and one update, whatever the depth.

Letters: K members, B batch, n hidden layers of the deepest member (those between the first layer and the head);
`rows` is the sum of the K_l.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from isoinit.activations import DERIVATIVES
from sweeps import captured, kernel
from sweeps.mlps import activation, apart, linears, mask_of, masked
from sweeps.spec import Training
from sweeps.stacking import Batches, Series, Start, moments, of_steps, per_member, step_numbers, update


class RaggedStack:
    """Plain MLPs alike in all but depth and width, as stacked products; see the module's docstring."""

    def __init__(
        self,
        places: Sequence[int],
        starts: Sequence[Start],
        training: Training,
        device: torch.device,
        steps: captured.Steps | None = None,
    ) -> None:
        order = sorted(range(len(starts)), key=lambda i: -len(linears(starts[i].model)))
        starts = [starts[i] for i in order]
        self._places = [places[i] for i in order]
        self._seeds = [s.seed for s in starts]
        self._rates = torch.tensor([s.rate for s in starts], device=device)
        self._rule, self._last = kernel.rule(training), training.steps
        self._steps = steps or captured.steps(device)
        self._name = activation(starts[0].model)
        networks = [linears(s.model) for s in starts]
        hidden = [[layers[n + 1] for layers in networks if n + 2 < len(layers)] for n in range(len(networks[0]) - 2)]
        groups = [
            [layers[0] for layers in networks],
            list(itertools.chain(*hidden)),
            [layers[-1] for layers in networks],
        ]
        self._counts = [len(layers) for layers in hidden]
        self._owners = self._members_of_rows()
        self._split = 2 if self._name == "crelu" else 1  # features that leave a unit
        widths = torch.tensor([layers[0].out_features for layers in networks])
        self._widest = int(widths.max())  # who may have no hidden layer
        self._weights = [self._stacked([x.weight.detach() for x in group], n, device) for n, group in enumerate(groups)]
        biases = ([layer.bias.detach()[None] for layer in group] for group in groups)
        self._biases = [_stacked(mine, device, (1, n % 2 * self._widest)) for n, mine in enumerate(biases)]
        units = torch.arange(self._widest) < widths[:, None, None]
        needed = self._name == "sigmoid" and not units.all()  # which is not 0 at 0
        self._units = units.float().to(device) if needed else None
        sparse = any(masked(layer) for group in groups for layer in group)
        masks = [[mask_of(layer) for layer in group] for group in groups if sparse]
        self._masks = [self._stacked(group, n, device) for n, group in enumerate(masks)]
        for weight, mask in zip(self._weights, self._masks, strict=False):
            weight.mul_(mask)
        self._moments = [moments(self._rule, p) for p in (*self._weights, *self._biases)]

    @property
    def places(self) -> list[int]:
        return self._places

    @torch.no_grad()
    def advance(self, batches: Mapping[int, Batches], factors: Sequence[float], done: int) -> tuple[Series, Series]:
        results = []
        for s, row in enumerate(step_numbers(factors, done, self._rates.device)):
            x, y = per_member(batches, self._seeds, s)
            results.append(self._steps.run(self._step, (x.flatten(2), y, row), self._last - done - s))
        return of_steps(results)

    def _step(self, x: Tensor, y: Tensor, numbers: Tensor) -> captured.Results:
        """May be captured: see `captured.Step`."""
        features = self._forward(x)
        logits = torch.baddbmm(self._biases[2], features[-1], self._weights[2])
        scores = functional.log_softmax(logits, dim=2)
        loss = -scores.gather(2, y[..., None]).mean((1, 2))
        hits = (logits.argmax(2) == y).float().mean(1)  # of the scores, logits that vanish are all the same
        gradient = scores.exp_()
        gradient.scatter_add_(2, y[..., None], torch.full_like(gradient[..., :1], -1)).div_(y.shape[1])
        gradients = self._backward(x, features, gradient)
        factor, *corrections = numbers.unbind()
        rates = self._rates * factor
        paces = [rates, rates[self._owners], rates]
        parameters = zip((*self._weights, *self._biases), gradients, self._moments, paces * 2, strict=True)
        for parameter, mine, kept, rate in parameters:
            update(self._rule, parameter, mine, kept, rate, corrections)
        for weight, mask in zip(self._weights, self._masks, strict=False):
            weight.mul_(mask)
        return loss, hits

    def _forward(self, x: Tensor) -> list[Tensor]:
        """Features after the first layer, after each hidden layer (K_n, B, .), and what the heads see (K, B, .)."""
        h = self._features(torch.baddbmm(self._biases[0], x, self._weights[0]))
        features = [h]
        hidden = (tensors[1].split(self._counts) for tensors in (self._weights, self._biases))
        for count, weight, bias in zip(self._counts, *hidden, strict=True):
            h = self._features(torch.baddbmm(bias, h[:count], weight))
            features.append(h)
        ends = [f[n:] for f, n in zip(features, [*self._counts, 0], strict=True)]  # who has no further layer
        features.append(torch.cat(ends[::-1]))
        return features

    def _backward(self, x: Tensor, features: list[Tensor], gradient: Tensor) -> list[Tensor]:
        """Gradients by weights and biases, from that by the logits."""
        differentiate = DERIVATIVES[self._name]
        *features, last = features
        found = [torch.empty_like(p) for p in (*self._weights, *self._biases)]
        torch.bmm(last.mT, gradient, out=found[2])
        torch.sum(gradient, 1, keepdim=True, out=found[5])
        by_last = torch.bmm(gradient, self._weights[2].mT)
        g = by_last[:0]  # by the features of the layer above, of the members that have it
        weights, by_weight, by_bias = (t.split(self._counts) for t in (self._weights[1], found[1], found[4]))
        for n in range(len(self._counts), -1, -1):
            g = differentiate(torch.cat([g, by_last[len(g) : len(features[n])]]), features[n])
            if n == 0:
                torch.bmm(x.mT, g, out=found[0])
                torch.sum(g, 1, keepdim=True, out=found[3])
                break
            torch.bmm(features[n - 1][: len(g)].mT, g, out=by_weight[n - 1])
            torch.sum(g, 1, keepdim=True, out=by_bias[n - 1])
            g = torch.bmm(g, weights[n - 1].mT)
        return found

    def _features(self, z: Tensor) -> Tensor:
        h = self._activate(z)
        return h if self._units is None else h.mul_(self._units[: len(h)])

    def _activate(self, z: Tensor) -> Tensor:
        if self._name == "crelu":
            return torch.cat([z.relu(), z.neg().relu()], dim=2)
        return {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_, "hardtanh": functional.hardtanh_,
                "leaky_relu": functional.leaky_relu_, "elu": functional.elu_, "selu": torch.selu_,
                "linear": lambda h: h}[self._name](z)  # fmt: skip

    def keep(self, rows: Sequence[int]) -> None:
        assert list(rows) == sorted(rows)  # deepest first, still
        self._steps.renew()
        self._places, self._seeds = ([values[r] for r in rows] for values in (self._places, self._seeds))
        kept = torch.tensor(rows, dtype=torch.long)
        starts = itertools.accumulate(self._counts, initial=0)
        hidden = [kept[kept < count] + start for count, start in zip(self._counts, starts, strict=False)]
        self._counts = [len(mine) for mine in hidden if len(mine)]
        index = [mine.to(self._rates.device) for mine in (kept, torch.cat([kept[:0], *hidden]), kept)]
        self._rates = self._rates[index[0]]
        self._units = None if self._units is None else self._units[index[0]]
        self._owners = self._members_of_rows()
        self._weights, self._biases, self._masks = (
            [tensor[mine] for tensor, mine in zip(tensors, index, strict=False)]
            for tensors in (self._weights, self._biases, self._masks)
        )
        self._moments = [
            tuple(moment[mine] for moment in kept_moments)
            for kept_moments, mine in zip(self._moments, index * 2, strict=True)
        ]

    def _members_of_rows(self) -> Tensor:
        rows = torch.cat([torch.arange(0), *map(torch.arange, self._counts)])
        return rows.to(self._rates.device)

    def write(self, row: int, model: nn.Module) -> nn.Module:
        starts = itertools.accumulate(self._counts, initial=0)
        inner = [(1, start + row) for start, count in zip(starts, self._counts, strict=False) if row < count]
        at = [(0, row), *inner, (2, row)]
        with torch.no_grad():
            for layer, (group, i) in zip(linears(model), at, strict=True):
                part = self._part(layer.weight, group)
                _, into, units = part.shape
                part.copy_(self._part(self._weights[group][i].T, group)[:, :into, :units])
                layer.bias.copy_(self._biases[group][i, 0, :units])
        return model

    def _part(self, weight: Tensor, group: int) -> Tensor:
        return apart(weight, self._split if group > 0 else 1)

    def _stacked(self, weights: Sequence[Tensor], group: int, device: torch.device) -> Tensor:
        """Weights (fan_out, fan_in) of first layers, hidden layers or heads, as (., fan_in, fan_out) of the widest."""
        least = (1, self._widest, self._widest) if group == 1 else (1, 0, 0)
        found = _stacked([self._part(weight, group) for weight in weights], device, least)
        return found.flatten(1, 2) if weights else found


def _stacked(tensors: Sequence[Tensor], device: torch.device, least: Sequence[int]) -> Tensor:
    """Tensors of as many sides as `least`, zeros added to those that are shorter in one than it or others."""
    if not tensors:
        return torch.zeros(0, 1, 1, device=device)
    whole = torch.zeros(len(tensors), *map(max, least, *(t.shape for t in tensors)), dtype=tensors[0].dtype)
    for into, t in zip(whole, tensors, strict=True):
        into[tuple(map(slice, t.shape))] = t
    return whole.to(device)
