"""Benchmark data: loaders, dequantisation, split and standardisation."""

import functools
import importlib.util
import os
from pathlib import Path

import numpy as np

__all__ = [
    "DATASETS",
    "DEQUANTISATION",
    "bsds300_patches",
    "data_folder",
    "dequantise",
    "make_splits",
    "split",
    "standardise",
]

TIED_SHARE = 0.1
MIN_WIDTH = 1e-3
DEQUANTISATION = (
    f"A column where more than {TIED_SHARE:.0%} of the rows share their value with another row has "
    "uniform noise added, before the split and the same for all methods, of the width of the "
    "median gap between its distinct values and at least "
    f"{MIN_WIDTH:g} of its standard deviation."
)


def data_folder():
    """The folder that the environment variable SKLEARN_JKO_DATA names.

    It holds ``adbench/`` with npz files of ADBench (github.com/Minqi824/ADBench, the folder
    ``adbench/datasets/Classical``), ``uci/winequality-white.csv`` (no header, commas, the
    quality last), ``uci/california_housing.npz`` (X, and the target y), ``mnist/`` with the four
    IDX files of MNIST as gzip (``train-images-idx3-ubyte.gz`` and so on) and, for BSDS300,
    ``bsds300/bsds300_patches.py`` whose function ``make(n_train, n_val, n_test, seed, dtype)``
    draws the arrays "train", "val" and "test".
    """
    folder = os.environ.get("SKLEARN_JKO_DATA")
    if not folder or not Path(folder).is_dir():
        raise SystemExit(
            f"The environment variable SKLEARN_JKO_DATA is {folder!r}: set it to the folder that "
            "holds the data sets. `data_folder` in examples/benchmarks/datasets.py lists them."
        )
    return Path(folder)


def adbench_inliers(file_name, folder):
    with np.load(folder / "adbench" / file_name) as data:
        return data["X"][data["y"] == 0].astype(np.float64)


def white_wine(folder):
    return np.loadtxt(folder / "uci" / "winequality-white.csv", delimiter=",")[:, :-1]


def california_housing(folder):
    """All columns, with the target as one more."""
    with np.load(folder / "uci" / "california_housing.npz") as data:
        return np.c_[data["X"], data["y"]].astype(np.float64)


# Each a function of the data folder that gives the rows, of shape (n, d).
DATASETS = {
    "magic.gamma": functools.partial(adbench_inliers, "22_magic.gamma.npz"),
    "mammography": functools.partial(adbench_inliers, "23_mammography.npz"),
    "thyroid": functools.partial(adbench_inliers, "38_thyroid.npz"),
    "pendigits": functools.partial(adbench_inliers, "28_pendigits.npz"),
    "white wine": white_wine,
    "california housing": california_housing,
}


def make_splits(X, seed):
    """Dequantise, split and standardise: the arrays train, validation and test."""
    rng = np.random.default_rng(seed)
    return standardise(*split(dequantise(X, rng), rng))


def dequantise(X, rng):
    """Blur the columns of many repeated values, see `DEQUANTISATION`."""
    widths = np.array([tie_width(column) for column in X.T])
    return X + widths * rng.uniform(-0.5, 0.5, size=X.shape)


def tie_width(column):
    """Width of the noise for one column; 0 where few values repeat, or all are equal."""
    values, counts = np.unique(column, return_counts=True)
    if len(values) == 1 or counts[counts > 1].sum() <= TIED_SHARE * len(column):
        return 0.0
    return max(np.median(np.diff(values)), MIN_WIDTH * column.std())


def split(X, rng):
    """Shuffle and cut the rows 80/10/10."""
    X = rng.permutation(X)
    tenth = len(X) // 10
    return X[: -2 * tenth], X[-2 * tenth : -tenth], X[-tenth:]


def standardise(train, *others):
    """Columns of mean 0 and deviation 1 on the training rows, for every part."""
    mean, scale = train.mean(axis=0), train.std(axis=0)
    scale[scale == 0] = 1.0
    return tuple((part - mean) / scale for part in (train, *others))


def bsds300_patches(n_train, n_validation, n_test, seed, folder):
    """Patches of the BSDS300 images, in their usual units: train, validation, test."""
    path = folder / "bsds300" / "bsds300_patches.py"
    spec = importlib.util.spec_from_file_location("bsds300_patches", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parts = module.make(n_train, n_validation, n_test, seed, dtype=np.float64)
    return parts["train"], parts["val"], parts["test"]
