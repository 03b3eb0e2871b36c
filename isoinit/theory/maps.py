"""Mean-field maps of one ReLU layer, with the bias, for each way to draw its weights.

Legend: `q` variance of a pre-activation, `c = 1 - d` correlation of two inputs in it, `g = sigma_w2 / critical` gain,
`sb2` bias variance, `k = kappa1`.

    plain                  q' = g q + sb2            q' d' = g q (1 - k(c))      gradient g       (1611.01232)

Those of mirrored nets are in `mirrored`, those of weights that map the mean to itself in `ones`.
"""

from functools import lru_cache
from math import asin, cos, pi, sin, sqrt
from typing import NamedTuple

from scipy.optimize import brentq


class Point(NamedTuple):
    """Mean-field state of the pre-activations: variance, 1 - correlation of two inputs, mean over the units.

    In an identity net `q` and `d` are of the second moments once the signal is positive.
    """

    q: float
    d: float
    mean: float = 0.0


class Bias(NamedTuple):
    variance: float
    mode: str


class Step(NamedTuple):
    """From the pre-activations of one layer to those of the next.

    point          the next pre-activations
    gain           growth of a squared Jacobian-vector product from pre-activation to pre-activation
    slopes         E s^2 of the slopes s: its growth from the pre-activations to the activations
    slope_spread   `E s^4 / (E s^2)^2 - 1`
    share          `d log q' / d log q`: the share of the next q that the signal brought, not the bias
    signal_noise   relative variance over nets of the squared norm, times the number of units, beyond `factor`
    gradient_noise the same of a squared Jacobian-vector product, to first order
    both           probability that both halves of a mirrored unit are on, as that of none: then its law is
                   `factors.two_slopes`
    """

    point: Point
    gain: float
    slopes: float
    slope_spread: float
    share: float = 1.0
    signal_noise: float = 0.0
    gradient_noise: float = 0.0
    both: float = 0.0


class Alike(NamedTuple):
    """What two inputs have in common in a layer, as shares of what one input has.

    activations    inner product of the activations of the network's own units, over a square of them
    slopes         E s s' / E s^2 of the slopes s of a unit of the family
    own, both      of the slopes o of the network's own units, E o^2 / E s^2 and E o o' / E s^2; of a mirrored unit both
                   halves together
    """

    activations: float
    slopes: float
    own: float
    both: float


def bent(d: float) -> float:
    """`1 - kappa1(1 - d)` of one number: `gaussian.kappa1_complement` without the cost of arrays."""
    theta = 2 * asin(sqrt(min(d, 2.0) / 2))
    return d - (sin(theta) - theta * cos(theta)) / pi


def on_alike(d: float) -> float:
    """`kappa0(1 - d)` of one number: the share of the units that are on for one input which are on for another too."""
    return 1 - 2 * asin(sqrt(min(max(d, 0.0), 2.0) / 2)) / pi


def alike(point: Point, _bias: Bias, _step: Step) -> Alike:
    on = on_alike(point.d)
    return Alike(1 - bent(point.d), on, 1.0, on)


def biased(point: Point, bias: Bias) -> Point:
    """The point after a bias that two inputs share is added."""
    q = point.q + bias.variance
    return Point(q, point.q * point.d / q, point.mean)


def closes(_point: Point, _bias: Bias, d: float) -> float:
    """What a layer makes of a distance, up to a factor that is the same for all distances."""
    return bent(d)


def closes_alike(_point: Point, _bias: Bias, d: float) -> float:
    return d


def half(point: Point, _: Bias) -> float:
    return point.q / 2


def distance(point: Point, _: Bias) -> float:
    return point.d


def plain_first(inputs: Point, g: float, bias: Bias) -> tuple[Point, float]:
    return biased(Point(2 * g * inputs.q, inputs.d), bias), 2 * g


def plain_step(point: Point, g: float, bias: Bias) -> Step:
    nxt = biased(Point(g * point.q, bent(point.d)), bias)
    return Step(nxt, g, 0.5, 1.0, share=g * point.q / nxt.q)


def calibrated_first(inputs: Point, g: float, _: Bias) -> tuple[Point, float]:
    """Unit total variance on the data (LSUV)."""
    return Point(g, inputs.d), g / inputs.q


def kept_variance_first(inputs: Point, g: float, _: Bias) -> tuple[Point, float]:
    return Point(g / inputs.d, inputs.d), g / (inputs.q * inputs.d)


def kept_variance_step(point: Point, g: float, bias: Bias) -> Step:
    """The weights are scaled to keep the sample variance `q d`; g multiplies on top."""
    return plain_step(point, g * point.d / bent(point.d), bias)


def standardized_first(inputs: Point, g: float, _: Bias) -> tuple[Point, float]:
    """Every unit is centred and scaled to unit sample variance on the data; only then g multiplies its weights."""
    q = g + (sqrt(g) - 1) ** 2 * (1 - inputs.d) / inputs.d
    return Point(q, g / q), g / (inputs.q * inputs.d)


def standardized_step(point: Point, g: float, _bias: Bias) -> Step:
    """At g = 1 two inputs are uncorrelated again. Otherwise the bias takes away the mean of the net before g (derived
    here: with y = N(0, 1) that net's pre-activation, `q' = k (g q / 2 - (2 sqrt(g q) - 1) / (2 pi))`)."""
    scale = 2 * pi / (pi - 1)
    spread = scale * g * point.q * bent(point.d) / 2
    q = scale * (g * point.q / 2 - (2 * sqrt(g * point.q) - 1) / (2 * pi))
    share = scale * (g * point.q / 2 - sqrt(g * point.q) / (2 * pi)) / q
    return Step(Point(q, spread / q), g * pi / (pi - 1), 0.5, 1.0, share)


def identity_step(point: Point, g: float, _: Bias) -> Step:
    """Identity weights: the first ReLU takes half of the signal, the others nothing, for it is positive by then."""
    if point.mean > 0:
        return Step(Point(g * point.q, point.d, sqrt(g) * point.mean), g, 1.0, 0.0)
    nxt = Point(g * point.q / 2, bent(point.d), sqrt(g * point.q / (2 * pi)))
    return Step(nxt, g / 2, 0.5, 1.0)


def alike_if_positive(point: Point, bias: Bias, step: Step) -> Alike:
    """Of identity weights: units that the first ReLU turns off stay off, and the signal in the others passes whole."""
    if not point.mean > 0:
        return alike(point, bias, step)
    return Alike(1 - point.d, 1.0, 0.5, on_alike(_unbent(point.d)) / 2)


@lru_cache
def _unbent(d: float) -> float:
    """What `bent` makes d of."""
    return float(brentq(lambda x: bent(x) - d, 0.0, 2.0))  # pyright: ignore[reportArgumentType]


def identity_moment(point: Point, _: Bias) -> float:
    return point.q if point.mean > 0 else point.q / 2


def still_first(inputs: Point, g: float, bias: Bias) -> tuple[Point, float]:
    """A bias enters once, in the stem: the branches are switched off."""
    return biased(Point(g * inputs.q, inputs.d), bias), g


def still_step(point: Point, g: float, _: Bias) -> Step:
    return Step(Point(g * point.q, point.d), g, 1.0, 0.0)


def alike_whole(point: Point, _bias: Bias, _step: Step) -> Alike:
    return Alike(1 - point.d, 1.0, 1.0, 1.0)


def alike_both_halves(point: Point, _bias: Bias, _step: Step) -> Alike:
    """Of units whose activation has both halves of them, as crelu does."""
    return Alike(1 - bent(point.d), 1.0, 1.0, 1.0)


def whole(point: Point, _: Bias) -> float:
    return point.q
