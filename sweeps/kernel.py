"""One multilayer perceptron, trained for many steps by a single compiled call.

On a CPU the fastest stack of small networks is no stack: one network after another, its parameters and
activations staying in the cache, with no interpreter between two matrix products. Measured against stacked
`baddbmm`, autograd and `jax.vmap` in `tests/bench/kernel.py`. A replicate is then bitwise what it would be
alone, whatever its neighbours do.

Letters: L weight layers, B batch, S steps; layer l maps fan_in[l] features to fan_out[l]. Parameters of a
network are one flat float32 vector: per layer the weight, row-major, then the bias, each starting on a cache line.
The weight is (fan_in, fan_out), so that features are (B, fan_out), but that of the head is (fan_out, fan_in) and
the logits are (classes, B): a matrix of ten columns is what a BLAS is slowest at. Products go to the BLAS that torch
exports, otherwise to scipy's.

The compiled functions are in one file on purpose: numba's cache on disk is renewed when the file of the called
function changes, and does not look at the files of what that calls. Compiling takes some seconds, once per machine.
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
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import get_cython_function_address, intrinsic
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

_options: Any = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
_compile: Any = numba.njit(cache=True, nogil=True, **_options)
_part: Any = numba.njit(cache=True, nogil=True, forceinline=True, **_options)
"""Part of a compiled function, never called: the process that compiles would call the part's own code and those that
load from the cache the copy in the whole, and the two may round differently."""
_inline: Any = numba.njit(inline="always", **_options)


def _cast_to_pointer(_context, address):  # numba has no cast from an integer to a pointer
    def cast(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(address), cast


_pointer: Any = intrinsic(_cast_to_pointer)


def _cast_bits(_context, bits):  # noqa: ARG001 - numba reads the name
    def cast(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return types.float32(types.int32), cast


_float_of_bits: Any = intrinsic(_cast_bits)


@_inline
def _address(array):
    return np.int64(array.ctypes.data)


@_inline
def _matrix(address, rows, columns):
    """View on memory that someone else keeps: unlike a slice, it costs no atomic count of references."""
    return carray(_pointer(address), (rows, columns))


@_inline
def _vector(address, size):
    return carray(_pointer(address), size)


@_inline
def _whole_lines(size):
    return (size + LINE - 1) // LINE * LINE


@_inline
def _multiply(call, chars, transpose_a, transpose_b, m, n, k, a, lda, b, ldb, add, c, ldc):
    """C = op(A) op(B) + add C, column-major; operands are addresses, `call` and `chars` hold what Fortran points to."""
    call[0] = m
    call[1] = n
    call[2] = k
    call[3] = lda
    call[4] = ldb
    call[5] = ldc
    p = np.int64(call.ctypes.data)
    t = np.int64(chars.ctypes.data)
    beta = p + 24 if add else p + 28  # call[6] is 1 and call[7] is 0, as float32
    _sgemm(t + transpose_a, t + transpose_b, p, p + 4, p + 8, p + 24, a, p + 12, b, p + 16, beta, c, p + 20)


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


@_inline
def _exp(x):
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
    return (p * (x * x) + x + ONE) * _float_of_bits((exponent + np.int32(127)) << np.int32(23))


# The loops below run over flat vectors where they can: rows of a narrow network are too short to be vectorized.


@_inline
def _copy(target, source):
    for i in range(target.shape[0]):
        target[i] = source[i]


@_part
def _repeat(bias, z, rows):
    """Every row of z, flat (rows * fan_out), becomes the bias; by doubling, so that copies are long."""
    stride = bias.shape[0]
    start = _address(z)
    _copy(_vector(start, stride), bias)
    filled = 1
    while filled < rows:
        count = min(filled, rows - filled) * stride
        _copy(_vector(start + 4 * filled * stride, count), _vector(start, count))
        filled *= 2


@_part
def _activate(z, h, activation, half):
    """Features h of the pre-activations z, both flat; with crelu, z has rows of `half` and h rows of 2 * half.

    Not in place: where a select may leave what is already there, it is compiled to a branch instead of to vectors.
    """
    if activation == RELU:
        for i in range(z.shape[0]):
            h[i] = ZERO if z[i] < ZERO else z[i]  # this way round, not a number stays what it is
    elif activation == TANH:
        for i in range(z.shape[0]):
            h[i] = _tanh(z[i])
    elif activation == SIGMOID:
        for i in range(z.shape[0]):
            h[i] = HALF + HALF * _tanh(HALF * z[i])
    elif activation == HARDTANH:
        for i in range(z.shape[0]):
            h[i] = ONE if z[i] > ONE else (-ONE if z[i] < -ONE else z[i])
    elif activation == LINEAR:
        for i in range(z.shape[0]):
            h[i] = z[i]
    elif activation == CRELU:
        for start in range(0, z.shape[0], half):
            for i in range(start, start + half):
                h[start + i] = ZERO if z[i] < ZERO else z[i]
                h[start + i + half] = ZERO if z[i] > ZERO else -z[i]


@_part
def _differentiate(g, h, activation, half):
    """Turn g, the gradient by the features h, into the gradient by pre-activations; both flat, in place.

    With crelu the result is in the left halves of the rows of 2 * half.
    """
    if activation == RELU:
        for i in range(h.shape[0]):
            g[i] = g[i] if h[i] > ZERO else ZERO
    elif activation == TANH:
        for i in range(h.shape[0]):
            g[i] *= ONE - h[i] * h[i]
    elif activation == SIGMOID:
        for i in range(h.shape[0]):
            g[i] *= h[i] * (ONE - h[i])
    elif activation == HARDTANH:
        for i in range(h.shape[0]):
            g[i] = g[i] if -ONE < h[i] < ONE else ZERO
    elif activation == CRELU:
        for start in range(0, h.shape[0], 2 * half):
            for i in range(start, start + half):
                left = g[i] if h[i] > ZERO else ZERO
                g[i] = left - (g[i + half] if h[i + half] > ZERO else ZERO)


@_part
def _sum_rows(g, total):
    """total = sum of the rows of g, of as many columns as total has; four rows at a time."""
    rows = g.shape[0] // 4 * 4
    for c in range(total.shape[0]):
        total[c] = ZERO
    for r in range(0, rows, 4):
        for c in range(total.shape[0]):
            total[c] += (g[r, c] + g[r + 1, c]) + (g[r + 2, c] + g[r + 3, c])
    for r in range(rows, g.shape[0]):
        for c in range(total.shape[0]):
            total[c] += g[r, c]


@_part
def _fill_rows(bias, z, columns):
    """Row r of z, flat (rows * columns), becomes bias[r]."""
    for r in range(bias.shape[0]):
        row = _vector(_address(z) + 4 * r * columns, columns)
        for c in range(columns):
            row[c] = bias[r]


@_part
def _sum_columns(g, total):
    """total = sum of the columns of g, flat (rows * columns)."""
    columns = g.shape[0] // total.shape[0]
    for r in range(total.shape[0]):
        row = _vector(_address(g) + 4 * r * columns, columns)
        here = ZERO
        for c in range(columns):
            here += row[c]
        total[r] = here


@_part
def _cross_entropy(z, y, classes, scratch):
    """Mean loss (nats) and share of hits; the logits z, flat (classes * B), become the gradient of the mean loss.

    `scratch` (2 * B) float32. Loops run along the batch, so that they are compiled to vector instructions.
    """
    batch = y.shape[0]
    share = ONE / np.float32(batch)
    at = _address(z)
    top = _vector(_address(scratch), batch)
    place = _vector(_address(scratch) + 4 * batch, batch)  # of the first of the highest logits, as a float
    first = _vector(at, batch)
    for r in range(batch):
        top[r] = first[r]
        place[r] = ZERO
    for c in range(1, classes):
        row = _vector(at + 4 * c * batch, batch)
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
        row = _vector(at + 4 * c * batch, batch)
        for r in range(batch):
            power = _exp(row[r] - top[r])
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
        row = _vector(at + 4 * c * batch, batch)
        for r in range(batch):
            row[r] *= norm[r]
    for r in range(batch):
        z[y[r] * batch + r] -= share
    return total / batch, hits / batch


@_part
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
        for i in range(w.shape[0]):
            v = rule.momentum * first[i] + g[i]
            first[i] = v
            w[i] -= rate * (g[i] + rule.momentum * v if rule.nesterov else v)
    else:
        for i in range(w.shape[0]):
            w[i] -= rate * g[i]
    if mask.shape[0] > 0:
        for i in range(w.shape[0]):
            w[i] *= mask[i]


@_compile
def update_stacked(w, g, first, second, rates, rule, step):
    """One step of the update rule for K networks in place: (K, n) each, rates (K,); moments without use are (K, 0)."""
    unmasked = _vector(_address(rates), 0)
    for k in range(w.shape[0]):
        _update(w[k], g[k], first[k], second[k], unmasked, rates[k], rule, step)


@_part
def _train(addresses, fan_in, fan_out, activation, rule, rates, done, y, bound, work, loss, accuracy):
    """One network of `train_members`."""
    weights, first, second, mask, x = addresses[0], addresses[1], addresses[2], addresses[3], addresses[4]
    steps, batch = y.shape
    depth = fan_in.shape[0]
    call = np.zeros(8, np.int32)
    call[6:].view(np.float32)[0] = ONE  # alpha = 1, beta = 0
    chars = np.empty(2, np.uint8)
    chars[0], chars[1] = 78, 84  # N, T
    at_weight = np.empty(depth, np.int64)
    at_feature = np.empty(depth, np.int64)
    parameter, scratch = np.int64(0), np.int64(0)
    for layer in range(depth):
        at_weight[layer] = 4 * parameter
        parameter += _whole_lines(fan_in[layer] * fan_out[layer]) + _whole_lines(fan_out[layer])
        at_feature[layer] = _address(work) + 4 * scratch
        scratch += _whole_lines(batch * (fan_in[layer + 1] if layer + 1 < depth else fan_out[layer]))
    spare = _address(work) + 4 * scratch
    room = 4 * _whole_lines(batch * max(2, fan_in.max(), fan_out.max()))
    gradient = spare + 2 * room
    stateful = rule.kind == ADAM or rule.momentum > ZERO
    last = depth - 1
    classes = fan_out[last]
    for s in range(steps):
        images = x + 4 * s * batch * fan_in[0]
        below = images
        for layer in range(last):
            k, m = fan_in[layer], fan_out[layer]
            weight = weights + at_weight[layer]
            _repeat(_vector(weight + 4 * _whole_lines(k * m), m), _vector(spare, batch * m), batch)
            _multiply(call, chars, 0, 0, m, batch, k, weight, m, below, k, True, spare, m)
            below, k = at_feature[layer], fan_in[layer + 1]
            _activate(_vector(spare, batch * m), _vector(below, batch * k), activation, m)
        k = fan_in[last]
        weight = weights + at_weight[last]
        logits = at_feature[last]
        _fill_rows(_vector(weight + 4 * _whole_lines(k * classes), classes), _vector(logits, batch * classes), batch)
        _multiply(call, chars, 1, 0, batch, classes, k, below, k, weight, k, True, logits, batch)
        loss[s], accuracy[s] = _cross_entropy(
            _vector(logits, batch * classes), y[s], classes, _vector(spare, 2 * batch)
        )
        if not loss[s] <= bound:
            return
        above, stride = logits, classes
        for layer in range(last, -1, -1):
            k, m = fan_in[layer], fan_out[layer]
            weight = weights + at_weight[layer]
            bias = 4 * _whole_lines(k * m)
            below = at_feature[layer - 1] if layer > 0 else images
            following = spare + layer % 2 * room
            if layer == last:
                _multiply(call, chars, 0, 1, k, batch, m, weight, k, above, batch, False, following, k)
                _multiply(call, chars, 0, 0, k, m, batch, below, k, above, batch, False, gradient, k)
                _sum_columns(_vector(above, batch * m), _vector(gradient + bias, m))
            else:
                if layer > 0:
                    _multiply(call, chars, 1, 0, k, batch, m, weight, m, above, stride, False, following, k)
                _multiply(call, chars, 0, 1, m, k, batch, above, stride, below, k, False, gradient, m)
                _sum_rows(_matrix(above, batch, stride), _vector(gradient + bias, m))
            if layer > 0:
                _differentiate(_vector(following, batch * k), _vector(below, batch * k), activation, k // 2)
            size = _whole_lines(k * m) + m  # weight and bias at once; what lies in the gap between them is never read
            _update(
                _vector(weight, size),
                _vector(gradient, size),
                _vector(first + at_weight[layer], size if stateful else 0),
                _vector(second + at_weight[layer], size if rule.kind == ADAM else 0),
                _vector(mask + at_weight[layer], size if mask != 0 else 0),
                rates[s],
                rule,
                done + s + 1,
            )
            above, stride = following, k


@_compile
def train_members(addresses, sizes, fans, rule, rates, done, y, bound, work, loss, accuracy):
    """Train K networks on S batches each, one after another.

    Each stops after its first step whose loss is not finite or above `bound`, before that step's update.

    Args:
        addresses: (K, 5) of a member's flat parameters, the rule's two moments, the 0/1 mask (0 where there is none),
            and its inputs (S, B, fan_in[0]) float32.
        sizes: (K, 4) its layers L >= 2, activation, the column of `fans` where its layers begin, and its index in y.
        fans: (2, .) fan_in and fan_out of layers.
        rates: (K, S) learning rates. done: steps made before this call.
        y: (., S, B) integers.
        work: scratch of `workspace_size` of the largest. loss, accuracy: (K, S) float64, filled.
    """
    for k in range(addresses.shape[0]):
        start, stop = sizes[k, 2], sizes[k, 2] + sizes[k, 0]
        _train(
            addresses[k], fans[0, start:stop], fans[1, start:stop], sizes[k, 1], rule, rates[k], done, y[sizes[k, 3]],
            bound, work, loss[k], accuracy[k],
        )  # fmt: skip
