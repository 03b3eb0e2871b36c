"""What happens to signal, correlation and gradient layer by layer: the families' maps, with finite-width spread."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from math import exp, log, log1p, sqrt

import numpy as np

from isoinit.theory import pruned_angles
from isoinit.theory.angles import Angles
from isoinit.theory.crowd import Crowd, Parted
from isoinit.theory.ensemble import FEWEST, Ensemble, Seen, ensemble
from isoinit.theory.factors import two_slopes
from isoinit.theory.families import Family
from isoinit.theory.maps import Alike, Bias, Point, Step
from isoinit.theory.sharpening import Sharpening, plain_sharpening
from isoinit.theory.sharpness import Sharpness, log_sum
from isoinit.theory.signal_norm import Layers, Signal
from isoinit.theory.state import State

_FAR = 1e100
_NOTHING = 1e-300


def walk(
    family: Family,
    width: int,
    g: float,
    bias: Bias,
    inputs: Point,
    crowd: int = 2,
    density: float = 1.0,
    positions: bool = False,
    alike: Callable[[Point, Bias, Step], Alike] | None = None,
    told: float = 0.0,
    part: float = 0.0,
) -> Iterator[State]:
    """States after hidden layers 1, 2, ... without end.

    `inputs.q` is the mean square of an input coordinate, `inputs.d` one minus the cosine of any two of `crowd` inputs.
    Exact for zero bias in the plain and mirrored families; with a bias the norm's moments are those of `fluctuation`.
    With an iid bias in a mirrored net, correlation and gradient are those at the mean-field length in one of orthogonal
    cores, good at any depth, and in one of Gaussian cores narrower than 8, good for up to about a third of the width in
    layers. Wider nets of Gaussian cores, whose typical length is soon much less than the mean, are an `ensemble`. The
    angle of two inputs in a plain family is that of `angles`, of nets of many `positions` that of mean field. `density`
    is that of weights pruned at random, in the plain families and the linear nets of mirrored ones without an iid bias
    (`pruned`, `pruned_angles`). `alike` is that of the network's own units, if they are not those of the family; `told`
    as of `sharpening`, 0: nothing is learnt; `part` of what inputs do not all have in common those of a class have, 0:
    it is not asked how their logits rise.
    """
    forward, backward = Layers.of(family, width, g, bias, density)
    start, gain = family.first(inputs, g, bias)
    units, free = width / 2 if family.mirrored else width, bias.variance == 0
    # orthogonal weights keep a norm that they would spread if they were Gaussian, as a bias does
    firm = density == 1 and not family.gaussian and (family.mirrored or family.forward(width, g).log_variance > 0)
    signal = Signal(family, units, bias, start, forward, firm)
    gradient = log(gain)
    gradient_variance = relative_variance = log_alive = 0.0
    pair = _Pair(family, width, start, density, positions, nets_of(family, width, g, bias, inputs))
    kept = 0.0 if family.gaussian else density**2  # of what orthogonal weights lack of a Gaussian matrix's noise
    noise = partial(_noise, units=units, kept=kept, positions=positions)
    excess = backward.excess
    crowded = Crowd(crowd, noise(0.0, excess))
    related = Point(inputs.q, (1 - part) * inputs.d)  # two of one class
    sharp = Sharpness(crowd, units, inputs.q, 1 - inputs.d, density, kin=1 - related.d if part > 0 else None)
    kin = _mean_field(family, g, bias, family.first(related, g, bias)[0]) if part > 0 else repeat(None)
    parted = Parted(crowd, noise(0.0, excess))
    unbiased = _unbiased(family, g, bias, inputs)
    sharpening = Sharpening(crowd, units, inputs, density, told, alike or family.alike) if family.mirrored else None
    for layer, ((point, scaled, step, log_unit), of_kin) in enumerate(
        zip(_mean_field(family, g, bias, start), kin, strict=False), 1
    ):
        norm, factor = signal.after(point, scaled, step)
        back = factor if backward is forward else backward.step()
        gradient += back.log_mean
        gradient_variance += back.log_variance
        relative_variance += step.slope_spread + 1 - kept
        death = back.death if density < 1 else factor.death
        log_alive = log1p(-death) + (log_alive if density < 1 or free else 0.0)
        seen = pair.seen(family.distance(point, scaled), gradient + log(step.slopes), gradient_variance)
        log_signal = log(family.moment(point, scaled) / inputs.q) + log_unit + norm.mean
        grown = _grown(gradient, gradient_variance, step, g, units)
        square, passed = log_signal + log(inputs.q * units), grown[0] - gradient + back.log_mean
        variance = norm.variance + seen.gradient_variance
        common = alike or family.alike
        akin = common(*of_kin[:3]) if of_kin else None
        sharpness = sharp.after(square, common(point, scaled, step), passed, variance, akin)
        distance = family.distance(point, scaled)
        shared = 0.0 if unbiased is None else log(family.moment(point, scaled)) + log_unit - next(unbiased)
        nearest = crowded.nearest(seen.distance)
        if sharpening:
            more = sharpening.after(square, distance, step, passed, variance, layer * (1 - kept))
        else:
            more = sharpness + plain_sharpening(crowd, units, told, log(max(nearest, _NOTHING)) + shared)
        yield State(
            layer=layer,
            correlation=seen.correlation,
            distance=seen.distance,
            nearest=nearest,
            classes=parted.nearest,
            log_signal=log_signal,
            signal_variance=norm.variance,
            log_gradient=seen.log_gradient,
            gradient_variance=seen.gradient_variance,
            relative_variance=relative_variance,
            alive=exp(log_alive),
            log_sharpness=sharpness,
            log_sharpest=log_sum(sharpness, more),
            log_shared=shared,
            log_rise=sharp.log_rise,
            log_apart=(log(max(step.point.q * step.point.d, _NOTHING)) + log_unit + norm.mean) / 2,
        )
        gradient, gradient_variance = grown
        closes = pair.closes(partial(family.closes, point, scaled), excess)
        more_noise = noise(step.slope_spread, backward.scatter)
        crowded.step(seen.distance, closes, more_noise)
        parted.step(more_noise)
        pair.step(step.share, excess, backward.scatter)
        excess = backward.excess


def _mean_field(family: Family, g: float, bias: Bias, point: Point) -> Iterator[tuple[Point, Bias, Step, float]]:
    """Of hidden layers 1, 2, ... the point, the bias and the step from there, in a unit, and the log of its square."""
    log_unit = 0.0
    while True:
        step = family.step(point, g, bias)
        yield point, bias, step, log_unit
        point = step.point
        if not 1 / _FAR < point.q < _FAR:
            # a rectifier has no scale of its own: a signal out of the range of floats is carried in its own unit
            log_unit += log(point.q)
            bias = Bias(bias.variance / point.q, bias.mode)
            point = Point(1.0, point.d, point.mean / sqrt(point.q))


def _unbiased(family: Family, g: float, bias: Bias, inputs: Point) -> Iterator[float] | None:
    """Log second moment of the units of hidden layers 1, 2, ... of a plain net if it had no biases; None where there
    are none."""
    if bias.variance == 0 or family.mirrored:
        return None
    free = Bias(0.0, "zero")
    start, _ = family.first(inputs, g, free)
    return (log(family.moment(point, scaled)) + unit for point, scaled, _, unit in _mean_field(family, g, free, start))


def _noise(slope_spread: float, scatter: float, *, units: float, kept: float, positions: bool) -> float:
    """That of `crowd`; `scatter`: what weights left out add to it, relatively."""
    return 0.0 if positions else ((1 + slope_spread) * (1 + scatter) - kept) / units


def _grown(gradient: float, variance: float, step: Step, g: float, units: float) -> tuple[float, float]:
    """Log of the gradient in the typical net, and its variance over nets, after a step at mean field."""
    if step.both > 0:
        typical, wander = two_slopes(step.both, max(1, int(units)))
        return gradient + log(g) + typical, variance + wander
    return gradient + (log(step.gain) - step.gradient_noise / (2 * units)), variance + step.gradient_noise / units


def nets_of(family: Family, width: int, g: float, bias: Bias, inputs: Point) -> Ensemble | None:
    """The ensemble that tells a walk of distance and gradient; None where mean field does."""
    if not (family.mirrored and family.gaussian and bias.mode == "iid" and bias.variance > 0 and width >= 2 * FEWEST):
        return None
    return ensemble(width, g, bias.variance, inputs.q, 1 - inputs.d)


class _Pair:
    """What is seen of two inputs, and of the gradient, told by drawn nets, by `angles` or by mean field."""

    def __init__(
        self, family: Family, width: int, start: Point, density: float, positions: bool, nets: Ensemble | None
    ) -> None:
        self._nets = None if nets is None else iter(nets)
        self._angles = None if positions or family.bends is None else Angles(start.d, width)
        self._family, self._width, self._density = family, width, density
        self._twisted = 0.0

    def seen(self, d: float, gradient: float, variance: float) -> Seen:
        """After a layer, where mean field has the distance d, and the gradient the log and the variance given."""
        if self._nets is not None:
            return next(self._nets)
        return Seen(*(self._angles.seen() if self._angles else (1 - d, _typical(d, self._twisted))), gradient, variance)

    def closes(self, mean_field: Callable[[float], float], excess: float) -> Callable[[float], float]:
        """What a layer makes of distances, up to a factor; `excess` and `scatter` of its units as in `pruned`."""
        if self._density == 1 or self._angles is None:
            return mean_field
        return lambda d: mean_field(d) * float(pruned_angles.widens(excess, np.arccos([1 - d]))[0])

    def step(self, share: float, excess: float, scatter: float) -> None:
        """One layer on."""
        family, density = self._family, self._density
        if self._angles and family.bends:
            self._angles.step(share, pruned_angles.layer(family.bends, density, excess, scatter))
        self._twisted += family.twist(self._width)
        if density < 1:
            self._twisted -= (scatter + (not family.gaussian) * (1 - density**2)) / (self._width / 2)


def _typical(d: float, twist: float) -> float:
    """`1 - |c|` after log(1 - c^2) has grown by `twist`, d = 1 - c."""
    if twist == 0:
        return min(d, 2 - d)
    squared_sine = d * (2 - d) * exp(twist)
    return squared_sine / (1 + sqrt(1 - squared_sine))
