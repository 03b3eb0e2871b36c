"""Mean-field maps of one layer of mirrored units, which are ReLU nets that are linear but for what biases break.

Legend as of `maps`, of a core unit: `q` variance, `c = 1 - d` correlation of two inputs in it, and
`rho = q / (q + sb2)`.

    mirrored b   q' = g q + sb2            q' d' = g q d               gradient g       (affine net)
    iid b        q' = g (q + sb2)(1 - k(-rho))                         gradient g (1 + arccos(rho) / pi)
                 q' c' = g (q + sb2)[k((q c + sb2)/(q + sb2)) - k(-rho c)]       (derived here)

With an iid bias `q` is the variance before the bias is added, else after.
"""

from math import acos, pi, sin, sqrt

from isoinit.theory.maps import Alike, Bias, Point, Step, bent, biased, on_alike


def first(inputs: Point, g: float, bias: Bias) -> tuple[Point, float]:
    point = Point(g * inputs.q, inputs.d)
    return (point if bias.mode == "iid" else biased(point, bias)), g


def step(point: Point, g: float, bias: Bias) -> Step:
    """With s = relu(u + b1) - relu(-u + b2): mean square, covariance, slopes 0, 1 or 2, and the noise of N/2 units.

    The noise is that of independent biases on u of fixed length, so without the share of u's own fluctuation.
    """
    if bias.mode != "iid" or bias.variance == 0:
        nxt = biased(Point(g * point.q, point.d), bias)
        share = g * point.q / nxt.q
        return Step(nxt, g, 1.0, 0.0, share)
    total = point.q + bias.variance
    rho = point.q / total
    kept = bent(1 + rho)
    d = _closed(point.d, rho)
    both = acos(rho) / (2 * pi)  # both halves on: slope 2; with the same probability none: slope 0
    slopes = 1 + 2 * both
    spread = (1 + 14 * both) / slopes**2 - 1
    kinks = sqrt(1 - rho * rho) / pi  # what the kinks of s take from d E s^2 / dq, by Price's theorem
    share = (slopes - kinks) * point.q / (total * kept)
    fourth = 3 - 8 * _third_moment(-rho) + 6 * _square_moment(-rho)  # E s^4 / total^2
    noise = fourth / kept**2 - 1 - 2 * share**2
    nxt = Point(g * total * kept, max(d, 0.0))
    return Step(nxt, g * slopes, 1.0, spread, share, max(noise, 0.0), both=both)


def _closed(d: float, rho: float) -> float:
    return 1 - (bent(1 + rho * (1 - d)) - bent(rho * d)) / bent(1 + rho)


def closes(point: Point, bias: Bias, d: float) -> float:
    """What a layer makes of a `distance` in mean field, up to a factor that is the same for all distances."""
    if bias.mode != "iid" or bias.variance == 0:
        return d
    rho = point.q / (point.q + bias.variance)
    return _closed(min(d / rho, 1.0), rho)


def alike(point: Point, bias: Bias, step: Step) -> Alike:
    """Halves are on for both inputs as in a ReLU net with their biases, and one for the one, the other for the other,
    with u and -u of correlation -rho c."""
    if bias.mode != "iid" or bias.variance == 0:
        return Alike(1 - bent(point.d), 1.0, 1.0, on_alike(point.d))
    rho = point.q / (point.q + bias.variance)
    d, slopes = point.d * rho, 1 + 2 * step.both
    both = on_alike(d)
    return Alike(1 - bent(d), (both + on_alike(1 + rho * (1 - point.d))) / slopes, 1 / slopes, both / slopes)


def _third_moment(c: float) -> float:
    """`E relu(u)^3 relu(v)` of unit Gaussians."""
    theta = acos(c)
    return (sin(theta) * (2 + c * c) + 3 * (pi - theta) * c) / (2 * pi)


def _square_moment(c: float) -> float:
    """`E relu(u)^2 relu(v)^2` of unit Gaussians, `J2 / (2 pi)`."""
    theta = acos(c)
    return (3 * sin(theta) * c + (pi - theta) * (1 + 2 * c * c)) / (2 * pi)


def moment(point: Point, bias: Bias) -> float:
    return point.q + (bias.variance if bias.mode == "iid" else 0.0)


def reading(point: Point, bias: Bias) -> tuple[float, float]:
    """With an iid bias: the share of the activations' square that u brought, and its noise, as in `Step`."""
    rho = point.q / (point.q + bias.variance)
    return rho, max(2 + 2 * _square_moment(-rho) - 2 * rho**2, 0.0)


def distance(point: Point, bias: Bias) -> float:
    return point.d * point.q / moment(point, bias)
