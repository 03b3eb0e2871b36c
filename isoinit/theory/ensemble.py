"""A mirrored net of Gaussian cores with iid biases, away from mean field: a few hundred nets, each of five numbers.

Legend: M = width / 2 units of a core, `u` pre-activation of one before its bias, `s = relu(u + b1) - relu(-u + b2)`
what the next core sees of it, `e = ds/du` its slope (0, 1 or 2), `q = |s|^2 / M`, `rho = q / (q + sb2)`, k = kappa1.

Given the products of s_1, s_2 (two inputs) and v (a Jacobian times a vector), the next u_1, u_2 and core times v are
Gaussian, unit by unit independent, so these products alone are a Markov chain, at any width (as for one norm:
Burkholz & Dubatovka, 1806.06362). A net is therefore (derived here)

    log q_1 / sb2, log q_2 / sb2      q' = g (q + sb2) (1 - k(-rho))
    z, cos(u_1, u_2) = tanh z         c' = [k(r c + r') - k(-r c)] / sqrt((1 - k(-rho_1)) (1 - k(-rho_2))),
                                      r^2 = rho_1 rho_2, r'^2 = (1 - rho_1) (1 - rho_2)
    y, cos(u_1, core v) = tanh y      d log q' / d log q times sqrt(q' / (q gain))
    log |v|^2                         gain = E e^2 - 2 tanh(y)^2 rho sqrt((1 - rho) / (1 + rho)) / pi

and what M units of a net add to these is drawn as for Gaussian vectors, whose products are those of a triangle of chi
and normal variables (Bartlett 1933): sinh z' = (chi_M sinh z + n) / chi_(M-1). Exactly so where a bias does nothing.
Else chi_(M-1) has the variance of |s_1 - s_2|^2 of inputs so much alike that no kink lies between them, and less the
farther they are apart (chosen in between); |s|^2 is left a Gaussian vector's, which it is but for a strong bias.

Mean field takes the length for its mean, of which a typical net of Gaussian cores soon has a fraction: its bias then
mixes more, and it forgets which input it was more slowly than without one, for two lengths differ in most nets. Noise
is stratified and always the same, so that a prediction is a number, and changes little with its arguments. For the same
reason many ensembles can be walked together (`lockstep`), and a walk is kept for whoever asks for it again.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from math import log
from typing import Final, NamedTuple

import numpy as np

from isoinit.theory.asked import above, asks, between, whole
from isoinit.theory.factors import mirrored_gaussian
from isoinit.theory.gaussian import Array
from isoinit.theory.lockstep import BLOCK, Layers, Nets, noise

FEWEST: Final = 4  # units of a core: below, chi variables are not what their approximation says
KEPT: Final = 512  # walks
_ROWS = 32  # walked together: more rows save nothing, and do not fit into a cache


class Seen(NamedTuple):
    """Over nets, after a hidden layer: mean cosine of two inputs in the pre-activations, 1 - |cosine| in the geometric
    mean, mean and variance of log |J v|^2 / |v|^2 from the input to the activations."""

    correlation: float
    distance: float
    log_gradient: float
    gradient_variance: float


class _Known(NamedTuple):
    """Blocks (BLOCK, 4) of what was seen, and the nets after them."""

    blocks: tuple[Array, ...]
    nets: Nets


class Ensemble:
    """Nets of `width` units a layer with weights of g = sigma_w2 / 2, log q_1 / sb2 = `length` of the first, where the
    cosine of two inputs is `c`: what is seen layer by layer, as far as anyone asked. Made by `ensemble`."""

    def __init__(self, width: int, g: float, length: float, c: float) -> None:
        self.units, self.g, self.core = width // 2, g, mirrored_gaussian(width, 2 * g)
        self._known = _Known((), Nets.first(self.units, length, c))  # replaced as a whole: threads may ask at once

    def __iter__(self) -> Iterator[Seen]:
        """After hidden layers 1, 2, ... without end."""
        for block in count():
            if block >= len(self._known.blocks):
                together([self], (block + 1) * BLOCK)
            for row in self._known.blocks[block].tolist():
                yield Seen(*row)

    def known(self) -> int:
        """Layers that were walked."""
        return BLOCK * len(self._known.blocks)

    def seen(self, layer: int) -> Seen:
        """After a hidden layer (1, 2, ...) that is known."""
        return Seen(*self._known.blocks[(layer - 1) // BLOCK][(layer - 1) % BLOCK].tolist())

    @staticmethod
    def further(batch: Sequence["Ensemble"]) -> None:
        """A block of layers more, of ensembles of which the same layers are known."""
        before = [each._known for each in batch]
        units, g, mean, variance = np.array([(e.units, e.g, e.core.log_mean, e.core.log_variance) for e in batch]).T
        layers = Layers(units[:, None], g[:, None], mean, variance)
        nets, told = layers.block(Nets.together([b.nets for b in before]), noise(len(before[0].blocks)))
        for i, (each, b) in enumerate(zip(batch, before, strict=True)):
            each._known = _Known((*b.blocks, told[:, :, i].copy()), nets.row(i))


@asks(width=whole(2 * FEWEST), g=above(0), bias=above(0), square=above(0), c=between(-1, 1))
def ensemble(width: int, g: float, bias: float, square: float, c: float) -> Ensemble:
    """The ensemble of nets with biases of variance `bias` and two inputs of mean square `square` and cosine `c`; that
    of the last time, if it was among the last `KEPT`. ValueError for what it was not derived for."""
    return _ensemble(width, float(g), log(g) + log(square) - log(bias), float(c))


_ensemble = lru_cache(maxsize=KEPT)(Ensemble)


def together(ensembles: Sequence[Ensemble], most: int, ended: Callable[[Ensemble], bool] = lambda _: False) -> None:
    """Walk ensembles, all different, up to layer `most`, or less far if one has `ended`, which is asked of it at the
    end of each of its blocks."""
    left = list(ensembles)
    while left := [e for e in left if e.known() < most and not (e.known() and ended(e))]:
        least = min(e.known() for e in left)
        batch = [e for e in left if e.known() == least]
        for i in range(0, len(batch), _ROWS):
            Ensemble.further(batch[i : i + _ROWS])
