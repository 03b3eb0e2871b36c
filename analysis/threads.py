"""How many threads linear algebra takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Numpy's and scipy's BLAS on one thread: here it has many small matrices, which threads of their own only delay,
    also by taking the cores of networks that train meanwhile."""
    import scipy.linalg  # only libraries that are loaded can be told  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
