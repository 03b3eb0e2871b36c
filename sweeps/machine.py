"""What of this machine a sweep may use: containers and batch jobs are given a part of what the system counts."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

GRANTED: Final = Path("/sys/fs/cgroup")
"""Where Linux says what a container may use: in files of this folder, or, of the first version, of folders in it."""


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
    limits = (*_numbers("memory.max"), *_numbers("memory/memory.limit_in_bytes"))
    return min(there, *limits, math.inf)


def _quota() -> float:
    """Cores whose time a container may take; infinite where it is all that there is."""
    allowed = _numbers("cpu.max") or [*_numbers("cpu/cpu.cfs_quota_us"), *_numbers("cpu/cpu.cfs_period_us")]
    if len(allowed) != 2 or allowed[0] <= 0:  # the first version writes -1 for no limit
        return math.inf
    return allowed[0] / allowed[1]


def _numbers(name: str) -> list[float]:
    """The numbers of a file, of which `max` is infinite; none if it cannot be read."""
    try:
        return [math.inf if word == "max" else float(word) for word in (GRANTED / name).read_text().split()]
    except (OSError, ValueError):
        return []
