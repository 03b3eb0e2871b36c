"""Smooth activations over depth: the mean-field maps iterated layer by layer, and the spread of a finite width.

Poole et al. 2016 (1606.05340), Schoenholz et al. 2017 (1611.01232). Iterated, not extrapolated from the fixed point:
at criticality the approach is a power law, not an exponential. Legend: `q` variance of the pre-activations, `d` one
minus the correlation of two inputs in them, `phi` the activation, `z` standard normal.

What a finite width adds is in `coupled`; its noise is 5 / N and 3 / N for ReLU, with Gaussian and orthogonal weights,
2 / N and 0 for a linear unit, as in `factors`. It brings pairs of inputs nearer than in mean field, too: with Gaussian
weights and an odd activation as in `pairs`, with others by its mean alone.

Under batch normalization every unit has mean 0 and variance 1 over the batch: q = 1, d = 1, and a squared gradient
grows per layer by `E phi'(z)^2 / Var phi(z)`, which is pi / (pi - 1) for ReLU (1902.04942) and 1 for a linear unit; the
length being held, its relative variance over nets is the one of eta in `coupled` alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from math import exp, log
from typing import NamedTuple

import numpy as np

from isoinit.theory import activations, meanfield
from isoinit.theory.activations import Activation
from isoinit.theory.coupled import Coupled, Layer
from isoinit.theory.crowd import Crowd, Parted
from isoinit.theory.distances import SETTLED, Distances, if_settled, series, still
from isoinit.theory.gaussian import expectation
from isoinit.theory.maps import Alike, Point
from isoinit.theory.pairs import Noise, Pairs
from isoinit.theory.response import response
from isoinit.theory.sharpening import plain_sharpening
from isoinit.theory.sharpness import Sharpness, log_sum
from isoinit.theory.state import State

_FAR = 1e16
_NOTHING = 1e-300


@dataclass(frozen=True)
class SmoothNet:
    """A net of one smooth activation, of `width` units a layer, weights `sigma_w2 / fan_in` and biases `sigma_b2`.

    gaussian        whether the weights are Gaussian, else orthogonal
    normalized      batch normalization between weights and activation: the variances then cancel
    """

    activation: str
    width: int
    sigma_w2: float
    sigma_b2: float
    gaussian: bool
    normalized: bool

    def walk(self, inputs: Point, crowd: int = 2, told: float = 0.0, part: float = 0.0) -> Iterator[State]:
        """States after hidden layer 1, 2, ... without end; `inputs`, `crowd`, `told` and `part` as in
        `trajectory.walk`."""
        return self._normalized(inputs) if self.normalized else self._plain(inputs, crowd, told, part)

    def _plain(self, inputs: Point, crowd: int, told: float, part: float) -> Iterator[State]:
        phi, sw2, sb2 = activations.get(self.activation), self.sigma_w2, self.sigma_b2
        new = q = sw2 * inputs.q + sb2
        d = sw2 * inputs.q * inputs.d / q
        relative_variance = log_gradient = 0.0
        settled: Callable[[float], float] | None = None
        alike: Callable[[float], float] | None = None  # slopes, from then on
        near = (1 - part) * d  # of two inputs of one class
        sharp = Sharpness(crowd, self.width, inputs.q, 1 - inputs.d, kin=1 - (1 - part) * inputs.d if part else None)
        crowded, parted = Crowd(crowd, self.gaussian / self.width), Parted(crowd, self.gaussian / self.width)
        pairs = Pairs(d, self.width) if self.gaussian and _is_odd(phi) and 0 < d < 2 else None
        now, spread = _moments(phi, q), Coupled(overlap=1 / self.width)
        grown: tuple[float, float] | None = None  # of the gradient's mean and variance, once all else stands still
        for layer in count(1):
            before = spread
            if grown is None:
                spread = before.after(Layer(self.activation, self.width, sw2, sb2, self.gaussian, q))
                if settled is not None and spread.stands_still(before, SETTLED):
                    grown = spread.gradient - before.gradient, spread.gradient_variance - before.gradient_variance
            else:
                spread = before.grown(*grown)
            log_gradient += log(sw2 * now.slope)
            relative_variance += now.spread + self.gaussian
            correlation = 1 - d if pairs is None else pairs.correlation
            if settled is None:
                new = sw2 * now.square + sb2
                maps = Distances(phi, q, sw2, new, now.slope)
                onward, slopes = maps.onward, maps.slopes
            else:
                onward, slopes = settled, alike or _whole
            closed = onward(d)
            mean = closed if pairs is None else onward(1 - correlation)
            common = _common(mean * new / (sw2 * now.square), slopes(1 - correlation))
            akin = None
            if part:
                on = onward(near)
                akin, near = _common(on * new / (sw2 * now.square), slopes(near)), on
            growth = log(sw2 * now.slope) + spread.gradient - before.gradient
            square = log(self.width * now.square) + spread.norm.mean
            sharpness = sharp.after(square, common, growth, spread.norm.variance + spread.gradient_variance, akin)
            nearest = crowded.nearest(min(d, 2 - d))
            more = plain_sharpening(crowd, self.width, told, log(max(nearest, _NOTHING)))
            yield State(
                layer=layer,
                correlation=correlation,
                distance=min(d, 2 - d),
                nearest=nearest,
                classes=parted.nearest,
                log_signal=log(now.square / inputs.q) + spread.norm.mean,
                signal_variance=spread.norm.variance,
                log_gradient=log_gradient + spread.gradient,
                gradient_variance=spread.gradient_variance,
                relative_variance=relative_variance,
                alive=1.0,
                log_sharpness=sharpness,
                log_sharpest=sharpness + log_sum(0.0, more),
                log_rise=sharp.log_rise,
                log_apart=(log(max(new * mean, _NOTHING)) + spread.norm.mean) / 2,
            )
            before_d, noise = d, (now.spread + self.gaussian) / self.width
            drift = spread.across - (spread.norm.mean - before.norm.mean)
            tangent = 1.0 if settled is still else sw2 * now.slope * q / new
            crowded.step(before_d, _closes(before_d, closed, tangent), noise)
            parted.step(noise)
            if pairs is None:
                d = closed * exp(_falling(drift, d, self.width))
            else:
                share = max(1 - sb2 / new, 0.0)
                across = Noise.across(now.kurtosis, share, self.width)
                pairs.step(closed, tangent, share, Noise(drift, spread.parting), across)
                d = pairs.distance
            if settled is None:
                settled = if_settled(phi, q, new, sw2, sb2, now.slope)
                if settled is None:
                    q, now = new, _moments(phi, new)
                elif settled is not still:
                    alike = series(Distances(phi, q, sw2, new, now.slope).slopes)

    def _normalized(self, inputs: Point) -> Iterator[State]:
        phi = activations.get(self.activation)
        now = _moments(phi, 1.0)
        variance = now.square - expectation(phi.phi).value ** 2
        wander = self._wander(now.spread)
        for layer in count(1):
            growth = layer * log(now.slope) - (layer - 1) * log(variance) - log(inputs.q * inputs.d)
            yield State(
                layer=layer,
                correlation=0.0,
                distance=1.0,
                nearest=1.0,
                log_signal=log(now.square / inputs.q),
                signal_variance=0.0,
                log_gradient=growth - layer * wander / 2,
                gradient_variance=layer * wander,
                relative_variance=layer * (now.spread + self.gaussian),
                alive=1.0,
            )

    def _wander(self, spread: float) -> float:
        """Relative variance over nets that a layer adds to a squared Jacobian-vector product."""
        return (2 + 3 * spread) / self.width if self.gaussian else max(3 * spread, 0.0) / (self.width + 2)


class _Moments(NamedTuple):
    """At one variance q: `E phi^2`, `E phi'^2`, `E phi'^4 / (E phi'^2)^2 - 1` and `E phi^4 / (E phi^2)^2`."""

    square: float
    slope: float
    spread: float
    kurtosis: float


def _moments(phi: Activation, q: float) -> _Moments:
    square = meanfield.length_map(phi, q, 1.0, 0.0)
    q = min(q, _FAR)  # above it, nodes would miss the slopes; they are lost anyhow
    slope = meanfield.slope_moment(phi, q, 1)
    fourth = float(response(phi.name, np.log([q])).noise[0]) + 1
    spread = max(meanfield.slope_moment(phi, q, 2) / slope**2 - 1, 0.0)  # rounding may leave less of a linear unit's
    return _Moments(square, slope, spread, fourth)


def _is_odd(phi: Activation) -> bool:
    x = np.array([0.3, 2.0])
    return bool(np.abs(phi.phi(x) + phi.phi(-x)).max() < SETTLED)


def _falling(drift: float, d: float, width: int) -> float:
    """What noise takes off the mean log of a distance: of near inputs `drift`, of farther ones less, as if they were
    Gaussian, and never more than if all units were saturated."""
    near = min(d, 2 - d)
    return max(drift * (1 - near / 2) ** 2, -1 / (width * near)) if near > 0 else 0.0


def _whole(_: float) -> float:
    return 1.0


def _common(d: float, slopes: float) -> Alike:
    """Of two inputs whose activations have a cosine of 1 - d, and whose slopes have this share in common."""
    return Alike(1 - d, slopes, 1.0, slopes)


def _closes(d: float, closed: float, tangent: float) -> Callable[[float], float]:
    """The map of distances below d, that becomes `closed`: its share of a distance is nearly linear in it, as an
    activation is smooth, and `tangent` of the least."""
    return lambda x: x * (tangent + (closed / d - tangent) * x / d) if d > 0 else x
