"""The depth limit: first exits of known functions, and bands that hold the truth."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from analysis.frontier import LINE, exit_band, first_exit
from analysis.gp import Counts, Kernel, LogisticGP, Points
from analysis.region import RegionModel


def test_first_exit_of_known_functions():
    line = np.linspace(0, 1, LINE)
    f = np.column_stack([0.37 - line, np.cos(9 * line), line - 0.2, np.ones(LINE), 1 - 5 * line, 0.5 - 0 * line])
    expected = [0.37, np.pi / 18, 0.0, 1.0, 0.2, 1.0]
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


def test_band_is_the_quantiles_of_an_exactly_known_posterior():
    """With no trials the posterior is the prior, symmetric in f: half of all draws are outside at once."""
    kernel = Kernel(1, 0)
    gp = LogisticGP.condition(
        kernel, kernel.prior[0], Points(np.zeros((0, 1)), np.zeros((0, 0), int)), Counts(np.zeros(0), np.zeros(0))
    )
    band = exit_band(gp, Points(np.zeros((1, 1)), np.zeros((1, 0), int)))
    assert band.low[0] == 0.0
    assert band.median[0] < 0.1
    assert band.high[0] == 1.0


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
