"""The angle of two inputs in ReLU layers whose weights were pruned at random; legend as in `pruned` and `angles`.

Masks give each unit variances and a covariance of its own: S = sum m x y / d over what it is left of activations x, y.
Over units these have the covariances r sum x^2 x^2 = v, r sum x^2 y^2 and r sum x^3 y. So two things differ from dense
weights (derived here):

- Fourth moments of pre-activations are larger, all in one ratio if what tells inputs apart is as uneven as they are.
  On scales common to both no angle depends, so m and s are multiplied by that ratio. To first order it is 1 + v; where
  few units make up the sums, it is that of u to a dense layer's, which is what scatters an angle (`scatter`).
- Where inputs are far apart few units see both, and a unit of the next layer, which reads few, mixes them less than
  mean field says: 1 - cos is larger by the factor 1 + a, by second derivatives of `kappa1`

      pi sin (1 - kappa1) a = v [sin^2 (1 - B) / 4 - cos^2 (1 + B) / 4 + cos T - B / 2]
      B = b / (1 + v (1 - b)),   T = t (1 + v (1 + 3 B) / 4) / (1 + v)

  with b, t = E relu^2 relu^2, E relu^3 relu over E relu^4 of the pre-activations one layer before, where S of the one
  input and of the other differ alike. Were one weight left to each unit, the cosine would stay what it is, which
  bounds the factor; between the two it is chosen: 1 + a / (1 + a / most). Data are taken for isotropic: a is 0 there.

Haar weights that are pruned keep d^2 of what dense ones lack of the noise of the sample cosine. With a bias the angle
that the weights see is taken for that of the pre-activations.
"""

from functools import lru_cache, partial
from typing import Final

import numpy as np

from isoinit.theory.angles import Law, Layer, gaussian, looked_up, moments
from isoinit.theory.gaussian import Array, kappa1_complement

_STEPS: Final = 512
_NEAR: Final = 0.05  # angle below which the formula begins to cancel: there `a` goes with the angle, as `most` does


def layer(law: Law, density: float, v: float, scatter: float) -> Layer:
    """What dense weights of a law, `gaussian` or `orthogonal`, make of a layer once pruned."""
    if density == 1:
        return Layer(((law, 1.0),))
    kept = 0.0 if law is gaussian else density**2
    return Layer(((gaussian, 1 - kept + scatter), (law, kept)), partial(widens, v))


def widens(v: float, angle: Array) -> Array:
    """Factor (k,) of mean field's 1 - cosine after a ReLU, from acute angles (k,) of pre-activations before it."""
    return looked_up(_factors(float(f"{v:.4g}")), angle)[0]


@lru_cache(maxsize=512)
def _factors(v: float) -> Array:
    """(K + 1, 1) at angles from 0 to a right one; rounded v, for it settles in a few layers."""
    angle = np.linspace(0, np.pi / 2, _STEPS + 1)
    far = np.maximum(angle, _NEAR)
    cos, sin = np.cos(far), np.sin(far)
    both, third = _before(far)
    both = both / (1 + v * (1 - both))
    third = third * (1 + v * (1 + 3 * both) / 4) / (1 + v)
    bends = sin**2 * (1 - both) / 4 - cos**2 * (1 + both) / 4 + cos * third - both / 2
    left, near = kappa1_complement(1 - cos), angle / far
    extra = v * bends / (np.pi * sin * left) * near
    most = ((1 - cos) / left - 1) * near
    return (1 + extra / (1 + extra / np.maximum(most, 1e-300)))[:, None]


def _before(angle: Array) -> tuple[Array, Array]:
    """b and t (k,) of the pre-activations whose activations are at these angles (k,)."""
    cosine, both, third = moments(1 - np.cos(np.linspace(0, np.pi, 2 * _STEPS)))
    return np.interp(angle, np.arccos(cosine), both / 6), np.interp(angle, np.arccos(cosine), third / 6)
