"""How numbers are written: in words for people, as strict JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def limit_text(row: Mapping[str, Any]) -> str:
    """A measured depth limit; one at an end of the depths that were tried says which side it is on."""
    return {"above": "> ", "below": "< "}.get(row["censored"], "") + f"{row['depth_limit']:.0f}"


def theory_text(value: float | None) -> str:
    """A predicted depth limit, where None and nan mean that there is no theory."""
    if value is None or math.isnan(value):
        return "no theory"
    return "no limit" if math.isinf(value) else f"{value:.0f}"


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
