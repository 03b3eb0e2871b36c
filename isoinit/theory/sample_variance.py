"""Sample mean and sample variance of pre-activations over the data: their decay in ReLU nets, and what keeps them.

Luther & Seung (1902.04942; Phys. Rev. Research 2, 033135). Legend, for one neuron over samples, averaged over
weights: `m^2` squared sample mean, `v^2` sample variance, `s2 = m^2 + v^2` total, `c = m^2 / s2`,
`sw2 = fan_in * Var(w)`, `sb2 = Var(b)`.

    m'^2 = (sw2/2) s2 kappa1(c) + sb2          v'^2 = (sw2/2) s2 (1 - kappa1(c))

The authors' blog defines `c^2 = m^2 / s2`; that is wrong (at m^2 = .2, s2 = 1 the next m^2 is .4247, not .2568).
The bias terms are an extension. `c` equals the mean-field correlation of two random inputs.
"""

from math import inf, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from isoinit.theory.asked import GENERATOR, asks, between, whole
from isoinit.theory.gaussian import Array, kappa1_complement
from isoinit.theory.meanfield import RELU_DECORRELATION

DECAY = sqrt(RELU_DECORRELATION)  # l v_l tends to this for He weights: 3 pi / sqrt(2) = 6.664
_LARGEST = 1e100
_VARIANCE = between(1 / _LARGEST, _LARGEST)
PRICE = pi / (pi - 1)  # growth of squared gradients per layer of unit sample variance and zero sample mean


class Moments(NamedTuple):
    """Arrays over layers: squared sample mean and sample variance, 0 or inf where floats cannot hold them, and m / v,
    which they can."""

    mean_square: Array
    variance: Array
    ratio: Array


@asks(layers=whole(0), sw2=_VARIANCE, sb2=between(0, _LARGEST), mean_square=between(0, _LARGEST), variance=_VARIANCE)
def decay(
    layers: int, *, sw2: float = 2.0, sb2: float = 0.0, mean_square: float = 0.0, variance: float = 1.0
) -> Moments:
    """Moments after 0..layers layers, shape (layers + 1,), wide limit; without bias `m/v` does not depend on sw2."""
    rows, total = [(mean_square, variance, sqrt(mean_square / variance))], mean_square + variance
    share = variance / total  # carried by itself, for the total may leave the floats
    for _ in range(layers):
        grown, kept = sw2 / 2 * total, float(kappa1_complement(share))
        total = grown + sb2
        share = kept * grown / total if sb2 > 0 and total < inf else kept
        ratio = sqrt(1 / share - 1) if share > 0 else inf
        rows.append((grown * (1 - kept) + sb2, grown * kept, ratio))
    return Moments(*np.array(rows).T)


class Preserving(NamedTuple):
    """Scaling each layer so that the sample variance stays 1, without removing the mean.

    sw2            shape (layers,): `fan_in * Var(w)` of layer 1..layers
    total          shape (layers + 1,): total variance, which grows without bound
    log_gradient   shape (layers + 1,): log growth of squared gradients, `sum log(sw2 / 2)`
    """

    sw2: Array
    total: Array
    log_gradient: Array


@asks(layers=whole(0))
def preserving(layers: int) -> Preserving:
    """The scale-only rule, started from unit variance and zero mean; `total = 1 / v^2` of He's decay."""
    sw2, total = np.empty(layers), np.ones(layers + 1)
    for i in range(layers):
        kept = float(kappa1_complement(1 / total[i]))
        sw2[i] = 2 / (total[i] * kept)
        total[i + 1] = 1 / kept
    return Preserving(sw2, total, np.concatenate([[0.0], np.cumsum(np.log(sw2 / 2))]))


def standardized_variance() -> float:
    """sw2 of the per-neuron rule ("sample init"), mean removed: `2 pi / (pi - 1) = 2.9339` in every layer."""
    return 2 * PRICE


@asks(layers=whole(0))
def batchnorm_log_gradient(layers: int) -> float:
    """Log growth of squared gradients through `layers` ReLU layers whose pre-activations are batch-normalized."""
    return layers * log(PRICE)


@asks(width=whole(2), layers=whole(0), nets=whole(1), samples=whole(2), sw2=_VARIANCE, rng=GENERATOR)
def simulated_ratio(
    width: int, layers: int, *, nets: int, samples: int = 1000, sw2: float = 2.0, rng: np.random.Generator
) -> Array:
    """m / v of real He nets at each layer, shape (nets, layers + 1): what a finite width makes of it.

    Layer 0 are pre-activations N(0, I), as after a first layer.

    Narrow nets saturate below the wide limit (at layer 50: 1.8, 3.1, 4.6, 7.2 for widths 30, 100, 300, 1000, against
    9.0), and no closed form is known.
    """
    ratios = np.empty((nets, layers + 1))
    for net in range(nets):
        y = rng.standard_normal((samples, width))
        ratios[net, 0] = _ratio(y)
        for layer in range(1, layers + 1):
            y = np.maximum(y, 0) @ (rng.standard_normal((width, width)) * sqrt(sw2 / width))
            ratios[net, layer] = _ratio(y)
    return ratios


def _ratio(y: Array) -> float:
    return float(np.sqrt(np.mean(y.mean(0) ** 2) / np.mean(y.var(0))))
