"""The families of ReLU initializers: which map, and which law of one layer's factor, moves a signal."""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

from scipy.special import digamma

from isoinit.theory import angles, factors, maps, mirrored, ones
from isoinit.theory.angles import Law
from isoinit.theory.factors import Factor
from isoinit.theory.maps import Alike, Bias, Point, Step


@dataclass(frozen=True)
class Family:
    """How one kind of initializer moves a signal.

    critical   sigma_w2 at which g = 1: a standard initializer of the family keeps the squared norm in the mean
    first      point after the first layer, and its weights' gain, from (variance, 1 - correlation) of the inputs
    step       mean-field map of one layer
    moment     second moment of the activations that corresponds to a point
    distance   1 - cosine of the pre-activations
    forward    law of one layer's factor of the squared norm at zero bias, `(width, g) -> Factor`
    backward   the same of a squared Jacobian-vector product
    gaussian   whether the weights' own spectrum widens that of the Jacobian
    mirrored   whether a unit is a mirrored pair
    twist      `width -> ` drift per layer of log(1 - c^2) of the typical net, which mean field misses
    bends      what a finite width adds to the angle of two inputs in a ReLU layer; None: mean field is all
    closes     mean-field map of the distance in a layer, up to a factor that is the same for all distances
    alike      what two inputs have in common in a layer, of which `sharpness` is made
    """

    critical: float
    first: Callable[[Point, float, Bias], tuple[Point, float]]
    step: Callable[[Point, float, Bias], Step]
    moment: Callable[[Point, Bias], float]
    distance: Callable[[Point, Bias], float]
    forward: Callable[[int, float], Factor]
    backward: Callable[[int, float], Factor]
    gaussian: bool
    mirrored: bool = False
    twist: Callable[[int], float] = lambda _: 0.0
    bends: Law | None = None
    closes: Callable[[Point, Bias, float], float] = maps.closes
    alike: Callable[[Point, Bias, Step], Alike] = maps.alike


def _gaussian(width: int, g: float) -> Factor:
    return factors.gaussian(width, sw2=2 * g)


def _orthogonal(width: int, g: float) -> Factor:
    return factors.orthogonal(width, 2 * g)


def _core(width: int, g: float) -> Factor:
    return factors.mirrored_gaussian(width, 2 * g)


def _constant(_: int, g: float) -> Factor:
    return factors.isometry(2 * g)


def _spread_only(law: Callable[[int, float], Factor]) -> Callable[[int, float], Factor]:
    """A law without its drift: the scale of the weights, set on the data, has taken it away."""

    def centred(width: int, g: float) -> Factor:
        return factors.centred(law(width, g), g)

    return centred


def _core_twist(width: int) -> float:
    """`E log` of the squared sine of an angle under a Gaussian core of M = width/2: exact, and negative."""
    core = width // 2
    return float(digamma((core - 1) / 2) - digamma(core / 2)) if core > 1 else 0.0


KEPT_SAMPLE_VARIANCE = 2 * pi / (pi - 1)  # sigma_w2 that keeps unit sample variance (1902.04942)


_PLAIN = (2.0, maps.plain_first, maps.plain_step, maps.half, maps.distance)
_MIRRORED = (2.0, mirrored.first, mirrored.step, mirrored.moment, mirrored.distance)
_ONES = (1.0, ones.first, ones.step, ones.moment, ones.distance)
_IDENTITY = (1.0, maps.still_first, maps.identity_step, maps.identity_moment, maps.distance)
_STILL = (1.0, maps.still_first, maps.still_step, maps.whole, maps.distance)
_CALIBRATED = (2.0, maps.calibrated_first, maps.plain_step, maps.half, maps.distance)
_SCALED = (KEPT_SAMPLE_VARIANCE, maps.kept_variance_first, maps.kept_variance_step, maps.half, maps.distance)
_STANDARDIZED = (
    KEPT_SAMPLE_VARIANCE, maps.standardized_first, maps.standardized_step, maps.half, maps.distance
)  # fmt: skip

FAMILIES: dict[str, Family] = {
    "gaussian": Family(*_PLAIN, _gaussian, _gaussian, gaussian=True, bends=angles.gaussian),
    "orthogonal": Family(*_PLAIN, _orthogonal, _orthogonal, gaussian=False, bends=angles.orthogonal),
    "mirrored_gaussian": Family(
        *_MIRRORED,
        _core,
        _core,
        gaussian=True,
        mirrored=True,
        twist=_core_twist,
        closes=mirrored.closes,
        alike=mirrored.alike,
    ),
    "mirrored_orthogonal": Family(
        *_MIRRORED, _constant, _constant, gaussian=False, mirrored=True, closes=mirrored.closes, alike=mirrored.alike
    ),
    "ones_orthogonal": Family(*_ONES, _constant, _constant, gaussian=False, alike=ones.alike),
    "identity": Family(
        *_IDENTITY, _constant, _constant, gaussian=False, closes=maps.closes_alike, alike=maps.alike_if_positive
    ),
    "still": Family(*_STILL, _constant, _constant, gaussian=False, closes=maps.closes_alike, alike=maps.alike_whole),
    "calibrated": Family(*_CALIBRATED, _constant, _spread_only(_orthogonal), gaussian=False, bends=angles.orthogonal),
    "kept_variance": Family(*_SCALED, _constant, _spread_only(_gaussian), gaussian=True, bends=angles.gaussian),
    "standardized": Family(*_STANDARDIZED, _constant, _gaussian, gaussian=True),
}
