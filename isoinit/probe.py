"""What a network does to signals at initialization, measured on the real network.

    probe(model, x).jacobian_singular_values

Shapes: B inputs, L hidden layers (in a ResNet: stem layers and blocks), W weight layers, K singular values an input.
The module is callable: `isoinit.probe(model, x)` is `isoinit.probe.probe(model, x)`.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isoinit import chain
from isoinit.asked import are_classes, outside, refuse_classes, refuse_inputs
from isoinit.held import frozen_normalization, without_noise
from isoinit.passes import by_autograd
from isoinit.schemes.reading import uncompiled
from isoinit.signals import Floats, array, dead_share, each, spread, squared_norm, sums_of
from isoinit.spectrum import bidiagonalize, spectra, spectrum

_NUMBERS = 2**20  # of first weights or Jacobians held at once


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
            ratios = np.log(self.squared_norms[-1]) - np.log(self.squared_norms[0])
            return float(np.add.reduce(ratios)) / len(ratios)

    @property
    def log_gradient_ratio(self) -> float:
        """log(|gradient of the first layer's weight| / |of the head's|)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.log(self.gradient_norms[0]) - np.log(self.gradient_norms[-1]))

    @property
    def sample_variance_last(self) -> float:
        return _last(self.sample_variance)

    @property
    def correlation_last(self) -> float:
        return _last(self.correlation)

    @property
    def dead_fraction(self) -> float:
        """Share of all hidden units that are zero for every input."""
        return float(np.add.reduce(self.dead)) / len(self.dead) if len(self.dead) else math.nan

    @property
    def jacobian_sv_min(self) -> float:
        return _of_all(np.minimum, self.jacobian_singular_values)

    @property
    def jacobian_sv_median(self) -> float:
        values = np.sort(self.jacobian_singular_values, axis=None)  # what is no number comes last
        if not len(values) or math.isnan(values[-1]):
            return math.nan
        return float(values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2

    @property
    def jacobian_sv_max(self) -> float:
        return _of_all(np.maximum, self.jacobian_singular_values)


# What numpy calls for `np.mean`, `np.min` and `np.median`, without what these do before: on so few numbers that is most
# of their time, and a pack has many networks.


def _last(values: Floats) -> float:
    return float(values[-1]) if len(values) else math.nan


def _of_all(choice: np.ufunc, values: Floats) -> float:
    return float(choice.reduce(values, axis=None)) if values.size else math.nan


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

    The Jacobian's singular values are exact, for the first `jacobian_inputs` inputs, at the cost of one pass over as
    many copies of each as an output has numbers. Where those are many, `leading=k` takes the k largest by Lanczos from
    a start that `generator` draws (`leading_singular_values`). Batch normalization is measured as the model's mode
    says, and as a fixed affine map in the Jacobian; dropout is left out. The model is left as it was: no gradients,
    buffers as before.

    ValueError if the model is not understood or does not run on x, if x are no numbers, or y no classes of its outputs,
    or if `leading` comes without a generator.
    """
    refuse_inputs(x, jacobian_inputs, leading, generator)
    inputs = jacobian_inputs if jacobian and leading is None else 0
    with torch.inference_mode(False):  # in which nothing has a gradient, and what was made in it never will
        model, x, y = uncompiled(model), outside(x), y if y is None else outside(y)
        network = chain.plain(model, x, inputs) if are_classes(y, x) else None
        if network is not None and y is not None:
            refuse_classes(y, len(network.weights[-1]))
        measured = by_autograd(model, x, y, inputs) if network is None else chain.measure(network, x, y, inputs)
        if jacobian and jacobian_inputs and leading is not None and generator is not None:
            with without_noise(model), frozen_normalization(model, x):
                rows = bidiagonalize(model, x[:jacobian_inputs], leading, 2 * leading + 10, generator)
        else:
            rows = spectrum(measured.jacobians)
        return _summarized(x, measured, rows)


def probes(models: Sequence[nn.Module], x: Tensor, y: Tensor | None = None, *, jacobian_inputs: int = 4) -> list[Probe]:
    """What `probe` says of every model on the same inputs, up to rounding, in a fraction of the time for narrow MLPs.

    They are measured by compiled code, those alike but in depth by one call, one after another: what is found of one
    does not depend on the others. It is compiled when it is first needed, once per machine, in some seconds. ValueError
    as `probe`.
    """
    from isoinit import narrow  # loads a compiler, which who has one network does not need

    refuse_inputs(x, jacobian_inputs)
    models, known = [uncompiled(model) for model in models], are_classes(y, x)
    plain = [chain.plain(model, x, jacobian_inputs) if known else None for model in models]
    alike: dict[tuple[Any, ...], list[int]] = {}
    found: dict[int, Probe] = {}
    for i, (model, network) in enumerate(zip(models, plain, strict=True)):
        if network is not None and narrow.applies(network, x, jacobian_inputs):
            alike.setdefault(narrow.form(network), []).append(i)
        else:
            found[i] = probe(model, x, y, jacobian_inputs=jacobian_inputs)
    for places in alike.values():
        networks = [network for i in places if (network := plain[i]) is not None]
        found.update(zip(places, _measured(networks, x, y, jacobian_inputs), strict=True))
    return [found[i] for i in range(len(models))]


def _measured(networks: Sequence[chain.Plain], x: Tensor, y: Tensor | None, inputs: int) -> Iterator[Probe]:
    """The networks, of one form of `narrow`, some at once."""
    from isoinit import narrow

    numbers = x[0].numel() * max(len(networks[0].weights[0]), inputs * len(networks[0].weights[-1]))
    at_once = max(1, _NUMBERS // numbers)
    for start in range(0, len(networks), at_once):
        some = networks[start : start + at_once]
        sums, squares, dead, norms, jacobians = narrow.measure(some, x, y, inputs)
        correlation, variance, squared_mean = spread(sums)
        end = 0
        for k, (network, values) in enumerate(zip(some, spectra(jacobians), strict=True)):
            begin, end = end, end + len(network.weights) - 1
            layers, more = slice(begin, end), slice(begin + k, end + k + 1)
            measured = correlation[layers], variance[layers], squared_mean[layers], dead[layers]
            yield Probe(squares[more], *measured, norms[more], array(values))


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
