"""Initialization schemes: the table of all, and the one function that applies them.

initialize(model, "ll_orth", bias_variance=0.01, bias_mode="mirrored", generator=torch.Generator().manual_seed(0))
"""

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from isoinit.layers import activation_name, drop_mask
from isoinit.schemes import classic, data_driven, identity, mirrored, orthogonal, residual, sparse
from isoinit.schemes.base import ALL, ANY_BIAS, INVARIANTS, Draw, Scheme
from isoinit.schemes.mirrored import interleave
from isoinit.schemes.reading import read
from isoinit.schemes.wiring import NORMS, Residual, Wiring, groups

__all__ = ["INVARIANTS", "SCHEMES", "Residual", "Scheme", "Wiring", "check", "get", "initialize", "read"]

_FAMILIES = (classic, orthogonal, mirrored, sparse, identity, residual, data_driven)
SCHEMES: dict[str, Scheme] = {scheme.name: scheme for family in _FAMILIES for scheme in family.SCHEMES}
assert len(SCHEMES) == sum(len(family.SCHEMES) for family in _FAMILIES), "two schemes have the same name"

Network = TypeVar("Network", bound=nn.Module)


def get(name: str) -> Scheme:
    """The scheme called `name`; ValueError with the nearest and all names if there is none."""
    if name in SCHEMES:
        return SCHEMES[name]
    near = difflib.get_close_matches(name, SCHEMES, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {name!r}{hint}")


def check(
    name: str,
    *,
    architecture: str,
    activation: str = "relu",
    normalization: str = "none",
    depth: int,
    width: int,
    bias_mode: str = "zero",
    density: float = 1.0,
) -> None:
    """ValueError, in one sentence that says what is possible, unless the scheme applies. Builds nothing."""
    scheme = get(name)
    _check_network(scheme, architecture, activation, normalization, depth, width, bias_mode)
    _check_density(scheme, density, width)


def _check_network(
    scheme: Scheme, architecture: str, activation: str, normalization: str, depth: int, width: int, bias_mode: str
) -> None:
    name = scheme.name
    if bias_mode not in ANY_BIAS:
        raise ValueError(f"bias_mode must be one of {', '.join(ANY_BIAS)}, got {bias_mode!r}")
    if architecture not in scheme.architectures:
        able = [s.name for s in SCHEMES.values() if architecture in s.architectures]
        if not able:
            raise ValueError(f"architecture must be one of {', '.join(ALL)}, got {architecture!r}")
        raise ValueError(f"scheme {name} applies to {_either(scheme.architectures)}, not to {architecture}; "
                         f"to {architecture} apply {', '.join(able)}")  # fmt: skip
    if scheme.activations is not None and activation not in scheme.activations:
        able = [s.name for s in SCHEMES.values() if s.activations is None or activation in s.activations]
        raise ValueError(f"scheme {name} is for the activation {_either(scheme.activations)}, not {activation}; "
                         f"for {activation} there are {', '.join(able)}")  # fmt: skip
    if architecture == "resnet" and activation == "crelu":
        raise ValueError("crelu doubles the features of a residual stream; it applies to mlp or cnn, not to resnet")
    if ("none" if normalization == "none" else "batch") not in scheme.normalizations:
        raise ValueError(f"scheme {name} is for normalization {_either(scheme.normalizations)}, got {normalization!r}")
    if bias_mode not in scheme.bias_modes:
        raise ValueError(f"scheme {name} knows bias_mode {_either(scheme.bias_modes)}, got {bias_mode!r}")
    if depth < 2:
        raise ValueError(f"depth must be at least 2 (first layer and head), got {depth}")
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    if scheme.even_width and width % 2:
        raise ValueError(f"scheme {name} needs an even width, got {width}; {width + 1} is possible")
    if "mirror" in scheme.invariants and activation == "relu" and width < 2:
        raise ValueError(f"scheme {name} mirrors the hidden units and needs a width of at least 2, got {width}")


def _check_density(scheme: Scheme, density: float, width: int) -> None:
    if not 0 < density <= 1:
        raise ValueError(f"density must be in (0, 1], got {density}")
    if density < 1 and not scheme.sparse:
        able = [s.name for s in SCHEMES.values() if s.sparse]
        raise ValueError(f"scheme {scheme.name} is dense, got density {density}; sparse are {', '.join(able)}")
    side = width // 2 if "mirror" in scheme.invariants else width
    if scheme.sparse and density * side < 1:
        raise ValueError(f"scheme {scheme.name} at width {width} has a density of at least 1/{side}, got {density}")


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)


def initialize(
    model: Network,
    scheme: str | Scheme,
    *,
    bias_variance: float = 0.0,
    bias_mode: str = "zero",
    weight_scale: float = 1.0,
    density: float = 1.0,
    generator: torch.Generator,
    data: Tensor | None = None,
    **options: Any,
) -> Network:
    """Set every parameter of `model` in place, and return it.

    model: an isoinit MLP, CNN or ResNet; any module whose forward is a chain of linear or convolutional layers, their
    normalizations, pools and one kind of activation, as modules or as functions; or one that says its `wiring()`.
    bias_mode: "zero"; "iid", b ~ N(0, bias_variance); "mirrored", b = [c; -c] in the hidden layers (iid in the head).
    weight_scale: the variance of every weight is multiplied by it, after the scheme.
    density: share of non-zero weights, for the sparse schemes; the mask stays on the layer as the buffer `mask`.
    data: (batch, ...) inputs, for the schemes that need them. options: the scheme's own, see `Scheme.options`.

    The draws depend on the scheme, the shapes and the generator only; those of the biases come after those of the
    weights, and are scaled by sqrt(bias_variance), so that the bias variance changes no weight. Parameters on the
    meta device are left alone. ValueError, before anything is changed, if the scheme does not apply to the network,
    a layer occurs twice in it, or the weight of one is computed (weight_norm, pruning) and so cannot be set.
    """
    record = get(scheme) if isinstance(scheme, str) else scheme
    wiring = read(model)
    _validate(record, wiring, bias_variance, bias_mode, weight_scale, density, data, options)
    if not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator, as torch.Generator().manual_seed(0), got {generator!r}")
    if all(layer.weight.is_meta for layer in wiring.layers):
        return model
    if record.sparse:
        options["density"] = density
    precise = wiring.head.weight.dtype == torch.float64
    draw = Draw(generator, torch.float64 if precise else torch.float32)
    with torch.no_grad():
        _reset(wiring, record.multiplier)
        record.apply(wiring, draw, **options)
        if record.calibrate is not None and data is not None:
            record.calibrate(model, wiring, data)
            _reset_norms(wiring)
        if weight_scale != 1.0:
            for layer in wiring.layers:
                layer.weight.mul_(math.sqrt(weight_scale))
        if bias_variance > 0:
            _draw_biases(record, wiring, draw, bias_mode, math.sqrt(bias_variance))
    return model


def _validate(
    scheme: Scheme,
    wiring: Wiring,
    bias_variance: float,
    bias_mode: str,
    weight_scale: float,
    density: float,
    data: Tensor | None,
    options: dict[str, Any],
) -> None:
    _refuse_unusual_weights(wiring)
    widths = [layer.weight.shape[0] for layer in wiring.stem] or [max(wiring.head.weight.shape[:2])]
    depth, activation = max(2, len(wiring.layers)), activation_name(wiring.activation)
    _check_network(
        scheme, wiring.architecture, activation, wiring.normalization, depth, min(widths), bias_mode
    )  # fmt: skip
    _check_density(scheme, density, max(widths))  # a narrower layer has the least density that it can have
    if not (isinstance(bias_variance, Real) and 0 <= bias_variance < math.inf):
        raise ValueError(f"bias_variance must be finite and at least 0, got {bias_variance!r}")
    if bias_variance > 0 and bias_mode == "zero":
        raise ValueError(f"bias_variance {bias_variance} needs bias_mode 'iid' or 'mirrored', got 'zero'")
    if not (isinstance(weight_scale, Real) and 0 < weight_scale < math.inf):
        raise ValueError(f"weight_scale must be finite and positive, got {weight_scale!r}")
    if scheme.needs_data:
        _check_data(scheme, wiring, data)
    if scheme.blocks is not None and any(b.kind not in scheme.blocks for b in wiring.blocks):
        kinds = sorted({b.kind for b in wiring.blocks})
        raise ValueError(
            f"scheme {scheme.name} is for residual blocks {_either(scheme.blocks)}, got {', '.join(kinds)}"
        )
    for key, value in options.items():
        if key not in scheme.options:
            raise ValueError(f"scheme {scheme.name} has the options {', '.join(scheme.options) or 'none'}, got {key!r}")
        if scheme.options[key] and value not in scheme.options[key]:
            raise ValueError(f"{key} must be one of {', '.join(map(repr, scheme.options[key]))}, got {value!r}")
        if not scheme.options[key] and not (isinstance(value, Real) and 0 <= float(value) < math.inf):
            raise ValueError(f"{key} must be finite and at least 0, got {value!r}")
    if scheme.requires is not None:
        scheme.requires(wiring, **options)


def _refuse_unusual_weights(wiring: Wiring) -> None:
    for layer in wiring.layers:
        if not layer.weight.is_floating_point():
            raise ValueError(f"weights must be real floating-point numbers, got {layer.weight.dtype}")
        if not layer.weight.numel():
            raise ValueError(f"a layer of shape {tuple(layer.weight.shape)} has no weights to initialize")
    (_, most), *_ = Counter(id(layer.weight) for layer in wiring.layers).most_common(1)
    if most > 1:
        raise ValueError(f"{most} layers of the network share one weight, and a scheme needs one for each; tie them "
                         "after initializing, or initialize the weight by itself in an nn.Sequential")  # fmt: skip


def _check_data(scheme: Scheme, wiring: Wiring, data: object) -> None:
    if not isinstance(data, Tensor) or len(data) < 2:
        raise ValueError(f"scheme {scheme.name} adapts to a batch of inputs: give data= of at least two")
    if not data.isfinite().all():
        raise ValueError(f"scheme {scheme.name} adapts to a batch of inputs, and data= has numbers that are not finite")
    if len({layer.weight.is_meta for layer in wiring.layers}) > 1:
        raise ValueError(f"scheme {scheme.name} runs the network, and some of its layers are on the meta device")


def _reset(wiring: Wiring, multiplier: float) -> None:
    for layer in wiring.layers:
        drop_mask(layer)
        if layer.bias is not None:
            layer.bias.zero_()
    _reset_norms(wiring)
    for block in wiring.blocks:
        if block.multiplier is not None:
            block.multiplier.fill_(multiplier)
        for offset in block.offsets:
            offset.zero_()


def _reset_norms(wiring: Wiring) -> None:
    """Scale 1, shift 0, and no statistics of the batch that a scheme looked at."""
    for norm in wiring.norms:
        if isinstance(norm, NORMS):
            norm.reset_parameters()


def _draw_biases(scheme: Scheme, wiring: Wiring, draw: Draw, mode: str, deviation: float) -> None:
    layers = scheme.biased(wiring)
    successors = [groups(layer) for layer in layers[1:]] + [1]
    biased = [(x, x.bias, after) for x, after in zip(layers, successors, strict=True) if x.bias is not None]
    normals = draw.normals([(len(bias),) for _, bias, _ in biased])
    for (layer, bias, after), values in zip(biased, normals, strict=True):
        values.mul_(deviation)
        if mode == "mirrored" and layer is not wiring.head:
            half = len(values) // 2
            values[half : 2 * half] = -values[:half]
            if (blocks := math.lcm(groups(layer), after)) > 1:
                values = values[interleave(len(values), blocks)]
        bias.copy_(values)
