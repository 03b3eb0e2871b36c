"""A replicate is bitwise the same in the process that compiles and in those that load the code from the cache, which
keeps no code that is out of date.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CellType, FunctionType, ModuleType
from typing import Any

import numba
import pytest
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target

from isoinit import narrow
from isoinit.editions import edition, entries
from sweeps import kernel

TRAIN = """
from sweeps import data, train
from sweeps.spec import Point, Training

point = Point("xavier_normal", "mlp", "relu", "none", 5, 16, 1.0, "iid", 0.01, 1.0)
for batch in (37, 64):  # 1/64 is exact, so that a batch of 64 alone would hide how a division is compiled
    training = Training(steps=10, log_every=1, batch_size=batch)
    (replicate,) = train.train([train.Member(point, 0, 0.05)], data.load("digits"), training)
    print([loss.hex() for loss in replicate.curve_loss])
"""

PREPARE = """
import torch
from analysis.schema import PROBES
from sweeps import data
from sweeps.preparing import prepare
from sweeps.spec import Point

point = Point("sample_variance", "mlp", "relu", "none", 9, 16, 1.0, "zero", 0.0, 1.0)
for activation in ("relu", "tanh", "sigmoid", "hardtanh", "crelu"):
    key = point._replace(activation=activation), 0
    found = prepare([key], data.load("digits"), torch.device("cpu"))[key]
    print([float(p.double().sum()).hex() for p in found.model.parameters()])
    print([found.probes[name].hex() for name in PROBES])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("script", "numbers"), [(TRAIN, 20), (PREPARE, 5 * (18 + 8))], ids=["train", "prepare"])
def test_a_fresh_compilation_runs_bitwise_like_a_cached_one(tmp_path: Path, script: str, numbers: int) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    said = [
        subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc"))
    fresh, cached = (run.stdout for run in said)
    assert fresh == cached
    assert fresh.count("0x") == numbers


def compiled(package: ModuleType) -> Iterator[tuple[str, Any]]:
    """Every compiled function of a package, by the name it has in its module."""
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if isinstance(value, Dispatcher):
                yield name, value


def folder(package: ModuleType) -> Path:
    return Path(package.__path__[0])


def key(cache: Any) -> Any:
    """What a cache knows the code of its function by."""
    context: Any = cpu_target.target_context
    return cache._index_key((), context.codegen())


def of_edition(function: Any, number: int) -> FunctionCache:
    """The cache of a compiled function, if this were its edition."""
    made = function.py_func
    assert len(made.__closure__) == 1
    return FunctionCache(FunctionType(made.__code__, made.__globals__, made.__name__, None, (CellType(number),)))


@pytest.mark.parametrize(
    ("package", "entry_points"),
    [(kernel, {"train_members", "load", "update_stacked"}), (narrow, {"_measure", "_calibrate", "walk"})],
)
def test_what_is_cached_is_known_by_the_edition_of_its_package(package: ModuleType, entry_points: set[str]) -> None:
    number, functions = edition(folder(package)), dict(compiled(package))
    cached = {name: f for name, f in functions.items() if isinstance(f._cache, FunctionCache)}
    assert cached.keys() == entry_points < functions.keys()
    for function in cached.values():
        assert key(of_edition(function, number)) == key(function._cache) != key(of_edition(function, number + 1))


@pytest.mark.parametrize("package", [kernel, narrow])
def test_an_edition_is_another_one_when_any_module_is(package: ModuleType, tmp_path: Path) -> None:
    copy = shutil.copytree(folder(package), tmp_path / "copy")
    number = edition(copy)
    assert number == edition(folder(package))  # wherever it is installed
    assert 0 <= number < 2**63
    seen, modules = {number}, sorted(copy.rglob("*.py"))
    assert len(modules) > 3
    for module in modules:
        source = module.read_text()
        module.write_text(source + "#\n")
        seen.add(edition(copy))
        module.write_text(source)
    for new in ("new.py", "within/new.py"):
        (copy / new).parent.mkdir(exist_ok=True)
        (copy / new).touch()
        seen.add(edition(copy))
        (copy / new).unlink()
    assert len(seen) == 1 + len(modules) + 2
    (copy / "notes.txt").touch()
    assert edition(copy) == number


def test_a_function_that_does_not_hold_its_edition_is_refused() -> None:
    def make(_edition: int) -> Any:
        return lambda x: x

    with pytest.raises(ValueError, match="make has to refer to its edition"):
        entries(numba.njit, folder(kernel))(make)


LOAD = """
import numpy as np
from sweeps import kernel
weights, bias = np.zeros((2, 3), np.float32), np.full(2, 5, np.float32)
into = np.zeros(48, np.float32)
kernel.load(np.array([[weights.ctypes.data, bias.ctypes.data]]), np.array([[3], [2], [3], [2]]), 1, into)
print(into.max(), sum(kernel.load.stats.cache_hits.values()), sum(kernel.load.stats.cache_misses.values()))
"""


@pytest.mark.slow
def test_code_is_loaded_from_the_cache_until_a_module_changes_that_it_calls(tmp_path: Path) -> None:
    for package in ("isoinit", "sweeps", "analysis"):
        shutil.copytree(folder(kernel).parent.parent / package, tmp_path / package)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def run() -> str:
        command = [sys.executable, "-c", LOAD]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert [run(), run()] == ["5.0 0 1", "5.0 1 0"]
    module = tmp_path / "sweeps/kernel/sums.py"
    source = module.read_text()
    module.write_text(source.replace("target[i] = source[i]", "target[i] = source[i] + source[i]"))
    assert module.read_text() != source
    assert run() == "10.0 0 1"
