"""How the Gaussian moments of an activation answer to the variance of its argument, read from one table an activation.

Legend: `q` variance of a pre-activation h, `x = log q`, `phi` the activation, E over h ~ N(0, q).

A net of finite width has another q in every layer of every seed. Between the table's places the logs of the moments
are cubic splines in x, beyond its ends straight lines, for there every activation is a power of q.
"""

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from isoinit.theory import activations, meanfield
from isoinit.theory.gaussian import Array, expectation

_LOWEST, _HIGHEST, _STEP = -14.0, 16.0, 0.25
_PRECISE = 1e-8  # a kink makes quadrature slow, and what it feeds is of the order of 1 / width


class Response(NamedTuple):
    """Arrays of the shape of x.

    square, slope                  log E phi^2, log E phi'^2
    elasticity, slope_elasticity   their first derivatives in x
    curvature, slope_curvature     `q^2 d^2 E phi^2 / dq^2 / E phi^2`, and the same of phi'^2
    noise, slope_noise             Var phi^2 / (E phi^2)^2, Var phi'^2 / (E phi'^2)^2
    shared                         Cov(phi^2, phi'^2) / (E phi^2 E phi'^2)
    """

    square: Array
    slope: Array
    elasticity: Array
    slope_elasticity: Array
    curvature: Array
    slope_curvature: Array
    noise: Array
    slope_noise: Array
    shared: Array


def response(activation: str, x: Array) -> Response:
    """The moments of `activation` at the logs of variance `x`; ValueError for an unknown name."""
    spline = _table(activation)
    inside = np.clip(x, _LOWEST, _HIGHEST)
    first, second = (spline(inside, order) for order in (1, 2))
    logs = spline(inside) + (x - inside)[..., None] * first
    square, slope, fourth, slope_fourth, product = np.moveaxis(logs, -1, 0)
    curvatures = np.where((x == inside)[..., None], second, 0.0) + first * (first - 1)
    return Response(
        square=square,
        slope=slope,
        elasticity=first[..., 0],
        slope_elasticity=first[..., 1],
        curvature=curvatures[..., 0],
        slope_curvature=curvatures[..., 1],
        noise=np.maximum(np.expm1(fourth - 2 * square), 0.0),
        slope_noise=np.maximum(np.expm1(slope_fourth - 2 * slope), 0.0),
        shared=np.expm1(product - square - slope),
    )


@lru_cache
def _table(activation: str) -> CubicSpline:
    """The logs of E phi^2, E phi'^2, E phi^4, E phi'^4 and E phi^2 phi'^2 as splines in x."""
    phi = activations.get(activation)
    places = np.arange(_LOWEST, _HIGHEST + _STEP / 2, _STEP)

    def moments(q: float) -> list[float]:
        square, slope = meanfield.covariance(phi, q, 1.0), meanfield.slope_moment(phi, q, 1)
        root = sqrt(square)  # quadrature has an absolute tolerance, so it is asked for numbers near 1
        fourth = expectation(lambda h: (phi.phi(h) / root) ** 4, sqrt(q), tolerance=_PRECISE).value
        product = expectation(lambda h: (phi.phi(h) / root * phi.slope(h)) ** 2, sqrt(q), tolerance=_PRECISE).value
        return [square, slope, fourth * square**2, meanfield.slope_moment(phi, q, 2), product * square]

    return CubicSpline(places, np.log([moments(float(q)) for q in np.exp(places)]))
