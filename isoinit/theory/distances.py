"""What a layer of smooth units makes of the distance of two inputs, at one variance of the pre-activations.

Legend: `q` that variance, `d` one minus the correlation of two inputs in them, `phi` the activation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import sqrt

from numpy.polynomial import chebyshev

from isoinit.theory import meanfield
from isoinit.theory.activations import Activation
from isoinit.theory.gaussian import pair_expectation
from isoinit.theory.hermite import Hermite, hermite

_NEAR = 1e-6  # d below which the correlation map is its tangent, and all slopes are alike
_PRECISE = 1e-8  # change of a covariance when its nodes are doubled; its error is about the square of that
_SURE, _MOST = 1e-3, 256  # the same of slopes, and of nodes at most: only the sharpness is made of them
_DEGREE = 24  # of the Chebyshev series of a function of d
_LEAST, _GREATEST = 1e-250, 1e250  # variances beyond which a signal counts as gone
SETTLED = 1e-9  # relative change per layer below which a number stands still
_UNRESOLVED = 1e-4  # its last coefficients over its greatest


@dataclass(frozen=True)
class Distances:
    """A layer's maps of d, where q' is `new` and `slope` is E phi'^2."""

    phi: Activation
    q: float
    sw2: float
    new: float
    slope: float

    def onward(self, d: float) -> float:
        """One minus the next correlation, `sw2 (E phi^2 - E phi phi) / q'`; the tangent where that would cancel."""
        if d < _NEAR:
            return self.sw2 * self.slope * self.q / self.new * d
        if not self.phi.covariance and self._series:
            return self.sw2 * self._series.apart(d) / self.new
        alike = self.sw2 * meanfield.covariance(self.phi, self.q, 1 - d, _PRECISE)
        return max((meanfield.length_map(self.phi, self.q, self.sw2, 0.0) - alike) / self.new, 0.0)

    def slopes(self, d: float) -> float:
        """`E phi' phi' / E phi'^2`."""
        if d < _NEAR:
            return 1.0
        if known := self.phi.slope_covariance:
            return known(self.q, 1 - d) / self.slope
        if self._series:
            return self._series.slopes(d)
        phi = self.phi.slope
        return pair_expectation(phi, phi, 1 - d, sqrt(self.q), tolerance=_SURE, max_nodes=_MOST).value / self.slope

    @cached_property
    def _series(self) -> Hermite | None:
        return hermite(self.phi.phi, sqrt(self.q))


def series(function: Callable[[float], float]) -> Callable[[float], float]:
    """A function of d as a Chebyshev series in sqrt(d), which holds a kink's d^1.5 too.

    Saturated units are signs, d' ~ sqrt(d), and the series does not converge: then it is the function itself.
    """
    x = chebyshev.chebpts1(_DEGREE + 1)  # sqrt(d / 2) = (1 + x) / 2
    values = [function(d) for d in ((1 + x) ** 2 / 2).tolist()]
    found = chebyshev.chebfit(x, values, _DEGREE)
    if abs(found[-3:]).max() > _UNRESOLVED * abs(found).max():
        return function
    return lambda d: float(chebyshev.chebval(sqrt(2 * d) - 1, found))


def still(d: float) -> float:
    return d


def if_settled(
    phi: Activation, q: float, new: float, sw2: float, sb2: float, slope: float
) -> Callable[[float], float] | None:
    """The map of d from a layer on from which q, `new` in the next one, stands still; None if it does not yet."""
    if not _LEAST < new < _GREATEST:
        return still  # at 0 and at infinity a smooth activation is linear
    return _settled(phi, q, sw2, sb2, slope) if abs(new - q) < SETTLED * q else None


def _settled(phi: Activation, q: float, sw2: float, sb2: float, slope: float) -> Callable[[float], float]:
    """The map of d at a fixed q."""
    maps = Distances(phi, q, sw2, meanfield.length_map(phi, q, sw2, sb2), slope)
    ratio = series(lambda d: maps.onward(d) / d)
    return lambda d: max(d * ratio(d), 0.0) if d > 0 else 0.0
