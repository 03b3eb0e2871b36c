"""The depth limit: how far one can go along the depth axis before leaving the trainable region.

The frontier of a column (a scheme, bias variance, width, ...) is the first depth at which the latent log-odds fall
below zero, counted from the shallow end. It is read from joint posterior draws along the whole depth line, so a band
knows that neighbouring depths err together. A column that is outside at once has the shallow end as its limit; one
that never leaves has the deep end: such limits are censored by the range that was searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.gp import LogisticGP
from analysis.points import Points
from analysis.threads import one_thread

LEVEL = 0.9  # of every band
DRAWS = 400
LINE = 61  # depths per column
CHUNK = 4  # columns handled at once: what is of them stays in a core's cache


Mixture = Sequence[tuple[float, LogisticGP]]  # shares that sum to one, and the posteriors that have them


class Band(NamedTuple):
    """Posterior median and central `LEVEL` band, each [columns]."""

    median: np.ndarray
    low: np.ndarray
    high: np.ndarray


@one_thread()
def exit_band(mixture: Mixture, columns: Points, seed: int = 0) -> Band:
    """Band of the first exit along the first axis, in unit-cube coordinates; that axis of `columns` is ignored."""
    normal = np.random.default_rng(seed).standard_normal((LINE, DRAWS))
    line = np.linspace(0.0, 1.0, LINE)
    ends = np.round(DRAWS * np.cumsum([share for share, _ in mixture])).astype(int)
    normals = np.split(normal, ends[:-1], axis=1)
    bands = []
    for i in range(0, len(columns.x), CHUNK):
        part = columns.take(slice(i, i + CHUNK))
        exits = [_exits(gp, part, line, own) for (_, gp), own in zip(mixture, normals, strict=True)]
        bands.append(np.quantile(np.concatenate(exits, axis=1), _QUANTILES, axis=1))
    return Band(*np.concatenate(bands, axis=1)) if bands else Band(*np.empty((3, 0)))


_QUANTILES = (0.5, (1 - LEVEL) / 2, (1 + LEVEL) / 2)


def _exits(gp: LogisticGP, columns: Points, line: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """First exits [columns, draws]."""
    x = np.repeat(columns.x, len(line), axis=0)
    x[:, 0] = np.tile(line, len(columns.x))
    at = Points(x, np.repeat(columns.c, len(line), axis=0))
    mean, _, V = gp.moments(at)
    exits = np.empty((len(columns.x), normal.shape[1]))
    column = at.take(slice(0, len(line)))
    prior = gp.kernel.matrix(gp.theta, column, column)  # the same in every column: only their depths differ
    for i in range(len(exits)):
        rows = slice(i * len(line), (i + 1) * len(line))
        values, vectors = np.linalg.eigh(prior - V[:, rows].T @ V[:, rows])
        factor = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T  # the symmetric root: the only stable one
        exits[i] = first_exit(line, mean[rows, None] + factor @ normal)
    return exits


def first_exit(line: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Where each column of f [depths, draws] first falls below zero, interpolated linearly; [draws]."""
    outside = f < 0
    last = np.where(outside.any(axis=0), outside.argmax(axis=0), len(line) - 1)
    before = np.maximum(last - 1, 0)
    draw = np.arange(f.shape[1])
    above, below = f[before, draw], f[last, draw]
    crossed = (above >= 0) & (below < 0)
    share = np.where(crossed, above / np.where(crossed, above - below, 1.0), 1.0)
    return line[before] + share * (line[last] - line[before])
