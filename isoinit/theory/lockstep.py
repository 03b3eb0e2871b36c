"""Ensembles of many settings, walked together: an array (B, NETS) takes numpy hardly longer than one of (NETS,).

Legend and formulas are those of `ensemble`. What a row says does not depend on the other rows.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import pi
from typing import Final, NamedTuple

import numpy as np
from scipy.special import ndtri

from isoinit.theory.gaussian import Array
from isoinit.theory.slopes import ManySlopes, Slopes

NETS: Final = 256
BLOCK: Final = 16  # layers that are walked at once
_DRAWN = 64 * BLOCK
_SEED: Final = 0
_LONGEST = 1e250  # of a squared length over a bias's, at which a bias does nothing
_CLOSEST: Final = 1e-15  # distance of two inputs that rounding leaves
_NORMAL = ndtri((np.arange(NETS) + 0.5) / NETS)
_NORMAL = _NORMAL / _NORMAL.std()


def noise(block: int) -> Array:
    """Normal variables (BLOCK, 5, NETS) of a block of layers, each row of them the same numbers in another order."""
    table, place = divmod(block, _DRAWN // BLOCK)
    return _NORMAL[_orders(table)[place * BLOCK : (place + 1) * BLOCK]]


@lru_cache(maxsize=2)
def _orders(table: int) -> np.ndarray:
    """Places (_DRAWN, 5, NETS), drawn once for all settings."""
    rng = np.random.default_rng([_SEED, table] if table else _SEED)
    rng.permutation(NETS)  # is that of the first layer, in `Nets.first`
    return rng.permuted(np.broadcast_to(np.arange(NETS, dtype=np.uint16), (_DRAWN, 5, NETS)), axis=2)


class Nets(NamedTuple):
    """Nets before a layer.

    squares     (2, B, NETS) q_1 and q_2 over sb2
    distance    (B, NETS) 1 - cos(u_1, u_2)
    aligned     (B, NETS) cos(u_1, core v)
    gradient    (B, NETS) log |v|^2 but for noise of its own,
    apart       (B,) of this variance
    """

    squares: Array
    distance: Array
    aligned: Array
    gradient: Array
    apart: Array

    @classmethod
    def first(cls, units: int, length: float, c: float) -> "Nets":
        """One row, with log q / sb2 = `length` of two inputs of cosine `c`."""
        same, most = np.ones((1, NETS)), np.log(_LONGEST)
        square = np.exp(min(max(length, -most), most))
        turned = np.random.default_rng(_SEED).permutation(_NORMAL) / np.sqrt(units)
        distance = min(max(1 - c, _CLOSEST), 2 - _CLOSEST)
        return cls(np.stack([square * same] * 2), distance * same, np.tanh(turned)[None], 0 * same, np.zeros(1))

    @classmethod
    def together(cls, rows: list["Nets"]) -> "Nets":
        squares, *rest = zip(*rows, strict=True)
        return cls(np.concatenate(squares, axis=1), *(np.concatenate(each) for each in rest))

    def row(self, i: int) -> "Nets":
        """A copy, which does not keep the others alive."""
        return Nets(self.squares[:, i : i + 1].copy(), *(each[i : i + 1].copy() for each in self[1:]))


@dataclass(frozen=True, eq=False)
class Layers:
    """What the layers of a batch have in common: arrays (B, 1) of units of a core and g, (B,) of the moments of the log
    of the factor of a core."""

    units: Array
    g: Array
    log_mean: Array
    log_variance: Array

    def block(self, nets: Nets, normals: Array) -> tuple[Nets, Array]:
        """The nets after as many layers as there are `normals` (BLOCK, 5, NETS), and of each layer on the way what
        `Seen` says, an array (BLOCK, 4, B)."""
        units, scale, many = _one(self.units), _one(self.g / self.units), ManySlopes(_rows(self.units))
        length, breadth, third = (_chi(units - less, normals[:, None, i]) for i, less in enumerate((0.0, 1.0, 1.0)))
        squared, aside = length**2, third**2
        stretched = np.log(squared / units)
        stretched -= stretched.mean(axis=2, keepdims=True)
        cosines, distances, gradients, shares, wanders = [], [], [], [], []
        gradient = nets.gradient
        for i, normal in enumerate(normals):
            at = _Units.of(nets)
            slopes = Slopes.of(at.rho, at.angle, at.kept[0], nets.aligned**2, many)
            near = 1 / (1 + np.sqrt(nets.squares[0] * nets.distance / 2)) ** 2
            fewer = np.maximum((units - 1) / (1 + 1.5 * slopes.spread * near), 1)
            wide = np.empty_like(nets.squares)
            wide[0], wide[1] = breadth[i], _chi(fewer, normal[1]) * np.sqrt((units - 1) / fewer)
            cosine, distance, square = _triangle(at.distances, length[i], wide, normal[4])
            turned = np.sqrt(slopes.kept / (1 - slopes.kept)) * length[i]
            turned = np.copysign(turned, nets.aligned) + normal[3]
            shared = slopes.kept * stretched[i]
            cosines.append(cosine[0])
            distances.append(distance[0])
            gradients.append(gradient)
            shares.append(shared)
            wanders.append(slopes.wander)
            with np.errstate(over="ignore"):  # of huge weights: the longest, then
                grown = scale * at.kept * (1 + nets.squares)
                grown[0] *= squared[i]
                grown[1] *= square[1]
            nets = nets._replace(
                squares=np.minimum(grown, _LONGEST),
                distance=np.where(cosine[1] > 0, distance[1], 2 - distance[1]),
                aligned=turned / np.sqrt(turned**2 + aside[i]),
            )
            gradient = gradient + (slopes.typical + shared)
        lost, less = _moments(np.array(shares))  # the mean is 0 but for the draws
        total, more = np.cumsum(lost, axis=0), np.cumsum(np.array(wanders).mean(axis=2) - less, axis=0)
        seen = np.array(cosines).mean(axis=2), np.exp(np.log(np.array(distances)).mean(axis=2))
        told = np.stack([*seen, *self._gradients(np.array(gradients), nets.apart, total, more)], axis=1)
        gradient = gradient - total[-1][:, None] + len(normals) * self.log_mean[:, None]
        return nets._replace(gradient=gradient, apart=nets.apart + more[-1] + len(normals) * self.log_variance), told

    def _gradients(self, drawn: Array, apart: Array, lost: Array, wander: Array) -> tuple[Array, Array]:
        """Mean and variance (BLOCK, B) of the log of the gradient before each layer's units, as drawn (BLOCK, B, NETS),
        without the mean `lost` and with the variance `wander` that all layers up to one, itself included, have had."""
        mean, variance = _moments(drawn)
        layers = np.arange(1, len(drawn) + 1)[:, None]
        before = np.concatenate([np.zeros_like(wander[:1]), wander[:-1]])
        shifted = np.concatenate([np.zeros_like(lost[:1]), lost[:-1]])
        return mean - shifted + layers * self.log_mean, variance + apart + before + layers * self.log_variance


class _Units(NamedTuple):
    """What units do: arrays (B, NETS) of rho of the first input and its arccos; (2, B, NETS) of 1 - k(-rho) of either
    input, and of 1 - c with the bias, 1 - c'."""

    rho: Array
    angle: Array
    kept: Array
    distances: Array

    @classmethod
    def of(cls, nets: Nets) -> "_Units":
        rest = 1 / (1 + nets.squares)
        rho = nets.squares * rest
        inner = np.sqrt(rho[0] * rho[1]) * (1 - nets.distance)
        biased = _apart(1 - inner - np.sqrt(rest[0] * rest[1]))
        half = np.empty((4, *inner.shape))  # sin^2 of half an angle, whose cosine is rho, rho, inner, 1 - biased
        half[:2], half[2], half[3] = rest, 1 - inner, biased
        half *= 0.5
        sine, angle = 2 * np.sqrt(half * (1 - half)), 2 * np.arcsin(np.sqrt(half))
        bent = (sine - angle * (1 - 2 * half)) / pi  # k(-cosine)
        kept = 1 - bent[:2]
        distances = np.empty_like(rho)
        distances[0] = biased
        distances[1] = _apart(1 - (1 - bent[2] - biased + bent[3]) / np.sqrt(kept[0] * kept[1]))
        return cls(rho[0], angle[0], kept, distances)


def _one(column: Array) -> Array | float:
    """The only number of a column (B, 1), or the column: numpy is sooner done with a number."""
    return float(column[0, 0]) if (column == column[0]).all() else column


def _rows(units: Array) -> list[int]:
    """Units of each row, or of all of them."""
    only = _one(units)
    return [int(only)] if isinstance(only, float) else units[:, 0].astype(int).tolist()


def _triangle(d: Array, first: Array, second: Array, normal: Array) -> tuple[Array, Array, Array]:
    """A vector, its part along another of chi length `first` and across it, their cosine in the mean 1 - d: cosine and
    1 - |cosine| as drawn, and its square."""
    sine = np.sqrt(d * (2 - d))
    along, across = (1 - d) * first + sine * normal, (sine * second) ** 2
    square = along**2 + across
    size = np.sqrt(square)
    return along / size, across / (size * (size + np.abs(along))), square


def _apart(distance: Array) -> Array:
    return np.minimum(np.maximum(distance, _CLOSEST), 2 - _CLOSEST)


def _chi(freedom: Array | float, normal: Array) -> Array:
    """A chi variable from a normal one (Wilson & Hilferty 1931)."""
    c = 2 / (9 * freedom)
    root = np.maximum(1 - c + np.sqrt(c) * normal, 0.05)
    return root * np.sqrt(freedom * root)


def _moments(drawn: Array) -> tuple[Array, Array]:
    """Mean and variance over nets, (BLOCK, B) of (BLOCK, B, NETS)."""
    return drawn.mean(axis=2), drawn.var(axis=2)
