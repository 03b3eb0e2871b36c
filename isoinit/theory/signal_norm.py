"""The squared norm of a signal over nets, from layer to layer: what its layers multiply it by, and what a bias adds."""

from math import log, sqrt
from typing import NamedTuple

from isoinit.theory import mirrored
from isoinit.theory.factors import Factor
from isoinit.theory.families import Family
from isoinit.theory.fluctuation import Fluctuation
from isoinit.theory.maps import Bias, Point, Step
from isoinit.theory.pruned import Moments, Pruned


class _Same:
    """Layers of which every one has the same factor, but for its mean g."""

    excess = scatter = 0.0

    def __init__(self, factor: Factor, g: float) -> None:
        self._moments = Moments(factor.log_mean - log(g), factor.log_variance, factor.log_third, factor.death)

    def step(self, _: float = 1.0) -> Moments:
        return self._moments


class Layers(NamedTuple):
    """What multiplies the squared norms of a signal and of a Jacobian-vector product; the same object if it is one."""

    forward: _Same | Pruned
    backward: _Same | Pruned

    @classmethod
    def of(cls, family: Family, width: int, g: float, bias: Bias, density: float) -> "Layers":
        if density == 1:
            return cls(_Same(family.forward(width, g), g), _Same(family.backward(width, g), g))
        units, on = (width // 2, 1.0) if family.mirrored else (width, 0.5)
        back = Pruned(units, density, on, not family.gaussian, False)
        return cls(Pruned(units, density, on, not family.gaussian, True) if bias.variance > 0 else back, back)


class Signal:
    """The law over nets of a signal's squared norm over its mean-field one, from layer to layer.

    `firm`: a bias spreads the norm, which the weights alone would keep.
    """

    def __init__(
        self, family: Family, units: float, bias: Bias, point: Point, forward: _Same | Pruned, firm: bool
    ) -> None:
        halves = family.mirrored and bias.mode == "iid"  # whose point is what comes before the bias
        self._units, self._forward, self._read = units, forward, halves and bias.variance > 0
        self._share = 1.0 if halves else max(1 - bias.variance / point.q, 0.0)
        self._turned = 2.0 if firm and not halves else 0.0
        self._noise = self._turned * (1 - self._share**2)
        self._norm, self._dead = Fluctuation(), 0.0

    def after(self, point: Point, bias: Bias, step: Step) -> tuple[Fluctuation, Factor | Moments]:
        """The norm after the activation of the next layer, and that layer's factor."""
        rest = bias.variance / point.q
        norm, mixed = _next(self._norm, self._share, self._noise / self._units, rest, self._dead)
        factor = self._forward.step(sqrt(max(1 - mixed, 0.0)))
        norm = self._norm = norm.plus(factor.log_mean, factor.log_variance, factor.log_third)
        if self._read:
            part, own = mirrored.reading(point, bias)
            norm, _ = _next(norm, part, own / self._units, rest)
        self._share, self._noise = step.share, step.signal_noise + self._turned * (1 - step.share**2)
        self._dead = factor.death
        return norm, factor


def _next(norm: Fluctuation, share: float, noise: float, rest: float, dead: float = 0.0) -> tuple[Fluctuation, float]:
    """Of the next squared norm before its own factor: a share of the signal's, and the bias's relative variance `noise`
    at mean field; and `1 - s^2` of the typical share s. `rest` is what `1 - share` loses to rounding."""
    rest = 1 - share if share < 1 - 1e-8 else rest
    if not (share > 0 and rest > 0):
        return norm, 0.0 if share > 0 else 1.0
    norm, mixed = norm.with_bias(share, rest, dead)
    return (norm.with_noise(noise * mixed / (rest * (1 + share))) if noise else norm), mixed
