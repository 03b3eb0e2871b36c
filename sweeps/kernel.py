"""One multilayer perceptron, trained for many steps by a single compiled call.

On a CPU the fastest stack of small networks is no stack: one network after another, its parameters and
activations staying in the cache, with no interpreter between two matrix products. Measured against stacked
`baddbmm`, autograd and `jax.vmap` in `tests/bench/kernel.py`. A replicate is then bitwise what it would be
alone, whatever its neighbours do.

Letters: L weight layers, B batch, S steps; layer l maps fan_in[l] features to fan_out[l]. Parameters of a
network are one flat float32 vector: per layer the weight (fan_in, fan_out), row-major, then the bias,
each starting on a cache line. Products go to the BLAS that torch exports, otherwise to scipy's.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any, Final, NamedTuple

import llvmlite.binding
import numba
import numpy as np
import torch
from numba import types
from numba.extending import get_cython_function_address
from numpy.typing import NDArray

from sweeps.spec import Training

Floats = NDArray[np.float32]

RELU, TANH, SIGMOID, HARDTANH, LINEAR, CRELU = range(6)
ACTIVATIONS: Final = {
    "relu": RELU,
    "tanh": TANH,
    "sigmoid": SIGMOID,
    "hardtanh": HARDTANH,
    "linear": LINEAR,
    "crelu": CRELU,
}
SGD, ADAM = range(2)
OPTIMIZERS: Final = {"sgd": SGD, "adam": ADAM}

ADAM_BETA1: Final = 0.9  # Kingma & Ba 2015, as torch's defaults
ADAM_BETA2: Final = 0.999
ADAM_EPSILON: Final = 1e-8

ZERO: Final = np.float32(0)
HALF: Final = np.float32(0.5)
ONE: Final = np.float32(1)
LINE: Final = 16  # float32 per cache line


class Rule(NamedTuple):
    """The update rule, in torch's conventions (weight decay is added to the gradient, of biases too)."""

    kind: int
    momentum: np.float32
    nesterov: bool
    decay: np.float32


def rule(training: Training) -> Rule:
    """The update rule of a spec."""
    kind = OPTIMIZERS[training.optimizer]
    return Rule(kind, np.float32(training.momentum), training.nesterov, np.float32(training.weight_decay))


def _sgemm_address() -> int:
    """Address of a Fortran sgemm: the one torch was built with if it exports it, otherwise scipy's."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if library.is_file():
        exported = getattr(ctypes.CDLL(str(library)), "sgemm_", None)
        if exported is not None:
            address = ctypes.cast(exported, ctypes.c_void_p).value
            assert address is not None
            return address
    return get_cython_function_address("scipy.linalg.cython_blas", "sgemm")


llvmlite.binding.add_symbol("isoinit_sgemm", _sgemm_address())  # by name, so that numba can cache the code
_sgemm: Any = types.ExternalFunction("isoinit_sgemm", types.void(*[types.intp] * 13))

_compile: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})
_inline: Any = numba.njit(inline="always", error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


def padded(size: int) -> int:
    """`size` rounded up to whole cache lines."""
    return -(-size // LINE) * LINE


def aligned(size: int) -> Floats:
    """Zeros that start on a cache line: where a product's operands lie may change its rounding."""
    buffer = np.zeros(size + LINE, np.float32)
    start = -buffer.ctypes.data // buffer.itemsize % LINE
    return buffer[start : start + size]


def parameter_count(fan_in: NDArray[np.int64], fan_out: NDArray[np.int64]) -> int:
    """Length of the flat vector of parameters, padding included."""
    return sum(padded(i * o) + padded(o) for i, o in zip(fan_in.tolist(), fan_out.tolist(), strict=True))


def workspace_size(fan_in: NDArray[np.int64], fan_out: NDArray[np.int64], batch: int) -> int:
    """Length of the scratch vector that `train_steps` needs: features, two gradients, one weight gradient."""
    widest = int(max(fan_in.max(), fan_out.max()))
    features = sum(padded(batch * size) for size in (*fan_in[1:].tolist(), int(fan_out[-1])))
    return features + 2 * padded(batch * widest) + padded(int((fan_in * fan_out).max())) + padded(widest)


@_inline
def _address(array):
    return np.int64(array.ctypes.data)


@_inline
def _multiply(call, chars, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, c, ldc):
    """C = op(A) op(B), column-major; operands are addresses, `call` holds the integers for Fortran."""
    call[0] = m
    call[1] = n
    call[2] = k
    call[3] = lda
    call[4] = ldb
    call[5] = ldc
    p = np.int64(call.ctypes.data)
    t = np.int64(chars.ctypes.data)
    _sgemm(t + transpose_a, t + transpose_b, p, p + 4, p + 8, p + 24, a, p + 12, b, p + 16, p + 28, c, p + 20)


@_inline
def _tanh(x):
    """Rational approximation of degree 13/6, a few units in the last place (as in Eigen, MPL-2.0)."""
    limit = np.float32(7.90531110763549805)
    x = limit if x > limit else (-limit if x < -limit else x)  # not a number stays what it is
    s = x * x
    p = s * np.float32(-2.76076847742355e-16) + np.float32(2.00018790482477e-13)
    p = s * p + np.float32(-8.60467152213735e-11)
    p = s * p + np.float32(5.12229709037114e-08)
    p = s * p + np.float32(1.48572235717979e-05)
    p = s * p + np.float32(6.37261928875436e-04)
    p = s * p + np.float32(4.89352455891786e-03)
    q = s * np.float32(1.19825839466702e-06) + np.float32(1.18534705686654e-04)
    q = s * q + np.float32(2.26843463243900e-03)
    q = s * q + np.float32(4.89352518554385e-03)
    return x * p / q


@_compile
def _activate(h, bias, activation):
    """h: pre-activations without bias (B, n) in place, or (B, 2n) with crelu, where they fill the left half."""
    batch = h.shape[0]
    n = bias.shape[0]
    if activation == RELU:
        for r in range(batch):
            for c in range(n):
                z = h[r, c] + bias[c]
                h[r, c] = ZERO if z < ZERO else z  # this way round, not a number stays what it is
    elif activation == TANH:
        for r in range(batch):
            for c in range(n):
                h[r, c] = _tanh(h[r, c] + bias[c])
    elif activation == SIGMOID:
        for r in range(batch):
            for c in range(n):
                h[r, c] = HALF + HALF * _tanh(HALF * (h[r, c] + bias[c]))
    elif activation == HARDTANH:
        for r in range(batch):
            for c in range(n):
                z = h[r, c] + bias[c]
                h[r, c] = ONE if z > ONE else (-ONE if z < -ONE else z)
    elif activation == LINEAR:
        for r in range(batch):
            for c in range(n):
                h[r, c] += bias[c]
    else:
        for r in range(batch):
            for c in range(n):
                z = h[r, c] + bias[c]
                h[r, c] = ZERO if z < ZERO else z
                h[r, n + c] = ZERO if z > ZERO else -z


@_compile
def _differentiate(g, h, activation):
    """Turn g, the gradient by features h (B, n), into the gradient by pre-activations, in place.

    With crelu, h and g are (B, 2n) and the left half of g is the result.
    """
    batch, n = h.shape
    if activation == RELU:
        for r in range(batch):
            for c in range(n):
                g[r, c] = g[r, c] if h[r, c] > ZERO else ZERO
    elif activation == TANH:
        for r in range(batch):
            for c in range(n):
                g[r, c] *= ONE - h[r, c] * h[r, c]
    elif activation == SIGMOID:
        for r in range(batch):
            for c in range(n):
                g[r, c] *= h[r, c] * (ONE - h[r, c])
    elif activation == HARDTANH:
        for r in range(batch):
            for c in range(n):
                g[r, c] = g[r, c] if -ONE < h[r, c] < ONE else ZERO
    elif activation == CRELU:
        half = n // 2
        for r in range(batch):
            for c in range(half):
                left = g[r, c] if h[r, c] > ZERO else ZERO
                g[r, c] = left - (g[r, half + c] if h[r, half + c] > ZERO else ZERO)


@_compile
def _cross_entropy(z, bias, y):
    """Mean loss (nats) and share of hits; z (B, classes) becomes the gradient of the mean loss."""
    batch, classes = z.shape
    share = ONE / np.float32(batch)
    total = 0.0
    hits = 0
    for r in range(batch):
        top = 0
        for c in range(classes):
            z[r, c] += bias[c]
            if z[r, c] > z[r, top]:
                top = c
        highest = z[r, top]
        target = z[r, y[r]]
        norm = ZERO
        for c in range(classes):
            e = np.float32(math.exp(z[r, c] - highest))
            z[r, c] = e
            norm += e
        total += math.log(norm) - (target - highest)
        hits += top == y[r]
        for c in range(classes):
            z[r, c] *= share / norm
        z[r, y[r]] -= share
    return total / batch, hits / batch


@_compile
def _update(w, g, first, second, mask, rate, rule, step):
    """One step of the update rule on a slice of parameters; `first` and `second` are its moments."""
    if rule.decay > ZERO:
        for i in range(w.shape[0]):
            g[i] += rule.decay * w[i]
    if rule.kind == ADAM:
        keep1, take1 = np.float32(ADAM_BETA1), np.float32(1 - ADAM_BETA1)
        keep2, take2 = np.float32(ADAM_BETA2), np.float32(1 - ADAM_BETA2)
        pace = np.float32(rate / (1 - ADAM_BETA1**step))
        warm = np.float32(1 / math.sqrt(1 - ADAM_BETA2**step))
        for i in range(w.shape[0]):
            first[i] = keep1 * first[i] + take1 * g[i]
            second[i] = keep2 * second[i] + take2 * (g[i] * g[i])
            w[i] -= pace * first[i] / (np.float32(math.sqrt(second[i])) * warm + np.float32(ADAM_EPSILON))
    elif rule.momentum > ZERO:
        ahead = rule.momentum if rule.nesterov else ZERO
        keep = ONE if rule.nesterov else ZERO
        for i in range(w.shape[0]):
            v = rule.momentum * first[i] + g[i]
            first[i] = v
            w[i] -= rate * (keep * g[i] + ahead * v if rule.nesterov else v)
    else:
        for i in range(w.shape[0]):
            w[i] -= rate * g[i]
    if mask.shape[0] > 0:
        for i in range(w.shape[0]):
            w[i] *= mask[i]


@_compile
def train_steps(
    weights, first, second, mask, fan_in, fan_out, activation, rule, rates, done, x, y, bound, work, loss, accuracy
):
    """Train one network on S batches; returns the number of steps made.

    Stops after the first step whose loss is not finite or above `bound`, before that step's update.

    Args:
        weights, first, second, mask: flat parameters, the rule's moments, 0/1 mask (unneeded ones are empty).
        fan_in, fan_out: (L,) sizes of the layers.
        rates: (S,) learning rates. done: steps made before this call.
        x, y: (S, B, fan_in[0]) float32 and (S, B) integers.
        work: scratch of `workspace_size`. loss, accuracy: (S,) float64, filled.
    """
    steps, batch, _ = x.shape
    depth = fan_in.shape[0]
    call = np.zeros(8, np.int32)
    call[6:].view(np.float32)[0] = ONE  # alpha = 1, beta = 0
    chars = np.empty(2, np.uint8)
    chars[0], chars[1] = 78, 84  # N, T
    at_weight = np.empty(depth, np.int64)
    at_bias = np.empty(depth, np.int64)
    at_feature = np.empty(depth + 1, np.int64)
    parameter, scratch = 0, 0
    for layer in range(depth):
        at_weight[layer] = parameter
        at_bias[layer] = parameter + (fan_in[layer] * fan_out[layer] + LINE - 1) // LINE * LINE
        parameter = at_bias[layer] + (fan_out[layer] + LINE - 1) // LINE * LINE
        at_feature[layer] = scratch
        size = fan_in[layer + 1] if layer + 1 < depth else fan_out[layer]
        scratch += (batch * size + LINE - 1) // LINE * LINE
    widest = max(fan_in.max(), fan_out.max())
    room = (batch * widest + LINE - 1) // LINE * LINE
    gradients = (work[scratch : scratch + room], work[scratch + room : scratch + 2 * room])
    at_gradient = scratch + 2 * room
    bias_gradient = work[work.shape[0] - (widest + LINE - 1) // LINE * LINE :]
    base = _address(weights)
    features = _address(work)
    stateful = rule.kind == ADAM or rule.momentum > ZERO
    for s in range(steps):
        images = _address(x[s])
        below, stride = images, fan_in[0]
        for layer in range(depth):
            m, k = fan_out[layer], fan_in[layer]
            here = features + 4 * at_feature[layer]
            out = fan_in[layer + 1] if layer + 1 < depth else m
            _multiply(call, chars, 0, 0, m, batch, k, base + 4 * at_weight[layer], m, below, stride, here, out)
            bias = weights[at_bias[layer] : at_bias[layer] + m]
            h = work[at_feature[layer] : at_feature[layer] + batch * out].reshape(batch, out)
            if layer + 1 < depth:
                _activate(h, bias, activation)
            below, stride = here, out
        logits = work[at_feature[depth - 1] : at_feature[depth - 1] + batch * fan_out[depth - 1]]
        logits = logits.reshape(batch, fan_out[depth - 1])
        loss[s], accuracy[s] = _cross_entropy(logits, weights[at_bias[depth - 1] :][: fan_out[depth - 1]], y[s])
        if not loss[s] <= bound:
            return s + 1
        g = logits
        for layer in range(depth - 1, -1, -1):
            m, k = fan_out[layer], fan_in[layer]
            stride = g.shape[1]
            source = _address(g)
            below = features + 4 * at_feature[layer - 1] if layer > 0 else images
            following = gradients[layer % 2][: batch * k].reshape(batch, k)
            if layer > 0:
                h = work[at_feature[layer - 1] : at_feature[layer - 1] + batch * k].reshape(batch, k)
                w = base + 4 * at_weight[layer]
                _multiply(call, chars, 1, 0, k, batch, m, w, m, source, stride, _address(following), k)
                _differentiate(following, h, activation)
            gw = work[at_gradient : at_gradient + k * m]
            _multiply(call, chars, 0, 1, m, k, batch, source, stride, below, k, _address(gw), m)
            gb = bias_gradient[:m]
            gb[:] = ZERO
            for r in range(batch):
                for c in range(m):
                    gb[c] += g[r, c]
            for part in range(2):
                start = at_bias[layer] if part else at_weight[layer]
                size = m if part else k * m
                end = start + size
                v1 = first[start:end] if stateful else first
                v2 = second[start:end] if rule.kind == ADAM else second
                masked = mask[start:end] if mask.shape[0] > 0 else mask
                _update(weights[start:end], gb if part else gw, v1, v2, masked, rates[s], rule, done + s + 1)
            g = following
    return steps
