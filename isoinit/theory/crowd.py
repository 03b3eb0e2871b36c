"""The nearest of several inputs: how much nearer it is than a typical one, layer by layer.

A classifier must tell an input of each class from those of all others. In mean field all pairs of unrelated inputs are
alike; in a net of finite width the nearest pairs are much nearer than the typical one, and the more so the deeper.

Legend: C inputs, `d` one minus the cosine of a typical pair, `r d` that of an input and the nearest of the others
(geometric means over nets and inputs), e the eigenvalues of a layer's J J^T, `tau` the sum over layers of the noise
Var(e) / (N E(e)^2): with slopes s of the units, E s^4 / (N (E s^2)^2) for Gaussian weights, 1 / N less for orthogonal.

What nearly parallel inputs differ by passes through the same random matrices. Their Gram matrix, C x C, is then a
Markov chain at any width, and in wide nets a function of tau alone: that of a product of Gaussian matrices, whose
triangles are drawn (Bartlett 1933). That is `Law`, r = h(tau), from inputs that are all equally far apart. Mean field
pulls back: a rectifier's map f of d closes small distances more slowly than large ones. Together (derived here)

    tau' = h^-1(f(r d) / f(d)) + noise,   r' = h(tau')

It is good to .3 in the log at layers 2 to 40 against random nets of 64 units, ReLU, mirrored, linear, data-driven, GELU
and orthogonal tanh (`tests/test_theory_crowd.py`). Where it is not (64 nets, layer 40, a script that was not kept): at
width 16 ten He inputs are no few of the units, and the nearest is nearer than this by 2.4 in the log, a typical pair by
1.2, at width 32 by .4; in He tanh nets of 24 units without biases by .6; in softplus nets at sigma_w2 = 2 and SiLU nets
at 2.5 farther by .7 and .9, as the pair is; with weak iid biases in orthogonal mirrored nets farther by .5.
In a convolution, where many positions share their weights, the noise is left out.
"""

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from math import exp, log, sqrt
from typing import Final

import numpy as np

from isoinit.theory.asked import refuse, whole
from isoinit.theory.gaussian import Array

MOST: Final = 100  # inputs
_DRAWN = 2560  # inputs of all nets together
_UNITS = 50  # of a Gaussian matrix, or twice the inputs: their share is what wide nets do not have
_LAST = 4.0  # tau beyond which r stays what it is there: the typical pair is soon lost itself
_PLACES = 40


class Law:
    """h and its inverse for `inputs`, from 2 to `MOST`; drawn once, always the same noise. Made by `law`."""

    def __init__(self, inputs: int) -> None:
        refuse("inputs", inputs, whole(2, MOST))
        units = max(_UNITS, 2 * inputs)
        at = np.unique(np.geomspace(1, _LAST * units, _PLACES).astype(int))
        nearest = np.minimum.accumulate(_log_nearest(inputs, units, at)) if inputs > 2 else np.zeros(len(at))
        # log h is nearly linear in the root of tau; lists, for a walk asks for one number at a time
        self._roots = [0.0, *np.sqrt(at / units).tolist()]
        self._lost = [0.0, *(-nearest).tolist()]

    def ratio(self, tau: float) -> float:
        return exp(-_between(sqrt(tau), self._roots, self._lost))

    def tau(self, ratio: float) -> float:
        """Where the ratio is this one; 0 from 1 on."""
        return _between(-log(ratio), self._lost, self._roots) ** 2


law = lru_cache(maxsize=8)(Law)


class Crowd:
    """The nearest of `inputs` that are unrelated, layer by layer, after a first layer of so much `noise`."""

    def __init__(self, inputs: int, noise: float) -> None:
        self._law, self._tau = law(inputs), noise

    def nearest(self, d: float) -> float:
        """1 - |cosine| of an input and the nearest of the others where that of a typical pair is d."""
        return d * self._law.ratio(self._tau)

    def step(self, d: float, closes: Callable[[float], float], noise: float) -> None:
        """One layer on: `closes` is mean field's map of d, up to a factor."""
        before, after = self.nearest(d), closes(d)
        if self._tau > 0 and before > 0 and after > 0:
            self._tau = self._law.tau(min(max(closes(before) / after, 1e-9), 1.0))
        self._tau += noise


class Parted:
    """The gradients of several classes at an input, layer by layer, as `Crowd` has the inputs: by how much that of one
    differs from the nearest.

    All of them pass through one matrix, the transpose of the input's own J, which no map of distances pulls back. So
    their Gram matrix is that of `Law` at the sum of the noise, and a typical pair loses as much of its log squared sine
    as there is noise, to first order in 1 / N (for Gaussian matrices the E log of chi^2_{N-1} / chi^2_N; derived here).
    It is good to .6 in the log at layers 2 to 40 against random nets of 64 units, to .2 in plain dense ones
    (`tests/test_theory_crowd.py`).
    """

    def __init__(self, classes: int, noise: float) -> None:
        self._law, self._tau = law(classes), noise

    @property
    def nearest(self) -> float:
        """1 - |cosine| of the gradients of a class and the nearest of the others, which began at right angles."""
        squared_sine = exp(-self._tau)
        return self._law.ratio(self._tau) * squared_sine / (1 + sqrt(1 - squared_sine))

    def step(self, noise: float) -> None:
        """One layer on."""
        self._tau += noise


def _between(x: float, places: list[float], values: list[float]) -> float:
    """Linear between `values` at the rising `places`, and as at the last beyond."""
    i = bisect_right(places, x)
    if i == len(places):
        return values[-1]
    return values[i - 1] + (x - places[i - 1]) * (values[i] - values[i - 1]) / (places[i] - places[i - 1])


def _log_nearest(inputs: int, units: int, at: Array) -> Array:
    """log h after so many (`at`) Gaussian matrices of `units`."""
    rng = np.random.default_rng(0)
    nets, each = max(_DRAWN // inputs, 8), np.arange(inputs)
    pairs = np.triu_indices(inputs, 1)
    x = np.broadcast_to(np.eye(inputs), (nets, inputs, inputs))
    found = []
    for layer in range(1, at[-1] + 1):
        triangles = np.triu(rng.standard_normal((nets, inputs, inputs)), 1)
        triangles[:, each, each] = np.sqrt(rng.chisquare(units - each, (nets, inputs)))
        x = triangles @ x / sqrt(units)
        if layer in at:
            products = x.transpose(0, 2, 1) @ x
            squares = products[:, each, each]
            apart = np.maximum(squares[:, :, None] + squares[:, None, :] - 2 * products, 1e-30)
            typical = np.log(apart[:, *pairs]).mean()
            apart[:, each, each] = np.inf
            found.append(np.log(apart.min(axis=2)).mean() - typical)
    return np.array(found)
