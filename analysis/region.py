"""The trainable region: which points of the search space train with probability at least one half.

`RegionModel.fit` reads a `trials` table (see `analysis.schema`) through the logistic GP of `analysis.gp`; every
statement comes with its uncertainty. Never count successes per cell of adaptively placed trials instead: they crowd on
one side of a cell, and such intervals cover far less than they say. The one model-free number is `audit_error`, from
the trials that were placed by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from scipy.special import ndtr
from scipy.stats import qmc

from analysis.averaging import plausible
from analysis.axes import Axis, Category, Numeric, encode, filterable, floats, has_depth, infer_axes, met_before, names
from analysis.checks import check_axes, check_counts, need
from analysis.frontier import Band, Mixture, exit_band
from analysis.gp import LogisticGP, learn, thin
from analysis.kernels import Kernel
from analysis.points import Counts, Points
from analysis.threads import one_thread

SURE = 0.95  # a cell is decided when the region holds it, or does not, with this probability
LEARN_ON = 500  # trials that hyperparameters are learnt from
# Up to so many, hyperparameters are averaged over: they are too little known. Past it the share of decided cells steps
# up (on two beds, at 400, by half a cell and by one and a half in a hundred), so a goal of `progress` may be met by it.
FEW_TRIALS = 400
ACTIVE = 1000  # trials the posterior is conditioned on
AUDIT_ROLES = ("audit", "start", "random", "sobol")  # of trials placed uniformly, whatever the others showed
HELD_OUT = 0.25  # chosen: share of all trials that the model goes without at once, to be judged on them
JUDGED = 8  # chosen: fewer trials leave a model of nearly none
CELLS = 1024  # reference cells of `progress`


@dataclass(frozen=True)
class RegionModel:
    """The posterior of the trainable region, given trials."""

    axes: tuple[Axis, ...]
    mixture: Mixture  # the posterior; of one part, unless trials are few

    @classmethod
    @one_thread()
    def fit(cls, trials: pa.Table, axes: Sequence[Axis] | None = None, seed: int = 0) -> RegionModel:
        """Fit to a table with the columns of the axes, `n_replicates` and `n_trained` (and `outcome`, if there).

        Axes are those of a sweep that vary in the table, unless given; `infer_axes(trials, "dropout")` has a numeric
        column of one's own, too, which is not looked at otherwise. `failed` trials are dropped. Of a large table the
        first 500 trials by `finished_at` give the hyperparameters, and 1000 the posterior; `seed` picks by chance what
        there is no order for.
        """
        trials = usable(trials)
        chosen = infer_axes(trials) if axes is None else tuple(axes)
        points = encode(chosen, trials)
        new = ~met_before(trials, [axis.name for axis in chosen])
        trials, points = trials.filter(pa.array(new)), points.take(new)
        counts = Counts(floats(trials["n_trained"]), floats(trials["n_replicates"]))
        rng = np.random.default_rng(seed)
        levels = tuple(len(axis.levels) for axis in chosen if isinstance(axis, Category))
        kernel = Kernel(points.x.shape[1], points.c.shape[1], has_depth(chosen), levels)
        first = _first(trials, rng)
        if len(counts.k) <= FEW_TRIALS:
            drawn = plausible(kernel, points, counts)
            return cls(chosen, [(share, LogisticGP.condition(k, theta, points, counts)) for share, k, theta in drawn])
        kernel, theta = learn(kernel, points.take(first), counts.take(first), iterations=40)
        active = thin(kernel, theta, points, counts, ACTIVE, rng)
        return cls(chosen, [(1.0, LogisticGP.condition(kernel, theta, points.take(active), counts.take(active)))])

    @one_thread()
    def p_in_region(self, points: pa.Table) -> np.ndarray:
        """Posterior probability [n] that P(trained) >= 1/2 at each row of a table with the columns of the axes."""
        at = encode(self.axes, points)
        p = np.zeros(len(points))
        for share, gp in self.mixture:
            mean, variance = gp.marginals(at)
            p += share * ndtr(mean / np.sqrt(variance))
        return p

    def depth_limit(self, points: pa.Table, seed: int = 0) -> Band:
        """Median depth limit and 90 % band, in weight layers, for each row of `points`; its depth is not read."""
        if not has_depth(self.axes):
            raise ValueError("a depth limit needs trials of more than one depth, but depth does not vary.")
        depth, *others = self.axes
        assert isinstance(depth, Numeric)
        x, c = encode(others, points)
        band = exit_band(self.mixture, Points(np.column_stack([np.zeros(len(x)), x]), c), seed)
        return Band(*(depth.decode(unit) for unit in band))

    def cells(self, count: int = CELLS) -> pa.Table:
        """Points [count] that fill the search space evenly (scrambled Sobol), for statements about the whole map."""
        cube = qmc.Sobol(max(len(self.axes), 1), rng=np.random.default_rng(0)).random(count)
        return pa.table({axis.name: axis.cell(unit) for axis, unit in zip(self.axes, cube.T, strict=False)})


def state(p: np.ndarray) -> np.ndarray:
    """'in', 'out' or 'undecided' [n] for each probability of being in the region."""
    return np.select([p >= SURE, p <= 1 - SURE], ["in", "out"], "undecided")


class Progress(NamedTuple):
    """How finished a map is, both in [0, 1]: what `search.until` compares with."""

    undecided: float  # share of reference cells that are neither in nor out
    frontier_band: float  # mean width of the depth-limit band, as a share of the (log) depth range; nan without depth


def progress(trials: pa.Table, axes: Sequence[Axis] | None = None, seed: int = 0) -> Progress:
    """How finished the map of these trials is."""
    model = RegionModel.fit(trials, axes, seed)
    cells = model.cells() if model.axes else trials.slice(0, 1)  # without any axis there is one cell
    undecided = float(np.mean(state(model.p_in_region(cells)) == "undecided"))
    if not has_depth(model.axes):
        return Progress(undecided, float("nan"))
    band = exit_band(model.mixture, encode(model.axes, cells.slice(0, 128)), seed)
    return Progress(undecided, float(np.mean(band.high - band.low)))


class AuditError(NamedTuple):
    """Share of audit trials on the wrong side of the map, with its 95 % Wilson interval."""

    error: float
    low: float
    high: float
    wrong: int
    n: int
    ties: int  # audit trials of which exactly half trained: neither side is wrong


def audit_error(trials: pa.Table, axes: Sequence[Axis] | None = None, seed: int = 0) -> AuditError:
    """Error of the map on trials that chance placed (`AUDIT_ROLES`), by a model that has not seen them.

    It is the one statement that trusts no model. It counts disagreement with what an audit trial did, so where
    seeds disagree it contains their noise as well as the error of the map. Of a small sweep most trials are audit
    trials, of a random search all; without all of them there is no map, so the model goes without no more than
    `HELD_OUT` of all at once.
    """
    need(trials, ["role"], "the error of a map")
    trials = usable(trials)
    audit = np.isin(names(trials["role"]).to_numpy(), AUDIT_ROLES)
    trained, n = floats(trials["n_trained"]), floats(trials["n_replicates"])
    clear = audit & (2 * trained != n)
    ties = int((audit & ~clear).sum())
    if not clear.any() or len(trials) < JUDGED:
        return AuditError(float("nan"), 0.0, 1.0, 0, 0, ties)
    axes, wrong = axes or infer_axes(trials), 0
    # shuffled: of a Sobol sequence every other trial is a shallow one, and a model without these would judge them
    places = np.random.default_rng(seed).permutation(np.flatnonzero(audit))
    parts = math.ceil(len(places) / (HELD_OUT * len(trials)))
    for part in range(parts):
        hidden = np.zeros(len(trials), bool)
        hidden[places[part::parts]] = True
        model = RegionModel.fit(trials.filter(pa.array(~hidden)), axes, seed)
        judged = hidden & clear
        inside = model.p_in_region(trials.filter(pa.array(judged))) >= 0.5
        wrong += int(np.sum(inside != (2 * trained > n)[judged]))
    count = int(clear.sum())
    return AuditError(wrong / count, *wilson(wrong, count), wrong, count, ties)


def wilson(k: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927), 95 % unless told."""
    centre, spread = k / n + z * z / (2 * n), z * np.sqrt(k * (n - k) / n**3 + z * z / (4 * n * n))
    low, high = (float(end / (1 + z * z / n)) for end in (centre - spread, centre + spread))
    return low if k else 0.0, high if k < n else 1.0  # where rounding would leave a little beside the end


def usable(trials: pa.Table) -> pa.Table:
    """The trials that say something: infrastructure failures and empty counts are dropped.

    Raises:
        ValueError: there are none, or their counts or axes are no such numbers.
    """
    need(trials, ["n_replicates", "n_trained"], "a region")
    trials = filterable(trials)
    seen = floats(trials["n_replicates"]) != 0
    if "outcome" in trials.column_names:
        seen &= names(trials["outcome"]).to_numpy() != "failed"
    check_counts(trials, seen)
    check_axes(trials, rows=seen)
    kept = trials.filter(pa.array(seen))
    if not len(kept):
        raise ValueError(f"a region needs at least one trial that did not fail, but got none of {len(trials)}")
    return kept


def _first(trials: pa.Table, rng: np.random.Generator) -> np.ndarray:
    """Indices of the first `LEARN_ON` trials to finish (see `learn` for why the first); without a date, of any."""
    if len(trials) <= LEARN_ON:
        return np.arange(len(trials))
    if "finished_at" in trials.column_names:
        return np.argsort(trials["finished_at"].to_numpy(), kind="stable")[:LEARN_ON]
    return np.sort(rng.choice(len(trials), LEARN_ON, replace=False))
