"""Small random nets in numpy, drawn as the schemes draw them: what `simulate` measures.

MLPs with square layers, many nets at once. Data-driven schemes adapt to the simulated inputs. Sparse cores that are
orthogonal are simulated dense, residual nets by the plain net of the same family.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

from isoinit.theory import activations
from isoinit.theory.gaussian import Array, Function
from isoinit.theory.maps import Bias
from isoinit.theory.predict import Prediction, setting_of
from isoinit.theory.setting import Setting

BATCH: Final = {"calibrated": 64, "standardized": 128, "kept_variance": 128}
"""Families of schemes that adapt to inputs, and to how many."""


@dataclass(frozen=True)
class Net:
    """What a layer is made of. homogeneous: the activation has no scale of its own."""

    family: str
    width: int
    gain: float
    bias: Bias
    phi: Function
    slope: Function
    homogeneous: bool
    density: float = 1.0

    @classmethod
    def of(cls, prediction: Prediction) -> "Net":
        """The net that a prediction is of."""
        setting = setting_of(prediction)
        if isinstance(setting, Setting):
            relu = activations.ACTIVATIONS["linear" if setting.family == "still" else "relu"]
            return cls(
                setting.family, setting.width, setting.gain, setting.bias, relu.phi, relu.slope, True, setting.density
            )
        record = activations.get(setting.net.activation)
        family = "gaussian" if setting.net.gaussian else "orthogonal"
        bias = Bias(setting.net.sigma_b2, "iid")
        return cls(family, prediction.width, setting.net.sigma_w2 / 2, bias, record.phi, record.slope, False)

    @property
    def mirrored(self) -> bool:
        return self.family.startswith("mirrored")

    @property
    def adapts(self) -> bool:
        """Whether the scheme sees inputs before it is done."""
        return self.family in BATCH

    @property
    def fan_in(self) -> int:
        """Inputs of the net: those of a core in a mirrored one."""
        return self.width // 2 if self.mirrored else self.width

    def weights(self, nets: int, first: bool, rng: np.random.Generator) -> Array:
        """(nets, width, fan_in) weights of one layer; a mirrored first layer is [U; -U]."""
        family, width, gain = self.family, self.width, 1.0 if self.adapts else self.gain
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
            return sqrt(2 * gain) * _pruned(_haar(nets, width, rng), self.density, rng)
        else:
            return sqrt(2 * gain / width) * _pruned(rng.standard_normal((nets, width, width)), self.density, rng)
        core = _pruned(core, self.density, rng)
        rows = np.concatenate([core, -core], axis=1)
        return sqrt(gain) * (rows if first else np.concatenate([rows, -rows], axis=2))

    def biases(self, nets: int, rng: np.random.Generator) -> Array:
        """(nets, 1, width) biases of one layer."""
        b = sqrt(self.bias.variance) * rng.standard_normal((nets, 1, self.width))
        if self.bias.mode == "mirrored":
            half = self.width // 2
            b[..., half : 2 * half] = -b[..., :half]
        return b

    def adapted(self, seen: Array, w: Array) -> tuple[Array, Array, Array]:
        """What a data-driven scheme makes of a layer of weights w and the activations `seen` (nets, inputs, units):
        those that it sees next, the factor (nets, units or 1) of the layer's outputs, and the biases."""
        seen = seen @ w.transpose(0, 2, 1)
        shift, deviation = _statistics(self.family, seen)
        return np.maximum((seen - shift) / deviation, 0), sqrt(self.gain) / deviation[:, 0], -shift / deviation


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


def _statistics(family: str, h: Array) -> tuple[Array, Array]:
    """Shift and deviation that a data-driven scheme takes out of the pre-activations `h`."""
    if family == "standardized":
        return h.mean(axis=1, keepdims=True), h.std(axis=1, keepdims=True)
    if family == "kept_variance":
        return np.zeros((len(h), 1, 1)), np.sqrt(h.var(axis=1, keepdims=True).mean(axis=2, keepdims=True))
    assert family == "calibrated"
    return np.zeros((len(h), 1, 1)), h.std(axis=(1, 2), keepdims=True)
