"""Gaussian approximations of the posterior of the log-odds given counts, for a fixed prior covariance.

Letters, shapes in brackets: k of n networks trained; f the latent log-odds, K its prior covariance [n, n];
W = -d2 log p(k | f) / df2.

Method: Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), algorithms 3.1 (mode) and 3.5
(expectation propagation), with a binomial instead of a Bernoulli likelihood.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotrf, dpotrs  # pyright: ignore[reportAttributeAccessIssue]
from scipy.special import expit, log_expit, logit

from analysis.points import Counts

SWEEPS = 30  # of expectation propagation, at most; a dozen is common
DAMPING = 0.7
MANY = 32  # chosen: networks of a trial from which on its likelihood may be as narrow as the gaps between the nodes
_GRID = np.linspace(-6.0, 6.0, 81)


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
        step = b - root * _solve(chol, root * (K @ b)) - a
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
    many = np.flatnonzero(n >= MANY)
    for _ in range(SWEEPS):
        root = np.sqrt(precision)
        chol = _cholesky(K, root)
        V = solve_triangular(chol, root[:, None] * K, lower=True, check_finite=False)
        variance = np.maximum(np.diag(K) - np.einsum("ij,ij->j", V, V), 1e-12)
        mean = K @ shift - V.T @ (V @ shift)
        rest = np.maximum(1 / variance - precision, 1e-9)
        around = (mean / variance - shift) / rest
        nodes = np.concatenate([own, around[:, None] + _GRID / np.sqrt(rest)[:, None]], axis=1)
        first, second = _tilted(nodes, counts, around, rest)
        if len(many):
            some = counts.take(many), around[many], rest[many]
            first[many], second[many] = _tilted(np.concatenate([nodes[many], _peak(*some)], axis=1), *some)
        precision = precision + DAMPING * (np.maximum(1 / second - rest, 1e-9) - precision)
        shift = shift + DAMPING * (first / second - around * rest - shift)
        if np.max(np.abs(first - mean) / np.sqrt(variance), initial=0.0) < 2e-3:
            break
    root = np.sqrt(precision)
    chol = _cholesky(K, root)
    a = shift - root * _solve(chol, root * (K @ shift))
    return Mode(K @ a, a, root, chol, start.log_joint)


def _tilted(nodes: np.ndarray, counts: Counts, around: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance [n] of likelihood times the Gaussian of mean `around`, precision `rest`; nodes [n, any]."""
    k, n = counts
    f = np.sort(nodes, axis=1)
    exponent = k[:, None] * log_expit(f) + (n - k)[:, None] * log_expit(-f)
    exponent -= 0.5 * rest[:, None] * (f - around[:, None]) ** 2
    weight = np.exp(exponent - exponent.max(axis=1, keepdims=True)) * np.gradient(f, axis=1)
    weight /= weight.sum(axis=1, keepdims=True)
    first = np.einsum("ij,ij->i", weight, f)
    return first, np.maximum(np.einsum("ij,ij->i", weight, (f - first[:, None]) ** 2), 1e-12)


def _peak(counts: Counts, around: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Nodes [n, len(_GRID)] around the top of that product, which may be far from the tops of both factors."""
    k, n = counts
    low, high = around - (n - k) / rest, around + k / rest  # its slope is above 0 at the one, below at the other
    for _ in range(100):
        middle = (low + high) / 2
        rises = k - n * expit(middle) > rest * (middle - around)
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    p = expit(low)
    return low[:, None] + _GRID / np.sqrt(n * p * (1 - p) + rest)[:, None]


def _factor(K: np.ndarray, f: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p = expit(f)
    root = np.sqrt(n * p * (1 - p) + 1e-9)
    return root, _cholesky(K, root)


def _cholesky(K: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Of I + root K root. By LAPACK itself, as `_solve`: of few trials scipy's checks are a good part of the time."""
    B = np.multiply.outer(root, root) * K
    B.ravel()[:: len(B) + 1] += 1.0
    chol, failed = dpotrf(B.T, lower=True, clean=True, overwrite_a=True)
    assert failed == 0, f"I + root K root is not positive definite in row {failed}"
    return chol


def _solve(chol: np.ndarray, b: np.ndarray) -> np.ndarray:
    return dpotrs(chol, b, lower=True)[0] if len(b) else b  # which its wrapper refuses


def _log_joint(a: np.ndarray, f: np.ndarray, counts: Counts) -> float:
    k, n = counts
    return float(-0.5 * a @ f + np.sum(k * log_expit(f) + (n - k) * log_expit(-f)))
