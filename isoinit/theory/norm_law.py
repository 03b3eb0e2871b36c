"""The law of a squared norm as a table, and the law of a product of independent layer factors by FFT.

Legend: `z` squared norm, `F_l` factor of layer l (`factors`), `log z_L = log z_0 + sum_l log F_l`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import ArrayLike

from isoinit.theory.asked import above, asks, made, many, optional, whole
from isoinit.theory.factors import Factor
from isoinit.theory.gaussian import Array

_TAIL = 1e-14  # probability outside the grid
_MAX_FREQUENCIES = 1 << 14


@dataclass(frozen=True, eq=False)
class NormLaw:
    """The law of a squared norm: an atom at zero, and a density of its logarithm on a grid.

    atom      P(z = 0): every unit of some layer is off
    log_z     grid of log z, shape (G,), increasing
    density   of log z given z > 0, shape (G,)
    log_cdf   P(log z <= grid | z > 0), shape (G,)
    """

    atom: float
    log_z: Array
    density: Array
    log_cdf: Array

    def cdf(self, z: ArrayLike) -> Array:
        """`P(norm <= z)`, atom included."""
        z = np.asarray(z, dtype=float)
        inside = np.interp(np.log(np.maximum(z, 1e-300)), self.log_z, self.log_cdf, left=0.0, right=1.0)
        return np.where(z < 0, 0.0, self.atom + (1 - self.atom) * np.where(z > 0, inside, 0.0))

    def pdf(self, z: ArrayLike) -> Array:
        """Density of the continuous part at z > 0; it integrates to `1 - atom`."""
        z = np.asarray(z, dtype=float)
        return (1 - self.atom) * np.interp(np.log(z), self.log_z, self.density, left=0.0, right=0.0) / z

    def quantile(self, p: ArrayLike) -> Array:
        """Least z with `P(norm <= z) >= p`; 0 within the atom. What floats cannot hold becomes 0 or inf."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_quantile(p))

    def log_quantile(self, p: ArrayLike) -> Array:
        """Log of `quantile`: -inf within the atom. Deep nets need it, for exp(-750) is 0 already."""
        p = np.asarray(p, dtype=float)
        alive = max(1 - self.atom, np.finfo(float).tiny)
        rising = np.concatenate([[True], np.diff(self.log_cdf) > 1e-15])
        inside = np.interp((p - self.atom) / alive, self.log_cdf[rising], self.log_z[rising])
        return np.where(p <= self.atom, -np.inf, inside)

    @property
    def log_mean(self) -> float:
        """`E log z` given survival, by summation over the grid."""
        return float(self._masses @ self._centres)

    @property
    def log_variance(self) -> float:
        """`Var log z` given survival, by summation over the grid."""
        return float(self._masses @ (self._centres - self.log_mean) ** 2)

    @property
    def _masses(self) -> Array:
        return np.diff(self.log_cdf) / (self.log_cdf[-1] - self.log_cdf[0])

    @property
    def _centres(self) -> Array:
        return (self.log_z[1:] + self.log_z[:-1]) / 2


@asks(factors=many(made(Factor, "factors.gaussian(64)")), start=above(0), layers=optional(many(whole(1))))
def product_laws(factors: Sequence[Factor], start: float = 1.0, layers: Sequence[int] | None = None) -> list[NormLaw]:
    """Laws of `start` times the product of the first l independent `factors`, for each l in `layers`, in that order;
    default: for all.

    The characteristic function of log z is a product of known ones, so its inverse FFT is exact up to
    rounding, except for a Beta factor in a narrow layer: its density has edges, and is smoothed by a
    Gaussian of the finest scale the frequencies resolve.
    """
    asked = range(1, len(factors) + 1) if layers is None else layers
    wanted = sorted(set(asked))
    if wanted[-1] > len(factors):
        raise ValueError(f"layers must be at most the {len(factors)} factors, but got {wanted[-1]}.")
    mean = np.cumsum([f.log_mean for f in factors])
    sd = np.sqrt(np.cumsum([f.log_variance for f in factors]))
    if sd[wanted[0] - 1] == 0:
        raise ValueError("log-variance > 0 must hold: the norm of an isometry is a constant, without a density.")
    left = max(_left_tail(f, len(factors)) for f in factors)
    low = min(mean[n - 1] - 12 * sd[n - 1] for n in wanted) - left
    period = max(mean[n - 1] + 12 * sd[n - 1] for n in wanted) - low
    t = 2 * np.pi / period * np.arange(_frequencies(factors[: wanted[0]], period))
    known = {id(f): f.characteristic(t) for f in {id(f): f for f in factors}.values()}
    running, alive = np.exp(-1j * t * low), 1.0
    laws: dict[int, NormLaw] = {}
    for n, factor in enumerate(factors[: wanted[-1]], start=1):
        running = running * known[id(factor)]
        alive *= 1 - factor.death
        if n in wanted:
            laws[n] = _invert(running, t, low + log(start), period, 1 - alive)
    return [laws[n] for n in asked]


def _left_tail(factor: Factor, layers: int) -> float:
    """Distance below the bulk at which the exponential left tail of log F has mass `_TAIL`."""
    return float(np.max(np.log(np.maximum(factor.weights * layers / _TAIL, 1.0)) / factor.shapes))


def _frequencies(factors: Sequence[Factor], period: float) -> int:
    """How many multiples of `2 pi / period` it takes until the characteristic function has died out."""
    highest = 8 / np.sqrt(sum(f.log_variance for f in factors))
    counts = Counter(id(f) for f in factors)
    distinct = {id(f): f for f in factors}
    while highest * period < 2 * np.pi * _MAX_FREQUENCIES:
        at = np.array([highest])
        if np.prod([abs(distinct[k].characteristic(at)[0]) ** n for k, n in counts.items()]) < 1e-15:
            break
        highest *= 1.3
    return 2 + int(highest * period / (2 * np.pi))


def _invert(characteristic: np.ndarray, t: Array, low: float, period: float, atom: float) -> NormLaw:
    if abs(characteristic[-1]) > 1e-12:
        characteristic = characteristic * np.exp(-0.5 * (7 * t / t[-1]) ** 2)
    n = max(1 << 13, 1 << int(np.ceil(np.log2(4 * len(t)))))
    density = np.fft.irfft(np.conj(characteristic), n) * n / period
    # the integral of a Fourier series, term by term: the constant one is (log_z - low) / period
    step = np.arange(n) / n
    waves = np.zeros(len(t), dtype=complex)
    waves[1:] = np.conj(characteristic[1:]) / (1j * t[1:])
    cdf = np.fft.irfft(waves, n) * n / period + step
    cdf = np.maximum.accumulate(cdf - cdf[0])
    return NormLaw(atom, low + period * step, np.maximum(density, 0.0), np.clip(cdf / cdf[-1], 0, 1))
