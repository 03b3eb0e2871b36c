"""Mean-field (infinite width) signal propagation: length and correlation maps, chi1, depth scales, critical line.

Poole et al. 2016 (1606.05340), Schoenholz et al. 2017 (1611.01232). Legend: `q` = variance of a
pre-activation, `c` = correlation of two inputs, `sw2 = fan_in * Var(w)`, `sb2 = Var(b)`.
"""

from dataclasses import dataclass
from math import inf, log, pi, sqrt

import numpy as np
from scipy.optimize import brentq

from isoinit.theory.activations import ACTIVATION, Activation
from isoinit.theory.asked import above, asks, between, least, whole
from isoinit.theory.gaussian import Array, expectation, kappa1_complement, pair_expectation

_FAR = 1e8  # a variance at which every activation shows its asymptotic slopes; stands in for q* = inf
_LONGEST = 1e4  # the critical line is sought up to this variance
_TINY = 1e-14  # below this variance the signal is called extinct, q* = 0
_ROUNDED = 1e-12  # a correlation that quadrature does not tell from 0
DEPTHS_PER_SCALE = 6.0  # networks train up to about 6 xi_c layers (Schoenholz et al. 2017, figure 5)
RELU_DECORRELATION = 9 * pi**2 / 2  # l^2 (1 - c_l) tends to this for ReLU at zero bias, any sw2


@dataclass(frozen=True)
class Phase:
    """The fixed point of (activation, sw2, sb2) and the depth scales around it.

    length             q*, inf if the variance grows without bound
    chi1               growth of a squared gradient per layer; 1 on the critical line
    correlation        c*, stable fixed point of the correlation map
    length_scale       xi_q in layers, inf if q* is 0 or infinite
    correlation_scale  xi_c in layers; inf on the critical line and where the signal dies out or grows
                       without bound (there c follows a power law, or stands still)
    gradient_scale     1 / |log chi1| in layers, inf on the critical line
    """

    length: float
    chi1: float
    correlation: float
    length_scale: float
    correlation_scale: float
    gradient_scale: float

    @property
    def trainable_depth(self) -> float:
        """`6 xi_c`, the rule of Schoenholz et al. 2017; by xi_grad where q* is 0 or infinite."""
        return DEPTHS_PER_SCALE * (self.correlation_scale if 0 < self.length < inf else self.gradient_scale)


@asks(activation=ACTIVATION, q=least(0), c=between(-1, 1), tolerance=above(0))
def covariance(activation: Activation, q: float, c: float, tolerance: float = 1e-10) -> float:
    """`E[phi(u) phi(v)]` for Gaussians of variance `q` and correlation `c`; `tolerance` as in `pair_expectation`."""
    if activation.covariance:
        return activation.covariance(q, c)
    s = sqrt(q)
    if c == 1:
        return expectation(lambda x: activation.phi(x) ** 2, s).value
    return pair_expectation(activation.phi, activation.phi, c, s, tolerance=tolerance).value


@asks(activation=ACTIVATION, q=least(0), sw2=above(0), sb2=least(0))
def length_map(activation: Activation, q: float, sw2: float, sb2: float) -> float:
    """Variance of the next pre-activation, `sw2 E[phi(sqrt(q) z)^2] + sb2`."""
    return sw2 * covariance(activation, q, 1.0) + sb2


@asks(activation=ACTIVATION, c=between(-1, 1), q=least(0), sw2=above(0), sb2=least(0))
def correlation_map(activation: Activation, c: float, q: float, sw2: float, sb2: float) -> float:
    """Correlation of the next pre-activations of two inputs of equal variance `q` (any q, not only q*)."""
    return (sw2 * covariance(activation, q, c) + sb2) / length_map(activation, q, sw2, sb2)


@asks(activation=ACTIVATION, q=least(0), sw2=above(0), c=between(-1, 1))
def chi(activation: Activation, q: float, sw2: float, c: float = 1.0) -> float:
    """`sw2 E[phi'(u) phi'(v)]` at correlation `c`; `c = 1` gives chi1."""
    if activation.slope_covariance:
        return sw2 * activation.slope_covariance(q, c)
    s = sqrt(q)
    if c == 1:
        return sw2 * expectation(lambda x: activation.slope(x) ** 2, s).value
    return sw2 * pair_expectation(activation.slope, activation.slope, c, s).value


@asks(activation=ACTIVATION, q=least(0), k=whole(1))
def slope_moment(activation: Activation, q: float, k: int) -> float:
    """`mu_k = E[phi'(sqrt(q) z)^(2k)]`, which the Jacobian's spectrum is made of."""
    if activation.slope_moment:
        return activation.slope_moment(q, k)
    return expectation(lambda x: activation.slope(x) ** (2 * k), sqrt(q)).value


@asks(activation=ACTIVATION, sw2=above(0), sb2=least(0), start=above(0))
def fixed_length(activation: Activation, sw2: float, sb2: float, start: float = 1.0) -> float:
    """q*: where the length map takes `start`. 0 if the signal dies out, inf if it grows without bound."""
    if (a := activation.negative_slope) is not None:
        gain = sw2 * (1 + a * a) / 2
        if gain < 1:
            return sb2 / (1 - gain)
        return start if gain == 1 and sb2 == 0 else inf

    def growth(q: float) -> float:
        return length_map(activation, q, sw2, sb2) - q

    if growth(start) == 0:
        return start
    factor = 2.0 if growth(start) > 0 else 0.5
    inner = start
    while growth(inner * factor) * growth(start) > 0:
        inner *= factor
        if not _TINY < inner < _FAR:
            return inf if factor > 1 else 0.0
    return float(brentq(growth, *sorted((inner, inner * factor)), xtol=1e-15, rtol=1e-14))  # pyright: ignore


@asks(activation=ACTIVATION, q=above(0), sw2=above(0), sb2=least(0))
def fixed_correlation(activation: Activation, q: float, sw2: float, sb2: float) -> float:
    """c*: 1 in the ordered phase; from 0 to below 1 in the chaotic one. Rectifiers have no chaotic phase with c* < 1.

    The map is a power series in c of coefficients that are not negative (Hermite), hence convex from 0 to 1, and at 0
    it is `(sw2 (E phi)^2 + sb2) / q`: nothing for an odd activation without a bias, whose c* is 0.
    """
    if activation.negative_slope is not None or chi(activation, q, sw2) <= 1:
        return 1.0

    def excess(c: float) -> float:
        return correlation_map(activation, c, q, sw2, sb2) - c

    if excess(0.0) < _ROUNDED:
        return 0.0
    high = 1 - 1e-6
    while excess(high) > 0:
        high = 1 - (1 - high) / 4
        if high == 1:
            return 1.0
    return float(brentq(excess, 0.0, high, xtol=1e-13))  # pyright: ignore


@asks(activation=ACTIVATION, sw2=above(0), sb2=least(0), start=above(0))
def phase(activation: Activation, sw2: float, sb2: float = 0.0, start: float = 1.0) -> Phase:
    """Fixed point and depth scales for weights of variance `sw2 / fan_in` and biases of variance `sb2`.

    Where q* is infinite, chi1 is its limit for large q. `start` matters only where q* depends on it.
    """
    length = fixed_length(activation, sw2, sb2, start)
    q = min(max(length, _TINY), _FAR)
    chi1 = chi(activation, q, sw2)
    if not 0 < length < inf:
        return Phase(length, chi1, 1.0, inf, inf, _scale(chi1))
    correlation = fixed_correlation(activation, q, sw2, sb2)
    return Phase(
        length=length,
        chi1=chi1,
        correlation=correlation,
        length_scale=_scale(length_slope(activation, q, sw2)),
        correlation_scale=_scale(chi(activation, q, sw2, correlation)),
        gradient_scale=_scale(chi1),
    )


@asks(activation=ACTIVATION, sb2=least(0))
def critical_line(activation: Activation, sb2: float) -> tuple[float, float]:
    """`(sw2, q*)` at which chi1 = 1 for biases of variance `sb2`; q* = inf for rectifiers with a bias.

    With `sw2 = 1 / E[phi'^2]` at q, the bias variance that makes q a fixed point follows; it is solved for q. A bias so
    small that q* would be below 1e-9, where what is solved is rounding, is none.
    """
    if (a := activation.negative_slope) is not None:
        return 2 / (1 + a * a), inf if sb2 > 0 else 1.0

    def bias(q: float) -> float:
        return q - covariance(activation, q, 1.0) / chi(activation, q, 1.0)

    low, high = 1e-9, 1e-3
    if abs(bias(_TINY)) < 2 * _TINY and sb2 <= max(bias(low), 0.0):
        return 1 / chi(activation, 0.0, 1.0), 0.0
    while bias(high) < sb2:
        high *= 2
        if high > _LONGEST:
            raise ValueError(f"{activation.name} has no critical point with {sb2=} and q* below {_LONGEST:.0e}.")
    q = float(brentq(lambda q: bias(q) - sb2, low, high, xtol=1e-15, rtol=1e-14))  # pyright: ignore
    return 1 / chi(activation, q, 1.0), q


@asks(layers=whole(0), c0=between(-1, 1))
def relu_decorrelation(layers: int, c0: float = 0.0) -> Array:
    """`1 - c_l` for l = 0..layers of a wide ReLU net without bias, shape (layers + 1,); the same for every sw2.

    Tends to `RELU_DECORRELATION / l^2`: the alignment of all inputs is slow but certain (1806.06362).
    """
    d = np.empty(layers + 1)
    d[0] = 1 - c0
    for i in range(layers):
        d[i + 1] = kappa1_complement(d[i])
    return d


@asks(activation=ACTIVATION, q=above(0), sw2=above(0))
def length_slope(activation: Activation, q: float, sw2: float) -> float:
    """`dq'/dq = chi1 + sw2 E[phi'' phi]`: a difference quotient of a closed form, or, free of phi'' by Stein's lemma,
    `sw2 E[z phi phi'] / sqrt(q)`."""
    if activation.covariance:
        h = 1e-5 * q
        return sw2 * (activation.covariance(q + h, 1.0) - activation.covariance(q - h, 1.0)) / (2 * h)
    return sw2 * expectation(lambda x: x * activation.phi(x) * activation.slope(x), sqrt(q)).value / q


def _scale(slope: float) -> float:
    """Layers in which a perturbation changes e-fold when it changes by `slope` per layer."""
    distance = abs(log(abs(slope))) if slope else inf
    return inf if distance < 1e-12 else 1 / distance
