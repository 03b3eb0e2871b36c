"""Where a result comes from: code, versions, machine. Resolved on the driver, before anything is spent."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

PACKAGES: Final = ("isoinit", "torch", "ray", "optuna", "mlflow", "pyarrow", "numpy", "scipy")

OURS: Final = ("isoinit", "analysis", "sweeps")
"""The packages of this program."""


def _git(*arguments: str) -> str | None:
    """Output of git in the folder of this code; None if there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_commit() -> str:
    """The commit of this code, with `+dirty` if tracked files differ from it, or the version if unknown.

    `ray job submit` leaves the repository behind: there the variable ISOINIT_GIT_COMMIT says it.
    """
    given = os.environ.get("ISOINIT_GIT_COMMIT")
    if given:
        return given
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return f"isoinit {_version('isoinit')}"
    commit = _git("rev-parse", "HEAD") or "unknown"
    return f"{commit}+dirty" if _git("status", "--porcelain", "--untracked-files=no") else commit


def code() -> dict[str, str]:
    """Digest of every Python file of this program, by its name from the packages on, wherever they lie."""
    found: dict[str, str] = {}
    for package in OURS:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or []:
            for path in Path(folder).rglob("*.py"):
                name = path.relative_to(folder)
                if not any(part.startswith(".") for part in name.parts):  # an editor's are no code
                    found[f"{package}/{name.as_posix()}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def environment() -> dict[str, str]:
    """Versions and machine, for the record."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processors": str(os.cpu_count()),
        "host": platform.node(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
