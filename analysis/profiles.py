"""Theory of one scheme over depth next to random networks: what `analysis theory` prints and draws. No drawing."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.words import counted
from isoinit.theory import theories
from isoinit.theory.asked import above, between, least, one_of, refuse
from isoinit.theory.predict import Prediction, predict
from isoinit.theory.profile import LEVELS, NO_SPREAD, Profile, profile
from isoinit.theory.simulate import DEAD, Simulation, no_simulation, simulate
from isoinit.theory.tolerance import BETWEEN, Tolerance

NETS: Final = 64
_ENDS: Final[dict[str, Any]] = {"learning_rate": min, "greatest_rate": max}
BUDGET: Final = 2e10  # multiplications that a simulation may cost: some seconds


class ProfileInfo(NamedTuple):
    """`theory` and the Monte-Carlo twin. `simulation` is None with a sentence why in `note`."""

    theory: Profile
    simulation: Simulation | None
    nets: int
    note: str


class Point(NamedTuple):
    """One network to ask about; `weight_scale` multiplies the scheme's own weight variance.

    architecture    None: the first that the scheme has a theory for, an mlp unless it is made for another
    """

    scheme: str
    depth: int
    width: int
    bias_variance: float = 0.0
    bias_mode: str = "iid"
    weight_scale: float = 1.0
    activation: str | None = None  # None: the scheme's own, relu for most
    architecture: str | None = None
    normalization: str = "none"
    density: float = 1.0
    learning_rates: tuple[float, ...] = ()  # of which any may train it; none: so small that every network is stable
    steps: int | None = None  # None: some 250
    accuracy: float | None = None  # that it has to reach in the steps; None: the usual one
    dataset: str | None = None  # one of `BETWEEN`; None: as digits


def profile_info(point: Point, *, nets: int | None = None, seed: int = 0) -> ProfileInfo:
    """Theory and simulation of a point; `nets` None: as many as the budget allows, at most `NETS`; 0: none.

    Raises:
        ValueError: there is no theory for the point, or an argument is out of range.
    """
    if nets is not None and (nets < 0 or nets == 1):
        raise ValueError(f"nets must be at least 0, and not 1, for one has no spread, but got {nets}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, but got {seed}")
    refuse("weight scale", point.weight_scale, above(0))
    refuse("bias variance", point.bias_variance, least(0))
    known = theories.get(point.scheme)
    arguments: dict[str, Any] = {
        "depth": point.depth,
        "width": point.width,
        "activation": point.activation or known.activation,
        "architecture": point.architecture or known.architectures[0],
        "normalization": point.normalization,
        "density": point.density,
        "sigma_b2": point.bias_variance,
        "bias_mode": point.bias_mode if point.bias_variance else "zero",
    }
    if point.weight_scale != 1:
        own = predict(point.scheme, **arguments).sigma_w2
        arguments["sigma_w2"] = own * point.weight_scale
    if point.accuracy is not None:
        refuse("accuracy", point.accuracy, between(0, 1))
    if point.dataset is not None:
        refuse("dataset", point.dataset, one_of(tuple(BETWEEN)))
    task = Tolerance.of(point.accuracy, BETWEEN.get(point.dataset or ""))
    rates = {name: find(point.learning_rates, default=None) for name, find in _ENDS.items()}
    theory = profile(point.scheme, **arguments, **rates, steps=point.steps, tolerance=task)
    affordable = int(BUDGET / (point.depth * point.width**3))
    count = min(NETS, affordable) if nets is None else nets
    if count < 2:
        note = "" if nets is not None else "simulating this size would take long; ask for it with --nets"
        return ProfileInfo(theory, None, 0, note)
    rng = np.random.default_rng(seed)
    if why := no_simulation(theory.prediction):
        if nets is not None:
            raise ValueError(why)
        return ProfileInfo(theory, None, 0, why)
    try:
        simulation = simulate(point.scheme, nets=count, rng=rng, **arguments)
    except MemoryError as error:
        raise ValueError(f"{count} nets of width {point.width} do not fit into memory: {error}") from error
    return ProfileInfo(theory, simulation, count, "")


def verdict(told: Prediction) -> str:
    """What becomes of most seeds, and how deep networks like this one may be."""
    seeds = ", depending on the seed" if told.seed_dependent else ""
    limit = "no depth limit" if math.isinf(told.depth_limit) else f"depth limit {told.depth_limit:.0f} ({told.binding})"
    return f"{told.outcome}{seeds}; {limit}"


def title(told: Prediction) -> str:
    """Which network it is, but for its scheme and its biases."""
    density = f", density {told.density:.3g}" * (told.density != 1)
    normalized = ", batch normalization" * (told.normalization == "batch")
    return f"{told.architecture} {told.activation}, depth {told.depth}, width {told.width}{density}{normalized}"


def text(info: ProfileInfo) -> list[tuple[str, str, str]]:
    """Rows of `(quantity, theory, simulation)` at the last hidden layer."""
    theory, measured, last = info.theory, info.simulation, -1
    low, middle, high = theory.log_norm[last, [0, 2, 4]]
    derived = theory.norm_route != NO_SPREAD
    gradient, deviation = theory.log_gradient[last], theory.log_gradient_sd[last]
    inputs = theory.prediction.tolerance.inputs.value
    rows = [
        ("norm |x_L|^2 / |x_0|^2, median", _size(middle), ""),
        ("  5 to 95 % of seeds", f"{_size(low)} to {_size(high)}" if derived else "-", ""),
        ("log gradient |J v|^2 / |v|^2", _spread(gradient, deviation if derived or deviation > 0 else None), ""),
        ("correlation of two inputs", f"{theory.correlation[last]:.4f}", ""),
        (f"1 - |correlation| of the nearest of {inputs:g}", f"{theory.prediction.nearest:.2g}", ""),
        (f"  the same of the gradients of {inputs:g} classes", _classes(theory.prediction), ""),
        ("eigenvalues e of J J^T, Var(e) / E(e)^2", f"{theory.prediction.conditioning:.1f}", ""),
        ("learning rate that is stable, at most", _rate(theory.prediction.stable_rate), ""),
    ]
    if theory.prediction.steps is not None:
        name = f"  that is enough for {counted(theory.prediction.steps, 'step')}, at least"
        rows.append((name, _rate(theory.prediction.least_rate), ""))
    unmeasured = ["-"] * (len(rows) - 7)
    if len(theory.singular_values):
        rows.append(("singular values of J, 5 / 50 / 95 %", _three(theory.singular_levels, theory.singular_values), ""))
    if measured is None:
        return rows
    low, middle, high = np.quantile(measured.log_norm[:, last], [LEVELS[0], LEVELS[2], LEVELS[4]], method="nearest")
    gradient = measured.log_gradient[measured.log_gradient[:, last] > DEAD, last]
    aligned = measured.correlation[np.isfinite(measured.correlation[:, last]), last]
    near, classes = (logs[np.isfinite(logs[:, last]), last] for logs in (measured.log_nearest, measured.log_classes))
    values = np.sort(_resolved(measured.singular_values).ravel())
    shown = measured.singular_values[measured.singular_values[:, 0] > 0]
    squares = (shown / shown[:, :1]) ** 2
    spread = (squares.var(axis=1) / squares.mean(axis=1) ** 2).mean() if len(squares) else np.nan
    seen = [
        _size(middle),
        f"{_size(low)} to {_size(high)}",
        _spread(gradient.mean(), gradient.std(ddof=1) if len(gradient) > 1 else None) if len(gradient) else "-",
        f"{aligned.mean():.4f}" if len(aligned) else "-",
        f"{np.exp(near.mean()):.2g}" if len(near) else "-",
        f"{np.exp(classes.mean()):.2g}" if len(classes) else "-",
        f"{spread:.1f}" if np.isfinite(spread) else "-",
        *unmeasured,
        _three((np.arange(len(values)) + 0.5) / len(values), values),
    ]
    rows += [("singular values of J, 5 / 50 / 95 %", "-", "")] if len(rows) < len(seen) else []
    return [(name, told, found) for (name, told, _), found in zip(rows, seen, strict=True)]


def _classes(told: Prediction) -> str:
    derived = told.activation in theories.EXACT or told.normalization == "none"
    return f"{told.classes:.2g}" if derived else "-"


def _rate(rate: float) -> str:
    return "-" if math.isnan(rate) else f"{rate:.2g}"


def _size(log: float) -> str:
    """The number whose logarithm is given: 0 for a dead net, a power of e beyond the floats."""
    if log <= DEAD:
        return "0"
    return f"{np.exp(log):.3g}" if abs(log) < 600 else f"e^{log:.0f}"


def _spread(mean: float, deviation: float | None) -> str:
    """`mean ± deviation`; the mean alone if the deviation is not known."""
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def _resolved(singular: np.ndarray) -> np.ndarray:
    """Singular values [nets, units], descending; those that rounding hides are 0."""
    return np.where(singular > singular.shape[1] * np.finfo(float).eps * singular[:, :1], singular, 0.0)


def _three(levels: np.ndarray, values: np.ndarray) -> str:
    """The 5, 50 and 95 % points of ascending `values`: each a value that occurs, for none lies within a jump."""
    at = np.searchsorted(levels, [0.05, 0.5, 0.95], side="right") - 1
    return " / ".join(f"{v:.2g}" for v in values[np.maximum(at, 0)])


def as_dict(info: ProfileInfo) -> dict[str, Any]:
    """Everything, for JSON; arrays as lists, of the simulation all networks."""
    arrays = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(info.theory).items()}
    measured = info.simulation and {k: v.tolist() for k, v in vars(info.simulation).items()}
    return {**arrays, "prediction": asdict(info.theory.prediction), "nets": info.nets, "simulation": measured}
