"""Axes become Optuna parameters and points, and back, without loss; impossible spaces are refused."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps import space
from sweeps.reading import parse
from sweeps.spec import SweepSpec

TEXT = """
name: axes
network: {architecture: mlp, activation: [relu, tanh]}
space:
  scheme: [he_normal, orthogonal]
  depth: {low: 2, high: 60, log: true}
  width: [16, 64, 32]
  weight_scale: {low: 0.5, high: 2.0}
  bias_variance: {low: 1.0e-4, high: 1.0, log: true, zero: true}
"""


def _spec(*settings: str) -> SweepSpec:
    return parse(TEXT, settings)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_point_goes_to_parameters_and_back(seed: int) -> None:
    built = space.build(_spec())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask(built.distributions)
    point = built.point(trial.params)
    assert built.point(built.params(point)) == point
    assert point.width in (16, 32, 64)
    assert 2 <= point.depth <= 60
    assert point.bias_variance == 0.0 or 1e-4 <= point.bias_variance <= 1.0


def test_zero_is_the_lowest_decade_of_a_log_range() -> None:
    built = space.build(_spec())
    floor = built.floors["bias_variance"]
    params = _any_params(built) | {"bias_variance": floor / space.FLOOR}
    assert built.point(params).bias_variance == 0.0
    assert built.params(built.point(params)) == params
    assert built.point(params | {"bias_variance": floor}).bias_variance == floor
    assert built.point(params | {"bias_variance": floor * 0.99}).bias_variance == 0.0
    drawn = np.geomspace(floor / space.FLOOR, 1.0, 1000, endpoint=False)
    share = np.mean([built.point(params | {"bias_variance": v}).bias_variance == 0.0 for v in drawn])
    assert share == pytest.approx(1 / 5, abs=0.01)


def test_a_log_range_is_even_in_its_logs_and_any_other_in_its_numbers() -> None:
    settings = "space.depth={low: 2, high: 32, log: true, levels: 5}", "space.weight_scale={low: 1, high: 4, levels: 4}"
    built = space.build(_spec(*settings))
    ranges = {"depth": True, "weight_scale": False, "bias_variance": True}
    for name, log in ranges.items():
        distribution = built.distributions[name]
        assert isinstance(distribution, optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution)
        assert distribution.log is log
    levels = {axis.name: axis.levels for axis in built.axes}
    assert levels["depth"] == (2, 4, 8, 16, 32)
    assert levels["weight_scale"] == (1, 2, 3, 4)
    assert levels["bias_variance"][::7] == (0.0, pytest.approx(1e-4 ** (1 / 7)))
    straight = space.build(_spec("space.depth={low: 2, high: 32, levels: 4}"))
    assert straight.distributions["depth"] == optuna.distributions.IntDistribution(2, 32)
    assert next(axis.levels for axis in straight.axes if axis.name == "depth") == (2, 12, 22, 32)


@pytest.mark.parametrize(("width", "odd"), [("{low: 8, high: 64, levels: 3}", 9), ("[8, 10, 13, 16, 18]", 13)])
def test_a_width_that_a_range_or_list_may_come_to_is_one_that_can_be_built(width: str, odd: int) -> None:
    """Though the ends of the range, its middle and most of the list are even."""
    risotto = "network.architecture=resnet", "network.activation=relu", "space.scheme=risotto_b"
    with pytest.raises(ValueError, match=rf"space: scheme risotto_b needs an even width, got {odd}; {odd + 1} is"):
        space.build(_spec(*risotto, f"space.width={width}"))
    space.build(_spec(*risotto, "space.width={low: 8, high: 8}"))
    space.build(_spec(*risotto, "space.width=[8, 10, 16]"))


def test_number_lists_are_ordered_levels() -> None:
    built = space.build(_spec())
    distribution = built.distributions["width_level"]
    assert isinstance(distribution, optuna.distributions.IntDistribution)
    levels = [built.point(_any_params(built) | {"width_level": i}).width for i in range(3)]
    assert levels == [16, 32, 64]


def test_a_fixed_axis_is_unknown_to_optuna() -> None:
    built = space.build(_spec("space.depth=7", "network.activation=relu"))
    assert built.parameter("depth") is None
    assert "depth" not in built.distributions
    assert built.point(_any_params(built)).depth == 7


def test_the_grid_is_the_full_factorial_design() -> None:
    built = space.build(_spec("space.depth={low: 2, high: 60, log: true, levels: 5}", "space.weight_scale=1.0"))
    grid = [built.point(params) for params in built.grid()]
    assert len(grid) == len(set(grid)) == 2 * 2 * 5 * 3 * 9
    assert {p.depth for p in grid} >= {2, 60}
    assert 0.0 in {p.bias_variance for p in grid}


@pytest.mark.parametrize("depth", ["7", "[7, 7]", "{low: 7, high: 7}"])
def test_a_goal_of_the_frontier_wants_more_than_one_depth(depth: str) -> None:
    settings = [f"space.depth={depth}", "search.until.frontier_band=0.3"]
    with pytest.raises(ValueError, match=r"frontier_band: a frontier needs .* space\.depth is 7 alone; give it more"):
        space.build(_spec(*settings))
    space.build(_spec(settings[0]))
    space.build(_spec(settings[1]))


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("activation=ReLu", r"activation 'ReLu' is unknown \(did you mean 'relu'\?\); valid: relu, tanh, "),
        ("activation=[relu, thanh]", r"activation 'thanh' is unknown \(did you mean 'tanh'\?\); valid: relu, "),
        ("architecture=mpl", r"architecture 'mpl' is unknown \(did you mean 'mlp'\?\); valid: mlp, cnn, resnet"),
        ("normalization=batchnorm", r"normalization 'batchnorm' is unknown \(did you mean .*\); valid: none, batch"),
    ],
)
def test_a_word_of_the_network_is_one_that_can_be_built(setting: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"^network\.{sentence}"):
        space.build(_spec(f"network.{setting}"))


def test_a_goal_of_the_map_wants_an_axis_that_moves() -> None:
    still = [
        "network.activation=relu",
        *(f"space.{axis}" for axis in ("scheme=he_normal", "depth=7", "weight_scale=1.0", "bias_variance=0.0")),
    ]
    with pytest.raises(ValueError, match=r"search\.until\.undecided: a map needs trials of more than one point"):
        space.build(_spec(*still, "space.bias_mode=iid", "space.width=8", "search.until.undecided=0.3"))
    space.build(_spec(*still, "space.bias_mode=iid", "space.width=[8, 16]", "search.until.undecided=0.3"))


def test_a_grid_that_cannot_be_held_is_refused() -> None:
    built = space.build(_spec("space.weight_scale={low: 0.5, high: 2, levels: 10000}"))
    with pytest.raises(ValueError, match=r"search\.sampler: a grid must have at most 1000000 points.*another sampler"):
        built.grid()


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (["space.weight_scale={low: 1.0, high: 1.0}"], [1.0]),
        (["space.weight_scale={low: 0.3, high: 0.3, log: true}"], [0.3]),  # which no power of ten is to the last bit
        (["space.weight_scale={low: 0.3, high: 0.30000000000000004, log: true}"], [0.3, 0.30000000000000004]),
        (["space.weight_scale=[0.3, 0.30, 1, 1.0]"], [0.3, 1.0]),
    ],
)
def test_no_point_is_twice_in_the_grid(settings: list[str], values: list[float]) -> None:
    built = space.build(_spec("space.depth=4", "space.width=[8, 8]", "space.bias_variance=0", *settings))
    grid = [built.point(params) for params in built.grid()]
    assert len(grid) == len(set(grid)) == 2 * 2 * len(values)
    assert sorted({point.weight_scale for point in grid}) == values


@pytest.mark.parametrize(
    ("variance", "parameter", "biased"),
    [
        ("{low: 1e-3, high: 1, log: true, zero: true, levels: 4}", "bias_variance", 4),
        ("[0, 0.1]", "bias_variance_level", 1),
    ],
)
def test_networks_without_biases_are_one_point_whatever_the_mode(variance: str, parameter: str, biased: int) -> None:
    settings = [
        "space.bias_mode=[mirrored, iid]",
        f"space.bias_variance={variance}",
        "space.scheme=[ll_orth, ll_gauss]",
        "network.activation=relu",
    ]
    built = space.build(_spec(*settings, "space.depth=4", "space.width=8", "space.weight_scale=1"))
    assert built.idle == {"bias_mode": parameter}
    grid = [built.point(params) for params in built.grid()]
    assert len(grid) == len(set(grid)) == 2 * (1 + 2 * biased)
    low = built.params(grid[0]._replace(bias_variance=0))
    assert built.point(low | {"bias_mode": "iid"}) == built.point(low | {"bias_mode": "mirrored"})
    assert built.point(low | {"bias_mode": "iid"}).bias_mode == "mirrored"


def test_modes_of_no_biases_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"space\.bias_mode: without biases iid, zero are the same.*bias_variance above 0"
    ):
        space.build(_spec("space.bias_mode=[iid, zero]", "space.bias_variance=0"))


def test_a_spec_that_says_nothing_of_biases_is_told_the_mode_that_its_scheme_needs() -> None:
    text = "{name: axes, space: {scheme: [he_normal, torch_default], depth: [2, 4], width: 8}}"
    with pytest.raises(ValueError, match=r"bias_mode must be zero with scheme torch_default, but is iid where it is"):
        space.build(parse(text))
    assert space.build(parse(text, ["space.bias_mode=zero"]))
    with pytest.raises(ValueError, match=r"scheme torch_default knows bias_mode zero, got 'iid'"):
        space.build(parse(text, ["space.bias_variance=0.1"]))


def test_without_a_level_of_no_biases_no_mode_is_idle() -> None:
    settings = [
        "space.scheme=ll_orth",
        "network.activation=relu",
        "space.bias_mode=[mirrored, iid]",
        "space.bias_variance=[0.1, 0.2]",
    ]
    assert space.build(_spec(*settings)).idle == {}
    assert space.build(_spec("space.bias_mode=iid")).idle == {}


def test_a_range_of_one_value_and_zero_has_two_levels() -> None:
    built = space.build(_spec("space.bias_variance={low: 0.3, high: 0.3, log: true, zero: true}"))
    assert {built.point(params).bias_variance for params in built.grid()} == {0.0, 0.3}
    assert len(built.grid()) == len({built.point(params) for params in built.grid()})


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("space.scheme=[he_nromal]", ["he_nromal", "he_normal"]),
        ("dataset=digit", ["digit", "did you mean 'digits'"]),
        ("search.sampler=boundry", ["boundry", "did you mean 'boundary'", "sobol"]),
        ("space.bias_mode=[zero]", ["zero", "bias_variance"]),
        ("space.scheme=[risotto_c]", ["risotto_c", "resnet"]),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_spent(setting: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        space.build(_spec(setting))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_batch_normalization_of_single_samples_is_refused() -> None:
    batches_of_one = ("network.normalization=[none, batch]", "training.batch_size=1")
    with pytest.raises(ValueError, match=r"training\.batch_size must be at least 2 .* got 1"):
        space.build(_spec(*batches_of_one))
    space.build(_spec(batches_of_one[1]))


def _any_params(built: space.Space) -> dict:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return study.ask(built.distributions).params
