"""Where the boundary sampler places a trial: a model of the trials told, candidates, and the choice among them.

The straddle trusts the model. Three rules come before it, for what the model is sure of and should not be:

*A surprise is asked again.* If a trial ended as the model, without it, had all but excluded, then trials next to it, on
two opposite sides first, say whether it was chance (two of them end the other way) or the edge of something that the
model does not know of, such as an island of deep networks that train: then they are surprises themselves, and so on.

*The shallow end is looked at.* A kernel with a frontier takes it that what is shallow trains. After `CHECK_AFTER`
trials every combination of categories of which no trial lies in the shallow `SHALLOW` of the axis gets one, which costs
next to no layers.

On the beds of `tests/bench` (24 seeds, 104 trials, a script that was not kept) these two together took the mean error
of the window bed, whose shallow networks fail, from 7.5 to 5.4 %, changed the others by less than the scatter of the
seeds, and took a twentieth of the layers of two real maps of three at 56 trials. Checks from the 16th trial on took
three trials of 40 of a real map. Before the two rules, two or three successes on the islands of the islands bed were
taken for chance.

*What is far from all trials is looked at.* Once the frontier is known, one trial in `FAR_EVERY` goes where the model
has decided that nothing trains and no trial is near, to say whether something does: else the map calls a whole island
decided that it has missed. It is placed to bring the trials nearer to the most of it, but the deeper the less, for deep
networks cost most. At 400 trials of the islands bed (40 seeds, a script that was not kept) 1.5 % of the decided cells
are wrong, without this rule 1.8; that takes 8 % more layers, most of them on the islands that are found. On the other
four (10 seeds) it takes 2 to 7 % more, and up to one cell in a hundred fewer is decided; error and cover change by less
than the scatter. Twice as many (20 and 10 seeds) gave 1.4 instead of 1.7 %, but on two of the others 7 and 11 % more
layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.spatial.distance import cdist
from scipy.special import log_ndtr, ndtr

from analysis.gp import LogisticGP
from analysis.points import CENTRE, Counts, Points
from sweeps.boundary.coordinates import Axes, keys, known

STRADDLE = 1.96
EXCLUDED = 0.05  # probability below which an outcome is a surprise
NEAR = 0.2  # distance in the unit cube within which trials speak about a surprise
ENOUGH = 2  # of them with the other outcome settle it as chance
MOST = 6  # asked about one surprise
CHECK_AFTER = 48
CHECKS = 16  # trials told per combination of categories that is checked: a space of many is checked bit by bit
SHALLOW = 0.15
FAR_AFTER = 128
FAR_EVERY = 24
FAR_COST = 1.4  # of the whole range of depth, in logs: that of 2 to 256 layers goes with their number to the 0.3

Key = tuple[Axes, tuple[int, ...]]


class Surprise(NamedTuple):
    """A trial that ended as the model had all but excluded, of which few have spoken yet."""

    at: Points
    against: int  # trials told since, next to it, that ended the other way
    around: np.ndarray  # candidates next to it


@dataclass(frozen=True)
class Plan:
    """A model, and where it could look next: `candidates` [q], with the moments of their log-odds."""

    key: Key
    gp: LogisticGP
    replicates: float
    told: Points
    trained: np.ndarray  # sign [n] of the majority of each trial told
    surprises: Sequence[Surprise]  # the latest first
    candidates: Points
    mean: np.ndarray
    variance: np.ndarray
    V: np.ndarray

    @classmethod
    def make(
        cls,
        key: Key,
        gp: LogisticGP,
        active: np.ndarray,
        told: Points,
        counts: Counts,
        rng: Callable[..., np.random.Generator],
    ) -> Plan:
        """After the trials `told`, of which the model knows those at the indices `active`."""
        axes, numbers = key
        tried = known(told)
        candidates = axes.candidates(rng("plan", len(numbers)), tried)
        trained = np.sign(2 * counts.k - counts.n)
        surprises: list[Surprise] = []
        for i in np.flatnonzero(surprising(gp, active, told, counts))[::-1]:
            at, start = told.take([i]), len(candidates.x)
            candidates = candidates.beside(axes.around(rng("around", numbers[i]), at, tried))
            later = trained[i + 1 :][near(told.take(slice(i + 1, None)), at)]
            if len(later) < MOST:
                against = int(np.sum(later == -trained[i]))
                surprises.append(Surprise(at, against, np.arange(start, len(candidates.x))))
        replicates = counts.n.mean() if counts.n.any() else 1.0
        return cls(key, gp, replicates, told, trained, surprises, candidates, *gp.moments(candidates))

    def where(self, fixed: Mapping[str, Any]) -> Plan:
        """The same with candidates that have these values of some parameters."""
        candidates = self.key[0].holding(self.candidates, fixed)
        mean, variance, V = self.gp.moments(candidates)
        return replace(self, surprises=(), candidates=candidates, mean=mean, variance=variance, V=V)

    def choose(self, waiting: Points) -> int:
        """Index of the candidate to try next, knowing that results at `waiting` [w] will come."""
        variance, taken = self.variance, np.zeros(len(self.mean), bool)
        if len(waiting.x):
            mean, variance_there, V = self.gp.moments(waiting)
            K = self.gp.covariance(waiting, V, waiting, V)
            K[np.diag_indices_from(K)] += noise(mean, variance_there, self.replicates)
            cross = self.gp.covariance(waiting, V, self.candidates, self.V)
            explained = solve_triangular(cholesky(K, lower=True), cross, lower=True)
            variance = np.maximum(variance - np.einsum("ij,ij->j", explained, explained), 1e-9)
            taken = np.isin(keys(self.candidates), keys(waiting))
        straddle = STRADDLE * np.sqrt(variance) - np.abs(self.mean)
        for places in (*self._follow_ups(waiting), *self._checks(waiting), *self._far(waiting)):
            free = places[~taken[places]]
            if len(free):
                return int(free[0])
        return int(np.argmax(straddle if taken.all() else np.where(taken, -np.inf, straddle)))

    def _follow_ups(self, waiting: Points) -> Iterator[np.ndarray]:
        """Candidates, in the order of preference, of each surprise that too few trials have spoken about."""
        for surprise in self.surprises:
            if surprise.against + int(near(waiting, surprise.at).sum()) < ENOUGH:
                yield surprise.around

    def _checks(self, waiting: Points) -> Iterator[np.ndarray]:
        """Shallow candidates, in no order, of every combination of categories without a shallow trial."""
        if not self.gp.kernel.frontier or len(self.trained) < CHECK_AFTER:
            return
        shallow = np.flatnonzero(self.candidates.x[:, 0] < SHALLOW)
        seen = np.concatenate([points.c[points.x[:, 0] < SHALLOW] for points in (self.told, waiting)])
        combinations = np.unique(self.candidates.c, axis=0)
        combinations = combinations[np.all(combinations != CENTRE, axis=1)]
        for combination in combinations[: len(self.trained) // CHECKS]:
            if not np.any(np.all(seen == combination, axis=1)):
                yield shallow[np.all(self.candidates.c[shallow] == combination, axis=1)]

    def _far(self, waiting: Points) -> Iterator[np.ndarray]:
        """Candidates that are decided to fail, in the order of preference, if it is their turn."""
        total = len(self.trained) + len(waiting.x)
        out = np.flatnonzero(self.mean < -STRADDLE * np.sqrt(self.variance))
        if total >= FAR_AFTER and total % FAR_EVERY == 0 and len(out):
            places = self.candidates.take(out)
            seen = self.told.beside(waiting)
            axes, _ = self.key
            cost = np.exp(FAR_COST * places.x[:, 0]) if axes.frontier else 1.0
            yield out[np.argsort(-nearer(places, seen) / cost, kind="stable")]


def nearer(places: Points, seen: Points) -> np.ndarray:
    """By how much a trial at each [n] of `places` would shorten the ways from all of them to the nearest trial, summed.

    Trials with other categories are as far as can be. The farthest place would be a corner, which has few others near.
    """
    gain = np.zeros(len(places.x))
    for combination in np.unique(places.c, axis=0):
        mine = np.all(places.c == combination, axis=1)
        x = places.x[mine]
        way = np.full(len(x), np.sqrt(x.shape[1]))
        there = seen.x[alike(seen.c, combination)]
        if len(there):
            way = cdist(x, there).min(axis=1)
        gain[mine] = np.maximum(way - cdist(x, x), 0).sum(axis=1)
    return gain


def near(points: Points, at: Points) -> np.ndarray:
    """Which [n] of `points` lie within `NEAR` of the one point `at`, with the same categories."""
    return alike(points.c, at.c) & (np.sum(np.square(points.x - at.x), axis=1) < NEAR**2)


def alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which [n] of the category codes `a` [n, m] are `b` [m], or may be: `CENTRE` is every choice."""
    return np.all((a == b) | (a == CENTRE) | (b == CENTRE), axis=1)


def surprising(gp: LogisticGP, active: np.ndarray, told: Points, counts: Counts) -> np.ndarray:
    """Which [n] of the trials told ended as the model, without them, had all but excluded.

    Without a trial that it was conditioned on, one of `active`, the model is what expectation propagation calls its
    cavity (Rasmussen & Williams 2006, section 3.6).
    """
    mean, variance = gp.marginals(told)
    precision, f = gp.mode.root**2, gp.mode.f
    left = np.maximum(1 / variance[active] - precision, 1e-9)
    mean[active] = (mean[active] / variance[active] - gp.mode.a - precision * f) / left
    variance[active] = 1 / left
    chance = ndtr(mean / np.sqrt(variance + 8 / np.pi))
    more = 2 * counts.k - counts.n  # no share: there may be no networks, as by a count that is the text "0"
    return ((more > 0) & (chance < EXCLUDED)) | ((more < 0) & (chance > 1 - EXCLUDED))


def noise(mean: np.ndarray, variance: np.ndarray, replicates: float) -> np.ndarray:
    """Variance of the Gaussian observation that tells as much of log-odds with these moments as an outcome will.

    That is, after which the variance is what it is on average after the outcome, by moment matching (Rasmussen &
    Williams 2006, section 3.6) with a probit in place of the logit, whose scale is 8 / pi (ibid. section 3.9). Where
    little is known the outcome tells the sign and no more: the noise is then over half of the variance itself.
    """
    total = variance + 8 / np.pi / replicates
    z = mean / np.sqrt(total)
    known = np.exp(-z * z - log_ndtr(z) - log_ndtr(-z)) / (2 * np.pi)
    return total / np.maximum(known, 1e-3) - variance
