"""Schemes that adapt a random start to a batch of inputs, layer by layer in one forward pass.

LSUV: Mishkin & Matas 2015, arXiv 1511.06422. Sample variance: Luther & Seung 2019, arXiv 1902.04942 (published 2020 in
Phys. Rev. Research 2, 033135); "sample init" is their per-neuron form, started here from He's weights; the form that
only scales is derived here.
A layer's output is linear in its weights, so one division is exact where LSUV iterates.
"""

import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from isoinit.schemes.base import Scheme
from isoinit.schemes.classic import he, independent
from isoinit.schemes.orthogonal import orthogonal
from isoinit.schemes.wiring import Wiring

Rescale = Callable[[Tensor], tuple[Tensor | None, Tensor]]


def total_deviation(units: Tensor) -> tuple[None, Tensor]:
    """No shift, and the standard deviation over samples and units."""
    return None, units.std(correction=0)


def per_unit(units: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every unit over the samples."""
    return units.mean(0), units.std(0, correction=0)


def mean_sample_deviation(units: Tensor) -> tuple[None, Tensor]:
    """No shift, and the root of the sample variance averaged over units."""
    return None, units.var(0, correction=0).mean().sqrt()


def calibrate(model: nn.Module, wiring: Wiring, data: Tensor, *, statistic: Rescale) -> None:
    """Divide every layer's output by `statistic`'s deviation after taking its shift away, in the order of the signal.

    `statistic` maps outputs (samples, units) to (shift or None, deviation), each of shape () or (units,). A hook
    changes weights and bias as the layer runs and hands on the corrected output. What does not vary, as behind a dead
    layer, is not divided, and a warning says so.
    """

    def correct(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        weight, bias = layer.weight, layer.bias
        shift, deviation = statistic(output.movedim(1, -1).flatten(0, -2) if output.dim() > 2 else output)
        if not (deviation > 0).all():
            warnings.warn(f"the data do not vary at the output of {layer}, which is left as it is there", stacklevel=2)
            deviation = torch.where(deviation > 0, deviation, 1.0)
        weight.div_(deviation.view(-1, *[1] * (weight.dim() - 1)) if deviation.dim() else deviation)
        along = (-1, *[1] * (output.dim() - 2))
        if shift is not None:
            output = output - shift.view(along)
            if bias is not None:
                bias.sub_(shift)
        if bias is not None:
            bias.div_(deviation)
        return output / (deviation.view(along) if deviation.dim() else deviation)

    noisy = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training]
    hooks = [layer.register_forward_hook(correct) for layer in wiring.layers]
    try:
        for module in noisy:  # it would draw from the global generator, and the statistics are of the data
            module.eval()
        model(data.to(device=wiring.head.weight.device, dtype=wiring.head.weight.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module in noisy:
            module.train()


def _require_biases(wiring: Wiring) -> None:
    if any(layer.bias is None for layer in wiring.layers):
        raise ValueError("sample_variance takes each unit's mean away by its bias, so every layer needs one; "
                         "sample_variance_scale needs none")  # fmt: skip


SCHEMES = (
    Scheme(
        name="lsuv",
        source="Mishkin & Matas 2015, arXiv 1511.06422",
        summary="orthogonal, then every layer's output scaled to unit variance on a batch; samples still align",
        apply=partial(orthogonal, gain=1.0),
        calibrate=partial(calibrate, statistic=total_deviation),
        bias_modes=("zero",),
        invariants=("unit_variance",),
        needs_data=True,
    ),
    Scheme(
        name="sample_variance",
        source="Luther & Seung 2019, arXiv 1902.04942",
        summary="every unit has sample mean 0 and sample variance 1 on a batch, by its weights and its bias",
        apply=independent(he),
        calibrate=partial(calibrate, statistic=per_unit),
        requires=_require_biases,
        normalizations=("none",),
        bias_modes=("zero",),
        invariants=("unit_variance", "sample_variance"),
        needs_data=True,
    ),
    Scheme(
        name="sample_variance_scale",
        source="derived here after Luther & Seung 2019, arXiv 1902.04942",
        summary="every layer scaled to mean sample variance 1 on a batch; the total variance grows with depth",
        apply=independent(he),
        calibrate=partial(calibrate, statistic=mean_sample_deviation),
        normalizations=("none",),
        bias_modes=("zero",),
        invariants=("sample_variance",),
        needs_data=True,
    ),
)
