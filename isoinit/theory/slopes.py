"""What the slopes of a mirrored layer with iid biases do to a Jacobian-vector product along the signal or across it.

Legend: `u` pre-activation of a core unit before its bias, of variance q, `s = relu(u + b1) - relu(-u + b2)`, its slope
`e = ds/du` 0, 1 or 2, `v` a vector of the Jacobian there, `rho = q / (q + sb2)`, t the cosine of u and v. Then (derived
here, by Price's theorem)

    E v^2 e^2 / E v^2     gain = 1 + arccos(rho) / pi - 2 t^2 rho sqrt((1 - rho) / (1 + rho)) / pi
    cosine of s, e v      t (E u ds^2/du / 2 q) / sqrt(gain E s^2 / q)

for a slope other than 1 is that of a small u, where a v along u is small too.
"""

from math import pi
from typing import Final, NamedTuple

import numpy as np

from isoinit.theory.factors import ManySlopes
from isoinit.theory.gaussian import Array

_CLOSEST: Final = 1e-15


class Slopes(NamedTuple):
    """Arrays (NETS,): mean and variance of `log sum v_i^2 e_i^2` given the length of u and its angle to v, the squared
    cosine of s and the next v, `E e^4 / (E e^2)^2 - 1`."""

    typical: Array
    wander: Array
    kept: Array
    spread: Array

    @classmethod
    def of(cls, rho: Array, bent: Array, square: Array, units: int) -> "Slopes":
        """At rho, 1 - k(-rho) and the squared cosine of u and v."""
        both, root = np.arccos(rho) / (2 * pi), np.sqrt((1 - rho) / (1 + rho)) / pi
        slopes = 1 + 2 * both
        gain = slopes - 2 * square * rho * root
        kept = np.clip(square * (slopes - (1 + rho) * root) ** 2 * rho / (bent * gain), 0, 1 - _CLOSEST)
        mean, variance = ManySlopes(units).at(both)
        calmer = _calmer(rho, square, gain)
        spread = (1 + 14 * both) / slopes**2 - 1
        return cls(np.log(gain) + (mean - np.log(slopes)) * calmer, variance * calmer, kept, spread)


def _calmer(rho: Array, square: Array, gain: Array) -> Array:
    """Variance of `sum v_i^2 e_i^2` over that of a v at right angles to u; `square` is their squared cosine.

    With p the chance of e = 2 given u: E p, E u^2 p and E u^4 p by differentiating E p exp(-t u^2), which is E p at
    another length (derived here).
    """
    both, sine = np.arccos(rho) / (2 * pi), np.sqrt(np.maximum(1 - rho**2, _CLOSEST))
    kink, odds = rho * (1 - rho) / (pi * sine), rho / sine
    curved = -((1 - rho) ** 2) * (2 * rho + rho * odds**2) / (2 * pi * sine)
    fourth, plain, slopes = 3 * both - 2 * kink + 4 * curved, 1 - square, 1 + 2 * both
    aligned = fourth * square**2 + 6 * square * plain * (both - kink) + 3 * plain**2 * both
    ratio = _wander(gain, aligned) / np.maximum(_wander(slopes, 3 * both), _CLOSEST)
    return np.clip(ratio, 0, 2)


def _wander(gain: Array, fourth: Array) -> Array:
    """Relative variance of one summand, `fourth` = E v^4 p."""
    return (3 * (1 - gain) ** 2 + (14 - 4 * gain) * fourth) / gain**2
