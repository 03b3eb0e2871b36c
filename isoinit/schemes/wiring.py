"""How a network is wired, as a scheme needs to know it: first layer, hidden layers, residual branches, head.

The networks of `isoinit.networks` say it themselves (a method `wiring`); others are read by `isoinit.schemes.reading`.
"""

import math
from dataclasses import dataclass

from torch import nn

from isoinit.layers import WeightLayer

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm,
         nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Residual:
    """One residual block: `skip(x) + multiplier * branch(x)`, and where activations stand (`kind`)."""

    kind: str
    branch: tuple[WeightLayer, ...]
    skip: WeightLayer | None = None
    multiplier: nn.Parameter | None = None
    offsets: tuple[nn.Parameter, ...] = ()


@dataclass(frozen=True, eq=False)
class Wiring:
    """The weight layers of a network in the order of the signal, and what stands between them.

    `stem` holds every layer before the residual blocks, so all but the head in a plain network. `signals` and
    `preactivations` are the modules whose outputs are the hidden post- and pre-activations (equal in a ResNet:
    the stream after each block); if not `activated`, the outputs of `signals` have the activation, a function in
    `forward`, still before them; `breakers` names modules that a mirrored signal does not survive; `resolution` is the
    least side of the images, where it is known.
    """

    architecture: str
    activation: nn.Module
    stem: tuple[WeightLayer, ...]
    head: WeightLayer
    blocks: tuple[Residual, ...] = ()
    norms: tuple[nn.Module, ...] = ()
    signals: tuple[nn.Module, ...] = ()
    activated: bool = True
    preactivations: tuple[nn.Module, ...] = ()
    breakers: tuple[str, ...] = ()
    resolution: int | None = None

    @property
    def layers(self) -> tuple[WeightLayer, ...]:
        """Every weight layer: stem, then per block its branch and its skip, then head."""
        inner = [layer for b in self.blocks for layer in (*b.branch, *([b.skip] if b.skip is not None else []))]
        return (*self.stem, *inner, self.head)

    @property
    def normalization(self) -> str:
        """ "none", or the kind: "batch", "layer", "group", "rms", "instance", several joined by "and"."""
        kinds = {type(norm).__name__.split("Norm")[0].lower() for norm in self.norms}
        return " and ".join(sorted(kinds)) or "none"


def groups(layer: WeightLayer) -> int:
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def fans(layer: WeightLayer) -> tuple[int, int]:
    """(fan_in, fan_out) of one output and of one input; both per group, unlike torch's fan_out."""
    out, into, *kernel = layer.weight.shape
    receptive = math.prod(kernel)
    return into * receptive, out // groups(layer) * receptive
