"""What a network does to signals at initialization, measured on the real network.

    probe(model, x).jacobian_singular_values

Shapes: B inputs, L hidden layers (in a ResNet: stem layers and blocks), W weight layers, K singular values an input.
The module is callable: `isoinit.probe(model, x)` is `isoinit.probe.probe(model, x)`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isoinit import chain
from isoinit.passes import by_autograd
from isoinit.signals import Floats, array, dead_share, each, spread, squared_norm, sums_of
from isoinit.spectrum import bidiagonalize, frozen_normalization, spectrum


@dataclass(frozen=True, eq=False)
class Probe:
    """Measurements on B inputs. What does not exist (a ratio of zeros, a Jacobian not asked for) is NaN.

    squared_norms: (L + 1, B), of the input and of every hidden layer's post-activations.
    correlation: (L,), cosine of the pre-activations of two inputs, mean over pairs. NaN for one input.
    sample_variance, squared_sample_mean: (L,), of the pre-activations over inputs (and positions), mean over units.
    dead: (L,), share of units that are zero for every input.
    gradient_norms: (W,), of the loss by each weight: cross-entropy if y is given, else mean |output|^2 / 2.
    jacobian_singular_values: (B', K), descending, of the output by each of the first B' inputs.
    """

    squared_norms: Floats
    correlation: Floats
    sample_variance: Floats
    squared_sample_mean: Floats
    dead: Floats
    gradient_norms: Floats
    jacobian_singular_values: Floats

    @property
    def log_forward_ratio(self) -> float:
        """log(|last hidden|^2 / |input|^2), mean over inputs."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.mean(np.log(self.squared_norms[-1]) - np.log(self.squared_norms[0])))

    @property
    def log_gradient_ratio(self) -> float:
        """log(|gradient of the first layer's weight| / |of the head's|)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.log(self.gradient_norms[0]) - np.log(self.gradient_norms[-1]))

    @property
    def sample_variance_last(self) -> float:
        return _summary(np.take, self.sample_variance, -1)

    @property
    def correlation_last(self) -> float:
        return _summary(np.take, self.correlation, -1)

    @property
    def dead_fraction(self) -> float:
        """Share of all hidden units that are zero for every input."""
        return _summary(np.mean, self.dead)

    @property
    def jacobian_sv_min(self) -> float:
        return _summary(np.min, self.jacobian_singular_values)

    @property
    def jacobian_sv_median(self) -> float:
        return _summary(_median, self.jacobian_singular_values)

    @property
    def jacobian_sv_max(self) -> float:
        return _summary(np.max, self.jacobian_singular_values)


def _median(values: Floats) -> float:
    """`np.median` in a third of the time, which is the longest of all summaries."""
    ordered = np.sort(values, axis=None)  # what is no number comes last
    middle = (len(ordered) - 1) // 2, len(ordered) // 2
    return ordered[-1] if np.isnan(ordered[-1]) else (ordered[middle[0]] + ordered[middle[1]]) / 2


def _summary(statistic: Any, values: Floats, *arguments: int) -> float:
    return float(statistic(values, *arguments)) if values.size else float("nan")


def probe(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    jacobian: bool = True,
    jacobian_inputs: int = 4,
    leading: int | None = None,
    generator: torch.Generator | None = None,
) -> Probe:
    """Measure `model` on inputs x (B, ...), classes y (B,): one forward and one backward pass, and the Jacobian.

    The Jacobian's singular values are exact, for the first `jacobian_inputs` inputs, at the cost of one pass over
    out_features copies of each. Where outputs are many, `leading=k` takes the k largest by Lanczos from a start that
    `generator` draws (`leading_singular_values`). Batch normalization is measured as the model's mode says, and as a
    fixed affine map in the Jacobian. The model is left as it was: no gradients, buffers as before.

    ValueError if the model is not understood, there is no input, or `leading` comes without a generator.
    """
    if not len(x):
        raise ValueError(f"x must hold at least one input, got the shape {tuple(x.shape)}")
    if leading is not None and (generator is None or leading < 1):
        raise ValueError(
            f"leading must be at least 1 and needs generator=torch.Generator(), got {leading}, {generator}"
        )
    inputs = jacobian_inputs if jacobian and leading is None else 0
    network = chain.plain(model, x, inputs) if _are_classes(y, x) else None
    measured = by_autograd(model, x, y, inputs) if network is None else chain.measure(network, x, y, inputs)
    if jacobian and leading is not None and generator is not None:
        with frozen_normalization(model, x):
            rows = bidiagonalize(model, x[:jacobian_inputs], leading, 2 * leading + 10, generator)
    else:
        rows = spectrum(measured.jacobians)
    return _summarized(x, measured, rows)


def probes(models: Sequence[nn.Module], x: Tensor, y: Tensor | None = None, *, jacobian_inputs: int = 4) -> list[Probe]:
    """What `probe` says of every model on the same inputs, up to rounding, in a fraction of the time for narrow MLPs.

    They are measured by compiled code, one after another: what is found of one does not depend on the others. It is
    compiled when it is first needed, once per machine, in some seconds. ValueError as `probe`.
    """
    from isoinit import narrow  # loads a compiler, which who has one network does not need

    found: list[Probe] = []
    known, entering = len(x) > 0 and _are_classes(y, x), array(squared_norm(x[None]))
    for model in models:
        network = chain.plain(model, x, jacobian_inputs) if known else None
        if network is None or not narrow.applies(network, x, jacobian_inputs):
            found.append(probe(model, x, y, jacobian_inputs=jacobian_inputs))
            continue
        sums, squares, dead, norms, jacobians = narrow.measure(network, x, y, jacobian_inputs)
        correlation, variance, squared_mean = spread(sums)
        squares, values = np.concatenate([entering, squares]), array(spectrum(jacobians))
        found.append(Probe(squares, correlation, variance, squared_mean, dead, norms, values))
    return found


def _are_classes(y: Tensor | None, x: Tensor) -> bool:
    """Whether the loss is one that `chain` and `narrow` know; cross-entropy has others, and refuses some."""
    return y is None or (y.shape == x.shape[:1] and y.dtype == torch.int64 and bool((y >= 0).all()))


@torch.no_grad()
def _summarized(x: Tensor, measured: chain.Chain, singular_values: Tensor) -> Probe:
    correlation, variance, squared_mean = spread(array(each(sums_of, measured.before)))
    norms, squares = squared_norm(x[None]), each(squared_norm, measured.hidden)
    return Probe(
        squared_norms=array(torch.cat([norms, squares]) if len(squares) else norms),
        correlation=correlation,
        sample_variance=variance,
        squared_sample_mean=squared_mean,
        dead=array(each(dead_share, measured.hidden)),
        gradient_norms=array(measured.gradient_norms),
        jacobian_singular_values=array(singular_values),
    )


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Probe:
        return probe(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
