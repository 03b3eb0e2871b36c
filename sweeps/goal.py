"""When a map is good enough for a sweep to end before its last trial: read off the same map that its end draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from analysis import region
from sweeps.spec import Until


class Goal:
    """Whether the map is as good as `until` asks for; never, if it asks for nothing.

    Args:
        until: `search.until` of the spec.
        step: trials without which no map is looked at.
    """

    def __init__(self, until: Until, step: int) -> None:
        wanted = {"undecided": until.undecided, "band": until.frontier_band}
        self._wanted = {name: most for name, most in wanted.items() if most is not None}
        self._step = step
        self._seen, self._reached = 0, False
        self.note = ""
        """How good the map was when it was last looked at, for a progress line."""

    def reached(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Whether the map of `rows`, the finished trials in their order, is good enough; once it was, it stays so."""
        if self._wanted and not self._reached and len(rows) >= self._step and len(rows) > self._seen:
            self._seen = len(rows)
            self._look(rows)
        return self._reached

    def _look(self, rows: Sequence[dict[str, Any]]) -> None:
        in_order = [row | {"finished_at": place} for place, row in enumerate(rows)]
        now = region.progress(pa.Table.from_pylist(in_order))
        found = {"undecided": now.undecided, "band": now.frontier_band}
        self._reached = all(found[name] <= most for name, most in self._wanted.items())
        self.note = "  ".join(
            f"{name} {value:.0%}" + (f" (goal {self._wanted[name]:.0%})" if name in self._wanted else "")
            for name, value in found.items()
            if np.isfinite(value)
        )
