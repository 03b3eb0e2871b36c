"""How the functions of this package are compiled.

Only those that Python calls are cached on disk, and compiled anew when any module of the package changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numba

from isoinit.editions import entries

_options: Final[Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
entry: Final = entries(numba.njit(cache=True, **_options), Path(__file__).parent)
part: Final[Any] = numba.njit(forceinline=True, **_options)
"""Part of a compiled function, never called: the process that compiles would call the part's own code and those that
load from the cache the copy in the whole, and the two may round differently."""
called: Final[Any] = numba.njit(**_options)
"""Part of a compiled function that may be called: it has no sums of floats whose order is left to the compiler."""
inline: Final[Any] = numba.njit(inline="always", **_options)
