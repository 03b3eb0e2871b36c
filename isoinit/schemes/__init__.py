"""Initialization schemes: the table of all, and the function that applies them, to a network or to many at once.

initialize(model, "ll_orth", bias_variance=0.01, bias_mode="mirrored", generator=torch.Generator().manual_seed(0))
together(begin(model, "ll_orth", generator=torch.Generator().manual_seed(i)) for i, model in enumerate(models))
"""

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from isoinit.layers import drop_mask
from isoinit.schemes.base import INVARIANTS, Draw, Scheme, Steps, orthonormal
from isoinit.schemes.biases import draw_biases
from isoinit.schemes.calibrating import require_inputs
from isoinit.schemes.checks import SCHEMES, check, get, validate
from isoinit.schemes.reading import read, uncompiled
from isoinit.schemes.wiring import Residual, Wiring, biases_of

__all__ = [
    "INVARIANTS",
    "SCHEMES",
    "Residual",
    "Scheme",
    "Steps",
    "Wiring",
    "begin",
    "check",
    "get",
    "initialize",
    "read",
    "together",
]

AT_ONCE = 2**17  # numbers, half a MiB: more slowed width 32 and up, of 2**14 to 2**20 (a script that was not kept)
Network = TypeVar("Network", bound=nn.Module)


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
    compiled: bool = False,
    **options: Any,
) -> Network:
    """Set every parameter of `model` in place, and return it.

    model: an isoinit MLP, CNN or ResNet; any module whose forward is a chain of linear or convolutional layers, their
    normalizations, pools and one kind of activation, as modules or as functions; or one that says its `wiring()`.
    bias_mode: "zero"; "iid", b ~ N(0, bias_variance); "mirrored", b = [c; -c] in the hidden layers (iid in the head).
    weight_scale: the variance of every weight is multiplied by it, after the scheme.
    density: share of non-zero weights, for the sparse schemes; the mask stays on the layer as the buffer `mask`.
    data: (batch, ...) inputs, for the schemes that need them.
    compiled: adapt a narrow MLP to them by compiled code, the same up to rounding, and make sparse weights by such,
    the same bits, which pays where there are many networks; to compile it takes some seconds, once per machine.
    options: the scheme's own, see `Scheme.options`.

    What the network does to its input before the first layer, if it is an affine map, and a softmax or a sigmoid of
    the logits matter to no scheme: what one claims is from the input of the first layer to the output of the last.

    The draws depend on the scheme, the shapes and the generator only; those of the biases come after those of the
    weights, and are scaled by sqrt(bias_variance), so that the bias variance changes no weight. Parameters on the
    meta device are left alone. ValueError, before anything is changed, if the scheme does not apply to the network,
    `data` are no inputs of it, a layer occurs twice in it or has a forward of its own, or the weight or the bias of one
    is computed (weight_norm, pruning) and so cannot be set.
    """
    steps = begin(
        model,
        scheme,
        bias_variance=bias_variance,
        bias_mode=bias_mode,
        weight_scale=weight_scale,
        density=density,
        generator=generator,
        data=data,
        compiled=compiled,
        **options,
    )
    together([steps])
    return model


def begin(
    model: nn.Module,
    scheme: str | Scheme,
    *,
    bias_variance: float = 0.0,
    bias_mode: str = "zero",
    weight_scale: float = 1.0,
    density: float = 1.0,
    generator: torch.Generator,
    data: Tensor | None = None,
    compiled: bool = False,
    **options: Any,
) -> Steps:
    """`initialize`, checked and yet to be done, by `together` with that of other networks: the same weights, bit by
    bit, with one QR for all matrices of a shape, if each has a generator of its own, for they draw in turns."""
    record = scheme if isinstance(scheme, Scheme) else get(scheme)
    model = uncompiled(model)
    wiring = read(model)
    validate(record, wiring, bias_variance, bias_mode, weight_scale, density, data, options)
    if not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator, as torch.Generator().manual_seed(0), got {generator!r}")
    if record.needs_data and data is not None:
        require_inputs(model, wiring, data)
    if record.sparse:
        options["density"] = density
    precise = wiring.head.weight.dtype == torch.float64
    draw = Draw(generator, torch.float64 if precise else torch.float32, compiled)

    def steps() -> Steps:
        if all(weight.is_meta for weight in wiring.weights):
            return
        _reset(wiring, record.multiplier)
        yield from record.apply(wiring, draw, **options) or ()
        if record.calibrate is not None and data is not None:
            record.calibrate(model, wiring, data, compiled)
            _reset_norms(wiring)
        if weight_scale != 1.0:
            torch._foreach_mul_(list(wiring.weights), math.sqrt(weight_scale))  # pyright: ignore[reportPrivateImportUsage]
        if bias_variance > 0:
            draw_biases(record, wiring, draw, bias_mode, math.sqrt(bias_variance))

    return steps()


def together(begun: Iterable[Steps]) -> None:
    """Initialize the networks of `begun`, as many at once as the cache holds: each runs, with its own draws, until it
    needs matrices of a QR, then one QR makes those of all."""
    with torch.inference_mode(False), torch.no_grad():  # a mask made in inference mode could not train
        waiting = _Waiting()
        for steps in begun:
            waiting.run(steps)
            if waiting.numbers >= AT_ONCE:
                waiting.answer()
        waiting.answer()


class _Waiting:
    """Networks on their way that wait for a QR, and what they ask for."""

    def __init__(self) -> None:
        self._steps: list[tuple[Steps, int]] = []
        self._asked: list[Tensor] = []
        self.numbers = 0  # in what they ask for

    def run(self, steps: Steps, matrices: list[Tensor] | None = None) -> None:
        """On to where it asks for more, or to its end."""
        try:
            asked = next(steps) if matrices is None else steps.send(matrices)
        except StopIteration:
            return
        if not isinstance(asked, Sequence):
            raise TypeError(
                f"a scheme gave a {type(asked).__name__} where it asks for matrices; write "
                "'matrices = yield from draw.haar(shapes)'"
            )
        self._steps.append((steps, len(asked)))
        self._asked.extend(asked)
        self.numbers += sum(stack.numel() for stack in asked)

    def answer(self) -> None:
        """Until none waits any more."""
        while self._steps:
            matrices = iter(orthonormal(self._asked))
            steps, self._steps, self._asked, self.numbers = self._steps, [], [], 0
            for one, count in steps:
                self.run(one, list(islice(matrices, count)))


def _reset(wiring: Wiring, multiplier: float) -> None:
    for layer in wiring.layers:
        drop_mask(layer)
    if biases := biases_of(wiring.layers):
        torch._foreach_zero_(biases)  # pyright: ignore[reportPrivateImportUsage]
    _reset_norms(wiring)
    for block in wiring.blocks:
        if block.multiplier is not None:
            block.multiplier.fill_(multiplier)
        for offset in block.offsets:
            offset.zero_()


def _reset_norms(wiring: Wiring) -> None:
    """Scale 1, shift 0, and no statistics of the batch that a scheme looked at."""
    for norm in wiring.norms:
        reset = getattr(norm, "reset_parameters", None)  # which torch's all have; a wiring may name others
        if callable(reset):
            reset()
