"""Networks alike but in depth, initialized as one.

A narrow network is set up by more calls than its numbers take time. Here the first layers of many networks are one run,
and so are all their hidden layers and their heads, each network's drawn from its own source: a scheme sees a wiring and
a draw as of one network, and every network has the bits that it has alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from isoinit.layers import WeightLayer
from isoinit.schemes.base import Draw, Steps
from isoinit.schemes.biases import draw_biases_as_one
from isoinit.schemes.calibrating import require_inputs
from isoinit.schemes.checks import check_numbers, get, validate
from isoinit.schemes.reading import read
from isoinit.schemes.wiring import Run, Wiring, weight_of

Counts = tuple[int, ...]  # of each network's layers in a run


class Request(NamedTuple):
    """What differs between the networks, besides their depths; see `isoinit.initialize`."""

    generator: torch.Generator
    bias_variance: float = 0.0
    weight_scale: float = 1.0


def begin(
    models: Sequence[nn.Module],
    scheme: str,
    requests: Sequence[Request],
    *,
    bias_mode: str = "zero",
    density: float = 1.0,
    data: Tensor | None = None,
) -> Steps:
    """`isoinit.schemes.begin` of the networks of `MLP.alike`, compiled; all have hidden layers, or none has. ValueError
    as there."""
    record = get(scheme)
    wirings = [read(model) for model in models]
    assert record.by_runs, scheme
    assert tuple(record.biased(wirings[0])) == wirings[0].layers, scheme
    validate(record, wirings[0], 0.0, bias_mode, 1.0, density, data, {})
    if record.needs_data and data is not None:
        require_inputs(models[0], wirings[0], data)
    for request in requests:
        check_numbers(request.bias_variance, bias_mode, request.weight_scale)
    wiring = Alike.of(wirings)
    draws = tuple(Draw(request.generator, compiled=True) for request in requests)
    draw = Draws(requests[0].generator, compiled=True, draws=draws, counts=wiring.counts)
    options = {"density": density} if record.sparse else {}

    def steps() -> Steps:
        yield from record.apply(wiring, draw, **options) or ()
        if record.calibrate is not None and data is not None:
            record.calibrate(models[0], wiring, data, True)
        _scale(wiring, draw.counts, [math.sqrt(request.weight_scale) for request in requests])
        biased = [i for i, request in enumerate(requests) if request.bias_variance > 0]
        if biased:
            deviations = [math.sqrt(requests[i].bias_variance) for i in biased]
            draw_biases_as_one([wirings[i] for i in biased], [draws[i] for i in biased], bias_mode, deviations)

    return steps()


def _scale(wiring: Wiring, counts: Mapping[int, Counts], factors: Sequence[float]) -> None:
    if any(factor != 1.0 for factor in factors):
        for run in wiring.runs:
            of_layers = [factor for factor, n in zip(factors, counts[len(run.layers)], strict=True) for _ in range(n)]
            run.whole.mul_(run.whole.new_tensor(of_layers).view(-1, 1, 1))


@dataclass(frozen=True, eq=False)
class Alike(Wiring):
    """Of several networks: the wiring of the first, with the layers of all."""

    @classmethod
    def of(cls, wirings: Sequence[Wiring]) -> "Alike":
        first = wirings[0]
        return cls(first.architecture, first.activation, first.stem, first.head, chain=first.chain, each=tuple(wirings))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """First layers, hidden layers, heads."""
        parts = [slice(1), slice(1, -1), slice(-1, None)]
        joined = [tuple(layer for own in self.each for layer in own.layers[part]) for part in parts]
        return tuple(Run(layers, tuple(map(weight_of, layers)), 1, several=True) for layers in joined if layers)

    @cached_property
    def layers(self) -> tuple[WeightLayer, ...]:
        return tuple(layer for run in self.runs for layer in run.layers)

    @property
    def counts(self) -> dict[int, Counts]:
        """How many layers each network has in a run, by how many all have."""
        hidden = tuple(len(own.stem) - 1 for own in self.each)
        ones = (1,) * len(hidden)
        return {len(ones): ones, sum(hidden): hidden}


@dataclass(frozen=True)
class Draws(Draw):
    """The random numbers of several networks, of each from its own source, whatever is drawn, in the order in which it
    draws them alone. All that is drawn is of all layers of a run, so its first side says how many each network has.
    """

    draws: tuple[Draw, ...] = ()
    counts: Mapping[int, Counts] = field(default_factory=dict)

    def normal(self, *shape: int) -> Tensor:
        return self.normals([shape])[0]

    def uniform(self, *shape: int) -> Tensor:
        return self.uniforms([shape])[0]

    def _parts(self, draw: Callable[[Draw, int], Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        if strange := [shape for shape in shapes if shape[0] not in self.counts]:
            raise ValueError(
                "a scheme that says by_runs draws for all layers of a run at once, its first side as many as they are "
                f"({' or '.join(map(str, self.counts))} here), as of run.stack; got a draw of shape {strange[0]}"
            )
        numbers = [math.prod(shape[1:]) for shape in shapes]
        counts = zip(*[self.counts[shape[0]] for shape in shapes], strict=True)
        pieces: list[Sequence[Tensor]] = []
        for own, layers in zip(self.draws, counts, strict=True):
            sizes = [n * size for n, size in zip(layers, numbers, strict=True)]
            pieces.append(draw(own, sum(sizes)).split(sizes))
        return [torch.cat(parts).view(shape) for parts, shape in zip(zip(*pieces, strict=True), shapes, strict=True)]

    def each(self, count: int) -> list[tuple[slice, Draw]]:
        ends = pairwise(accumulate(self.counts[count], initial=0))
        return [(slice(*part), draw) for part, draw in zip(ends, self.draws, strict=True)]
