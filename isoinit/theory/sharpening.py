"""How much sharper a net becomes until it tells its inputs apart.

**Linear and looks-linear nets.** In the frame in which a net of isometries is the identity, gradient descent adds the
same matrix M to each of its L layers, for each class of rank one: from the class's part in the input to the direction
that its logit reads. These two are unrelated, so that M^2 is small and all layers together make 1 + L M of it: after
the share t of them the class's part has grown by 1 + s^2 t^2, and the squared gradient from there on is greater by 1 +
s^2 (1 - t)^2, with s = |L M|. Where layers are no isometries, what is learnt in layer k comes to layer l as (J J^T) g,
J the Jacobian between them and g the gradient in l, which has more of the greatest singular values than g: its square
is greater by 1 + (l - k) v / L, with v = Var(e) / E(e)^2 of the eigenvalues e of the whole J J^T, and of k and k'
together by what the shorter way has. That is the spread of the weights: what biases switch on and off differs from
input to input. So s^2 t^2 becomes s^2 t^2 (1 + t v / 3), and the sharpness in that direction, the sum over layers of
the product of both, grows by (derived here)

    growth = 1 + s^2 (2 / 3 + a / 2) + s^4 (1 / 30 + a / 30 + a^2 / 140)        a = v / 3, s^2 = K lead^2 / n

for n units, those of the core in a mirrored net, and classes whose part is the K-th of an input's squared norm, as if K
directions shared it. The `lead` is in standard deviations of the logits at initialization: the one with which the right
of K logits is the greatest for the share `Tolerance.told` of the inputs. What biases give to all inputs alike does not
grow: it is the sharpness of the net without them that does, and `Sharpening` is what this adds to the whole.

Real data's classes have other parts (`tests/test_theory_sharpening.py` has what networks do on digits).

**Rectifiers that are not mirrored, and smooth units,** make inputs alike, until they are one linear map for all of
them (argued here, not derived). The class's part is then the share d of the squared norm by which an input differs from
the nearest other one, so that the lead asks for s^2 = lead^2 / (n d), and what grows is the gradient alone, by 1 + s^2
(1 - t)^2, for what inputs have in common passes it, too. On the mean over the layers the sharpness grows by 1 + s^2 /
3. The distance is that of the last layer, as if no layer told more; networks of ReLU on digits grow one to three times
as much (the same tests).
"""

from collections.abc import Callable
from functools import lru_cache
from math import exp, inf, log

from scipy.optimize import brentq
from scipy.special import ndtr

from isoinit.theory.asked import above, asks, between, least, whole
from isoinit.theory.gaussian import expectation
from isoinit.theory.maps import Alike, Bias, Point, Step
from isoinit.theory.sharpness import Sharpness
from isoinit.theory.tolerance import SUREST

TOLD = between(0, SUREST)


@asks(inputs=whole(2), told=TOLD)
@lru_cache
def lead(inputs: int, told: float) -> float:
    """What has to be added to one of `inputs` unit normal variables for it to be the greatest with probability `told`;
    0 if chance is enough."""

    def short(added: float) -> float:
        return told - expectation(lambda z: ndtr(z + added) ** (inputs - 1)).value

    return float(brentq(short, 0.0, 20.0)) if short(0.0) > 0 else 0.0  # pyright: ignore[reportArgumentType]


@asks(inputs=whole(2), units=whole(1), told=TOLD, relative_variance=least(0))
def growth(inputs: int, units: int, told: float, relative_variance: float = 0.0) -> float:
    """By how much the sharpness of a linear net grows until it tells the share `told` of its inputs, where its Jacobian
    J has this Var(e) / E(e)^2 of the eigenvalues e of J J^T, 0 of isometries."""
    return 1 + _more(_squared(inputs, units, told), relative_variance)


@asks(inputs=whole(2), units=whole(1), told=TOLD, distance=above(0))
def plain_growth(inputs: int, units: int, told: float, distance: float) -> float:
    """The same of a net of rectifiers that are not mirrored, whose inputs differ from the nearest other one by this
    share of their squared norm, of the length that they have without biases."""
    return 1 + exp(plain_sharpening(inputs, units, told, log(distance)))


def plain_sharpening(inputs: int, units: float, told: float, log_distance: float) -> float:
    """Log of what `plain_growth` adds to 1."""
    ahead = lead(inputs, told)
    return 2 * log(ahead) - log(3 * units) - log_distance if ahead > 0 else -inf


def _squared(inputs: int, units: int, told: float) -> float:
    """s^2."""
    return inputs * lead(inputs, told) ** 2 / units


def _more(square: float, relative_variance: float) -> float:
    a = relative_variance / 3
    return square * (2 / 3 + a / 2) + square**2 * (1 / 30 + a / 30 + a * a / 140)


class Sharpening:
    """Log of what a mirrored net's sharpness grows by, from layer to layer."""

    def __init__(
        self,
        inputs: int,
        units: float,
        start: Point,
        density: float,
        told: float,
        alike: Callable[[Point, Bias, Step], Alike],
    ) -> None:
        """`start`: mean square coordinate and 1 - cosine of the inputs; `alike` as of `Family`."""
        self._squared = _squared(inputs, max(1, int(units)), told)
        self._unbiased = Sharpness(inputs, units, start.q, 1 - start.d, density, biases=False)
        self._start, self._alike = start, alike

    def after(
        self, log_square: float, distance: float, step: Step, passed: float, variance: float, relative_variance: float
    ) -> float:
        """As `Sharpness.after`, where `distance` is 1 - cosine of the activations behind the biases, and
        `relative_variance` that of `growth`."""
        brought = log(max(distance / self._start.d, 1e-300))  # the inputs' share of the square
        alike = self._alike(self._start, Bias(0.0, "zero"), step)
        unbiased = self._unbiased.after(log_square + brought, alike, passed, variance)
        more = _more(self._squared, relative_variance)
        return unbiased + log(more) if more > 0 else -inf
