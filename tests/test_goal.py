"""A sweep ends when its map is as good as its spec asks for in everything that it asks for, and stays ended."""

from __future__ import annotations

import pytest

from analysis import region
from analysis.region import Progress
from sweeps.goal import Goal
from sweeps.spec import Until

NAN = float("nan")


class Maps:
    """What a map would say, in the place of one; counts how often it was looked at."""

    def __init__(self) -> None:
        self.now, self.order = Progress(1.0, 1.0), list[list[int]]()

    def progress(self, trials) -> Progress:
        self.order.append(trials["finished_at"].to_pylist())
        return self.now


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Maps:
    maps = Maps()
    monkeypatch.setattr(region, "progress", maps.progress)
    return maps


def _rows(count: int) -> list[dict]:
    return [{"trial_key": str(i)} for i in range(count)]


@pytest.mark.parametrize(
    ("until", "undecided", "band", "reached"),
    [
        (Until(undecided=0.2), 0.2, 0.9, True),
        (Until(undecided=0.2), 0.21, 0.1, False),
        (Until(frontier_band=0.3), 0.9, 0.3, True),
        (Until(frontier_band=0.3), 0.1, 0.31, False),
        (Until(frontier_band=0.3), 0.1, NAN, False),
        (Until(undecided=0.2, frontier_band=0.3), 0.1, 0.1, True),
        (Until(undecided=0.2, frontier_band=0.3), 0.1, 0.4, False),
        (Until(undecided=0.2, frontier_band=0.3), 0.3, 0.1, False),
    ],
)
def test_a_goal_is_reached_when_all_that_is_asked_for_is(
    seen: Maps, until: Until, undecided: float, band: float, reached: bool
) -> None:
    seen.now = Progress(undecided, band)
    assert Goal(until, 8).reached(_rows(8)) is reached


def test_a_map_is_looked_at_when_there_are_trials_enough_and_new_ones_and_never_again_once_it_is_good(
    seen: Maps,
) -> None:
    goal = Goal(Until(undecided=0.2), 3)
    assert [goal.reached(_rows(count)) for count in (0, 2, 3, 3, 4)] == [False] * 5
    assert seen.order == [[0, 1, 2], [0, 1, 2, 3]]
    seen.now = Progress(0.1, NAN)
    assert not goal.reached(_rows(4))
    assert goal.reached(_rows(5))
    seen.now = Progress(0.9, NAN)
    assert goal.reached(_rows(6))
    assert len(seen.order) == 3


def test_without_a_goal_no_map_is_looked_at(seen: Maps) -> None:
    goal = Goal(Until(), 1)
    assert not goal.reached(_rows(9))
    assert (seen.order, goal.note) == ([], "")


def test_what_is_told_of_a_map_names_what_is_asked_of_it(seen: Maps) -> None:
    goal = Goal(Until(undecided=0.2), 1)
    for now, note in (
        (Progress(0.3, 0.25), "undecided 30% (goal 20%)  band 25%"),
        (Progress(0.25, NAN), "undecided 25% (goal 20%)"),
    ):
        seen.now = now
        goal.reached(_rows(1 + len(seen.order)))
        assert goal.note == note
