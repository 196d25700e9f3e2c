"""Tabular benchmark of masked autoregressive flows, preprocessed as there.

The files are those that Papamakarios, Pavlakou and Murray (2017), Masked autoregressive flow for
density estimation, arXiv:1705.07057, distribute at https://doi.org/10.5281/zenodo.1161203. Every
loader takes the folder that holds them (``power/data.npy`` and so on) and a seed, and gives the
rows train, validation and test in double precision. The benchmark's splits and noise are fixed:
the seed matters to `miniboone_part` alone.
"""

import importlib
from pathlib import Path

import numpy as np

__all__ = [
    "LOADERS",
    "PAPER_NLL",
    "bsds300",
    "gas",
    "miniboone",
    "miniboone_part",
    "power",
]

ARCHIVE = "data.tar.gz at https://doi.org/10.5281/zenodo.1161203 (there in the folder data)"
PART = (
    "https://github.com/vsimkus/variational-gibbs-inference (there data/miniboone/val.npy and "
    "test.npy)"
)
# Of the benchmark, for shuffling POWER's rows and for the noise.
POWER_SEED = 42
MAX_CORRELATION = 0.98

# Negative log-likelihood of test rows in nats that Xu, Cheng and Xie (2023), arXiv:2212.14424,
# report for JKO-iFlow: with their fixed small budget of training, and without.
PAPER_NLL = {
    "POWER": {"fixed budget": -0.12, "full": -0.40},
    "GAS": {"fixed budget": -7.65, "full": -9.43},
    "MINIBOONE": {"fixed budget": 12.55, "full": 10.55},
    "BSDS300": {"fixed budget": -153.82, "full": -157.75},
}


def power(folder, seed=0):
    """Electric power of a household by the minute: 6 columns of ``power/data.npy``.

    Shuffled; without reactive power and intensity; with uniform noise as wide as the recorded
    digits on active power, voltage and the three sub-meterings, none on the time of the day;
    standardised by the rows of train and validation.
    """
    rows = load_rows(folder, "power/data.npy", ARCHIVE)
    # Numpy's old generator, and this order of draws, give the very rows of the benchmark.
    rng = np.random.RandomState(POWER_SEED)
    rows = np.delete(rng.permutation(rows), [1, 3], axis=1)
    n = len(rows)
    voltage, active = 0.01 * rng.rand(n, 1), 0.001 * rng.rand(n, 1)
    return standardised(*cut(rows + np.hstack([active, voltage, rng.rand(n, 3), np.zeros((n, 1))])))


def gas(folder, seed=0):
    """Gas sensors: 8 columns of the data frame in ``gas/ethylene_CO.pickle``.

    Without time and concentrations, and without each column that is correlated by more than 0.98
    with a later one; standardised by all rows; in the order of the file. To unpickle a file runs
    what code is in it: give only a file that you trust.
    """
    frame = read_pickle(existing(folder, "gas/ethylene_CO.pickle", ARCHIVE))
    frame = frame.drop(columns=["Meth", "Eth", "Time"])
    # The benchmark drops the first column that is correlated with another until there is none.
    # None that it left before a column is correlated with that one, so only later ones count.
    is_dropped = np.triu(frame.corr().to_numpy() > MAX_CORRELATION, 1).any(axis=1)
    frame = frame.loc[:, ~is_dropped]
    return cut(((frame - frame.mean()) / frame.std()).to_numpy(dtype=np.float64))


def miniboone(folder, seed=0):
    """Particle identification: the 43 columns of ``miniboone/data.npy``.

    The file is without the outliers and columns that the benchmark leaves out. In the order of
    the file; standardised by the rows of train and validation.
    """
    return standardised(*cut(load_rows(folder, "miniboone/data.npy", ARCHIVE)))


def bsds300(folder, seed=0):
    """Image patches: ``BSDS300/BSDS300.hdf5`` as it is, 63 columns."""
    h5py = imported("h5py")
    with h5py.File(existing(folder, "BSDS300/BSDS300.hdf5", ARCHIVE), "r") as file:
        return tuple(file[part][:].astype(np.float64) for part in ("train", "validation", "test"))


def miniboone_part(folder, seed=0):
    """What is at hand of MINIBOONE where its training rows are not.

    The benchmark's test rows, and its 3,284 validation rows split by the seed into nine tenths
    to train with and one for validation, all on the benchmark's scale:
    ``miniboone/miniboone_val.npy`` and ``miniboone/miniboone_test.npy``. Models of a ninth of the
    rows are not to be compared with published ones.
    """
    rows, test = (
        load_rows(folder, f"miniboone/miniboone_{part}.npy", PART) for part in ("val", "test")
    )
    rows = np.random.default_rng(seed).permutation(rows)
    tenth = len(rows) // 10
    return rows[:-tenth], rows[-tenth:], test


# Each a function of the data folder and a seed that gives train, validation and test.
LOADERS = {
    "POWER": power,
    "GAS": gas,
    "MINIBOONE": miniboone,
    "BSDS300": bsds300,
    "MINIBOONE part": miniboone_part,
}


def existing(folder, name, source):
    """Path of a file in the folder."""
    path = Path(folder) / name
    if not path.is_file():
        raise SystemExit(f"There is no file {path}: take it from {source}.")
    return path


def load_rows(folder, name, source):
    return np.load(existing(folder, name, source)).astype(np.float64)


def imported(name):
    """A module that this data set needs and the library does not."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f"The data set needs {name}: pip install {name}") from error


def read_pickle(path):
    """The data frame in a file; not every pandas reads what an old one wrote."""
    pandas = imported("pandas")
    try:
        return pandas.read_pickle(path)
    except (AttributeError, ImportError, TypeError, UnicodeDecodeError) as error:
        raise SystemExit(
            f"pandas {pandas.__version__} cannot read {path}. Releases before 3 can, if an old "
            'release wrote it: pip install "pandas<3"'
        ) from error


def cut(rows):
    """Train, validation and test: the last tenth is for test, the last of the rest to validate."""
    rest, test = without_last_tenth(rows)
    return *without_last_tenth(rest), test


def without_last_tenth(rows):
    n = len(rows) - len(rows) // 10
    return rows[:n], rows[n:]


def standardised(train, validation, test):
    """Columns of mean 0 and deviation 1 on train and validation rows together."""
    both = np.concatenate([train, validation])
    mean, scale = both.mean(axis=0), both.std(axis=0)
    return tuple((part - mean) / scale for part in (train, validation, test))
