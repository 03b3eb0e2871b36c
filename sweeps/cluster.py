"""Ray, joined or embedded, in a thread of its own: it takes seconds to start, while a driver loads its libraries.

Until `begin` it is loaded only: what is started has to be stopped again, for which a mistake in a spec should not wait.
"""

from __future__ import annotations

import logging
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sweeps import machine
from sweeps.ray_address import OWN_RAY, knock, lend_token, set_environment

if TYPE_CHECKING:
    from ray.job_config import JobConfig


class Cluster:
    """The Ray at `address`, or an embedded one (None), as long as the context is entered.

    An embedded Ray's processes are killed when the thread that started them ends: so that thread lives as long as Ray.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        self._thread = ThreadPoolExecutor(1, "ray")
        self._started: Future[None] | None = None
        self._left: Future[None] | None = None

    def __enter__(self) -> Cluster:
        set_environment(self.address)  # before anybody imports Ray, which the driver's libraries do too
        self._thread.submit(_load)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.leave().result()
        self._thread.shutdown()

    def leave(self) -> Future[None]:
        """Begin to stop or to leave Ray, which takes a second; the end of the context waits for it."""
        self._left = self._left or self._thread.submit(_stop)
        return self._left

    def begin(self) -> Future[None]:
        """Begin to start or to join Ray."""
        self._started = self._started or self._thread.submit(_start, self.address)
        return self._started

    def ready(self) -> None:
        """Wait until Ray is up; begin it if need be.

        Raises:
            ValueError: no Ray can be reached at the address, or this machine is too busy to start one.
        """
        self.begin().result()


def _start(address: str | None) -> None:
    """Join the Ray at `address` or embed one (None), from a thread that lives on."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        _embed(quiet)
        return
    try:
        knock(address)
        ray.init(address=address, job_config=_job(), **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        if "Version mismatch" in said:
            raise ValueError(
                f"--address {address}: the Ray there is another than here ({said}); launch from an environment with "
                "the Ray and the Python of the cluster, as its nodes have"
            ) from None
        raise ValueError(
            f"--address {address}: no Ray cluster can be reached there ({said}); start one with 'ray start --head' "
            "or 'ray up cluster.yaml', or leave --address out to run on this machine"
        ) from None


def _job() -> JobConfig:
    """How workers find what they import: in the folder of the launch only if this process looks there itself.

    Ray would have them look there first, where an `analysis.py` or a `random.py` of the user's is taken for ours or
    Python's; only of the jobs that a client started it does not.
    """
    from ray.job_config import JobConfig

    here = Path.cwd().as_posix()
    return JobConfig(_client_job=here not in sys.path and "" not in sys.path)


def _load() -> None:
    import ray  # noqa: F401


def _embed(quiet: dict[str, Any]) -> None:
    """Start a Ray of our own; once more if a busy machine makes it miss the 30 s that Ray gives itself."""
    import ray

    lend_token()
    # What it starts would get the hang-up of a terminal too, and die before the running packs are finished; as with
    # Ctrl-C, the mask of this thread is theirs.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    for patient in (True, False):
        try:
            # "local": without it Ray joins whatever other Ray runs on this machine, or the one that RAY_ADDRESS names.
            ray.init(address=OWN_RAY, num_cpus=machine.cores(), include_dashboard=False, job_config=_job(), **quiet)
            return
        except Exception as error:  # Ray raises nothing narrower
            if "AF_UNIX path length" in str(error):
                raise ValueError(
                    f"Ray's sockets lie in the folder of temporary files, whose path is too long for them ({error}); "
                    "set RAY_TMPDIR=/tmp or to another short one, or train without Ray by --inline"
                ) from None
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
