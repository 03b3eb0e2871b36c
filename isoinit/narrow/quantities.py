"""What is summed up over the batch, the units and the weights of a network."""

import numpy as np

from isoinit.narrow.compilers import part
from isoinit.narrow.layers import ONE, ZERO


@part
def statistics(z, h, mean, total, sums, squares):
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
        while b < batch and h[b, j] == ZERO:
            b += 1
        zeros += b == batch
    return zeros / h.shape[1]


@part
def loss_gradient(outputs, y, into):
    """Gradient of the loss by the outputs, (B, out)."""
    batch, out = outputs.shape
    share = ONE / np.float32(batch)
    for b in range(batch):
        if y.shape[0] == 0:
            for c in range(out):
                into[b, c] = outputs[b, c] * share
            continue
        top = outputs[b, 0]
        for c in range(1, out):
            top = outputs[b, c] if outputs[b, c] > top else top
        norm = ZERO
        for c in range(out):
            into[b, c] = np.exp(outputs[b, c] - top)
            norm += into[b, c]
        for c in range(out):
            into[b, c] /= norm
        into[b, y[b]] -= ONE
        for c in range(out):
            into[b, c] *= share


@part
def masked_norm(gradient, masks, k):
    """Norm of a gradient where the k-th mask, if there are any, is True."""
    total = 0.0
    for r in range(gradient.shape[0]):
        for c in range(gradient.shape[1]):
            value = np.float64(gradient[r, c])
            if masks.shape[0] > 0:
                value *= np.float64(masks[k, r, c])
            total += value * value
    return np.sqrt(total)


@part
def entering(x, squares):
    """Squared norms of the inputs x (in, B)."""
    squares[:] = 0.0
    for i in range(x.shape[0]):
        for b in range(x.shape[1]):
            squares[b] += np.float64(x[i, b]) * np.float64(x[i, b])
