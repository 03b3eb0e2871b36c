"""How many threads linear algebra takes.

The model's matrices are many and small. BLAS shares each out among threads all the same, which on two cores took six
times the CPU time of an ask after 100 trials and four times after 5,000 (`tests/bench/scale.py`), from networks that
train meanwhile, and made no map sooner.
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
