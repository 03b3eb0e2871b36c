"""Every trial of a pack is asked from Optuna and told back, finite, whatever became of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from analysis.outcome import Outcome
from sweeps import dryrun, samplers, space
from sweeps.boundary import ROLE
from sweeps.journal import Journal
from sweeps.reading import parse
from sweeps.samplers import SAMPLERS
from sweeps.search import PackSearch
from sweeps.tasks import Pack, Result

TEXT = """
name: toy
space:
  scheme: [he_normal, orthogonal]
  depth: {low: 2, high: 100, log: true, levels: 6}
  width: 16
  bias_variance: {low: 1.0e-3, high: 1.0, log: true, zero: true, levels: 4}
search: {trials: 40, batch: 8}
"""
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def _search(folder: Path, *settings: str, **kwargs) -> PackSearch:
    folder.mkdir(exist_ok=True)
    spec = parse(TEXT, settings)
    return PackSearch(spec, space.build(spec), "digest", Journal(folder / "packs.jsonl"), **kwargs)


def _judge(pack: Pack) -> list[Result]:
    """Deep networks diverge; both sides have finite scores, as `analysis.outcome` gives them."""
    results = []
    for task in pack.tasks:
        deep = task.point.depth > 14
        results.append(
            Result(task.number, "diverged" if deep else "trained", -0.9 if deep else 0.7, 2, 0 if deep else 2)
        )
    return results


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_a_study_in_which_half_diverges_has_no_running_failed_or_nonfinite_trial(tmp_path: Path, sampler: str) -> None:
    search = _search(tmp_path, f"search.sampler={sampler}", "search.trials=32")
    while (pack := search.ask()) is not None:
        search.tell(_judge(pack))
    trials = search.study.trials
    assert len(trials) == 32
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert all(t.value is not None and math.isfinite(t.value) for t in trials)
    assert {t.user_attrs["outcome"] for t in trials} == {"trained", "diverged"}


@pytest.mark.parametrize(
    ("sampler", "size", "wanted"),
    [
        ("random", "auto", [8] * 7 + [4]),
        ("boundary", "auto", [4, 4, 4, 4, 4, 5, 6, 7, 8, 8, 6]),  # a quarter of those told, and no more than the batch
        ("boundary", "12", [12] * 5),
    ],
)
def test_tune_sees_one_trial_a_pack_and_optuna_every_member(
    tmp_path: Path, sampler: str, size: str, wanted: list[int]
) -> None:
    """Packs of a sampler that learns are small while it knows little."""
    search = _search(tmp_path, "search.trials=60", f"search.sampler={sampler}", f"resources.pack={size}")
    sizes = []
    while isinstance(config := search.suggest(f"t{len(sizes)}"), dict):
        pack = Pack.from_dict(config["pack"])
        search.on_trial_complete(f"t{len(sizes)}", {"results": [vars(r) for r in _judge(pack)]})
        sizes.append(len(pack.tasks))
    assert sizes == wanted
    assert len(search.study.trials) == 60
    assert dryrun.evenly(search._spec, space.build(search._spec))[1] == len(sizes)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_a_sweep_that_goes_on_does_not_begin_with_its_first_points_again(tmp_path: Path, sampler: str) -> None:
    wanted = f"search.sampler={sampler}", "resources.pack=4"
    first = _search(tmp_path, *wanted).ask()
    assert first is not None
    (tmp_path / "packs.jsonl").unlink()
    rows = [
        {**t.point._asdict(), "trial_key": t.trial_key, "role": t.role, "outcome": "trained", "score": 0.5}
        | {"n_replicates": 2, "n_trained": 2}
        for t in first.tasks
    ]
    twice = []
    for _ in range(2):
        went_on = _search(tmp_path, *wanted)
        went_on.rebuild(rows)
        again = went_on.ask()
        assert again is not None
        twice.append([t.point for t in again.tasks])
        (tmp_path / "packs.jsonl").unlink()
    assert twice[0] != [t.point for t in first.tasks]
    assert twice[0] == twice[1]


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_points_follow_from_the_number_of_a_trial_alone_whatever_was_asked_before(sampler: str) -> None:
    spec = parse(TEXT, [f"search.sampler={sampler}"])
    design = space.build(spec)
    one = samplers.build(design, spec.search)
    studies = [optuna.create_study(sampler=one) for _ in range(2)]
    first, again = ([study.ask(dict(design.distributions)).params for _ in range(3)] for study in studies)
    assert first == again


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_a_space_of_one_point_is_searched_by_any_sampler(tmp_path: Path, sampler: str) -> None:
    still = ("space.scheme=he_normal", "space.depth=3", "space.bias_variance=0", "resources.pack=2")
    pack = _search(tmp_path, *still, f"search.sampler={sampler}").ask()
    assert pack is not None
    assert len({task.point for task in pack.tasks}) == 1
    assert len({task.trial_key for task in pack.tasks}) == 2


@pytest.mark.parametrize("built", [None, optuna.samplers.RandomSampler])
def test_a_sampler_that_is_none_is_refused_instead_of_replaced_by_optunas_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: object
) -> None:
    """As where the `return` is forgotten, or the call."""
    broken = replace(SAMPLERS["sobol"], build=lambda *_: built)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(samplers, "SAMPLERS", {**SAMPLERS, "sobol": broken})
    with pytest.raises(ValueError, match=r"search\.sampler: sobol in .* no Optuna sampler; let its `build` return one"):
        _search(tmp_path, "search.sampler=sobol")


def test_a_failed_pack_is_on_record_and_no_data(tmp_path: Path) -> None:
    failed: list[Pack] = []
    search = _search(tmp_path, on_failed=failed.append)
    config = search.suggest("first")
    assert config is not None
    search.on_trial_complete("first", None, error=True)
    assert [p.pack_id for p in failed] == [config["pack"]["pack_id"]]
    assert {t.state for t in search.study.trials} == {TrialState.FAIL}


def test_a_pack_that_was_ended_before_it_began_has_not_failed_and_is_asked_for_again(tmp_path: Path) -> None:
    failed: list[Pack] = []
    search = _search(tmp_path, on_failed=failed.append)
    config = search.suggest("first")
    assert config is not None
    search.on_trial_complete("first", {})
    assert failed == search.rows == []
    again = _search(tmp_path)
    again.rebuild([])
    resumed = again.ask()
    assert resumed is not None
    assert [t.trial_key for t in resumed.tasks] == [t["trial_key"] for t in config["pack"]["tasks"]]


def test_keys_are_unique_even_where_points_repeat(tmp_path: Path) -> None:
    search = _search(tmp_path, "search.sampler=random", "space.depth=[2, 3]", "space.bias_variance=0")
    tasks = []
    while (pack := search.ask()) is not None:
        tasks += pack.tasks
        search.tell(_judge(pack))
    assert len({t.point for t in tasks}) == 4
    assert len({t.trial_key for t in tasks}) == len(tasks) == 40
    for point in {t.point for t in tasks}:  # one after the other, so that the tables can hold them all
        seeds = [seed for t in tasks if t.point == point for seed in t.seeds]
        assert seeds == list(range(len(seeds)))


def test_a_point_that_was_running_when_a_sweep_stopped_gets_other_seeds_when_it_comes_again(tmp_path: Path) -> None:
    settings = ("search.sampler=random", "space.depth=2", "space.bias_variance=0", "search.trials=24")
    _search(tmp_path, *settings).ask()
    resumed = _search(tmp_path, *settings)
    resumed.rebuild([])
    tasks = []
    while (pack := resumed.ask()) is not None:
        tasks += pack.tasks
        resumed.tell(_judge(pack))
    assert len({t.trial_key for t in tasks}) == len({(t.point, t.seeds) for t in tasks}) == 24


def test_a_visit_that_the_journal_has_lost_does_not_give_its_successor_the_seeds_of_another(tmp_path: Path) -> None:
    settings = ("search.sampler=random", "space.scheme=he_normal", "space.depth=2", "space.bias_variance=0")
    killed = _search(tmp_path, *settings)
    lost, kept = killed.ask(), killed.ask()
    assert lost is not None
    assert kept is not None
    (tmp_path / "packs.jsonl").unlink()
    resumed = _search(tmp_path, *settings)
    resumed.rebuild(
        {**task.point._asdict(), "trial_key": task.trial_key, "role": task.role, **vars(result)}
        for task, result in zip(kept.tasks, _judge(kept), strict=True)
    )
    keys = [task.trial_key for task in kept.tasks]
    while (pack := resumed.ask()) is not None:
        keys += [task.trial_key for task in pack.tasks]
        resumed.tell(_judge(pack))
    assert len(set(keys)) == len(keys) == 40


def test_the_grid_visits_every_point_once(tmp_path: Path) -> None:
    search = _search(tmp_path, "search.sampler=grid", "search.trials=60")
    points = []
    while (pack := search.ask()) is not None:
        points += [t.point for t in pack.tasks]
        search.tell(_judge(pack))
    assert len(points) == len(set(points)) == 60


@pytest.mark.parametrize("sampler", ["random", "sobol", "grid", "boundary"])
def test_another_seed_asks_for_other_points(tmp_path: Path, sampler: str) -> None:
    firsts = []
    for name, seed in (("a", 0), ("again", 0), ("b", 1)):
        pack = _search(tmp_path / name, f"search.sampler={sampler}", f"search.seed={seed}").ask()
        assert pack is not None
        firsts.append([t.point for t in pack.tasks])
    assert firsts[0] == firsts[1] != firsts[2]


@pytest.mark.parametrize("sampler", ["boundary", "sobol", "grid"])
def test_a_rebuilt_search_first_asks_for_what_was_running_and_loses_and_repeats_nothing(
    tmp_path: Path, sampler: str
) -> None:
    setting = f"search.sampler={sampler}"
    killed = _search(tmp_path, setting)
    rows = []
    for _ in range(2):
        pack = killed.ask()
        assert pack is not None
        results = _judge(pack)
        killed.tell(results)
        rows += [
            {**t.point._asdict(), "trial_key": t.trial_key, "role": t.role, **vars(r)}
            for t, r in zip(pack.tasks, results, strict=True)
        ]
    running = killed.ask()
    assert running is not None

    resumed = _search(tmp_path, setting)
    resumed.rebuild(rows)
    again = resumed.ask()
    assert again is not None
    assert [(t.trial_key, t.point, t.seeds, t.role) for t in again.tasks] == [
        (t.trial_key, t.point, t.seeds, t.role) for t in running.tasks
    ]
    roles = [row["role"] for row in rows] + [t.role for t in again.tasks]
    assert [t.system_attrs[ROLE] for t in resumed.study.trials] == roles
    keys = [row["trial_key"] for row in rows] + [t.trial_key for t in again.tasks]
    resumed.tell(_judge(again))
    while (pack := resumed.ask()) is not None:
        keys += [t.trial_key for t in pack.tasks]
        resumed.tell(_judge(pack))
    assert len(keys) == len(set(keys)) == 40
    assert {t.state for t in resumed.study.trials} == {TrialState.COMPLETE}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_pack_that_ran_while_a_later_one_ended_is_told_at_its_own_place_after_a_resume(
    tmp_path: Path, sampler: str
) -> None:
    """Its trials have other numbers then, at which a sampler alone would ask for other points."""
    setting = f"search.sampler={sampler}"
    killed = _search(tmp_path, setting)
    running, ended = killed.ask(), killed.ask()
    assert running is not None
    assert ended is not None
    resumed = _search(tmp_path, setting)
    resumed.rebuild(
        {**task.point._asdict(), "trial_key": task.trial_key, "role": task.role, **vars(result)}
        for task, result in zip(ended.tasks, _judge(ended), strict=True)
    )
    again = resumed.ask()
    assert again is not None
    resumed.tell(_judge(again))
    design, tasks = space.build(parse(TEXT)), (*ended.tasks, *running.tasks)
    assert [design.point(t.params) for t in resumed.study.trials] == [task.point for task in tasks]
    assert [t.value for t in resumed.study.trials] == [r.score for pack in (ended, running) for r in _judge(pack)]


@pytest.mark.parametrize("sampler", [name for name, sampler in SAMPLERS.items() if not sampler.adaptive] + ["boundary"])
@pytest.mark.parametrize("packs", [1, 3])
def test_a_rebuilt_search_goes_on_with_the_points_that_would_have_come(
    tmp_path: Path, sampler: str, packs: int
) -> None:
    """A sampler that begins anew trains again what was trained."""
    setting = f"search.sampler={sampler}"

    def finish(search: PackSearch, packs: int = 99) -> list[dict]:
        rows = []
        while packs > 0 and (pack := search.ask()) is not None:
            packs -= 1
            told = _judge(pack)
            search.tell(told)
            for t, r in zip(pack.tasks, told, strict=True):
                rows.append({**t.point._asdict(), "trial_key": t.trial_key, "role": t.role, **vars(r)})
        return rows

    whole = finish(_search(tmp_path / "whole", setting))
    first = finish(_search(tmp_path / "parts", setting), packs)
    resumed = _search(tmp_path / "parts", setting)
    resumed.rebuild(first)
    assert first + finish(resumed) == whole


def test_failed_trials_are_asked_for_again_after_a_resume(tmp_path: Path) -> None:
    killed = _search(tmp_path)
    pack = killed.ask()
    assert pack is not None
    rows = [
        {**t.point._asdict(), "trial_key": t.trial_key, "role": t.role, "outcome": Outcome.FAILED.value, "score": None}
        for t in pack.tasks
    ]
    killed.fail(pack)
    resumed = _search(tmp_path)
    resumed.rebuild(rows)
    again = resumed.ask()
    assert again is not None
    assert [t.trial_key for t in again.tasks] == [t.trial_key for t in pack.tasks]
    assert again.pack_id != pack.pack_id or len(resumed.study.trials) == len(pack.tasks)
    assert {t.system_attrs[ROLE] for t in resumed.study.trials} == {"start"}


def test_a_search_ends_when_enough_is_known(tmp_path: Path) -> None:
    search = _search(tmp_path, enough=lambda _: True)
    assert search.ask() is None


def test_a_resumed_search_that_is_to_stop_hands_out_nothing_of_what_was_running(tmp_path: Path) -> None:
    killed = _search(tmp_path)
    pack = killed.ask()
    assert pack is not None
    stopped = _search(tmp_path, enough=lambda _: True)
    stopped.rebuild([])
    assert stopped.ask() is None
    resumed = _search(tmp_path)
    resumed.rebuild([])
    assert resumed.asked == len(pack.tasks)


def test_a_line_that_a_kill_cut_short_is_not_read(tmp_path: Path) -> None:
    search = _search(tmp_path)
    search.ask()
    path = tmp_path / "packs.jsonl"
    whole = path.read_text()
    path.write_text(whole + whole[:100])
    assert len(Journal(path).read()) == 1
    search.ask()
    assert len(Journal(path).read()) == 2
    path.write_text(whole[:100] + "\n" + whole)
    with pytest.raises(ValueError, match=r"line 1 of .*packs.jsonl is damaged.*remove the line"):
        Journal(path).read()


@pytest.mark.parametrize("torn", [1, 100, -1])
def test_what_follows_a_torn_line_does_not_continue_it(tmp_path: Path, torn: int) -> None:
    pack = _search(tmp_path / "whole").ask()
    assert pack is not None
    line = (tmp_path / "whole" / "packs.jsonl").read_text()
    for whole in ("", line):
        path = tmp_path / "packs.jsonl"
        path.write_text(whole + line[:torn])
        Journal(path).append(pack)
        assert path.read_text() == whole + line


def test_optuna_logs_nothing_below_a_warning(tmp_path: Path) -> None:
    _search(tmp_path)
    assert optuna.logging.get_verbosity() == optuna.logging.WARNING
