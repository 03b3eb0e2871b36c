"""Numbers for people and for programs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from analysis.words import (
    band_text,
    interval_text,
    limit_text,
    natural,
    ratio_text,
    run_text,
    strict_json,
    theory_text,
    time_text,
    value_text,
    wordy,
)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["he_normal", "$mine$", ""], True),  # stood at the right, like numbers
        (["no theory", "no theory"], True),
        (["9", "no limit"], False),
        (["> 3", "unknown"], False),
        (["-", "-"], False),
        (["-0.5", ".."], False),
        (["\N{MINUS SIGN}0.5", "one"], False),
    ],
)
def test_a_column_is_one_of_words_unless_a_number_is_in_it(cells: list[str], words: bool) -> None:
    assert wordy(cells) is words


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_json_stays_json_whatever_the_numbers() -> None:
    value = {"a": [math.inf, -math.inf, math.nan, 1.5], "b": {"c": (True, None, 3)}, 4: "x", "file": Path("a/b")}
    read = json.loads(strict_json(value), parse_constant=_refuse)
    assert read == {"a": ["inf", "-inf", None, 1.5], "b": {"c": [True, None, 3]}, "4": "x", "file": "a/b"}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "no theory"), (math.nan, "no theory"), (math.inf, "no limit"), (57.6, "58")]
)
def test_no_limit_is_not_no_theory(value: float | None, text: str) -> None:
    assert theory_text(value) == text


@pytest.mark.parametrize(("censored", "text"), [("no", "12"), ("above", "> 12"), ("below", "< 12")])
def test_a_limit_at_the_end_of_what_was_tried_says_so(censored: str, text: str) -> None:
    assert limit_text({"censored": censored, "depth_limit": 12.3}) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (8100, "2 h 15 min"),
    ],
)
def test_a_time_has_two_units_at_most(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((100, 800, 41.0, 49.0), "100 trials, 800 networks in 41 s, predicted 49 s (16 % less)"),
        ((100, 800, 49.0, 41.0), "100 trials, 800 networks in 49 s, predicted 41 s (20 % more)"),
        ((1, 1, 90.2, 90.0), "1 trial, 1 network in 1 min 30 s, predicted 1 min 30 s"),
        (
            (2000, 16000, 5000.0, 100.0),
            "2,000 trials, 16,000 networks in 1 h 23 min, predicted 1 min 40 s (4,900 % more)",
        ),
        ((0, 2, 3.0), "0 trials, 2 networks in 3 s"),
        ((24, 192), "24 trials, 192 networks"),
        ((24, 192, None, 7.0), "24 trials, 192 networks"),
    ],
)
def test_a_run_is_told_with_as_much_as_is_known(numbers: tuple, text: str) -> None:
    """More or less than predicted is in per cent of what was predicted."""
    assert run_text(*numbers) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        (("no", "no"), "8 to 12"),
        (("no", "above"), "8 to > 12"),
        (("below", "no"), "< 8 to 12"),
        (("below", "above"), "< 8 to > 12"),
        (("above", "above"), "> 12"),
        (("below", "below"), "< 12"),
    ],
)
def test_a_band_says_which_of_its_ends_is_cut_off(ends: tuple[str, str], text: str) -> None:
    assert band_text({"low": 8.2, "high": 11.7, "censored_low": ends[0], "censored_high": ends[1]}) == text
    assert band_text({"low": 8.2, "high": 11.7}) == "8 to 12"


def test_a_limit_beyond_which_networks_train_again_says_where() -> None:
    row = {"censored": "below", "depth_limit": 2.0, "trains_again_at": 14}
    assert limit_text(row) == "< 2, trains again at 14"
    assert limit_text({**row, "trains_again_at": None}) == "< 2"


def test_numbers_in_names_are_sorted_as_numbers_and_after_names_without_one() -> None:
    names = ["rate 1e3 of 2", "rate 10", "rate 0.5", "rate 0.25", "rate", "momentum 0.9"]
    assert sorted(names, key=natural) == ["momentum 0.9", "rate", "rate 0.25", "rate 0.5", "rate 1e3 of 2", "rate 10"]


def test_a_ratio_is_a_number_a_bound_or_unknown() -> None:
    assert [ratio_text(1.5, c) for c in ("no", "above", "below")] == ["1.50", "> 1.50", "< 1.50"]
    assert ratio_text(math.nan, "unknown") == "unknown"
    assert interval_text(1.0, 2.0) == "1.00 to 2.00"
    assert (interval_text(1.0, math.inf), interval_text(0.0, 2.0)) == ("> 1.00", "< 2.00")
    assert interval_text(0.0, math.inf) == interval_text(math.nan, math.nan) == "unknown"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(500_000.0, 3, "500000"), (-123_456_789, 3, "-1.23e+08"), (1024, 3, "1024"),
     (1024.0, 3, "1024"), (128.0, 2, "128"), (90.51, 2, "91"), (131.4, 2, "130"), (0, 3, "0"),
     (0.031622, 3, "0.0316"), (1.5, 3, "1.5"), ("iid", 3, "iid"), (1e-5, 3, "1e-05"), (123456.7, 2, "120000")],
)  # fmt: skip
def test_values_of_an_axis_are_written_without_an_exponent_where_people_would(
    value: float | str, digits: int, text: str
) -> None:
    assert value_text(value, digits) == text
