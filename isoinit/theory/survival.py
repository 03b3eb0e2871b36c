"""How many units of a pruned net are on, layer by layer, until none is: a branching process that runs out of room.

Legend: N units, d the density of weights pruned at random, A units on, p the chance that a unit with an input is on.

A unit keeps none of its A inputs that are on with probability (1 - d)^A, and is off then; else it is on with chance p,
whatever the others are, for signs are fair. So A is a Markov chain (derived here; exact for masks of independent
entries and weights that are symmetric row by row, Gaussian or orthogonal):

    A' ~ Binomial(N, p (1 - (1 - d)^A))

A few units that are on put d N p others on each. Where that is not above 1, a ReLU net with at most two weights a unit,
all are off soon at any width.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from isoinit.theory.gaussian import Array

_COUNTED: Final = 512  # units; of more, the chain of so many with as many weights a unit
_CERTAIN: Final = 60.0  # units that one puts on, from where on none is off for want of inputs


class Survival:
    """The law of A from an input on of which all is not 0."""

    def __init__(self, units: int, density: float, on: float) -> None:
        counted = min(units, _COUNTED)
        self._units, self._on, self._scale = units, on, units / counted
        self._sure = density == 1 or units * density * on > _CERTAIN
        self._active: float | None = float(units)
        if not self._sure:
            self._moves = _moves(counted, min(density * self._scale, 1.0), on)
            self._law = np.zeros(counted + 1)
            self._law[-1] = 1.0

    def step(self) -> tuple[float, float]:
        """Mean of A before a layer in nets that live, and the probability that they do not live after it."""
        if self._sure:
            active, self._active = self._active, self._units * self._on
            return float(active or 0), (1 - self._on) ** self._units
        active = self._scale * float(self._law @ np.arange(len(self._law)))
        after = self._law @ self._moves
        alive = float(after[1:].sum())
        after[0] = 0.0
        self._law = after / alive
        return active, max(1 - alive, 0.0)


@lru_cache(maxsize=8)
def _moves(units: int, density: float, on: float) -> Array:
    """Array (N + 1, N + 1): from A to A'."""
    count = np.arange(units + 1)
    chance = on * (1 - (1 - density) ** count)[:, None]
    ways = gammaln(units + 1) - gammaln(count + 1) - gammaln(units - count + 1)
    return np.exp(ways + xlogy(count, chance) + xlog1py(units - count, -chance))
