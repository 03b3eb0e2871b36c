"""The model's linear algebra takes one thread, and leaves the setting as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from threadpoolctl import threadpool_info, threadpool_limits

from analysis import region
from analysis.kernels import Kernel
from analysis.points import Points
from analysis.region import RegionModel
from analysis.threads import one_thread
from sweeps.boundary import BoundarySampler


def threads() -> set[int]:
    found = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    assert found, "no BLAS is known"
    return found


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        yield
        assert threads() == {2}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The threads at every covariance of the model."""
    found: list[set[int]] = []
    matrix = Kernel.matrix

    def watched(self: Kernel, theta: np.ndarray, a: Points, b: Points) -> np.ndarray:
        found.append(threads())
        return matrix(self, theta, a, b)

    monkeypatch.setattr(Kernel, "matrix", watched)
    return found


def table() -> pa.Table:
    depths = [2, 4, 8, 16, 32, 64] * 3
    trained = [int(depth < 12) for depth in depths]
    return pa.table({"depth": depths, "n_replicates": [1] * len(depths), "n_trained": trained})


def test_a_region_is_fitted_and_read_on_one_thread(seen: list[set[int]]) -> None:
    model = RegionModel.fit(table())
    model.p_in_region(table())
    model.depth_limit(table())
    region.progress(table())
    assert seen
    assert all(found == {1} for found in seen)


def test_trials_are_asked_for_on_one_thread(seen: list[set[int]]) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, audit=0.0, batch=1))
    for _ in range(12):
        trial = study.ask({"depth": IntDistribution(2, 64, log=True), "scheme": CategoricalDistribution(["a", "b"])})
        study.tell(trial, 1.0 if trial.params["depth"] < 9 else -1.0)
    assert seen
    assert all(found == {1} for found in seen)


def overlapping() -> None:
    """Print the threads while one thread is in there and another one would be, and when none is any more."""
    entered = threading.Event()
    inside: list[int] = []

    def other() -> None:
        with one_thread():
            entered.set()
            inside.append(1)

    waits = threading.Thread(target=other)
    with one_thread():
        waits.start()
        late = not entered.wait(0.3)
        with one_thread():  # a map is read while one is made
            print(late, *threads())
        print(*threads())
    waits.join()
    print(*threads(), *inside)


def test_threads_take_turns_and_leave_the_setting_as_it_was() -> None:
    """In a process of its own, for `two` is in there itself."""
    code = "from test_threads import overlapping; overlapping()"
    two = os.environ | {"OPENBLAS_NUM_THREADS": "2"}
    here = Path(__file__).parent
    run = subprocess.run([sys.executable, "-c", code], cwd=here, env=two, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["True 1", "1", "2 1"]


def test_an_error_inside_gives_the_threads_back() -> None:
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert threads() == {2}
