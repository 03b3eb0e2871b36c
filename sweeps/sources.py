"""Where public data sets come from: their files, in a folder, a cache or the internet, and how those are read.

`digits` comes inside scikit-learn. The others are downloaded once through pooch, checked against their
sha256 and cached; where there is no internet, a folder that holds the public files is enough (see `data.load`).
"""

from __future__ import annotations

import gzip
import os
import pickle
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pooch
from numpy.typing import NDArray

from sweeps import arrays, installed
from sweeps.arrays import Raw

FOLDER_VARIABLE: Final = "ISOINIT_DATA"
"""Environment variable: folder with the public files, looked into before anything is downloaded."""

_DIGITS_TRAIN: Final = 1400  # of 1797; the other 397 are the test split
_DIGITS_SPLIT_SEED: Final = 0  # of the fixed permutation that splits the digits


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: shape (channels first), public files with their sha256, and a reader."""

    input_shape: tuple[int, ...]
    classes: int
    citation: str
    read: Callable[[Mapping[str, Path]], Raw]
    url: str = ""
    sha256: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    arrays: str = ""
    """Name of an `.npz` (x_train, y_train, x_test, y_test as in Keras) that an offline folder may hold instead."""


def digits(_: Mapping[str, Path]) -> Raw:
    # The file that `sklearn.datasets.load_digits` reads: to import scikit-learn takes seconds, in every worker.
    package = find_spec("sklearn")
    assert package is not None, "a dependency"
    assert package.submodule_search_locations is not None, "a package"
    table = np.loadtxt(Path(package.submodule_search_locations[0], "datasets/data/digits.csv.gz"), delimiter=",")
    x = table[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)
    y = table[:, -1].astype(np.uint8)
    order = np.random.Generator(np.random.PCG64(_DIGITS_SPLIT_SEED)).permutation(len(x))
    train, test = order[:_DIGITS_TRAIN], order[_DIGITS_TRAIN:]
    return Raw(x[train], y[train], x[test], y[test])


def _idx_images(path: Path) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 1, 28, 28)


def _idx_labels(path: Path) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=8)


def idx(files: Mapping[str, Path]) -> Raw:
    return Raw(
        _idx_images(files["train-images-idx3-ubyte.gz"]),
        _idx_labels(files["train-labels-idx1-ubyte.gz"]),
        _idx_images(files["t10k-images-idx3-ubyte.gz"]),
        _idx_labels(files["t10k-labels-idx1-ubyte.gz"]),
    )


def cifar10(files: Mapping[str, Path]) -> Raw:
    def batch(archive: tarfile.TarFile, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        member = archive.extractfile(f"cifar-10-batches-py/{name}")
        assert member is not None, "the sha256 vouches for the archive's members"
        content = pickle.load(member, encoding="bytes")
        return content[b"data"].reshape(-1, 3, 32, 32), np.asarray(content[b"labels"], np.uint8)

    with tarfile.open(files["cifar-10-python.tar.gz"]) as archive:
        train = [batch(archive, f"data_batch_{i}") for i in range(1, 6)]
        x_test, y_test = batch(archive, "test_batch")
    return Raw(np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train]), x_test, y_test)


def offline(folder: str | Path | None) -> list[Path]:
    """The folder that holds files instead of the internet: `folder`, else that of the environment; none or one."""
    place = folder or os.environ.get(FOLDER_VARIABLE)
    return [Path(place).expanduser()] if place else []


def read(name: str, source: Source, folder: Path | None) -> Raw:
    """The arrays of the data set `name`, from `folder` if its files are there.

    Raises:
        ValueError: a file does not have its sha256, or is in no folder and cannot be downloaded.
    """
    places = _places(name, folder)
    for place in places:
        if source.arrays and (place / source.arrays).is_file():
            return arrays.pixels(place / source.arrays)
    return source.read({file: _file(name, source, file, places) for file in source.sha256})


def at_hand(name: str, source: Source) -> Path | None:
    """Where the files of a data set are on this machine; None if they would be downloaded."""
    folders = _places(name, *offline(None))
    caches = [_cache(name)] if installed.home() else []
    for place in [*folders, *caches]:
        complete = all((place / file).is_file() for file in source.sha256)
        if complete or (place in folders and (place / source.arrays).is_file()):
            return place
    return None


def _places(name: str, folder: Path | None = None) -> list[Path]:
    return [folder, folder / name] if folder else []


def _cache(name: str) -> Path:
    return pooch.os_cache("isoinit") / name


def _file(name: str, source: Source, file: str, places: list[Path]) -> Path:
    expected = source.sha256[file]
    for place in places:
        path = place / file
        if path.is_file():
            found = pooch.file_hash(str(path))
            if found != expected:
                raise ValueError(f"{path} is not the public file: its sha256 is {found}, expected {expected}")
            return path
    try:
        return Path(pooch.retrieve(source.url + file, expected, file, _cache(name)))
    except OSError as error:  # requests' errors are OSErrors
        raise ValueError(
            f"dataset {name}: {file} cannot be downloaded from {source.url} ({type(error).__name__}); "
            f"on a machine without internet put the files ({', '.join(source.sha256)}) or {source.arrays} into a "
            f"folder and set {FOLDER_VARIABLE} to it, or use 'digits', which needs no download"
        ) from error
