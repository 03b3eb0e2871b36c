"""How signal and gradient of a net of finite width fluctuate together where the activation has a scale of its own.

Legend: `u` log of |x_l|^2 over its mean-field value, `g` log of |J_l v|^2 over its own, N width, `c` cosine of x and
J v, `Q = sw2 |x|^2 / N + sb2` the variance of the next pre-activations h, S(Q) = E phi^2, chi(Q) = E phi'^2. Given x
and J v, (h, W J v) is Gaussian, unit by unit independent, so that (derived here, to first order in 1 / N)

    u' = log S(Q) + eps                      Var eps = Var phi^2 / (N S^2)
    g' = g + log chi(Q) + eta                Var eta = (2 + 3 s) / N, s = Var phi'^2 / chi^2
                                             Cov(eps, eta) = Cov(phi^2, phi'^2) / (N S chi)

A ReLU's chi is a constant, and its g follows no u. A smooth activation's gradient does: with f = d log chi / du, each
fluctuation of u adds f u to g in every layer that it lasts. Orthogonal weights keep |W x|, |W v| and their angle, so
that eps and eta lose what they owe to these: with a = d log S / du,

    Var eps - 2 a^2 / N     3 (s - 2 f^2 / 3) / N     Cov - 2 a f / N

and the units of W x are less than Gaussian by O(1 / N), which takes `share^2 Q^2 S'' / (N S)` from log S, share the
part of Q that is not sb2, and from log chi the same of chi. Where x and J v are aligned, units of a large |h| have a
large W J v: chi gains the factor 1 + 2 f c^2, with orthogonal weights 1 + 2 f (c^2 - 1 / N).

u is taken for a `Fluctuation`, its maps for what they are: where the mean-field length is unstable and the seeds part,
as in a gelu net, a linearization in u would grow without end. There the spread of g stays too small all the same, for
the mean of g given u is taken to be linear in u.
"""

from math import log, sqrt
from typing import NamedTuple

import numpy as np

from isoinit.theory.fluctuation import WEIGHTS, Fluctuation
from isoinit.theory.response import response

_NOTHING = 1e-300  # a share of which the log is taken
_LEAST = -0.9  # -1 is of all units but the smallest saturated in a net of one unit


class Layer(NamedTuple):
    """What the fluctuations pass through: an activation's name, units, variances, and the mean-field one of h."""

    activation: str
    width: int
    sigma_w2: float
    sigma_b2: float
    gaussian: bool
    q: float


class Coupled(NamedTuple):
    """`norm`: the moments of u over nets. gradient, gradient_variance: mean and variance of g. covariance: of u and g.
    overlap: the mean of c^2. across, parting: what the last layer adds to the mean of g of a vector that it finds at
    right angles to the signal, and to the variance of that g - u."""

    norm: Fluctuation = Fluctuation()
    gradient: float = 0.0
    gradient_variance: float = 0.0
    covariance: float = 0.0
    overlap: float = 0.0
    across: float = 0.0
    parting: float = 0.0

    def after(self, layer: Layer) -> "Coupled":
        """Of the next layer's u and g."""
        n, rest, norm = layer.width, layer.sigma_b2 / layer.q, self.norm
        apart = sqrt(norm.variance) * norm.nodes()
        log_q = np.logaddexp(log(max(1 - rest, _NOTHING)) + norm.mean + apart, log(max(rest, _NOTHING)))  # less log q
        still, now = response(layer.activation, np.log([layer.q])), response(layer.activation, log_q + log(layer.q))
        share = np.maximum(1 - rest * np.exp(-log_q), 0.0)
        a, f = now.elasticity * share, now.slope_elasticity * share
        tilt = np.maximum(2 * f * self.overlap, _LEAST)
        kept = share * now.elasticity**2 * np.exp(now.square - now.slope - log_q) / layer.q  # of a small c^2
        u, g = now.square - still.square, now.slope - still.slope + np.log1p(tilt)
        if layer.gaussian:
            eps, eta, both, turned = now.noise, 2 + 3 * now.slope_noise, now.shared, 1 + now.shared
        else:
            eps, eta = np.maximum(now.noise - 2 * a * a, 0.0), np.maximum(3 * now.slope_noise - 2 * f * f, 0.0)
            both, turned = now.shared - 2 * a * f, np.maximum(1 + now.shared - kept, 0.0)
            u, g = u - share**2 * now.curvature / n, g - (share**2 * now.slope_curvature + 2 * f) / n
        both = np.clip(both, -np.sqrt(eps * eta), np.sqrt(eps * eta))  # else rounding may make a variance negative
        eps, eta = eps / n, eta / n
        u, g = u - eps / 2 - eps**2 / 12, g - eta / 2 - eta**2 / 12  # as in `Fluctuation.with_noise`
        mean_u, mean_g = float(WEIGHTS @ u), float(WEIGHTS @ g)
        aligned = float(WEIGHTS @ np.log1p(tilt))
        u, g = u - mean_u, g - mean_g
        given = apart * (self.covariance / norm.variance if norm.variance > 0 else 0.0)  # of the last g, by the last u
        eps, eta = eps + eps**2 / 2, eta + eta**2 / 2
        spread = 2 * given * g + g * g + eta
        overlap = self.overlap * float(WEIGHTS @ (kept / (1 + tilt)))
        return Coupled(
            norm=Fluctuation(mean_u, float(WEIGHTS @ (u * u + eps)), float(WEIGHTS @ (u * (u * u + 3 * eps) - eps**2))),
            gradient=self.gradient + mean_g,
            gradient_variance=self.gradient_variance + float(WEIGHTS @ spread),
            covariance=float(WEIGHTS @ (given * u + u * g + both / n)),
            overlap=overlap + max(1 - overlap, 0.0) * float(WEIGHTS @ turned) / n,
            across=mean_g - aligned,
            parting=float(WEIGHTS @ (eps + eta - 2 * both / n)),
        )

    def grown(self, mean: float, variance: float) -> "Coupled":
        """With a gradient of that much more mean and variance."""
        return self._replace(gradient=self.gradient + mean, gradient_variance=self.gradient_variance + variance)

    def stands_still(self, before: "Coupled", tolerance: float) -> bool:
        """Whether u, its covariance with g, and the overlap have stopped changing."""
        now, then = (*self.norm, self.covariance, self.overlap), (*before.norm, before.covariance, before.overlap)
        least = self.norm.variance
        return all(abs(x - y) <= tolerance * max(abs(x), least) for x, y in zip(now, then, strict=True))
