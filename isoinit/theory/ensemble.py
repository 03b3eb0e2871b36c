"""A mirrored net of Gaussian cores with iid biases, away from mean field: a few hundred nets, each of five numbers.

Legend: M = width / 2 units of a core, `u` pre-activation of one before its bias, `s = relu(u + b1) - relu(-u + b2)`
what the next core sees of it, `e = ds/du` its slope (0, 1 or 2), `q = |s|^2 / M`, `rho = q / (q + sb2)`, k = kappa1.

Given the products of s_1, s_2 (two inputs) and v (a Jacobian times a vector), the next u_1, u_2 and core times v are
Gaussian, unit by unit independent, so these products alone are a Markov chain, at any width (as for one norm:
Burkholz & Dubatovka, 1806.06362). A net is therefore (derived here)

    log q_1 / sb2, log q_2 / sb2      q' = g (q + sb2) (1 - k(-rho))
    z, cos(u_1, u_2) = tanh z         c' = [k(r c + r') - k(-r c)] / sqrt((1 - k(-rho_1)) (1 - k(-rho_2))),
                                      r^2 = rho_1 rho_2, r'^2 = (1 - rho_1) (1 - rho_2)
    y, cos(u_1, core v) = tanh y      d log q' / d log q times sqrt(q' / (q gain))
    log |v|^2                         gain = E e^2 - 2 tanh(y)^2 rho sqrt((1 - rho) / (1 + rho)) / pi

and what M units of a net add to these is drawn as for Gaussian vectors, whose products are those of a triangle of chi
and normal variables (Bartlett 1933): sinh z' = (chi_M sinh z + n) / chi_(M-1). Exactly so where a bias does nothing.
Else chi_(M-1) has the variance of |s_1 - s_2|^2 of inputs so much alike that no kink lies between them, and less the
farther they are apart (chosen in between); |s|^2 is left a Gaussian vector's, which it is but for a strong bias.

Mean field takes the length for its mean, of which a typical net of Gaussian cores soon has a fraction: its bias then
mixes more, and it forgets which input it was more slowly than without one, for two lengths differ in most nets. Noise
is stratified and always the same, so that a prediction is a number, and changes little with its arguments.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import atanh, log, sqrt
from typing import Final, NamedTuple

import numpy as np
from scipy.special import expit, ndtri

from isoinit.theory.asked import above, between, refuse, whole
from isoinit.theory.factors import mirrored_gaussian
from isoinit.theory.gaussian import Array, kappa1_complement
from isoinit.theory.slopes import Slopes

FEWEST: Final = 4  # units of a core: below, chi variables are not what their approximation says
NETS: Final = 256
_SEED: Final = 0
_MOST: Final = 600.0  # of the log of a length over that of a bias
_CLOSEST: Final = 1e-15  # distance of two inputs that rounding leaves
_NORMAL = ndtri((np.arange(NETS) + 0.5) / NETS)
_NORMAL = _NORMAL / _NORMAL.std()


class Seen(NamedTuple):
    """Over nets, after a hidden layer: mean cosine of two inputs in the pre-activations, 1 - |cosine| in the geometric
    mean, mean and variance of log |J v|^2 / |v|^2 from the input to the activations."""

    correlation: float
    distance: float
    log_gradient: float
    gradient_variance: float


@dataclass(frozen=True)
class Ensemble:
    """Nets of `width` units a layer, weights of g = sigma_w2 / 2 and biases of variance `bias`."""

    width: int
    g: float
    bias: float

    def __post_init__(self) -> None:
        refuse("width", self.width, whole(2 * FEWEST))
        refuse("g", self.g, above(0))
        refuse("bias", self.bias, above(0))

    def walk(self, square: float, c: float) -> Iterator[Seen]:
        """After hidden layers 1, 2, ... without end, of two inputs of mean square `square` and cosine `c`."""
        refuse("square", square, above(0))
        refuse("c", c, between(-1, 1))
        return self._walk(log(self.g) + log(square) - log(self.bias), c)

    def _walk(self, length: float, c: float) -> Iterator[Seen]:
        rng, units = np.random.default_rng(_SEED), self.width // 2
        core, same = mirrored_gaussian(self.width, 2 * self.g), np.ones(NETS)
        first, angle = max(min(length, _MOST), -_MOST) * same, atanh(max(min(c, 1 - _CLOSEST), _CLOSEST - 1)) * same
        nets = _Nets(first, first, angle, rng.permutation(_NORMAL) / sqrt(units), 0 * same, 0.0)
        while True:
            nets = nets._replace(gradient=nets.gradient + core.log_mean, apart=nets.apart + core.log_variance)
            noise = rng.permuted(np.broadcast_to(_NORMAL, (5, NETS)), axis=1)
            layer = _Layer.of(nets)
            cosine, distance = layer.seen(units, noise)
            yield Seen(cosine, distance, float(nets.gradient.mean()), nets.apart + float(nets.gradient.var()))
            nets = layer.after(nets, self.g, units, noise)


class _Nets(NamedTuple):
    """Arrays (NETS,) of log q_1 / sb2, log q_2 / sb2, z, y, log |v|^2 without its own noise, of variance `apart`."""

    first: Array
    second: Array
    angle: Array
    aligned: Array
    gradient: Array
    apart: float


class _Layer(NamedTuple):
    """What the units of a layer do, arrays (NETS,): rho of either input, 1 - c with and without the bias, 1 - c',
    1 - k(-rho) of the first input and of the second."""

    rho: Array
    second: Array
    biased: Array
    core: Array
    bent: Array
    kept: Array
    other: Array

    @classmethod
    def of(cls, nets: _Nets) -> "_Layer":
        rho, rho2, rest, rest2 = expit(np.stack([nets.first, nets.second, -nets.first, -nets.second]))
        mixed, core = np.sqrt(rho * rho2), 2 * expit(-2 * nets.angle)
        inner = mixed * (1 - core)
        biased = np.clip(1 - inner - np.sqrt(rest * rest2), _CLOSEST, 2 - _CLOSEST)
        kept, other, against, along = kappa1_complement(np.stack([1 + rho, 1 + rho2, 1 + inner, biased]))
        bent = np.clip(1 - (against - along) / np.sqrt(kept * other), _CLOSEST, 2 - _CLOSEST)
        return cls(rho, rho2, biased, core, bent, kept, other)

    def seen(self, units: int, noise: Array) -> tuple[float, float]:
        """Mean cosine, and 1 - |cosine| in the geometric mean, of the 2 M pre-activations of a net."""
        length, breadth = _chi(np.array([[units], [units - 1.0]]), noise[:2])
        along, across = _triangle(self.biased, length, breadth, noise[4])
        whole = np.hypot(along, across)
        distance = (across / whole) ** 2 / (1 + np.abs(along) / whole)
        return float(np.mean(along / whole)), float(np.exp(np.mean(np.log(distance))))

    def after(self, nets: _Nets, g: float, units: int, noise: Array) -> _Nets:
        """The next layer's nets; `noise` (5, NETS)."""
        slopes = Slopes.of(self.rho, self.kept, np.tanh(nets.aligned) ** 2, units)
        near = np.square(1 / (1 + np.exp(np.minimum(nets.first, _MOST) / 2) * np.sqrt(self.core / 2)))
        fewer = np.maximum((units - 1) / (1 + 1.5 * slopes.spread * near), 1)
        length, breadth, third = _chi(np.stack([np.full(NETS, units), fewer, np.full(NETS, units - 1.0)]), noise[:3])
        along, across = _triangle(self.bent, length, breadth * np.sqrt((units - 1) / fewer), noise[4])
        grown, grown2 = np.log(np.stack([length**2, along**2 + across**2]) / units)
        turned = np.copysign(np.sqrt(slopes.kept / (1 - slopes.kept)), nets.aligned) * length + noise[3]
        angle, aligned = np.arcsinh(np.stack([along / across, turned / third]))
        shared = slopes.kept * (grown - grown.mean())
        return _Nets(
            first=nets.first + np.log(g * self.kept / self.rho) + grown,
            second=nets.second + np.log(g * self.other / self.second) + grown2,
            angle=angle,
            aligned=aligned,
            gradient=nets.gradient + slopes.typical + shared - shared.mean(),  # which is 0 but for the draws
            apart=nets.apart + float(slopes.wander.mean() - shared.var()),
        )


def _triangle(d: Array, first: Array, second: Array, normal: Array) -> tuple[Array, Array]:
    """Parts of a vector along another and across it, their cosine in the mean 1 - d; chi and normal variables."""
    sine = np.sqrt(d * (2 - d))
    return (1 - d) * first + sine * normal, sine * second


def _chi(freedom: Array, normal: Array) -> Array:
    """A chi variable from a normal one (Wilson & Hilferty 1931)."""
    c = 2 / (9 * freedom)
    root = np.maximum(1 - c + np.sqrt(c) * normal, 0.05)
    return root * np.sqrt(freedom * root)
