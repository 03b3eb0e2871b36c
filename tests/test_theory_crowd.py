"""The nearest of several inputs comes as near as in random nets, and ends what it should."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from isoinit.theory.crowd import MOST, Crowd, law
from isoinit.theory.maps import bent
from isoinit.theory.predict import DEFAULT, Threshold, depth_limit, predict, setting_of
from isoinit.theory.random_nets import Net
from isoinit.theory.simulate import _heads, simulate

IID = {"bias_mode": "iid"}


def of(inputs: int) -> Any:
    return replace(DEFAULT, inputs=Threshold(inputs, "test"), classes=Threshold(0.0, "off"))


def test_the_law_is_that_of_products_of_gaussian_matrices() -> None:
    """Drawn as matrices on inputs that are all equally far apart, 80 units and 150 products, not as triangles."""
    rng, units, nets = np.random.default_rng(1), 80, 150
    x = np.broadcast_to(np.eye(units)[:, :10], (nets, units, 10))
    for layer in range(1, 81):
        x = rng.standard_normal((nets, units, units)) @ x / np.sqrt(units)
        if layer in (4, 20, 80):
            products = x.transpose(0, 2, 1) @ x
            squares = np.diagonal(products, axis1=1, axis2=2)
            apart = squares[:, :, None] + squares[:, None, :] - 2 * products
            typical = np.log(apart[:, *np.triu_indices(10, 1)]).mean()
            apart[:, range(10), range(10)] = np.inf
            found = np.log(apart.min(axis=2)).mean() - typical
            assert np.log(law(10).ratio(layer / units)) == pytest.approx(found, abs=0.12)


def test_the_law_of_little_noise_goes_with_its_root_and_falls_with_the_inputs() -> None:
    few = np.array([1e-4, 1e-3, 1e-2])
    logs = np.log([law(10).ratio(tau) for tau in few])
    assert np.polyfit(np.log(few), np.log(-logs), 1)[0] == pytest.approx(0.5, abs=0.01)
    for tau in (0.02, 0.3, 2.0):
        ratios = [law(inputs).ratio(tau) for inputs in (2, 3, 5, 10, 20)]
        assert ratios[0] == 1
        assert ratios == sorted(ratios, reverse=True)
        assert law(10).tau(law(10).ratio(tau)) == pytest.approx(tau, rel=1e-6)


def test_two_inputs_are_a_pair() -> None:
    for scheme in ("he_normal", "ll_gauss"):
        point = predict(scheme, depth=30, width=32, tolerance=of(2))
        assert point.nearest == point.alignment > predict(scheme, depth=30, width=32).nearest


def test_positions_that_share_weights_leave_all_pairs_alike() -> None:
    point = predict("he_normal", architecture="cnn", depth=20, width=16)
    assert point.nearest == point.alignment


def test_a_rectifier_lets_distances_forget_what_drew_them_apart() -> None:
    """Its map of small distances is d - c d^1.5, so that all tend to the same; one that is linear forgets nothing."""
    pulled, left = Crowd(10, 0.5), Crowd(10, 0.5)
    d, start = 0.5, left.nearest(0.5) / 0.5
    for _ in range(200):
        pulled.step(d, bent, 0.0)
        left.step(d, lambda x: x, 0.0)
        d = bent(d)
    assert left.nearest(d) / d == pytest.approx(start, rel=1e-6)
    assert pulled.nearest(d) / d > 0.9


@pytest.mark.parametrize(
    ("scheme", "net"),
    [
        ("he_normal", {}),
        ("he_normal", {"sigma_b2": 0.9, **IID}),
        ("he_normal", {"width": 128}),
        ("orthogonal", {}),
        ("orthogonal", {"sigma_b2": 0.9, **IID}),
        ("ll_gauss", {}),
        ("ll_gauss", {"sigma_b2": 0.1, "bias_mode": "mirrored"}),
        ("ll_gauss", {"sigma_b2": 0.9, **IID}),
        ("he_normal", {"activation": "linear", "sigma_w2": 1.0}),
        ("lecun_normal", {"activation": "gelu", "sigma_w2": 2.0}),
        ("orthogonal", {"activation": "tanh"}),
        ("he_normal", {"activation": "tanh"}),
        ("he_normal", {"activation": "tanh", "width": 32}),
        ("he_normal", {"activation": "tanh", "sigma_b2": 0.1, **IID}),
        ("lecun_normal", {"activation": "hardtanh", "sigma_w2": 1.5, "sigma_b2": 0.05, **IID}),
        ("sample_variance_scale", {}),
        ("lsuv", {}),
    ],
)
def test_the_nearest_of_ten_comes_as_near_as_in_random_nets(scheme: str, net: dict[str, Any]) -> None:
    """Pairs are farther apart, by more than 1 at the last of these layers in most of these nets."""
    net = {"width": 64, "depth": 41, **net}
    found = simulate(scheme, nets=64, rng=np.random.default_rng(0), **net).log_nearest.mean(axis=0)
    told = list(islice(setting_of(predict(scheme, **net)).states(), 40))
    for layer in (2, 5, 10, 20, 40):
        assert np.log(told[layer - 1].nearest) == pytest.approx(found[layer - 1], abs=0.3), layer


@pytest.mark.parametrize(
    ("scheme", "net"),
    [("he_normal", {"sigma_b2": 0.1}), ("lecun_normal", {"sigma_w2": 1.1, "sigma_b2": 0.05})],
)
def test_pairs_of_a_narrow_tanh_net_come_nearer_than_in_mean_field(scheme: str, net: dict[str, Any]) -> None:
    """By the noise of tangents across the signal; told apart from that of the norm, and of the nearest of ten."""
    net = {"depth": 41, "activation": "tanh", **IID, **net}
    random = simulate(scheme, width=64, nets=128, rng=np.random.default_rng(0), **net)
    found = np.log(1 - np.abs(random.correlation)).mean(axis=0)
    narrow, wide = (list(islice(setting_of(predict(scheme, width=n, **net)).states(), 40)) for n in (64, 10**6))
    for layer in (10, 20, 40):
        assert np.log(narrow[layer - 1].distance) == pytest.approx(found[layer - 1], abs=0.4), layer
    assert np.log(narrow[9].distance) == pytest.approx(found[9], abs=0.15)
    assert np.log(wide[39].distance) > found[39] + 0.7


@pytest.mark.parametrize(
    ("scheme", "bias"), [("he_normal", 0.0), ("orthogonal", 0.0), ("ll_gauss", 0.0), ("ll_gauss", 0.9)]
)
def test_a_limit_is_where_ten_inputs_come_too_near(scheme: str, bias: float) -> None:
    net: dict[str, Any] = {"width": 64, "sigma_b2": bias, "bias_mode": "iid" if bias else "zero"}
    found = simulate(scheme, depth=81, nets=64, rng=np.random.default_rng(1), **net).log_nearest.mean(axis=0)
    told = predict(scheme, depth=9, tolerance=replace(DEFAULT, classes=Threshold(0.0, "off")), **net)
    crossed = 1 + np.argmax(found < np.log(DEFAULT.alignment.value))
    assert told.binding == "alignment"
    assert told.depth_limit == pytest.approx(crossed, rel=0.15)
    assert predict(scheme, depth=9, tolerance=of(2), **net).depth_limit > 1.3 * crossed


def test_what_a_width_takes_from_the_limit_goes_with_its_root() -> None:
    """As the noise of a few layers of a wide net; what it takes from that of two inputs goes with its inverse."""
    wide = predict("he_normal", depth=9, width=10**8).depth_limit
    taken = [wide - predict("he_normal", depth=9, width=width).depth_limit for width in (2**12, 2**14, 2**16)]
    assert np.log2(taken[0] / taken[1]) == pytest.approx(1, abs=0.2)
    assert np.log2(taken[1] / taken[2]) == pytest.approx(1, abs=0.2)


def test_a_number_of_inputs_that_is_none_is_refused() -> None:
    for inputs in (1, MOST + 1, 2.5):
        with pytest.raises(ValueError, match=f"inputs must be a whole number from 2 to {MOST}, but got {inputs}"):
            predict("he_normal", depth=9, width=8, tolerance=replace(DEFAULT, inputs=Threshold(inputs, "test")))


@pytest.mark.parametrize(
    ("scheme", "net", "near"),
    [
        ("he_normal", {}, 0.2),
        ("he_normal", {"sigma_b2": 1.0, **IID}, 0.2),
        ("orthogonal", {}, 0.2),
        ("ll_gauss", {}, 0.4),
        ("ll_gauss", {"sigma_b2": 0.01, **IID}, 0.4),
        ("ll_gauss", {"sigma_b2": 1.0, **IID}, 0.6),
        ("he_pruned", {"density": 0.3}, 0.3),
        ("orthogonal_pruned", {"density": 0.1}, 0.5),
        ("lsuv", {}, 0.3),
        ("ones_orthogonal", {}, 0.2),
        ("xavier_normal", {"activation": "tanh"}, 0.4),
        ("lecun_normal", {"activation": "selu"}, 0.3),
        ("he_normal", {"activation": "gelu"}, 0.5),
        ("orthogonal", {"activation": "elu"}, 0.2),
    ],
)
def test_gradients_of_ten_classes_come_as_near_as_in_random_nets(scheme: str, net: dict[str, Any], near: float) -> None:
    net = {"width": 64, "depth": 41, **net}
    found = simulate(scheme, nets=48, rng=np.random.default_rng(0), **net).log_classes.mean(axis=0)
    told = list(islice(setting_of(predict(scheme, **net)).states(), 40))
    for layer in (2, 5, 10, 20, 40):
        assert np.log(told[layer - 1].classes) == pytest.approx(found[layer - 1], abs=near), layer


def test_gradients_of_classes_are_as_near_as_inputs_where_nothing_pulls_these_back() -> None:
    """One matrix and its transpose: a linear net has the same law both ways; a rectifier draws just inputs together."""
    linear, rectified = (list(islice(setting_of(predict(s, depth=3, width=64)).states(), 40))
                         for s in ("ll_gauss", "he_normal"))  # fmt: skip
    for layer in (5, 10, 20, 40):
        assert linear[layer - 1].nearest == pytest.approx(linear[layer - 1].classes, rel=0.06)
        assert rectified[layer - 1].nearest < 4 / layer * rectified[layer - 1].classes
    isometry = list(islice(setting_of(predict("ll_orth", depth=3, width=64)).states(), 20))
    assert {s.classes for s in isometry} == {1.0}


def test_biases_do_not_let_a_narrow_looks_linear_net_be_deeper() -> None:
    """They keep its inputs apart, but not its classes: the limit falls, where that of the inputs alone has a hump."""
    limits = [
        depth_limit("ll_gauss", width=64, sigma_b2=b, bias_mode="iid" if b else "zero")
        for b in (0.0, 1e-3, 1e-2, 0.1, 1.0)
    ]
    assert (np.diff(limits) < 0).all()
    assert limits[-1] > 0.6 * limits[0]
    net: dict[str, Any] = {"width": 64, "sigma_b2": 1e-2, **IID}
    assert predict("ll_gauss", depth=10, **net).binding == "classes"
    beyond = predict("ll_gauss", depth=70, **net)
    assert (beyond.outcome, beyond.nearest > DEFAULT.alignment.value) == ("stalled", True)


def test_the_last_layer_of_a_mirrored_net_is_mirrored() -> None:
    """As in a looks-linear network: it sees nothing of what a unit and its mirror image have in common."""
    net, rng = Net.of(predict("ll_gauss", depth=3, width=16)), np.random.default_rng(0)
    heads = _heads(net, 5, 3, rng)
    assert heads.shape == (5, 3, 16)
    assert (heads[..., :8] == -heads[..., 8:]).all()
    assert np.linalg.matrix_rank(heads).tolist() == [3] * 5
