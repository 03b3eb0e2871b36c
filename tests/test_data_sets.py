"""Data sets: fixed splits, standardization on the training split, digests, offline folders, clear errors."""

import errno
import gzip
import hashlib
import io
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pooch
import pytest
import torch

from isoinit.theory.tolerance import BETWEEN
from sweeps import arrays, data, sources

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
    with pytest.raises(
        ValueError, match=f"'digit' is unknown; did you mean 'digits'.*valid: {', '.join(data.DATASETS)}, or"
    ):
        data.load("digit")


def test_no_internet_names_the_remedy(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    with pytest.raises(ValueError, match=r"cifar-10-python.tar.gz cannot be downloaded.*ISOINIT_DATA.*digits"):
        data.load("cifar10", tmp_path)


def test_a_download_is_of_the_public_file_and_kept_where_it_is_looked_for(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(pooch, "retrieve", lambda *given: asked.append(given) or tmp_path / given[2])
    mnist = replace(data.DATASETS["mnist"], read=lambda files: files)
    found = sources.read("mnist", mnist, tmp_path)
    assert asked == [(mnist.url + f, sha256, f, sources._cache("mnist")) for f, sha256 in mnist.sha256.items()]
    assert found == {file: tmp_path / file for file in mnist.sha256}


def test_digits_need_no_folder_and_no_file_that_is_taken_for_one(tmp_path):
    (tmp_path / "mnist.npz").touch()
    assert data.load("digits", tmp_path / "mnist.npz").digest == data.load("digits").digest


def test_a_folder_may_be_in_that_of_the_user():
    assert sources.offline("~/data") == [Path.home() / "data"]


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
    assert from_arrays.y_test.tolist() == arrays["y_test"].tolist()


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


def test_images_with_colours_of_a_public_npz_are_read_channels_first(tmp_path):
    """As Keras has them: colours last, labels in a column. One colour that is always the same becomes 0."""
    x = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    x[..., 1] = 7
    y = np.arange(12, dtype=np.uint8)[:, None] % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x[:5] + np.array([0, 9, 0], np.uint8), y_test=y[:5])
    cifar = data.load("cifar10", tmp_path)
    assert cifar.x_train.shape == (12, 3, 32, 32)
    for colour in (0, 2):
        seen = x[..., colour].astype(float)
        wanted = (seen - seen.mean()) / seen.std()
        np.testing.assert_allclose(cifar.x_train[:, colour], wanted, rtol=0, atol=1e-6)
        np.testing.assert_allclose(cifar.x_test[:, colour], wanted[:5], rtol=0, atol=1e-6)
    assert not cifar.x_train[:, 1].any()
    assert not cifar.x_test[:, 1].any()
    assert cifar.y_train.tolist() == y.ravel().tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": None}, "has no array x_train"),
        ({"x_train": np.zeros((4, 28, 28), np.float32)}, "integers from 0 to 255"),
        ({"x_train": np.full((4, 28, 28), -1)}, "integers from 0 to 255"),
        ({"x_test": np.zeros((4, 14, 14), np.uint8)}, r"expected pixels \(samples, 1, 28, 28\)"),
        ({"y_test": np.array([0, 1, 2, 10])}, "labels below 10"),
        ({"y_train": np.arange(3)}, r"but got \(4, 1, 28, 28\) and 3 labels up to 2"),
        ({"x_train": np.zeros((0, 28, 28), int)}, r"x_train must hold a sample or more, but has a shape \(0, 28, 28\)"),
        ({"x_test": np.zeros((0, 28, 28), int)}, "x_test must hold a sample or more"),
        ({"x_train": np.array(5)}, r"x_train must hold a sample or more, but has a shape \(\)"),
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


def _own(folder: Path, **change: np.ndarray | None) -> Path:
    """A file of 12 + 4 samples of 3 features and 2 classes, with some of its arrays changed or left out."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.normal(5, [1, 10, 0], (12, 3)),
        "y_train": np.arange(12) % 2,
        "x_test": rng.normal(5, [1, 10, 1], (4, 3)),
        "y_test": np.arange(4) % 2,
    }
    path = folder / "mine.npz"
    kept: dict[str, Any] = {k: v for k, v in (arrays | change).items() if v is not None}
    np.savez(path, **kept)
    return path


def test_features_of_ones_own_are_standardized_one_by_one_on_the_training_split(tmp_path):
    mine = data.load("mine.npz", _own(tmp_path).parent)
    assert (mine.name, mine.input_shape, mine.classes) == ("mine.npz", (3,), 2)
    assert mine.x_train.dtype == torch.float32
    assert mine.x_train.mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert mine.x_train.square().mean(0).tolist() == pytest.approx([1, 1, 0], abs=1e-6)
    assert mine.x_test[:, 2].tolist() == [0, 0, 0, 0], "what did not change in training says nothing"
    assert mine.x_test[:, 1].abs().max() < 4, "by the deviation of its own feature, not of all"


def test_features_that_are_far_from_zero_and_keep_their_digits_are_taken(tmp_path):
    """And one that never changes, whatever its digits."""
    x = np.array([1e4, 1e9, 2**24]) + np.arange(12)[:, None] * [1.0, 1e6, 0] + [0, 0, 0.3]
    mine = data.load("mine.npz", _own(tmp_path, x_train=x).parent)
    expected = (np.arange(12) - 5.5) / np.arange(12).std()
    torch.testing.assert_close(mine.x_train[:, 0].numpy(), expected.astype(np.float32), rtol=0, atol=0.01)
    assert mine.x_train[:, 2].unique().tolist() == [0]


def test_a_class_that_has_no_sample_to_be_tested_on_counts(tmp_path):
    assert data.load("mine.npz", _own(tmp_path, y_test=np.zeros(4, int)).parent).classes == 2


def test_images_of_ones_own_have_their_channels_last_and_may_be_pixels(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (12, 4, 5, 3), dtype=np.uint8)
    folder = _own(tmp_path, x_train=x, x_test=x[:4]).parent
    pixels = data.load("mine.npz", folder)
    assert pixels.input_shape == (3, 4, 5)
    as_floats = arrays.standardized(arrays.own(_own(tmp_path, x_train=x / 255, x_test=x[:4] / 255)))[0]
    torch.testing.assert_close(pixels.x_train, as_floats, rtol=1e-5, atol=1e-5)
    first = x[..., 2].astype(float)
    assert pixels.x_train[5, 2, 1, 3] == pytest.approx((first[5, 1, 3] - first.mean()) / first.std(), abs=1e-5)


def test_other_arrays_in_the_file_are_another_digest(tmp_path):
    digests = {data.made("mine.npz", arrays.own(_own(tmp_path, **change))).digest
               for change in ({}, {"x_test": np.ones((4, 3))}, {"y_test": np.ones(4, int)})}  # fmt: skip
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": None, "x_test": None}, "has no array y_train, x_test; it must hold x_train, y_train, x_test"),
        ({"x_train": np.array([[None] * 3] * 12)}, "is not a file of plain arrays; np.savez"),
        ({"x_train": np.full((12, 3), "a")}, "x_train must hold numbers, but it holds <U1"),
        ({"x_train": np.full((12, 3), np.nan)}, "x_train must be finite"),
        ({"x_train": np.full((12, 3), 1e39)}, "x_train must be finite in float32"),
        (
            {"x_train": 1.7e9 + np.arange(36.0).reshape(12, 3)},
            r"x_train must keep its digits in float32, but feature 0 is 1.7e\+09 give or take 10; subtract the mean",
        ),
        ({"x_test": 10**9 + np.arange(12).reshape(4, 3)}, "x_test must keep its digits in float32"),
        ({"x_train": np.ones(12)}, r"x_train must have a shape \(samples, features\) or .* but it has \(12,\)"),
        ({"x_train": np.ones((12, 0))}, "none of them 0"),
        ({"x_train": np.ones((12, 3))}, "x_train holds the same sample over and over"),
        ({"x_train": np.ones((12, 3, 8, 8))}, r"channels came first.*np.moveaxis\(x_train, 1, -1\)"),
        ({"x_train": np.ones((12, 4, 8, 8))}, "channels came first"),
        ({"x_test": np.ones((4, 2))}, r"samples of one shape, but got \(3,\) and \(2,\)"),
        ({"y_train": np.arange(12) % 2 + 1}, "each of the labels 0, 1, .* holds 1, 2; np.unique"),
        ({"y_train": np.zeros(12, int)}, "two classes or more, but holds 0"),
        ({"y_train": np.arange(12) / 2}, "y_train must hold whole numbers, but it holds float64"),
        ({"y_train": np.eye(2, dtype=int)[np.arange(12) % 2]}, r"y_train.argmax\(1\) turns one-hot"),
        ({"y_test": np.arange(3) % 2}, r"one label for each of 4 samples, but has a shape \(3,\)$"),
        ({"y_test": np.arange(4)}, "y_test holds the label 2, of which y_train has no sample"),
    ],
)
def test_a_file_of_ones_own_that_is_no_data_set_is_refused_with_the_remedy(tmp_path, change, message):
    path = _own(tmp_path, **change)
    with pytest.raises(ValueError, match=message) as error:
        data.load(path.name, tmp_path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"samples", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"mine.npz is not a file of plain arrays; np.savez\(file, x_train=..., "):
        data.load("mine.npz", tmp_path)


def _changed(content: bytes, sign: bytes, offset: int, new: bytes) -> bytes:
    """The content with `new` at an offset from each place where `sign` is."""
    first, *others = content.split(sign)
    return sign.join(
        [first, *(part[: offset - len(sign)] + new + part[offset - len(sign) + len(new) :] for part in others)]
    )


def _save_by_lzma(path, **arrays):
    """As zips by other programs may be."""
    with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_LZMA) as file:
        for name, values in arrays.items():
            content = io.BytesIO()
            np.save(content, values)
            file.writestr(f"{name}.npy", content.getvalue())


@pytest.mark.parametrize(
    ("save", "sign", "offset", "new"),
    [
        (np.savez_compressed, b"PK\x01\x02", 8, b"\x01"),  # a flag: RuntimeError, for it is encrypted
        (np.savez_compressed, b"PK\x01\x02", 10, b"\x63"),  # how it is compressed: NotImplementedError
        (np.savez_compressed, b"PK\x01\x02", 10, b"\x0c"),  # so too, by bzip2: OSError without a number
        (_save_by_lzma, b".npy\x09", 13, 8 * b"\xff"),  # the bytes that LZMA compressed: LZMAError
        (np.savez_compressed, b".npy\x01", 24, 8 * b"\xff"),  # the compressed bytes: zlib.error
    ],
)
def test_a_damaged_npz_is_refused(tmp_path, save, sign, offset, new):
    path = _own(tmp_path)
    with np.load(path) as arrays_in_it:
        save(path, **arrays_in_it)
    content = path.read_bytes()
    changed = _changed(content, sign, offset, new)
    assert changed != content
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=r"\.npz is not a file of plain arrays; np.savez\(file, x_train=..., "):
        data.load(path.name, tmp_path)


def test_what_the_disk_cannot_read_is_no_damage(tmp_path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError(errno.EIO, "Input/output error")

    path = _own(tmp_path)
    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(OSError, match="Input/output error"):
        data.load(path.name, tmp_path)


def test_a_file_that_is_nowhere_is_named_with_the_places(tmp_path):
    with pytest.raises(ValueError, match=rf"no such file in {tmp_path} or {Path.cwd()}; say with --data-dir"):
        data.load("mine.npz", tmp_path)


@needs_mnist
def test_mnist_has_its_known_counts_mean_and_deviation():
    mnist = data.load("mnist", SHARED)
    assert mnist.x_train.shape == (60000, 1, 28, 28)
    assert mnist.y_train.bincount().tolist()[:3] == [5923, 6742, 5958]
    # the field's usual constants for pixels in [0, 1]
    assert mnist.x_train[0, 0, 0, 0] == pytest.approx(-0.1307 / 0.3081, abs=1e-3)


@pytest.mark.parametrize("name", ["digits", pytest.param("mnist", marks=needs_mnist)])
def test_as_much_of_their_variance_lies_between_classes_as_theory_is_told(name):
    """In squares of what is left without the mean of all, and of each class (CIFAR-10 was not at hand)."""
    found = data.load(name, SHARED)
    x, y = found.x_train.flatten(1).double(), found.y_train
    x -= x.mean(0)
    within = sum((x[y == k] - x[y == k].mean(0)).square().sum() for k in y.unique())
    share = 1 - (within / x.square().sum()).item()
    assert data.between(found) == BETWEEN[name] == pytest.approx(share, abs=0.005)
    assert data.between(found._replace(name="mine.npz")) == pytest.approx(share, rel=1e-5)
    assert BETWEEN.keys() <= data.DATASETS.keys()


def test_inputs_that_do_not_vary_have_no_share_between_classes(tmp_path):
    mine = data.load("mine.npz", _own(tmp_path).parent)
    assert 0 < (data.between(mine) or 0) < 0.5
    assert data.between(mine._replace(x_train=torch.zeros_like(mine.x_train))) is None
    apart = mine._replace(x_train=mine.y_train[:, None].float())
    assert data.between(apart) == pytest.approx(1)
