"""What a layer of smooth units makes of the distance of two inputs, at one variance of the pre-activations.

Legend: `q` that variance, `d` one minus the correlation of two inputs in them, `phi` the activation.
"""

from collections.abc import Callable
from math import sqrt

from numpy.polynomial import chebyshev

from isoinit.theory import meanfield
from isoinit.theory.activations import Activation
from isoinit.theory.gaussian import pair_expectation

_NEAR = 1e-6  # d below which the correlation map is its tangent, and all slopes are alike
_PRECISE = 1e-8  # change of a covariance when its nodes are doubled; its error is about the square of that
_SURE, _MOST = 1e-3, 256  # the same of slopes, and of nodes at most: only the sharpness is made of them
_DEGREE = 24  # of the Chebyshev series of a function of d
_UNRESOLVED = 1e-4  # its last coefficients over its greatest


def next_distance(phi: Activation, q: float, sw2: float, new: float, slope: float, d: float) -> float:
    """One minus the next correlation, `sw2 (E phi^2 - E phi phi) / q'`, where q' is `new` and `slope` is E phi'^2; the
    tangent where that would cancel."""
    if d < _NEAR:
        return sw2 * slope * q / new * d
    different = meanfield.length_map(phi, q, sw2, 0.0) - sw2 * meanfield.covariance(phi, q, 1 - d, _PRECISE)
    return max(different / new, 0.0)


def slopes_alike(phi: Activation, q: float, slope: float, d: float) -> float:
    """`E phi' phi' / E phi'^2` of two inputs, where `slope` is E phi'^2."""
    if d < _NEAR:
        return 1.0
    if phi.slope_covariance:
        return phi.slope_covariance(q, 1 - d) / slope
    return pair_expectation(phi.slope, phi.slope, 1 - d, sqrt(q), tolerance=_SURE, max_nodes=_MOST).value / slope


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
