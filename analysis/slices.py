"""The slices of a map: what else varies than the depth and the abscissa has a row of panels for every level of it.

An axis with many levels is cut at three of them, and a trial appears in the slice nearest to it: of more than `FEW`,
or of more than `SLICES` where all levels together were more than `ROWS` slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np
import pyarrow as pa

from analysis.schema import AXES
from analysis.words import value_text

FEW: Final = 8  # an axis with at most this many levels is shown at each of them
SLICES: Final = 4  # more levels than this of another axis are represented by three, if all were too many
ROWS: Final = 16  # slices of all levels, at most: a row of panels each


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
        least = min((v for v in values if v > 0), default=1.0)
        at, levels = (np.log(np.maximum(v, least / 10)) for v in (values, np.array(self.levels)))
        return np.abs(at[:, None] - levels).argmin(axis=1)

    def text(self, level: Any) -> str:
        if isinstance(level, str):
            return level if self.name != "bias_mode" else f"{level} biases"
        return f"{self.name.replace('_', ' ')} {f'≈ {value_text(level, 2)}' if self.thinned else f'{level:g}'}"


def slices(trials: pa.Table, abscissa: str) -> Iterator[tuple[dict[str, Any], str, pa.Table]]:
    """`(values of the other axes, those that vary as text, trials)` of every panel that has trials."""
    others = [name for name in AXES if name not in ("depth", abscissa, "scheme")]
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
    levels = sorted(set(trials[name].to_pylist()))
    if isinstance(levels[0], str) or len(levels) <= most:
        return _Cut(name, tuple(levels), thinned=False)
    return _Cut(name, tuple(levels[round(q * (len(levels) - 1))] for q in (1 / 6, 1 / 2, 5 / 6)), thinned=True)


def _column(trials: pa.Table, name: str) -> np.ndarray:
    return np.array(trials[name].to_pylist())
