"""What the logistic Gaussian process is told: places in the search space, the scales that lead there, counts seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CENTRE = -1  # category code of what is the same whichever level it is given


class Points(NamedTuple):
    """Places in the search space: `x` floats [n, d] in [0, 1], `c` integer category codes [n, m] (or `CENTRE`)."""

    x: np.ndarray
    c: np.ndarray

    def take(self, index: np.ndarray | slice | list[int]) -> Points:
        return Points(self.x[index], self.c[index])

    def beside(self, others: Points) -> Points:
        """These places, and then the others."""
        return Points(np.concatenate([self.x, others.x]), np.concatenate([self.c, others.c]))


class Counts(NamedTuple):
    """What was seen there: `k` of `n` networks trained, floats [n]."""

    k: np.ndarray
    n: np.ndarray

    def take(self, index: np.ndarray | slice | list[int]) -> Counts:
        return Counts(self.k[index], self.n[index])


@dataclass(frozen=True)
class Scale:
    """One numeric axis and its way to [0, 1]. Whatever lies below `floor` is one point, `low`."""

    low: float
    high: float
    log: bool = False
    floor: float = -np.inf

    def encode(self, values: np.ndarray) -> np.ndarray:
        values = np.where(values < self.floor, self.low, values)
        if self.log and self._vast:
            return (np.log(values) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        if self.log:
            return np.log(values / self.low) / np.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def decode(self, unit: np.ndarray) -> np.ndarray:
        if self.log and self._vast:
            values = np.exp((1 - unit) * math.log(self.low) + unit * math.log(self.high))
        else:
            span = self.high / self.low if self.log else self.high - self.low
            values = self.low * span**unit if self.log else self.low + span * unit
        return np.where(values < self.floor, self.low, values)

    @property
    def _vast(self) -> bool:
        """Whether high / low is no double, as of 1e-200 to 1e200."""
        return math.log(self.high) - math.log(self.low) > 700  # whole numbers of any length have these logs
