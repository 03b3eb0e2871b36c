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
    """Of K networks, in double precision but for the Jacobians; the layers of one network after those of another."""

    sums: NDArray[np.float64]  # (sum of L, 4), see `isoinit.signals.sums_of`
    squared_norms: NDArray[np.float64]  # (sum of L + 1, B), of every input and of the features of every hidden layer
    dead: NDArray[np.float64]  # (sum of L,)
    gradient_norms: NDArray[np.float64]  # (sum of L + 1,)
    jacobians: Tensor  # (K, inputs, out, features of the input)


def applies(network: Plain, x: Tensor, inputs: int) -> bool:
    """Whether the network is one for `measure`: narrow, in float32 and on the CPU."""
    (out, wide), width = network.weights[-1].shape, len(network.weights[0])
    largest = (len(x) + inputs * out) * wide * max(out, width)
    on_cpu = x.device.type == network.weights[0].device.type == "cpu"
    return largest <= _ONE_THREAD and x.dtype == torch.float32 and on_cpu


def form(network: Plain) -> tuple[Any, ...]:
    """What networks have in common that `measure` takes at once: all but their depth and their numbers."""
    return network.activation, network.weights[0].shape, network.weights[-1].shape, network.masks is None


@torch.no_grad()
def measure(networks: Sequence[Plain], x: Tensor, y: Tensor | None, inputs: int) -> Found:
    """Measure networks of one `form` on x (B, ...), with the gradients of the loss of `probe` for the classes y (B,)
    and the Jacobians at the first `inputs`.

    ValueError if a class is none of the outputs.
    """
    x, places, kind = x.flatten(1), min(inputs, len(x)), _KINDS[networks[0].activation]
    out = len(networks[0].weights[-1])
    classes = np.empty(0, np.int64) if y is None else np.ascontiguousarray(y.numpy())
    if len(classes) and not 0 <= classes.min() <= classes.max() < out:
        raise ValueError(f"y must hold classes from 0 to {out - 1}, got {classes.min()} to {classes.max()}")
    weights, masks = _stacked([n.weights for n in networks]), [np.empty((0, 0, 0), np.bool_)] * 3
    if networks[0].masks is not None:
        kept = _stacked([n.masks for n in networks if n.masks is not None])
        weights = [weight.mul_(mask) for weight, mask in zip(weights, kept, strict=True)]
        masks = [mask.numpy() for mask in kept]
    first, hidden, head = (weight.numpy() for weight in weights)
    biases = torch.stack([bias for n in networks for bias in n.biases[:-1]]).numpy()
    last = torch.stack([n.biases[-1] for n in networks]).numpy()
    layers = np.array([len(n.weights) - 1 for n in networks])
    sums, squares, dead, norms, jacobians = _measure(
        x.t().contiguous().numpy(), first, hidden, head, biases, last, layers, classes, *masks, places, kind
    )
    if any(map(any, (n.frozen for n in networks))):
        norms[[frozen for n in networks for frozen in n.frozen]] = np.nan
    rows = torch.from_numpy(jacobians).view(*first.shape[:2], places, out)
    return Found(sums, squares, dead, norms, rows.permute(0, 2, 3, 1))


def _stacked(tensors: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The first of each network, transposed, (K, in, width); all hidden ones, (sum of L - 1, width, wide); the last of
    each, (K, out, wide)."""
    hidden = [tensor for of_one in tensors for tensor in of_one[1:-1]]
    first, last = torch.stack([of_one[0] for of_one in tensors]), torch.stack([of_one[-1] for of_one in tensors])
    return [first.mT.contiguous(), torch.stack(hidden) if hidden else last[:0, : first.shape[1]], last]


def narrow_chain(weights: Sequence[Tensor], activation: nn.Module, data: Tensor) -> bool:
    """Whether layers with these weights and an activation between are for `calibrate`."""
    (out, wide), width = weights[-1].shape, len(weights[0])
    if activation_name(activation) not in _KINDS or len(data) * wide * max(out, width) > _ONE_THREAD:
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
    kind, chosen = _KINDS[activation_name(activation)], _STATISTICS.index(statistic)
    outputs = torch.stack([torch.mm(data.flatten(1), first.t()) for first in stacks[0].unbind()])
    biases, still = _calibrate(outputs.numpy(), *[stack.numpy() for stack in stacks], np.array(layers), kind, chosen)
    return [torch.from_numpy(part) for part in biases], list(still)


@_exactly
def walk(a, support, walking, target, skip, i, further, cos, sin):
    """Steps of the walks of `isoinit.schemes.sparse` with matrices a (count, columns, rows) and where they may be other
    than zero, both in place, for those that are `walking` (count,), which then says who still are.

    i, further, cos, sin: of the planes, (count, steps) each; the other column is i + 1 + further, in a circle. skip:
    (count,), leave columns that are both zero as they are, whose zeros would change their signs.
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
        for step in range(i.shape[1]):
            one = i[k, step]
            other = (one + 1 + further[k, step]) % columns
            union = 0
            for row in range(rows):
                union += support[k, one, row] | support[k, other, row]
            if skip[k] and union == 0:
                continue
            after = now + 2 * union - sizes[one] - sizes[other]
            if after - target <= target - now:
                c, s = cos[k, step], sin[k, step]
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


@_part
def _divide(weight, deviations):
    """The rows of a weight, in place."""
    for j in range(weight.shape[0]):
        for i in range(weight.shape[1]):
            weight[j, i] /= deviations[j]


@_compile
def _calibrate(z, first, hidden, head, layers, kind, statistic):
    """See `calibrate`; z (K, B, width) are the outputs of the first layers, and used up."""
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
        _activate(z[k], features, kind)
        for _ in range(layers[k]):
            np.dot(features, hidden[row].T, z[k])
            still[1][row] = _standardize(z[k], statistic, shifts[1][row], deviations[1][row])
            _divide(hidden[row], deviations[1][row])
            _activate(z[k], features, kind)
            row += 1
        np.dot(features, head[k].T, outputs)
        still[2][k] = _standardize(outputs, statistic, shifts[2][k], deviations[2][k])
        _divide(head[k], deviations[2][k])
    return (-shifts[0] / deviations[0], -shifts[1] / deviations[1], -shifts[2] / deviations[2]), still


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
def _norm(gradient, masks, k):
    """Norm of a gradient where the k-th mask, if there are any, is True."""
    total = 0.0
    for r in range(gradient.shape[0]):
        for c in range(gradient.shape[1]):
            value = np.float64(gradient[r, c])
            if masks.shape[0] > 0:
                value *= np.float64(masks[k, r, c])
            total += value * value
    return np.sqrt(total)


@_part
def _entering(x, squares):
    """Squared norms of the inputs x (in, B)."""
    squares[:] = 0.0
    for i in range(x.shape[0]):
        for b in range(x.shape[1]):
            squares[b] += np.float64(x[i, b]) * np.float64(x[i, b])


@_compile
def _measure(x, first, hidden, head, biases, last, layers, y, first_mask, mask, head_mask, places, kind):
    """See `measure` and `_stacked`; x (in, B), layers (K,). The Jacobians are (K, in, rows)."""
    (into, batch), (count, _, width), (_, out, wide) = x.shape, first.shape, head.shape
    rows, total, deepest = batch + places * out, layers.sum(), layers.max()
    sums, dead = np.empty((total, 4)), np.empty(total)
    squares, norms = np.empty((total + count, batch)), np.empty(total + count)
    jacobians = np.empty((count, into, rows - batch), np.float32)
    mean, means = np.empty(width), np.empty(width)
    z, part = np.empty((batch, width), np.float32), np.empty((batch, width), np.float32)
    features = np.empty((deepest, batch, wide), np.float32)
    outputs, by_outputs = np.empty((batch, out), np.float32), np.empty((rows, out), np.float32)
    by_features, by_before = np.empty((rows, wide), np.float32), np.empty((rows, width), np.float32)
    by_head, by_weight = np.empty((out, wide), np.float32), np.empty((width, wide), np.float32)
    at = np.arange(rows)
    for r in range(batch, rows):
        at[r] = (r - batch) // out
    piece = min(into, max(1, _ONE_THREAD // (rows * width)))
    start = 0
    for k in range(count):
        depth, above, begin = layers[k], start - k, start + k  # where its hidden weights and its norms begin
        _entering(x, squares[begin])
        z[:] = 0.0
        for layer in range(depth):
            if layer > 0:
                np.dot(features[layer - 1], hidden[above + layer - 1].T, z)
            for i in range(0, into if layer == 0 else 0, piece):
                np.dot(x[i : i + piece].T, first[k][i : i + piece], part)
                for b in range(batch):
                    for j in range(width):
                        z[b, j] += part[b, j]
            for b in range(batch):
                for j in range(width):
                    z[b, j] += biases[start + layer, j]
            _activate(z, features[layer], kind)
            dead[start + layer] = _statistics(
                z, features[layer], mean, means, sums[start + layer], squares[begin + layer + 1]
            )
        np.dot(features[depth - 1], head[k].T, outputs)
        for b in range(batch):
            for c in range(out):
                outputs[b, c] += last[k, c]
        _by_outputs(outputs, y, by_outputs[:batch])
        for r in range(batch, rows):
            for c in range(out):
                by_outputs[r, c] = _ONE if c == (r - batch) % out else _ZERO
        np.dot(by_outputs[:batch].T, features[depth - 1], by_head)
        norms[begin + depth] = _norm(by_head, head_mask, k)
        for layer in range(depth - 1, -1, -1):
            if layer == depth - 1:
                np.dot(by_outputs, head[k], by_features)
            else:
                np.dot(by_before, hidden[above + layer], by_features)
            _differentiate(by_features, features[layer], at, by_before, kind)
            if layer > 0:
                np.dot(by_before[:batch].T, features[layer - 1], by_weight)
                norms[begin + layer] = _norm(by_weight, mask, above + layer - 1)
        square = 0.0
        for i in range(0, into, piece):
            by_first = np.dot(x[i : i + piece], by_before[:batch])
            square += _norm(by_first, first_mask[:, i : i + piece], k) ** 2
            if places > 0:
                np.dot(first[k][i : i + piece], by_before[batch:].T, jacobians[k][i : i + piece])
        norms[begin] = np.sqrt(square)
        start += depth
    return sums, squares, dead, norms, jacobians
