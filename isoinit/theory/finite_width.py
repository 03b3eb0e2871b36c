"""Exact law of the squared norm of a signal in a ReLU net of any widths, without mean-field assumptions.

Burkholz & Dubatovka (1806.06362). Legend: `z_l = |x^(l)|^2` (a sum over units, after ReLU), `N_l` width,
`s2w` variance of ONE weight, `s2b` variance of one bias, `S = s2w z + s2b`. Given `z_{l-1}`,

    z_l = S * chi2_K,   K ~ Binomial(N_l, 1/2),     so |x^(l)|^2 is a Markov chain, with an atom at zero.

Without bias the chain is a product of independent factors, and its law is one inverse FFT of a known
characteristic function. With bias it is stepped by a transition matrix on a logarithmic grid.
The norm is heavy-tailed (log-variance 5 L / N): compare logs and quantiles, not raw moments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Self

import numpy as np
from scipy.sparse import csr_array
from scipy.special import gammaln, logsumexp

from isoinit.theory.asked import GENERATOR, above, asks, below, least, many, plain, refuse, whole
from isoinit.theory.factors import Factor, binomial_weights, gaussian
from isoinit.theory.gaussian import Array
from isoinit.theory.norm_law import NormLaw, product_laws

_CELLS_PER_SD = 10  # grid of the transition route, in units of the log-sd of one layer
_MAX_CELLS = 6000
_MAX_SHARES = 1500**2  # from a cell to a cell, in the transition of one layer
_CERTAIN = 1 - 1e-15  # share of a layer's law that is looked at


@dataclass(frozen=True)
class Chain:
    """Layers of a net with Gaussian weights and biases.

    widths            N_1..N_L
    weight_variances  s2w of each layer, of one weight
    bias_variance     s2b, the same in all layers
    start             |x^(0)|^2
    """

    widths: tuple[int, ...]
    weight_variances: tuple[float, ...]
    bias_variance: float = 0.0
    start: float = 1.0

    def __post_init__(self) -> None:
        refuse("widths", self.widths, many(whole(1)))
        refuse("weight_variances", self.weight_variances, many(above(0)))
        if len(self.weight_variances) != len(self.widths):
            raise ValueError(
                f"weight_variances must be {len(self.widths)} positive numbers, one a layer, "
                f"but got {self.weight_variances}."
            )
        refuse("bias_variance", self.bias_variance, least(0))
        refuse("start", self.start, above(0))
        for name in ("widths", "weight_variances"):
            object.__setattr__(self, name, tuple(plain(value) for value in getattr(self, name)))
        for name in ("bias_variance", "start"):
            object.__setattr__(self, name, plain(getattr(self, name)))

    @classmethod
    @asks(width=whole(1), layers=whole(1, 10**6), sw2=above(0))
    def equal(cls, width: int, layers: int, sw2: float = 2.0, bias_variance: float = 0.0, start: float = 1.0) -> Self:
        """`layers` square layers of weight variance `sw2 / width` (2: He)."""
        return cls((width,) * layers, (sw2 / width,) * layers, bias_variance, start)

    def factors(self) -> list[Factor]:
        """The independent factors of the zero-bias chain; equal layers share one object."""
        made: dict[tuple[int, float], Factor] = {}
        for n, s2w in zip(self.widths, self.weight_variances, strict=True):
            made.setdefault((n, s2w), gaussian(n, 1, s2w))
        return [made[layer] for layer in zip(self.widths, self.weight_variances, strict=True)]

    def moments(self) -> tuple[Array, Array]:
        """`E z_l` and `E z_l^2` for l = 0..L, exact for any bias variance; arrays of shape (L + 1,).

        inf where floats cannot hold them.
        """
        m1, m2, s2b = [self.start], [self.start * self.start], self.bias_variance
        for n, s2w in zip(self.widths, self.weight_variances, strict=True):
            t1 = s2w * m1[-1] + s2b
            t2 = s2w * s2w * m2[-1] + 2 * s2w * s2b * m1[-1] + s2b * s2b
            m1.append(n * t1 / 2)
            m2.append(n * (n + 5) * t2 / 4)
        return np.array(m1), np.array(m2)

    @asks(draws=whole(1), rng=GENERATOR)
    def sample(self, draws: int, rng: np.random.Generator) -> Array:
        """Draws of z_0..z_L, shape (draws, L + 1)."""
        z = np.empty((draws, len(self.widths) + 1))
        z[:, 0] = self.start
        for i, (n, s2w) in enumerate(zip(self.widths, self.weight_variances, strict=True)):
            on = rng.binomial(n, 0.5, draws)
            z[:, i + 1] = (s2w * z[:, i] + self.bias_variance) * 2 * rng.standard_gamma(on / 2)
        return z

    def laws(self) -> list[NormLaw]:
        """The law of z_l after each layer l = 1..L, by the FFT without bias, by transition matrix with it."""
        return transition_laws(self) if self.bias_variance else product_laws(self.factors(), self.start)

    def law(self) -> NormLaw:
        """The law of z_L."""
        if self.bias_variance:
            return transition_laws(self)[-1]
        return product_laws(self.factors(), self.start, layers=[len(self.widths)])[0]


@asks(widths=many(whole(1)))
def death_probability(widths: Sequence[int]) -> float:
    """Probability that some layer is off altogether for a given input: `1 - prod(1 - 2^-N)` (zero bias)."""
    return float(-np.expm1(np.sum(np.log1p(-np.exp2(-np.asarray(widths, dtype=float))))))


@asks(width=whole(1))
def typical_gain(width: int) -> float:
    """`g_N` by which He's variance must be multiplied to keep the typical (median) norm; about 1 + 5/(2N)."""
    return float(np.exp(-gaussian(width).log_mean))


@asks(m=below(-0.5), width=whole(1), s2w=above(0))
def operator_eigenvalue(m: float, width: int, s2w: float) -> float:
    """Eigenvalue of the norm-law operator at zero bias, for the eigenfunction `y^m`, m < -1/2.

    `lambda_-1 = 1 - 2^-N` whatever the variance; He gives `lambda_-2 = 1`, the conserved mean.
    inf where floats cannot hold it.
    """
    k = np.arange(1, width + 1)
    logs = gammaln(k / 2 - m - 1) - gammaln(k / 2) - (m + 1) * log(2 * s2w)
    with np.errstate(over="ignore"):
        return float(np.exp(logsumexp(logs, b=binomial_weights(width)[1:])))


def transition_laws(chain: Chain) -> list[NormLaw]:
    """Laws of z_1..z_L for any bias variance: cell masses times a transition matrix a layer, atom apart.

    The kernel depends on z / S alone, so one cumulative distribution per width serves every cell. A cell is
    represented by its centre: the error is of second order in the cell.
    """
    units = {n: product_laws([gaussian(n, 1, 1.0)])[0] for n in set(chain.widths)}
    edges = _log_edges(chain, max(high - low for low, high in map(_reach, units.values())))
    cells = (edges[1:] + edges[:-1]) / 2
    matrices: dict[tuple[int, float, int], csr_array] = {}
    sources, masses, atom = np.array([log(chain.start)]), np.ones(1), 0.0
    log_bias = _log(chain.bias_variance)
    laws = []
    for n, s2w in zip(chain.widths, chain.weight_variances, strict=True):
        step = (n, s2w, len(sources))
        if step not in matrices:
            matrices[step] = _kernel(units[n], edges, np.logaddexp(log(s2w) + sources, log_bias))
        moved, dead = masses @ matrices[step], 2.0**-n
        if chain.bias_variance:
            moved = moved + np.array([atom]) @ _kernel(units[n], edges, np.array([log_bias]))
            atom = dead
        else:
            atom += (1 - atom) * dead
        masses, sources = np.asarray((1 - dead) * moved), cells
        laws.append(_tabulate(edges, masses, atom))
    return laws


def _kernel(unit: NormLaw, edges: Array, log_scale: Array) -> csr_array:
    """Probability of each cell given each `log S`, shape (S, cells); mass beyond the grid goes to its ends.

    Of each row only the cells are there that one layer can lead to.
    """
    low, high = _reach(unit)
    step, cells = edges[1] - edges[0], len(edges) - 1
    first = np.floor((log_scale + low - edges[0]) / step).astype(int)
    places = first[:, None] + np.arange(int((high - low) / step) + 3)
    ends = edges[0] + step * places - log_scale[:, None]
    cdf = np.interp(ends, unit.log_z, unit.log_cdf, left=0.0, right=1.0)
    cdf[:, 0], cdf[:, -1] = 0.0, 1.0
    rows = np.arange(len(log_scale) + 1) * (places.shape[1] - 1)
    columns = np.clip(places[:, :-1], 0, cells - 1).ravel()
    return csr_array((np.diff(cdf, axis=1).ravel(), columns, rows), shape=(len(log_scale), cells))


def _reach(unit: NormLaw) -> tuple[float, float]:
    """The logs between which a law is."""
    inside = unit.log_z[(unit.log_cdf > 1 - _CERTAIN) & (unit.log_cdf < _CERTAIN)]
    return float(inside[0]), float(inside[-1])


def _tabulate(edges: Array, masses: Array, atom: float) -> NormLaw:
    share = masses / masses.sum()
    density = np.interp(edges, (edges[1:] + edges[:-1]) / 2, share / np.diff(edges))
    return NormLaw(atom, edges, density, np.concatenate([[0.0], np.cumsum(share)]))


def _log_edges(chain: Chain, reach: float) -> Array:
    """A grid of log z that holds all layers: the zero-bias law bounds it below, Markov's inequality above.

    It is as fine as one layer asks for, but where a signal grows far, and one layer has a wide `reach`.
    """
    factors = chain.factors()
    one = max(factors, key=lambda f: f.log_variance)
    sd = np.sqrt(np.cumsum([f.log_variance for f in factors]))
    mean = log(chain.start) + np.cumsum([f.log_mean for f in factors])
    low = float(np.min(mean - 8 * sd))
    if chain.bias_variance:
        restart = log(chain.bias_variance) + min(gaussian(n, 1, 1.0).log_mean for n in chain.widths)
        low = max(low, restart - 8 * sqrt(one.log_variance))
    high = _log_mean_max(chain) + min(25.0, 8 * float(sd[-1]))
    spacing = sqrt(min(f.log_variance for f in factors)) / _CELLS_PER_SD
    most = min(_MAX_CELLS, int(sqrt(_MAX_SHARES * max((high - low) / reach, 1.0))))
    return np.linspace(low, high, 2 + min(most, int((high - low) / spacing)))


def _log_mean_max(chain: Chain) -> float:
    """The log of the greatest `E z_l`, of a signal that may leave the floats."""
    greatest = log_mean = log(chain.start)
    for n, s2w in zip(chain.widths, chain.weight_variances, strict=True):
        log_mean = float(np.logaddexp(log(s2w) + log_mean, _log(chain.bias_variance))) + log(n / 2)
        greatest = max(greatest, log_mean)
    return greatest


def _log(x: float) -> float:
    return log(x) if x > 0 else -inf
