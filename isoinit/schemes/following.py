"""What a module's forward calls, from its one input to its one output.

`torch.fx` runs `forward` once on a symbol and records the calls, past the module's hooks.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

_SIZES = {"size", "dim", "numel", "ndimension"}
# what a forward may raise of numbers or symbols that it was not made for
UNFIT = (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, LookupError, ArithmeticError)

WAYS = ("give an isoinit MLP, CNN or ResNet, a module whose forward is a chain of linear or convolutional layers, "
        "normalizations, pools and one kind of activation, or a module with a method wiring() -> Wiring")  # fmt: skip


class _Alone(nn.Module):
    """A model called with the signal alone, so that other arguments of its forward have their defaults; past its hooks,
    which are for the numbers of its network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        return self.model.forward(x)


class _Tracer(fx.Tracer):
    """Calls the given modules steps, and looks into all others."""

    def __init__(self, whole: set[nn.Module]) -> None:
        super().__init__()
        self.whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m in self.whole or super().is_leaf_module(m, module_qualified_name)


def calls(model: nn.Module, whole: set[nn.Module], name: str) -> list[tuple[fx.Node, nn.Module | None]]:
    """The calls of the forward of `model`, of a class `name`, with the module that is called, where it is one. Modules
    in `whole` are not looked into. ValueError if the calls are not one chain from one input to one output."""
    alone = _Alone(model)
    path = _path(_graph(alone, whole, name), name)
    return [(call, alone.get_submodule(str(call.target)) if call.op == "call_module" else None) for call in path]


def _graph(alone: _Alone, whole: set[nn.Module], name: str) -> fx.Graph:
    if any(isinstance(m, torch.jit.ScriptModule) for m in alone.model.modules()):
        raise ValueError(f"a {name} is not understood, its forward cannot be followed through what torch.jit has "
                         f"compiled: {WAYS}")  # fmt: skip
    try:
        inspect.signature(alone.model.forward).bind(None)
    except TypeError as error:
        raise ValueError(f"a {name} is not understood, its forward must lead one input to one output, and with one it "
                         f"is {error}: {WAYS}") from error  # fmt: skip
    try:
        with torch.random.fork_rng(devices=[]):
            return _Tracer(whole).trace(alone)
    except (TraceError, *UNFIT) as error:
        raise ValueError(f"a {name} is not understood, its forward cannot be followed ({error}): {WAYS}") from error


def _path(graph: fx.Graph, name: str) -> list[fx.Node]:
    """The calls from the input to the output in their order; ValueError if they are not one chain."""
    *_, output = graph.nodes
    path: list[fx.Node] = []
    node = _main(output)
    while isinstance(node, fx.Node) and node.op.startswith("call"):
        path.append(node)
        node = _main(node)
    if [n for n in graph.nodes if n.op == "placeholder"] != [node]:
        raise ValueError(f"a {name} is not understood, its forward must lead one input to one output: {WAYS}")
    sizes, passed = set[fx.Node](), set(path)
    for call in graph.nodes:
        others = [other for other in call.all_input_nodes if other not in sizes]
        if _is_size(call) or (call.op == "call_function" and call.all_input_nodes and not others):
            sizes.add(call)
        elif call.op not in ("placeholder", "output") and (call not in passed or others != [_main(call)]):
            raise ValueError(f"a {name} is not understood, its forward branches at {name_of(call)!r}: {WAYS}")
    return path[::-1]


def _main(call: fx.Node) -> Any:
    """The signal that goes into a call: its one input that is computed, or the first of several arguments."""
    return call.all_input_nodes[0] if len(call.all_input_nodes) == 1 else next(iter(call.args), None)


def name_of(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target)).removeprefix("model.").strip("_")


def _is_size(node: fx.Node) -> bool:
    return name_of(node) in _SIZES or (name_of(node) == "getattr" and node.args[1] in ("shape", "ndim"))
