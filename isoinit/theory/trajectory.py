"""What happens to signal, correlation and gradient layer by layer: the families' maps, with finite-width spread."""

from collections.abc import Iterator
from math import exp, log, log1p, sqrt
from typing import NamedTuple

from isoinit.theory.angles import Angles
from isoinit.theory.ensemble import FEWEST, Ensemble, Seen, ensemble
from isoinit.theory.factors import Factor, two_slopes
from isoinit.theory.families import Family
from isoinit.theory.fluctuation import Fluctuation
from isoinit.theory.maps import Bias, Point, mirrored_reading
from isoinit.theory.pruned import Moments, Pruned

_FAR = 1e100


class State(NamedTuple):
    """After `layer` hidden layers. Natural logs of squared norms, mean (of the log) and variance over nets.

    correlation         cosine of the pre-activations of two inputs, mean over nets, as `isoinit.probe` measures it
    distance            1 - |cosine| in the typical net: smaller where inputs align with random sign (Gaussian cores)
    log_signal          |x_l|^2 / |x_0|^2 in a net of square layers (in a mirrored one: |x_0| has N/2 units)
    log_gradient        |J v|^2 / |v|^2 of the same net, v fixed, J from the input to x_l
    relative_variance   Var(e) / E(e)^2 of the eigenvalues e of J J^T, wide limit
    alive               probability that the signal lives: no layer is off altogether, or a bias restarted it; of pruned
                        weights, that a path of them through units that are on is left, which no bias restores
    """

    layer: int
    correlation: float
    distance: float
    log_signal: float
    signal_variance: float
    log_gradient: float
    gradient_variance: float
    relative_variance: float
    alive: float


def walk(
    family: Family,
    width: int,
    g: float,
    bias: Bias,
    inputs: Point,
    density: float = 1.0,
    positions: bool = False,
) -> Iterator[State]:
    """States after hidden layers 1, 2, ... without end.

    `inputs.q` is the mean square of an input coordinate, `inputs.d` one minus the cosine of two inputs. Exact for
    zero bias in the plain and mirrored families; with a bias the norm's moments are those of `fluctuation`. With an iid
    bias in a mirrored net, correlation and gradient are those at the mean-field length in one of orthogonal cores, good
    at any depth, and in one of Gaussian cores narrower than 8, good for up to about a third of the width in layers.
    Wider nets of Gaussian cores, whose typical length is soon much less than the mean, are an `ensemble`. The angle of
    two inputs in a plain family is that of `angles`, of nets of many `positions` that of mean field. `density` is
    that of weights pruned at random, in the plain families and the linear nets of mirrored ones without an iid bias
    (`pruned`): but for the angle of two inputs and the spectrum, which are those of dense weights.
    """
    forward, backward = _layers(family, width, g, bias, density)
    twist, units = family.twist(width), width / 2 if family.mirrored else width
    point, gain = family.first(inputs, g, bias)
    halves = family.mirrored and bias.mode == "iid"  # whose point is what comes before the bias
    share = 1.0 if halves else max(1 - bias.variance / point.q, 0.0)
    # orthogonal weights keep a norm that they would spread if they were Gaussian, as a bias does
    firm = family.mirrored or family.forward(width, g).log_variance > 0
    turned = 2.0 if density == 1 and firm and not (family.gaussian or halves) else 0.0
    noise = turned * (1 - share**2)
    gradient_variance = relative_variance = log_alive = log_unit = 0.0  # variances are in units of exp(log_unit)
    gradient, layer, free, norm, dead = log(gain), 0, bias.variance == 0, Fluctuation(), 0.0
    angles = None if positions or family.bends is None else Angles(point.d, width, family.bends)
    nets = nets_of(family, width, g, bias, inputs)
    nets_tell = None if nets is None else iter(nets)
    while True:
        layer += 1
        step = family.step(point, g, bias)
        norm, mixed = _next(norm, share, noise / units, bias.variance / point.q, dead if layer > 1 else 0.0)
        factor = forward.step(sqrt(max(1 - mixed, 0.0)))
        back, dead = factor if backward is forward else backward.step(), factor.death
        norm = norm.plus(factor.log_mean, factor.log_variance, factor.log_third)
        if halves and not free:
            part, own = mirrored_reading(point, bias)
            seen, _ = _next(norm, part, own / units, bias.variance / point.q)
        else:
            seen = norm
        gradient += back.log_mean
        gradient_variance += back.log_variance
        relative_variance += step.slope_spread + family.gaussian
        kept = density < 1 or free
        log_alive = log1p(-(back.death if density < 1 else dead)) + (log_alive if kept else 0.0)
        if nets_tell is not None:
            told = next(nets_tell)
        else:
            d = family.distance(point, bias)
            pair = angles.seen() if angles else (1 - d, _typical(d, twist * (layer - 1)))
            told = Seen(*pair, gradient + log(step.slopes), gradient_variance)
        yield State(
            layer=layer,
            correlation=told.correlation,
            distance=told.distance,
            log_signal=log(family.moment(point, bias) / inputs.q) + log_unit + seen.mean,
            signal_variance=seen.variance,
            log_gradient=told.log_gradient,
            gradient_variance=told.gradient_variance,
            relative_variance=relative_variance,
            alive=exp(log_alive),
        )
        if step.both > 0:
            typical, wander = two_slopes(step.both, max(1, width // 2))
            gradient, gradient_variance = gradient + log(g) + typical, gradient_variance + wander
        else:
            gradient += log(step.gain) - step.gradient_noise / (2 * units)
            gradient_variance += step.gradient_noise / units
        if angles:
            angles.step(step.share)
        point, share, noise = step.point, step.share, step.signal_noise + turned * (1 - step.share**2)
        if not 1 / _FAR < point.q < _FAR:
            # a rectifier has no scale of its own: a signal out of the range of floats is carried in its own unit
            log_unit += log(point.q)
            bias = Bias(bias.variance / point.q, bias.mode)
            point = Point(1.0, point.d, point.mean / sqrt(point.q))


def nets_of(family: Family, width: int, g: float, bias: Bias, inputs: Point) -> Ensemble | None:
    """The ensemble that tells a walk of distance and gradient; None where mean field does."""
    if not (family.mirrored and family.gaussian and bias.mode == "iid" and bias.variance > 0 and width >= 2 * FEWEST):
        return None
    return ensemble(width, g, bias.variance, inputs.q, 1 - inputs.d)


class _Same:
    """Layers of which every one has the same factor, but for its mean g."""

    def __init__(self, factor: Factor, g: float) -> None:
        self._moments = Moments(factor.log_mean - log(g), factor.log_variance, factor.log_third, factor.death)

    def step(self, _: float = 1.0) -> Moments:
        return self._moments


def _layers(family: Family, width: int, g: float, bias: Bias, density: float) -> tuple[_Same | Pruned, _Same | Pruned]:
    """What multiplies the norms of a signal and of a Jacobian-vector product; the same object if it is the same."""
    if density == 1:
        return _Same(family.forward(width, g), g), _Same(family.backward(width, g), g)
    units, on = (width // 2, 1.0) if family.mirrored else (width, 0.5)
    back = Pruned(units, density, on, not family.gaussian, False)
    return (Pruned(units, density, on, not family.gaussian, True) if bias.variance > 0 else back), back


def _next(norm: Fluctuation, share: float, noise: float, rest: float, dead: float = 0.0) -> tuple[Fluctuation, float]:
    """Of the next squared norm before its own factor: a share of the signal's, and the bias's relative variance `noise`
    at mean field; and `1 - s^2` of the typical share s. `rest` is what `1 - share` loses to rounding."""
    rest = 1 - share if share < 1 - 1e-8 else rest
    if not (share > 0 and rest > 0):
        return norm, 0.0 if share > 0 else 1.0
    norm, mixed = norm.with_bias(share, rest, dead)
    return (norm.with_noise(noise * mixed / (rest * (1 + share))) if noise else norm), mixed


def _typical(d: float, twist: float) -> float:
    """`1 - |c|` after log(1 - c^2) has grown by `twist`, d = 1 - c."""
    if twist == 0:
        return min(d, 2 - d)
    squared_sine = d * (2 - d) * exp(twist)
    return squared_sine / (1 + sqrt(1 - squared_sine))
