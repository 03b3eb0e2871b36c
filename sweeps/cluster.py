"""Ray, joined or embedded, in a thread of its own: it takes seconds to start, while a driver loads its libraries.

Until `begin` it is loaded only: what is started has to be stopped again, for which a mistake in a spec should not wait.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from sweeps import machine

if TYPE_CHECKING:
    import grpc
    from ray.job_config import JobConfig

QUIET: Final = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own kills the running packs; ours lets them finish
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",  # it aborts a driver 3 s after a SIGTERM, whatever ours does
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files per pack
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a page for every worker that dies; the sweep's errors.txt has it
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment of a run, unless it is set otherwise. Ray reads it when it is imported."""


OWN_RAY: Final = "local"
"""The address of no cluster, as Ray itself calls it."""


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
        _knock(address)
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


def set_environment(address: str | None) -> None:
    """Set what Ray reads when it is imported, unless it is set otherwise.

    Raises:
        ValueError: the Ray at `address` wants a token and there is none here, or no driver can join by this address.
    """
    wanted = QUIET if address is None else QUIET | {"RAY_AUTH_MODE": _mode(address)}
    os.environ.update({name: value for name, value in wanted.items() if name not in os.environ})


def _load() -> None:
    import ray  # noqa: F401


def _mode(address: str) -> str:
    """How the Ray at `address` knows who belongs to it: by a token, or not at all. Both sides must be of one mode.

    Ray itself does not ask, and would try for 20 s. One that is embedded makes a token in the home folder, and from
    then on every Ray that is started by hand there wants it.

    Raises:
        ValueError: it wants a token and there is none here, or the address is one that a driver cannot join by, or of
            no cluster.
    """
    import grpc

    if (found := _found(address)) == OWN_RAY:  # Ray would start one here, without a word
        raise ValueError(
            f"--address {address}: RAY_ADDRESS={found} names no cluster; unset it to join the one that was started on "
            f"this machine, or give --address {OWN_RAY} to run without a cluster"
        )
    if "://" in found:  # of the job server, or of a client, whose driver has its disk elsewhere
        raise ValueError(
            f"--address {address}: a sweep joins Ray by HOST:PORT, from a node of the cluster, and not by {found}; "
            "from elsewhere 'ray job submit' starts it there"
        )
    wants = _answer(found, patience=5) is grpc.StatusCode.UNAUTHENTICATED
    if wants and not _has_token():
        raise ValueError(
            f"--address {address}: the Ray there lets in who shows its token; copy ~/.ray/auth_token of its head to "
            "here, or set RAY_AUTH_TOKEN"
        )
    return "token" if wants else "disabled"


def _knock(address: str) -> None:
    """See that the Ray which is meant is there: Ray itself tries for ten minutes and more.

    Raises:
        OSError: it is not, as where its machine was started anew; or what answers is no Ray.
    """
    import grpc

    found = _known(address)
    host, colon, port = (found or "").rpartition(":")
    if found is None or not colon or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise OSError(f"{found}: {error}") from None
    if _answer(found, patience=30) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        raise OSError(f"{found}: what listens there does not answer as Ray does")


def _answer(found: str, patience: float) -> grpc.StatusCode:
    """What a Ray says when it is asked whether it is alive, by one without a token."""
    import grpc

    with grpc.insecure_channel(found) as channel:
        try:
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")(b"", timeout=patience)
        except grpc.RpcError as error:  # which is a call too
            return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    return grpc.StatusCode.OK


def _found(address: str) -> str:
    """Host and port of the Ray that is meant."""
    return _known(address) or "127.0.0.1:6379"


def _known(address: str) -> str | None:
    """The address; of `auto` that of the Ray which RAY_ADDRESS names, or which was started last on this machine.

    None if it was none: then Ray looks among the processes.
    """
    if address != "auto":
        return address
    named = os.environ.get("RAY_ADDRESS", "auto")
    return named if named not in ("", "auto") else started_here()


def started_here() -> str | None:
    """Address of the Ray that `ray start` started last on this machine; None if it never did."""
    last = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    return last.read_text().strip() if last.is_file() else None


def _has_token() -> bool:
    named = os.environ.get("RAY_AUTH_TOKEN"), os.environ.get("RAY_AUTH_TOKEN_PATH")
    return any(named) or (_token_folder() / "auth_token").is_file()


def _token_folder() -> Path:
    return Path.home() / ".ray"


def _lend_token() -> None:
    """Where the home folder takes no token, as in a container that may write to its work folder alone, give one by
    name: Ray would not start."""
    folder = _token_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not (_has_token() or os.access(there, os.W_OK)):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _embed(quiet: dict[str, Any]) -> None:
    """Start a Ray of our own; once more if a busy machine makes it miss the 30 s that Ray gives itself."""
    import ray

    _lend_token()
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
