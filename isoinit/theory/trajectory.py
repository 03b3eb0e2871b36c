"""What happens to signal, correlation and gradient layer by layer: the families' maps, with finite-width spread."""

from collections.abc import Iterator
from math import exp, log, log1p, sqrt
from typing import NamedTuple

from isoinit.theory.families import Bias, Family, Point


class State(NamedTuple):
    """After `layer` hidden layers. Natural logs of squared norms, mean (of the log) and variance over nets.

    correlation         cosine of the pre-activations of two inputs, as `isoinit.probe` measures it
    log_signal          |x_l|^2 / |x_0|^2 in a net of square layers (in a mirrored one: |x_0| has N/2 units)
    log_gradient        |J v|^2 / |v|^2 of the same net, v fixed
    relative_variance   Var(e) / E(e)^2 of the eigenvalues e of J J^T from the input on, wide limit
    alive               probability that the signal lives: no layer is off altogether, or a bias restarted it
    """

    layer: int
    correlation: float
    log_signal: float
    signal_variance: float
    log_gradient: float
    gradient_variance: float
    relative_variance: float
    alive: float


def walk(family: Family, width: int, g: float, bias: Bias, inputs: Point) -> Iterator[State]:
    """States after hidden layers 1, 2, ... without end.

    `inputs.q` is the mean square of an input coordinate, `inputs.d` one minus the cosine of two inputs. The
    fluctuation of the norm is carried to first order where a bias feeds the signal: exact for zero bias.
    """
    factor = family.factor(width, g)
    drift, spread, twist = factor.log_mean - log(g), factor.log_variance, exp(family.twist(width))
    point = family.first(inputs, g, bias)
    signal = signal_variance = gradient = gradient_variance = relative_variance = log_alive = 0.0
    share, layer = 1.0, 0
    while True:
        layer += 1
        signal = share * signal + drift
        signal_variance = share**2 * signal_variance + spread
        nxt = family.step(point, g, bias)
        gradient += log(nxt.gain) + drift
        gradient_variance += spread
        relative_variance += nxt.slope_spread + family.gaussian
        log_alive = log1p(-factor.death) + (log_alive if bias.variance == 0 else 0.0)
        yield State(
            layer=layer,
            correlation=1 - family.distance(point, bias),
            log_signal=log(family.moment(point, bias) / inputs.q) + signal,
            signal_variance=signal_variance,
            log_gradient=gradient,
            gradient_variance=gradient_variance,
            relative_variance=relative_variance,
            alive=exp(log_alive),
        )
        share = nxt.share
        point = nxt.point if twist == 1 else Point(nxt.point.q, _twisted(nxt.point.d, twist))


def _twisted(d: float, twist: float) -> float:
    """`d = 1 - c` after `1 - c^2` was multiplied by `twist`."""
    squared_sine = d * (2 - d) * twist
    distance = squared_sine / (1 + sqrt(1 - squared_sine))
    return distance if d <= 1 else 2 - distance
