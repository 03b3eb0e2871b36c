"""What of this machine a sweep may use: containers and batch jobs are given a part of what the system counts."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

GRANTED: Final = Path("/sys/fs/cgroup")
"""Where Linux says what groups of processes may use: in folders within folders, or, of the first version, in such of
each kind of limit. Of a container it is the outermost that limits it, of a batch job often one within."""
MINE: Final = Path("/proc/self/cgroup")
"""In which groups this process is."""


def cores() -> int:
    """CPU cores that this process may keep busy, at least one: more packs at once would wait for each other."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(there, _quota())))


def memory() -> float:
    """Bytes that this process may fill; infinite where the system does not say."""
    names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    there = math.inf
    if all(name in getattr(os, "sysconf_names", {}) for name in names):
        pages, size = map(os.sysconf, names)
        there = float(pages) * size
    files = [*_files("", "memory.max"), *_files("memory", "memory.limit_in_bytes")]
    return min(there, *(limit for file in files for limit in _numbers(file)), math.inf)


def _quota() -> float:
    """Cores whose time a group of processes may take; infinite where it is all that there is."""
    allowed = [_numbers(file) for file in _files("", "cpu.max")]
    split = zip(_files("cpu", "cpu.cfs_quota_us"), _files("cpu", "cpu.cfs_period_us"), strict=True)
    allowed += [_numbers(quota) + _numbers(period) for quota, period in split]
    # the first version writes -1 for no limit
    return min((each[0] / each[1] for each in allowed if len(each) == 2 and each[0] > 0), default=math.inf)


def _files(kind: str, name: str) -> list[Path]:
    """The files of that name of all groups that this process is in, each of which may limit it; some are not there.

    Of the first version's groups of that kind, or, where it is empty, of the second version's.
    """
    try:
        groups = [line.split(":", 2) for line in MINE.read_text().splitlines()]
    except OSError:
        groups = []
    own = next((Path(path.lstrip("/")) for _, kinds, path in groups if kind in kinds.split(",")), Path())
    return [GRANTED / kind / group / name for group in (own, *own.parents)]


def _numbers(file: Path) -> list[float]:
    """The numbers of a file, of which `max` is infinite; none if it cannot be read."""
    try:
        return [math.inf if word == "max" else float(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return []
