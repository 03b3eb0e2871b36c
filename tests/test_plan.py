"""A plan counts what a launch would train, prices it from shapes and a measured speed, and spends nothing."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from analysis.outcome import Criterion
from isoinit.theory.predict import Tolerance, depth_limit
from sweeps import calibration, data, dryrun, limits, network, plan, ready, space, speed, train, work
from sweeps.__main__ import main
from sweeps.reading import parse
from sweeps.spec import Point, SweepSpec, Training

TEXT = """
name: tiny
space:
  scheme: [xavier_normal, ll_orth]
  depth: {low: 2, high: 100, log: true}
  width: 8
training: {learning_rate: [0.1, 0.01, 0.001], batch_size: 16, steps: 40, seeds: 2}
search: {sampler: random, trials: 20, batch: 8}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing was measured yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "isoinit" / "speeds.json"


def test_it_counts_trials_packs_networks_and_flops(cache: Path) -> None:
    spec = parse(TEXT, ["training.steps=400"])
    made = plan.plan(spec)
    assert (made.trials, made.packs, made.networks) == (20, 3, 120)
    digits = data.load("digits")
    shallow, deep = (
        6 * 20 * network.flops(spec_point._replace(depth=depth), digits, spec.training)
        for spec_point in [_point()]
        for depth in (2, 100)
    )
    assert shallow < made.flops < deep
    assert made.seconds > made.startup > 0
    assert made.limits["ll_orth"] == float("inf")
    assert made.limits["xavier_normal"] is not None
    assert made.limits["xavier_normal"] < 30
    assert cache.is_file()


def test_a_limit_that_an_axis_moves_is_a_range() -> None:
    """Over the scale of the weights: critical in the middle, so neither end of the axis has the greatest limit."""
    scales, small = (0.5, 1.0, 2.0, 8.0), Training(learning_rate=[1e-9, 0.1])
    points = [_point()._replace(scheme="xavier_normal", width=64, weight_scale=s) for s in scales]
    found = limits.predicted(points, small)["xavier_normal"]
    assert found == [limits.predicted([p], small)["xavier_normal"][0] for p in points]
    assert max(found) == found[2] > 2 * found[0]
    assert max(found) > 2 * found[3]
    assert limits.predicted([_point()._replace(scheme="fixup")], small)["fixup"] == []


def test_a_plan_seeks_the_boundary_of_every_unit_where_theory_has_its_own() -> None:
    """Of nets of selu it is several times as deep as of silu."""
    spec = parse("""
name: two-units
network: {activation: [silu, selu]}
space: {scheme: orthogonal, depth: {low: 2, high: 300, log: true}, width: 32, bias_variance: 0}
training: {learning_rate: [0.1, 0.01]}
search: {trials: 64}
""")
    design = space.build(spec)
    even, _ = dryrun.evenly(spec, design)
    found = limits.by_kind([t.point for t in even], spec.training)
    low, high = (found[limits.Kind("orthogonal", "mlp", name, "none")][0] for name in ("silu", "selu"))
    assert high > 2 * low
    asked = dryrun.seeking(spec, design, even, found)
    depths = [[t.point.depth for t in asked if t.point.activation == name] for name in ("silu", "selu")]
    assert np.median(depths[0]) < 1.6 * dryrun.EARLY * low
    assert np.median(depths[1]) > 0.8 * dryrun.EARLY * high


def test_of_many_kinds_of_networks_theory_is_asked_no_more_than_of_one() -> None:
    points = [_point()._replace(scheme="he_normal", width=8 * n, activation=a) for n in range(1, 21) for a in _UNITS]
    found = limits.by_kind(points, Training())
    assert {kind.activation for kind in found} == set(_UNITS)
    assert len(_UNITS) <= sum(map(len, found.values())) <= limits.ASKED


_UNITS = ("relu", "leaky_relu", "tanh", "gelu")


def test_a_limit_is_that_of_all_learning_rates_of_gradient_descent() -> None:
    """Deep networks are stable at the least one, and shallow ones have learnt by the greatest when the steps end."""

    def limit(**training: Any) -> float:
        point = _point()._replace(scheme="ll_orth", width=64, bias_variance=0.3, bias_mode="iid")
        return limits.predicted([point], Training(**training))["ll_orth"][0]

    both = limit(learning_rate=[0.2, 0.01], steps=400)
    assert both == limit(learning_rate=[0.01], steps=400) > 1.5 * limit(learning_rate=[0.2], steps=400)
    assert limit(learning_rate=[0.2], optimizer="adam", steps=400) > both
    few = limit(learning_rate=[0.2, 0.01], steps=40)
    assert few > 10 * limit(learning_rate=[0.01], steps=40) == 10.0, "nothing trains"


def test_a_limit_is_that_of_the_budget_of_gradient_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(**training: Any) -> float:
        return limits.predicted([_point()._replace(scheme="orthogonal", width=64)], Training(**training))["orthogonal"][
            0
        ]

    rate = [1e-9, 0.1]
    assert limit(learning_rate=rate, steps=2000) > 1.5 * limit(learning_rate=rate, steps=200)
    assert limit(learning_rate=rate, steps=2000) == depth_limit("orthogonal", width=64, steps=2000)
    assert limit(learning_rate=rate, steps=2000, optimizer="adam") == depth_limit("orthogonal", width=64)
    point = _point()._replace(scheme="orthogonal", width=64)
    asks = [point], Training(learning_rate=rate, steps=400)
    known = limits.predicted(*asks, Criterion(threshold=0.95, within=300), 0.21)["orthogonal"]
    task = Tolerance.of(0.95, 0.21)
    assert known == [depth_limit("orthogonal", width=64, steps=300, tolerance=task)]
    assert limits.by_kind(*asks, Criterion(threshold=0.95, within=300), 0.21).popitem()[1] == known
    longer = parse(TEXT, ["training.steps=400", "space.width=64"])
    of_digits = plan.plan(longer).limits["xavier_normal"]
    with monkeypatch.context() as patch:
        patch.setattr(data, "between", lambda _: 0.05)
        of_others = plan.plan(longer).limits["xavier_normal"]
    assert of_others is not None
    assert of_digits is not None
    assert of_others < of_digits - 2
    whole, part = (
        plan.plan(parse(TEXT, [f"criterion={criterion}", "training.steps=400"])).limits
        for criterion in ("{at_least: 0.8}", "{at_least: 0.8, within: 60}")
    )
    found = [(part[scheme] or 0, whole[scheme] or 0) for scheme in whole]
    assert all(less <= more for less, more in found)
    assert any(less < more for less, more in found)


def test_a_speed_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse(TEXT)
    first = plan.plan(spec)
    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("it trained again"))
    assert plan.plan(spec).speed == first.speed


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_file_of_speeds_that_is_damaged_is_as_good_as_none(cache: Path, text: str) -> None:
    cache.parent.mkdir()
    cache.write_text(text)
    assert speed.startup() == speed.STARTUP
    speed.remember(parse(TEXT), "digest", slots=1, flops=1.0, layers=1.0, busy=1.0, startup=9.0, others=0.0)
    assert speed.startup() == (speed.STARTUP + 9.0) / 2


def test_of_another_installation_the_code_is_compiled_before_the_workers_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed is known from another folder or edition, the compiled code is not there."""
    spec = parse(TEXT)
    first = plan.plan(spec)
    trained: list[tuple[int, int]] = []

    def counted(members: list[train.Member], _: data.Dataset, training: Training) -> list[Any]:
        trained.append((len(members), training.steps))
        return []

    monkeypatch.setattr(train, "train", counted)
    monkeypatch.setattr(speed, "edition", lambda _: 0)
    assert [plan.plan(spec).speed for _ in range(2)] == [first.speed] * 2
    assert trained == [(calibration.SAMPLE, 2)]


def test_an_optimizer_is_priced_as_an_even_spread_and_a_grid_point_by_point() -> None:
    def flops(*settings: str) -> float:
        return plan.plan(parse(TEXT, settings)).flops

    many = "search.trials=64"
    assert flops("search.sampler=tpe", many) == flops("search.sampler=sobol", many)
    assert flops("search.sampler=tpe", many) == pytest.approx(flops("search.sampler=random", many), rel=0.35)
    grid = plan.plan(parse(TEXT, ["search.sampler=grid", "space.depth=[2, 4]", "search.trials=4"]))
    digits = data.load("digits")
    each = [network.flops(_point()._replace(depth=d), digits, grid.spec.training) for d in (2, 4, 2, 4)]
    assert grid.flops == pytest.approx(6 * sum(each))


@pytest.mark.slow
def test_the_boundary_is_sought_where_theory_lets_it_be() -> None:
    def depth(scheme: str, trials: int) -> float:
        settings = ["search.sampler=boundary", f"space.scheme=[{scheme}]", f"search.trials={trials}", "space.width=64"]
        settings.append("space.bias_variance={low: 1.0e-4, high: 1.0, log: true}")  # or else few places are new
        return plan.plan(parse(TEXT, settings)).mean_depth

    known = limits.predicted([_point()._replace(scheme="xavier_normal", width=64)], parse(TEXT).training)
    assert known == {"xavier_normal": [pytest.approx(9, abs=1)]}
    assert depth("xavier_normal", 64) < 14 < 40 < depth("ll_orth", 64)  # an even spread has 25
    long = plan.plan(parse(TEXT, ["search.sampler=boundary", "search.trials=600"]))
    short = plan.plan(parse(TEXT, ["search.sampler=boundary", f"search.trials={dryrun.SEEKING}"]))
    assert long.trials == 600
    assert long.flops == pytest.approx(600 / dryrun.SEEKING * short.flops)


def test_what_is_measured_is_as_many_networks_of_a_point_as_a_trial_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutional networks of one structure are stacked from a number on, and are quicker then."""
    seen: list[Counter[Point]] = []
    run = train.train

    def spy(members: list[train.Member], *given: Any, **options: Any) -> list[Any]:
        seen.append(Counter(m.point for m in members))
        return run(members, *given, **options)

    monkeypatch.setattr(train, "train", spy)
    plan.plan(parse(TEXT))
    assert all(set(counts.values()) == {2 * 3} for counts in seen)  # seeds and learning rates


@pytest.mark.parametrize(("networks", "timed", "shown"), [(30.01, 30, 30), (10.01, 10, 10), (0.1, 2, 10)])
def test_of_large_networks_few_are_timed_and_one_seed_shows_what_diverges(
    networks: float, timed: int, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifteen networks a point, of 500 layers of 256 units, take seconds a step. What is timed must not diverge, and
    what shows what diverges has all learning rates."""
    seen: list[Counter[tuple[Point, float]]] = []

    def spy(members: list[train.Member], _dataset: object, training: Training) -> list[object]:
        seen.append(Counter((m.point, m.learning_rate) for m in members))
        return [SimpleNamespace(flops=float(training.steps), steps_run=training.steps) for _ in members]

    rates = [1.0, 2.0, 3.0, 4.0, 5.0]
    spec, digits = parse(TEXT, ["training.seeds=3", f"training.learning_rate={rates}"]), data.load("digits")
    points = [_point()._replace(depth=d, width=256) for d in (2, 90)]
    step = sum(network.flops(p, digits, spec.training) for p in points) / spec.training.steps
    monkeypatch.setattr(calibration, "HEAVY", networks / 2 * step)
    monkeypatch.setattr(train, "train", spy)
    calibration.measure(spec, digits, points, slots=1)
    *times, last = seen
    assert all(t == dict.fromkeys(itertools.product(points, [calibration.STILL]), timed // 2) for t in times)
    assert last == dict.fromkeys(itertools.product(points, rates), shown // 10)


@pytest.mark.parametrize(("step", "rounds"), [(0.5, calibration.ROUNDS), (1.0, 1)])
def test_long_measurements_are_not_repeated(step: float, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where a step of the sample takes half a second eight steps are enough; where it takes one, once.
    The last run shows what diverges."""
    now, asked = [0.0], []

    def slow(members: list[object], _dataset: object, training: Training) -> list[object]:
        now[0] += step * training.steps
        asked.append(training.steps)
        return [SimpleNamespace(flops=float(training.steps), steps_run=training.steps) for _ in members]

    monkeypatch.setattr(train, "train", slow)
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: now[0])
    plan.plan(parse(TEXT, ["training.steps=2000"]), slots=1)
    assert asked == [2, *[2, 8] * rounds, 8]


def test_networks_that_diverge_at_once_cost_less() -> None:
    """On digits in this dtype a step of 1e6 ends every network at once, one of 1e-3 none."""
    made = plan.plan(parse(TEXT, ["training.learning_rate=[1.0e6,1.0e-3]", "training.steps=400"]))
    assert made.speed.share == pytest.approx(0.5, abs=0.02)
    assert plan.plan(parse(TEXT, ["training.learning_rate=1.0e-3", "training.steps=400"])).speed.share == 1.0


def test_points_that_differ_are_not_taken_at_their_word() -> None:
    """The same share of two points that agree, and of two of which one diverged at once: there is room for doubt."""
    whole, half, none = (SimpleNamespace(flops=float(steps), steps_run=steps) for steps in (100, 50, 1))
    agree = calibration._share([whole, none, whole, none], 2, 100, 100)  # pyright: ignore[reportArgumentType]
    differ = calibration._share([whole, whole, none, none], 2, 100, 100)  # pyright: ignore[reportArgumentType]
    assert agree == pytest.approx(0.5, abs=0.01)
    assert differ == pytest.approx(1.0, abs=0.01)  # .5, and the standard error of the mean of 0 and 1 is .5
    assert calibration._share([half] * 4, 2, 100, 100) == 0.5  # pyright: ignore[reportArgumentType]


def test_another_version_of_this_code_or_way_to_measure_is_another_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = speed._key(parse(TEXT), "data", 2)
    assert speed._key(parse(TEXT), "data", 2) == before
    assert speed._key(parse(TEXT), "other data of the same name", 2) != before
    monkeypatch.setattr(speed, "version", lambda _: "99")
    newer = speed._key(parse(TEXT), "data", 2)
    monkeypatch.setattr(calibration, "METHOD", calibration.METHOD + 1)
    assert len({before, newer, speed._key(parse(TEXT), "data", 2)}) == 3


def test_a_launch_teaches_the_next_plan_its_speed_and_its_start() -> None:
    """Also if it took longer only because fewer networks diverged than planned."""
    spec = parse(TEXT, ["training.learning_rate=[1.0e-3, 1.0e9]"])
    made = plan.plan(spec, slots=2)
    assert made.speed.share < 0.7
    busy = 3 * made.speed.seconds(made.speed.share * made.flops, made.layers)
    wall = plan._wall(busy, 2, made.packs)
    for _ in range(2):
        plan.remember(made, busy, seconds=wall + 7.0)
    taught = plan.plan(spec, slots=2)
    assert taught.startup == pytest.approx(7.0)
    assert taught.seconds == pytest.approx(7.0 + wall)
    plan.remember(taught, busy, seconds=wall + 7.0)  # as foreseen: nothing new
    assert plan.plan(spec, slots=2).seconds == pytest.approx(taught.seconds)


@pytest.mark.parametrize(("slots", "packs"), [(1, 5), (2, 2), (2, 13), (4, 24)])
def test_packs_do_not_end_at_once(slots: int, packs: int) -> None:
    """Against packs of unlike lengths dealt out to whichever slot is free."""
    rng = np.random.default_rng(0)
    found = []
    for durations in rng.uniform(0.5, 1.5, (2000, packs)) if packs > slots else np.ones((1, packs)):
        free = np.zeros(slots)
        for duration in durations:
            free[free.argmin()] += duration
        found.append(free.max() / plan._wall(durations.sum(), slots, packs))
    assert np.mean(found) == pytest.approx(1.0, abs=0.02)


def test_one_launch_on_a_busy_machine_does_not_spoil_the_plan() -> None:
    spec = parse(TEXT)
    made = plan.plan(spec)
    usual = made.speed.seconds(made.flops, made.layers)
    for times in (1.0, 9.0, 1.1):
        plan.remember(made, times * usual, seconds=times * (usual + 5.0))
    assert plan.plan(spec).speed.seconds(made.flops, made.layers) == pytest.approx(1.1 * usual)
    for _ in range(speed.REMEMBERED):  # the machine has become slow
        plan.remember(made, 9 * usual, seconds=9 * usual)
    assert plan.plan(spec).speed.seconds(made.flops, made.layers) == pytest.approx(9 * usual)


def test_launches_that_shared_the_machine_count_only_if_all_did() -> None:
    spec = parse(TEXT)
    made = plan.plan(spec)
    usual = made.speed.seconds(made.flops, made.layers)

    def taught() -> tuple[float, float]:
        again = plan.plan(spec)
        return again.speed.seconds(made.flops, made.layers) / usual, again.startup

    def launch(times: float, others: float) -> None:
        busy = times * usual
        plan.remember(made, busy, plan._wall(busy, made.slots, made.packs) + 4.0 * times, others)

    for _ in range(speed.REMEMBERED):  # as on a machine that is never quiet
        launch(3.0, others=0.5)
    assert taught() == pytest.approx((3.0, 12.0))
    for _ in range(2):
        launch(1.1, others=0.02)
    assert taught() == pytest.approx((1.1, 4.4))
    for _ in range(speed.REMEMBERED - 2):
        launch(2.5, others=0.4)
    assert taught() == pytest.approx((1.1, 4.4))


def test_a_kind_of_sweep_that_was_not_launched_is_taken_to_be_as_much_slower_than_measured_as_others() -> None:
    one, other, third = (parse(TEXT, [f"space.width={width}"]) for width in (8, 9, 10))

    def slower(spec: SweepSpec) -> float:
        made = plan.plan(spec)
        measured = speed.Speed(
            *json.loads(speed._file().read_text())[speed._key(spec, made.data_digest, made.slots)]["speed"]
        )
        return made.speed.seconds(1e9, 100) / measured.seconds(1e9, 100)

    def launch(spec: SweepSpec, times: float) -> None:
        made = plan.plan(spec)
        plan.remember(made, times / slower(spec) * made.speed.seconds(made.speed.share * made.flops, made.layers), 1e3)

    assert slower(one) == pytest.approx(speed.SWEEPING)
    launch(one, 2.0)
    assert slower(one) == pytest.approx(2.0)
    assert slower(other) == pytest.approx((speed.SWEEPING + 2.0) / 2)
    launch(other, 1.6)
    assert slower(third) == pytest.approx(1.6)  # the median of all that is known


def test_a_pack_knows_how_long_it_waited_for_a_core() -> None:
    """A sleep is what another program's turn looks like; one's own computing is none."""
    with work.waiting(torch.device("cpu")) as waited:
        time.sleep(0.1)
        asleep = time.perf_counter()
        used = time.process_time()
        while time.process_time() - used < 0.1:
            pass
        ready = time.perf_counter() - asleep
    assert 0.1 <= waited() + 0.005 <= 0.1 + ready - 0.1 + 0.05
    with work.waiting(torch.device("meta")) as waited:
        time.sleep(0.01)
    assert waited() == 0.0


def test_initialization_is_timed_as_processes_would_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of Python a run, for which two threads wait for each other: a worker has it for itself."""
    now, lock = [0.0], threading.Lock()

    def python(members: list[object], _dataset: object, training: Training) -> list[object]:
        with lock:
            now[0] += 0.5
        return [SimpleNamespace(flops=float(training.steps), steps_run=training.steps) for _ in members]

    monkeypatch.setattr(train, "train", python)
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: now[0])
    made = [plan.plan(parse(TEXT, ["training.steps=400"]), slots=slots).speed.layer_seconds for slots in (1, 2)]
    assert made[1] == pytest.approx(made[0], rel=0.05)


def test_small_networks_are_measured_for_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of half a second that varies by a tenth hides steps of a millisecond, but not a thousand of them."""
    now, rng = [0.0], random.Random(0)

    def quick(members: list[object], _dataset: object, training: Training) -> list[object]:
        now[0] += 0.5 + 0.1 * rng.random() + 0.001 * training.steps
        flops = 1e6 * training.steps / len(members)
        return [SimpleNamespace(flops=flops, steps_run=training.steps) for _ in members]

    monkeypatch.setattr(train, "train", quick)
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: now[0])
    made = plan.plan(parse(TEXT, ["training.steps=2000"]), slots=1)
    assert made.speed.flops * speed.SWEEPING == pytest.approx(1e9, rel=0.1)


def test_what_it_warns_of() -> None:
    made = plan.plan(parse(TEXT, ["training.seeds=1", "training.learning_rate=0.1", "search.batch=20"]), slots=2)
    assert len(made.warnings) == 3
    assert made.warnings[0].startswith("only 1 pack for 2 at once")
    console = Console(width=200, record=True)
    console.print(plan.render(made))
    text = console.export_text(clear=False)
    assert "20 trials in 1 pack, 20 networks (1 seed x 1 learning rate a trial)" in text
    assert "depth limit predicted at learning rate 0.1\n" in text
    console.print(plan.render(plan.plan(parse(TEXT), slots=2)))
    assert "depth limit predicted at learning rates 0.001 to 0.1\n" in console.export_text(clear=True)
    console.print(plan.render(plan.plan(parse(TEXT, ["training.optimizer=adam"]), slots=2)))
    assert ["scheme", "depth", "limit", "predicted"] in [line.split() for line in console.export_text().splitlines()]


def test_a_grid_is_priced_as_it_is_launched_and_ends_with_its_points(tmp_path: Path) -> None:
    """All trials that were asked for were priced, of which the launch left out those beyond the grid."""
    spec = parse(TEXT, ["search.sampler=grid", "space.depth=[2, 4]", "search.trials=9"])
    made = plan.plan(spec, slots=1)
    options = ready.Options(tmp_path / "runs", f"sqlite:///{tmp_path}/mlflow.db", inline=True)
    assert made.trials == ready.prepare(spec, options).spec.search.trials == 4
    assert made.networks == 4 * 2 * 3
    assert made.warnings[-1] == "search.trials is 9, but the grid has 4 points, and each is trained once"
    exact = plan.plan(parse(TEXT, ["search.sampler=grid", "space.depth=[2, 4]", "search.trials=4"]), slots=1)
    assert not [text for text in exact.warnings if "grid" in text]
    part = plan.plan(parse(TEXT, ["search.sampler=grid", "space.depth=[2, 4]", "search.trials=3"]), slots=1)
    assert part.trials == 3
    assert part.warnings[-1] == (
        "search.trials is 3, but the grid has 4 points, and only so many of them, chosen at random, are trained"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["space.depth=7"], "all networks have depth 7: a map takes a space.depth of more than one"),
        (["space.depth=[7, 7]"], "all networks have depth 7: a map takes a space.depth of more than one"),
        (["space.depth={low: 7, high: 7}"], "all networks have depth 7: a map takes a space.depth of more than one"),
        (
            ["training.stop_on_success=true", "criterion={metric: test_accuracy, at_least: 0.5}"],
            "training.stop_on_success ends no training",
        ),
        (["search.sampler=random", "search.audit=0.5"], "search.audit is of the sampler boundary, so random makes no"),
    ],
)
def test_it_warns_of_what_would_have_no_effect_and_of_a_sweep_without_a_map(change: list[str], said: str) -> None:
    def told(*changes: str) -> list[str]:
        return [text for text in plan._warnings(parse(TEXT, changes), 40, 5, 2, busy=60.0) if text.startswith(said)]

    assert len(told(*change)) == 1
    assert not told("search.sampler=random") + told("search.sampler=boundary", "search.audit=0.5")


def test_it_warns_of_a_sampler_that_takes_longer_than_the_training() -> None:
    def warned(sampler: str) -> str:
        return " ".join(plan._warnings(parse(TEXT, [f"search.sampler={sampler}"]), 3000, 375, 2, busy=60.0))

    assert "sampler tpe itself takes about 29 s for 3000 trials, against 1 min 00 s of training" in warned("tpe")
    assert "sampler gp itself takes about 5 h 05 min" in warned("gp")
    assert "sampler" not in warned("random")


def test_it_is_printed_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(TEXT)
    assert main(["plan", str(tmp_path / "tiny.yaml")]) == 0
    assert "120 networks" in capsys.readouterr().out
    assert main(["plan", str(tmp_path / "tiny.yaml"), "--set", "training.steps=400", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["networks"] == 120
    assert found["predicted_depth_limits"]["ll_orth"] == "inf"


def _point():
    from sweeps.spec import Point

    return Point("ll_orth", "mlp", "relu", "none", 2, 8, 1.0, "iid", 0.0, 1.0)
