"""Training of plain MLPs, one after another, for many steps by a single call."""

from __future__ import annotations

import numpy as np

from sweeps.kernel.activations import CRELU, CURVED, RELU, SIGMOID, activate, clear, differentiate
from sweeps.kernel.blas import DESCENT, UNIT
from sweeps.kernel.compilers import entry, part
from sweeps.kernel.loss import cross_entropy
from sweeps.kernel.pointers import NEXT, ONE, ZERO, address_of, matrix_at, vector_at, whole_lines
from sweeps.kernel.products import (
    add_product,
    crelu_tiles,
    deduct_tiles,
    gate_tiles,
    relu_tiles,
    set_product,
    set_tiles,
    tiled,
    upright,
)
from sweeps.kernel.rules import ADAM, update
from sweeps.kernel.sums import fill_rows, repeat, sum_columns, sum_rows


@part
def _train(addresses, fan_in, fan_out, used, activation, rule, rates, done, y, bound, learns, work, loss, accuracy):
    """One network of `train_members`.

    In one piece: with an inlined function for each of what is done to a layer, steps took 1.15 times as long at width
    16 (median of 21 pairs, by a script that was not kept).
    """
    weights, first, second, mask, x = addresses[0], addresses[1], addresses[2], addresses[3], addresses[4]
    steps, batch = y.shape
    depth = fan_in.shape[0]
    curved = np.int64(activation >= CURVED)
    call = np.zeros(9, np.int32)
    scales = call[6:].view(np.float32)
    scales[0] = ONE
    unit = np.int64(scales.ctypes.data)
    chars = np.empty(2, np.uint8)
    chars[0], chars[1] = 78, 84  # N, T
    at_weight = np.empty(depth, np.int64)
    at_feature = np.empty(depth, np.int64)
    at_slope = np.zeros(depth, np.int64)
    parameter, scratch = np.int64(0), np.int64(0)
    for layer in range(depth):
        at_weight[layer] = 4 * parameter
        parameter += whole_lines(fan_in[layer] * fan_out[layer]) + whole_lines(fan_out[layer])
        at_feature[layer] = address_of(work) + 4 * scratch
        scratch += whole_lines(batch * (fan_in[layer + 1] if layer + 1 < depth else fan_out[layer]))
        if curved and layer + 1 < depth:
            at_slope[layer] = address_of(work) + 4 * scratch
            scratch += whole_lines(batch * fan_out[layer])
    spare = address_of(work) + 4 * scratch
    room = 4 * whole_lines(batch * max(2, fan_in.max(), fan_out.max()))
    gradient = spare + 2 * room
    stateful = rule.kind == ADAM or rule.momentum > ZERO
    plain = not stateful and rule.decay == ZERO and mask == 0  # the product adds to the weights what it found
    last = depth - 1
    classes = fan_out[last]
    for s in range(steps):
        scales[2] = -rates[s]
        images = x + 4 * s * batch * fan_in[0]
        below = images
        for layer in range(last):
            k, m = fan_in[layer], fan_out[layer]
            feature = at_feature[layer]
            bias = weights + at_weight[layer] + 4 * whole_lines(k * m)
            shape, inputs, weight = (batch, m, k), (below, 4 * k, NEXT), (weights + at_weight[layer], 4 * m, NEXT)
            if activation == RELU and tiled(shape, weight):
                relu_tiles(shape, inputs, weight, (bias, 0), ONE, (feature, 4 * m))
            elif activation == CRELU and tiled(shape, weight):
                crelu_tiles(shape, inputs, weight, (bias, 0), ONE, (feature, 8 * m))
            else:
                repeat(vector_at(bias, m), vector_at(spare, batch * m), batch)
                add_product(call, chars, shape, inputs, weight, spare, UNIT, spare)
                slopes = vector_at(at_slope[layer], curved * batch * m)
                features = vector_at(feature, batch * fan_in[layer + 1])
                activate(vector_at(spare, batch * m), features, slopes, activation, m)
                if activation == SIGMOID and used[layer] < m:
                    clear(matrix_at(feature, batch, m), used[layer])
            below = feature
        k = fan_in[last]
        logits, weight = at_feature[last], (weights + at_weight[last], 4 * k, NEXT)
        bias = weight[0] + 4 * whole_lines(k * classes)
        fill_rows(vector_at(bias, classes), vector_at(logits, batch * classes), batch)
        add_product(call, chars, (classes, batch, k), weight, (below, NEXT, 4 * k), spare, UNIT, logits)
        loss[s], accuracy[s] = cross_entropy(
            vector_at(logits, batch * classes), y[s], classes, vector_at(spare, 2 * batch)
        )
        if not learns:
            continue
        if not loss[s] <= bound:
            return
        above = (logits, NEXT, 4 * batch)  # gradient by the pre-activations, (batch, m)
        for layer in range(last, -1, -1):
            k, m = fan_in[layer], fan_out[layer]
            weight = weights + at_weight[layer]
            bias = 4 * whole_lines(k * m)
            below = at_feature[layer - 1] if layer > 0 else images
            following, apart = spare + layer % 2 * room, 4 * k
            shape, side = (batch, k, m), (batch, k // 2, m)
            transposed = (weight, 4 * k, NEXT) if layer == last else (weight, NEXT, 4 * m)
            if layer > 0 and activation == RELU and tiled(shape, transposed):
                gate_tiles(shape, above, upright(shape, transposed, gradient), (below, 4 * k), ONE, (following, 4 * k))
            elif layer > 0 and activation == CRELU and tiled(side, transposed):
                apart = 2 * k
                left = upright(shape, transposed, gradient)
                right = left[0] + apart, left[1], left[2]
                gate_tiles(side, above, left, (below, 4 * k), ONE, (following, apart))
                deduct_tiles(side, above, right, (below + apart, 4 * k), ONE, (following, apart))
            elif layer > 0:
                set_product(call, chars, shape, above, transposed, gradient, following)
                slopes = vector_at(at_slope[layer - 1], curved * batch * k)
                features = vector_at(below, batch * k)
                differentiate(vector_at(following, batch * k), features, slopes, activation, k // 2)
            if layer == last:
                sum_columns(vector_at(above[0], batch * m), vector_at(gradient + bias, m))
                shape, left, right = (m, k, batch), (above[0], 4 * batch, NEXT), (below, 4 * k, NEXT)
            else:
                shape, left, right = (k, m, batch), (below, NEXT, 4 * k), above
                if tiled((1, m, batch), above):
                    set_tiles((1, m, batch), (unit, 0, 0), above, (unit, 0), ONE, (gradient + bias, 0))
                else:
                    sum_rows(matrix_at(above[0], batch, above[1] // 4), vector_at(gradient + bias, m))
            if plain:
                add_product(call, chars, shape, left, right, gradient, DESCENT, weight)
            else:
                set_product(call, chars, shape, left, right, gradient, gradient)
            # weight and bias at once, what lies in the gap between them is never read; or the bias alone
            size = m if plain else whole_lines(k * m) + m
            skipped = bias if plain else 0
            update(
                vector_at(weight + skipped, size),
                vector_at(gradient + skipped, size),
                vector_at(first + at_weight[layer], size if stateful else 0),
                vector_at(second + at_weight[layer], size if rule.kind == ADAM else 0),
                vector_at(mask + at_weight[layer], size if mask != 0 else 0),
                rates[s],
                rule,
                done + s + 1,
            )
            above = (following, apart, NEXT)


@entry
def train_members(edition: int):
    def train_members(addresses, sizes, fans, rule, rates, done, y, bound, learns, work, loss, accuracy):
        """Train K networks on S batches each, one after another; unless `learns`, only run them.

        Each stops learning after its first step whose loss is not finite or above `bound`, before that step's update.

        Args:
            addresses: (K, 5) of a member's flat parameters, the rule's two moments, the 0/1 mask (0 where there is
                none), and its inputs (S, B, fan_in[0]) float32.
            sizes: (K, 4) its layers L >= 2, activation, the column of `fans` where its layers begin, its index in y.
            fans: (3, .) fan_in and fan_out of layers, padding included, and the units that there are.
            rates: (K, S) learning rates. done: steps made before this call.
            y: (., S, B) integers.
            work: scratch of `workspace_size` of the largest. loss, accuracy: (K, S) float64, filled.
        """
        _ = edition
        for k in range(addresses.shape[0]):
            start, stop = sizes[k, 2], sizes[k, 2] + sizes[k, 0]
            _train(
                addresses[k], fans[0, start:stop], fans[1, start:stop], fans[2, start:stop], sizes[k, 1], rule,
                rates[k], done, y[sizes[k, 3]], bound, learns, work, loss[k], accuracy[k],
            )  # fmt: skip

    return train_members
