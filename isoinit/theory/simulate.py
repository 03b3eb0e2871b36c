"""Monte-Carlo twin of `profile`: small nets in numpy (`random_nets`), measured on inputs at a stated angle.

All nets at once: arrays are (nets, inputs, units).
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from isoinit.theory.asked import GENERATOR, asks, whole
from isoinit.theory.gaussian import Array, stretched
from isoinit.theory.predict import DEFAULT, Prediction, Tolerance, predict, setting_of
from isoinit.theory.random_nets import BATCH, Net
from isoinit.theory.setting import Smooth

DEAD = -1e4  # the log of a dead net's norm: finite, and below that of every other net


@dataclass(frozen=True, eq=False)
class Simulation:
    """Measurements on random nets, with the meaning and the layers of `Profile`.

    log_norm          (nets, L) log |x_l|^2 / |x_0|^2; `DEAD` for a dead net
    correlation       (nets, L) of two inputs in the pre-activations; nan where one of them is dead
    log_nearest       (nets, L) log of 1 - |cosine|, in the pre-activations, of an input and the nearest of the others,
                      of `tolerance.inputs`, mean over inputs; nan where one of them is dead
    log_classes       (nets, L) the same of J_l^T w, the gradients at the input of as many classes of random weights w
    log_gradient      (nets, L) log |J_l v|^2 / |v|^2 for a random v
    singular_values   (nets, K) of J_L, descending
    """

    log_norm: Array
    correlation: Array
    log_nearest: Array
    log_classes: Array
    log_gradient: Array
    singular_values: Array


@asks(nets=whole(1), rng=GENERATOR)
def simulate(
    scheme: str,
    *,
    depth: int,
    width: int,
    nets: int = 32,
    activation: str = "relu",
    normalization: str = "none",
    sigma_w2: float | None = None,
    sigma_b2: float = 0.0,
    bias_mode: str = "zero",
    density: float = 1.0,
    architecture: str = "mlp",
    tolerance: Tolerance = DEFAULT,
    rng: np.random.Generator,
) -> Simulation:
    """Draw `nets` networks and measure them; arguments as `profile`. Costs about nets * depth * width^3 operations."""
    prediction = predict(
        scheme, depth=depth, width=width, activation=activation, normalization=normalization, sigma_w2=sigma_w2,
        sigma_b2=sigma_b2, bias_mode=bias_mode, density=density, architecture=architecture, tolerance=tolerance,
    )  # fmt: skip
    if why := no_simulation(prediction):
        raise ValueError(why)
    net = Net.of(prediction)
    x = _inputs(nets, BATCH.get(net.family, 2), net.fan_in, tolerance, rng)
    crowd = int(tolerance.inputs.value)
    if x.shape[1] < crowd:
        x = np.concatenate([x, _inputs(nets, crowd, net.fan_in, tolerance, rng.spawn(1)[0])[:, x.shape[1] :]], axis=1)
    v = rng.standard_normal((nets, net.fan_in, 1))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return _measured(net, depth - 1, x, v, crowd, rng)


def _measured(net: Net, layers: int, x: Array, v: Array, crowd: int, rng: np.random.Generator) -> Simulation:
    """The nets on inputs x (nets, inputs, units) and a direction v (nets, units, 1), drawn layer by layer."""
    nets, _, fan_in = x.shape
    start = np.sum(x[:, 0] ** 2, axis=1)
    jacobian = np.broadcast_to(np.eye(fan_in), (nets, fan_in, fan_in))
    jacobian_scale = signal_scale = np.zeros(nets)  # logs of what was divided out
    calm = x  # what a data-driven scheme sees: its signal before the weights are multiplied by the gain
    heads = _heads(net, nets, crowd, rng.spawn(1)[0])
    norms, correlations, nearest, classes, gradients = [], [], [], [], []
    for layer in range(layers):
        w = net.weights(nets, layer == 0, rng)
        h, slope = x @ w.transpose(0, 2, 1), np.ones((nets, 1))
        b = net.biases(nets, rng)
        if net.adapts:
            calm, slope, b = net.adapted(calm, w)
            h = h * slope[:, None]
        h = h + b * np.exp(np.minimum(-signal_scale, 600))[:, None, None]
        slope = slope * net.slope(h[:, 0])
        x = net.phi(h)
        if net.homogeneous:
            x, signal_scale = _rescaled(x, signal_scale)
        jacobian, jacobian_scale = _rescaled(slope[:, :, None] * (w @ jacobian), jacobian_scale)
        norms.append(_log(np.sum(x[:, 0] ** 2, axis=1) / start, signal_scale))
        correlations.append(_cosine(h[:, 0], h[:, 1]))
        nearest.append(_log_nearest(h[:, :crowd]))
        classes.append(_log_nearest(heads @ jacobian))
        gradients.append(_log(np.sum((jacobian @ v) ** 2, axis=(1, 2)), jacobian_scale))
    singular = np.linalg.svd(jacobian, compute_uv=False)
    singular = stretched(np.asarray(singular, dtype=np.float64), jacobian_scale[:, None])
    per_layer = (norms, correlations, nearest, classes, gradients)
    norms, correlations, nearest, classes, gradients = (np.array(seen).T for seen in per_layer)
    return Simulation(norms, correlations, nearest, classes, gradients, singular)


def _heads(net: Net, nets: int, classes: int, rng: np.random.Generator) -> Array:
    """Weights (nets, classes, units) of a last layer; that of a mirrored net is mirrored, too."""
    if not net.mirrored:
        return rng.standard_normal((nets, classes, net.width))
    core = rng.standard_normal((nets, classes, net.width // 2))
    return np.concatenate([core, -core], axis=2)


def _rescaled(x: Array, log_scale: Array) -> tuple[Array, Array]:
    """`x` (nets, ...) of mean square 1, and the log of what was divided out; zeros stay as they are."""
    size = np.sqrt(np.mean(x**2, axis=(1, 2)))
    size = np.where(size > 0, size, 1.0)
    return x / size[:, None, None], log_scale + np.log(size)


def _log(square: Array, log_scale: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.where(square > 0, np.log(square) + 2 * log_scale, DEAD)


def no_simulation(prediction: Prediction) -> str:
    """Why this network cannot be simulated here, in one sentence; "" if it can."""
    setting = setting_of(prediction)
    if isinstance(setting, Smooth):
        name = prediction.activation
        if setting.net.normalized:
            return f"batch normalization with {name} is not simulated here"
    elif setting.family.startswith("mirrored") and setting.width % 2:
        return f"the simulation of a mirrored net needs an even width, but got {prediction.width}"
    if (units := Net.of(prediction).fan_in) < 2:
        return f"two inputs at an angle need at least 2 input units, but width {prediction.width} gives {units}"
    return ""


def _inputs(nets: int, count: int, units: int, tolerance: Tolerance, rng: np.random.Generator) -> Array:
    """Inputs of the stated mean square; the first two have exactly, all others in the mean, the stated cosine."""
    c = tolerance.input_correlation.value
    x = rng.standard_normal((nets, count, units))
    a = x[:, 0] / np.linalg.norm(x[:, 0], axis=1, keepdims=True)
    b = x[:, 1] - np.sum(x[:, 1] * a, axis=1, keepdims=True) * a
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    if count > 2:
        common = rng.standard_normal((nets, 1, units))
        x = sqrt(max(c, 0.0)) * common + sqrt(1 - max(c, 0.0)) * x
    else:
        x[:, 0], x[:, 1] = sqrt(units) * a, sqrt(units) * (c * a + sqrt(1 - c * c) * b)
    return x * sqrt(tolerance.input_square.value)


def _log_nearest(h: Array) -> Array:
    """Mean over inputs [nets] of log(1 - |cosine|) with the nearest other one, of h (nets, inputs, units)."""
    lengths = np.linalg.norm(h, axis=2, keepdims=True)
    unit = h / np.where(lengths > 0, lengths, np.nan)
    each = np.arange(h.shape[1])
    cosines = np.abs(unit @ unit.transpose(0, 2, 1))
    cosines[:, each, each] = 0
    return np.log(np.maximum(1 - cosines.max(axis=2), 1e-16)).mean(axis=1)


def _cosine(a: Array, b: Array) -> Array:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.sum(a * b, axis=1) / np.where(lengths > 0, lengths, np.nan)
