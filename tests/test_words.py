"""Numbers for people and for programs."""

from __future__ import annotations

import json
import math

import pytest

from analysis.words import limit_text, strict_json, theory_text


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_json_stays_json_whatever_the_numbers() -> None:
    value = {"a": [math.inf, -math.inf, math.nan, 1.5], "b": {"c": (True, None, 3)}, 4: "x"}
    read = json.loads(strict_json(value), parse_constant=_refuse)
    assert read == {"a": ["inf", "-inf", None, 1.5], "b": {"c": [True, None, 3]}, "4": "x"}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "no theory"), (math.nan, "no theory"), (math.inf, "no limit"), (57.6, "58")]
)
def test_no_limit_is_not_no_theory(value: float | None, text: str) -> None:
    assert theory_text(value) == text


@pytest.mark.parametrize(("censored", "text"), [("no", "12"), ("above", "> 12"), ("below", "< 12")])
def test_a_limit_at_the_end_of_what_was_tried_says_so(censored: str, text: str) -> None:
    assert limit_text({"censored": censored, "depth_limit": 12.3}) == text
