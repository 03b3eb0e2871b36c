"""A replicate is bitwise the same in the process that compiles and in those that load the code from the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
