"""Linear algebra of the two commands takes one thread, and leaves the setting of others as it was."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import scipy.linalg  # noqa: F401  its BLAS is not numpy's
from threadpoolctl import threadpool_info, threadpool_limits

import analysis.__main__
import sweeps.__main__
from analysis import commands
from sweeps import launch


def threads() -> set[int]:
    found = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    assert found, "no BLAS is known"
    return found


def test_a_map_is_made_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []

    def theory(_: argparse.Namespace) -> int:
        seen.append(threads())
        return 0

    monkeypatch.setattr(commands, "theory", theory)
    with threadpool_limits(2, user_api="blas"):
        assert analysis.__main__.main(["theory", "he_normal", "--depth", "5", "--width", "8"]) == 0
        assert threads() == {2}
    assert seen == [{1}]


def test_a_sweep_searches_on_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[set[int]] = []

    def stopped(*_: Any) -> launch.Finished:
        seen.append(threads())
        raise ValueError("seen")

    monkeypatch.setattr(launch, "launch", stopped)
    monkeypatch.chdir(tmp_path)
    with threadpool_limits(2, user_api="blas"):
        assert sweeps.__main__.main(["launch", "quickstart", "--inline"]) == 2
        assert threads() == {2}
    assert seen == [{1}]
