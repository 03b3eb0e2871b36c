"""Cross entropy and its gradient."""

from __future__ import annotations

import math

import numpy as np

from sweeps.kernel.compilers import inline, part
from sweeps.kernel.pointers import HALF, ONE, ZERO, address_of, float_of_bits, vector_at


@inline
def exp(x):
    """exp(x) for x <= 0, to a unit in the last place (Cephes' expf)."""
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    exponent = np.int32(x * np.float32(1.44269504088896341) - HALF)
    n = np.float32(exponent)
    x = (x - n * np.float32(0.693359375)) - n * np.float32(-2.12194440e-4)
    p = x * np.float32(1.9875691500e-4) + np.float32(1.3981999507e-3)
    p = p * x + np.float32(8.3334519073e-3)
    p = p * x + np.float32(4.1665795894e-2)
    p = p * x + np.float32(1.6666665459e-1)
    p = p * x + np.float32(5.0000001201e-1)
    return (p * (x * x) + x + ONE) * float_of_bits((exponent + np.int32(127)) << np.int32(23))


@part
def cross_entropy(z, y, classes, scratch):
    """Mean loss (nats) and share of hits; the logits z, flat (classes * B), become the gradient of the mean loss.

    `scratch` (2 * B) float32. Loops run along the batch, so that they are compiled to vector instructions.
    """
    batch = y.shape[0]
    share = ONE / np.float32(batch)
    at = address_of(z)
    top = vector_at(address_of(scratch), batch)
    place = vector_at(address_of(scratch) + 4 * batch, batch)  # of the first of the highest logits, as a float
    first = vector_at(at, batch)
    for r in range(batch):
        top[r] = first[r]
        place[r] = ZERO
    for c in range(1, classes):
        row = vector_at(at + 4 * c * batch, batch)
        here = np.float32(c)
        for r in range(batch):
            higher = row[r] > top[r]
            place[r] = here if higher else place[r]
            top[r] = row[r] if higher else top[r]
    total = 0.0
    hits = 0
    for r in range(batch):
        hits += place[r] == np.float32(y[r])
        total += top[r] - z[y[r] * batch + r]
    norm = place
    for r in range(batch):
        norm[r] = ZERO
    for c in range(classes):
        row = vector_at(at + 4 * c * batch, batch)
        for r in range(batch):
            power = exp(row[r] - top[r])
            row[r] = power
            norm[r] += power
    for start in range(0, batch, 16):  # one logarithm of a product: norms lie between 1 and the number of classes
        product = 1.0
        for r in range(start, min(start + 16, batch)):
            product *= np.float64(norm[r])
        total += math.log(product)
    for r in range(batch):
        norm[r] = share / norm[r]
    for c in range(classes):
        row = vector_at(at + 4 * c * batch, batch)
        for r in range(batch):
            row[r] *= norm[r]
    for r in range(batch):
        z[y[r] * batch + r] -= share
    return total / batch, hits / batch
