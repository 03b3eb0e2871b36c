"""How a network is wired, as a scheme needs to know it: first layer, hidden layers, residual branches, head.

The networks of `isoinit.networks` say it themselves (a method `wiring`); an `nn.Sequential` is read here.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

from isoinit.layers import CReLU, WeightLayer

_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (
    CReLU, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign,
    nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Identity,
)  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm)
_LINEAR_SHAPES = (nn.Flatten, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
                  nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.PixelUnshuffle)  # fmt: skip
_MIRROR_BREAKERS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


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
    the stream after each block); `breakers` names modules that a mirrored signal does not survive; `resolution` is the
    least side of the images, where it is known.
    """

    architecture: str
    activation: nn.Module
    stem: tuple[WeightLayer, ...]
    head: WeightLayer
    blocks: tuple[Residual, ...] = ()
    norms: tuple[nn.Module, ...] = ()
    signals: tuple[nn.Module, ...] = ()
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
        if not self.norms:
            return "none"
        return "batch" if all(isinstance(n, nn.modules.batchnorm._BatchNorm) for n in self.norms) else "other"


@runtime_checkable
class Wired(Protocol):
    def wiring(self) -> Wiring: ...


def read(model: nn.Module) -> Wiring:
    """The wiring of `model`: what it says of itself, or what an `nn.Sequential` of known modules shows.

    Raises ValueError naming the first module that is not understood.
    """
    if isinstance(model, Wired):
        return model.wiring()
    if isinstance(model, nn.Sequential):
        return _read_chain(_flat(model))
    raise ValueError(
        f"a {type(model).__name__} is not understood: give an isoinit MLP, CNN or ResNet, an nn.Sequential of linear "
        "or convolutional layers, activations, normalizations and pools, or a module with a method wiring() -> Wiring"
    )


def _flat(model: nn.Sequential) -> list[nn.Module]:
    parts = [_flat(child) if isinstance(child, nn.Sequential) else [child] for child in model]
    return [module for part in parts for module in part]


def _read_chain(modules: list[nn.Module]) -> Wiring:
    known = (*_WEIGHTS, *_ACTIVATIONS, *NORMS, *_LINEAR_SHAPES, *_MIRROR_BREAKERS)
    for module in modules:
        if not isinstance(module, known):
            raise ValueError(f"{type(module).__name__} inside an nn.Sequential is not understood; known are "
                             f"{', '.join(kind.__name__ for kind in known)}")  # fmt: skip
    layers = [m for m in modules if isinstance(m, _WEIGHTS)]
    if not layers:
        raise ValueError("the nn.Sequential has no linear or convolutional layer to initialize")
    gaps: list[list[nn.Module]] = [[]]
    for module in modules:
        if isinstance(module, _WEIGHTS):
            gaps.append([])
        elif isinstance(module, _ACTIVATIONS):
            gaps[-1].append(module)
    kinds = {type(a) for gap in gaps for a in gap} or {nn.Identity}
    if gaps[0] or gaps[-1] or any(len(gap) != 1 for gap in gaps[1:-1]) or len(kinds) != 1:
        raise ValueError("an nn.Sequential must have exactly one activation after every weight layer but the last, "
                         "all of one kind (nn.Identity for a linear network)")  # fmt: skip
    signals = [gap[0] for gap in gaps[1:-1]]
    return Wiring(
        architecture="mlp" if all(isinstance(layer, nn.Linear) for layer in layers) else "cnn",
        activation=signals[0] if signals else nn.Identity(),
        stem=tuple(layers[:-1]),
        head=layers[-1],
        norms=tuple(m for m in modules if isinstance(m, NORMS)),
        signals=tuple(signals),
        preactivations=tuple(layers[:-1]),
        breakers=tuple(type(m).__name__ for m in modules if isinstance(m, _MIRROR_BREAKERS)),
    )


def groups(layer: WeightLayer) -> int:
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def fans(layer: WeightLayer) -> tuple[int, int]:
    """(fan_in, fan_out) of one output and of one input; both per group, unlike torch's fan_out."""
    out, into = layer.weight.shape[:2]
    receptive = math.prod(layer.weight.shape[2:])
    return into * receptive, out // groups(layer) * receptive
