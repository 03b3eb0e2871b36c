"""From a module to its wiring: what the module says of itself, or what the chain of its steps shows.

What is not a chain (a sum of branches, two inputs, a layer used twice) is refused, and has the method
`wiring() -> Wiring` as its way in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Protocol, TypeVar, cast, runtime_checkable

from torch import nn

from isoinit.activations import ACTIVATIONS, CReLU
from isoinit.layers import WeightLayer
from isoinit.schemes.ends import without_ends
from isoinit.schemes.following import WAYS
from isoinit.schemes.steps import FLATTENS, PLAIN_WEIGHTS, UNFLATTENS, Step, acts_elementwise, classified, same, steps
from isoinit.schemes.wiring import Wiring, groups

Network = TypeVar("Network", bound=nn.Module)


@runtime_checkable
class Wired(Protocol):
    def wiring(self) -> Wiring: ...


def read(model: nn.Module) -> Wiring:
    """The wiring of `model`. ValueError naming the first thing that is not understood."""
    model = uncompiled(model)
    if hasattr(type(model), "wiring"):
        says = _speaks(type(model))
    else:  # the protocol takes longer to ask than a network takes to wire
        says = not isinstance(model, type) and isinstance(model, Wired)
    if says:
        wiring = cast(Wired, model).wiring()
        if not isinstance(wiring, Wiring):
            raise ValueError(
                f"wiring() of a {type(model).__name__} must give an isoinit.schemes.Wiring, got {wiring!r}"
            )
    elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ValueError(f"a {type(model).__name__} wraps the network: give its .module, which has the same weights")
    elif isinstance(model, nn.Module):
        chain = list(steps(model))
        inner = without_ends(chain)
        _refuse_unread(model, chain)
        wiring = _wiring(inner)
    else:
        raise ValueError(f"a {type(model).__name__} is not understood: {WAYS}")
    if (known := _known(wiring.activation)) is not wiring.activation:
        wiring = replace(wiring, activation=known)
    for layer in wiring.layers:
        if type(layer) not in PLAIN_WEIGHTS and ((step := classified(layer)) is None or step.kind != "weight"):
            raise ValueError(f"a {type(layer).__name__} is no linear or convolutional layer, whose weight is (out, in, "
                             "...), as wiring() must give")  # fmt: skip
        weight = layer._parameters.get("weight")
        biased = "bias" in layer._parameters or getattr(layer, "bias", None) is None
        if weight is None or not biased:  # every forward computes it anew, so what is written to it is lost
            raise ValueError(f"the {'weight' if weight is None else 'bias'} of a {type(layer).__name__} is computed, "
                             "not a parameter: initialize before weight_norm, pruning or another parametrization is "
                             "applied")  # fmt: skip
        if type(weight) is not nn.Parameter and isinstance(weight, nn.UninitializedParameter):  # asked in Python
            raise ValueError(f"a {type(layer).__name__} does not know its shape yet: run the model on an input first")
    return wiring


@cache
def _speaks(kind: type) -> bool:
    """Whether the wiring that the class says is of its forward: ours is not of one that a subclass has put there."""
    says, runs = (next((k for k in kind.__mro__ if name in vars(k)), kind) for name in ("wiring", "forward"))
    return not says.__module__.startswith("isoinit.") or issubclass(says, runs)


def uncompiled(model: Network) -> Network:
    """What `torch.compile` has wrapped, for hooks are not heard by what it made; a model that it has not, itself."""
    inner = model._modules.get("_orig_mod") if type(model).__name__ == "OptimizedModule" else None
    return model if inner is None else cast(Network, inner)


def _refuse_unread(model: nn.Module, chain: Sequence[Step]) -> None:
    seen = {id(p) for step in chain if step.module is not None for p in step.module.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in seen:
            raise ValueError(f"the parameter {name} of {type(model).__name__} belongs to no layer in the chain of its "
                             f"forward: {WAYS}")  # fmt: skip


def _wiring(chain: Sequence[Step]) -> Wiring:
    layers = [cast(WeightLayer, step.module) for step in chain if step.kind == "weight"]
    if not layers:
        raise ValueError(f"there is no linear or convolutional layer to initialize: {WAYS}")
    active = [s for s in chain if s.kind == "activation" and not isinstance(s.module, nn.Identity)]
    if active:  # then an nn.Identity is the place of something left out
        chain = [s for s in chain if not isinstance(s.module, nn.Identity)]
    gaps: list[list[Step]] = [[]]
    for step in chain:
        if step.kind == "weight":
            gaps.append([])
        gaps[-1].append(step)
    signals = _signals(gaps)
    hookable = all(step.hookable for step in signals)
    activation = _module(signals[0]) if signals else nn.Identity()
    return Wiring(
        architecture="mlp" if all(isinstance(layer, nn.Linear) for layer in layers) else "cnn",
        activation=activation,
        stem=tuple(layers[:-1]),
        head=layers[-1],
        norms=tuple(_module(step) for step in chain if step.kind == "norm"),
        signals=tuple(map(_module, signals if hookable else [_source(gap) for gap in gaps[1:-1]])),
        activated=hookable,
        preactivations=tuple(layers[:-1]),
        breakers=tuple(_breakers(gaps, mirrored_before=not isinstance(activation, CReLU))),
    )


def _module(step: Step) -> nn.Module:
    assert step.module is not None, step
    return step.module


def _signals(gaps: Sequence[Sequence[Step]]) -> list[Step]:
    """The activation of every hidden layer; ValueError unless there is one in each, all the same function."""
    acts = [[step for step in gap if step.kind == "activation"] for gap in gaps]
    every = [step for gap in acts for step in gap]
    regular = not acts[0] and not acts[-1] and all(len(gap) == 1 for gap in acts[1:-1])
    if not regular or any(not same(_module(step), _module(every[0])) for step in every):
        places = ["before the first layer", *(f"after layer {i}" for i in range(1, len(gaps)))]
        shown = ", ".join(
            f"{' and '.join(step.label for step in gap) or 'none'} {place}"
            for place, gap in zip(places, acts, strict=True)
        )
        raise ValueError("a network must have exactly one activation after every weight layer but the last, all of one "
                         f"kind (nn.Identity for a linear network); got {shown}")  # fmt: skip
    return every


def _known(activation: nn.Module) -> nn.Module:
    """The activation, a ReLU for what computes one, `x.clamp(min=0)` say: by its name schemes know their gain."""
    named = type(activation) in ACTIVATIONS.values()
    relu = not named and acts_elementwise(activation) and same(activation, nn.ReLU())
    return nn.ReLU() if relu else activation


def _source(gap: Sequence[Step]) -> Step:
    """What goes into the activation of the gap: the output of the last layer or normalization before it."""
    index = next(i for i, step in enumerate(gap) if step.kind == "activation")
    return [step for step in gap[:index] if step.kind in ("weight", "norm")][-1]


def _breakers(gaps: Sequence[Sequence[Step]], *, mirrored_before: bool) -> Iterator[str]:
    """Names of what does not keep a mirrored signal mirrored. `mirrored_before`: before the activation too."""
    grouped = any(groups(cast(WeightLayer, gap[0].module)) > 1 for gap in gaps[1:])
    for gap in gaps:
        active = False
        for step in gap:
            active |= step.kind == "activation"
            if step.kind == "breaker":
                yield step.label
            elif step.kind == "norm" and active:
                yield f"{step.label} behind the activation"
            elif isinstance(step.module, nn.GroupNorm) and mirrored_before:
                count = step.module.num_groups
                if count > 1 and (grouped or count % 2):  # an even number are mirror images of each other
                    yield f"{step.label} of {count} groups"
    for gap, following in pairwise(gaps[1:]):
        yield from _between(gap, following[0], mirrored_before=mirrored_before)


def _between(gap: Sequence[Step], following: Step, *, mirrored_before: bool) -> Iterator[str]:
    """The same of what depends on the layer that the gap begins with."""
    layer = cast(WeightLayer, gap[0].module)
    units = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    for step in gap:
        if mirrored_before and units % 2 and _centres(step.module, layer):
            yield f"{step.label} of {units} units, the odd one of which moves their mean"
    after_linear, before_linear = isinstance(layer, nn.Linear), isinstance(following.module, nn.Linear)
    between = FLATTENS if before_linear else FLATTENS.union(UNFLATTENS.values())
    if after_linear != before_linear and not any(step.label in between for step in gap):
        yield f"{following.label} on the positions of {gap[0].label}"


def _centres(norm: nn.Module | None, layer: WeightLayer) -> bool:
    """Whether it takes the mean over the units of the layer away."""
    if isinstance(norm, nn.LayerNorm):
        return isinstance(layer, nn.Linear) or len(norm.normalized_shape) > len(layer.kernel_size)
    return isinstance(norm, nn.GroupNorm) and norm.num_groups == 1
