"""Statistics of the signals of many layers at once: norms, means and variances, correlations, dead units.

Shapes: k layers whose signals are stacked, B inputs. Squares of what float32 can hold vanish and overflow, so they are
taken in double precision.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

_NUMBERS = 2**15  # of signals in double precision at once


def each(statistic: Callable[[Tensor], Tensor], signals: Tensor | list[Tensor]) -> Tensor:
    """A statistic of stacked signals (k, B, ...), for every layer, (L, ...)."""
    if isinstance(signals, Tensor):
        return torch.cat([statistic(part) for part in signals.split(max(1, _NUMBERS // signals[0].numel()))])
    return torch.stack(_by_shape(signals, statistic)) if signals else torch.empty(0)


def _by_shape(tensors: Sequence[Tensor], f: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """`f` of every tensor, called once per distinct shape on the stack of the tensors that share it."""
    places: dict[torch.Size, list[int]] = {}
    for i, tensor in enumerate(tensors):
        places.setdefault(tensor.shape, []).append(i)
    results: list[Tensor] = list(tensors)
    for indices in places.values():
        first, *others = (tensors[i] for i in indices)
        stack = torch.stack([first, *others]) if others else first[None]
        for i, result in zip(indices, f(stack).unbind(), strict=True):
            results[i] = result
    return results


def array(values: Tensor) -> Floats:
    """The values in double precision, off the device."""
    return values.double().cpu().numpy()


def squared_norm(signals: Tensor) -> Tensor:
    """(k, B) of the signals (k, B, ...)."""
    return signals.double().flatten(2).square().sum(2)


def sums_of(signals: Tensor) -> Tensor:
    """What `spread` needs of the signals (k, B, ...), (k, 4): how many inputs have a signal, |sum of the directions of
    their signals|^2, the sample variance and the squared sample mean, means over units."""
    signals = signals.double()
    units = _units(signals)
    mean = units.mean(1, keepdim=True)
    vectors = signals.flatten(2)
    norms = vectors.square().sum(2).sqrt_()
    scales = norms.reciprocal().masked_fill_(norms == 0, 0)
    total = torch.bmm(scales.unsqueeze(1), vectors)
    return torch.stack(
        [
            norms.count_nonzero(1),
            total.square_().sum((1, 2)),
            (units - mean).square_().mean((1, 2)),
            mean.square_().mean((1, 2)),
        ],
        dim=1,
    )


def spread(sums: Floats) -> tuple[Floats, Floats, Floats]:
    """Correlation, sample variance and squared sample mean, (k,) each, from `sums_of`: the mean cosine over the pairs
    of inputs whose signal is not zero."""
    alive, total, variance, squared_mean = sums.reshape(-1, 4).T
    correlation = np.full(len(alive), np.nan)
    np.divide(total - alive, alive * (alive - 1), out=correlation, where=alive >= 2)
    return correlation, variance, squared_mean


def _units(signals: Tensor) -> Tensor:
    """(k, samples, units) of the signals (k, B, units, ...): positions are further samples of their channel."""
    return signals.movedim(2, -1).flatten(1, -2)


def dead_share(signals: Tensor) -> Tensor:
    """Share of units of the signals (k, B, ...) that are zero for every input, (k,)."""
    return (_units(signals).abs().sum(1) == 0).double().mean(1)
