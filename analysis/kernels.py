"""The prior covariance of the log-odds, its hyperparameters theta, on an unbounded scale, and its gradient by them.

The frontier kernel (see `Kernel`) is this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from analysis.points import CENTRE, Points

OFFSET = 4.0  # prior variance of the overall log-odds


@dataclass(frozen=True)
class Kernel:
    """Covariance of the log-odds over `numeric` unit-cube axes and `categorical` axes.

        k = l ((s M(x, x') + g L(x_, x_')) prod_j rho_j^[c_j != c_j'] + (u - 1/2)(u' - 1/2)) + OFFSET
        L = (1 - i) mean_j M(x_j, x_j') + i M(x_, x_')

    M is the Matern-3/2 correlation with one length scale per axis, for limits have kinks, where one cause takes over
    from another; smoother kernels give bands that are too narrow there. The second and third terms exist only if
    `frontier`: u is the first axis (log depth) and x_ the others. Together they say that the log-odds fall
    (or rise) along u around a limit that depends on the other axes; M over all axes bends that where the data ask.
    The limits L are mostly a sum of what each axis does alone (Duvenaud et al., Additive Gaussian processes, NeurIPS
    2011), as where width and bias variance each have their own law; i is the share of their interaction, and there
    only with two axes or more. Placed and read with sums, as few errors took, on the beds of `tests/bench` (seeds 20 to
    39, a script that was not kept), a tenth fewer trials for the kinked and the islands bed, a twentieth for the noisy
    one, as many for the window and a tenth more for the smooth bed, all little more than the scatter of the seeds; as
    many on a map of digits over depth, width and bias variance. Without `frontier` l is 1.

    l is the squared steepness of the log-odds along u. It is a scale of its own, because labels may be as good as
    certain or be a coin's near the limit, while sqrt(g), the spread of the limits as a share of the range of u, does
    not depend on that; nor does s, the bend. A prior of s and g in log-odds would bind the two, and a noisy sweep of
    a few dozen trials would be read as a wild frontier.

    A point with the code `CENTRE` on an axis is a point of all its levels at once, as a network without biases is one
    of every bias mode. Its log-odds are taken for the levels' mean there, brought back to their variance; that needs
    the number of `levels` of every categorical axis.
    """

    numeric: int
    categorical: int
    frontier: bool = False
    levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.frontier and not self.numeric:
            raise ValueError("a frontier kernel needs at least one numeric axis, but got none.")

    @property
    def rivals(self) -> tuple[Kernel, ...]:
        """Kernels to let the evidence choose between: a region need not have its limits along the first axis."""
        return (self, replace(self, frontier=False)) if self.frontier else (self,)

    @property
    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of theta: log length scales, log s, logit rho, [log g, log l, [logit i]].

        Rounded from what 200 trials gave on the beds of `tests/bench` and on a real map: for a few dozen trials leave
        much to the prior. Limits vary slowly with what is not depth.
        """
        first, others, m = min(self.numeric, 1), max(self.numeric - 1, 0), self.categorical
        if self.frontier:
            mean = [np.log(0.4), *[np.log(1.2)] * others, np.log(0.007), *[0.2] * m, np.log(0.08), np.log(600.0)]
            deviation = [0.7, *[0.5] * others, 0.8, *[0.8] * m, 0.5, 1.5]
            shared = self._interacts * [(-1.4, 1.0)]
            return np.array(mean + [center for center, _ in shared]), np.array(deviation + [sd for _, sd in shared])
        mean = [*[np.log(0.5)] * first, *[np.log(1.0)] * others, np.log(20.0), *[0.2] * m]
        return np.array(mean), np.array([*[0.7] * self.numeric, 1.2, *[0.8] * m])

    @property
    def _interacts(self) -> bool:
        return self.frontier and self.numeric > 2

    def split(self, theta: np.ndarray) -> tuple[np.ndarray, float, np.ndarray, float, float, float]:
        """Length scales [d], l s, rho [m], l g, l, i."""
        d, m = self.numeric, self.categorical
        g, slope = np.exp(theta[d + 1 + m : d + 3 + m]) if self.frontier else (0.0, 1.0)
        i = float(expit(theta[-1])) if self._interacts else 1.0
        return np.exp(theta[:d]), float(np.exp(theta[d])) * slope, expit(theta[d + 1 : d + 1 + m]), g * slope, slope, i

    def diagonal(self, theta: np.ndarray, points: Points) -> np.ndarray:
        _, s, _, g, slope, _ = self.split(theta)
        linear = slope * (points.x[:, 0] - 0.5) ** 2 if self.frontier else 0.0
        return np.full(len(points.x), s + g + OFFSET) + linear

    def matrix(self, theta: np.ndarray, a: Points, b: Points) -> np.ndarray:
        """Covariance [len(a), len(b)].

        The limits are the same at all depths: on a grid of depths they are worth computing once per column.
        """
        columns, at = _columns(b.x)
        if not self.frontier or len(columns) > len(b.x) / 2:
            return self._terms(theta, a, b)[0]
        scales, s, rho, g, slope, i = self.split(theta)
        squares = [np.square((a.x[:, None, j] - columns[None, :, j - 1]) / scales[j]) for j in range(1, self.numeric)]
        beyond = sum(squares, np.zeros((len(a.x), len(columns))))
        full = _matern(np.square((a.x[:, None, 0] - b.x[None, :, 0]) / scales[0]) + beyond[:, at]).value
        limits = np.asarray(_limits(squares, beyond, i).value)[:, at]
        linear = slope * np.multiply.outer(a.x[:, 0] - 0.5, b.x[:, 0] - 0.5)
        return (s * full + g * limits) * self._alike(rho, a, b) + linear + OFFSET

    def gradients(self, theta: np.ndarray, a: Points) -> tuple[np.ndarray, list[np.ndarray]]:
        """Covariance [n, n] of `a` with itself and its derivative by each entry of theta."""
        k, squares, full, limits, alike = self._terms(theta, a, a)
        _, s, rho, g, _, i = self.split(theta)
        stationary = s * full.value + g * limits.value
        by_scale = [
            (s * full.slope + g * slope) * alike * square for slope, square in zip(limits.slopes, squares, strict=True)
        ]
        by_rho = [stationary * alike * self._log_slope(a.c[:, j], a.c[:, j], j, r) for j, r in enumerate(rho)]
        frontier = [g * limits.value * alike, k - OFFSET] if self.frontier else []
        share = [g * i * (1 - i) * (limits.together - limits.alone) * alike] if self._interacts else []
        return k, [*by_scale, s * full.value * alike, *by_rho, *frontier, *share]

    def _terms(self, theta: np.ndarray, a: Points, b: Points):
        scales, s, rho, g, slope, i = self.split(theta)
        squares = [np.square((a.x[:, None, i] - b.x[None, :, i]) / scale) for i, scale in enumerate(scales)]
        nothing = np.zeros((len(a.x), len(b.x)))
        beyond = sum(squares[1:], nothing)
        alike = self._alike(rho, a, b)
        full = _matern(squares[0] + beyond if squares else nothing)
        if not self.frontier:
            return s * full.value * alike + OFFSET, squares, full, _Limits(0.0, [0.0] * len(squares)), alike
        limits = _limits(squares[1:], beyond, i)
        linear = slope * np.multiply.outer(a.x[:, 0] - 0.5, b.x[:, 0] - 0.5)
        k = (s * full.value + g * limits.value) * alike + linear + OFFSET
        return k, squares, full, limits, alike

    def _alike(self, rho: np.ndarray, a: Points, b: Points) -> np.ndarray:
        """Correlation [len(a), len(b)] of all categorical axes together."""
        each = [self._correlation(a.c[:, j], b.c[:, j], j, r) for j, r in enumerate(rho)]
        return reduce(np.multiply, each, np.ones((len(a.x), len(b.x))))

    def _correlation(self, a: np.ndarray, b: np.ndarray, axis: int, rho: float) -> np.ndarray:
        """Correlation [len(a), len(b)] of codes of one categorical axis."""
        value = np.where(a[:, None] == b[None, :], 1.0, rho)
        central = (a == CENTRE)[:, None] != (b == CENTRE)[None, :]
        if not central.any():
            return value
        n = self.levels[axis]
        return np.where(central, np.sqrt((1 + (n - 1) * rho) / n), value)

    def _log_slope(self, a: np.ndarray, b: np.ndarray, axis: int, rho: float) -> np.ndarray:
        """Derivative of the log of `_correlation` by the logit of rho."""
        slope = np.where(a[:, None] == b[None, :], 0.0, 1 - rho)
        central = (a == CENTRE)[:, None] != (b == CENTRE)[None, :]
        if not central.any():
            return slope
        n = self.levels[axis]
        return np.where(central, 0.5 * (n - 1) * rho * (1 - rho) / (1 + (n - 1) * rho), slope)


def _columns(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of all axes but the first, and for each row of `x` which of them is its."""
    if x.shape[1] < 2:
        return np.zeros((1, 0)), np.zeros(len(x), int)
    columns, at = np.unique(x[:, 1:], axis=0, return_inverse=True)
    return columns, at.reshape(-1)


class _Matern(NamedTuple):
    value: np.ndarray | float
    slope: np.ndarray | float  # derivative by the log of a length scale, per scaled squared distance


def _matern(square: np.ndarray) -> _Matern:
    r = np.sqrt(3.0 * square)
    decay = np.exp(-r)
    return _Matern((1 + r) * decay, 3.0 * decay)


class _Limits(NamedTuple):
    """Correlation of the limits, and what `_Matern.slope` is, by each axis (none by the first)."""

    value: np.ndarray | float
    slopes: list[np.ndarray | float]
    alone: np.ndarray | float = 0.0
    together: np.ndarray | float = 0.0


def _limits(squares: list[np.ndarray], total: np.ndarray, share: float) -> _Limits:
    together = _matern(total)
    if len(squares) < 2:
        return _Limits(together.value, [0.0, *[together.slope] * len(squares)])
    own = [_matern(square) for square in squares]
    alone = sum(m.value for m in own) / len(own)
    slopes = [share * together.slope + (1 - share) * m.slope / len(own) for m in own]
    return _Limits(share * together.value + (1 - share) * alone, [0.0, *slopes], alone, together.value)
