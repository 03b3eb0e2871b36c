"""The slices of a map: what else varies than the depth and the abscissa has a row of panels for every level of it.

An axis with many levels is cut at three of them, and a trial appears in the slice nearest to it: of more than `FEW`,
or of more than `SLICES` where all levels together were more than `ROWS` slices. What an axis is where a sweep makes no
use of it, density 1 say, stays a level of its own, for theory and model know such networks as something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np
import pyarrow as pa

from analysis.schema import COORDINATES
from analysis.words import natural, value_text

FEW: Final = 8  # an axis with at most this many levels is shown at each of them
SLICES: Final = 4  # more levels than this of another axis are represented by three, if all were too many
ROWS: Final = 16  # slices of all levels, at most: a row of panels each
_CALLED: Final = {("normalization", "none"): "no normalization", ("normalization", "batch"): "batch normalization"}
UNUSED: Final[Mapping[str, float]] = {"bias_variance": 0.0, "weight_scale": 1.0, "density": 1.0}


@dataclass(frozen=True)
class _Cut:
    """An axis that is neither depth nor abscissa: the levels that get a slice, and whether there are others."""

    name: str
    levels: tuple[Any, ...]
    thinned: bool

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Index of the level that each value belongs to."""
        if isinstance(self.levels[0], str):
            return np.array([self.levels.index(v) for v in values])
        levels = np.array(self.levels)
        least = min((v for v in values if v > 0), default=1.0)
        distance = np.abs(np.log(np.maximum(values, least / 10))[:, None] - np.log(np.maximum(levels, least / 10)))
        distance[self._unused(values)[:, None] != self._unused(levels)] = np.inf
        return distance.argmin(axis=1)

    def text(self, level: Any) -> str:
        if isinstance(level, str):
            return _CALLED.get((self.name, level), f"{level} biases" if self.name == "bias_mode" else level)
        about = self.thinned and not self._unused(np.array([level]))[0]
        return f"{self.name.replace('_', ' ')} {f'≈ {value_text(level, 2)}' if about else f'{level:g}'}"

    def _unused(self, values: np.ndarray) -> np.ndarray:
        return values == UNUSED.get(self.name, np.nan)


def slices(trials: pa.Table, abscissa: str) -> Iterator[tuple[dict[str, Any], str, pa.Table]]:
    """`(values of the other axes, those that vary as text, trials)` of every panel that has trials."""
    there = [name for name in COORDINATES if name in trials.column_names]
    others = [name for name in there if name not in ("depth", abscissa, "scheme")]
    most = FEW if prod(len(trials[name].unique()) for name in others) <= ROWS else SLICES
    cuts = [_cut(trials, name, most) for name in [*others, "scheme"]]
    member = np.stack([cut.nearest(_column(trials, cut.name)) for cut in cuts])
    for place in product(*(range(len(cut.levels)) for cut in cuts)):
        rows = (member == np.array(place)[:, None]).all(axis=0)
        if rows.any():
            fixed = {cut.name: cut.levels[i] for cut, i in zip(cuts, place, strict=True)}
            text = ", ".join(c.text(c.levels[i]) for c, i in zip(cuts[:-1], place, strict=False) if len(c.levels) > 1)
            yield fixed, text, trials.filter(pa.array(rows))


def _cut(trials: pa.Table, name: str, most: int) -> _Cut:
    found = trials[name].unique().to_pylist()
    levels = sorted(found, key=natural) if isinstance(found[0], str) else sorted(found)
    if isinstance(levels[0], str) or len(levels) <= most:
        return _Cut(name, tuple(levels), thinned=False)
    used = [level for level in levels if level != UNUSED.get(name)]
    some = {used[round(q * (len(used) - 1))] for q in (1 / 6, 1 / 2, 5 / 6)}
    return _Cut(name, tuple(sorted(some | (set(levels) - set(used)))), thinned=True)


def _column(trials: pa.Table, name: str) -> np.ndarray:
    return np.array(trials[name].to_pylist())
