"""float32 numbers wherever they are in memory, by address: views that cost nothing, and the units of distance."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import intrinsic
from numpy.typing import NDArray

from sweeps.kernel.compilers import inline

Floats = NDArray[np.float32]


ZERO: Final = np.float32(0)
HALF: Final = np.float32(0.5)
ONE: Final = np.float32(1)
LINE: Final = 16  # float32 per cache line
NEXT: Final = np.int64(4)  # bytes from a float32 to the next


def _cast_to_pointer(_context, address):  # numba has no cast from an integer to a pointer
    def cast(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(address), cast


_pointer: Any = intrinsic(_cast_to_pointer)


def _cast_bits(_context, bits):  # noqa: ARG001 - numba reads the name
    def cast(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return types.float32(types.int32), cast


float_of_bits: Any = intrinsic(_cast_bits)


@inline
def address_of(array):
    return np.int64(array.ctypes.data)


@inline
def matrix_at(address, rows, columns):
    """View on memory that someone else keeps: unlike a slice, it costs no atomic count of references."""
    return carray(_pointer(address), (rows, columns))


@inline
def vector_at(address, size):
    return carray(_pointer(address), size)


@inline
def whole_lines(size):
    return (size + LINE - 1) // LINE * LINE
