"""Variance-scaling initializers: every layer on its own, independent weights of a declared variance.

Glorot & Bengio 2010 (xavier), He et al. 2015 arXiv 1502.01852 (he), LeCun et al. 1998 (lecun). The `truncated` forms
are cut at two standard deviations and then have the declared variance, as in Keras and JAX; torch's `trunc_normal_`
cuts at absolute bounds and does not correct.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from isoinit.schemes.base import Draw, Scheme
from isoinit.schemes.wiring import Wiring, biases_of, copy_each, fans, runs

Variance = Callable[[int, int], float]
Standard = Callable[[Draw, Sequence[tuple[int, ...]]], list[Tensor]]

TRUNCATED_STD = 0.87962566103423978  # of N(0, 1) cut at +-2


def xavier(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)


def he(fan_in: int, fan_out: int) -> float:  # noqa: ARG001 - one signature for all variance rules
    return 2 / fan_in


def lecun(fan_in: int, fan_out: int) -> float:  # noqa: ARG001
    return 1 / fan_in


def third(fan_in: int, fan_out: int) -> float:  # noqa: ARG001
    return 1 / (3 * fan_in)


def uniforms(draw: Draw, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Uniform tensors of mean 0 and variance 1."""
    return [u.mul_(2).sub_(1).mul_(math.sqrt(3)) for u in draw.uniforms(shapes)]


def truncated_normals(draw: Draw, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Normal tensors cut at two standard deviations, then scaled to variance 1."""
    inside = math.erf(math.sqrt(2))
    return [u.mul_(2).sub_(1).mul_(inside).erfinv_().mul_(math.sqrt(2) / TRUNCATED_STD) for u in draw.uniforms(shapes)]


def independent(variance: Variance, standard: Standard = Draw.normals) -> Callable[[Wiring, Draw], None]:
    """The scheme whose weights are `standard` draws (variance 1) scaled to `variance(fan_in, fan_out)`."""

    def apply(wiring: Wiring, draw: Draw) -> None:
        values = standard(draw, [run.stack for run in wiring.runs])
        for run, value in zip(wiring.runs, values, strict=True):
            run.fill(value.mul_(math.sqrt(variance(*fans(run.layers[0])))))

    return apply


def rectified(standard: Standard = Draw.normals) -> Callable[[Wiring, Draw], None]:
    """He's rule: 2/fan_in, and 2/((1 + a^2) fan_in) for a leaky ReLU of slope a."""

    def apply(wiring: Wiring, draw: Draw) -> None:
        share = 1 + leak(wiring.activation) ** 2
        independent(lambda fan_in, fan_out: he(fan_in, fan_out) / share, standard)(wiring, draw)

    return apply


def leak(activation: nn.Module) -> float:
    """The slope below 0 of a leaky ReLU, 0 of any other activation."""
    return activation.negative_slope if isinstance(activation, nn.LeakyReLU) else 0.0


def torch_default(wiring: Wiring, draw: Draw) -> None:
    """What `nn.Linear` and `nn.Conv2d` do: weights and biases uniform on +-1/sqrt(fan_in)."""
    independent(third, uniforms)(wiring, draw)
    biased = wiring.runs
    if len(biases_of(wiring.layers)) < len(wiring.layers):
        biased = runs([layer for layer in wiring.layers if layer.bias is not None])
    for run, values in zip(biased, uniforms(draw, [run.stack[:2] for run in biased]), strict=True):
        copy_each(biases_of(run.layers), values.mul_(math.sqrt(third(*fans(run.layers[0])))))


_GLOROT = "Glorot & Bengio 2010"
_HE = "He et al. 2015, arXiv 1502.01852"
_LECUN = "LeCun et al. 1998"
_VARIANCE = ("weight_variance",)

SCHEMES = (
    Scheme(
        name="xavier_normal",
        source=_GLOROT,
        summary="N(0, 2/(fan_in + fan_out)); for tanh, a ReLU network loses half of the squared norm per layer",
        apply=independent(xavier),
        by_runs=True,
        invariants=_VARIANCE,
        variance=xavier,
    ),
    Scheme(
        name="xavier_uniform",
        source=_GLOROT,
        summary="uniform with the variance 2/(fan_in + fan_out)",
        apply=independent(xavier, uniforms),
        by_runs=True,
        invariants=_VARIANCE,
        variance=xavier,
    ),
    Scheme(
        name="xavier_truncated",
        source=f"{_GLOROT}; the cut as in Keras and JAX",
        summary="normal cut at two standard deviations, variance 2/(fan_in + fan_out) after the cut",
        apply=independent(xavier, truncated_normals),
        by_runs=True,
        invariants=_VARIANCE,
        variance=xavier,
    ),
    Scheme(
        name="he_normal",
        source=_HE,
        summary="N(0, 2/fan_in); keeps the mean squared norm of a ReLU signal, not the typical one",
        apply=rectified(),
        by_runs=True,
        invariants=_VARIANCE,
        variance=he,
    ),
    Scheme(
        name="he_uniform",
        source=_HE,
        summary="uniform with the variance 2/fan_in",
        apply=rectified(uniforms),
        by_runs=True,
        invariants=_VARIANCE,
        variance=he,
    ),
    Scheme(
        name="he_truncated",
        source=f"{_HE}; the cut as in Keras and JAX",
        summary="normal cut at two standard deviations, variance 2/fan_in after the cut",
        apply=rectified(truncated_normals),
        by_runs=True,
        invariants=_VARIANCE,
        variance=he,
    ),
    Scheme(
        name="lecun_normal",
        source=_LECUN,
        summary="N(0, 1/fan_in); for linear networks and SELU",
        apply=independent(lecun),
        by_runs=True,
        invariants=_VARIANCE,
        variance=lecun,
    ),
    Scheme(
        name="lecun_truncated",
        source=f"{_LECUN}; the cut as in Keras and JAX",
        summary="normal cut at two standard deviations, variance 1/fan_in after the cut",
        apply=independent(lecun, truncated_normals),
        by_runs=True,
        invariants=_VARIANCE,
        variance=lecun,
    ),
    Scheme(
        name="torch_default",
        source="torch.nn.Linear and Conv2d",
        summary="the baseline nobody chose: weights and biases uniform on +-1/sqrt(fan_in); sets its own biases",
        apply=torch_default,
        by_runs=True,
        bias_modes=("zero",),
        invariants=_VARIANCE,
        variance=third,
    ),
)
