"""The angle of two inputs at finite width: its law of one layer, and what many layers make of it."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.special import digamma, polygamma
from torch import nn

from isoinit import initialize
from isoinit.networks import CNN
from isoinit.theory import angles, meanfield
from isoinit.theory.families import FAMILIES
from isoinit.theory.gaussian import kappa1
from isoinit.theory.maps import Bias, Point
from isoinit.theory.predict import DEFAULT, Threshold, depth_limit, predict
from isoinit.theory.simulate import simulate
from isoinit.theory.trajectory import walk

PAIR = replace(DEFAULT, inputs=Threshold(2, "test"), shared=Threshold(0.0, "test"))  # a limit is where they align
LAWS = {"gaussian": angles.gaussian, "orthogonal": angles.orthogonal}


def test_nearly_parallel_inputs_keep_an_angle_that_is_a_chi_square_variable() -> None:
    """Of M = N/2 units that are on: chi^2(M - 1) / chi^2(M). Haar weights take away what Gaussian ones do before."""
    n = 10_000
    drift, variance = (float(v[0]) for v in angles.gaussian(np.array([1e-9])))
    assert drift / n == pytest.approx(digamma((n / 2 - 1) / 2) - digamma(n / 4), rel=5e-3)
    assert variance / n == pytest.approx(polygamma(1, (n / 2 - 1) / 2) + polygamma(1, n / 4), rel=5e-3)
    own = digamma((n - 1) / 2) - digamma(n / 2), polygamma(1, (n - 1) / 2) + polygamma(1, n / 2)
    firm = [float(v[0]) for v in angles.orthogonal(np.array([1e-9]))]
    assert firm[0] / n == pytest.approx(drift / n - own[0], rel=5e-3)
    assert firm[1] / n == pytest.approx(variance / n - own[1], rel=5e-3)


def _log_squares(law: str, theta: float, n: int, nets: int) -> np.ndarray:
    """log sin^2 [nets] after a random layer of n units, less that of mean field."""
    u, v = np.random.default_rng(0).standard_normal((2, nets, n), dtype=np.float32)
    if law == "orthogonal":
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        v -= np.sum(u * v, axis=1, keepdims=True) * u
        v /= np.linalg.norm(v, axis=1, keepdims=True)
    v = np.cos(theta) * u + np.sin(theta) * v
    u, v = np.maximum(u, 0), np.maximum(v, 0)
    cosine = np.sum(u * v, axis=1) / np.sqrt(np.sum(u * u, axis=1) * np.sum(v * v, axis=1))
    return np.log1p(-(cosine.astype(float) ** 2)) - np.log1p(-(float(kappa1(np.cos(theta))) ** 2))


@pytest.mark.parametrize("theta", [0.3, 1.0, np.pi / 2, 2.4])
@pytest.mark.parametrize("law", LAWS)
def test_the_law_of_a_layer_is_that_of_random_layers(law: str, theta: float) -> None:
    """To first order in 1 / N: of the variance, the second is taken out by layers four times as wide."""
    drift, variance = (float(x[0]) for x in LAWS[law](np.array([1 - np.cos(theta)])))
    narrow, wide = (n * _log_squares(law, theta, n, nets) for n, nets in ((96, 40_000), (384, 10_000)))
    error = narrow.std() / np.sqrt(len(narrow))
    assert narrow.mean() == pytest.approx(drift, rel=0.11, abs=3 * error)
    assert (4 * wide.var() / 384 - narrow.var() / 96) / 3 == pytest.approx(variance, rel=0.08)


@pytest.mark.parametrize(
    ("scheme", "sigma_b2", "width"),
    [("he_normal", 0.0, 32), ("he_normal", 0.1, 64), ("orthogonal", 0.0, 32), ("orthogonal", 0.1, 32)],
)
def test_typical_inputs_align_where_those_of_random_nets_do(scheme: str, sigma_b2: float, width: int) -> None:
    """Mean field has them align at 58 layers, with the bias at 42, at any width."""
    bias = {"sigma_b2": sigma_b2, "bias_mode": "iid" if sigma_b2 else "zero"}
    found = simulate(scheme, depth=46, width=width, nets=250, rng=np.random.default_rng(1), **bias).correlation
    typical = np.nanmedian(1 - np.abs(found), axis=0)
    told = [predict(scheme, depth=depth, width=width, tolerance=PAIR, **bias) for depth in range(2, 47)]
    crossed = 1 + np.argmax(typical < 0.01)
    assert told[0].binding == "alignment"
    assert told[0].depth_limit == pytest.approx(crossed, rel=0.12)
    wide = depth_limit(scheme, width=10**6, tolerance=PAIR, **bias)
    assert abs(wide - crossed) > 3 * abs(told[0].depth_limit - crossed)
    for layer in (5, 10, 20, 30):
        assert told[layer - 1].correlation == pytest.approx(np.nanmean(found[:, layer - 1]), abs=0.025)
        ratio = np.log(told[layer - 1].alignment / typical[layer - 1])
        assert abs(ratio) < 0.35


def test_the_angle_of_a_convolution_is_that_of_mean_field_and_narrow_ones_close_it_later() -> None:
    """So the law of dense layers would be further off. Cosine of the last hidden layer's maps, 24 networks."""
    found = []
    for seed in range(24):
        source = torch.Generator().manual_seed(seed)
        model = CNN((1, 8, 8), 8, 12, 10)
        initialize(model, "he_normal", generator=source)
        hidden = nn.Sequential(*[part for layer in list(model.layers)[:-1] for part in (layer, nn.ReLU())][:-1])
        with torch.no_grad():
            one, other = hidden(torch.randn(2, 1, 8, 8, generator=source)).flatten(1)
        found.append(float(torch.cosine_similarity(one, other, dim=0)))
    told = predict("he_normal", architecture="cnn", depth=12, width=8)
    assert told.correlation == pytest.approx(1 - meanfield.relu_decorrelation(10)[10], abs=1e-9)
    assert np.mean(found) < told.correlation - 0.05 < predict("he_normal", depth=12, width=8).correlation - 0.05


@pytest.mark.parametrize("scheme", ["he_normal", "orthogonal"])
def test_what_a_width_takes_from_the_limit_goes_with_its_inverse(scheme: str) -> None:
    wide = depth_limit(scheme, width=10**7, tolerance=PAIR)
    taken = [(wide - depth_limit(scheme, width=width, tolerance=PAIR)) * width for width in (512, 1024, 2048, 4096)]
    assert taken == pytest.approx([taken[-1]] * 4, rel=0.25)
    assert taken == sorted(taken), "and less the narrower it is"


@pytest.mark.parametrize("d", [0.0, 1e-12, 1e-3, 1.0, 1.7, 2.0])
def test_any_two_inputs_stay_an_angle_apart_for_any_number_of_layers(d: float) -> None:
    walked = list(islice(walk(FAMILIES["gaussian"], 4, 1.0, Bias(0.0, "zero"), Point(1.0, d)), 3000))
    for state in walked:
        assert 0 <= state.distance <= 1
        assert -1 <= state.correlation <= 1
    assert walked[-1].correlation == pytest.approx(1, abs=1e-9)
