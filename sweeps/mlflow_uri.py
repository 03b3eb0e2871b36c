"""The address of an MLflow store, a tracking URI: which one is meant, and whether it can be a store, without MLflow.

To load mlflow takes seconds, and a mistake in an address should be told before.
"""

from __future__ import annotations

import http.client
import re
import sqlite3
import tempfile
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import unquote

DEFAULT_URI: Final = "sqlite:///mlflow.db"
"""In the working directory, where a bare `mlflow ui` looks."""
SQLITE: Final = "sqlite:///"
DATABASES: Final = ("sqlite", "postgresql", "mysql", "mssql")
ELSEWHERE: Final = "give another --tracking-uri"
"""The remedy that is always there."""
_MASK: Final = "***"
SIGN_IN: Final = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


def check(uri: str) -> None:
    """See within seconds whether `uri` can be a tracking store.

    Raises:
        ValueError: its scheme is unknown or no longer supported, its file is no database of MLflow's or cannot be
            written, or no server answers.
    """
    scheme, sign, rest = uri.partition("://")
    scheme = scheme.partition("+")[0]
    if scheme in ("http", "https"):
        if "@" in rest.partition("/")[0]:
            raise ValueError(
                f"tracking URI {shown(uri)}: user and password of a server are not read from its address; {SIGN_IN}"
            )
        _check_server(uri)
    elif uri.startswith("sqlite+"):
        raise ValueError(f"tracking URI {uri}: a SQLite file is named without a driver; write sqlite:///<file>")
    elif (path := file(uri)) is not None:
        check_name(uri, path)
        check_writable(uri, path)
        check_database(uri, path)
    elif uri.startswith("file:") or not sign:
        raise ValueError(
            f"tracking URI {uri}: MLflow no longer keeps runs in a folder; "
            f"write sqlite:///<file>, for example {DEFAULT_URI}"
        )
    elif scheme not in DATABASES or scheme == "sqlite":
        raise ValueError(
            f"tracking URI {shown(uri)}: it must begin with http://, https:// or sqlite:///, "
            f"or with {', '.join(DATABASES[1:])} and ://"
        )


def file(uri: str) -> Path | None:
    """The file of an SQLite store, from the root on; None of another store.

    Raises:
        ValueError: it is in the home folder of nobody.
    """
    if not uri.startswith(SQLITE):
        return None
    try:
        return Path(uri.removeprefix(SQLITE)).expanduser().absolute()
    except RuntimeError:
        raise ValueError(
            f"tracking URI {uri}: there is no such home folder; write the path without a ~, or {ELSEWHERE}"
        ) from None


def check_name(uri: str, path: Path) -> None:
    """What reads the address of a database ends its file's name at a `?`, and takes `%20` for a blank."""
    if "?" in str(path) or unquote(str(path)) != str(path):
        raise ValueError(
            f"tracking URI {uri}: {path} would be another file to MLflow, for ? and % mean something in an address; "
            f"call the file and its folders something without them, or {ELSEWHERE}"
        )


def check_there(uri: str, path: Path) -> None:
    if not path.exists():
        raise ValueError(
            f"tracking URI {uri}: there is no {path}; give the --tracking-uri of the sweep's launch, or fill a new one "
            "with 'sweep sync' where the ledger is"
        )


def check_writable(uri: str, path: Path) -> None:
    """MLflow makes the file and its folders, and SQLite needs a second file beside it."""
    try:
        if path.is_file():
            path.open("r+b").close()
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(f"tracking URI {uri}: {path} cannot be written ({reason}); {ELSEWHERE}") from None


def check_database(uri: str, path: Path) -> None:
    if not path.exists():
        return
    try:
        if not path.is_file():
            raise sqlite3.DatabaseError("not a file")
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:  # it makes no file
            tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            columns = {row[1] for row in database.execute("pragma table_info(experiments)")}
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOTADB) & 0xFF  # the rest tells kinds of an error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return  # another sweep writes to it
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):  # as without the right to read it
            raise ValueError(f"tracking URI {uri}: {path} cannot be read ({error}); {ELSEWHERE}") from None
        raise ValueError(
            f"tracking URI {uri}: {path} is there, but is no SQLite database, or a damaged one ({error}); "
            f"{ELSEWHERE}, or move it away: 'sweep sync' fills a new one"
        ) from None
    others = {name for name in tables if not name.startswith(("alembic_", "sqlite_"))}
    if others and "artifact_location" not in columns:
        raise ValueError(
            f"tracking URI {uri}: {path} is a database of another program, with the table {min(others)}; {ELSEWHERE}"
        )


def _check_server(uri: str) -> None:
    url = f"{uri.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            healthy = answer.read(16).strip() == b"OK"
    except urllib.error.HTTPError as error:
        if error.code == 403:
            raise ValueError(
                f"tracking URI {uri}: the server refuses this host name; start it with --allowed-hosts"
            ) from None
        healthy = False
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(
            f"tracking URI {uri}: no MLflow server answers there ({reason}); start it with 'mlflow server', "
            f"or go on with a file: --tracking-uri {DEFAULT_URI}"
        ) from None
    if not healthy:
        raise ValueError(f"tracking URI {uri}: a server answers, but it is not an MLflow server")


def shown(uri: str) -> str:
    """The address without a password: what is printed is kept in logs, and a folder of runs is read by others."""
    return re.sub(r"([?&]password=)[^&]*", rf"\1{_MASK}", re.sub(r"^(\w[\w+]*://[^/@:]*):[^@]*@", rf"\1:{_MASK}@", uri))


def is_masked(uri: str) -> bool:
    """Whether a password was taken out of an address, which therefore opens nothing."""
    return f":{_MASK}@" in uri or f"password={_MASK}" in uri


def lasting(uri: str) -> str:
    """The same store, whatever folder it is asked for from."""
    path = file(uri)
    return uri if path is None else f"{SQLITE}{path}"
