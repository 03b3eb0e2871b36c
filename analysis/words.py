"""How numbers are written: in words for people, as strict JSON for programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

_NUMBERS: Final = ("<", ">", "-", "\N{MINUS SIGN}")
_SIDE: Final = {"above": "> ", "below": "< "}


def limit_text(row: Mapping[str, Any]) -> str:
    """A measured depth limit; one at an end of the depths that were tried says which side it is on.

    Where deeper networks train again the depth at which they do stands beside it.
    """
    again = row.get("trains_again_at")
    return _at(row["depth_limit"], row["censored"]) + (f", trains again at {again}" if again is not None else "")


def band_text(row: Mapping[str, Any]) -> str:
    """The band of a depth limit: `8 to 12`, `61 to > 93` where it is cut off, `> 60` where all of it is beyond.

    An end of which the row does not say whether it is cut off is not.
    """
    low, high = (_at(row[end], row.get(f"censored_{end}", "no")) for end in ("low", "high"))
    beyond = row.get("censored_low") == row.get("censored_high") in _SIDE
    return high if beyond else f"{low} to {high}"


def _at(depth: float, censored: str) -> str:
    return _SIDE.get(censored, "") + f"{depth:.0f}"


def ratio_text(value: float, censored: str) -> str:
    """A ratio of depth limits: `1.20`, `> 1.20` or `< 1.20` if it is a bound, else unknown."""
    return "unknown" if math.isnan(value) else _SIDE.get(censored, "") + f"{value:.2f}"


def interval_text(low: float, high: float) -> str:
    """An interval of a ratio, with `> 1.20` or `< 1.20` where one end is open, and unknown if both are."""
    if not low > 0:
        return "unknown" if not high < math.inf else f"< {high:.2f}"
    return f"{low:.2f} to {high:.2f}" if high < math.inf else f"> {low:.2f}"


def theory_text(value: float | None) -> str:
    """A predicted depth limit, where None and nan mean that there is no theory."""
    if value is None or math.isnan(value):
        return "no theory"
    return "no limit" if math.isinf(value) else f"{value:.0f}"


def value_text(value: float | str, digits: int = 3) -> str:
    """A value of an axis: names and whole numbers as they are, others to some digits; `1024`, not `1.02e+03`."""
    if isinstance(value, str):
        return value
    if abs(value) < 1e6 and value == round(value):
        return f"{value:.0f}"
    return f"{float(f'{value:.{digits}g}'):g}"


def natural(text: str) -> list[tuple[float, str]]:
    """Key to sort names by, with the numbers in them as numbers: `200 steps` before `1000 steps`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(float(part), "") if i % 2 else (-math.inf, part) for i, part in enumerate(parts)]


def wordy(cells: Iterable[str]) -> bool:
    """Whether a column is one of words, which begin at its left, and not of numbers, bounds and dashes."""
    return not any(cell[:1].isdigit() or cell[:1] in _NUMBERS for cell in cells)


def time_text(seconds: float) -> str:
    """`41 s`, `2 min 05 s` or `1 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def run_text(trials: int, networks: int, seconds: float | None = None, predicted: float | None = None) -> str:
    """`24 trials, 192 networks in 41 s, predicted 49 s (16 % less)`, with as much of it as is known.

    Args:
        seconds: wall time of all of it.
        predicted: what it was expected to be; more or less is in per cent of this.
    """
    text = f"{counted(trials, 'trial')}, {counted(networks, 'network')}"
    if seconds is None:
        return text
    text += f" in {time_text(seconds)}"
    if predicted is None:
        return text
    off = round(100 * (seconds / predicted - 1))
    difference = f" ({abs(off):,} % {'more' if off > 0 else 'less'})" if off else ""
    return f"{text}, predicted {time_text(predicted)}{difference}"


def counted(number: int, thing: str) -> str:
    """`1 trial`, `2,000 trials`."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def strict_json(value: Any) -> str:
    """`value` as one line of JSON, which has no inf and no nan: they become "inf" and "-inf", and null."""
    return json.dumps(_plain(value), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if isinstance(value, bool | int | float | str | None) else str(value)
