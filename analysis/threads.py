"""How many threads linear algebra takes.

The model's matrices are many and small. BLAS shares each out among threads all the same. Without this module an ask
took 47, 71 and 133 ms of CPU after 100, 1,000 and 5,000 trials, with it 5, 16 and 38 (`tests/bench/scale.py` on two
cores without OMP_NUM_THREADS, before and after, 3 rounds), from networks that train meanwhile, and no map came sooner.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  only libraries that are loaded can be told, and its BLAS is not numpy's
from threadpoolctl import ThreadpoolController

_TURN = threading.RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Numpy's and scipy's BLAS on one thread. Callers on several threads take turns: the setting is the process's, and
    one who leaves in another's midst would give back the wrong one."""
    with _TURN, _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looks through all that is loaded, which takes milliseconds
