"""How the functions of this package are compiled; cached on disk are those that Python calls."""

from pathlib import Path
from typing import Any, Final

import numba

from isoinit.editions import entries

ONE_THREAD: Final = 2**18  # multiplications from which on OpenBLAS may share a product between threads

_folder = Path(__file__).parent
_options: Final[Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz"}}
entry: Final = entries(numba.njit(cache=True, **_options), _folder)
exact_entry: Final = entries(numba.njit(cache=True, nogil=True, error_model="numpy"), _folder)  # rounds as numpy does
part: Final[Any] = numba.njit(inline="always", **_options)
