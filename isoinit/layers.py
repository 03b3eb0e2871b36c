"""The weight layers the networks are made of.

A weight layer starts at zero rather than at torch's default draw: building a network costs nothing and touches no
random state, and a network nobody initialized is plainly dead. It multiplies its weight by the buffer `mask`
when a sparse scheme left one, so a masked weight has no gradient either and training cannot revive it. Without a
mask there is no such buffer and `masked` is False. Loading a state with or without a mask makes the layer sparse or
dense.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

WeightLayer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class _Masked(nn.Module):
    mask: Tensor
    masked = False

    def reset_parameters(self) -> None:
        with torch.no_grad():
            for parameter in self._parameters.values():
                if parameter is not None:
                    parameter.zero_()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        assert isinstance(self, Linear | Conv1d | Conv2d | Conv3d)
        mask = state_dict.get(f"{prefix}mask")
        if mask is None:
            drop_mask(self)
        elif not self.masked:
            set_mask(self, mask.clone())
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class Linear(_Masked, nn.Linear):
    """`nn.Linear`, zero until initialized, sparse where `mask` (out_features, in_features) is False."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight * self.mask if self.masked else self.weight, self.bias)


Sizes: TypeAlias = tuple[int, int]  # in_features, out_features
Parameters: TypeAlias = tuple[Tensor, Tensor]  # weight and bias, zero


def linears(sizes: Iterable[Sizes], parameters: Iterable[Parameters] | None = None) -> list[Linear]:
    """`Linear(*size)` for every size, sooner, of these parameters if they are given; see `fresh`."""
    if parameters is None:
        sizes = list(sizes)
        parameters = [(torch.zeros(out, into), torch.zeros(out)) for into, out in sizes]
    found: list[Linear] = []
    for (into, out), (weight, bias) in zip(sizes, parameters, strict=True):
        layer = fresh(Linear, 1, 1)
        state = layer.__dict__
        state["in_features"], state["out_features"] = into, out
        state["_parameters"].update(weight=_parameter(weight), bias=_parameter(bias))
        found.append(layer)
    return found


Module = TypeVar("Module", bound=nn.Module)


def fresh(kind: type[Module], *sizes: int) -> Module:
    """`kind(*sizes)` but for its parameters, sooner: the tables of a new module (of hooks, buffers, ...) are empty."""
    return _copied(kind, *_blank(kind, *sizes))


def bare(kind: type[Module]) -> Module:
    """A module of this kind as `nn.Module.__init__` leaves it, sooner."""
    return _copied(kind, *_blank(nn.Module))


def _copied(kind: type[Module], state: dict[str, Any], tables: Sequence[tuple[str, Callable[[], Any]]]) -> Module:
    module = kind.__new__(kind)
    own = module.__dict__
    own.update(state)
    for name, copied in tables:
        own[name] = copied()
    return module


@cache
def _blank(kind: type[nn.Module], *sizes: int) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """What there is in such a module, in the order in which torch makes it, and what makes its tables."""
    state = dict(vars(kind(*sizes)))
    return state, [(name, type(value)().copy) for name, value in state.items() if isinstance(value, dict | set)]


def _parameter(zeros: Any) -> nn.Parameter:
    """The tensor, become a parameter, as that of a lazy module does: `nn.Parameter` would make another one of it."""
    zeros.__class__ = nn.Parameter
    zeros.requires_grad = True
    return zeros


def listed(layers: Iterable[nn.Module]) -> nn.ModuleList:
    """The layers as an `nn.ModuleList`, which asks of every one whether it is a module: here all are, and new."""
    found = fresh(nn.ModuleList)
    found._modules.update((str(i), layer) for i, layer in enumerate(layers))
    return found


class _MaskedConv(_Masked, nn.modules.conv._ConvNd):
    """Every convolution of torch runs `_conv_forward` with the weight it is to use."""

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight * self.mask if self.masked else self.weight, self.bias)


class Conv1d(_MaskedConv, nn.Conv1d):
    """`nn.Conv1d`, zero until initialized, sparse where `mask` (the weight's shape) is False."""


class Conv2d(_MaskedConv, nn.Conv2d):
    """`nn.Conv2d`, zero until initialized, sparse where `mask` (the weight's shape) is False."""


class Conv3d(_MaskedConv, nn.Conv3d):
    """`nn.Conv3d`, zero until initialized, sparse where `mask` (the weight's shape) is False."""


_MASKED: dict[type[nn.Module], Any] = {
    nn.Linear: Linear,
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
}
_MASKING = frozenset(_MASKED.values())


def require_maskable(layer: WeightLayer) -> None:
    """ValueError unless `set_mask` can give the layer a mask: a subclass would lose what it is."""
    if type(layer) not in _MASKING and type(layer) not in _MASKED:
        known = ", ".join(kind.__name__ for kind in _MASKED)
        raise ValueError(f"a mask can be kept by {known}, not by {type(layer).__name__}")


def set_mask(layer: WeightLayer, mask: Tensor) -> None:
    """Give `layer` the boolean buffer `mask`; a plain torch layer becomes the masking one of the same kind."""
    if type(layer) not in _MASKING:
        require_maskable(layer)
        layer.__class__ = _MASKED[type(layer)]
    weight = layer._parameters["weight"]
    assert weight is not None
    if mask.device != weight.device:
        mask = mask.to(weight.device)
    layer._buffers["mask"] = mask  # as `register_buffer` would, in a time in which a small layer is run
    vars(layer)["masked"] = True


def drop_mask(layer: WeightLayer) -> None:
    """Make `layer` dense again, if it is not."""
    if isinstance(layer, _Masked) and layer.masked:
        del layer._buffers["mask"]
        vars(layer)["masked"] = False
