"""Products by tiles of so many rows and columns, which stay in registers while the terms of their sums stream by.

They are written as instructions on vectors, of which LLVM chooses the registers. A processor adds twice at once to
registers of 8 numbers, and 4 cycles later to the same ones again: 8 registers of sums keep it busy. With AVX-512 they
hold 16 numbers and are twice as many. Whatever the tile, a sum takes its terms one by one, and comes out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from llvmlite import ir
from llvmlite.binding import get_host_cpu_name
from numba import types  # pyright: ignore[reportPrivateImportUsage]
from numba.core import codegen, config
from numba.extending import intrinsic

BLOCK: Final = 8
"""Columns of the narrowest tile: only of so many at once is a product made by tiles."""
_FEATURES: Final[str] = config.CPU_FEATURES or codegen.get_host_cpu_features()  # pyright: ignore[reportAttributeAccessIssue]
LONG_VECTORS: Final = "+avx512f" in _FEATURES.split(",")
"""Whether numba makes code for AVX-512."""
PROCESSOR: Final[str] = config.CPU_NAME or get_host_cpu_name()  # pyright: ignore[reportAttributeAccessIssue]
"""What LLVM calls the processor that numba makes code for."""
TILES: Final = ((8, 32), (8, 16), (8, BLOCK)) if LONG_VECTORS else ((4, 16), (8, BLOCK))
"""Rows and columns; each takes the columns that are left over by the one before."""

Place: TypeAlias = tuple[Any, ...]  # an address and the distances from one to the next
_FLOAT, _INDEX, _LANE = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_ONCE = ir.Constant(_INDEX, 1)


class _Writer:
    """Writes instructions on vectors of so many numbers; places are addresses, distances are in bytes."""

    def __init__(self, builder: Any, size: int) -> None:
        self.builder = builder
        self.vector = ir.VectorType(_FLOAT, size)
        self.zero = ir.Constant(self.vector, [0.0] * size)

    def row(self, address: Any, stride: Any, r: int) -> Any:
        """Where row r is."""
        return self.builder.add(address, self.builder.mul(stride, ir.Constant(_INDEX, r)))

    def load(self, address: Any, kind: ir.Type | None = None) -> Any:
        """A vector, or something else."""
        return self.builder.load(self._pointer(address, kind or self.vector), align=4)

    def store(self, value: Any, address: Any) -> None:
        """Of a vector."""
        self.builder.store(value, self._pointer(address, self.vector), align=4)

    def _pointer(self, address: Any, kind: ir.Type) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())

    def everywhere(self, number: Any) -> Any:
        """A vector of one number again and again."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        lane = self.builder.insert_element(nothing, number, ir.Constant(_LANE, 0))
        zeros = ir.Constant(ir.VectorType(_LANE, self.vector.count), [0] * self.vector.count)
        return self.builder.shuffle_vector(lane, nothing, zeros)

    def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
        """One instruction where the processor has it."""
        return self.builder.fadd(self.builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))

    def where(self, x: Any, comparison: str, yes: Any, no: Any) -> Any:
        """Number by number, one or the other as x compares to 0."""
        return self.builder.select(self.builder.fcmp_ordered(comparison, x, self.zero), yes, no)

    def shuffle(self, x: Any, y: Any, chosen: Sequence[int]) -> Any:
        """Numbers of x and, counted on, of y."""
        return self.builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_LANE, len(chosen)), chosen))


def tile_of(rows: int, columns: int, kind: str) -> Any:
    """An intrinsic: rows x columns numbers of C, sums of so many terms; all by address, distances in bytes.

    `set` C = A B; `add` C += scale A B; `relu` C = relu(D + A B); `gate` C = A B where D > 0, else 0; `deduct` C -= A B
    where D > 0; `crelu` C = relu(D + A B) and, half a row of C further on, relu(-(D + A B)).
    """

    def emit(context, builder, _signature, arguments):
        terms, a, a_row, a_step, b, b_row, d, d_row, c, c_row, scale = arguments
        write = _Writer(builder, columns)
        first = [write.load(write.row(d, d_row, r)) if "relu" in kind else write.zero for r in range(rows)]
        sums = _write_sums(write, first, terms, (a, a_row, a_step), (b, b_row))
        for r, total in enumerate(sums):
            _write_row(write, kind, r, total, (c, c_row), (d, d_row), scale)
        return context.get_dummy_value()

    def tile(_context, terms, a, a_row, a_step, b, b_row, d, d_row, c, c_row, scale):
        return types.void(terms, a, a_row, a_step, b, b_row, d, d_row, c, c_row, scale), emit

    return intrinsic(tile)


def _write_sums(write: _Writer, first: Sequence[Any], terms: Any, at_a: Place, at_b: Place) -> list[Any]:
    """The loop over the terms; the rows of the tile, which begin as `first`."""
    builder, (a, a_row, a_step), (b, b_row) = write.builder, at_a, at_b
    before, loop, after = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    counter, now_a, now_b = (builder.phi(_INDEX) for _ in range(3))
    sums = [builder.phi(write.vector) for _ in first]
    row_b = write.load(now_b)
    entries = [write.load(write.row(now_a, a_row, r), _FLOAT) for r in range(len(first))]
    found = [write.multiply_add(write.everywhere(x), row_b, total) for x, total in zip(entries, sums, strict=True)]
    for place, begin, step in ((counter, _ONCE, _ONCE), (now_a, a, a_step), (now_b, b, b_row)):
        place.add_incoming(begin, before)
        place.add_incoming(builder.add(place, step), loop)
    for total, begin, new in zip(sums, first, found, strict=True):
        total.add_incoming(begin, before)
        total.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", counter, terms), loop, after)
    builder.position_at_end(after)
    return found


def _write_row(write: _Writer, kind: str, r: int, total: Any, at_c: Place, at_d: Place, scale: Any) -> None:
    """What becomes of a sum, see `tile_of`."""
    zero, value, (c, c_row), (d, d_row) = write.zero, total, at_c, at_d
    if "relu" in kind:
        value = write.where(total, "<", zero, total)  # not a number stays what it is
    elif kind in ("gate", "deduct"):
        value = write.where(write.load(write.row(d, d_row, r)), ">", total, zero)
        if kind == "deduct":
            value = write.builder.fsub(write.load(write.row(c, c_row, r)), value)
    elif kind == "add":
        value = write.multiply_add(write.everywhere(scale), total, write.load(write.row(c, c_row, r)))
    write.store(value, write.row(c, c_row, r))
    if kind == "crelu":
        other = write.where(total, ">", zero, write.builder.fneg(total))
        write.store(other, write.builder.add(write.row(c, c_row, r), write.builder.ashr(c_row, _ONCE)))


def _flip(_context, source, source_row, target, target_row):
    """Transpose a BLOCK x BLOCK matrix: swap ever smaller quarters of it."""
    lanes = range(BLOCK)

    def emit(context, builder, _signature, arguments):
        source, source_row, target, target_row = arguments
        write = _Writer(builder, BLOCK)
        rows = [write.load(write.row(source, source_row, r)) for r in lanes]
        for half in (4, 2, 1):
            upper = [BLOCK + j - half if j & half else j for j in lanes]
            lower = [BLOCK + j if j & half else j + half for j in lanes]
            for r in lanes:
                if not r & half:
                    x, y = rows[r], rows[r + half]
                    rows[r], rows[r + half] = write.shuffle(x, y, upper), write.shuffle(x, y, lower)
        for r in lanes:
            write.store(rows[r], write.row(target, target_row, r))
        return context.get_dummy_value()

    return types.void(source, source_row, target, target_row), emit


flip_block: Any = intrinsic(_flip)
