"""The chain of steps that a module's forward takes: weight layers, normalizations, activations and what is between.

An `nn.Sequential` is taken as it stands. Any other module is followed by `torch.fx`, which runs `forward` once on a
symbol and records what is called, so that `torch.relu(self.first(x))` is understood as well.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from isoinit.activations import CReLU
from isoinit.layers import Conv1d, Conv2d, Conv3d, Linear
from isoinit.schemes.following import UNFIT, WAYS, calls, name_of
from isoinit.schemes.wiring import NORMS

_OURS = (Linear, Conv1d, Conv2d, Conv3d)
_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
PLAIN_WEIGHTS = frozenset((*_OURS, *_WEIGHTS))
_SHAPES = (nn.Flatten, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
           nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.PixelUnshuffle)  # fmt: skip
_BREAKERS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
)  # fmt: skip
_SOFTMAXES = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax)
_SOFTMAX_FUNCTIONS = {"softmax", "log_softmax"}

_ACTIVATION_FUNCTIONS: dict[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "selu": nn.SELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "mish": nn.Mish, "softplus": nn.Softplus, "softsign": nn.Softsign, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
    "hardtanh": nn.Hardtanh,
}  # fmt: skip
_SHAPE_FUNCTIONS = {"flatten", "view", "reshape", "squeeze", "contiguous", "float", "double", "to", "pixel_unshuffle",
                    *(f"{kind}avg_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3))}  # fmt: skip
FLATTENS = {"Flatten", "flatten", "view", "reshape", "squeeze", "mean"}
"""Of steps that are a shape, those that take the positions away, before a linear layer that reads channels."""
UNFLATTENS = {"view": "view of several axes", "reshape": "reshape of several axes"}
"""And those that leave positions, or make them, before a convolution."""
_BREAKER_FUNCTIONS = {*(f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)), "alpha_dropout",
                      "feature_alpha_dropout", *(f"dropout{n}" for n in ("", "1d", "2d", "3d"))}  # fmt: skip

_FAR = 32.0  # float32 holds exp of twice as much, of which one may make a tanh


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the signal. kind: weight, norm, activation, shape (linear, keeps the order of the channels), breaker
    (does not keep a mirrored signal mirrored) or link (a softmax, which makes probabilities of logits). `module` is
    None where the kind says all; `hookable` if the network calls it as a submodule."""

    kind: str
    label: str
    module: nn.Module | None = None
    hookable: bool = True


def steps(model: nn.Module) -> Iterator[Step]:
    """The steps of `model` in the order of the signal; ValueError naming the first that is not understood."""
    step = classified(model)
    name = type(model).__name__
    if step is not None:
        yield step
    elif isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward:
        for child in model:  # not children(), which would leave out a module's second place
            yield from steps(child)
    elif type(model).__name__ == "OptimizedModule":
        raise ValueError("a part of the network is compiled, which hides its layers: initialize before that part is "
                         "compiled, or compile the whole network")  # fmt: skip
    elif type(model).__module__.startswith("torch.nn"):
        raise ValueError(f"a {name} is not understood: {WAYS}")
    else:
        whole = {m for m in model.modules() if classified(m) is not None}
        for node, module in calls(model, whole, name):
            yield _of_function(node, name) if module is None else _of_module(module, name)


def classified(module: nn.Module) -> Step | None:
    """The step of a module that is one; None of a container and of what is not understood."""
    label = type(module).__name__
    if any(map(is_lazy, (*module.parameters(False), *module.buffers(False)))):  # is of another class later
        raise ValueError(f"a {label} does not know its shape yet: run the model on an input first")
    for kind, classes in (("weight", _WEIGHTS), ("norm", NORMS), ("shape", _SHAPES), ("breaker", _BREAKERS)):
        if isinstance(module, classes):
            if kind != "breaker" and _computes_otherwise(module, classes):
                what = "with its weight " if kind == "weight" else ""
                raise ValueError(f"a {label} has a forward of its own, so what it does {what}is not known: {WAYS}")
            parted = isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1)
            return Step("breaker" if parted else kind, label, module)
    if type(module) in _SOFTMAXES:
        return Step("link", f"a {label}", module)
    if isinstance(module, CReLU) or (not any(True for _ in module.children()) and acts_elementwise(module)):
        return Step("activation", label, module)
    return None


def _computes_otherwise(module: nn.Module, classes: Sequence[type[nn.Module]]) -> bool:
    """Whether the module is of a subclass that does not compute what that of torch in `classes` does, or ours."""
    names, known = ("forward", "_conv_forward"), next(k for k in (*_OURS, *classes) if isinstance(module, k))
    return any(getattr(type(module), name, None) is not getattr(known, name, None) for name in names)


def acts_elementwise(module: nn.Module) -> bool:
    """Whether the module has no state, draws nothing and maps every number by itself. Tried out on numbers, so that any
    activation that does is welcome, and past its hooks, which are for the numbers of its network."""
    if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
        return False
    grid = torch.linspace(-3, 3, 24, dtype=torch.float32, device="cpu")
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            together, alone = (module.forward(grid.clone().view(shape)) for shape in ((2, 3, 4), (24, 1, 1)))
    except UNFIT:  # takes no such tensor, so it is something else
        return False
    return isinstance(together, Tensor) and together.shape == (2, 3, 4) and torch.equal(together.view(24, 1, 1), alone)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two activations are the same function, on a grid whose ends lie beyond where some are cut off."""
    grid = torch.linspace(-3, 3, 24, dtype=torch.float32, device="cpu").view(2, 3, 4)
    grid[0, 0, 0], grid[1, 2, 3] = -_FAR, _FAR
    with torch.no_grad():
        a, b = one.forward(grid.clone()), other.forward(grid.clone())
    return a.shape == b.shape and torch.equal(a, b)


def _of_module(module: nn.Module, name: str) -> Step:
    step = classified(module)
    if step is None:
        raise ValueError(f"a {type(module).__name__} in {name} is not understood: {WAYS}")
    return step


def _of_function(node: fx.Node, within: str) -> Step:
    name, arguments, keywords = name_of(node), node.args[1:], {k: v for k, v in node.kwargs.items() if k != "input"}
    if name == "flatten" and not _is_whole(*arguments, **keywords):
        return Step("breaker", name)
    if name in UNFLATTENS and not _is_flat(*arguments, **keywords):
        return Step("shape", UNFLATTENS[name])
    if name in _SHAPE_FUNCTIONS or (name == "mean" and _is_pooling(arguments, keywords)):
        return Step("shape", name)
    if name in _BREAKER_FUNCTIONS:
        return Step("breaker", name)
    if name in _SOFTMAX_FUNCTIONS:
        return Step("link", f"the function {name} in {within}")
    if name in _ACTIVATION_FUNCTIONS:
        return Step("activation", name, _ACTIVATION_FUNCTIONS[name](*arguments, **keywords), hookable=False)
    function = type(name, (_Function,), {})(node.target, arguments, keywords)
    first = node.args[0] if node.args else node.kwargs.get("input")
    if not isinstance(first, fx.Node) or not acts_elementwise(function):
        raise ValueError(f"the function {name} in {within} is not understood: {WAYS}")
    return Step("activation", name, function, hookable=False)


class _Function(nn.Module):
    """A function or a method of a tensor as a module, so that an activation is a module everywhere."""

    def __init__(self, target: Any, arguments: Sequence[Any], keywords: dict[str, Any]) -> None:
        super().__init__()
        self.call = cast(Callable[..., Any], getattr(Tensor, target) if isinstance(target, str) else target)
        self.arguments, self.keywords = arguments, keywords

    def forward(self, x: Tensor) -> Any:
        return self.call(x, *self.arguments, **self.keywords)


def _is_whole(start_dim: Any = 0, end_dim: Any = -1) -> bool:
    """Whether a flatten is of all but the batch: another one leaves positions, and what reads them no channels."""
    return (start_dim, end_dim) == (1, -1)


def _is_flat(*sizes: Any, **keywords: Any) -> bool:
    """Whether a view has two axes, the batch and the rest, given one by one or together: of more, the others are
    positions."""
    together = keywords.get("shape", keywords.get("size", sizes[0] if len(sizes) == 1 else sizes))
    return isinstance(together, list | tuple) and len(together) == 2


def _is_pooling(arguments: Sequence[Any], keywords: dict[str, Any]) -> bool:
    """Whether a mean is over positions, not over channels or the batch."""
    given = arguments[0] if arguments else keywords.get("dim", 0)
    return set(given if isinstance(given, list | tuple) else [given]) <= {2, 3, 4, -1, -2, -3}
