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
The prior covariance is that of `analysis.kernels`, the approximations are those of `analysis.posterior`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit

from analysis.kernels import Kernel
from analysis.points import Counts, Points
from analysis.posterior import Mode, expectation, laplace

JITTER = 1e-6
AT_ONCE = 256  # points whose covariances with all trials are handled at once: they stay in a core's cache


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
    return _log_posterior(kernel, theta, mode), gradient - (theta - mean) / deviation**2, mode


def log_evidence(kernel: Kernel, theta: np.ndarray, points: Points, counts: Counts, start: np.ndarray) -> float:
    """The first of what `evidence` gives, without the cost of the gradient."""
    K = kernel.matrix(theta, points, points)
    K[np.diag_indices_from(K)] += JITTER
    return _log_posterior(kernel, theta, laplace(K, counts, start))


def _log_posterior(kernel: Kernel, theta: np.ndarray, mode: Mode) -> float:
    mean, deviation = kernel.prior
    z = (theta - mean) / deviation
    return float(mode.log_joint - np.sum(np.log(np.diag(mode.chol))) - 0.5 * z @ z)


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

    def marginals(self, at: Points) -> tuple[np.ndarray, np.ndarray]:
        """Mean [q] and variance [q] of the log-odds at any number of points, in little memory."""
        q = len(at.x)
        parts = [self.moments(at.take(slice(i, i + AT_ONCE)))[:2] for i in range(0, max(q, 1), AT_ONCE)]
        mean, variance = zip(*parts, strict=True)
        return np.concatenate(mean), np.concatenate(variance)

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
    mean, variance = pilot.marginals(points.take(others))
    near = others[np.argsort(np.abs(mean) / np.sqrt(variance), kind="stable")[: size - len(spread)]]
    return np.sort(np.concatenate([spread, near]))
