"""Averaging over hyperparameters, against brute-force quadrature over theta and against what the prior says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, ndtr

from analysis.averaging import plausible
from analysis.gp import LogisticGP, evidence, learn
from analysis.kernels import Kernel
from analysis.points import Counts, Points


def line(n: int) -> tuple[Points, Counts]:
    """Noisy networks on a line, success below 0.4."""
    x = np.linspace(0, 1, n)
    trained = np.random.default_rng(3).random(n) < expit(8 * (0.4 - x))
    return Points(x[:, None], np.zeros((n, 0), int)), Counts(trained.astype(float), np.ones(n))


def sides(gp: LogisticGP, at: Points) -> np.ndarray:
    mean, variance, _ = gp.moments(at)
    return ndtr(mean / np.sqrt(variance))


def test_average_agrees_with_quadrature_over_theta():
    """A kernel of two hyperparameters, so that a grid over them is the truth; one theta is three times as far away."""
    kernel = Kernel(1, 0)
    points, counts = line(12)
    at = Points(np.linspace(0, 1, 21)[:, None], np.zeros((21, 0), int))
    mean, deviation = kernel.prior
    grid = [mean + deviation * np.array([a, b]) for a in np.linspace(-3.5, 3.5, 15) for b in np.linspace(-3.5, 3.5, 15)]
    log = np.array([evidence(kernel, theta, points, counts)[0] for theta in grid])
    weight = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
    exact = sum(
        w * sides(LogisticGP.condition(kernel, t, points, counts), at) for w, t in zip(weight, grid, strict=True)
    )
    drawn = plausible(kernel, points, counts, size=64)
    assert sum(share for share, *_ in drawn) == pytest.approx(1.0)
    ours = sum(share * sides(LogisticGP.condition(k, t, points, counts), at) for share, k, t in drawn)
    single = sides(LogisticGP.condition(*learn(kernel, points, counts, 40), points, counts), at)
    assert np.abs(ours - exact).max() < 0.005
    assert np.abs(single - exact).max() > 0.015


def test_without_trials_the_draws_are_the_prior():
    """Rivals have half each, for nothing speaks for one: that needs the constants of their priors, which differ."""
    kernel = Kernel(2, 1, frontier=True)
    nothing = Points(np.zeros((0, 2)), np.zeros((0, 1), int)), Counts(np.zeros(0), np.zeros(0))
    drawn = plausible(kernel, *nothing, size=512)
    for rival in kernel.rivals:
        mine = [(share, theta) for share, k, theta in drawn if k == rival]
        shares, thetas = np.array([s for s, _ in mine]), np.array([t for _, t in mine])
        assert shares.sum() == pytest.approx(0.5, abs=0.1)
        z = (thetas - rival.prior[0]) / rival.prior[1]
        assert np.abs(shares @ z / shares.sum()).max() < 0.25
        assert np.sqrt(shares @ z**2 / shares.sum()) == pytest.approx(1.0, abs=0.3)


def test_rivals_are_weighed_by_their_evidence():
    """The share of the frontier kernel against an average of the likelihood over draws from the prior."""
    kernel = Kernel(1, 0, frontier=True)
    points, counts = line(8)
    marginal = []
    for rival in kernel.rivals:
        mean, deviation = rival.prior
        cube = np.random.default_rng(0).standard_normal((1000, len(mean)))
        value = [evidence(rival, mean + deviation * z, points, counts)[0] + 0.5 * z @ z for z in cube]
        marginal.append(np.mean(np.exp(value)))
    drawn = plausible(kernel, points, counts, size=512)
    share = sum(share for share, k, _ in drawn if k.frontier)
    assert share == pytest.approx(marginal[0] / sum(marginal), abs=0.08)


def test_the_same_trials_give_the_same_draws():
    kernel = Kernel(1, 0, frontier=True)
    first, second = (plausible(kernel, *line(10)) for _ in range(2))
    assert [share for share, *_ in first] == [share for share, *_ in second]
    for (_, k, a), (_, m, b) in zip(first, second, strict=True):
        assert k == m
        np.testing.assert_array_equal(a, b)
