"""Monte-Carlo twin of `profile`: small nets in numpy, drawn as the scheme draws them.

MLPs with square layers, all nets at once: arrays are (nets, inputs, units). Data-driven schemes adapt to the
simulated inputs. Sparse cores that are orthogonal are simulated dense, residual nets by the plain net of the same
family.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from isoinit.theory import activations
from isoinit.theory.asked import GENERATOR, asks, whole
from isoinit.theory.gaussian import Array, Function
from isoinit.theory.maps import Bias
from isoinit.theory.predict import DEFAULT, Prediction, Tolerance, predict, setting_of
from isoinit.theory.setting import Setting, Smooth

_BATCH = {"calibrated": 64, "standardized": 128, "kept_variance": 128}  # inputs that the scheme adapts to
DEAD = -1e4  # the log of a dead net's norm: finite, and below that of every other net


@dataclass(frozen=True, eq=False)
class Simulation:
    """Measurements on random nets, with the meaning and the layers of `Profile`.

    log_norm          (nets, L) log |x_l|^2 / |x_0|^2; `DEAD` for a dead net
    correlation       (nets, L) of two inputs in the pre-activations; nan where one of them is dead
    log_gradient      (nets, L) log |J_l v|^2 / |v|^2 for a random v
    singular_values   (nets, K) of J_L, descending
    """

    log_norm: Array
    correlation: Array
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
        scheme,
        depth=depth,
        width=width,
        activation=activation,
        normalization=normalization,
        sigma_w2=sigma_w2,
        sigma_b2=sigma_b2,
        bias_mode=bias_mode,
        density=density,
        architecture=architecture,
        tolerance=tolerance,
    )
    if why := no_simulation(prediction):
        raise ValueError(why)
    net = _net(prediction)
    fan_in = _fan_in(net)
    x = _inputs(nets, _BATCH.get(net.family, 2), fan_in, tolerance, rng)
    start = np.sum(x[:, 0] ** 2, axis=1)
    jacobian = np.broadcast_to(np.eye(fan_in), (nets, fan_in, fan_in))
    v = rng.standard_normal((nets, fan_in, 1))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    jacobian_scale = signal_scale = np.zeros(nets)  # logs of what was divided out
    calm = x  # what a data-driven scheme sees: its signal before the weights are multiplied by the gain
    norms, correlations, gradients = [], [], []
    for layer in range(depth - 1):
        w = _weights(net, nets, layer == 0, rng)
        h, slope = x @ w.transpose(0, 2, 1), np.ones((nets, 1))
        b = _biases(nets, net, rng)
        if net.family in _BATCH:
            seen = calm @ w.transpose(0, 2, 1)
            shift, deviation = _statistics(net.family, seen)
            calm = np.maximum((seen - shift) / deviation, 0)
            slope = sqrt(net.gain) / deviation[:, 0]
            h, b = h * slope[:, None], -shift / deviation
        h = h + b * np.exp(np.minimum(-signal_scale, 600))[:, None, None]
        slope = slope * net.slope(h[:, 0])
        x = net.phi(h)
        if net.homogeneous:
            x, signal_scale = _rescaled(x, signal_scale)
        jacobian, jacobian_scale = _rescaled(slope[:, :, None] * (w @ jacobian), jacobian_scale)
        norms.append(_log(np.sum(x[:, 0] ** 2, axis=1) / start, signal_scale))
        correlations.append(_cosine(h[:, 0], h[:, 1]))
        gradients.append(_log(np.sum((jacobian @ v) ** 2, axis=(1, 2)), jacobian_scale))
    singular = np.linalg.svd(jacobian, compute_uv=False)
    with np.errstate(over="ignore"):
        singular = np.asarray(singular * np.exp(jacobian_scale)[:, None], dtype=np.float64)
    return Simulation(np.array(norms).T, np.array(correlations).T, np.array(gradients).T, singular)


def _rescaled(x: Array, log_scale: Array) -> tuple[Array, Array]:
    """`x` (nets, ...) of mean square 1, and the log of what was divided out; zeros stay as they are."""
    size = np.sqrt(np.mean(x**2, axis=(1, 2)))
    size = np.where(size > 0, size, 1.0)
    return x / size[:, None, None], log_scale + np.log(size)


def _log(square: Array, log_scale: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.where(square > 0, np.log(square) + 2 * log_scale, DEAD)


@dataclass(frozen=True)
class _Net:
    """What a layer is made of. homogeneous: the activation has no scale of its own."""

    family: str
    width: int
    gain: float
    bias: Bias
    phi: Function
    slope: Function
    homogeneous: bool
    density: float = 1.0

    @property
    def mirrored(self) -> bool:
        return self.family.startswith("mirrored")


def no_simulation(prediction: Prediction) -> str:
    """Why this network cannot be simulated here, in one sentence; "" if it can."""
    setting = setting_of(prediction)
    if isinstance(setting, Smooth):
        name = prediction.activation
        if setting.net.normalized:
            return f"batch normalization with {name} is not simulated here"
    elif setting.family.startswith("mirrored") and setting.width % 2:
        return f"the simulation of a mirrored net needs an even width, but got {prediction.width}"
    if (units := _fan_in(_net(prediction))) < 2:
        return f"two inputs at an angle need at least 2 input units, but width {prediction.width} gives {units}"
    return ""


def _fan_in(net: "_Net") -> int:
    """Inputs of the net: those of a core in a mirrored one."""
    return net.width // 2 if net.mirrored else net.width


def _net(prediction: Prediction) -> _Net:
    setting = setting_of(prediction)
    if isinstance(setting, Setting):
        relu = activations.ACTIVATIONS["linear" if setting.family == "still" else "relu"]
        return _Net(
            setting.family, setting.width, setting.gain, setting.bias, relu.phi, relu.slope, True, setting.density
        )
    record = activations.get(setting.net.activation)
    family = "gaussian" if setting.net.gaussian else "orthogonal"
    bias = Bias(setting.net.sigma_b2, "iid")
    return _Net(family, prediction.width, setting.net.sigma_w2 / 2, bias, record.phi, record.slope, False)


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


def _weights(net: _Net, nets: int, first: bool, rng: np.random.Generator) -> Array:
    """(nets, width, fan_in) weights of one layer; a mirrored first layer is [U; -U]."""
    family, width, gain = net.family, net.width, 1.0 if net.family in _BATCH else net.gain
    if family in ("identity", "still"):
        return np.broadcast_to(sqrt(gain) * np.eye(width), (nets, width, width))
    half = width // 2
    if family == "mirrored_gaussian":
        core = rng.standard_normal((nets, half, half)) / sqrt(half)
    elif family == "mirrored_orthogonal":
        core = _haar(nets, half, rng)
    elif family == "ones_orthogonal":
        return sqrt(gain) * _keep_ones(_haar(nets, width - 1, rng))
    elif family in ("orthogonal", "calibrated"):
        return sqrt(2 * gain) * _pruned(_haar(nets, width, rng), net.density, rng)
    else:
        return sqrt(2 * gain / width) * _pruned(rng.standard_normal((nets, width, width)), net.density, rng)
    core = _pruned(core, net.density, rng)
    rows = np.concatenate([core, -core], axis=1)
    return sqrt(gain) * (rows if first else np.concatenate([rows, -rows], axis=2))


def _pruned(weights: Array, density: float, rng: np.random.Generator) -> Array:
    """(nets, rows, columns) of which a share is left, by an exact count, over its root."""
    size = weights[0].size
    count = max(1, round(density * size))
    if count == size:
        return weights
    places = rng.random((len(weights), size)).argpartition(count, axis=1)[:, :count]
    mask = np.zeros((len(weights), size))
    np.put_along_axis(mask, places, sqrt(size / count), axis=1)
    return weights * mask.reshape(weights.shape)


def _haar(nets: int, n: int, rng: np.random.Generator) -> Array:
    q, r = np.linalg.qr(rng.standard_normal((nets, n, n)))
    return q * np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, None, :]


def _keep_ones(rest: Array) -> Array:
    """The orthogonal matrix that fixes ones/sqrt(n) and acts as `rest` on its complement."""
    n = rest.shape[1] + 1
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0]
    return basis[:, :1] @ basis[:, :1].T + basis[:, 1:] @ rest @ basis[:, 1:].T


def _biases(nets: int, net: _Net, rng: np.random.Generator) -> Array:
    b = sqrt(net.bias.variance) * rng.standard_normal((nets, 1, net.width))
    if net.bias.mode == "mirrored":
        half = net.width // 2
        b[..., half : 2 * half] = -b[..., :half]
    return b


def _statistics(family: str, h: Array) -> tuple[Array, Array]:
    """Shift and deviation that a data-driven scheme takes out of the pre-activations `h`."""
    if family == "standardized":
        return h.mean(axis=1, keepdims=True), h.std(axis=1, keepdims=True)
    if family == "kept_variance":
        return np.zeros((len(h), 1, 1)), np.sqrt(h.var(axis=1, keepdims=True).mean(axis=2, keepdims=True))
    assert family == "calibrated"
    return np.zeros((len(h), 1, 1)), h.std(axis=(1, 2), keepdims=True)


def _cosine(a: Array, b: Array) -> Array:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.sum(a * b, axis=1) / np.where(lengths > 0, lengths, np.nan)
