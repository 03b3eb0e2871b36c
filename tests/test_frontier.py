"""The depth limit: first exits of known functions, and bands that hold the truth."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from analysis import region
from analysis.frontier import LINE, _exits, exit_band, first_exit
from analysis.gp import LogisticGP
from analysis.kernels import Kernel
from analysis.points import Counts, Points
from analysis.region import RegionModel


def test_first_exit_of_known_functions():
    line = np.linspace(0, 1, LINE)
    f = np.column_stack([0.37 - line, np.cos(9 * line), line - 0.2, np.ones(LINE), 1 - 5 * line, 0.004 - line])
    expected = [0.37, np.pi / 18, 0.0, 1.0, 0.2, 0.004]
    np.testing.assert_allclose(first_exit(line, f), expected, atol=1e-3)


def linear(limit: float, noise: float = 0.0, seed: int = 0) -> pa.Table:
    """Trials of nets that train up to `limit * width / 64` layers."""
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.uniform(np.log(2), np.log(100), 150)).round().astype(int)
    width = rng.choice([32, 64, 128], 150)
    trained = np.log(depth) + noise * rng.logistic(size=(4, 150)) < np.log(limit * width / 64)
    return pa.table({"depth": depth, "width": width, "n_replicates": [4] * 150, "n_trained": trained.sum(axis=0)})


def test_depth_limit_in_layers():
    model = RegionModel.fit(linear(12.0))
    median, low, high = model.depth_limit(pa.table({"width": [32, 64, 128]}))
    truth = np.array([6.0, 12.0, 24.0])
    assert np.all((low <= median) & (median <= high))
    assert np.all((low < truth) & (truth - 1 < high))  # the last depth that trains is one layer short of it
    assert np.all(high / low < 2)


def test_limits_beyond_the_range_are_its_ends():
    trials = linear(12.0)
    none = trials.set_column(3, "n_trained", pa.array([0] * 150))
    every = trials.set_column(3, "n_trained", pa.array([4] * 150))
    points = pa.table({"width": [64]})
    assert RegionModel.fit(none).depth_limit(points).median == pytest.approx([2.0])
    assert RegionModel.fit(every).depth_limit(points).median == pytest.approx([100.0], rel=0.02)


def test_bands_of_few_trials_know_that_hyperparameters_are_open(monkeypatch: pytest.MonkeyPatch):
    """Two dozen noisy networks: with one theta taken for true the bands are narrower, by a tenth at the mean."""
    points = pa.table({"width": [32, 64, 128]})

    def width() -> np.ndarray:
        bands = [RegionModel.fit(linear(12.0, 0.5, seed).slice(0, 24)).depth_limit(points) for seed in range(6)]
        return np.array([np.log(band.high / band.low).mean() for band in bands])

    averaged = width()
    monkeypatch.setattr(region, "FEW_TRIALS", 0)
    assert np.mean(averaged / width()) > 1.05


def test_no_columns_have_no_limits_and_another_seed_has_other_draws_of_the_same_posterior():
    model, points = RegionModel.fit(linear(12.0)), pa.table({"width": [32, 64, 128]})
    assert [part.shape for part in model.depth_limit(points.slice(0, 0))] == [(0,)] * 3
    first, again, other = (np.array(model.depth_limit(points, seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_allclose(first, other, rtol=0.2)


def test_draws_of_a_mixture_come_from_its_parts_by_their_shares():
    """A part that never leaves the region and one that is outside at once, one to three."""
    at = Points(np.zeros((3, 1)), np.zeros((3, 0), int))
    line = Points(np.linspace(0, 1, 9)[:, None], np.zeros((9, 0), int))
    kernel, n = Kernel(1, 0), np.full(9, 400.0)
    inside, outside = (LogisticGP.condition(kernel, kernel.prior[0], line, Counts(k * n, n)) for k in (1.0, 0.0))
    assert exit_band([(0.25, inside), (0.75, outside)], at).median == pytest.approx(np.zeros(3))
    assert exit_band([(0.75, inside), (0.25, outside)], at).median == pytest.approx(np.ones(3))
    assert exit_band([(0.94, inside), (0.06, outside)], at).low == pytest.approx(np.zeros(3))
    assert exit_band([(0.96, inside), (0.04, outside)], at).low == pytest.approx(np.ones(3))


def test_band_is_the_quantiles_of_an_exactly_known_posterior():
    """With no trials the posterior is the prior, symmetric in f: half of all draws are outside at once."""
    kernel = Kernel(1, 0)
    gp = LogisticGP.condition(
        kernel, kernel.prior[0], Points(np.zeros((0, 1)), np.zeros((0, 0), int)), Counts(np.zeros(0), np.zeros(0))
    )
    band = exit_band([(1.0, gp)], Points(np.zeros((1, 1)), np.zeros((1, 0), int)))
    assert band.low[0] == 0.0
    assert band.median[0] < 0.1
    assert band.high[0] == 1.0


def test_draws_have_the_covariance_of_the_posterior():
    """In a column of three depths and a narrow posterior, exits are linear in the draws: their variance is known.

    With the eigenvalues in place of their roots it is another.
    """
    at = Points(np.linspace(0, 1, 9)[:, None], np.zeros((9, 0), int))
    gp = LogisticGP.condition(
        Kernel(1, 0), np.log([0.8, 60.0]), at, Counts(800 * expit(8 * (0.45 - at.x[:, 0])), np.full(9, 800.0))
    )
    line = np.array([0.0, 0.4, 1.0])
    exits = _exits(gp, at.take([0]), line, np.random.default_rng(0).standard_normal((3, 20_000)))[0]
    there = Points(line[:, None], np.zeros((3, 0), int))
    mean, _, V = gp.moments(there)
    covariance = gp.covariance(there, V, there, V)[1:, 1:]
    above, below = mean[1:]
    slope = 0.6 / (above - below) ** 2 * np.array([-below, above])  # of 0.4 + 0.6 above / (above - below)
    assert exits.std() == pytest.approx(np.sqrt(slope @ covariance @ slope), rel=0.03)
    assert exits.mean() == pytest.approx(0.4 + 0.6 * above / (above - below), abs=2e-3)


def test_draws_are_a_stable_function_of_the_normal_numbers():
    """The root is the symmetric one: with all depths all but independent, each depth has its own normal number.

    Another root turns with the eigenvectors, which are as good as arbitrary here, and bands jump by a hair of the data.
    """
    kernel = Kernel(1, 0)
    nothing = Points(np.zeros((0, 1)), np.zeros((0, 0), int)), Counts(np.zeros(0), np.zeros(0))
    gp = LogisticGP.condition(kernel, np.log([1e-4, 1e6]), *nothing)
    line, normal = np.linspace(0, 1, 9), np.random.default_rng(0).standard_normal((9, 200))
    exits = _exits(gp, Points(np.zeros((1, 1)), np.zeros((1, 0), int)), line, normal)[0]
    assert np.mean(np.abs(exits - first_exit(line, normal)) < 0.01) > 0.9


def test_more_trials_narrow_the_band():
    few, many = (RegionModel.fit(linear(12.0, noise=0.1).slice(0, n)) for n in (30, 150))
    points = pa.table({"width": [64]})
    widths = [np.log(band.high / band.low)[0] for band in (few.depth_limit(points), many.depth_limit(points))]
    assert widths[1] < widths[0]


@pytest.mark.slow
def test_bands_cover_the_truth():
    """Nominal 90 % bands on 40 noisy maps: coverage at least 0.85 (binomial 95 % limit of 0.9 at n = 120 is 0.85)."""
    truth = 12.0 * np.array([0.5, 1.0, 2.0])
    hits = [
        (band.low <= truth) & (truth <= band.high)
        for seed in range(40)
        for band in [RegionModel.fit(linear(12.0, 0.1, seed)).depth_limit(pa.table({"width": [32, 64, 128]}))]
    ]
    assert np.mean(hits) >= 0.85
