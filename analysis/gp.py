"""Logistic Gaussian-process classification of Bernoulli counts.

Used twice, so that map and sampler cannot disagree: `analysis.region` reads an export with it (averaged over
hyperparameters while trials are few, see `analysis.averaging`) and `sweeps.boundary` places trials with it.

Letters, shapes in brackets: x [n, d] numeric axes in the unit cube, depth first if there is a frontier;
c [n, m] integer codes of the categorical axes; k of n networks trained; f the latent log-odds,
K its prior covariance [n, n]; W = -d2 log p(k | f) / df2; theta the hyperparameters, on an unbounded scale.

Method: Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), algorithms 3.1 (mode),
5.1 (evidence and gradient) and 3.5, 3.6 (expectation propagation and prediction), with a binomial instead of a
Bernoulli likelihood. Hyperparameters are learnt by the Laplace approximation, whose gradient is cheap; the posterior is
by expectation propagation, which alone is sure where labels are certain (Kuss & Rasmussen, Assessing approximate
inference for binary Gaussian process classification, JMLR 2005).
The frontier kernel (see `Kernel`) is this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit, log_expit, logit

OFFSET = 4.0  # prior variance of the overall log-odds
JITTER = 1e-6
SWEEPS = 30  # of expectation propagation, at most; a dozen is common
DAMPING = 0.7
_GRID = np.linspace(-6.0, 6.0, 81)


class Points(NamedTuple):
    """Places in the search space: `x` floats [n, d] in [0, 1], `c` integer category codes [n, m]."""

    x: np.ndarray
    c: np.ndarray

    def take(self, index: np.ndarray | slice | list[int]) -> Points:
        return Points(self.x[index], self.c[index])


class Counts(NamedTuple):
    """What was seen there: `k` of `n` networks trained, floats [n]."""

    k: np.ndarray
    n: np.ndarray

    def take(self, index: np.ndarray | slice | list[int]) -> Counts:
        return Counts(self.k[index], self.n[index])


@dataclass(frozen=True)
class Scale:
    """One numeric axis and its way to [0, 1]. Whatever lies below `floor` is one point, `low`."""

    low: float
    high: float
    log: bool = False
    floor: float = -np.inf

    def encode(self, values: np.ndarray) -> np.ndarray:
        values = np.where(values < self.floor, self.low, values)
        if self.log:
            return np.log(values / self.low) / np.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def decode(self, unit: np.ndarray) -> np.ndarray:
        span = self.high / self.low if self.log else self.high - self.low
        values = self.low * span**unit if self.log else self.low + span * unit
        return np.where(values < self.floor, self.low, values)


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
    """

    numeric: int
    categorical: int
    frontier: bool = False

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
        """Covariance [len(a), len(b)]."""
        return self._terms(theta, a, b)[0]

    def gradients(self, theta: np.ndarray, a: Points) -> tuple[np.ndarray, list[np.ndarray]]:
        """Covariance [n, n] of `a` with itself and its derivative by each entry of theta."""
        k, squares, full, limits, alike = self._terms(theta, a, a)
        _, s, rho, g, _, i = self.split(theta)
        stationary = s * full.value + g * limits.value
        by_scale = [
            (s * full.slope + g * slope) * alike * square for slope, square in zip(limits.slopes, squares, strict=True)
        ]
        by_rho = [
            stationary * alike * (a.c[:, None, j] != a.c[None, :, j]) * (1 - rho[j]) for j in range(self.categorical)
        ]
        frontier = [g * limits.value * alike, k - OFFSET] if self.frontier else []
        share = [g * i * (1 - i) * (limits.together - limits.alone) * alike] if self._interacts else []
        return k, [*by_scale, s * full.value * alike, *by_rho, *frontier, *share]

    def _terms(self, theta: np.ndarray, a: Points, b: Points):
        scales, s, rho, g, slope, i = self.split(theta)
        squares = [np.square((a.x[:, None, i] - b.x[None, :, i]) / scale) for i, scale in enumerate(scales)]
        nothing = np.zeros((len(a.x), len(b.x)))
        beyond = sum(squares[1:], nothing)
        alike = reduce(
            np.multiply,
            [np.where(a.c[:, None, j] == b.c[None, :, j], 1.0, r) for j, r in enumerate(rho)],
            nothing + 1.0,
        )
        full = _matern(squares[0] + beyond if squares else nothing)
        if not self.frontier:
            return s * full.value * alike + OFFSET, squares, full, _Limits(0.0, [0.0] * len(squares)), alike
        limits = _limits(squares[1:], beyond, i)
        linear = slope * np.multiply.outer(a.x[:, 0] - 0.5, b.x[:, 0] - 0.5)
        k = (s * full.value + g * limits.value) * alike + linear + OFFSET
        return k, squares, full, limits, alike


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


class Mode(NamedTuple):
    """Gaussian approximation of the posterior: a = K^-1 f, root = sqrt(W), chol of I + root K root.

    By Laplace f is the mode and W the curvature there; by expectation propagation f is the mean and W the precisions
    of the sites.
    """

    f: np.ndarray
    a: np.ndarray
    root: np.ndarray
    chol: np.ndarray
    log_joint: float  # at the mode


def laplace(K: np.ndarray, counts: Counts, start: np.ndarray | None = None, tolerance: float = 1e-6) -> Mode:
    """Damped Newton iteration to the mode (R&W algorithm 3.1), from `start` = K^-1 f or from f = 0."""
    k, n = counts
    a = np.zeros(len(k)) if start is None else start
    f = K @ a
    last = _log_joint(a, f, counts)
    for _ in range(50):
        root, chol = _factor(K, f, n)
        b = root**2 * f + k - n * expit(f)
        step = b - root * cho_solve((chol, True), root * (K @ b), check_finite=False) - a
        size = 1.0
        while (now := _log_joint(a + size * step, f + size * (K @ step), counts)) < last and size > 1e-3:
            size /= 2
        gain, last = now - last, max(now, last)
        if gain <= 0:
            break
        a = a + size * step
        f = K @ a
        if gain < tolerance:
            break
    root, chol = _factor(K, f, n)
    return Mode(f, a, root, chol, last)


def expectation(K: np.ndarray, counts: Counts, start: Mode) -> Mode:
    """Expectation propagation (R&W algorithm 3.5, all sites at once, damped) from a Laplace approximation.

    Where labels are certain the log-odds are large, and there the Laplace approximation takes an outcome for no news:
    its curvature is zero at the mode. Moments know the sign that was seen.
    """
    k, n = counts
    precision = start.root**2
    shift = precision * start.f + k - n * expit(start.f)
    share = (k + 0.5) / (n + 1)  # each likelihood's own centre and width give half of the quadrature's nodes
    own = logit(share)[:, None] + np.sinh(_GRID) / np.sqrt((n + 1) * share * (1 - share))[:, None]
    for _ in range(SWEEPS):
        root = np.sqrt(precision)
        chol = _cholesky(K, root)
        V = solve_triangular(chol, root[:, None] * K, lower=True, check_finite=False)
        variance = np.maximum(np.diag(K) - np.einsum("ij,ij->j", V, V), 1e-12)
        mean = K @ shift - V.T @ (V @ shift)
        rest = np.maximum(1 / variance - precision, 1e-9)
        around = (mean / variance - shift) / rest
        f = np.sort(np.concatenate([own, around[:, None] + _GRID / np.sqrt(rest)[:, None]], axis=1), axis=1)
        exponent = k[:, None] * log_expit(f) + (n - k)[:, None] * log_expit(-f)
        exponent -= 0.5 * rest[:, None] * (f - around[:, None]) ** 2
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True)) * np.gradient(f, axis=1)
        weight /= weight.sum(axis=1, keepdims=True)
        first = np.einsum("ij,ij->i", weight, f)
        second = np.maximum(np.einsum("ij,ij->i", weight, (f - first[:, None]) ** 2), 1e-12)
        precision = precision + DAMPING * (np.maximum(1 / second - rest, 1e-9) - precision)
        shift = shift + DAMPING * (first / second - around * rest - shift)
        if np.max(np.abs(first - mean) / np.sqrt(variance), initial=0.0) < 2e-3:
            break
    root = np.sqrt(precision)
    chol = _cholesky(K, root)
    a = shift - root * cho_solve((chol, True), root * (K @ shift), check_finite=False)
    return Mode(K @ a, a, root, chol, start.log_joint)


def _factor(K: np.ndarray, f: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = expit(f)
    root = np.sqrt(n * p * (1 - p) + 1e-9)
    return root, _cholesky(K, root)


def _cholesky(K: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Of I + root K root."""
    B = root[:, None] * K * root
    B[np.diag_indices_from(B)] += 1.0
    return cholesky(B, lower=True, overwrite_a=True, check_finite=False)


def _log_joint(a: np.ndarray, f: np.ndarray, counts: Counts) -> float:
    k, n = counts
    return float(-0.5 * a @ f + np.sum(k * log_expit(f) + (n - k) * log_expit(-f)))


def evidence(
    kernel: Kernel, theta: np.ndarray, points: Points, counts: Counts, start: np.ndarray | None = None
) -> tuple[float, np.ndarray, Mode]:
    """Log posterior of theta (Laplace evidence plus log prior), its gradient, and the mode (R&W algorithm 5.1)."""
    K, derivatives = kernel.gradients(theta, points)
    K[np.diag_indices_from(K)] += JITTER
    mode = laplace(K, counts, start)
    p = expit(mode.f)
    inverse = solve_triangular(mode.chol, np.diag(mode.root), lower=True, check_finite=False)
    R = inverse.T @ inverse  # (K + W^-1)^-1
    explained = inverse @ K
    variance = np.diag(K) - np.einsum("ij,ij->j", explained, explained)
    shift = -0.5 * variance * counts.n * p * (1 - p) * (1 - 2 * p)  # d evidence / d f, through W
    shift = shift - R @ (K @ shift)
    weight = 0.5 * (np.outer(mode.a, mode.a) - R) + np.outer(shift, counts.k - counts.n * p)
    gradient = np.array([np.vdot(weight, derivative) for derivative in derivatives])
    mean, deviation = kernel.prior
    z = (theta - mean) / deviation
    value = mode.log_joint - np.sum(np.log(np.diag(mode.chol))) - 0.5 * z @ z
    return float(value), gradient - z / deviation, mode


def learn(kernel: Kernel, points: Points, counts: Counts, iterations: int = 15) -> tuple[Kernel, np.ndarray]:
    """The kernel with the most evidence among `kernel.rivals`, and its most probable theta, from the prior mean.

    Of adaptively placed trials give all, or the first ones, never some by chance: each was placed where those before it
    left doubt, so that without them its outcome looks like a coin's, and the log-odds come out several times too small.
    """
    found = [(rival, maximize(rival, points, counts, iterations)) for rival in kernel.rivals]
    best, result = min(found, key=lambda pair: pair[1].fun)
    return best, result.x


def maximize(kernel: Kernel, points: Points, counts: Counts, iterations: int) -> OptimizeResult:
    """The most probable theta (`x`) of one kernel, and minus its `evidence` (`fun`), from the prior mean."""
    start = np.zeros(len(counts.k))  # the mode found for one theta is near the mode for the next

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal start
        value, gradient, mode = evidence(kernel, theta, points, counts, start)
        start = mode.a
        return -value, -gradient

    mean, deviation = kernel.prior
    bounds = list(zip(mean - 4 * deviation, mean + 4 * deviation, strict=True))
    return minimize(objective, mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations})


@dataclass(frozen=True)
class LogisticGP:
    """The posterior of the log-odds given counts at points, for fixed hyperparameters."""

    kernel: Kernel
    theta: np.ndarray
    points: Points
    mode: Mode

    @classmethod
    def condition(cls, kernel: Kernel, theta: np.ndarray, points: Points, counts: Counts) -> LogisticGP:
        K = kernel.matrix(theta, points, points)
        K[np.diag_indices_from(K)] += JITTER
        return cls(kernel, theta, points, expectation(K, counts, laplace(K, counts)))

    def moments(self, at: Points) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean [q] and variance [q] of the log-odds, and V [n, q] with cov(a, b) = k(a, b) - V_a^T V_b."""
        cross = self.kernel.matrix(self.theta, self.points, at)
        V = solve_triangular(self.mode.chol, self.mode.root[:, None] * cross, lower=True, check_finite=False)
        variance = self.kernel.diagonal(self.theta, at) - np.einsum("ij,ij->j", V, V)
        return cross.T @ self.mode.a, np.maximum(variance, 1e-9), V

    def covariance(self, a: Points, Va: np.ndarray, b: Points, Vb: np.ndarray) -> np.ndarray:
        """Posterior covariance [len(a), len(b)], from the V of `moments`."""
        return self.kernel.matrix(self.theta, a, b) - Va.T @ Vb


def thin(
    kernel: Kernel, theta: np.ndarray, points: Points, counts: Counts, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Indices of at most `size` trials that carry the map: a pilot model picks those nearest the boundary for
    three quarters, and chance the rest. The choice looks at where a trial is, never at its own outcome."""
    total = len(counts.k)
    if total <= size:
        return np.arange(total)
    order = rng.permutation(total)
    spread, others = order[: size // 4], order[size // 4 :]
    pilot = LogisticGP.condition(kernel, theta, points.take(spread), counts.take(spread))
    mean, variance, _ = pilot.moments(points.take(others))
    near = others[np.argsort(np.abs(mean) / np.sqrt(variance), kind="stable")[: size - len(spread)]]
    return np.sort(np.concatenate([spread, near]))
