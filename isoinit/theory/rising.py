"""Which learning rate is too small for the steps that there are.

As long as a network changes little, a step of gradient flow changes its logits by the kernel Theta of `sharpness`, and
an input learns from the others of its class: if any two of them have the cosine c+ and any two of different classes c,
its right logit rises over the others by

    rate (Theta(c+) - Theta(c)) / K

in a step at first. Rectifiers and smooth units make more of what is nearly alike, and the more so the deeper they are:
of c+ = .41 and c = 0 there is .29 left in the kernel of ReLU nets of two layers and .07 in that of ten, and all of it
in that of linear units. Softmax slows this down: what is told rightly already has little error left. Logits that are
normal over inputs with the deviation w, the right one of which leads by s, leave an error of E(1 - p(s)), p that of the
right class; so rate times the steps times the first rise has to be

    integral of (1 - 1/K) / E(1 - p(s)) over s from 0 to lead w,                         (derived here)

where the `lead` is that of `sharpening`, with which the share `Tolerance.told` is right: lead w if w is small, and
never more than (1 - 1/K) / (1 - told) times that. What all inputs have in common of their logits does not count in w:
it is unlearnt sooner, for the kernel of all inputs together is greater than that of a class (argued here).

Data's classes are no such simplex, and networks do change (`tests/test_theory_budget.py` has what those on digits do).
"""

from functools import lru_cache
from math import inf, isnan, log, nan

import numpy as np
from scipy.special import ndtr

from isoinit.theory.gaussian import Array
from isoinit.theory.sharpening import lead
from isoinit.theory.tolerance import Tolerance

_LOGS = np.linspace(-6.0, 6.0, 41)  # of deviations; beyond these what is asked for is proportional to them
_PARTS, _PART_WEIGHTS = np.polynomial.legendre.leggauss(12)
_NORMAL, _NORMAL_WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
_GUMBEL = np.linspace(-4.0, 25.0, 300)
_FAR = 8.0  # deviations beyond which there is next to nothing


def log_asked(classes: int, told: float, log_apart: float) -> float:
    """Log of the first rise times rate times steps until the share `told` of inputs is told rightly, the logits of
    which have a standard deviation with the log `log_apart`; -inf: chance is enough."""
    if lead(classes, told) == 0:
        return -inf
    slowed = _slowed(classes, told)
    return log(lead(classes, told)) + log_apart + float(np.interp(log_apart, _LOGS, slowed))


@lru_cache
def _slowed(classes: int, told: float) -> Array:
    """Log of how many times longer it takes than at first speed, at `_LOGS`."""
    leads = lead(classes, told) * (_PARTS + 1) / 2
    times = [(1 - 1 / classes) / (1 - right(classes, leads * apart, apart)) for apart in np.exp(_LOGS)]
    return np.log(np.array(times) @ _PART_WEIGHTS / 2)


def right(classes: int, leads: Array, apart: float) -> Array:
    """E p of the right class, where the logits are normal of deviation `apart` and the right one is greater by `leads`.

    p is the probability that the logit with Gumbel noise is the greatest.
    """
    far = _FAR * apart
    x = np.linspace(_GUMBEL[0] - far, _GUMBEL[-1] + far + leads.max(), 900)
    below, density = _noisy(x, apart)
    beaten = np.interp(x + leads[:, None], x, below) ** (classes - 1)
    return np.trapezoid(density * beaten, x, axis=1)


def _noisy(x: Array, apart: float) -> tuple[Array, Array]:
    """Distribution and density of a logit of deviation `apart` with Gumbel noise."""
    if apart < 1:
        noise = np.exp(-(x - apart * _NORMAL[:, None]))
        below, weights = np.exp(-noise), _NORMAL_WEIGHTS / _NORMAL_WEIGHTS.sum()
        return weights @ below, weights @ (noise * below)
    noise = np.exp(-_GUMBEL)
    weights = noise * np.exp(-noise) * (_GUMBEL[1] - _GUMBEL[0])
    at = (x - _GUMBEL[:, None]) / apart
    return weights @ ndtr(at), weights @ np.exp(-(at**2) / 2) / (apart * np.sqrt(2 * np.pi))


def log_enough(log_rise: float, log_apart: float, steps: int | None, tolerance: Tolerance) -> float:
    """Log of the least learning rate that is enough for the steps; nan: not known, or not asked for.

    log_rise     log of by how much a step of gradient flow of rate 1 raises the right logit over the others at first
    log_apart    log of the standard deviation of a logit over inputs
    """
    if steps is None or isnan(log_rise):
        return nan
    return log_asked(int(tolerance.inputs.value), tolerance.told.value, log_apart) - log(steps) - log_rise
