"""What is known of a Ray before it is joined: which one an address means, whether it answers, how it knows its own.

Ray itself does not ask: it tries for minutes where nobody answers, and for seconds where a token is wanted.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import grpc

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


def set_environment(address: str | None) -> None:
    """Set what Ray reads when it is imported, unless it is set otherwise.

    Raises:
        ValueError: the Ray at `address` wants a token and there is none here, or no driver can join by this address.
    """
    wanted = QUIET if address is None else QUIET | {"RAY_AUTH_MODE": _mode(address)}
    os.environ.update({name: value for name, value in wanted.items() if name not in os.environ})


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


def knock(address: str) -> None:
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


def lend_token() -> None:
    """Where the home folder takes no token, as in a container that may write to its work folder alone, give one by
    name: Ray would not start."""
    folder = _token_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not (_has_token() or os.access(there, os.W_OK)):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
