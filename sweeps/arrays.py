"""Samples and labels as arrays: read from `.npz` files, checked, and standardized.

A file has `x_train, y_train, x_test, y_test`, as Keras names them: features (samples, features), or images (samples,
height, width[, channels]), and whole numbers as labels.
"""

from __future__ import annotations

import errno
import zlib
from lzma import LZMAError
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SUFFIX: Final = ".npz"
_MOST_CHANNELS: Final = 4  # of an image whose channels come last
_LOST: Final = 0.01  # of a feature's deviation, which float32 may round away: chosen


_DAMAGES: Final = (ValueError, TypeError, AttributeError, EOFError, OSError, RuntimeError, SyntaxError, BadZipFile,
                   LZMAError, TokenError, zlib.error)  # fmt: skip
"""What NumPy and its zip raise of bytes that are no arrays, by what they happen to be."""


class Raw(NamedTuple):
    """Samples (samples, features) or (samples, channels, height, width), uint8 or float32, and labels, as integers."""

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_test: NDArray[Any]
    y_test: NDArray[Any]


def pixels(path: Path) -> Raw:
    """Images and labels of a public data set, all as uint8."""
    arrays = _loaded(path)
    for key, array in arrays.items():
        if array.dtype.kind not in "iu" or not 0 <= array.min(initial=0) <= array.max(initial=0) <= 255:
            raise ValueError(f"{path}: {key} must hold integers from 0 to 255, but it holds {array.dtype}")
        if not array.ndim or not array.size:
            raise ValueError(f"{path}: {key} must hold a sample or more, but has a shape {array.shape}")
    return _raw({k: _channels_first(a) if k[0] == "x" else a for k, a in arrays.items()}, np.dtype(np.uint8))


def own(path: Path) -> Raw:
    """Samples and labels of any kind, for the classes 0, 1, ... of `y_train`.

    Raises:
        ValueError: the file is no such `.npz`; the message says what is wrong with which array, and the remedy.
    """
    arrays = _loaded(path)
    try:
        for split in ("train", "test"):
            arrays[f"x_{split}"] = _samples(f"x_{split}", arrays[f"x_{split}"])
            arrays[f"y_{split}"] = _labels(f"y_{split}", arrays[f"y_{split}"], len(arrays[f"x_{split}"]))
        _check_alike(arrays)
        _check_classes(arrays["y_train"], arrays["y_test"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return _raw(arrays, np.dtype(np.int64))


def standardized(raw: Raw) -> tuple[Tensor, Tensor]:
    """Both splits (samples, ...), float32, with mean 0 and E[x^2] = 1 per channel or feature over the training split.

    What never changes becomes 0.
    """
    x_train, x_test = (np.empty(x.shape, np.float32) for x in (raw.x_train, raw.x_test))
    of_pixels = raw.x_train.dtype == np.uint8 == raw.x_test.dtype
    for channel in range(raw.x_train.shape[1]):
        splits = raw.x_train[:, channel], raw.x_test[:, channel]
        scaled = _by_table(*splits) if of_pixels else _by_moments(*splits)
        x_train[:, channel], x_test[:, channel] = scaled
    return torch.from_numpy(x_train), torch.from_numpy(x_test)


def _by_table(train: NDArray[np.uint8], test: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Through one table of 256 values, so that nothing larger than the result is held."""
    level, count = np.arange(256), np.bincount(train.ravel(), minlength=256)
    mean = np.average(level, weights=count)
    deviation = np.sqrt(np.average((level - mean) ** 2, weights=count))
    table = ((level - mean) / (deviation or np.inf)).astype(np.float32)
    return table[train], table[test]


def _by_moments(train: NDArray[Any], test: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
    wide = train.astype(np.float64)
    mean, deviation = wide.mean(), wide.std() if np.ptp(wide) else np.inf
    return tuple(((x - mean) / deviation).astype(np.float32) for x in (wide, test.astype(np.float64)))


def _loaded(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file) as content:
            missing = [key for key in Raw._fields if key not in content]
            if not missing:
                return {key: content[key] for key in Raw._fields}
    except _DAMAGES as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk
        example = ", ".join(f"{key}=..." for key in Raw._fields)
        raise ValueError(f"{path} is not a file of plain arrays; np.savez(file, {example}) writes one") from None
    raise ValueError(f"{path} has no array {', '.join(missing)}; it must hold {', '.join(Raw._fields)}")


def _raw(arrays: dict[str, NDArray[Any]], labels: np.dtype[Any]) -> Raw:
    return Raw(**{k: a if k[0] == "x" else a.astype(labels).ravel() for k, a in arrays.items()})


def _channels_first(x: NDArray[Any]) -> NDArray[Any]:
    return (np.moveaxis(x, -1, 1) if x.ndim == 4 else x[:, None]).astype(np.uint8)


def _samples(key: str, x: NDArray[Any]) -> NDArray[Any]:
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{key} must hold numbers, but it holds {x.dtype}")
    if not 2 <= x.ndim <= 4 or not x.size:
        shapes = "(samples, features) or (samples, height, width[, channels])"
        raise ValueError(f"{key} must have a shape {shapes}, none of them 0, but it has {x.shape}")
    if x.ndim == 4 and x.shape[-1] > _MOST_CHANNELS >= x.shape[1]:
        raise ValueError(
            f"{key} {x.shape} looks as if its channels came first, but they must come last: np.moveaxis({key}, 1, -1)"
        )
    given = x
    with np.errstate(over="ignore"):  # what is too large is named below
        x = x if x.dtype == np.uint8 else x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"{key} must be finite in float32, but it holds NaN, infinite or larger values")
    if x.ndim == 2:
        _check_digits(key, given.astype(np.float64), x)
    return x[:, None] if x.ndim == 3 else np.ascontiguousarray(np.moveaxis(x, -1, 1))


def _check_digits(key: str, given: NDArray[np.float64], kept: NDArray[Any]) -> None:
    """What is far from 0 and changes little, as a time in seconds, would be noise once it is standardized."""
    mean, deviation, changes = given.mean(axis=0), given.std(axis=0), np.ptp(given, axis=0) > 0
    lost = np.abs(given - kept).max(axis=0) > _LOST * deviation
    if (features := np.flatnonzero(lost & changes)).size:
        i = features[0]
        raise ValueError(
            f"{key} must keep its digits in float32, but feature {i} is {mean[i]:.3g} give or take {deviation[i]:.2g}; "
            "subtract the mean of x_train from both splits before saving them"
        )


def _labels(key: str, y: NDArray[Any], samples: int) -> NDArray[Any]:
    if y.dtype.kind not in "iu":
        raise ValueError(f"{key} must hold whole numbers, but it holds {y.dtype}; {_FROM_NAMES}")
    if y.shape not in ((samples,), (samples, 1)):
        hint = f"; {key}.argmax(1) turns one-hot vectors into labels" if y.ndim == 2 and len(y) == samples else ""
        raise ValueError(f"{key} must have one label for each of {samples} samples, but has a shape {y.shape}{hint}")
    return y.ravel()


def _check_alike(arrays: dict[str, NDArray[Any]]) -> None:
    train, test = arrays["x_train"].shape[1:], arrays["x_test"].shape[1:]
    if train != test:
        raise ValueError(f"x_train and x_test must hold samples of one shape, but got {train} and {test}")
    if not np.ptp(arrays["x_train"].astype(np.float32).reshape(len(arrays["x_train"]), -1), axis=0).any():
        raise ValueError("x_train holds the same sample over and over, from which nothing can be learnt")


def _check_classes(train: NDArray[Any], test: NDArray[Any]) -> None:
    found = np.unique(train)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        said = ", ".join(map(str, found[:6].tolist())) + (", ..." if len(found) > 6 else "")
        raise ValueError(f"y_train must hold each of the labels 0, 1, ... of two classes or more, but holds {said}; "
                         f"{_FROM_NAMES}")  # fmt: skip
    strange = np.setdiff1d(test, found)
    if len(strange):
        raise ValueError(f"y_test holds the label {strange[0]}, of which y_train has no sample")


_FROM_NAMES: Final = "np.unique(y_train, return_inverse=True)[1] makes such of any names"
