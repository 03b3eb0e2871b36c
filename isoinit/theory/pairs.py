"""How far apart two inputs of a smooth net are, over nets of a finite width: a few nets, each of one number.

Legend: `d` one minus the cosine of two inputs in the pre-activations, f mean field's map of it, N the width.

What near inputs differ by grows like a tangent across the signal x. The squared lengths of both are sums of N terms in
each layer, so that with the relative variances eta / N and eps / N of `coupled` (derived here)

    log d' = log f(d) + drift + sqrt(variance) n,    drift = (eps - eta) / 2 N and what the length of x does to slopes,
                                                     variance = (eps + eta - 2 cov) / N

Inputs at right angles differ by the same formula, with the variances of |phi_1 - phi_2|^2 and |phi_1|^2 + |phi_2|^2
(`Noise.across`). In between both are taken to be linear in d, of the log of d / (2 - d), twice Fisher's z, which for
Gaussian inputs has the same variance at any d. Neither is more than if all units were saturated, when d is a mean of N
coins. Noise is stratified and always the same. It brings pairs near where mean field would not: f pulls those that are
far apart no farther apart than they were, but lets those that came near come nearer.

It is of odd activations and Gaussian weights: others have another length in every net, of which f depends, and GELU
nets by this would be farther from random ones, not nearer; orthogonal weights keep lengths, and their noise is little.
"""

from typing import Final, NamedTuple

import numpy as np
from scipy.special import ndtri

from isoinit.theory.gaussian import Array

NETS: Final = 64
_ROWS: Final = 61  # of noise, taken in turn
_NOISE: Final = np.random.default_rng(0).permuted(np.tile(ndtri((np.arange(NETS) + 0.5) / NETS), (_ROWS, 1)), axis=1)
_LEAST, _MOST = 1e-250, 2 - 1e-12
_LOST = 1e-30  # a share of a distance that is gone
_FURTHEST = 50.0  # in a layer, in logs: of nets of a few saturated units


class Noise(NamedTuple):
    """Mean and variance that a layer adds to the log of d / (2 - d)."""

    drift: float
    variance: float

    @classmethod
    def across(cls, kurtosis: float, share: float, width: int) -> "Noise":
        """Of inputs at right angles, for an odd activation phi; `kurtosis` is E phi^4 / (E phi^2)^2, and all but the
        `share` of the next length is the bias's."""
        own, length, both = (kurtosis + 1) / 2, share**2 * (kurtosis - 1) / 2, share * (kurtosis - 1) / 2
        variance, wide = (own + length - 2 * both) / width, 2 / (2 - share)  # the next d is the share
        return cls(wide * (length - own) / (2 * width) + variance * share / (2 - share) ** 2, wide**2 * variance)


class Pairs:
    """Nets in all of which a pair is `d` apart, from 0 to 2."""

    def __init__(self, d: float, width: int) -> None:
        self._d, self._width, self._layer = np.full(NETS, float(d)), width, 0

    @property
    def correlation(self) -> float:
        """The mean cosine."""
        return float(1 - self._d.mean())

    @property
    def distance(self) -> float:
        """One minus the modulus of the cosine, the geometric mean."""
        return float(np.exp(np.log(np.maximum(_near(self._d), _LEAST)).mean()))

    def step(self, closed: float, tangent: float, share: float, near: Noise, far: Noise) -> None:
        """One layer on, where mean field takes `distance` to `closed`, and the least distances x to `tangent` x.

        All but the `share` of the next length is the bias's, which is the same for both inputs.
        """
        at, typical = np.maximum(_near(self._d), _LEAST), self.distance
        after = np.clip(at * _kept(at / typical, max(closed / typical, _LOST), tangent), _LEAST, 1.0)
        after = np.where(self._d > 1, 2 * share - after, after)  # the other input or its opposite: phi is odd
        coins, wide = 1 / (self._width * at), 2 / (2 - at)
        drift = np.maximum((1 - at) * near.drift + at * far.drift, -coins * wide)
        variance = np.minimum((1 - at) * near.variance + at * far.variance, 2 * coins * wide**2)
        moved = drift + np.sqrt(np.maximum(variance, 0.0)) * _NOISE[self._layer % _ROWS]
        moved = np.clip(moved, -_FURTHEST, _FURTHEST)
        self._d = np.maximum(2 / (1 + (2 / np.clip(after, _LEAST, _MOST) - 1) * np.exp(-moved)), _LEAST)
        self._layer += 1


def _kept(x: Array, share: float, tangent: float) -> Array:
    """The share of a distance of x typical ones that mean field leaves, `tangent` at 0 and `share` at 1: linear in x as
    for a smooth activation, or its inverse is, as for one that saturates, where a line would end below 0."""
    if tangent < 2 * share:
        return tangent + (share - tangent) * x
    return 1 / (1 / tangent + (1 / share - 1 / tangent) * x)


def _near(d: Array) -> Array:
    """From the other input or its opposite, whichever is nearer: an odd activation takes them for alike."""
    return np.minimum(d, 2 - d)
