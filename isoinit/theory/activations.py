"""Activation functions as frozen records: the function, its slope, and closed-form Gaussian moments if known.

Legend: `u, v` are Gaussians of equal variance `q` and correlation `c`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf, erfc, expit, gammainc, ndtr, owens_t, roots_legendre

from isoinit.theory.asked import asks, made, shown
from isoinit.theory.exponential import Exponential
from isoinit.theory.gaussian import Array, Function, kappa0, kappa1


@dataclass(frozen=True)
class Activation:
    """`phi` and what is known about it.

    covariance(q, c)        E[phi(u) phi(v)], None: quadrature
    slope_covariance(q, c)  E[phi'(u) phi'(v)], None: quadrature
    slope_moment(q, k)      E[phi'(u)^(2k)], None: quadrature
    negative_slope          for `phi(x) = x if x > 0 else a x`: a; None for every other shape
    """

    name: str
    phi: Function
    slope: Function
    covariance: Callable[[float, float], float] | None = None
    slope_covariance: Callable[[float, float], float] | None = None
    slope_moment: Callable[[float, int], float] | None = None
    negative_slope: float | None = None

    def __post_init__(self) -> None:
        x, h = np.array([-1.3, -0.4, 0.7, 2.1]), 1e-6
        numeric = (self.phi(x + h) - self.phi(x - h)) / (2 * h)
        if not np.allclose(self.slope(x), numeric, atol=1e-6):
            raise ValueError(f"slope must be the derivative of phi, but got another function in {self.name!r}.")

    @property
    def smooth_at_zero(self) -> bool:
        """Whether `phi` is differentiable at 0, as Kumar's rule asks."""
        left, right = self.slope(np.array([-1e-9, 1e-9])).tolist()
        return abs(left - right) < 1e-6


def get(name: str) -> Activation:
    """The record called `name`; ValueError with the valid names otherwise."""
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    raise ValueError(unknown(name))


def unknown(name: object) -> str:
    """That there is no record of this name, with the nearest and the others."""
    near = get_close_matches(str(name), ACTIVATIONS, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"activation must be a known name, but got {shown(name)}; {hint}known: {', '.join(ACTIVATIONS)}"


ACTIVATION = made(Activation, "activations.get('tanh')")


@asks(activation=ACTIVATION)
def kumar_variance(activation: Activation) -> float:
    """`fan_in * Var(w)` by Kumar (1704.08863): `1 / (g'(0)^2 (1 + g(0)^2))`; He's value for a kink at 0.

    The kink rule keeps the second moment: `2 / (1 + a^2)`. Beyond linearisation neither is a fixed point:
    for the sigmoid chi1 = 0.354 at this variance, see `meanfield`. ValueError of another kink, as that of selu.
    """
    if not activation.smooth_at_zero:
        if activation.negative_slope is None:
            raise ValueError(f"kumar needs an activation differentiable at 0, but got {activation.name}")
        return 2 / (1 + activation.negative_slope**2)
    zero = np.zeros(1)
    g, slope = float(activation.phi(zero)[0]), float(activation.slope(zero)[0])
    return 1 / (slope**2 * (1 + g**2))


def _rectifier(name: str, a: float) -> Activation:
    """`x` above zero, `a x` below. With relu(x) - relu(-x) = x everything reduces to the arc-cosine kernels."""

    def covariance(q: float, c: float) -> float:
        return float(q * ((1 + a * a) * kappa1(c) - 2 * a * kappa1(-c)) / 2)

    def slope_covariance(_: float, c: float) -> float:
        return float(((1 + a * a) * kappa0(c) + 2 * a * kappa0(-c)) / 2)

    return Activation(
        name,
        phi=lambda x: np.where(x > 0, x, a * x),
        slope=lambda x: np.where(x > 0, 1.0, a),
        covariance=covariance,
        slope_covariance=slope_covariance,
        slope_moment=lambda _, k: (1 + a ** (2 * k)) / 2,
        negative_slope=a,
    )


def _erf_covariance(q: float, c: float) -> float:
    """Williams 1997, infinite networks with erf units."""
    return float(2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q)))


def _erf_slope_covariance(q: float, c: float) -> float:
    return float(4 / np.pi / np.sqrt(1 + 2 * q * (1 - c)) / np.sqrt(1 + 2 * q * (1 + c)))


def _normal_density(x: ArrayLike) -> Array:
    return np.exp(-np.square(x) / 2) / np.sqrt(2 * np.pi)


_ERF = Activation(
    "erf",
    phi=erf,
    slope=lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x),
    covariance=_erf_covariance,
    slope_covariance=_erf_slope_covariance,
    slope_moment=lambda q, k: (4 / np.pi) ** k / np.sqrt(1 + 4 * k * q),
)

_NODES, _WEIGHTS = roots_legendre(64)
_SATURATED = 1e8  # a variance of which all but 1e-4 of a hardtanh's units are saturated


def _edge(q: float) -> float:
    """Hardtanh's kink in standard deviations; q = 0 is a limit that the critical line asks for."""
    return 1 / np.sqrt(max(q, 1e-300))


def _box(a: float, c: ArrayLike) -> Array:
    """`P(|u| < a, |v| < a)` for unit Gaussians of correlation `c`, by Owen's T."""
    c = np.clip(c, -1, 1)
    with np.errstate(divide="ignore"):
        both_up, both_down = (ndtr(-a) - 2 * owens_t(a, np.sqrt((1 - r) / (1 + r))) for r in (c, -c))
    return 1 - 4 * ndtr(-a) + 2 * (both_up + both_down)


def _hardtanh_covariance(q: float, c: float) -> float:
    """Price's theorem: the slope in c is `q P(both in the box)`; integrated over the angle arcsin c.

    At c = 1 the share of `E u^2` from within the box is P(chi2_3 < a^2): differences would cancel at a large q, and so
    would that probability beyond `_SATURATED`, from where on the units are signs.
    """
    a = _edge(q)
    if abs(c) == 1:
        return float(np.copysign(q * gammainc(1.5, a * a / 2) + erfc(a / np.sqrt(2)), c))
    if q > _SATURATED:
        return _hardtanh_covariance(_SATURATED, c)
    angle = np.arcsin(c) / 2 * (1 + _NODES)
    return float(q * np.arcsin(c) / 2 * (_WEIGHTS * np.cos(angle)) @ _box(a, np.sin(angle)))


_HARDTANH = Activation(
    "hardtanh",
    phi=lambda x: np.clip(x, -1, 1),
    slope=lambda x: np.where(np.abs(x) < 1, 1.0, 0.0),
    covariance=_hardtanh_covariance,
    slope_covariance=lambda q, c: float(_box(_edge(q), c)),
    slope_moment=lambda q, _: float(erf(_edge(q) / np.sqrt(2))),
)

_SCALE, _ALPHA = 1.0507009873554805, 1.6732632423543772  # Klambauer et al. 2017 (1706.02515)


def _exponential(name: str, unit: Exponential) -> Activation:
    return Activation(
        name, unit.phi, unit.slope, unit.covariance, slope_covariance=unit.slope_covariance,
        slope_moment=unit.slope_moment,
    )  # fmt: skip


ACTIVATIONS: dict[str, Activation] = {
    record.name: record
    for record in (
        _rectifier("relu", 0.0),
        _rectifier("leaky_relu", 0.01),
        _rectifier("linear", 1.0),
        _ERF,
        _HARDTANH,
        Activation("tanh", phi=np.tanh, slope=lambda x: 1 - np.tanh(x) ** 2),
        Activation("sigmoid", phi=expit, slope=lambda x: expit(x) * expit(-x)),
        Activation("softplus", phi=lambda x: np.logaddexp(0, x), slope=expit),
        _exponential("elu", Exponential(1.0, 1.0)),  # Clevert et al. 2015 (1511.07289)
        _exponential("selu", Exponential(_SCALE, _ALPHA)),
        Activation("silu", phi=lambda x: x * expit(x), slope=lambda x: expit(x) * (1 + x * expit(-x))),
        Activation("gelu", phi=lambda x: x * ndtr(x), slope=lambda x: ndtr(x) + x * _normal_density(x)),
    )
}
