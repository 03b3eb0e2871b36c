"""Weights divided by what the outputs deviate by, layer after layer, for the schemes that adapt to data."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoinit.activations import activation_name
from isoinit.narrow.compilers import ONE_THREAD, entry, part
from isoinit.narrow.layers import KINDS, activate

_STATISTICS = ("total", "unit", "sample")
_TOTAL, _UNIT, _SAMPLE = range(3)


def narrow_chain(weights: Sequence[Tensor], activation: nn.Module, data: Tensor) -> bool:
    """Whether layers with these weights and an activation between are for `calibrate`."""
    (out, wide), width = weights[-1].shape, len(weights[0])
    if activation_name(activation) not in KINDS or len(data) * wide * max(out, width) > ONE_THREAD:
        return False
    return all(t.is_cpu and t.dtype == torch.float32 for t in (data, *weights))


@torch.no_grad()
def calibrate(
    stacks: Sequence[Tensor], layers: Sequence[int], activation: nn.Module, data: Tensor, statistic: str
) -> tuple[list[Tensor], list[NDArray[np.bool_]]]:
    """Divide the weights of every layer of K networks by the deviations of its outputs, in place. Returns, as such
    stacks, the biases that then take the shifts of the outputs away, and of which layers the outputs do not vary, which
    are not divided.

    stacks: the weights of the first layers (K, width, in), of all hidden ones (sum of `layers`, width, wide) and of the
    heads (K, out, wide), all contiguous. statistic: "total", the deviation over inputs and units; "unit", mean and
    deviation of every unit over inputs; "sample", the root of the variance over inputs, mean over units. Without a
    shift but for "unit".
    """
    kind, chosen = KINDS[activation_name(activation)], _STATISTICS.index(statistic)
    outputs = torch.stack([torch.mm(data.flatten(1), first.t()) for first in stacks[0].unbind()])
    biases, still = _calibrate(outputs.numpy(), *[stack.numpy() for stack in stacks], np.array(layers), kind, chosen)
    return [torch.from_numpy(part) for part in biases], list(still)


@part
def _standardize(z, statistic, shifts, deviations):
    """Take shift and deviation out of z (B, units), in place. Returns whether a deviation is not above 0."""
    batch, units = z.shape
    means, squares = np.zeros(units), np.zeros(units)
    for b in range(batch):
        for j in range(units):
            means[j] += np.float64(z[b, j])
    for j in range(units):
        means[j] /= batch
    if statistic == _TOTAL:
        means[:] = means.mean()
    for b in range(batch):
        for j in range(units):
            deviation = np.float64(z[b, j]) - means[j]
            squares[j] += deviation * deviation
    if statistic != _UNIT:
        squares[:] = squares.mean()
    still = False
    for j in range(units):
        deviation = np.sqrt(squares[j] / batch)
        still |= not deviation > 0.0
        deviations[j] = deviation if deviation > 0.0 else 1.0
        shifts[j] = means[j] if statistic == _UNIT else 0.0
    for b in range(batch):
        for j in range(units):
            z[b, j] = (z[b, j] - shifts[j]) / deviations[j]
    return still


@part
def _divide(weight, deviations):
    """The rows of a weight, in place."""
    for j in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            weight[j, i] /= deviations[j]


@entry
def _calibrate(edition: int):
    def _calibrate(z, first, hidden, head, layers, kind, statistic):
        """See `calibrate`; z (K, B, width) are the outputs of the first layers, and used up."""
        _ = edition
        (networks, batch, width), (_, out, wide) = z.shape, head.shape
        shifts = (
            np.zeros((networks, width), np.float32),
            np.zeros((len(hidden), width), np.float32),
            np.zeros((networks, out), np.float32),
        )
        deviations = np.ones_like(shifts[0]), np.ones_like(shifts[1]), np.ones_like(shifts[2])
        still = np.zeros(networks, np.bool_), np.zeros(len(hidden), np.bool_), np.zeros(networks, np.bool_)
        features, outputs = np.empty((batch, wide), np.float32), np.empty((batch, out), np.float32)
        row = 0
        for k in range(networks):
            still[0][k] = _standardize(z[k], statistic, shifts[0][k], deviations[0][k])
            _divide(first[k], deviations[0][k])
            activate(z[k], features, kind)
            for _ in range(layers[k]):
                np.dot(features, hidden[row].T, z[k])
                still[1][row] = _standardize(z[k], statistic, shifts[1][row], deviations[1][row])
                _divide(hidden[row], deviations[1][row])
                activate(z[k], features, kind)
                row += 1
            np.dot(features, head[k].T, outputs)
            still[2][k] = _standardize(outputs, statistic, shifts[2][k], deviations[2][k])
            _divide(head[k], deviations[2][k])
        return (-shifts[0] / deviations[0], -shifts[1] / deviations[1], -shifts[2] / deviations[2]), still

    return _calibrate
