"""Monte-Carlo twin of `profile`: small ReLU nets in numpy, drawn as the scheme draws them.

MLPs with square layers, all nets at once: arrays are (nets, inputs, units). Data-driven schemes adapt to the
simulated inputs. Sparse cores are simulated dense, residual nets by the plain net of the same family.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from isoinit.theory.gaussian import Array
from isoinit.theory.maps import Bias
from isoinit.theory.predict import DEFAULT, Tolerance, predict, states

_BATCH = {"calibrated": 64, "standardized": 128, "kept_variance": 128}  # inputs that the scheme adapts to
_EMPTY = 1e-300  # logs of a dead net's norm stay finite: -690


@dataclass(frozen=True, eq=False)
class Simulation:
    """Measurements on random nets, with the meaning and the layers of `Profile`.

    log_norm          (nets, L) log |x_l|^2 / |x_0|^2; -690 for a dead net
    correlation       (nets, L) of two inputs in the pre-activations
    log_gradient      (nets, L) log |J_l v|^2 / |v|^2 for a random v
    singular_values   (nets, K) of J_L, descending
    """

    log_norm: Array
    correlation: Array
    log_gradient: Array
    singular_values: Array


def simulate(
    scheme: str,
    *,
    depth: int,
    width: int,
    nets: int = 32,
    activation: str = "relu",
    sigma_w2: float | None = None,
    sigma_b2: float = 0.0,
    bias_mode: str = "zero",
    tolerance: Tolerance = DEFAULT,
    rng: np.random.Generator,
) -> Simulation:
    """Draw `nets` networks and measure them; arguments as `profile`. Costs about nets * depth * width^3 operations."""
    prediction = predict(
        scheme,
        depth=depth,
        width=width,
        activation=activation,
        sigma_w2=sigma_w2,
        sigma_b2=sigma_b2,
        bias_mode=bias_mode,
        tolerance=tolerance,
    )
    family, gain, bias, _ = states(prediction)
    mirrored = family.startswith("mirrored")
    if mirrored and width % 2:
        raise ValueError(f"a mirrored net needs an even width, but got ({width=}).")
    fan_in = width // 2 if mirrored else width
    x = _inputs(nets, _BATCH.get(family, 2), fan_in, tolerance, rng)
    start = np.sum(x[:, 0] ** 2, axis=1)
    jacobian = np.broadcast_to(np.eye(fan_in), (nets, fan_in, fan_in))
    v = rng.standard_normal((nets, fan_in, 1))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    log_scale = np.zeros(nets)
    norms, correlations, gradients = [], [], []
    for layer in range(depth - 1):
        w = _weights(family, nets, width, gain, layer == 0, rng)
        h = x @ w.transpose(0, 2, 1) + _biases(nets, width, bias, rng)
        shift, deviation = _statistics(family, h, gain)
        h = (h - shift) / deviation
        x = np.maximum(h, 0) if family != "still" else h
        slope = (
            (h[:, 0] > 0) / np.broadcast_to(deviation, h.shape)[:, 0] if family != "still" else np.ones_like(h[:, 0])
        )
        jacobian = slope[:, :, None] * (w @ jacobian)
        size = np.sqrt(np.mean(jacobian**2, axis=(1, 2))) + _EMPTY
        jacobian, log_scale = jacobian / size[:, None, None], log_scale + np.log(size)
        norms.append(np.log(np.sum(x[:, 0] ** 2, axis=1) / start + _EMPTY))
        correlations.append(_cosine(h[:, 0], h[:, 1]))
        gradients.append(np.log(np.sum((jacobian @ v) ** 2, axis=(1, 2)) + _EMPTY) + 2 * log_scale)
    singular = np.asarray(np.linalg.svd(jacobian, compute_uv=False) * np.exp(log_scale)[:, None], dtype=np.float64)
    return Simulation(np.array(norms).T, np.array(correlations).T, np.array(gradients).T, singular)


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


def _weights(family: str, nets: int, width: int, gain: float, first: bool, rng: np.random.Generator) -> Array:
    """(nets, width, fan_in) weights of one layer; a mirrored first layer is [U; -U]."""
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
        return sqrt(2 * gain) * _haar(nets, width, rng)
    else:
        return sqrt(2 * gain / width) * rng.standard_normal((nets, width, width))
    rows = np.concatenate([core, -core], axis=1)
    return sqrt(gain) * (rows if first else np.concatenate([rows, -rows], axis=2))


def _haar(nets: int, n: int, rng: np.random.Generator) -> Array:
    q, r = np.linalg.qr(rng.standard_normal((nets, n, n)))
    return q * np.where(np.diagonal(r, axis1=1, axis2=2) < 0, -1.0, 1.0)[:, None, :]


def _keep_ones(rest: Array) -> Array:
    """The orthogonal matrix that fixes ones/sqrt(n) and acts as `rest` on its complement."""
    n = rest.shape[1] + 1
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0]
    return basis[:, :1] @ basis[:, :1].T + basis[:, 1:] @ rest @ basis[:, 1:].T


def _biases(nets: int, width: int, bias: Bias, rng: np.random.Generator) -> Array:
    b = sqrt(bias.variance) * rng.standard_normal((nets, 1, width))
    if bias.mode == "mirrored":
        b[..., width // 2 : 2 * (width // 2)] = -b[..., : width // 2]
    return b


def _statistics(family: str, h: Array, gain: float) -> tuple[Array, Array]:
    """Shift and deviation that a data-driven scheme takes out of the pre-activations `h`."""
    none = np.zeros((len(h), 1, 1))
    if family == "calibrated":
        return none, h.std(axis=(1, 2), keepdims=True) / sqrt(gain)
    if family == "standardized":
        return h.mean(axis=1, keepdims=True), h.std(axis=1, keepdims=True) / sqrt(gain)
    if family == "kept_variance":
        return none, np.sqrt(h.var(axis=1, keepdims=True).mean(axis=2, keepdims=True) / gain)
    return none, none + 1


def _cosine(a: Array, b: Array) -> Array:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.sum(a * b, axis=1) / np.maximum(lengths, _EMPTY)
