"""One multilayer perceptron, trained for many steps by a single compiled call.

On a CPU the fastest stack of small networks is no stack: one network after another, its parameters and
activations staying in the cache, with no interpreter between two matrix products. Measured against stacked
`baddbmm`, autograd and `jax.vmap` in `tests/bench/kernel.py`. A replicate is then bitwise what it would be
alone, whatever its neighbours do.

Letters: L weight layers, B batch, S steps; layer l maps fan_in[l] features to fan_out[l]. Parameters of a
network are one flat float32 vector: per layer the weight, row-major, then the bias, each starting on a cache line.
The weight is (fan_in, fan_out), so that features are (B, fan_out), but that of the head is (fan_out, fan_in) and
the logits are (classes, B): a matrix of ten columns is what a BLAS is slowest at. Products of wide layers go to the
BLAS that torch exports, otherwise to scipy's; those of narrow ones are made here, see `_tile_of`.

The compiled functions are in one file on purpose: numba's cache on disk is renewed when the file of the called
function changes, and does not look at the files of what that calls. Compiling takes some twenty seconds, once per
machine.
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
from llvmlite import ir
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

UNIT, NONE, DESCENT = 24, 28, 32  # bytes into `call` of `_blas`: where 1, 0 and minus the learning rate are
ZERO: Final = np.float32(0)
HALF: Final = np.float32(0.5)
ONE: Final = np.float32(1)
LINE: Final = 16  # float32 per cache line
NEXT: Final = np.int64(4)  # bytes from a float32 to the next


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
_call: Any = _compile
"""Part of a compiled function that may be called: it has no sums of floats whose order is left to the compiler."""
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


# A matrix is a tuple: its address, and how many bytes there are from row to row, and from number to number along a row;
# one of the two is NEXT. A shape is (rows of C, columns of C, terms of its sums); C has no gaps.


@_inline
def _blas(call, chars, shape, a, b, alpha, beta, c):
    """C = alpha A B + beta C by the BLAS; `call` and `chars` are what Fortran points to.

    To Fortran a row-major matrix is its transpose: it is asked for C' = B' A'.
    """
    rows, columns, terms = shape
    call[0], call[1], call[2] = columns, rows, terms
    call[3] = max(b[1] // 4, columns) if b[2] == NEXT else b[2] // 4
    call[4] = max(a[1] // 4, terms) if a[2] == NEXT else a[2] // 4
    call[5] = columns
    p = np.int64(call.ctypes.data)
    t = np.int64(chars.ctypes.data)
    b_is, a_is = t + (b[2] != NEXT), t + (a[2] != NEXT)
    _sgemm(b_is, a_is, p, p + 4, p + 8, p + alpha, b[0], p + 12, a[0], p + 16, p + beta, c, p + 20)


# Products of narrow networks, where a BLAS spends much of its time on the call and on laying out its operands: tiles of
# ROWS x COLUMNS numbers that stay in registers while the terms of their sums stream by. LLVM chooses the registers. On
# an AMD EPYC (Zen 3) a step took 1 / 1.6 to 1 / 2 of the time it takes by MKL at width 16, 1 / 1.2 at 64 (medians of
# 15), 1 / 1.1 at 128 to 240 and with crelu 1 / 1.5 to 1 / 1.3, about as long at 256 and up to twice as long at 512
# (medians of 3; interleaved, by scripts that were not kept). No other processor was tried.

ROWS, COLUMNS, TALL, BLOCK = 4, 16, 8, 8
NARROW: Final = 240  # columns, beyond which a BLAS is as fast: a wider operand's lines crowd the same sets of a cache
LONG: Final = 1024  # rows and terms, likewise

_FLOAT, _INDEX, _LANE = ir.FloatType(), ir.IntType(64), ir.IntType(32)


def _tile_of(rows: int, columns: int, kind: str) -> Any:
    """An intrinsic: rows x columns numbers of C, sums of so many terms; all by address, distances in bytes.

    `set` C = A B; `add` C += scale A B; `relu` C = relu(D + A B); `gate` C = A B where D > 0, else 0; `deduct` C -= A B
    where D > 0; `crelu` C = relu(D + A B) and, half a row of C further on, relu(-(D + A B)).
    """
    vector = ir.VectorType(_FLOAT, columns)
    zero = ir.Constant(vector, [0.0] * columns)

    def emit(context, builder, _signature, arguments):
        terms, a, a_row, a_step, b, b_row, d, d_row, c, c_row, scale = arguments

        def pointer(address, kind):
            return builder.inttoptr(address, kind.as_pointer())

        def row(address, stride, r):
            return builder.add(address, builder.mul(stride, ir.Constant(_INDEX, r)))

        def load(address, kind: ir.Type = vector):
            return builder.load(pointer(address, kind), align=4)

        def everywhere(number):
            lane = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(_LANE, 0))
            zeros = ir.Constant(ir.VectorType(_LANE, columns), [0] * columns)
            return builder.shuffle_vector(lane, ir.Constant(vector, ir.Undefined), zeros)

        def multiply_add(x, y, z):  # one instruction where the processor has it
            return builder.fadd(builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))

        first = [load(row(d, d_row, r)) if "relu" in kind else zero for r in range(rows)]
        before, loop, after = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        counter, at_a, at_b = (builder.phi(_INDEX) for _ in range(3))
        sums = [builder.phi(vector) for _ in range(rows)]
        row_b = load(at_b)
        entries = [load(row(at_a, a_row, r), _FLOAT) for r in range(rows)]
        found = [multiply_add(everywhere(x), row_b, total) for x, total in zip(entries, sums, strict=True)]
        one = ir.Constant(_INDEX, 1)
        for place, begin, step in ((counter, one, one), (at_a, a, a_step), (at_b, b, b_row)):
            place.add_incoming(begin, before)
            place.add_incoming(builder.add(place, step), loop)
        for total, begin, new in zip(sums, first, found, strict=True):
            total.add_incoming(begin, before)
            total.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", counter, terms), loop, after)
        builder.position_at_end(after)
        for r, total in enumerate(found):
            if "relu" in kind:  # not a number stays what it is
                value = builder.select(builder.fcmp_ordered("<", total, zero), zero, total)
            elif kind in ("gate", "deduct"):
                value = builder.select(builder.fcmp_ordered(">", load(row(d, d_row, r)), zero), total, zero)
                if kind == "deduct":
                    value = builder.fsub(load(row(c, c_row, r)), value)
            elif kind == "add":
                value = multiply_add(everywhere(scale), total, load(row(c, c_row, r)))
            else:
                value = total
            builder.store(value, pointer(row(c, c_row, r), vector), align=4)
            if kind == "crelu":
                other = builder.select(builder.fcmp_ordered(">", total, zero), zero, builder.fneg(total))
                further = builder.add(row(c, c_row, r), builder.ashr(c_row, one))
                builder.store(other, pointer(further, vector), align=4)
        return context.get_dummy_value()

    def tile(_context, terms, a, a_row, a_step, b, b_row, d, d_row, c, c_row, scale):
        return types.void(terms, a, a_row, a_step, b, b_row, d, d_row, c, c_row, scale), emit

    return intrinsic(tile)


def _tiles_of(kind: str) -> Any:
    """A product by tiles, see `_tile_of`; c and d are where C and D are and the distances of their rows."""
    tile, tile_row = _tile_of(ROWS, COLUMNS, kind), _tile_of(1, COLUMNS, kind)
    slim, slim_row = _tile_of(TALL, BLOCK, kind), _tile_of(1, BLOCK, kind)

    @_call
    def product(shape, a, b, d, scale, c):
        rows, columns, terms = shape
        c, c_row = c
        wide = columns // COLUMNS * 4 * COLUMNS
        whole = rows // ROWS * ROWS
        for j in range(0, wide, 4 * COLUMNS):
            for i in range(0, whole, ROWS):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c + i * c_row + j
                tile(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c_row, scale)
            for i in range(whole, rows):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c + i * c_row + j
                tile_row(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c_row, scale)
        whole = rows // TALL * TALL
        for j in range(wide, 4 * columns, 4 * BLOCK):
            for i in range(0, whole, TALL):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c + i * c_row + j
                slim(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c_row, scale)
            for i in range(whole, rows):
                at_a, at_d, at_c = a[0] + i * a[1], d[0] + i * d[1] + j, c + i * c_row + j
                slim_row(terms, at_a, a[1], a[2], b[0] + j, b[1], at_d, d[1], at_c, c_row, scale)

    return product


_set_tiles, _add_tiles, _relu_tiles, _gate_tiles = map(_tiles_of, ("set", "add", "relu", "gate"))
_crelu_tiles, _deduct_tiles = map(_tiles_of, ("crelu", "deduct"))


def _emit_flip(_context, source, source_row, target, target_row):
    """Transpose a BLOCK x BLOCK matrix: swap ever smaller quarters of it."""
    vector = ir.VectorType(_FLOAT, BLOCK)
    lanes = range(BLOCK)

    def emit(context, builder, _signature, arguments):
        source, source_row, target, target_row = arguments

        def row(address, stride, r):
            place = builder.add(address, builder.mul(stride, ir.Constant(_INDEX, r)))
            return builder.inttoptr(place, vector.as_pointer())

        def shuffle(x, y, chosen):
            return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_LANE, BLOCK), chosen))

        rows = [builder.load(row(source, source_row, r), align=4) for r in lanes]
        for half in (4, 2, 1):
            upper = [BLOCK + j - half if j & half else j for j in lanes]
            lower = [BLOCK + j if j & half else j + half for j in lanes]
            for r in lanes:
                if not r & half:
                    x, y = rows[r], rows[r + half]
                    rows[r], rows[r + half] = shuffle(x, y, upper), shuffle(x, y, lower)
        for r in lanes:
            builder.store(rows[r], row(target, target_row, r), align=4)
        return context.get_dummy_value()

    return types.void(source, source_row, target, target_row), emit


_flip_block: Any = intrinsic(_emit_flip)


@_inline
def _tiled(shape, b):
    """Whether tiles can make A B, and are the faster way."""
    rows, columns, terms = shape
    whole = columns % BLOCK == 0 and (b[2] == NEXT or terms % BLOCK == 0)
    return whole and columns <= NARROW and rows <= LONG and terms <= LONG


@_call
def _upright(shape, b, spare):
    """B with adjacent columns, which tiles want: itself, or transposed into `spare`, block by block."""
    _, columns, terms = shape
    if b[2] == NEXT:
        return b
    for i in range(0, columns, BLOCK):
        for j in range(0, terms, BLOCK):
            _flip_block(b[0] + i * b[2] + 4 * j, b[2], spare + 4 * (j * columns + i), 4 * columns)
    return spare, 4 * columns, NEXT


@_call
def _set_product(call, chars, shape, a, b, spare, c):
    """C = A B. There is room for B at `spare`."""
    if _tiled(shape, b):
        _set_tiles(shape, a, _upright(shape, b, spare), (c, 0), ONE, (c, 4 * shape[1]))
    else:
        _blas(call, chars, shape, a, b, UNIT, NONE, c)


@_call
def _add_product(call, chars, shape, a, b, spare, scale, c):
    """C += scale A B, where the scale is `UNIT` or `DESCENT`. There is room for B at `spare`."""
    if _tiled(shape, b):
        factor = call.view(np.float32)[scale // 4]
        _add_tiles(shape, a, _upright(shape, b, spare), (c, 0), factor, (c, 4 * shape[1]))
    else:
        _blas(call, chars, shape, a, b, scale, UNIT, c)


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
def _clear(h, used):
    """The features h (B, m) of units beyond the first `used` become 0, as those of other activations are."""
    for r in range(h.shape[0]):
        for c in range(used, h.shape[1]):
            h[r, c] = ZERO


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
def _train(addresses, fan_in, fan_out, used, activation, rule, rates, done, y, bound, learns, work, loss, accuracy):
    """One network of `train_members`."""
    weights, first, second, mask, x = addresses[0], addresses[1], addresses[2], addresses[3], addresses[4]
    steps, batch = y.shape
    depth = fan_in.shape[0]
    call = np.zeros(9, np.int32)
    scales = call[6:].view(np.float32)
    scales[0] = ONE
    unit = np.int64(scales.ctypes.data)
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
            bias = weights + at_weight[layer] + 4 * _whole_lines(k * m)
            shape, inputs, weight = (batch, m, k), (below, 4 * k, NEXT), (weights + at_weight[layer], 4 * m, NEXT)
            if activation == RELU and _tiled(shape, weight):
                _relu_tiles(shape, inputs, weight, (bias, 0), ONE, (feature, 4 * m))
            elif activation == CRELU and _tiled(shape, weight):
                _crelu_tiles(shape, inputs, weight, (bias, 0), ONE, (feature, 8 * m))
            else:
                _repeat(_vector(bias, m), _vector(spare, batch * m), batch)
                _add_product(call, chars, shape, inputs, weight, spare, UNIT, spare)
                _activate(_vector(spare, batch * m), _vector(feature, batch * fan_in[layer + 1]), activation, m)
                if activation == SIGMOID and used[layer] < m:
                    _clear(_matrix(feature, batch, m), used[layer])
            below = feature
        k = fan_in[last]
        logits, weight = at_feature[last], (weights + at_weight[last], 4 * k, NEXT)
        bias = weight[0] + 4 * _whole_lines(k * classes)
        _fill_rows(_vector(bias, classes), _vector(logits, batch * classes), batch)
        _add_product(call, chars, (classes, batch, k), weight, (below, NEXT, 4 * k), spare, UNIT, logits)
        loss[s], accuracy[s] = _cross_entropy(
            _vector(logits, batch * classes), y[s], classes, _vector(spare, 2 * batch)
        )
        if not learns:
            continue
        if not loss[s] <= bound:
            return
        above = (logits, NEXT, 4 * batch)  # gradient by the pre-activations, (batch, m)
        for layer in range(last, -1, -1):
            k, m = fan_in[layer], fan_out[layer]
            weight = weights + at_weight[layer]
            bias = 4 * _whole_lines(k * m)
            below = at_feature[layer - 1] if layer > 0 else images
            following, apart = spare + layer % 2 * room, 4 * k
            shape, part = (batch, k, m), (batch, k // 2, m)
            transposed = (weight, 4 * k, NEXT) if layer == last else (weight, NEXT, 4 * m)
            if layer > 0 and activation == RELU and _tiled(shape, transposed):
                upright = _upright(shape, transposed, gradient)
                _gate_tiles(shape, above, upright, (below, 4 * k), ONE, (following, 4 * k))
            elif layer > 0 and activation == CRELU and _tiled(part, transposed):
                apart = 2 * k
                left = _upright(shape, transposed, gradient)
                right = left[0] + apart, left[1], left[2]
                _gate_tiles(part, above, left, (below, 4 * k), ONE, (following, apart))
                _deduct_tiles(part, above, right, (below + apart, 4 * k), ONE, (following, apart))
            elif layer > 0:
                _set_product(call, chars, shape, above, transposed, gradient, following)
                _differentiate(_vector(following, batch * k), _vector(below, batch * k), activation, k // 2)
            if layer == last:
                _sum_columns(_vector(above[0], batch * m), _vector(gradient + bias, m))
                shape, left, right = (m, k, batch), (above[0], 4 * batch, NEXT), (below, 4 * k, NEXT)
            else:
                shape, left, right = (k, m, batch), (below, NEXT, 4 * k), above
                if _tiled((1, m, batch), above):
                    _set_tiles((1, m, batch), (unit, 0, 0), above, (unit, 0), ONE, (gradient + bias, 0))
                else:
                    _sum_rows(_matrix(above[0], batch, above[1] // 4), _vector(gradient + bias, m))
            if plain:
                _add_product(call, chars, shape, left, right, gradient, DESCENT, weight)
            else:
                _set_product(call, chars, shape, left, right, gradient, gradient)
            # weight and bias at once, what lies in the gap between them is never read; or the bias alone
            size = m if plain else _whole_lines(k * m) + m
            skipped = bias if plain else 0
            _update(
                _vector(weight + skipped, size),
                _vector(gradient + skipped, size),
                _vector(first + at_weight[layer], size if stateful else 0),
                _vector(second + at_weight[layer], size if rule.kind == ADAM else 0),
                _vector(mask + at_weight[layer], size if mask != 0 else 0),
                rates[s],
                rule,
                done + s + 1,
            )
            above = (following, apart, NEXT)


@_compile
def train_members(addresses, sizes, fans, rule, rates, done, y, bound, learns, work, loss, accuracy):
    """Train K networks on S batches each, one after another; unless `learns`, only run them.

    Each stops learning after its first step whose loss is not finite or above `bound`, before that step's update.

    Args:
        addresses: (K, 5) of a member's flat parameters, the rule's two moments, the 0/1 mask (0 where there is none),
            and its inputs (S, B, fan_in[0]) float32.
        sizes: (K, 4) its layers L >= 2, activation, the column of `fans` where its layers begin, and its index in y.
        fans: (3, .) fan_in and fan_out of layers, padding included, and the units that there are.
        rates: (K, S) learning rates. done: steps made before this call.
        y: (., S, B) integers.
        work: scratch of `workspace_size` of the largest. loss, accuracy: (K, S) float64, filled.
    """
    for k in range(addresses.shape[0]):
        start, stop = sizes[k, 2], sizes[k, 2] + sizes[k, 0]
        _train(
            addresses[k], fans[0, start:stop], fans[1, start:stop], fans[2, start:stop], sizes[k, 1], rule, rates[k],
            done, y[sizes[k, 3]], bound, learns, work, loss[k], accuracy[k],
        )  # fmt: skip


@_compile
def load(sources, fans, split, into):
    """Fill the flat parameters `into`, zeros before, from a network's weights (fan_out, fan_in) and biases.

    `sources` (L, 2) are their addresses; `fans` (4, L) what is stored, fan_in and fan_out, and what there is of it. The
    fan-in of layers after the first is in `split` parts, each of which may be padded.
    """
    at = _address(into)
    for layer in range(fans.shape[1]):
        k, m, mine, units = fans[:, layer]
        weight, bias = _matrix(sources[layer, 0], units, mine), _vector(sources[layer, 1], units)
        stored = _matrix(at, m, k) if layer + 1 == fans.shape[1] else _matrix(at, k, m)
        part = mine // split if layer > 0 else mine
        gap = k // split - part if layer > 0 else np.int64(0)
        for i in range(mine):
            row = i + i // part * gap
            if layer + 1 < fans.shape[1]:
                for j in range(units):
                    stored[row, j] = weight[j, i]
            else:
                for j in range(units):
                    stored[j, row] = weight[j, i]
        at += 4 * _whole_lines(k * m)
        _copy(_vector(at, units), bias)
        at += 4 * _whole_lines(m)
