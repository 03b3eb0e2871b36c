"""Data sets: frozen records in a literal table, or a file of one's own, loaded as standardized float32 tensors.

Those of the table are public, and `sources` gets their files. A name that ends in `.npz` is a file of arrays (see
`arrays`).

Standardization: one mean and one standard deviation per channel, of a table per feature, computed on the training
split only and applied to both splits, so that E[x^2] = 1 per channel over the training set.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isoinit.theory.tolerance import BETWEEN
from sweeps import arrays, sources
from sweeps.arrays import Raw
from sweeps.sources import Source


class Dataset(NamedTuple):
    """Tensors of one data set. x: float32 (samples, *input_shape), standardized; y: int64 (samples,)."""

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    input_shape: tuple[int, ...]
    classes: int
    digest: str
    """sha256 (hex) over the raw pixels and labels of both splits; part of every trial key."""


# The sha256 below were not computed by us from a download: they are the values that public projects
# agree on (Keras' `cifar10.load_data` for CIFAR-10; several independent loaders for the eight IDX files).
# A wrong one cannot pass silently: the download is then refused.
DATASETS: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "digits": Source((1, 8, 8), 10, "Alpaydin & Kaynak 1998, UCI, as shipped by scikit-learn", sources.digits),
        "mnist": Source(
            (1, 28, 28),
            10,
            "LeCun, Cortes & Burges 1998",
            sources.idx,
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            MappingProxyType(
                {
                    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                }
            ),
            "mnist.npz",
        ),
        "fashion_mnist": Source(
            (1, 28, 28),
            10,
            "Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
            sources.idx,
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            MappingProxyType(
                {
                    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                }
            ),
            "fashion_mnist.npz",
        ),
        "cifar10": Source(
            (3, 32, 32),
            10,
            "Krizhevsky 2009",
            sources.cifar10,
            "https://www.cs.toronto.edu/~kriz/",
            MappingProxyType(
                {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"}
            ),
            "cifar10.npz",
        ),
    }
)
"""Every data set. To add one: a line here, and a reader in `sources` if its files are of a new kind."""


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """The data set `name`, cached in memory for the life of the process.

    Args:
        name: one of `DATASETS`, or an `.npz` in `folder` or else in the current folder.
        folder: holds the public files, in itself or in a sub-folder `name`, or the arrays as one `.npz`;
            default: the environment variable `ISOINIT_DATA`. Files found there are not downloaded.

    Raises:
        ValueError: the name is unknown, a file does not have its sha256, arrays have the wrong shape, or a file is in
            no folder and cannot be downloaded; the message names the remedy.
    """
    check_name(name)
    return _load(name, *sources.offline(folder))


def check_name(name: str) -> None:
    """See that there may be a data set of this name.

    Raises:
        ValueError: it is neither one of the table nor a file of one's own; lists what is valid.
    """
    if not is_own(name) and name not in DATASETS:
        match = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"; did you mean {match[0]!r}?" if match else ""
        raise ValueError(
            f"dataset {name!r} is unknown{hint} (valid: {', '.join(DATASETS)}, or a file NAME{arrays.SUFFIX} of your "
            f"own that holds {', '.join(Raw._fields)})"
        )


def is_own(name: str) -> bool:
    """Whether `name` is a file of the user's and none of `DATASETS`."""
    return name.endswith(arrays.SUFFIX)


def own(name: str, folder: str | Path | None = None) -> Raw:
    """The arrays of a file of one's own, where `load` finds it.

    Raises:
        ValueError: there is no such file, or it does not hold a data set; the message names the remedy.
    """
    places = [*sources.offline(folder), Path()]
    for place in places:
        if (place / name).is_file():
            return arrays.own(place / name)
    looked = " or ".join(dict.fromkeys(str(place.resolve()) for place in places))
    raise ValueError(f"dataset {name}: there is no such file in {looked}; say with --data-dir in which folder it is")


def made(name: str, raw: Raw) -> Dataset:
    """The data set of the arrays of a file of one's own."""
    return _dataset(name, raw, int(raw.y_train.max()) + 1)


def between(dataset: Dataset) -> float | None:
    """The share of the variance of the inputs, about their mean, that lies between the means of classes; None if they
    do not vary. What is known of public data is not computed anew."""
    if dataset.name in BETWEEN:
        return BETWEEN[dataset.name]
    x, members = dataset.x_train.flatten(1), torch.nn.functional.one_hot(dataset.y_train).float()
    counts = members.sum(0)
    means = (members.T @ x).double() / counts.clamp(min=1)[:, None].double()
    mean = x.mean(0, dtype=torch.float64)
    total = x.square().sum(dtype=torch.float64) - len(x) * mean.square().sum()
    apart = (counts.double() @ (means - mean).square()).sum()
    return min(float(apart / total), 1.0) if total > 0 and apart > 0 else None


@lru_cache(maxsize=4)
def _load(name: str, folder: Path | None = None) -> Dataset:
    if is_own(name):
        return made(name, own(name, folder))
    source = DATASETS[name]
    raw = sources.read(name, source, folder)
    for x, y in ((raw.x_train, raw.y_train), (raw.x_test, raw.y_test)):
        if x.shape != (len(y), *source.input_shape) or y.max(initial=0) >= source.classes:
            raise ValueError(
                f"dataset {name}: expected pixels (samples, {', '.join(map(str, source.input_shape))}) and labels "
                f"below {source.classes}, but got {x.shape} and {len(y)} labels up to {y.max(initial=0)}"
            )
    return _dataset(name, raw, source.classes)


def _dataset(name: str, raw: Raw, classes: int) -> Dataset:
    digest = hashlib.sha256()
    for array in raw:
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    x_train, x_test = arrays.standardized(raw)
    y_train, y_test = (torch.from_numpy(y.astype(np.int64)) for y in (raw.y_train, raw.y_test))
    return Dataset(name, x_train, y_train, x_test, y_test, raw.x_train.shape[1:], classes, digest.hexdigest())
