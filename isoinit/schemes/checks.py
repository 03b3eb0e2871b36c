"""Which schemes there are, and whether one applies: to the numbers of a spec, or to a network with its arguments."""

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from torch import Tensor

from isoinit.activations import activation_name
from isoinit.layers import require_maskable
from isoinit.schemes import classic, data_driven, identity, kumar, mirrored, orthogonal, pruned, residual, sparse
from isoinit.schemes.base import ALL, ANY_BIAS, Scheme
from isoinit.schemes.biases import require_mirrored
from isoinit.schemes.densities import finest
from isoinit.schemes.wiring import Wiring, biases_of

_TAPS = 9  # of the convolutions of `isoinit.networks`

_FAMILIES = (classic, kumar, orthogonal, mirrored, sparse, pruned, identity, residual, data_driven)
_NAMES = Counter(scheme.name for family in _FAMILIES for scheme in family.SCHEMES)
SCHEMES: dict[str, Scheme] = {scheme.name: scheme for family in _FAMILIES for scheme in family.SCHEMES}
assert len(SCHEMES) == _NAMES.total(), f"two schemes have the name {_NAMES.most_common(1)[0][0]}"


def get(name: str) -> Scheme:
    """The scheme called `name`; ValueError with the nearest and all names if there is none."""
    if isinstance(name, str) and name in SCHEMES:
        return SCHEMES[name]
    near = difflib.get_close_matches(name, SCHEMES, n=1) if isinstance(name, str) else []
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
    for size, number in (("depth", depth), ("width", width)):
        if not isinstance(number, Integral):
            raise ValueError(f"{size} must be a whole number, got {number!r}")
    _check_network(scheme, architecture, activation, normalization, depth, width, bias_mode)
    _check_density(scheme, density, [(width, 1 if architecture == "mlp" else _TAPS)])


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


def _check_density(scheme: Scheme, density: float, layers: Sequence[tuple[int, int]]) -> None:
    """layers: (units, taps of a kernel) of hidden layers. Only if none can have the density it is refused; a layer that
    cannot then has its least, with a warning."""
    if not (isinstance(density, Real) and 0 < density <= 1):
        raise ValueError(f"density must be in (0, 1], got {density!r}")
    if density < 1 and not scheme.sparse:
        able = [s.name for s in SCHEMES.values() if s.sparse]
        raise ValueError(f"scheme {scheme.name} is dense, got density {density}; sparse are {', '.join(able)}")
    if scheme.sparse:
        halves = 2 if "mirror" in scheme.invariants else 1
        most, width = max((finest(units // halves, taps), units) for units, taps in layers)
        if density * most < 1:
            raise ValueError(f"scheme {scheme.name} at width {width} has a density of at least 1/{most}, got {density}")


def _either(words: Sequence[str]) -> str:
    return " or ".join(words)


def validate(
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
    stem = set(wiring.stem)
    hidden = [(run.shape[0], math.prod(run.shape[2:])) for run in wiring.runs if run.layers[0] in stem]
    hidden = hidden or [(max(wiring.head.weight.shape[:2]), 1)]
    depth, activation, width = max(2, len(wiring.layers)), activation_name(wiring.activation), min(hidden)[0]
    _check_network(scheme, wiring.architecture, activation, wiring.normalization, depth, width, bias_mode)
    _check_density(scheme, density, hidden)
    if scheme.sparse:
        for layer in wiring.layers:
            require_maskable(layer)
    check_numbers(bias_variance, bias_mode, weight_scale)
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
    if bias_mode == "mirrored" and bias_variance > 0:
        require_mirrored(scheme, wiring)


def check_numbers(bias_variance: float, bias_mode: str, weight_scale: float) -> None:
    """ValueError unless a network can have them."""
    if not (isinstance(bias_variance, Real) and 0 <= bias_variance < math.inf):
        raise ValueError(f"bias_variance must be finite and at least 0, got {bias_variance!r}")
    if bias_variance > 0 and bias_mode == "zero":
        raise ValueError(f"bias_variance {bias_variance} needs bias_mode 'iid' or 'mirrored', got 'zero'")
    if not (isinstance(weight_scale, Real) and 0 < weight_scale < math.inf):
        raise ValueError(f"weight_scale must be finite and positive, got {weight_scale!r}")


def _refuse_unusual_weights(wiring: Wiring) -> None:
    for dtype in {weight.dtype for weight in wiring.weights}:
        if not dtype.is_floating_point:
            raise ValueError(f"weights must be real floating-point numbers, got {dtype}")
    if any(weight.is_inference() for weight in wiring.weights):
        raise ValueError("the network was made in torch.inference_mode(), whose tensors are not set or trained outside "
                         "of it; make it before")  # fmt: skip
    for run in wiring.runs:
        if not run.shape.numel():
            raise ValueError(f"a layer of shape {tuple(run.shape)} has no weights to initialize")
    if (most := _sharing(wiring.weights)) > 1:
        raise ValueError(f"{most} layers of the network share one weight, and a scheme needs one for each; tie them "
                         "after initializing, or initialize the weight by itself in an nn.Sequential")  # fmt: skip
    if (most := _sharing(biases_of(wiring.layers))) > 1:
        raise ValueError(f"{most} layers of the network share one bias, and a scheme needs one for each; tie them "
                         "after initializing")  # fmt: skip


def _sharing(tensors: Sequence[Tensor]) -> int:
    """How many are at one place, at most: a transpose is another parameter on the same numbers."""
    places = [id(tensor) if tensor.is_meta else tensor.data_ptr() for tensor in tensors]
    return max(Counter(places).values()) if len(set(places)) < len(places) else 1


def _check_data(scheme: Scheme, wiring: Wiring, data: object) -> None:
    if not isinstance(data, Tensor) or data.is_meta or not data.dim() or len(data) < 2:
        got = f"{type(data).__name__} of shape {tuple(data.shape)}" if isinstance(data, Tensor) else type(data).__name__
        raise ValueError(
            f"scheme {scheme.name} adapts to a batch of inputs: give data= of at least two, as a tensor, got a {got}"
        )
    if not (math.isfinite(data.sum().item()) or data.isfinite().all()):
        raise ValueError(f"scheme {scheme.name} adapts to a batch of inputs, and data= has numbers that are not finite")
    if len({weight.is_meta for weight in wiring.weights}) > 1:
        raise ValueError(f"scheme {scheme.name} runs the network, and some of its layers are on the meta device")
