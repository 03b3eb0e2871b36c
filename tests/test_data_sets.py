"""Data sets: fixed splits, standardization on the training split, digests, offline folders, clear errors."""

import gzip
import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pooch
import pytest
import torch

from sweeps import data

SHARED = Path("../shared/data")
needs_mnist = pytest.mark.skipif(not (SHARED / "mnist.npz").is_file(), reason="no offline copy of MNIST here")


def test_digits_are_split_once_and_for_all():
    digits = data.load("digits")
    assert digits.x_train.shape == (1400, 1, 8, 8)
    assert digits.x_test.shape == (397, 1, 8, 8)
    assert digits.y_train.dtype == torch.int64
    assert digits.x_train.dtype == torch.float32
    # a digest that changes means that every trial key changes with it
    assert digits.digest == "e215e551a004533362889ba5fe921cd00cbf1ae25ca22a36305b8d2c6f5115b4"
    assert min(digits.y_test.bincount(minlength=10)) > 25, "a split by position would be fine too, but not a sorted one"


def test_standardization_sees_the_training_split_only():
    digits = data.load("digits")
    assert digits.x_train.double().mean().abs() < 1e-6
    assert digits.x_train.double().square().mean() == pytest.approx(1, abs=1e-6)
    assert digits.x_test.double().mean().abs() > 1e-4, "the test split has a mean of its own"


def test_every_public_file_is_pinned_by_sha256():
    for name, source in data.DATASETS.items():
        assert bool(source.url) == bool(source.sha256), name
        assert all(len(s) == 64 and set(s) <= set("0123456789abcdef") for s in source.sha256.values()), name
        assert len(set(source.sha256.values())) == len(source.sha256), name


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'digit' is unknown; did you mean 'digits'.*valid: digits, mnist"):
        data.load("digit")


def test_no_internet_names_the_remedy(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    with pytest.raises(ValueError, match=r"cifar-10-python.tar.gz cannot be downloaded.*ISOINIT_DATA.*digits"):
        data.load("cifar10", tmp_path)


def test_a_file_that_is_not_the_public_one_is_refused(tmp_path):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "cifar-10-python.tar.gz").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"is not the public file: its sha256 is"):
        data.load("cifar10", tmp_path)


def _images(samples: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (samples, 28, 28), dtype=np.uint8)


def test_arrays_and_public_files_of_the_same_pixels_have_the_same_digest(monkeypatch, tmp_path):
    arrays = {"x_train": _images(12), "y_train": np.arange(12) % 10, "x_test": _images(5), "y_test": np.arange(5)}
    (tmp_path / "npz").mkdir()
    np.savez(tmp_path / "npz" / "mnist.npz", **arrays)
    files = {}
    for prefix, x, y in (("train", "x_train", "y_train"), ("t10k", "x_test", "y_test")):
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(bytes(16) + arrays[x].tobytes())
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(bytes(8) + arrays[y].astype(np.uint8).tobytes())
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(data, "DATASETS", {"mnist": replace(data.DATASETS["mnist"], sha256=MappingProxyType(sha256))})
    from_arrays = data.load("mnist", tmp_path / "npz")
    from_files = data.load("mnist", tmp_path)
    assert from_arrays.digest == from_files.digest
    assert torch.equal(from_arrays.x_test, from_files.x_test)
    assert from_arrays.y_train.tolist() == arrays["y_train"].tolist()


def test_cifar10_is_read_channels_first(tmp_path):
    rng = np.random.default_rng(0)
    pixels = np.empty(0)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
            pixels = rng.integers(0, 256, (2, 3072), dtype=np.uint8)
            content = pickle.dumps({b"data": pixels, b"labels": [3, 7]})
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    raw = data.DATASETS["cifar10"].read({"cifar-10-python.tar.gz": archive})
    assert raw.x_train.shape == (10, 3, 32, 32)
    assert raw.y_test.tolist() == [3, 7]
    assert (raw.x_test[1, 2].ravel() == pixels[1, 2048:]).all(), "the third kilobyte of a row is the blue plane"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": None}, "has no array x_train"),
        ({"x_train": np.zeros((4, 28, 28), np.float32)}, "integers from 0 to 255"),
        ({"x_test": np.zeros((4, 14, 14), np.uint8)}, r"expected pixels \(samples, 1, 28, 28\)"),
        ({"y_test": np.array([0, 1, 2, 10])}, "labels below 10"),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path, change, message):
    arrays = {
        f"{kind}_{split}": _images(4) if kind == "x" else np.arange(4) for kind in "xy" for split in ("train", "test")
    }
    arrays = {key: value for key, value in (arrays | change).items() if value is not None}
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.load("mnist", tmp_path)


@needs_mnist
def test_mnist_has_its_known_counts_mean_and_deviation():
    mnist = data.load("mnist", SHARED)
    assert mnist.x_train.shape == (60000, 1, 28, 28)
    assert mnist.y_train.bincount().tolist()[:3] == [5923, 6742, 5958]
    # the field's usual constants for pixels in [0, 1]
    assert mnist.x_train[0, 0, 0, 0] == pytest.approx(-0.1307 / 0.3081, abs=1e-3)
