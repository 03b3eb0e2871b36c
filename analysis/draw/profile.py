"""Theory of one network at initialization: its profile over the depth, beside random networks."""

from __future__ import annotations

import textwrap
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator

from analysis.draw.canvas import INK, SOFT, STYLE, THEORY, head
from analysis.profiles import ProfileInfo
from isoinit.theory.predict import Prediction
from isoinit.theory.profile import NO_SPREAD
from isoinit.theory.simulate import DEAD

LEAST_SPAN: Final = 0.2  # of an axis of logs
LINE: Final = 0.07  # height of a line of words, as a share of a panel


def profile_figure(info: ProfileInfo) -> Figure:
    """Norm, gradient, correlation over depth, and the singular values: theory as lines, random networks as dots.

    Medians, except for the correlation: theory tells its mean, which is compared with that of the networks.
    """
    theory, measured = info.theory, info.simulation
    point = theory.prediction
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 6.4), layout="constrained")
        FigureCanvasAgg(figure)
        norm, gradient, angle, spectrum = figure.subplots(2, 2).ravel()
        _fan(norm, theory.layers, theory.log_norm, measured and measured.log_norm)
        _fan(gradient, theory.layers, theory.gradient_bands, measured and measured.log_gradient)
        norm.set(title="squared norm, $\\log\\,|x_l|^2 / |x_0|^2$")
        gradient.set(title="squared gradient, $\\log\\,|J_l v|^2 / |v|^2$")
        _draw_correlation(angle, info)
        last = point.depth - 1
        ticks = [t for t in MaxNLocator(integer=True).tick_values(1, last) if 1 <= t <= last]
        for axis in (norm, gradient, angle):
            axis.set_xlabel("layer $l$")
            axis.xaxis.set_major_locator(FixedLocator(ticks))
            axis.set_xlim(1 - max(0.5, 0.02 * last), last + max(0.5, 0.02 * last))
        _draw_spectrum(spectrum, info)
        for axis in (norm, gradient, angle, spectrum):
            axis.spines[["top", "right"]].set_visible(False)
            axis.title.set_position((0.0, 1.0))
            axis.title.set_horizontalalignment("left")
        head(figure, f"Theory at initialization: {point.scheme}", _where(point))
        banded = _banded(theory.log_norm) or _banded(theory.gradient_bands)
        line = "theory: median" if banded or theory.norm_route != NO_SPREAD else "theory: wide limit"
        handles: list[Any] = [Line2D([], [], color=THEORY, lw=1.8, label=line)]
        if banded:
            handles.append(Patch(fc=to_rgba(THEORY, 0.2), label="theory: 50 and 90 % of seeds"))
        if measured is not None:
            label = f"{info.nets} random networks: 5, 50, 95 %"
            handles.append(_dot(label))
        else:
            handles.append(Line2D([], [], ls="", label="random networks: not simulated"))
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _where(point: Prediction) -> str:
    parts = [point.architecture, point.activation]
    parts += ["batch normalization"] * (point.normalization == "batch")
    parts += [f"depth {point.depth}", f"width {point.width}", f"$\\sigma_w^2$ = {point.sigma_w2:.3g}"]
    parts += [f"density {point.density:.3g}"] * (point.density != 1)
    parts.append(f"$\\sigma_b^2$ = {point.sigma_b2:.3g} ({point.bias_mode})" if point.sigma_b2 else "no bias")
    return ", ".join(parts)


def _fan(axis: Axes, layers: np.ndarray, quantiles: np.ndarray, measured: np.ndarray | None) -> None:
    """Quantiles [layers, 5] as bands around the median; measurements [nets, layers] as dots at theirs.

    Dead nets lie at the lower edge, a little below all others.
    """
    found = np.empty((3, 0)) if measured is None else np.quantile(measured, [0.05, 0.5, 0.95], axis=0, method="nearest")
    every = np.concatenate([quantiles.ravel(), found.ravel()])
    alive = every[every > DEAD]
    floor = alive.min() - 0.12 * max(np.ptp(alive), 1.0)
    at, bands = _widened(layers, np.maximum(quantiles, floor))
    if _banded(quantiles):
        for low, high in ((0, 4), (1, 3)):
            axis.fill_between(at, bands[:, low], bands[:, high], color=THEORY, alpha=0.14, lw=0)
    axis.plot(at, bands[:, 2], color=THEORY, lw=1.8)
    if measured is not None:
        _dots(axis, layers, np.maximum(found, floor))
    low, high = axis.get_ylim()
    if high - low < LEAST_SPAN:  # rounding is not drawn as a law
        axis.set_ylim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
    if (every <= DEAD).any():
        axis.axhline(floor, color=SOFT, lw=0.6, ls=":")
        axis.annotate("dead", (1, floor), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha="right", fontsize=7.5, color=SOFT)  # fmt: skip


def _banded(quantiles: np.ndarray) -> bool:
    """Whether quantiles [layers, 5] lie apart anywhere."""
    return bool((quantiles[:, 4] > quantiles[:, 0]).any())


def _widened(layers: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(at, values)` of a line over the layers; a single one as a flat piece, for a point would not be seen."""
    return (layers, values) if len(layers) > 1 else (layers + np.array([-0.25, 0.25]), np.repeat(values, 2, axis=0))


def _draw_correlation(axis: Axes, info: ProfileInfo) -> None:
    theory, measured = info.theory, info.simulation
    axis.plot(*_widened(theory.layers, theory.correlation), color=THEORY, lw=1.8)
    axis.plot(*_widened(theory.layers, 1 - theory.nearest), color=THEORY, lw=1.2, ls="--")
    axis.set(title="cosine of inputs")
    inputs = theory.prediction.tolerance.inputs.value
    handles = [
        Line2D([], [], color=THEORY, lw=1.2, ls="--", label=f"nearest of {inputs:g}"),
        Line2D([], [], color=THEORY, lw=1.8, label="two"),
    ]
    living = np.isfinite(measured.correlation).any(axis=0) if measured is not None else np.zeros(1, bool)
    if measured is not None and living.any():
        seen = measured.correlation[:, living]
        low, high = np.nanquantile(seen, [0.05, 0.95], axis=0)
        _dots(axis, theory.layers[living], np.stack([low, np.nanmean(seen, axis=0), high]))
        all_live = np.isfinite(measured.log_nearest).any(axis=0)
        at, near = theory.layers[all_live], 1 - np.exp(np.nanmean(measured.log_nearest[:, all_live], axis=0))
        some = _some(at)
        axis.plot(at[some], near[some], "o", mfc="white", mec=INK, ms=3.2, mew=0.7, zorder=3)
        handles.append(_dot("mean, 5, 95 %"))
    axis.set_ylim(min(-0.05, axis.get_ylim()[0]), 1.05)
    axis.legend(  # above the panel, beside its title: bars may be anywhere within
        handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=7.5, borderaxespad=0.2,
        handlelength=1.2, handletextpad=0.4, columnspacing=0.8,
    )  # fmt: skip


def _dot(label: str) -> Line2D:
    return Line2D([], [], ls="", marker="o", ms=3.5, color=INK, label=label)


def _some(layers: np.ndarray) -> np.ndarray:
    """Indices of some fifteen of the layers, evenly."""
    return np.unique(np.linspace(0, len(layers) - 1, 15).round().astype(int))


def _dots(axis: Axes, layers: np.ndarray, statistics: np.ndarray) -> None:
    """Three statistics [3, layers] at some fifteen layers: the middle one as a dot, the others as ends of a bar."""
    some = _some(layers)
    low, middle, high = statistics[:, some]
    bars = np.maximum(np.stack([middle - low, high - middle]), 0)  # the mean of a skewed law may lie outside
    axis.errorbar(layers[some], middle, bars, fmt="o", color=INK, ms=3.2, lw=0.7, elinewidth=0.7, zorder=3)


def _draw_spectrum(axis: Axes, info: ProfileInfo) -> None:
    """Singular values in rising order against their rank; zeros lie at the lower edge."""
    theory, measured = info.theory, info.simulation
    shown = [v[v > 0] for v in (theory.singular_values, *([measured.singular_values] if measured else []))]
    logs = np.log10(np.concatenate([v.ravel() for v in shown if v.size] or [np.ones(1)]))
    floor = max(float(logs.min()), float(logs.max()) - 8) - 0.3

    def height(values: np.ndarray) -> np.ndarray:
        return np.maximum(np.log10(np.maximum(values, 1e-300)), floor)

    if len(theory.singular_values):
        axis.plot(theory.singular_levels, height(theory.singular_values), color=THEORY, lw=1.8)
    elif measured is None:
        axis.set_yticks([])
    route = textwrap.wrap(f"theory: {theory.spectrum_route}", 44)
    axis.text(0.03, 0.97, "\n".join(route), transform=axis.transAxes, va="top", fontsize=7.5, color=SOFT)
    if measured is not None:
        ranked = np.sort(measured.singular_values, axis=1)
        levels = (np.arange(ranked.shape[1]) + 0.5) / ranked.shape[1]
        _dots(axis, levels, np.quantile(height(ranked), [0.05, 0.5, 0.95], axis=0, method="nearest"))
    axis.set(title="singular values of the Jacobian, $\\log_{10} s$", xlabel="rank (share below)")
    low, high = floor - 0.1, float(logs.max())
    words = 0.06 + LINE * len(route)  # share of the panel, above all values: of some nets the least are as the greatest
    axis.set_ylim(low, high + max(0.3, words / (1 - words) * (high - low)))
