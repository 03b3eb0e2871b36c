"""Theory of one scheme over depth next to random networks: what `analysis theory` prints and draws. No drawing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from isoinit.theory.profile import LEVELS, Profile, profile
from isoinit.theory.simulate import Simulation, simulate

NETS: Final = 64
BUDGET: Final = 2e10  # multiplications that a simulation may cost: some seconds


class ProfileInfo(NamedTuple):
    """`theory` and the Monte-Carlo twin. `simulation` is None with a sentence why in `note`."""

    theory: Profile
    simulation: Simulation | None
    nets: int
    note: str


class Point(NamedTuple):
    """One network to ask about; `weight_scale` multiplies the scheme's own weight variance."""

    scheme: str
    depth: int
    width: int
    bias_variance: float = 0.0
    bias_mode: str = "iid"
    weight_scale: float = 1.0
    activation: str = "relu"


def profile_info(point: Point, *, nets: int | None = None, seed: int = 0) -> ProfileInfo:
    """Theory and simulation of a point; `nets` None: as many as the budget allows, at most `NETS`; 0: none.

    Raises:
        ValueError: there is no theory for the point, or an argument is out of range.
    """
    if nets is not None and nets < 0:
        raise ValueError(f"nets must be at least 0, but got {nets}")
    arguments: dict[str, Any] = {
        "depth": point.depth,
        "width": point.width,
        "activation": point.activation,
        "sigma_b2": point.bias_variance,
        "bias_mode": point.bias_mode if point.bias_variance else "zero",
    }
    theory = profile(point.scheme, **arguments)
    if point.weight_scale != 1:
        arguments["sigma_w2"] = theory.prediction.sigma_w2 * point.weight_scale
        theory = profile(point.scheme, **arguments)
    affordable = int(BUDGET / (point.depth * point.width**3))
    count = min(NETS, affordable) if nets is None else nets
    if count < 2:
        note = "" if nets is not None else "simulating this size would take long; ask for it with --nets"
        return ProfileInfo(theory, None, 0, note)
    rng = np.random.default_rng(seed)
    return ProfileInfo(theory, simulate(point.scheme, nets=count, rng=rng, **arguments), count, "")


def text(info: ProfileInfo) -> list[tuple[str, str, str]]:
    """Rows of `(quantity, theory, simulation)` at the last hidden layer."""
    theory, measured, last = info.theory, info.simulation, -1
    low, middle, high = theory.norm_quantiles[last, [0, 2, 4]]
    rows = [
        ("norm |x_L|^2 / |x_0|^2, median", f"{middle:.3g}", ""),
        ("  5 to 95 % of seeds", f"{low:.3g} to {high:.3g}", ""),
        ("log gradient |J v|^2 / |v|^2", _spread(theory.log_gradient[last], theory.log_gradient_sd[last]), ""),
        ("correlation of two inputs", f"{theory.correlation[last]:.4f}", ""),
    ]
    if len(theory.singular_values):
        rows.append(("singular values of J, 5 / 50 / 95 %", _three(theory.singular_levels, theory.singular_values), ""))
    if measured is None:
        return rows
    quantiles = np.exp(np.quantile(measured.log_norm[:, last], [LEVELS[0], LEVELS[2], LEVELS[4]]))
    values = np.sort(measured.singular_values.ravel())
    seen = [
        f"{quantiles[1]:.3g}",
        f"{quantiles[0]:.3g} to {quantiles[2]:.3g}",
        _spread(measured.log_gradient[:, last].mean(), measured.log_gradient[:, last].std(ddof=1)),
        f"{measured.correlation[:, last].mean():.4f}",
        _three((np.arange(len(values)) + 0.5) / len(values), values),
    ]
    rows += [("singular values of J, 5 / 50 / 95 %", "-", "")] if len(rows) < len(seen) else []
    return [(name, told, found) for (name, told, _), found in zip(rows, seen, strict=True)]


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:.2f} ± {deviation:.2f}"


def _three(levels: np.ndarray, values: np.ndarray) -> str:
    return " / ".join(f"{v:.2g}" for v in np.interp([0.05, 0.5, 0.95], levels, values))


def as_dict(info: ProfileInfo) -> dict[str, Any]:
    """Everything, for JSON; arrays as lists, of the simulation all networks."""
    arrays = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(info.theory).items()}
    measured = info.simulation and {k: v.tolist() for k, v in vars(info.simulation).items()}
    return {**arrays, "prediction": asdict(info.theory.prediction), "nets": info.nets, "simulation": measured}
