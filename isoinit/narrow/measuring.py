"""Gradients, Jacobians and statistics of narrow networks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoinit.chain import Plain
from isoinit.narrow.compilers import ONE_THREAD, entry
from isoinit.narrow.layers import KINDS, ONE, ZERO, activate, differentiate
from isoinit.narrow.quantities import entering, loss_gradient, masked_norm, statistics


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
    return largest <= ONE_THREAD and x.dtype == torch.float32 and on_cpu


def form(network: Plain) -> tuple[Any, ...]:
    """What networks have in common that `measure` takes at once: all but their depth and their numbers."""
    return network.activation, network.weights[0].shape, network.weights[-1].shape, network.masks is None


@torch.no_grad()
def measure(networks: Sequence[Plain], x: Tensor, y: Tensor | None, inputs: int) -> Found:
    """Measure networks of one `form` on x (B, ...), with the gradients of the loss of `probe` for the classes y (B,)
    and the Jacobians at the first `inputs`.

    ValueError if a class is none of the outputs.
    """
    x, places, kind = x.flatten(1), min(inputs, len(x)), KINDS[networks[0].activation]
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


@entry
def _measure(edition: int):
    def _measure(x, first, hidden, head, biases, last, layers, y, first_mask, mask, head_mask, places, kind):
        """See `measure` and `_stacked`; x (in, B), layers (K,). The Jacobians are (K, in, rows)."""
        _ = edition
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
        piece = min(into, max(1, ONE_THREAD // (rows * width)))
        start = 0
        for k in range(count):
            depth, above, begin = layers[k], start - k, start + k  # where its hidden weights and its norms begin
            entering(x, squares[begin])
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
                activate(z, features[layer], kind)
                dead[start + layer] = statistics(
                    z, features[layer], mean, means, sums[start + layer], squares[begin + layer + 1]
                )
            np.dot(features[depth - 1], head[k].T, outputs)
            for b in range(batch):
                for c in range(out):
                    outputs[b, c] += last[k, c]
            loss_gradient(outputs, y, by_outputs[:batch])
            for r in range(batch, rows):
                for c in range(out):
                    by_outputs[r, c] = ONE if c == (r - batch) % out else ZERO
            np.dot(by_outputs[:batch].T, features[depth - 1], by_head)
            norms[begin + depth] = masked_norm(by_head, head_mask, k)
            for layer in range(depth - 1, -1, -1):
                if layer == depth - 1:
                    np.dot(by_outputs, head[k], by_features)
                else:
                    np.dot(by_before, hidden[above + layer], by_features)
                differentiate(by_features, features[layer], at, by_before, kind)
                if layer > 0:
                    np.dot(by_before[:batch].T, features[layer - 1], by_weight)
                    norms[begin + layer] = masked_norm(by_weight, mask, above + layer - 1)
            square = 0.0
            for i in range(0, into, piece):
                by_first = np.dot(x[i : i + piece], by_before[:batch])
                square += masked_norm(by_first, first_mask[:, i : i + piece], k) ** 2
                if places > 0:
                    np.dot(first[k][i : i + piece], by_before[batch:].T, jacobians[k][i : i + piece])
            norms[begin] = np.sqrt(square)
            start += depth
        return sums, squares, dead, norms, jacobians

    return _measure
