"""The boundary sampler as an Optuna sampler: contract, reproducibility, resume, and where it looks."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pytest
from bench.beds import Synthetic
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import TrialState
from scipy.special import expit, ndtr
from scipy.stats import chi2_contingency, chisquare, kstest

from analysis.gp import AT_ONCE, LogisticGP, learn
from analysis.kernels import Kernel
from analysis.points import CENTRE, Counts, Points
from analysis.region import RegionModel
from sweeps.boundary import ROLE, START, BoundarySampler, placing
from sweeps.boundary import sampler as sampling
from sweeps.boundary.coordinates import STEP, Axes, axis_of, known
from sweeps.boundary.memory import Memory
from sweeps.boundary.trials import PLACE, alike, counts_of, going, new_after, read_of

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE: dict[str, BaseDistribution] = {
    "scheme": CategoricalDistribution(["short", "long"]),
    "depth": IntDistribution(2, 100, log=True),
    "bias_variance": FloatDistribution(1e-5, 1.0, log=True),
}
FLOORS = {"bias_variance": 1e-4}
MODES = SPACE | {"bias_mode": CategoricalDistribution(["iid", "mirrored"])}
NUMBERS: dict[str, BaseDistribution] = {"depth": FloatDistribution(0, 1), "lr": FloatDistribution(0, 1)}


def limit(params: dict) -> float:
    return {"short": 8.0, "long": 30.0}[params["scheme"]]


def tell(study: optuna.Study, trial: optuna.Trial, seeds: int = 2) -> None:
    trained = seeds if trial.params["depth"] <= limit(trial.params) else 0
    trial.set_user_attr("n_trained", trained)
    trial.set_user_attr("n_replicates", seeds)
    study.tell(trial, 1.0 if trained else -1.0)


def run(trials: int, batch: int = 4, seed: int = 0, **options) -> optuna.Study:
    sampler = BoundarySampler(seed=seed, batch=batch, floors=FLOORS, **options)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(trials // batch):
        for trial in [study.ask(SPACE) for _ in range(batch)]:
            tell(study, trial)
    return study


def asked(study: optuna.Study) -> list[dict]:
    return [trial.params for trial in study.trials]


class TestContract(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Optuna's own tests of a sampler."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: BoundarySampler(seed=0, depth="x")


def test_trials_gather_at_the_boundary():
    study = run(64)
    late = [t for t in study.trials[2 * START :] if t.system_attrs[ROLE] == "boundary"]
    miss = [abs(np.log(t.params["depth"] / limit(t.params))) for t in late]
    assert len(late) > 20
    assert np.median(miss) < 0.15 * np.log(50)  # uniform placement: 0.3


def test_same_seed_and_tells_ask_the_same():
    assert asked(run(40, seed=3)) == asked(run(40, seed=3))
    assert asked(run(40, seed=3)) != asked(run(40, seed=4))


def test_another_process_asks_the_same():
    code = "from test_boundary_sampler import *; print(asked(run(32, seed=3)))"
    here = Path(__file__).parent
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here)
    assert out.stdout.strip().splitlines()[-1] == str(asked(run(32, seed=3)))


@pytest.mark.parametrize("told", [7, 16, 30, 41])
def test_a_rebuilt_study_goes_on_the_same(told: int):
    """A new sampler over copied trials asks what the old one asks, in the middle of a batch too."""
    old = run(40, seed=1)
    done = old.trials[:told]
    studies = []
    for sampler in (old.sampler, BoundarySampler(seed=1, batch=4, floors=FLOORS)):
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.add_trials(done)
        studies.append(study)
    first, second = ([study.ask(SPACE).params for _ in range(6)] for study in studies)
    assert first == second


def test_order_of_completion_survives_a_rebuild_in_ledger_order():
    """Trials told out of order, then added anew in the order in which they were told."""
    study = run(32, seed=2)
    trials = [study.ask(SPACE) for _ in range(8)]
    for trial in reversed(trials):
        tell(study, trial)
    rebuilt = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=2, batch=4, floors=FLOORS))
    for old in study.trials[:32] + study.trials[:31:-1]:
        rebuilt.add_trial(
            optuna.create_trial(
                params=old.params, distributions=old.distributions, values=old.values, user_attrs=old.user_attrs
            )
        )
    assert study.ask(SPACE).params == rebuilt.ask(SPACE).params


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads that change places at every chance, so that a race is lost in a fraction of a second."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(0, 2),
        IntDistribution(2, 11, step=3),
        FloatDistribution(0.0, 1.0, step=0.5),
        CategoricalDistribution(["a", "b", "c"]),
    ],
    ids=str,
)
def test_audits_are_as_even_as_those_of_optunas_random_sampler(distribution) -> None:
    """Snapping to the nearest value gives those at the ends half a share."""

    def counts(sampler: BaseSampler) -> Counter:
        study = optuna.create_study(direction="maximize", sampler=sampler)
        return Counter(study.ask({"x": distribution}).params["x"] for _ in range(1200))

    ours, theirs = counts(BoundarySampler(seed=0, audit=1.0)), counts(optuna.samplers.RandomSampler(seed=0))
    assert ours.keys() == theirs.keys()
    test: Any = chi2_contingency([[c[x] for x in theirs] for c in (ours, theirs)])
    assert test.pvalue > 1e-3


def test_audits_on_a_log_scale_are_as_even_as_the_map_is() -> None:
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, audit=1.0))
    seen = Counter(study.ask({"x": IntDistribution(2, 9, log=True)}).params["x"] for _ in range(1200))
    ends = np.log([2, *np.arange(2.5, 9), 9])
    share = np.diff(ends) / np.log(9 / 2)
    assert chisquare([seen[x] for x in range(2, 10)], 1200 * share).pvalue > 1e-3


def test_a_parameter_called_role_is_as_random_as_another() -> None:
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, audit=0.3, batch=4))
    for _ in range(150):
        trial = study.ask({"role": FloatDistribution(0.0, 1.0)})
        study.tell(trial, 1.0 if trial.params["role"] > 0.5 else -1.0)
    audits = [t.params["role"] for t in study.trials if t.system_attrs[ROLE] == "audit"]
    assert kstest(audits, "uniform").pvalue > 1e-3


def test_an_audit_draws_its_parameters_independently():
    space: dict[str, BaseDistribution] = {name: FloatDistribution(0.0, 1.0) for name in "abc"}
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, audit=1.0))
    asked = [study.ask(space).params for _ in range(400)]
    correlations = np.corrcoef([[p[name] for name in space] for p in asked], rowvar=False)
    assert np.abs(correlations[np.triu_indices(3, 1)]).max() < 0.2


def test_the_start_is_spread_more_evenly_than_by_chance_and_has_any_number_of_parameters():
    space: dict[str, BaseDistribution] = {f"x{i:02d}": FloatDistribution(0.0, 1.0) for i in range(66)}
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0))
    asked = [study.ask(space).params for _ in range(16)]
    cells = [{int(16 * p[name]) for p in asked} for name in space]
    assert all(len(taken) == 16 for taken in cells[:64])
    assert max(len(taken) for taken in cells[64:]) < 16


def test_studies_of_one_storage_share_a_sampler():
    """Each in its turn asks what it would have asked alone."""
    shared, storage = BoundarySampler(seed=0, batch=2, floors=FLOORS), optuna.storages.InMemoryStorage()
    studies = [optuna.create_study(storage=storage, direction="maximize", sampler=shared) for _ in range(2)]
    alone = [
        optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=2, floors=FLOORS))
        for _ in range(2)
    ]
    for _ in range(2 * START):
        for study, deep in (*zip(studies, (6, 40), strict=True), *zip(alone, (6, 40), strict=True)):
            trial = study.ask(SPACE)
            study.tell(trial, 1.0 if trial.params["depth"] < deep else -1.0)
    assert [asked(study) for study in studies] == [asked(study) for study in alone]


def test_threads_with_a_study_each_share_a_sampler():
    """Each asks what it would have asked alone: no model, nor list of trials, of the other study."""

    def asks(sampler: BaseSampler, deep: float) -> list[dict]:
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for _ in range(12):
            for trial in [study.ask(SPACE) for _ in range(2)]:
                study.tell(trial, 1.0 if trial.params["depth"] < deep else -1.0)
        return asked(study)

    def sampler() -> BaseSampler:
        return BoundarySampler(seed=0, batch=2, floors=FLOORS)

    alone, shared = [asks(sampler(), deep) for deep in (6, 40)], sampler()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(asks, [shared, shared], (6, 40))) == alone


@pytest.mark.usefixtures("eager_threads")
def test_threads_that_look_at_once_miss_no_trial():
    """Every trial once, in the order of completion, whichever thread saw it first."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    memory = Memory()

    def work(_: int) -> None:
        for _ in range(60):
            trials = [study.ask(SPACE) for _ in range(2)]
            memory.look(study)
            for trial in reversed(trials):
                study.tell(trial, 1.0)
                memory.look(study)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    running = study.ask(SPACE)
    seen = memory.look(study)
    ended = sorted(study.trials[:-1], key=lambda t: (t.datetime_complete, t.number))
    assert [t.number for t in seen.told] == [t.number for t in ended]
    assert [t.number for t in ended] != sorted(t.number for t in ended)
    assert [t.number for t in seen.running] == [running.number]
    assert seen.space == SPACE


def test_what_was_seen_at_one_moment_stays_and_what_was_enqueued_is_not_missed():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    memory = Memory()
    for _ in range(2):
        study.enqueue_trial({"depth": 9})
    before = memory.look(study)
    assert before.running == []  # they wait
    for told in (1, 2):
        study.tell(study.ask(SPACE), 1.0)
        assert [t.number for t in memory.look(study).told] == [*range(told)]
    assert before.told == []


def test_trials_that_were_told_in_the_same_moment_are_in_the_order_of_their_numbers():
    """As by a coarse clock, whether they are seen at once or one by one: or else a resumed study asked otherwise."""
    study = optuna.create_study(direction="maximize")
    memory, now = Memory(), datetime.now()
    for number in range(4):
        trial = optuna.create_trial(value=1.0)
        trial.datetime_complete = now
        study.add_trial(trial)
        assert [t.number for t in memory.look(study).told] == [*range(number + 1)]
    assert [t.number for t in Memory().look(study).told] == [*range(4)]


def test_a_pickled_sampler_asks_the_same():
    study = run(40, seed=5)
    first = study.ask(SPACE).params
    copy = optuna.create_study(direction="maximize", sampler=pickle.loads(pickle.dumps(study.sampler)))
    copy.add_trials(study.trials[:40])
    assert copy.ask(SPACE).params == first


def test_running_trials_spread_the_batch():
    study = run(32)
    batch = [study.ask(SPACE).params for _ in range(16)]
    assert len({(p["scheme"], p["depth"], p["bias_variance"]) for p in batch}) == 16
    placed = [p for p in batch if p["depth"] > 2]
    assert {p["scheme"] for p in placed} == {"short", "long"}
    assert np.ptp([np.log(p["bias_variance"]) for p in placed]) > 0.5 * np.log(1e5)


def test_roles_are_tagged_and_audits_are_uniform():
    """Audit trials by chance alone: a sampler that tags them but places them at the boundary fails the KS test."""
    study = run(240, batch=8, audit=0.3)
    roles = [t.system_attrs[ROLE] for t in study.trials]
    assert set(roles[:START]) == {"start"}
    assert set(roles[START:]) == {"audit", "boundary"}
    depths = {
        role: [np.log(t.params["depth"] / 2) / np.log(50) for t in study.trials if t.system_attrs[ROLE] == role]
        for role in ("audit", "boundary")
    }
    assert START + len(depths["audit"]) == pytest.approx(0.3 * 240, rel=0.3)
    assert "audit" not in roles[: int(START / 0.3)]  # the start was their share
    assert kstest(depths["audit"], "uniform").pvalue > 0.01
    assert kstest(depths["boundary"], "uniform").pvalue < 1e-4
    study.enqueue_trial({"scheme": "long", "depth": 99, "bias_variance": 1.0})
    study.ask(SPACE)
    assert study.trials[-1].system_attrs[ROLE] == "enqueued"


def test_what_was_read_stays_read():
    """Of 175 trials in batches of 12, 174 were, and of 176 only 168."""
    for batch in (1, 2, 8, 12, 15, 16, 60, 64, 210):
        read = [read_of(told, batch) for told in range(3000)]
        assert read == sorted(read)
        assert all(0 <= told - r < new_after(told, batch) for told, r in enumerate(read))
        assert all(read_of(told, batch) == told for told in range(0, 3000, batch))
    assert (read_of(175, 12), read_of(176, 12), read_of(180, 12)) == (174, 174, 180)
    sampler = BoundarySampler(seed=0, batch=12, audit=0, floors=FLOORS)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(run(176, batch=8).trials)
    study.ask(SPACE)
    assert sampler._memory.plan is not None
    assert len(sampler._memory.plan.key[1]) == 174


@pytest.mark.parametrize(
    ("batch", "step"), [(16, {16: 2, 32: 2, 64: 4, 96: 4, 240: 16, 4000: 16}), (6, {64: 3, 96: 6})]
)
def test_a_batch_told_is_a_batch_read(batch: int, step: dict[int, int]):
    """New plans come at multiples of divisors of the batch, so that no result of a whole batch is left for later."""
    assert {told: new_after(told, batch) for told in step} == step
    study = run(96, batch=16)
    study.ask(SPACE)
    plan = study.sampler._memory.plan  # pyright: ignore[reportAttributeAccessIssue]
    assert plan is None or len(plan.key[1]) in (80, 96)  # 80 if the last ask was an audit


def place(params: dict) -> np.ndarray:
    depth, bias = np.log(params["depth"] / 2) / np.log(50), np.log(params["bias_variance"] / 1e-5) / np.log(1e5)
    return np.array([depth, bias])


SURPRISE = {"scheme": "short", "depth": 80, "bias_variance": 0.01}  # it should not train


def next_to_surprise(study: optuna.Study, trials: int) -> list[np.ndarray]:
    """Asks and tells trials; the way from the surprise to those of its scheme that lie next to it."""
    asked_now = [study.ask(SPACE) for _ in range(trials)]
    for trial in asked_now:
        tell(study, trial)
    ways = [place(t.params) - place(SURPRISE) for t in asked_now if t.params["scheme"] == "short"]
    return [way for way in ways if np.linalg.norm(way) < 0.15]


def surprised(trained: int) -> optuna.Study:
    """A study that knows its limits well, and then a deep network that trained, or not."""
    study = run(80, batch=8, audit=0.0)
    counts = {"n_trained": trained, "n_replicates": 2}
    study.add_trial(
        optuna.create_trial(params=SURPRISE, distributions=SPACE, values=[trained - 1.0], user_attrs=counts)
    )
    study.add_trials(run(84, batch=4, audit=0.0, seed=9).trials[80:])  # or the surprise is not read yet
    return study


def due(study: optuna.Study) -> int:
    """How many surprises of the latest plan are to be asked about."""
    plan = study.sampler._memory.plan  # pyright: ignore[reportAttributeAccessIssue]
    return len(list(plan._follow_ups(waiting=plan.told.take([]))))


def test_a_surprise_is_asked_again_and_settled_by_two_failures():
    assert next_to_surprise(surprised(trained=0), 8) == []
    study = surprised(trained=2)
    first, second = next_to_surprise(study, 8)
    assert first @ second < 0  # on opposite sides: one of them is inside whatever has its edge here
    assert due(study) == 1
    next_to_surprise(study, 8)
    assert due(study) == 0


def test_a_surprise_that_happens_again_is_followed_to_its_end():
    """An island of deep networks that train: it is found by one trial and mapped by those that follow."""
    study = surprised(trained=2)
    centre = place(SURPRISE)
    for _ in range(6):
        for trial in [study.ask(SPACE) for _ in range(8)]:
            inside = trial.params["scheme"] == "short" and np.linalg.norm(place(trial.params) - centre) < 0.25
            study.tell(trial, 1.0 if inside or trial.params["depth"] <= limit(trial.params) else -1.0)
    after = [t for t in study.trials[85:] if t.params["scheme"] == "short"]
    assert sum(np.linalg.norm(place(t.params) - centre) < 0.35 for t in after) > 10
    table = pa.table(
        {
            **{name: [t.params[name] for t in study.trials] for name in SPACE},
            "n_replicates": [1] * len(study.trials),
            "n_trained": [int(t.values[0] > 0) for t in study.trials],
        }
    )
    assert RegionModel.fit(table).p_in_region(pa.Table.from_pylist([SURPRISE]))[0] > 0.5


@pytest.mark.parametrize("seed", [2, 3])
def test_the_shallow_end_of_every_category_is_looked_at(seed: int, monkeypatch: pytest.MonkeyPatch):
    """Of a sampler that does not look some schemes are shallow in no trial of 112."""
    space = {**SPACE, "scheme": CategoricalDistribution(list("abcdef"))}

    def shallow(after: int) -> list[list[str]]:
        monkeypatch.setattr(placing, "CHECK_AFTER", after)
        sampler = BoundarySampler(seed=seed, batch=8, audit=0.0, floors=FLOORS)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for _ in range(14):
            for trial in [study.ask(space) for _ in range(8)]:
                study.tell(trial, 1.0 if trial.params["depth"] <= 30 else -1.0)
        places = [(t.params["scheme"], t.params["depth"] < 2 * 50**placing.SHALLOW) for t in study.trials]
        return [[scheme for scheme, is_shallow in part if is_shallow] for part in (places[:48], places[48:])]

    first, later = shallow(after=48)
    missing = set("abcdef") - set(first)
    assert missing
    assert sorted(later) == sorted(missing)  # each once, though eight are asked at a time
    assert shallow(after=10**9) == [first, []]


@pytest.mark.slow
def test_what_is_far_from_all_trials_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    """In turn, among what is decided to fail; without the turns the trials before are the same, and the holes stay."""

    def far(after: int, cost: float = placing.FAR_COST) -> tuple[list[dict], float]:
        """The trials, and how far the farthest place beyond the limits is from them all."""
        monkeypatch.setattr(placing, "FAR_AFTER", after)
        monkeypatch.setattr(placing, "FAR_COST", cost)
        trials = asked(run(224, batch=8, audit=0.0, seed=5))
        grid = product(("short", "long"), (12, 20, 40, 60, 90), np.geomspace(1e-4, 1, 9))
        beyond = [p for s, d, v in grid if d > limit(p := {"scheme": s, "depth": d, "bias_variance": v})]
        ways = [
            min(float(np.linalg.norm(place(p) - place(t))) for t in trials if t["scheme"] == p["scheme"])
            for p in beyond
        ]
        return trials, max(ways)

    (trials, hole), (without, hole_without) = far(placing.FAR_AFTER), far(10**9)
    assert trials[:128] == without[:128]
    assert hole < 0.75 * hole_without
    turns, others = trials[144::24], [p for i, p in enumerate(trials) if i >= 128 and i % 24]
    assert min(p["depth"] / limit(p) for p in turns) > 1.1
    assert np.mean([p["depth"] / limit(p) > 1.5 for p in others]) < 0.1
    layers, layers_at_no_cost = (sum(p["depth"] for p in them[144::24]) for them in (trials, far(128, 0.0)[0]))
    assert layers < 0.9 * layers_at_no_cost


def test_the_sum_of_ways_that_a_trial_shortens():
    """One axis: trials of the first category at 0, none of the second, which is then a whole axis away."""
    places = Points(np.array([[0.1], [0.5], [0.9], [0.5]]), np.array([[0], [0], [0], [1]]))
    seen = Points(np.array([[0.0]]), np.array([[0]]))
    np.testing.assert_allclose(placing.nearer(places, seen), [0.3, 1.0, 1.0, 1.0])
    alone = Points(np.array([[0.5, 0.5]]), np.zeros((1, 0), int))
    np.testing.assert_allclose(placing.nearer(alone, alone.take([])), np.sqrt(2))  # the diagonal of two axes


def test_a_surprise_is_what_the_model_without_the_trial_excludes():
    """Cavities of expectation propagation against models conditioned anew on all trials but one."""
    rng = np.random.default_rng(3)
    points = Points(rng.random((60, 2)), rng.integers(0, 2, (60, 1)))
    n = np.full(60, 1.0)
    k = (rng.random(60) < expit(25 * (0.5 - points.x[:, 0]))).astype(float)
    k[:4] = 1 - k[:4]
    counts, kernel = Counts(k, n), Kernel(2, 1, frontier=True)
    theta = kernel.prior[0]
    active = np.arange(50)  # the last ten are told, but not conditioned on
    gp = LogisticGP.condition(kernel, theta, points.take(active), counts.take(active))
    found = placing.surprising(gp, active, points, counts)
    expected = []
    for i in range(60):
        others = active[active != i]
        without = LogisticGP.condition(kernel, theta, points.take(others), counts.take(others))
        mean, variance, _ = without.moments(points.take([i]))
        chance = ndtr(mean / np.sqrt(variance + 8 / np.pi))[0]
        expected.append(chance < 0.05 if k[i] else chance > 0.95)
    assert found.tolist() == expected
    assert 2 <= sum(expected) <= 10


def planned(axes: Axes, told: Points, trained: np.ndarray, active: np.ndarray) -> placing.Plan:
    """A plan of one network a place, by the prior's hyperparameters."""
    counts, kernel = (
        Counts(1.0 * trained, np.ones(len(trained))),
        Kernel(2, len(axes.levels), axes.frontier, axes.levels),
    )
    gp = LogisticGP.condition(kernel, kernel.prior[0], told.take(active), counts.take(active))
    key = axes, tuple(range(len(trained)))
    return placing.Plan.make(key, gp, active, told, counts, lambda *_: np.random.default_rng(0))


@pytest.mark.parametrize(("trials", "checked"), [(47, 0), (48, 3), (63, 3), (64, 4), (128, 4)])
def test_the_more_trials_the_more_categories_are_checked_for_shallow_ones(trials: int, checked: int):
    """Those of choices alone: places at which all choices are one are none of their own."""
    axes = Axes.of(MODES, "depth", FLOORS, {"bias_mode": "bias_variance"})
    rng = np.random.default_rng(0)
    told = Points(0.3 + 0.7 * rng.random((trials, 2)), rng.integers(0, 2, (trials, 2)))
    plan = planned(axes, told, told.x[:, 0] < 0.6, np.arange(trials))
    places = [plan.candidates.take(index) for index in plan._checks(told.take([]))]
    assert all(np.all(at.x[:, 0] < placing.SHALLOW) for at in places)
    combinations = [np.unique(at.c, axis=0).tolist() for at in places]
    assert combinations == [[list(codes)] for codes in product((0, 1), repeat=2)][:checked]


@pytest.mark.parametrize("depth", ["depth", None])
def test_what_is_far_is_decided_to_fail_and_far_from_what_waits_and_the_deep_alone_cost(depth: str | None):
    axes, rng = Axes.of(NUMBERS, depth, {}, {}), np.random.default_rng(0)
    told = Points(rng.random((134, 2)), np.zeros((134, 0), int))
    plan = planned(axes, told, told.x[:, 0] < 0.3, np.arange(134))
    waiting = Points(0.05 * rng.random((10, 2)), np.zeros((10, 0), int))
    (order,) = plan._far(waiting)
    assert np.all(plan.mean[order] < -placing.STRADDLE * np.sqrt(plan.variance[order]))
    nearer = placing.nearer(plan.candidates.take(order), told.beside(waiting))
    assert (np.argmax(nearer) == 0) == (depth is None)
    first = plan.candidates.take(order[:1])
    (others,) = plan._far(first.take([0] * 10))
    assert np.linalg.norm(plan.candidates.x[others[0]] - first.x) > 0.1
    assert list(plan._far(waiting.take([0] * 9))) == []


@pytest.mark.parametrize(("neighbours", "asked"), [(0, True), (5, True), (6, False)])
def test_the_latest_surprise_is_asked_about_first_and_each_only_so_often(neighbours: int, asked: bool):
    """Of what lies next to it half trained: as often as there are others, no two of them would ever settle it."""
    axes, rng = Axes.of(NUMBERS, "depth", {}, {}), np.random.default_rng(0)
    early, late = np.array([[0.9, 0.1], [0.9, 0.9]])
    beside = late + 0.05 * rng.normal(size=(neighbours, 2)).clip(-1, 1)
    x = np.concatenate([rng.random((60, 2)), [early, late], beside])
    trained = np.concatenate([x[:60, 0] < 0.5, [True, True], np.arange(neighbours) % 2 == 0])
    told = Points(x, np.zeros((len(x), 0), int))
    plan = planned(axes, told, trained, np.arange(60))
    places = [surprise.at.x[0].tolist() for surprise in plan.surprises]
    assert (late.tolist() in places) == asked
    assert places[-1] == early.tolist()
    order = [x.tolist().index(at) for at in places]
    assert order == sorted(order, reverse=True)


def test_surprises_are_looked_for_among_some_trials_at_a_time(monkeypatch: pytest.MonkeyPatch):
    """Among all of thousands at once it takes most of a second, the time of memory that no cache holds."""
    rng = np.random.default_rng(1)
    points = Points(rng.random((3 * AT_ONCE, 2)), rng.integers(0, 2, (3 * AT_ONCE, 1)))
    counts, kernel = Counts(1.0 * (points.x[:, 0] < 0.5), np.ones(3 * AT_ONCE)), Kernel(2, 1, frontier=True)
    active = np.arange(50)
    gp = LogisticGP.condition(kernel, kernel.prior[0], points.take(active), counts.take(active))
    moments, asked = LogisticGP.moments, []

    def watched(self: LogisticGP, at: Points):
        asked.append(len(at.x))
        return moments(self, at)

    monkeypatch.setattr(LogisticGP, "moments", watched)
    placing.surprising(gp, active, points, counts)
    assert sum(asked) == 3 * AT_ONCE
    assert max(asked) <= AT_ONCE


def noisy_study(seed: int) -> optuna.Study:
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=seed, batch=8, floors=FLOORS))
    rng = np.random.default_rng(seed)
    for _ in range(16):
        for trial in [study.ask(SPACE) for _ in range(8)]:
            p = expit(30 * np.log(limit(trial.params) / trial.params["depth"]) / np.log(50))
            study.tell(trial, 1.0 if rng.random() < p else -1.0)
    return study


def test_hyperparameters_are_learnt_from_the_first_trials(monkeypatch: pytest.MonkeyPatch):
    """Some by chance would look like coins, each placed where those left out were in doubt: half as steep."""
    monkeypatch.setattr(sampling, "LEARN_ON", 40)
    ratios = []
    for seed in range(3):
        study = noisy_study(seed)
        axes = Axes.of(SPACE, "depth", FLOORS, {})
        points, counts = axes.points([t.params for t in study.trials]), counts_of(study.trials)
        kernel = Kernel(2, 1, frontier=True)
        some = np.random.default_rng(seed).permutation(len(study.trials))[:40]
        _, first = learn(kernel, points.take(slice(0, 40)), counts.take(slice(0, 40)))
        known = study.sampler._memory.learnt  # pyright: ignore[reportAttributeAccessIssue]
        assert known[0][1] == tuple(range(40))
        np.testing.assert_array_equal(known[1][1], first)
        monkeypatch.setattr(Kernel, "rivals", property(lambda self: (self,)))
        by_chance = learn(kernel, points.take(some), counts.take(some))[1]
        ratios.append(learn(kernel, points.take(slice(0, 40)), counts.take(slice(0, 40)))[1][-1] - by_chance[-1])
        monkeypatch.undo()
        monkeypatch.setattr(sampling, "LEARN_ON", 40)
    assert np.mean(ratios) > np.log(1.6)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 0.01), (0.0, 4.0), (0.0, 60.0), (3.0, 9.0), (-8.0, 60.0)])
def test_noise_of_an_outcome_agrees_with_quadrature(mean: float, variance: float):
    """The mean variance of the log-odds after one outcome, by quadrature; the curvature's 1 / p (1 - p) would be 4 at
    a mean of zero, where it should be 39 at a variance of 60."""
    f = mean + np.sqrt(variance) * np.linspace(-8, 8, 4001)
    prior = np.exp(-((f - mean) ** 2) / 2 / variance)
    prior /= prior.sum()
    left = 0.0
    for likelihood in (expit(f), expit(-f)):
        weight = prior * likelihood
        p = weight.sum()
        left += p * (weight @ f**2 / p - (weight @ f / p) ** 2)
    noise = placing.noise(np.array([mean]), np.array([variance]), 1.0)[0]
    assert variance**2 / (variance + noise) == pytest.approx(variance - left, rel=0.08)


def test_a_study_that_minimizes_is_warned_once(caplog: pytest.LogCaptureFixture):
    for direction, times in ((StudyDirection.MINIMIZE, 1), (StudyDirection.MAXIMIZE, 0)):
        study = optuna.create_study(direction=direction, sampler=BoundarySampler(seed=0))
        caplog.clear()
        for _ in range(3):
            study.ask(SPACE)
        assert caplog.text.count("direction='maximize'") == times


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_a_study_of_which_nothing_is_read_is_warned_once(state: TrialState, caplog: pytest.LogCaptureFixture):
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0))
    for number in range(40):
        if number % 7 == 3 and number < 20:
            study.tell(study.ask(SPACE), -1.0)
        else:
            study.tell(study.ask(SPACE), state=state)
        assert caplog.text.count("a finite value of 0 or less") == (number > 17 + 8)  # 17 was told


SPACES: dict[str, dict[str, BaseDistribution]] = {
    "one axis": {"depth": IntDistribution(2, 100, log=True)},
    "no depth": {"lr": FloatDistribution(1e-4, 1.0, log=True), "momentum": FloatDistribution(0.0, 0.9, step=0.1)},
    "more decades than a double's ratio": {"depth": FloatDistribution(1e-300, 1e300, log=True)},
    "whole numbers of more than 64 bits": {"depth": IntDistribution(1, 10**30, log=True)},
    "names only": {"a": CategoricalDistribution(["x", "y"]), "b": CategoricalDistribution([1, 2, None])},
    "nothing to choose": {"a": CategoricalDistribution(["x"]), "n": IntDistribution(3, 3)},
}


@pytest.mark.parametrize("name", SPACES)
def test_any_space_can_be_searched(name: str):
    """Also when every point has been tried, and beside trials that failed or were pruned."""
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=4, audit=0.0))
    for number in range(48):
        trial = study.ask(SPACES[name])
        good = str(trial.params)[-3] < "5"
        if number % 5 == 1:
            study.tell(trial, state=[TrialState.FAIL, TrialState.PRUNED][number % 2])
        else:
            study.tell(trial, 1.0 if good else -0.5)
    for trial in study.trials:
        assert all(d._contains(d.to_internal_repr(trial.params[k])) for k, d in SPACES[name].items())
    if name == "names only":
        assert len({tuple(p.values()) for p in asked(study)}) == 6


@pytest.mark.parametrize("certain", ["x", "y"])
def test_where_all_is_tried_and_waits_the_less_certain_is_asked_for(certain: str):
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=4, audit=0.0))
    for number in range(24):
        trial = study.ask({"a": CategoricalDistribution(["x", "y"])})
        study.tell(trial, 1.0 if trial.params["a"] == certain or number % 2 else -1.0)
    study.ask({"a": CategoricalDistribution(["x", "y"])})
    plan = study.sampler._memory.plan  # pyright: ignore[reportAttributeAccessIssue]
    best = plan.candidates.take([plan.choose(plan.candidates)])
    assert plan.key[0].params(best)["a"] != certain


def test_a_surprise_among_names_alone_is_no_end():
    """A finite space of names, some told several times: no place is next to another."""
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=4))
    space: dict[str, BaseDistribution] = {
        "a": CategoricalDistribution(list("abcdef")),
        "b": CategoricalDistribution([None, True]),
    }
    for number in range(120):
        trial = study.ask(space)
        study.tell(trial, 1.0 if (trial.params["a"] < "d") != (number % 10 == 9) else -1.0)
    assert len({tuple(p.values()) for p in asked(study)}) == 12


def test_conditional_spaces_and_enqueued_trials():
    """What all trials have is placed, the rest is chance; what was enqueued is asked as it is."""

    def objective(trial: optuna.Trial) -> float:
        depth = trial.suggest_int("depth", 2, 100, log=True)
        if trial.suggest_categorical("kind", ["plain", "sparse"]) == "sparse":
            trial.suggest_float("density", 0.01, 1.0, log=True)
        return 1.0 if depth < 12 else -1.0

    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=1, audit=0.0))
    study.enqueue_trial({"depth": 77})
    study.optimize(objective, n_trials=60)
    assert study.trials[0].params["depth"] == 77
    late = [t.params["depth"] for t in study.trials[START + 2 : START + 20]]  # 60 trials try all depths near 12
    assert np.median(np.abs(np.log(np.array(late) / 12))) < 0.4
    assert any("density" in t.params for t in study.trials[40:])


def test_what_an_enqueued_trial_leaves_open_is_placed_for_what_it_says():
    """At the edge of its scheme, not at that of the scheme which the sampler would have chosen."""
    study = run(64, audit=0.0)
    miss = []
    for _ in range(12):
        study.enqueue_trial({"scheme": "short", "bias_variance": 0.01})
        trial = study.ask(SPACE)
        assert (trial.params["scheme"], trial.params["bias_variance"]) == ("short", 0.01)
        miss.append(abs(np.log(trial.params["depth"] / limit(trial.params))))
        tell(study, trial)
    assert np.median(miss) < 0.3


def test_what_is_enqueued_beside_a_surprise_is_not_asked_about_the_surprise():
    study = surprised(trained=2)
    study.ask(SPACE)
    plan = study.sampler._memory.plan  # pyright: ignore[reportAttributeAccessIssue]
    nothing = plan.told.take([])
    assert plan.choose(nothing) in plan.surprises[0].around
    moved = plan.where({"scheme": "long"})
    assert moved.choose(nothing) == np.argmax(placing.STRADDLE * np.sqrt(moved.variance) - np.abs(moved.mean))


@pytest.mark.parametrize(("before", "after"), [((2, 50), (2, 100)), ((2, 400), (30, 100))])
def test_a_range_that_changes_is_searched_as_it_is_now(before: tuple[int, int], after: tuple[int, int]):
    """The edge lay beyond it, or far from its ends: what was told of it is still true."""
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=2, audit=0.0))
    for low, high in (before, after):
        space: dict[str, BaseDistribution] = {
            "depth": IntDistribution(low, high, log=True),
            "bias_variance": SPACE["bias_variance"],
        }
        for _ in range(24):
            trial = study.ask(space)
            study.tell(trial, 1.0 if trial.params["depth"] < 60 else -1.0)
    late = [t.params["depth"] for t in study.trials[28:]]
    assert all(after[0] <= depth <= after[1] for depth in late)
    assert np.median(np.abs(np.log(np.array(late) / 60))) < 0.2  # by chance: 0.27 and more


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (IntDistribution(1, 400, log=True), True),
        (IntDistribution(2, 100), False),
        (FloatDistribution(2, 100, log=True), False),
        (CategoricalDistribution([2, 100]), False),
        (None, False),
    ],
    ids=str,
)
def test_numbers_say_the_same_on_one_scale_whatever_their_range(other: BaseDistribution | None, same: bool):
    assert alike(SPACE["depth"], other) == same


def test_what_a_trial_has_is_where_it_is_and_what_it_was_given_where_it_is_going():
    trial = optuna.create_trial(params={"depth": 5}, distributions={"depth": SPACE["depth"]}, value=1.0)
    trial.system_attrs[PLACE] = {"depth": 9.0, "scheme": 1.0}
    assert going(trial, SPACE) == {"depth": 5, "scheme": "long"}


def test_a_parameter_that_is_drawn_by_chance_is_warned_of_once(caplog: pytest.LogCaptureFixture):
    """For a trial that lacks it, or has a parameter of its own, has been told; not while all have it."""
    study = run(40)
    assert "by chance" not in caplog.text
    study.tell(study.ask({name: d for name, d in SPACE.items() if name != "depth"}), 1.0)
    for _ in range(30):
        tell(study, study.ask(SPACE))
    assert caplog.text.count("draws 'depth' by chance") == 1
    assert caplog.text.count("by chance") == 1


@pytest.mark.parametrize("names", [tuple(SPACE), tuple(reversed(SPACE))], ids=["choice first", "choice last"])
def test_trials_that_suggest_one_by_one_are_not_sent_to_the_same_place(names: tuple[str, ...]):
    """What a thread has not suggested yet is known to the others, for its objective may do much in between."""
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=8, audit=0.0))
    for _ in range(4):
        trials = [study.ask() for _ in range(8)]
        for name in names:
            for trial in trials:
                trial._suggest(name, SPACE[name])
        for trial in trials:
            tell(study, trial)
    assert len({tuple(p.values()) for p in asked(study)}) == 32


def test_what_another_process_chooses_right_now_is_not_chosen_too():
    """With the same seed it would be the very same place. A process that was killed over it is forgotten."""
    alone, beside = (run(20, audit=0.0) for _ in range(2))
    expected = [alone.ask(SPACE).params for _ in range(3)]
    beside._storage.create_new_trial(beside._study_id)
    asked = [beside.ask(SPACE).params for _ in range(5)]
    assert asked[:2] == expected[1:]
    assert expected[0] not in asked[:4]
    assert asked[4] == expected[0]


@pytest.mark.parametrize("role", ["start", "audit", "enqueued"])
def test_what_another_process_does_not_place_is_no_choice_of_the_model(role: str):
    alone, beside = (run(20, audit=0.0) for _ in range(2))
    expected = [alone.ask(SPACE).params for _ in range(2)]
    beside._storage.set_trial_system_attr(beside._storage.create_new_trial(beside._study_id), ROLE, role)
    assert [beside.ask(SPACE).params for _ in range(2)] == expected


def test_what_was_told_and_is_not_read_yet_is_not_asked_for_again():
    study = run(32, audit=0.0)
    for _ in range(2):
        tell(study, study.ask(SPACE))
        plan = study.sampler._memory.plan  # pyright: ignore[reportAttributeAccessIssue]
        assert len(plan.key[1]) == 32
    first, second = asked(study)[-2:]
    assert first != second


def test_a_running_trial_of_other_choices_is_elsewhere():
    """A choice was added to the space while workers still run trials of the old one."""
    asks = []
    for state in (TrialState.RUNNING, TrialState.FAIL):
        study = run(32, audit=0.0)
        old = SPACE | {"scheme": CategoricalDistribution(["wide", "short", "long"])}
        params = {"scheme": "wide", "depth": 5, "bias_variance": 1e-2}
        study.add_trial(optuna.create_trial(params=params, distributions=old, state=state))
        asks.append([study.ask(SPACE).params for _ in range(4)])
    assert asks[0] == asks[1]


def test_times_of_other_zones_are_compared():
    """Trials of another tool may say when they ended by a clock with a zone; Optuna's own has none."""
    study = run(16, audit=0.0)
    now = datetime.now().astimezone()
    for hours, later in ((-2, 2), (5, 1)):
        trial = optuna.create_trial(
            params={"scheme": "long", "depth": 20, "bias_variance": 1e-2}, distributions=SPACE, value=1.0
        )
        trial.datetime_complete = now.astimezone(timezone(timedelta(hours=hours))) + timedelta(minutes=later)
        study.add_trial(trial)
    assert [t.number for t in Memory().look(study).told] == [*range(16), 17, 16]
    study.ask(SPACE)


def test_infrastructure_failures_are_dropped():
    """Failed trials change nothing but the number of the next trial."""
    clean, broken = run(32), run(32)
    for study, state in ((clean, None), (broken, TrialState.FAIL)):
        sampler = BoundarySampler(seed=0, batch=4, audit=0.0, floors=FLOORS)
        study.sampler = sampler
        if state:
            study.tell(study.ask(SPACE), state=state)
    assert clean.ask(SPACE).params == broken.ask(SPACE).params


def test_below_the_floor_is_one_point():
    study = run(120, batch=8, audit=0.2)
    low = [p["bias_variance"] for p in asked(study) if p["bias_variance"] < 1e-4]
    assert low
    assert set(low) == {1e-5}


def unbiased(params: dict) -> bool:
    return params["bias_variance"] < FLOORS["bias_variance"]


def told_of_modes(name: str) -> optuna.Study:
    """A study of random trials and a surprise, of which those without biases have all this mode."""
    sampler = BoundarySampler(seed=0, batch=4, audit=0.0, floors=FLOORS, idle={"bias_mode": "bias_variance"})
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=3))
    rebuilt = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in [study.ask(MODES) for _ in range(120)]:
        tell(study, trial)
    for trial in study.trials:
        params = trial.params | ({"bias_variance": 1e-5, "bias_mode": name} if unbiased(trial.params) else {})
        rebuilt.add_trial(
            optuna.create_trial(params=params, distributions=MODES, value=trial.value, user_attrs=trial.user_attrs)
        )
    surprise = {"scheme": "long", "depth": 95, "bias_variance": 1e-5, "bias_mode": name}
    counts = {"n_trained": 2, "n_replicates": 2}
    rebuilt.add_trial(optuna.create_trial(params=surprise, distributions=MODES, value=1.0, user_attrs=counts))
    return rebuilt


def test_where_a_choice_makes_no_difference_it_is_one_place():
    """Under which name networks without biases were told changes nothing, a surprise and what is asked of it included;
    such networks are asked for by one name, and others by both."""
    asks = {}
    for name in ("iid", "mirrored"):
        study = told_of_modes(name)
        for _ in range(12):
            for trial in [study.ask(MODES) for _ in range(4)]:
                tell(study, trial)
        asks[name] = asked(study)[121:]
    assert asks["iid"] == asks["mirrored"]
    assert {p["bias_mode"] for p in asks["iid"] if unbiased(p)} == {"iid"}
    assert {p["bias_mode"] for p in asks["iid"] if not unbiased(p)} == {"iid", "mirrored"}


def test_beside_a_surprise_without_biases_every_choice_is_tried():
    """Places around it that have biases have some mode, in turns, and what was told there settles the surprise."""
    axes = Axes.of(MODES, "depth", {"bias_variance": 1.1e-5}, {"bias_mode": "bias_variance"})
    at = Points(np.array([[0.5, 0.0]]), np.array([[CENTRE, 1]]))
    around = axes.around(np.random.default_rng(1), at, known(at))
    assert set(np.unique(around.c[around.x[:, 1] == 0, 0])) <= {CENTRE}
    assert set(np.unique(around.c[around.x[:, 1] > 0, 0])) == {0, 1}
    assert placing.near(around, at).all()
    assert not placing.near(around, Points(at.x, np.array([[CENTRE, 0]]))).any()


def test_places_around_a_surprise_are_on_opposite_sides_and_new():
    axes = Axes.of(NUMBERS, "depth", {}, {})
    at = axes.points([{"depth": 0.4, "lr": 0.6}])
    around = axes.around(np.random.default_rng(1), at, known(at))
    np.testing.assert_allclose(around.x[::2] + around.x[1::2], 2 * at.x.repeat(3, axis=0))
    np.testing.assert_allclose(np.linalg.norm(around.x - at.x, axis=1), STEP)
    again = axes.around(np.random.default_rng(1), at, known(around.take([1, 4])))
    np.testing.assert_array_equal(again.x, around.x[[0, 2, 3, 5]])


@pytest.mark.parametrize(
    "end", [FloatDistribution(0.0, 0.3, step=0.1), FloatDistribution(0.02, 0.7, log=True)], ids=str
)
def test_no_value_is_beyond_the_end_by_its_last_bit(end: FloatDistribution):
    """As 3 * 0.1 is, and 0.02 * (0.7 / 0.02), which Optuna refuses."""
    axis = axis_of("lr", end, {})
    assert axis.value(1.0) == axis.chance(1.0) == end.high


def test_a_place_is_the_same_whatever_its_last_bits_and_the_sign_of_its_zero():
    codes = np.zeros((1, 1), int)
    assert known(Points(np.array([[-0.0, 0.1 + 0.2]]), codes)) == known(Points(np.array([[0.0, 0.3]]), codes))
    assert known(Points(np.array([[0.0, 0.3]]), codes)) != known(Points(np.array([[0.0, 0.3 + 1e-8]]), codes))


def test_places_without_biases_that_are_given_some_have_a_choice():
    axes = Axes.of(MODES, "depth", FLOORS, {"bias_mode": "bias_variance"})
    nothing = axes.points([{"scheme": "long", "depth": 9, "bias_variance": 1e-5, "bias_mode": "mirrored"}])
    assert nothing.c.tolist() == [[CENTRE, 1]]
    assert axes.holding(nothing, {"bias_variance": 0.1}).c.tolist() == [[0, 1]]
    assert axes.holding(nothing, {"depth": 3}).c.tolist() == [[CENTRE, 1]]


@pytest.mark.parametrize("space", [NUMBERS | {"depth": CategoricalDistribution([2, 4])}, {"lr": NUMBERS["lr"]}])
def test_only_a_number_called_depth_has_a_frontier(space: dict[str, BaseDistribution]):
    assert not Axes.of(space, "depth", {}, {}).frontier
    assert not Axes.of(NUMBERS, None, {}, {}).frontier
    assert Axes.of(NUMBERS, "depth", {}, {}).frontier


@pytest.mark.parametrize("idle", [{"depth": "bias_variance"}, {"bias_mode": 3}, {"bias_mode": ["bias_variance"]}])
def test_idle_wants_a_choice_and_a_number(idle: Any):
    sampler = BoundarySampler(seed=0, batch=4, audit=0.0, floors=FLOORS, idle=idle)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(START):
        tell(study, study.ask(MODES))
    name = next(iter(idle))
    with pytest.raises(
        ValueError, match=rf"`idle` must map a categorical to a numeric.*'{name}'.*categorical: .'bias_mode'"
    ):
        study.ask(MODES)


def test_a_choice_may_depend_on_a_number_that_has_one_value():
    """As that of biases on their variance, where a sweep gives it one."""
    sampler = BoundarySampler(seed=0, batch=4, audit=0.0, idle={"bias_mode": "bias_variance"})
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(START + 1):
        tell(study, study.ask(MODES | {"bias_variance": FloatDistribution(0.5, 0.5)}))
    assert study.trials[-1].system_attrs[ROLE] == "boundary"


def test_repeats_count():
    """Two thousand failures at one depth outweigh one success there: the counts are read, not the score."""
    asks = []
    for n_trained, seeds in ((1, 1), (1, 2000)):
        study = run(32, audit=0.0)
        depth = 20
        for scheme in ("short", "long"):
            study.add_trial(
                optuna.create_trial(
                    params={"scheme": scheme, "depth": depth, "bias_variance": 1e-2},
                    distributions=SPACE,
                    value=1.0,
                    user_attrs={"n_trained": n_trained, "n_replicates": seeds},
                )
            )
        asks.append([study.ask(SPACE).params for _ in range(4)])
    assert asks[0] != asks[1]


def test_without_counts_a_score_above_zero_is_all_that_is_trained():
    said = [(0.0, {}), (1e-9, {}), (-1.0, {"n_replicates": 3}), (0.5, {"n_replicates": 3})]
    counts = counts_of([optuna.create_trial(value=value, user_attrs=attrs) for value, attrs in said])
    assert counts.k.tolist() == [0, 1, 0, 3]
    assert counts.n.tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize(
    ("n_trained", "n_replicates"), [(3, 2), (np.nan, 2), (None, 2), (1, np.inf), (0, "two"), ([1], 2)]
)
def test_wrong_counts_say_so(n_trained: Any, n_replicates: Any):
    study = run(16, audit=0.0)
    for _ in range(2):
        trial = study.ask(SPACE)
        trial.set_user_attr("n_trained", n_trained)
        trial.set_user_attr("n_replicates", n_replicates)
        trial.set_user_attr("curve", [0.5] * 10_000)
        study.tell(trial, 1.0)
    with pytest.raises(ValueError, match=r"0 <= n_trained <= n_replicates.* set both before") as error:
        study.ask(SPACE)
    assert len(str(error.value)) < 300  # a trial may have other attributes, of any size


@pytest.mark.parametrize("nothing", [0, 0.0, "0"])
def test_trials_without_networks_say_nothing(nothing: Any):
    """Also as text, as from a file of results. A warning of numpy's is an error here."""
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=4, audit=0.0))
    for number in range(60):
        trial = study.ask(SPACE)
        if number % 3 == 1:
            trial.set_user_attr("n_replicates", nothing)
        study.tell(trial, 1.0 if trial.params["depth"] <= limit(trial.params) else -1.0)
    late = [t for t in study.trials[2 * START :] if t.system_attrs[ROLE] == "boundary"]
    assert np.median([abs(np.log(t.params["depth"] / limit(t.params))) for t in late]) < 0.15 * np.log(50)


def test_trials_without_networks_are_not_of_the_start():
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, audit=0.0))
    for number in range(2 * START):
        trial = study.ask(SPACE)
        trial.set_user_attr("n_replicates", number % 2)
        study.tell(trial, 1.0)
    study.ask(SPACE)
    assert [t.system_attrs[ROLE] for t in study.trials] == ["start"] * 2 * START + ["boundary"]


def test_where_no_trial_has_networks_trials_are_asked_for_all_the_same():
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, batch=4, audit=0.0))
    for _ in range(START):
        trial = study.ask(SPACE)
        trial.set_user_attr("n_replicates", "0")
        study.tell(trial, -1.0)
    batch = [study.ask(SPACE).params for _ in range(4)]
    assert len({tuple(p.values()) for p in batch}) == 4


@pytest.mark.parametrize("score", [1.0, -1.0])
def test_one_class_only(score: float):
    study = optuna.create_study(sampler=BoundarySampler(seed=0))
    for _ in range(40):
        study.tell(study.ask(SPACE), score)
    assert len({tuple(p.values()) for p in asked(study)}) > 35


@pytest.mark.parametrize(
    ("options", "law"),
    [
        ({"audit": 1.5}, "0 <= audit <= 1"),
        ({"audit": "all"}, "0 <= audit <= 1"),
        ({"batch": 0}, "batch >= 1"),
        ({"batch": 2.5}, "batch >= 1"),
        ({"seed": -1}, "seed >= 0"),
        ({"seed": "first"}, "seed >= 0"),
        ({"depth": 3}, "`depth` must be the name of a parameter"),
        ({"floors": 3}, "`floors` must map names"),
        ({"floors": {3: 1e-4}}, "`floors` must map names"),
        ({"idle": "bias_mode"}, "`idle` must map names"),
    ],
)
def test_bad_options_say_the_law(options: dict[str, Any], law: str):
    with pytest.raises(ValueError, match=law):
        BoundarySampler(**options)


@pytest.mark.parametrize("floor", [1.5, np.nan, "1e-4"])
def test_a_floor_is_within_its_range(floor: Any):
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, floors={"bias_variance": floor}))
    with pytest.raises(ValueError, match=r"`floors\['bias_variance'\] <= 1.0` must hold"):
        study.ask(SPACE)


def test_a_floor_may_be_the_highest_value():
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, floors={"bias_variance": 1.0}))
    assert {study.ask(SPACE).params["bias_variance"] for _ in range(4)} == {1e-5}


@pytest.mark.slow
def test_maps_by_boundary_trials_beat_maps_by_random_trials():
    """Six paired seeds on a bed with a known region: chance alone wins all six once in 64."""
    bed = Synthetic("kinked")

    def error(sampler: BaseSampler, seed: int) -> float:
        study = optuna.create_study(direction="maximize", sampler=sampler)
        rng = np.random.default_rng(seed)
        rows = []
        for _ in range(6):
            for trial in [study.ask(dict(bed.space)) for _ in range(16)]:
                answer = bed.answer(trial.params, rng)
                study.tell(trial, 2.0 * answer.trained - 1.0)
                rows.append(answer.point | {"n_trained": answer.trained, "n_replicates": 1})
        p = RegionModel.fit(pa.Table.from_pylist(rows), bed.axes).p_in_region(bed.test)
        return float(np.mean((p >= 0.5) != bed.inside))

    for seed in range(6):
        assert error(BoundarySampler(seed=seed), seed) < error(optuna.samplers.RandomSampler(seed=seed), seed)
