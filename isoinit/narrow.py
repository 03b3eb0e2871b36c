"""Narrow plain MLPs measured in one compiled call each: what `chain` measures, without its hundreds of small calls. And
calibrated, for the schemes that adapt to data, and walked with, for the sparse ones.

The products are so small that the BLAS (scipy's) takes one thread, and a network is measured by itself, so that what is
found does not depend on company. Compiling takes some seconds, once per machine; `isoinit.probe.probe` does without.

Letters: L hidden layers of `width` units and `wide` features (twice as many with crelu), B inputs, `out` outputs; R =
B + rows of Jacobians, which are the gradients of one output at one of the first inputs each.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoinit.chain import Plain
from isoinit.layers import activation_name
from isoinit.schemes.wiring import copy_each

_ONE_THREAD = 2**18  # multiplications from which on OpenBLAS may share a product between threads
_KINDS = {"relu": 0, "tanh": 1, "sigmoid": 2, "hardtanh": 3, "linear": 4, "crelu": 5}
_RELU, _TANH, _SIGMOID, _HARDTANH, _LINEAR, _CRELU = range(6)
_STATISTICS = ("total", "unit", "sample")
_TOTAL, _UNIT, _SAMPLE = range(3)
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)

_options: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
_compile: Any = numba.njit(cache=True, **_options)
_part: Any = numba.njit(inline="always", **_options)
_exactly: Any = numba.njit(cache=True, nogil=True, error_model="numpy")  # rounds as numpy does


class Found(NamedTuple):
    """Of one network, in double precision but for the Jacobians."""

    sums: NDArray[np.float64]  # (L, 4), see `isoinit.signals.sums_of`
    squared_norms: NDArray[np.float64]  # (L, B)
    dead: NDArray[np.float64]  # (L,)
    gradient_norms: NDArray[np.float64]  # (L + 1,)
    jacobians: Tensor  # (inputs, out, features of the input)


def applies(network: Plain, x: Tensor, inputs: int) -> bool:
    """Whether the network is one for `measure`: narrow, in float32 and on the CPU."""
    (out, wide), width = network.weights[-1].shape, len(network.weights[0])
    largest = (len(x) + inputs * out) * wide * max(out, width)
    on_cpu = x.device.type == network.weights[0].device.type == "cpu"
    return largest <= _ONE_THREAD and x.dtype == torch.float32 and on_cpu


@torch.no_grad()
def measure(network: Plain, x: Tensor, y: Tensor | None, inputs: int) -> Found:
    """Measure on x (B, ...), with the gradients of the loss of `probe` for the classes y (B,) and the Jacobians at the
    first `inputs`.

    ValueError if a class is none of the outputs.
    """
    x = x.flatten(1)
    out, wide = network.weights[-1].shape
    stacks = [network.weights[:1], network.weights[1:-1], network.weights[-1:]]
    first, hidden, head = [torch.stack(list(s)) if s else x.new_empty(0, len(network.weights[0]), wide) for s in stacks]
    masks: list[Tensor] = []
    if network.masks is not None:
        parts = [network.masks[:1], network.masks[1:-1], network.masks[-1:]]
        masks = [torch.stack(list(p)) if p else hidden.bool() for p in parts]
        for weights, mask in zip((first, hidden, head), masks, strict=True):
            weights.mul_(mask)
    biases, last = list(network.biases[:-1]), network.biases[-1].detach()
    before = torch.addmm(biases[0], x, first[0].t())
    classes: list[int] = [] if y is None else y.tolist()
    if classes and not 0 <= min(classes) <= max(classes) < out:
        raise ValueError(f"y must hold classes from 0 to {out - 1}, got {min(classes)} to {max(classes)}")
    kept = [mask.numpy() for mask in masks[1:]] or [np.empty((0, 0, 0), np.bool_)] * 2
    sums, squares, dead, norms, by_before = _measure(
        before.numpy(), hidden.numpy(), head[0].numpy(), torch.stack(biases).numpy(), last.contiguous().numpy(),
        np.array(classes, np.int64), *kept, min(inputs, len(x)), _KINDS[network.activation],
    )  # fmt: skip
    gradient = torch.from_numpy(by_before)
    by_first = gradient[: len(x)].t() @ x
    by_first = by_first.mul_(masks[0][0]) if masks else by_first
    norms[0] = torch.linalg.vector_norm(by_first, dtype=torch.float64).item()
    if any(network.frozen):
        norms[network.frozen] = np.nan
    jacobians = (gradient[len(x) :] @ first[0]).view(-1, out, x.shape[1])
    return Found(sums, squares, dead, norms, jacobians)


def narrow_chain(weights: Sequence[Tensor], activation: nn.Module, data: Tensor) -> bool:
    """Whether layers with these weights and an activation between are for `calibrate`."""
    (out, wide), width = weights[-1].shape, len(weights[0])
    known = all(t.is_cpu and t.dtype == torch.float32 for t in (data, *weights))
    return known and activation_name(activation) in _KINDS and len(data) * wide * max(out, width) <= _ONE_THREAD


@torch.no_grad()
def calibrate(
    weights: Sequence[Tensor], activation: nn.Module, data: Tensor, statistic: str
) -> tuple[Tensor, list[int]]:
    """Divide the weights of every layer by the deviations of its outputs, in place. Returns the biases, (L + 1, units),
    that then take the shifts of the outputs away, and the layers whose outputs do not vary, which are not divided.

    statistic: "total", the deviation over inputs and units; "unit", mean and deviation of every unit over inputs;
    "sample", the root of the variance over inputs, mean over units. Without a shift but for "unit".
    """
    first, *hidden, head = weights
    stack = torch.stack(hidden) if hidden else data.new_empty(0, len(first), head.shape[1])
    outputs = torch.mm(data.flatten(1), first.t()).numpy()
    shifts, deviations, still = _calibrate(
        outputs, stack.numpy(), head.detach().contiguous().numpy(), _KINDS[activation_name(activation)],
        _STATISTICS.index(statistic),
    )  # fmt: skip
    if hidden:
        copy_each(hidden, stack)
    for layer, weight in ((0, first), (-1, head)):
        weight.div_(torch.from_numpy(deviations[layer, : len(weight), None]))
    return torch.from_numpy(-shifts / deviations), np.flatnonzero(still).tolist()


@_exactly
def walk(a, support, walking, target, skip, i, j, cos, sin):
    """Steps of the walks of `isoinit.schemes.sparse` with matrices a (count, columns, rows) and where they may be other
    than zero, both in place, for those that are `walking` (count,), which then says who still are.

    i, j, cos, sin: the planes, (steps, count) each. skip: leave columns that are both zero as they are, whose zeros
    would change their signs.
    """
    count, columns, rows = a.shape
    for k in range(count):
        if not walking[k]:
            continue
        sizes = np.zeros(columns, np.int64)
        for column in range(columns):
            for row in range(rows):
                sizes[column] += support[k, column, row]
        now = sizes.sum()
        for step in range(len(i)):
            one, other = i[step, k], j[step, k]
            union = 0
            for row in range(rows):
                union += support[k, one, row] | support[k, other, row]
            if skip and union == 0:
                continue
            after = now + 2 * union - sizes[one] - sizes[other]
            if after - target <= target - now:
                c, s = cos[step, k], sin[step, k]
                for row in range(rows):
                    x, y = a[k, one, row], a[k, other, row]
                    a[k, one, row], a[k, other, row] = c * x + s * y, c * y - s * x
                    either = support[k, one, row] | support[k, other, row]
                    support[k, one, row] = support[k, other, row] = either
                sizes[one] = sizes[other] = union
                now = after
            if after >= target:
                walking[k] = False
                break


@_part
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


@_compile
def _calibrate(z, hidden, head, kind, statistic):
    """See `calibrate`; z (B, width) are the outputs of the first layer, and used up; `hidden` is divided."""
    (batch, width), (out, wide) = z.shape, head.shape
    layers = hidden.shape[0] + 1
    units = max(width, out)
    shifts, deviations = np.zeros((layers + 1, units), np.float32), np.ones((layers + 1, units), np.float32)
    still = np.zeros(layers + 1, np.bool_)
    features, outputs = np.empty((batch, wide), np.float32), np.empty((batch, out), np.float32)
    for layer in range(layers):
        if layer > 0:
            np.dot(features, hidden[layer - 1].T, z)
        still[layer] = _standardize(z, statistic, shifts[layer, :width], deviations[layer, :width])
        if layer > 0:
            for j in range(width):
                for i in range(wide):
                    hidden[layer - 1, j, i] /= deviations[layer, j]
        _activate(z, features, kind)
    np.dot(features, head.T, outputs)
    still[layers] = _standardize(outputs, statistic, shifts[layers, :out], deviations[layers, :out])
    return shifts, deviations, still


@_part
def _activate(z, h, kind):
    """Features h (B, wide) of the pre-activations z (B, width)."""
    rows, width = z.shape
    for b in range(rows):
        if kind == _RELU:
            for j in range(width):
                h[b, j] = _ZERO if z[b, j] <= _ZERO else z[b, j]  # this way round, not a number stays what it is
        elif kind == _TANH:
            for j in range(width):
                h[b, j] = np.tanh(z[b, j])
        elif kind == _SIGMOID:
            for j in range(width):
                h[b, j] = _HALF + _HALF * np.tanh(_HALF * z[b, j])
        elif kind == _HARDTANH:
            for j in range(width):
                h[b, j] = _ONE if z[b, j] > _ONE else (-_ONE if z[b, j] < -_ONE else z[b, j])
        elif kind == _LINEAR:
            for j in range(width):
                h[b, j] = z[b, j]
        else:
            for j in range(width):
                h[b, j] = _ZERO if z[b, j] <= _ZERO else z[b, j]
                h[b, j + width] = _ZERO if z[b, j] >= _ZERO else -z[b, j]


@_part
def _differentiate(g, h, at, into, kind):
    """Gradients by pre-activations (R, width) from those by features g (R, wide) and the features h (B, wide), of which
    row r has the input at[r]. Rows are not cut out: to count who refers to a slice takes longer than to go through it.
    """
    rows, width = into.shape
    for r in range(rows):
        b = at[r]
        if kind == _RELU:
            for j in range(width):
                into[r, j] = _ZERO if h[b, j] <= _ZERO else g[r, j]
        elif kind == _TANH:
            for j in range(width):
                into[r, j] = g[r, j] * (_ONE - h[b, j] * h[b, j])
        elif kind == _SIGMOID:
            for j in range(width):
                into[r, j] = g[r, j] * (_ONE - h[b, j]) * h[b, j]
        elif kind == _HARDTANH:
            for j in range(width):
                into[r, j] = g[r, j] if h[b, j] > -_ONE and h[b, j] < _ONE else _ZERO
        elif kind == _LINEAR:
            for j in range(width):
                into[r, j] = g[r, j]
        else:
            for j in range(width):
                positive = _ZERO if h[b, j] <= _ZERO else g[r, j]
                into[r, j] = positive - (_ZERO if h[b, j + width] <= _ZERO else g[r, j + width])


@_part
def _statistics(z, h, mean, total, sums, squares):
    """Sums of the pre-activations z and squared norms of the features h; the share of features that are dead.

    `mean` and `total` (width,) are scratch.
    """
    batch, width = z.shape
    mean[:] = 0.0
    total[:] = 0.0
    alive = 0
    for b in range(batch):
        square = 0.0
        for j in range(width):
            value = np.float64(z[b, j])
            square += value * value
            mean[j] += value
        if square != 0.0:
            alive += 1
            scale = 1.0 / np.sqrt(square)
            for j in range(width):
                total[j] += scale * np.float64(z[b, j])
    direction, squared_mean, variance = 0.0, 0.0, 0.0
    for j in range(width):
        direction += total[j] * total[j]
        mean[j] /= batch
        squared_mean += mean[j] * mean[j]
    for b in range(batch):
        for j in range(width):
            deviation = np.float64(z[b, j]) - mean[j]
            variance += deviation * deviation
    sums[0], sums[1], sums[2], sums[3] = alive, direction, variance / (batch * width), squared_mean / width
    for b in range(batch):
        square = 0.0
        for j in range(h.shape[1]):
            square += np.float64(h[b, j]) * np.float64(h[b, j])
        squares[b] = square
    zeros = 0
    for j in range(h.shape[1]):
        b = 0
        while b < batch and h[b, j] == _ZERO:
            b += 1
        zeros += b == batch
    return zeros / h.shape[1]


@_part
def _by_outputs(outputs, y, into):
    """Gradient of the loss by the outputs, (B, out)."""
    batch, out = outputs.shape
    share = _ONE / np.float32(batch)
    for b in range(batch):
        if y.shape[0] == 0:
            for c in range(out):
                into[b, c] = outputs[b, c] * share
            continue
        top = outputs[b, 0]
        for c in range(1, out):
            top = outputs[b, c] if outputs[b, c] > top else top
        norm = _ZERO
        for c in range(out):
            into[b, c] = np.exp(outputs[b, c] - top)
            norm += into[b, c]
        for c in range(out):
            into[b, c] /= norm
        into[b, y[b]] -= _ONE
        for c in range(out):
            into[b, c] *= share


@_part
def _norm(gradient, mask):
    """Norm of a gradient where the mask, if it has an entry, is True."""
    total = 0.0
    for r in range(gradient.shape[0]):
        for c in range(gradient.shape[1]):
            value = np.float64(gradient[r, c])
            if mask.shape[0] > 0:
                value *= np.float64(mask[r, c])
            total += value * value
    return np.sqrt(total)


@_compile
def _measure(z, hidden, head, biases, last, y, masks, head_mask, places, kind):
    """One pass up and one down, from the first pre-activations z (B, width), which are used up, to the gradients by
    them, (R, width)."""
    batch, width = z.shape
    out, wide = head.shape
    layers = hidden.shape[0] + 1
    sums, squares, dead = np.empty((layers, 4)), np.empty((layers, batch)), np.empty(layers)
    mean, total, norms = np.empty(width), np.empty(width), np.empty(layers + 1)
    features = np.empty((layers, batch, wide), np.float32)
    for layer in range(layers):
        if layer > 0:
            np.dot(features[layer - 1], hidden[layer - 1].T, z)
            for b in range(batch):
                for j in range(width):
                    z[b, j] += biases[layer, j]
        _activate(z, features[layer], kind)
        dead[layer] = _statistics(z, features[layer], mean, total, sums[layer], squares[layer])
    outputs = np.empty((batch, out), np.float32)
    np.dot(features[layers - 1], head.T, outputs)
    for b in range(batch):
        for c in range(out):
            outputs[b, c] += last[c]

    rows = batch + places * out
    by_outputs = np.zeros((rows, out), np.float32)
    _by_outputs(outputs, y, by_outputs[:batch])
    at = np.arange(rows)
    for r in range(batch, rows):
        by_outputs[r, (r - batch) % out] = _ONE
        at[r] = (r - batch) // out
    by_features, by_before = np.empty((rows, wide), np.float32), np.empty((rows, width), np.float32)
    by_head, by_weight = np.empty((out, wide), np.float32), np.empty((width, wide), np.float32)
    np.dot(by_outputs[:batch].T, features[layers - 1], by_head)
    norms[layers] = _norm(by_head, head_mask[0] if head_mask.shape[0] > 0 else head_mask.reshape((0, 0)))
    for layer in range(layers - 1, -1, -1):
        if layer == layers - 1:
            np.dot(by_outputs, head, by_features)
        else:
            np.dot(by_before, hidden[layer], by_features)
        _differentiate(by_features, features[layer], at, by_before, kind)
        if layer > 0:
            np.dot(by_before[:batch].T, features[layer - 1], by_weight)
            norms[layer] = _norm(by_weight, masks[layer - 1] if masks.shape[0] > 0 else masks.reshape((0, 0)))
    return sums, squares, dead, norms, by_before
