"""What the slopes of a mirrored layer with iid biases do to a Jacobian-vector product along the signal or across it.

Legend: `u` pre-activation of a core unit before its bias, of variance q, `s = relu(u + b1) - relu(-u + b2)`, its slope
`e = ds/du` 0, 1 or 2, `v` a vector of the Jacobian there, `rho = q / (q + sb2)`, t the cosine of u and v. Then (derived
here, by Price's theorem)

    E v^2 e^2 / E v^2     gain = 1 + arccos(rho) / pi - 2 t^2 kink,  kink = rho sqrt((1 - rho) / (1 + rho)) / pi
    cosine of s, e v      t (E u ds^2/du / 2 q) / sqrt(gain E s^2 / q)

for a slope other than 1 is that of a small u, where a v along u is small too. With p the chance of e = 2 given u, E p,
E u^2 p and E u^4 p follow by differentiating E p exp(-t u^2), which is E p at another length (derived here), so

    E v^4 p               3 E p - t^2 kink (6 - 2 t^2 rho (2 + rho) / (1 + rho))
"""

from collections.abc import Sequence
from functools import lru_cache
from math import pi
from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from isoinit.theory.factors import two_slopes
from isoinit.theory.gaussian import Array

_CLOSEST = 1e-15
_DEGREE = 6  # of polynomials that stand for `two_slopes`: what they leave is far below the noise of an ensemble


class Slopes(NamedTuple):
    """Arrays (B, NETS): mean and variance of `log sum v_i^2 e_i^2` given the length of u and its angle to v, the square
    of the cosine of s and the next v, `E e^4 / (E e^2)^2 - 1`."""

    typical: Array
    wander: Array
    kept: Array
    spread: Array

    @classmethod
    def of(cls, rho: Array, angle: Array, bent: Array, square: Array, many: "ManySlopes") -> "Slopes":
        """At rho and its arccos, 1 - k(-rho) and the squared cosine of u and v."""
        both = angle / (2 * pi)
        above, slopes = 1 + rho, 1 + 2 * both
        root = np.sqrt(np.abs(1 - rho) / above) / pi
        kink = square * rho * root
        gain = slopes - 2 * kink
        kept = np.minimum(square * (slopes - above * root) ** 2 * rho / (bent * gain), 1 - _CLOSEST)
        fourth = 3 * both - kink * (6 - 2 * square * rho * (2 + rho) / above)
        across = both * (30 - 12 * both) / slopes**2  # what `apart` is of a v at right angles to u
        apart = (3 * (1 - gain) ** 2 + (14 - 4 * gain) * fourth) / gain**2
        mean, variance = many.at(both) * np.minimum(np.maximum(apart, 0), 2 * across)
        return cls(np.log(gain) + mean, variance, kept, (1 + 14 * both) / slopes**2 - 1)


class ManySlopes:
    """`two_slopes` of arrays of chances, for rows of nets of so many `units` each: by how much its mean and variance
    differ from those of a wide net, over the relative variance of one summand."""

    def __init__(self, units: Sequence[int]) -> None:
        self._powers = np.array([_powers(n) for n in units]).transpose(2, 1, 0)[..., None]  # (_DEGREE + 1, 2, B, 1)

    def at(self, both: Array) -> Array:
        """Array (2, B, NETS) for chances of shape (B, NETS)."""
        x, first = 8 * both - 1, self._powers[0]
        found = first * x + self._powers[1]
        for power in self._powers[2:]:
            found *= x
            found += power
        return found


@lru_cache(maxsize=512)
def _powers(units: int) -> Array:
    """Array (2, _DEGREE + 1), from the highest power of 8 both - 1 down."""
    x = chebyshev.chebpts1(_DEGREE + 1)
    both = (1 + x) / 8
    mean, variance = np.array([two_slopes(float(p), units) for p in both]).T
    slopes = 1 + 2 * both
    across = both * (30 - 12 * both) / slopes**2
    ratios = (mean - np.log(slopes)) / across, variance / across
    return np.array([np.flip(chebyshev.cheb2poly(chebyshev.chebfit(x, ratio, _DEGREE))) for ratio in ratios])
