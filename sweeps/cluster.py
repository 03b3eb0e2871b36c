"""Ray, joined or embedded, in a thread of its own: it takes seconds to start, while a driver loads its libraries."""

from __future__ import annotations

import logging
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final

QUIET: Final = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own kills the running packs; ours lets them finish
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files per pack
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a page for every worker that dies; the sweep's errors.txt has it
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment of a run, unless it is set otherwise. Ray reads it when it is imported."""


class Cluster:
    """The Ray at `address`, or an embedded one (None), as long as the context is entered.

    An embedded Ray's processes are killed when the thread that started them ends: so that thread lives as long as Ray.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self._thread = ThreadPoolExecutor(1, "ray")
        self._left: Future[None] | None = None

    def __enter__(self) -> Cluster:
        self._started = self._thread.submit(start, self.address)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave().result()
        self._thread.shutdown()

    def leave(self) -> Future[None]:
        """Begin to stop or to leave Ray, which takes a second; the end of the context waits for it."""
        self._left = self._left or self._thread.submit(_stop)
        return self._left

    def ready(self) -> None:
        """Wait until Ray is up.

        Raises:
            ValueError: no Ray can be reached at the address, or this machine is too busy to start one.
        """
        self._started.result()


def start(address: str | None) -> None:
    """Join the Ray at `address` or embed one (None), from a thread that lives on."""
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        _embed(quiet)
        return
    try:
        host, colon, port = address.rpartition(":")
        if colon and "/" not in address:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
        ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"--address {address}: no Ray cluster can be reached there ({error}); start one with 'ray start --head' "
            "or 'ray up cluster.yaml', or leave --address out to run on this machine"
        ) from None


def _embed(quiet: dict[str, Any]) -> None:
    """Start a Ray of our own; once more if a busy machine makes it miss the 30 s that Ray gives itself."""
    import ray

    for patient in (True, False):
        try:
            # "local": without it Ray joins whatever other Ray runs on this machine, or the one that RAY_ADDRESS names.
            ray.init(address="local", num_cpus=os.cpu_count(), include_dashboard=False, **quiet)
            return
        except Exception as error:  # Ray raises nothing narrower
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if not patient:
                raise ValueError(
                    "Ray did not start in time, twice: this machine is too busy; when it is less so, 'sweep resume' "
                    "goes on, and --inline trains without Ray"
                ) from None


def _stop() -> None:
    import ray

    ray.shutdown()
