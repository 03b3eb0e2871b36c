"""Products by a BLAS, called by address from compiled code: the one that torch exports, otherwise scipy's.

A matrix is a tuple: its address, and how many bytes there are from row to row, and from number to number along a row;
one of the two is NEXT. A shape is (rows of C, columns of C, terms of its sums); C has no gaps.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import torch
from numba import types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import get_cython_function_address

from sweeps.kernel.compilers import inline
from sweeps.kernel.pointers import NEXT

UNIT, NONE, DESCENT = 24, 28, 32  # bytes into `call` of `blas`: where 1, 0 and minus the learning rate are


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


@inline
def blas(call, chars, shape, a, b, alpha, beta, c):
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
