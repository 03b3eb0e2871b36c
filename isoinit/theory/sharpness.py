"""The sharpness of a net at initialization, which bounds the learning rate of plain gradient descent.

The greatest eigenvalue lambda of the Gauss-Newton matrix of the mean cross-entropy of K inputs and K classes, which at
initialization is about the Hessian's: gradient descent with a rate eta leaves the minimum that it sees where eta lambda
passes 2, and settles in a flatter one up to `Tolerance.stability` (Lewkowycz et al. 2020, 2003.02218; the number is
quoted without the paper at hand). It is taken in the direction in which all inputs change alike in one logit, with a
uniform softmax, as it is once the first steps have learnt what all outputs have in common. `isoinit.sharpness` measures
it without these simplifications, and finds up to some three times as much in narrow networks
(`tests/test_curvature.py`).

    lambda = sum over pairs (x, x') of Theta(x, x') / K^3        Theta = sum_l (h_{l-1} h_{l-1}' + 1) G_l(x, x')

with h the activations, 1 the bias's and G_l the products of two gradients of one logit by the pre-activations of weight
layer l: the neural tangent kernel in the parametrization of the weights themselves. In mean field (derived here)

    G_l = E o o' prod_{m > l} g E s s'        inside the product over the hidden layers above, readout included

where s is the slope of a unit of the family (of both halves of a mirrored one) and o those of the network's own units;
of smooth units `smooth` has them, by quadrature at the mean-field variance.
Norms are those of the typical net, inputs unrelated and as long as a layer is wide. The terms of the sum are products
of the layers before l and of those behind it, and go from layer to layer as a walk does; `wandering` is what that adds
to the log of their sum. Real data's inputs have more in common, which makes networks sharper.

Karakida et al. 2019 (1806.01316) have the mean-field law in the limit of a wide net. Legend otherwise as of `maps`.
"""

from math import exp, expm1, inf, log, log1p, nan

from isoinit.theory.asked import asks, least
from isoinit.theory.maps import Alike

_ROUNDING = 1e-13  # less of it than this two inputs have in common is not seen


class Sharpness:
    """Log of lambda from layer to layer, in logs, for norms leave the floats."""

    def __init__(
        self,
        inputs: int,
        units: float,
        square: float,
        cosine: float,
        density: float = 1.0,
        *,
        biases: bool = True,
        kin: float | None = None,
    ) -> None:
        """`inputs` of mean square coordinate `square` and the `cosine` of any two, `units` of a layer, of whose weights
        the share `density` is there to learn; `biases` says whether they are learnt, too; `kin`, if asked for, is the
        cosine of two inputs of one class."""
        self._inputs, self._density, self._biases = inputs, density, 0.0 if biases else -inf
        self._own = self._both = self._kin = -inf  # of one input and of two: the sum without its last term
        self.log_rise = nan  # of the last layer, see `after`
        self._square = log(units * square * density)
        self._alike, self._akin = max(cosine, 0.0), kin

    def after(
        self, log_square: float, alike: Alike, growth: float, variance: float, akin: Alike | None = None
    ) -> float:
        """One hidden layer on: log of the squared norm of its activations, and `growth` of the squared gradient in it,
        from its pre-activations to the next, a log; `variance` over nets of both logs up to here, summed; `alike` of
        any two inputs, and `akin` of two of one class. Log of the sharpness if it is the last, and in `log_rise`
        that of how fast a step of gradient flow raises the right logit of an input over the others at first, on account
        of another one x+ of its class: by `(Theta(x, x+) - Theta(x, x')) / K` of the rate."""
        one, two = self._plus_bias(1.0), self._plus_bias(self._alike)
        self._own = growth + log_sum(self._own, one + _log(alike.own))
        self._both = growth + log_sum(self._both + _log(alike.slopes), two + _log(alike.both))
        if self._akin is not None and akin is not None:
            of_kin = self._plus_bias(self._akin) + _log(akin.both)
            self._kin, self._akin = growth + log_sum(self._kin + _log(akin.slopes), of_kin), akin.activations
        self._square, self._alike = log_square + log(self._density), alike.activations
        own = log_sum(self._own, self._plus_bias(1.0))
        both = log_sum(self._both, self._plus_bias(self._alike))
        wanders = wandering(variance)
        if self._akin is not None:
            kin = log_sum(self._kin, self._plus_bias(self._akin))
            self.log_rise = kin + log(max(-expm1(both - kin), _ROUNDING)) - log(self._inputs) + wanders
        return log_sum(own, both + log(self._inputs - 1)) - 2 * log(self._inputs) + wanders

    def _plus_bias(self, cosine: float) -> float:
        """Log of the inner product of two inputs' activations, and of the 1 that a bias sees."""
        return log_sum(self._square + _log(cosine), self._biases)


@asks(variance=least(0))
def wandering(variance: float) -> float:
    """`E log` of the mean of exp(B_t) over 0 < t < 1, B a Brownian motion with this variance at t = 1.

    variance / 12 where that is small (derived here); the rest is chosen, 6 % off at most up to a variance of 12.
    """
    return variance / (12 * (1 + variance / 40))


def _log(share: float) -> float:
    return log(share) if share > 0 else -inf


def log_sum(a: float, b: float) -> float:
    """`numpy.logaddexp` of two numbers without the cost of arrays."""
    high, low = max(a, b), min(a, b)
    return high if low == -inf else high + log1p(exp(low - high))
