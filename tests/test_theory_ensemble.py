"""Narrow mirrored nets with iid biases: five numbers a net against the products of real vectors, and real networks."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from isoinit.theory.ensemble import FEWEST, Ensemble, Seen, ensemble, together
from isoinit.theory.factors import two_slopes
from isoinit.theory.families import FAMILIES
from isoinit.theory.gaussian import kappa1_complement
from isoinit.theory.many import foresee
from isoinit.theory.predict import DEFAULT, Threshold, depth_limit, predict, predicted_outcome
from isoinit.theory.simulate import simulate
from isoinit.theory.slopes import ManySlopes, Slopes

PAIR = replace(DEFAULT, inputs=Threshold(2, "test"), classes=Threshold(0.0, "off"))


def seen(width: int, bias: float, layers: int, g: float = 1.0, c: float = 0.0) -> list[Seen]:
    return list(islice(ensemble(width, g, bias, 1.0, c), layers))


def drawn(width: int, bias: float, layers: int, nets: int, c: float = 0.0) -> dict[str, np.ndarray]:
    """The exact chain of a net of Gaussian cores, (nets, layers): the next pre-activations of two inputs and of a
    tangent are Gaussian given the products of the vectors before, x of shape (nets, 3, units)."""
    rng, units = np.random.default_rng(0), width // 2
    x = rng.standard_normal((nets, 3, units))
    x[:, 1] -= x[:, 0] * (np.sum(x[:, 0] * x[:, 1], 1) / np.sum(x[:, 0] ** 2, 1))[:, None]
    x *= np.sqrt(units) / np.linalg.norm(x, axis=2, keepdims=True)
    x[:, 1] = c * x[:, 0] + np.sqrt(1 - c * c) * x[:, 1]
    scale, found = np.full(nets, -np.log(units)), []
    for _ in range(layers):
        size = np.linalg.norm(x, axis=2, keepdims=True)
        root = np.linalg.cholesky(np.einsum("nik,njk->nij", x / size, x / size) + 1e-12 * np.eye(3))
        u, v, t = np.moveaxis(size / np.sqrt(units) * (root @ rng.standard_normal(x.shape)), 1, 0)
        b, d = np.sqrt(bias) * rng.standard_normal((2, nets, units))
        h, other = np.concatenate([u + b, d - u], 1), np.concatenate([v + b, d - v], 1)
        on, off = h[:, :units] > 0, h[:, units:] > 0
        cosine = np.sum(h * other, 1) / np.linalg.norm(h, axis=1) / np.linalg.norm(other, axis=1)
        found.append((cosine, scale + np.log(np.sum(t**2 * (1.0 * on + off), 1))))
        x = np.stack([np.maximum(y[:, :units], 0) - np.maximum(y[:, units:], 0) for y in (h, other)]
                     + [t * (1.0 * on + off)], 1)  # fmt: skip
        grown = np.linalg.norm(x[:, 2], axis=1)
        x[:, 2] /= grown[:, None]
        scale += 2 * np.log(grown)
    cosines, gradients = np.array(found).transpose(1, 2, 0)
    return {"cosine": cosines, "distance": np.log(1 - np.abs(cosines)), "gradient": gradients}


@pytest.mark.parametrize(
    ("width", "bias", "layers", "c"),
    [(32, 0.03, 119, 0.0), (16, 0.1, 50, 0.6), (16, 1.0, 30, 0.0), (64, 0.05, 80, -0.5)],
)
def test_five_numbers_are_the_chain_of_the_products(width: int, bias: float, layers: int, c: float) -> None:
    told, found = seen(width, bias, layers, c=c), drawn(width, bias, layers, 1500, c)
    error = 4 / np.sqrt(1500)
    for name, mine, least in (
        ("cosine", [s.correlation for s in told], 0.03),
        ("distance", np.log([s.distance for s in told]), 0.15),
        ("gradient", [s.log_gradient for s in told], 0.1),
    ):
        spread = found[name].std(0)
        assert np.all(np.abs(found[name].mean(0) - mine) < error * spread + least), name
    assert found["gradient"].std(0)[4:] == pytest.approx(np.sqrt([s.gradient_variance for s in told])[4:], rel=0.08)


@pytest.mark.parametrize(("width", "bias", "depth"), [(16, 0.1, 40), (24, 0.4, 30)])
def test_five_numbers_are_random_networks(width: int, bias: float, depth: int) -> None:
    """Drawn weight by weight, as the scheme does."""
    net: dict[str, Any] = {"depth": depth, "width": width, "sigma_b2": bias, "bias_mode": "iid"}
    found, told = simulate("ll_gauss", nets=500, rng=np.random.default_rng(1), **net), seen(width, bias, depth - 1)
    distance = np.log(1 - np.abs(found.correlation))
    for drawn, mine, least in (
        (found.correlation, [s.correlation for s in told], 0.03),
        (distance, np.log([s.distance for s in told]), 0.15),
        (found.log_gradient, [s.log_gradient for s in told], 0.1),
    ):
        assert np.all(np.abs(drawn.mean(0) - mine) < 4 * drawn.std(0) / np.sqrt(500) + least)


@pytest.mark.parametrize(("width", "bias", "limit"), [(32, 0.03, 109), (16, 0.1, 38), (16, 1.0, 25), (32, 0.3, 77)])
def test_a_limit_is_where_random_nets_align(width: int, bias: float, limit: int) -> None:
    """By mean field with the drift of an angle, the first was 57. `limit` is the depth of `drawn` at 0.01."""
    told = predict("ll_gauss", depth=10, width=width, sigma_b2=bias, bias_mode="iid", tolerance=PAIR)
    assert told.binding == "alignment"
    assert told.depth_limit == pytest.approx(limit, rel=0.08)


def test_a_bias_that_vanishes_leaves_the_angle_of_a_linear_net() -> None:
    none = [predict("ll_gauss", depth=d, width=32).alignment for d in (5, 20, 40)]
    some = [predict("ll_gauss", depth=d, width=32, sigma_b2=v, bias_mode="iid").alignment
            for d in (5, 20, 40) for v in (1e-12, 5e-324)]  # fmt: skip
    assert np.log(some[::2]) == pytest.approx(np.log(none), abs=0.3)
    assert np.log(some[1::2]) == pytest.approx(np.log(none), abs=0.3)
    flat = seen(32, 1e-12, 40)[-1]
    core = FAMILIES["mirrored_gaussian"].forward(32, 1.0)
    assert flat.log_gradient == pytest.approx(40 * core.log_mean, abs=1e-3)
    assert flat.gradient_variance == pytest.approx(40 * core.log_variance, rel=0.05)


def test_wide_nets_are_at_mean_field() -> None:
    wide = predict("ll_gauss", depth=20, width=20_000, sigma_b2=0.3, bias_mode="iid")
    told = seen(20_000, 0.3, 19)[-1]
    assert told.correlation == pytest.approx(wide.correlation, abs=0.005)
    assert told.log_gradient == pytest.approx(wide.log_gradient, abs=0.02)
    assert told.distance == pytest.approx(1 - wide.correlation, abs=0.01)


def test_an_ensemble_is_the_same_every_time_and_finite_at_any_scale() -> None:
    assert seen(16, 0.1, 20) == seen(16, 0.1, 20)
    for g in (1e-3, 1e3):
        assert np.isfinite(seen(16, 0.1, 400, g)).all()
    for bias in (1e-300, 1e300):
        assert np.isfinite(seen(16, bias, 100)).all()


@pytest.mark.parametrize(
    ("wrong", "law"),
    [
        ({"width": 2 * FEWEST - 1}, "width must be a whole number from 8 to"),
        ({"g": 0.0}, "g must be a finite number above 0, but got 0.0"),
        ({"bias": 0.0}, "bias must be a finite number above 0, but got 0.0"),
        ({"square": -1.0}, "square must be a finite number above 0, but got -1.0"),
        ({"c": 1.5}, "c must be a number from -1 to 1, but got 1.5"),
    ],
)
def test_what_it_was_not_derived_for_is_refused(wrong: dict[str, Any], law: str) -> None:
    asked = {"width": 8, "g": 1.0, "bias": 0.1, "square": 1.0, "c": 0.0} | wrong
    with pytest.raises(ValueError, match=law):
        ensemble(**asked)
    assert np.isfinite(depth_limit("ll_gauss", width=6, sigma_b2=0.1, bias_mode="iid")), "narrower is mean field"


@pytest.mark.parametrize("t", [0.0, 0.6, 0.97])
@pytest.mark.parametrize("bias", [0.05, 1.0])
def test_slopes_along_the_signal_are_those_of_draws(bias: float, t: float) -> None:
    rng, units = np.random.default_rng(2), 10_000
    u, w, b, d = rng.standard_normal((4, 1_000_000))
    v, b, d = t * u + np.sqrt(1 - t * t) * w, np.sqrt(bias) * b, np.sqrt(bias) * d
    s, e = np.maximum(u + b, 0) - np.maximum(d - u, 0), 1.0 * (u + b > 0) + (d - u > 0)
    rho = 1 / (1 + bias)
    row = np.array([[rho]])
    told = Slopes.of(row, np.arccos(row), kappa1_complement(1 + row), np.array([[t * t]]), ManySlopes([units]))
    square = v * v * e * e
    cosine = np.mean(s * e * v) / np.sqrt(np.mean(s * s) * square.mean())
    assert np.sqrt(told.kept[0, 0]) == pytest.approx(cosine, abs=3e-3)
    apart = np.mean((v * v * (e * e - square.mean())) ** 2) / square.mean() ** 2 / units
    assert told.wander[0, 0] == pytest.approx(apart, rel=0.03)
    assert told.typical[0, 0] == pytest.approx(np.log(square.mean()) - apart / 2, abs=4e-3)


def test_many_chances_are_one_by_one() -> None:
    chances, units = np.array([0.0, 0.01, 0.2, 0.25]), (4, 12, 1000)
    slopes = 1 + 2 * chances
    mean, variance = ManySlopes(units).at(np.tile(chances, (3, 1))) * chances * (30 - 12 * chances) / slopes**2
    each = np.array([[two_slopes(float(p), n) for p in chances] for n in units])
    assert np.log(slopes) + mean == pytest.approx(each[..., 0], abs=1e-6)
    assert variance == pytest.approx(each[..., 1], abs=1e-5)


def test_what_an_ensemble_tells_does_not_depend_on_the_others() -> None:
    """Neither on their widths nor on how far they are: the last has layers to catch up with."""
    several = [(64, 1.0, 0.5, 0.0), (8, 0.7, -3.0, 0.6), (64, 1.0, 9.0, 0.0), (1000, 1.3, 0.0, -0.5)]
    alone = [Ensemble(*setting) for setting in several]
    batch = [Ensemble(*setting) for setting in several]
    together(batch[:3], 20)
    together(batch, 60)
    for one, other in zip(alone, batch, strict=True):
        assert other.known() >= 60
        assert np.array(list(islice(other, 60))) == pytest.approx(np.array(list(islice(one, 60))), rel=1e-12, abs=1e-13)


def test_an_ensemble_that_ended_goes_no_further() -> None:
    first, second = (Ensemble(32, 1.0, length, 0.0) for length in (1.0, 2.0))
    together([first, second], 100, lambda e: e is first)
    assert first.known() < 20
    assert second.known() >= 100
    assert first.seen(3) == list(islice(first, 3))[2]


def test_what_is_foreseen_is_not_walked_again_and_no_other() -> None:
    points = [{"scheme": "ll_gauss", "depth": d, "width": w, "sigma_b2": v, "bias_mode": "iid"}
              for d, w, v in ((30, 24, 0.21), (5, 24, 0.21), (12, 40, 0.21))]  # fmt: skip
    others = [points[0] | {"scheme": "he_normal"}, points[0] | {"width": 0}, points[0] | {"scheme": "lsuv"}]
    nets = [ensemble(w, 1.0, 0.21, 1.0, 0.0) for w in (24, 40)]
    foresee([*points, *others], limits=False)
    assert [n.known() for n in nets] == [32, 16]
    [predicted_outcome(**point) for point in points]
    assert [n.known() for n in nets] == [32, 16]
    foresee(points, limits=True)
    known = [n.known() for n in nets]
    found = [predict(**point) for point in points]
    assert [n.known() for n in nets] == known
    assert all(p.depth_limit < known[0] + 20 for p in found[:2]), "and hardly further than the limit"
