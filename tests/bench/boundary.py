"""How many trials a map of the trainable region takes, sampler by sampler.

    python tests/bench/boundary.py --out boundary.json [--map grid.parquet ...] [--seeds 10] [--beds smooth ...]
    python tests/bench/boundary.py --table boundary.json [more.json ...]

Every sampler places trials in batches of 8 through Optuna (`--batch`), all asked before one is told; every map is read
by the same `RegionModel`, so that only the placement differs. The error of a map is the share of the test points on the
wrong side. `n*` is the number of trials at which a sampler's median error has come down, for good, to what random
search has after all its trials (400; 200 on a real map), interpolated in log-log; `layers` is the same for trained
layers (the sum of the depths).
A real map is a trials table of a dense grid: `sweep launch digits-grid`, then `sweep export`. The README's,
with S for `--set space.scheme=[xavier_normal,he_normal,orthogonal,ll_orth]`:

    sweep launch digits-grid S --set space.depth.levels=14 --set space.width=40 --set training.learning_rate=0.05
        --trials 560
    the same with --set space.width=24 --set training.learning_rate=0.1
    the same with --set space.width=32 --set training.learning_rate=0.02
    the same with --set dataset=mnist --set space.width=48 --set training.learning_rate=0.04 --set training.steps=150
    the same with --set dataset=mnist --set space.width=56 --set training.learning_rate=0.02 --set training.steps=150
    sweep launch digits-grid S --set space.width='{low: 8, high: 64, log: true, levels: 5}' --trials 1440
        --set space.bias_variance='{low: 1.0e-3, high: 1.0, log: true, levels: 6}' --set training.learning_rate=0.05

Grid search lays a new full grid for every count. `tpe` gets four seeds and 200 trials, and `gp` (Optuna's GPSampler),
which takes seconds an ask, one seed and 100. `unaudited` is the boundary sampler without audit trials.

Tried on the beds, some with a real map or more, and not kept, with the number of seeds; by scripts that were not kept:

    expected loss of misclassified volume         the same trials for ten times the time
    outcomes of pending points drawn              the same trials
    four times the candidates                     the same trials
    a prior mean that falls with depth            no fewer trials
    one number per category in the limits         the same trials
    straddle over depth**0.2 (12)                 a seventh and a fifth fewer layers on the kinked and the islands bed,
                                                  an eighth more on a real map; noisy: a quarter more trials
    straddle of the mean less 0.3 sd (32)         4 to 23 % fewer layers, but two of three real maps 13 and 36 % more
                                                  error at 40 trials; from the 48th trial on 5 to 11 % fewer layers and
                                                  0 to 9 % more error at 104
    shallowest within 5 % of the best (8)         as many layers, a tenth more trials
    a quarter of the picks by the rival (8)       a twentieth to a third more trials everywhere
    a twentieth of them (20)                      window: mean error at 100 trials 8.1 -> 5.2 %, median 5.9 -> 5.3 %;
                                                  noisy a quarter, islands a sixth more trials
    an eighth by variance alone (8)               a tenth to a third more trials, up to four fifths more layers
    a tenth farthest from all trials (48)         islands 5, kinked 8, smooth 10, window -2 % more error at 104 trials
    audit trials from the 9th trial on (100)      window, islands: the same error at 104 trials
    1.2 or 3 standard deviations (6)              better on some beds and worse on others
    a start of 16 trials                          a half and a seventh more trials for two real maps, few for the rest
    limits as smooth as a Gaussian's (24)         smooth -10 % error, two real maps +50 %
    a power law as a part of the limits (24)      islands and noisy -5 to -8 % error; two real maps +50 to 60 % at 40
    a third kernel, quadratic in depth (24)       window: preferred by the evidence, but no better maps
    two limits, shallow and deep, the product     window: the same trials read with 4.4 % error at 104 instead of 4.2,
    of two probabilities (16)                     4.0 at 128 instead of 3.7 (best of five priors); smooth as before
    hyperparameters of 800 trials from the        window: 4.2 to 4.5 % at 104 trials, 3.6 at 128, where those that are
    start on, to place, to read, or both (16)     learnt give 4.2 and 3.7; those of the trials' end 3.8 and 3.5
    asked one at a time (16)                      window: 4.6 % error at 104 trials instead of 4.2; at 40 of three real
                                                  maps (10) .83, .92 and .91 % instead of 1.1, 1.5 and 1.5, and in
                                                  batches of 16 1.5, 1.8 and 2.2: a trial tells more where it is asked
                                                  for alone, which is for the sweep to see to (`packs.py`)
    outcomes of waiting trials drawn, anew at     three real maps at 40 trials, batches of 8: from 26 % less to 13 more
    each ask, once or the mean of 12 (12)         error (s.e. 11 to 18), of 16: from 17 % less to 9 more
    the straddle's factor drawn anew each time,   window: 4.5 % (chi), and 4.2 % for a ninth more layers
    a chi of 2 degrees, or 1 to 3 (16)
    straddle weighted by the undecided share of   window: 4.5 %; the most undecided scheme first, 5.2 %
    the scheme (16)
    straddle weighted by what correlates (16)     window: 4.2 and 4.3 %
    in a batch's second half the shallowest of    noisy and window 6 and 4 % fewer layers, 3 and 4 % more
    the neighbours with 90 % of the best (16)     error; kinked 1 % more layers; one real map +37 % error
    evidence with 2 added for either kernel (16)  plain: window 4.0 %, one real map +20 % at 40 trials;
                                                  frontier: window 5.8 %
    no audit trials (32)                          window: 4.4 % as with them, and 4.0 instead of 3.8 at 128
    sums of axes in the plain kernel, or its      window: 4.6 instead of 4.4 %, and 3.5 or 3.9 instead of 3.8 at 128
    prior's length scales 1.5 (32)
    of the 64 largest straddles the trial that    window: 9.6 instead of 12.3 % at 48 trials, 4.5 at 104 and 3.9 at 128;
    takes most doubt off the frontier (24 to 32)  noisy 5.7 instead of 5.3 at 128; real maps 13 to 20 % more layers
    the same over depth**0.2 (24 to 48)           7 to 17 % fewer layers and kinked -9 % error; window 4.0 and noisy 5.9
                                                  instead of 3.8 and 5.5 at 128; one real map .73 instead of .55 at 56
    the latter in turn with the straddle (24)     kinked -11 %, noisy and window +13 and +11 % error (s.e. 4 to 7)
    the limit that theory predicts as a part of   three real maps: 0, 12 and 22 % less error at 40 trials for 11 and
    the prior, half or a fifth of it (6 to 8)     26 % more and 5 % fewer layers; by a fifth 31 and 22 % less on two
    the same by half, of `isoinit.theory.crowd`   four real maps: from 42 % less to 54 more at 24 trials, from 31 % less
    (16)                                          to 92 more at 40, where errors are small, for -6 to +12 % layers
    a start at the limits that theory predicts,   four real maps at 40 trials: from 19 % less to 49 more error, and
    times e to a normal of sd .35 or .7 (14)      from 20 % less to 12 more, for 1 to 14 and 2 to 11 % more layers
    outcomes that are chance's own with 1 or 5 %  window: 60 % more error at 104 trials by either; noisy, where one in
    of the likelihood, to place and to read (8)   ten is: 9 and 52 % more, 8 and 26 % at 128
    maps by the most probable hyperparameters,    window: 3 % less error at 104 trials, noisy 2 % more, kinked 1 % less
    not averaged (24)
    no trials in the outer 6 % of every axis but  window, noisy: 4 to 10 % less error at 104 and 128 trials (s.e. 5 to
    depth, where straddle looks first (16 to 24)  10), smooth 4 to 6 % more; four real maps: from 31 % less to 4 more at
                                                  24, 15 to 140 more at 56 (s.e. 7 to 21)
    the same with a margin that narrows as        real maps: a fifth less at 24 trials (one 13 % more), 7 to 36 % more
    trials come, a quarter of their spacing (24)  at 56
    the shallow end looked at from the 16th       window: 9.2 instead of 16.0 % error at 48 trials, and the same from
    trial on (12)                                 80 on
    bends of the log-odds of a size of its own    window: preferred by the evidence to no frontier, 5 to 10 % less error
    per category, the straddle in units of depth  at 104 trials (s.e. 6), 6 % fewer layers, the same at 128; kinked -7,
    (8 to 24)                                     islands -2, noisy -4, smooth +2 % error (s.e. 6), four real maps
                                                  from 18 % less to 19 more at 40
    the same, and of the 64 or 512 largest        window: the same error, for 4 to 10 % fewer layers
    straddles the trial that takes most off the
    error that is expected (12)
    a start of 4 trials (16)                      the same: a batch is asked before one is told
    a third kernel, limits quadratic in the       to read: smooth and islands 3 to 6, noisy 0 to 3 % less error, kinked
    other axes and little else (12 to 24)         from 1 less to 4 more, real maps the same but for scatter; to place
                                                  too: kinked 5 to 16, window 11 % more at 104, two of four real maps
                                                  20 and 24 % more at 40; taken only where 3 nats ahead it never is
    of the 64 largest straddles the trial that    noisy, window and smooth 13 to 26 % fewer layers, up to 14 % more
    takes most off the error that is expected,    error; four real maps from 8 % less to 98 more
    over depth**0.3 (12 to 24)
    the same of all kernels and hyperparameters   noisy and a real map: a third more error, near the scatter
    that the reader averages over (6 to 8)
    the mean of the hyperparameters, not the      noisy from 6 % less to 2 more error (s.e. 6), window 15 to 20 % more
    mode, of the kernel of most evidence (24)     from 80 trials on (s.e. 10)

Those from "no audit trials" to "in turn" were compared seed by seed, on seeds of which the window bed has 4.4 % at 104
and 3.8 at 128 trials (48 seeds: 4.5 and 3.8): medians of 16 seeds differ by half a point for chance alone. Of how near
it is to what can be known (32 seeds): were labels certain instead of a coin's near the frontier it would be 3.0 at 104.
Read by the bed's own formula, with nothing unknown but its 16 coefficients, the same trials give 3.45 instead of 4.2,
and 2.9 at 128.

One who knew the formulas of the noisy and the window bed, with steepness and flips, and had only to find their 12 and
16 coefficients, each trial placed alone where it takes most off the error that is expected, would have random's error
of 400 trials after 104 and 50 (16 seeds), and over depth**0.3 after 80 and 50 for 11 and 17 times fewer layers. Of that
lead the shape of the limits is little: on the noisy bed the three terms of its limits in place of the kernel's,
its steepness given, gave 13 % less error to read with and 16 to place too, at 128 trials (32 seeds).

The score, which says how far a network was from being trained, tells little more than its sign where the sampler asks.
Read by an ordered logit, with a cut on either side within which the quarter of the scores nearest to zero lie and whose
place is learnt, 40 and 80 random trials of two real maps gave 21 to 37 % less error (means of 6 draws); with a cut at
the median a half less to a sixth more, at three quarters 5 to 69 % more. Of 40 trials that the sampler had placed, on
three real maps, the median error was as before, 15 % less, and .19 instead of .09 %, and 2 to 13 cells more in a
hundred were decided; of 104 it was the same to one cell. Placing by that model too, it was 14 and 22 % less and .19 %,
for 9, -1 and 3 % more layers (8 seeds). Synthetic beds have outcomes alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
from beds import BEDS, Answer, Bed, Real, Synthetic, spread
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.points import Scale
from analysis.region import RegionModel, state
from sweeps.boundary import BoundarySampler

BATCH = 8
COUNTS = (24, 32, 40, 48, 60, 80, 100, 130, 170, 200, 400)
AUDIT = 0.1
SAMPLERS: dict[str, Callable[[Bed, int, int], optuna.samplers.BaseSampler]] = {
    "random": lambda _, seed, __: optuna.samplers.RandomSampler(seed=seed),
    "sobol": lambda _, seed, __: optuna.samplers.QMCSampler(scramble=True, seed=seed),
    "tpe": lambda _, seed, __: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda _, seed, __: optuna.samplers.GPSampler(seed=seed),
    "boundary": lambda bed, seed, batch: BoundarySampler(seed=seed, audit=AUDIT, batch=batch, floors=bed.floors),
    "unaudited": lambda bed, seed, batch: BoundarySampler(seed=seed, audit=0.0, batch=batch, floors=bed.floors),
}
FEW = (40, 100, 200, 400)  # for all but those whose n* is the question
DENSE = ("boundary", "unaudited")
SLOW = {"tpe": (4, 200), "gp": (1, 100)}  # seeds, trials


def trials(
    sampler: str, bed: Bed, seed: int, counts: Sequence[int], batch: int = BATCH
) -> Iterator[tuple[list[Answer], float]]:
    """The first n trials for each n of `counts`, and the seconds that asking took so far."""
    rng = np.random.default_rng([seed, 1])
    if sampler == "grid":
        for n in counts:
            yield [bed.answer(params, rng) for params in grid(bed, n)], 0.0
        return
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](bed, seed, batch))
    answers: list[Answer] = []
    asking = 0.0
    while len(answers) < counts[-1]:
        started = time.process_time()
        asked = [study.ask(dict(bed.space)) for _ in range(batch)]
        asking += time.process_time() - started
        for trial in asked:
            answers.append(told(study, trial, bed, rng))
            if len(answers) in counts:
                yield answers, asking


def told(study: optuna.Study, trial: optuna.Trial, bed: Bed, rng: np.random.Generator) -> Answer:
    """The bed's answer to a trial, once the study has it."""
    answer = bed.answer(trial.params, rng)
    trial.set_user_attr("n_trained", answer.trained)
    trial.set_user_attr("n_replicates", answer.replicates)
    study.tell(trial, 2 * answer.trained / answer.replicates - 1)
    return answer


def grid(bed: Bed, n: int) -> Iterator[dict[str, Any]]:
    """A full factorial of about n points: every category, and as many levels of each number as fit."""
    categories = [d for d in bed.space.values() if isinstance(d, CategoricalDistribution)]
    numbers = len(bed.space) - len(categories)
    levels = max(2, round((n / np.prod([len(d.choices) for d in categories])) ** (1 / numbers)))
    values = []
    for name, d in bed.space.items():
        if isinstance(d, CategoricalDistribution):
            values.append(d.choices)
            continue
        assert isinstance(d, FloatDistribution | IntDistribution)
        scale = Scale(d.low, d.high, d.log, bed.floors.get(name, -np.inf))
        places = scale.decode((np.arange(levels) + 0.5) / levels)
        values.append(places.round().astype(int).tolist() if isinstance(d, IntDistribution) else places.tolist())
    for point in product(*values):
        yield dict(zip(bed.space, point, strict=True))


def table(answers: Sequence[Answer]) -> pa.Table:
    return pa.Table.from_pylist([a.point | {"n_trained": a.trained, "n_replicates": a.replicates} for a in answers])


def judge(bed: Bed, answers: Sequence[Answer], seed: int) -> dict[str, Any]:
    """Error and decided share of the map of these trials, and, where the truth is known, the cover of its bands."""
    model = RegionModel.fit(table(answers), bed.axes, seed)
    p = model.p_in_region(bed.test)
    wrong = (p >= 0.5) != bed.inside
    decided = state(p) != "undecided"
    result = {
        "n": len(answers),
        "layers": sum(a.point["depth"] for a in answers),
        "error": float(wrong.mean()),
        "decided": float(decided.mean()),
        "wrong_decided": float(wrong[decided].mean()) if decided.any() else 0.0,
    }
    if isinstance(bed, Synthetic):
        columns = spread(bed.axes, 24, seed=7)
        truth = bed.limit(columns, np.geomspace(2, 256, 1001))
        band = model.depth_limit(columns)
        # a limit at the shallow or deep end of the range is reported as that end, up to rounding
        result["cover"] = float(np.mean((band.low <= 1.001 * truth) & (truth <= 1.001 * band.high)))
        result["band"] = float(np.mean(np.log(band.high / band.low)) / np.log(128))
    return result


def run(sampler: str, bed: Bed, seed: int, counts: Sequence[int], batch: int) -> list[dict[str, Any]]:
    head = {"bed": bed.name, "sampler": sampler, "seed": seed, "batch": batch}
    return [
        {**head, **judge(bed, answers, seed), "asking": asking}
        for answers, asking in trials(sampler, bed, seed, counts, batch)
    ]


def medians(rows: Sequence[dict[str, Any]], bed: str, sampler: str) -> np.ndarray:
    """Count, and median error and layers over the seeds; [counts, 3]."""
    mine = [row for row in rows if (row["bed"], row["sampler"]) == (bed, sampler)]
    by_count = [(n, [row for row in mine if row["n"] == n]) for n in sorted({row["n"] for row in mine})]
    return np.array(
        [[n, np.median([r["error"] for r in at]), np.median([r["layers"] for r in at])] for n, at in by_count]
    )


def reach(curve: np.ndarray, goal: float, cost: int) -> float:
    """Value of column `cost` (0 trials, 2 layers) where the error comes to `goal` for good; nan if it never does."""
    above = np.flatnonzero(curve[:, 1] > goal)
    last = above[-1] if len(above) else -1
    if last + 1 == len(curve):
        return float("nan")
    if last < 0:
        return float(curve[0, cost])
    (_, e0, _), (_, e1, _) = curve[last], curve[last + 1]
    c0, c1 = curve[last, cost], curve[last + 1, cost]
    share = np.log(e0 / goal) / np.log(e0 / max(e1, 1e-4))
    return float(c0 * (c1 / c0) ** share)


def report(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| bed | sampler | seeds | error %: n = 40 | 100 | 200 | 400 | n* | trials saved | layers saved |"]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for bed in dict.fromkeys(row["bed"] for row in rows):
        base = medians(rows, bed, "random")
        if not len(base):
            lines.append(f"| {bed} | random is missing, which the others are compared with |")
            continue
        goal = base[-1, 1]
        for sampler in dict.fromkeys(row["sampler"] for row in rows if row["bed"] == bed):
            curve = medians(rows, bed, sampler)
            seeds = len({r["seed"] for r in rows if (r["bed"], r["sampler"]) == (bed, sampler)})
            shown = [_near(curve, n) for n in (40, 100, 200, 400)]
            trials, layers = reach(curve, goal, 0), reach(curve, goal, 2)
            saved = (f"{trials:.0f}", f"{base[-1, 0] / trials:.1f}", f"{base[-1, 2] / layers:.1f}")
            lines.append(f"| {' | '.join([bed, sampler, str(seeds), *shown, *saved])} |".replace("nan", "-"))
    lines += ["", "| bed | sampler | n | cover of 90 % bands | band width | decided | wrong among them |"]
    lines.append("|---|---|---|---|---|---|---|")
    for bed, sampler in dict.fromkeys((r["bed"], r["sampler"]) for r in rows if r["sampler"] in ("random", *DENSE)):
        for n in (100, 200, 400):
            mine = [r for r in rows if (r["bed"], r["sampler"], r["n"]) == (bed, sampler, n)]
            if mine:
                mean = {key: np.mean([r.get(key, np.nan) for r in mine]) for key in _COVER}
                shown = [f"{mean['cover']:.2f}", f"{mean['band']:.2f}"]
                shown += [f"{100 * mean['decided']:.0f} %", f"{100 * mean['wrong_decided']:.1f} %"]
                lines.append(f"| {' | '.join([bed, sampler, str(n), *shown])} |".replace("nan", "-"))
    return "\n".join(lines)


_COVER = ("cover", "band", "decided", "wrong_decided")


def _near(curve: np.ndarray, n: int) -> str:
    close = np.abs(np.log(curve[:, 0] / n)) < np.log(1.3)
    return f"{100 * curve[close][np.argmin(np.abs(curve[close, 0] - n)), 1]:.2f}" if close.any() else "-"


def hardware() -> dict[str, Any]:
    names = ("numpy", "scipy", "optuna", "pyarrow")
    return {
        "machine": platform.machine(),
        "processor": platform.processor(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beds", nargs="*", default=list(BEDS))
    parser.add_argument("--map", nargs="*", type=Path, default=[], help="Parquet trials tables of dense grids")
    parser.add_argument("--samplers", nargs="*", default=[*SAMPLERS, "grid"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=COUNTS[-1])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--from-seed", type=int, default=0, help="to share the seeds out among runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", nargs="+", type=Path, help="print the tables of finished runs")
    options = parser.parse_args()
    if options.table:
        found = (row for path in options.table for row in json.loads(path.read_text())["rows"])
        print(report(list({tuple(row[k] for k in ("bed", "sampler", "seed", "n")): row for row in found}.values())))
        return
    if options.trials < FEW[0]:
        parser.error(f"--trials must be at least {FEW[0]}, the first at which all samplers are judged")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    beds: list[Bed] = [*map(Synthetic, options.beds), *map(Real, options.map)]
    rows: list[dict[str, Any]] = []
    for bed, sampler in ((bed, sampler) for bed in beds for sampler in options.samplers):
        seeds, most = SLOW.get(sampler, (options.seeds, options.trials))
        most = min(most, 200) if isinstance(bed, Real) else most
        for seed in range(options.from_seed, options.from_seed + min(seeds, options.seeds)):
            counts = COUNTS if sampler in DENSE else FEW
            rows += run(sampler, bed, seed, [n for n in counts if n <= most], options.batch)
        print(f"{bed.name:12} {sampler:10} {100 * medians(rows, bed.name, sampler)[-1, 1]:.2f} %", flush=True)
        if options.out:
            options.out.write_text(json.dumps({"hardware": hardware(), "rows": rows}))
    if "random" in options.samplers:
        print(report(rows))


if __name__ == "__main__":
    main()
