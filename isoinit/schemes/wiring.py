"""How a network is wired, as a scheme needs to know it: first layer, hidden layers, residual branches, head.

The networks of `isoinit.networks` say it themselves (a method `wiring`); others are read by `isoinit.schemes.reading`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn

from isoinit.layers import WeightLayer

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm,
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
class Run:
    """Layers one after another whose weights have one shape: their numbers are drawn and computed at once.

    Of several networks alike (`isoinit.schemes.alike`), those of each, one network after the other.
    """

    layers: tuple[WeightLayer, ...]
    weights: tuple[Tensor, ...]
    groups: int
    several: bool = False

    @property
    def shape(self) -> torch.Size:
        return self.weights[0].shape

    @property
    def stack(self) -> tuple[int, ...]:
        """Shape of the weights of all layers of the run."""
        return len(self.layers), *self.shape

    @property
    def whole(self) -> Tensor:
        """The weights of several networks, which are parts of one tensor."""
        assert self._whole is not None, self.shape
        return self._whole

    @cached_property
    def _whole(self) -> Tensor | None:
        return whole(self.weights)

    def parts(self, numbers: int) -> "list[Run]":
        """The run cut into pieces of so many numbers, or of one layer."""
        many = max(1, numbers // self.shape.numel())
        if many >= len(self.layers):
            return [self]
        cuts = [slice(start, start + many) for start in range(0, len(self.layers), many)]
        return [Run(self.layers[cut], self.weights[cut], self.groups) for cut in cuts]

    def fill(self, weights: Tensor) -> None:
        """Set the weights to those of the stack (layers, *shape)."""
        _copy(self.weights, self._whole, weights)


@dataclass(frozen=True, eq=False)
class Wiring:
    """The weight layers of a network in the order of the signal, and what stands between them.

    `stem` holds every layer before the residual blocks, so all but the head in a plain network. `signals` and
    `preactivations` are the modules whose outputs are the hidden post- and pre-activations (equal in a ResNet:
    the stream after each block); if not `activated`, the outputs of `signals` have the activation, a function in
    `forward`, still before them; `breakers` names modules that a mirrored signal does not survive; `resolution` is the
    least side of the images, where it is known; in a `chain` there is nothing but the layers and the activation between
    them, on flattened inputs; `each`, of several networks alike (`isoinit.schemes.alike`), are those of each.
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
    chain: bool = False
    each: "tuple[Wiring, ...]" = ()

    @cached_property
    def layers(self) -> tuple[WeightLayer, ...]:
        """Every weight layer: stem, then per block its branch and its skip, then head."""
        inner = [layer for b in self.blocks for layer in (*b.branch, *([b.skip] if b.skip is not None else []))]
        return (*self.stem, *inner, self.head)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The layers in their order, those alike that follow each other together; the first and the last of all by
        themselves, whatever their shapes, for it is their places that schemes look at."""
        return runs(self.layers[:-1][:1]) + runs(self.layers[1:-1]) + runs(self.layers[-1:])

    @cached_property
    def weights(self) -> tuple[Tensor, ...]:
        """Those of `layers`."""
        return tuple(weight for run in self.runs for weight in run.weights)

    @property
    def normalization(self) -> str:
        """ "none", or the kind: "batch", "layer", "group", "rms", "instance", several joined by "and"."""
        kinds = {type(norm).__name__.split("Norm")[0].removeprefix("Sync").lower() for norm in self.norms}
        return " and ".join(sorted(kinds)) or "none"


def runs(layers: Sequence[WeightLayer]) -> tuple[Run, ...]:
    """The layers in their order, those alike that follow each other together."""
    weights = [weight_of(layer) for layer in layers]
    forms = [(weight.shape, groups(layer)) for layer, weight in zip(layers, weights, strict=True)]
    starts = [i for i, form in enumerate(forms) if i == 0 or form != forms[i - 1]]
    parts = [slice(*ends) for ends in pairwise([*starts, len(forms)])]
    return tuple(Run(tuple(layers[part]), tuple(weights[part]), forms[part.start][1]) for part in parts)


def weight_of(layer: WeightLayer) -> Tensor:
    """The weight of a layer that `isoinit.schemes.reading` has read, in a fraction of the time to ask the layer."""
    weight = layer._parameters["weight"]
    assert weight is not None, layer
    return weight


def bias_of(layer: WeightLayer) -> Tensor | None:
    """The bias, in a fraction of the time as well."""
    return layer._parameters.get("bias")


def biases_of(layers: Sequence[WeightLayer]) -> list[Tensor]:
    """The biases of those that have one."""
    return [bias for layer in layers if (bias := bias_of(layer)) is not None]


def whole(tensors: Sequence[Tensor]) -> Tensor | None:
    """The one tensor that these are all of, in their order, (n, ...), if there is one, as in `MLP.alike`."""
    base = tensors[0]._base if tensors else None
    if base is None or base.shape != (len(tensors), *tensors[0].shape):
        return None
    size = tensors[0].numel()
    return base if all(t._base is base and t.storage_offset() == i * size for i, t in enumerate(tensors)) else None


def copy_each(targets: Sequence[Tensor], stack: Tensor) -> None:
    """Copy each tensor of a stack into its target, in one call."""
    _copy(targets, whole(targets), stack)


def _copy(targets: Sequence[Tensor], together: Tensor | None, stack: Tensor) -> None:
    if together is None:
        torch._foreach_copy_(list(targets), stack.unbind())  # pyright: ignore[reportPrivateImportUsage]
    else:
        together.copy_(stack)


def groups(layer: WeightLayer) -> int:
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def unit_axis(layer: nn.Module) -> int:
    """Where the units are in the output: of a convolution in front of the positions, of a linear layer behind them."""
    return -1 if isinstance(layer, nn.Linear) else 1


def fans(layer: WeightLayer) -> tuple[int, int]:
    """(fan_in, fan_out) of one output and of one input; both per group, unlike torch's fan_out."""
    out, into, *kernel = layer.weight.shape
    receptive = math.prod(kernel)
    return into * receptive, out // groups(layer) * receptive
