"""One-pass samples, uniform or by weight, of tables that may not fit in memory."""

import mmap
import sys
from collections.abc import Iterator
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import _safe_indexing, gen_batches

from sklearn_jko.rows.dask_tables import check_computed, is_partitioned, partitions_of
from sklearn_jko.rows.table_types import as_array, is_frame, without_masks_or_arrow

__all__ = ["MAX_NUMBERS", "Sampled", "in_memory"]

# Half a gigabyte in double precision. A flow of 20,000 weights that is trained on a few million
# rows gains nothing from more.
MAX_NUMBERS = 2**26
# Arrays of 64 megabytes: the allocator would keep the memory of smaller ones when they are freed.
NUMBERS_AT_ONCE = 2**23
# The sample is cut to its size when it exceeds it by this factor.
SLACK = 1.1


class Sampled(NamedTuple):
    """Rows of a table that fit in memory, their weights, and their indices in it, ascending.

    `indices` is None if it is the whole table. Each row of the sample stands for `scale` rows of
    the table; if there are weights, these account for that, and `scale` is 1.
    """

    X: object
    weight: object
    indices: np.ndarray | None
    scale: float = 1.0

    def indices_of(self, rows):
        """The indices in the table of these rows of the sample."""
        return rows if self.indices is None else self.indices[rows]

    def only(self, rows):
        """The sample reduced to `rows`, ascending indices in it."""
        weight = None if self.weight is None else self.weight[rows]
        return Sampled(_safe_indexing(self.X, rows), weight, self.indices_of(rows), self.scale)


def in_memory(X, weight=None):
    """The table itself, or a sample of its rows if it is too large or a stream.

    Parameters
    ----------
    X : array-like of shape (n, d), collection of Dask, or iterator of array-likes
        An iterator yields tables with the same columns, such as the batches of a parquet file. It
        is read to its end, once. The parts of a Dask collection are computed one by one.
    weight : array-like of shape (n,), optional
        Weights of the rows. Without them the sample is uniform; with them it is a priority sample:
        heavy rows are included with their own weight, others with a probability in proportion to
        their weight and then with one common weight, so that sums over the sample are unbiased
        estimates of sums over the table.

    Returns
    -------
    sampled : Sampled
        At most 2^26 numbers: all rows if these are no more, but from a stream without those of
        weight zero. The rows keep their order. Which ones are chosen depends only on their number
        and weights.

    Raises
    ------
    ValueError
        If an iterator yields no table, tables with different numbers of columns, or frames of two
        libraries or of incompatible types; or if there is not one weight per row, or a weight is
        not at least 0 where a sample is taken.
    TypeError
        If an iterator yields tables that are yet to be computed.

    References
    ----------
    Duffield, Lund and Thorup (2007), Priority sampling for estimation of arbitrary subset sums,
    Journal of the ACM 54.
    """
    if is_partitioned(X):
        return _sample((part.compute() for part in partitions_of(X)), weight)
    if isinstance(X, Iterator):
        return _sample(X, weight)
    shape = getattr(X, "shape", ())
    is_large = len(shape) == 2 and shape[0] * shape[1] > MAX_NUMBERS
    if is_large and not issparse(X):  # `fit` refuses sparse matrices
        return _sample(_slices(X), weight)
    return Sampled(X, weight, None)


def _sample(tables, weight):
    if isinstance(weight, Real):
        weight = None  # the same for all
    reservoir = _Reservoir(np.random.default_rng(0), weight)
    for table in tables:
        reservoir.add(table)
    return reservoir.sample()


def _slices(X):
    for rows in gen_batches(len(X), max(NUMBERS_AT_ONCE // X.shape[1], 1)):
        yield _safe_indexing(X, rows)
        _forget_pages(X)


def _forget_pages(X):
    """Tell the system that the pages read from a mapped file need not stay in memory."""
    file = X.base if isinstance(X, np.memmap) else None
    # In mode "c" the pages hold changes that are stored nowhere else.
    if isinstance(file, mmap.mmap) and X.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)


class _Reservoir:
    """Rows with the smallest keys; the key of a row is a random number over its weight.

    Keys are logarithms if there are weights, as these may be so small that no quotient is finite.
    """

    def __init__(self, random_state, weight):
        self.random_state = random_state
        self.weight = None if weight is None else np.asarray(weight, dtype=np.float64)
        self.kept, self.n_kept, self.n_seen = [], 0, 0
        self.highest, self.n_columns, self.names, self.size = np.inf, None, None, None
        if self.weight is not None and self.weight.ndim != 1:
            raise ValueError(
                f"sample_weight has the shape {self.weight.shape}; it must hold one value per row, "
                "as an array of one dimension."
            )

    def add(self, table):
        check_computed(table, "a batch of X")
        table = without_masks_or_arrow(table)
        if not hasattr(table, "columns"):
            table = as_array(table)
        if len(table.shape) != 2 or self.n_columns not in (None, table.shape[1]):
            raise ValueError(
                f"X yielded a table of shape {table.shape}; all must be two-dimensional, with as "
                "many columns as the first"
                f"{'' if self.n_columns is None else f': {self.n_columns}'}."
            )
        names = list(getattr(table, "columns", []))
        if self.names not in (None, names):
            raise ValueError(
                f"X yielded tables with the columns {self.names} and {names}; name the columns of "
                "all tables alike."
            )
        if self.kept and is_frame(table, "polars") != is_frame(self.kept[0][0], "polars"):
            raise ValueError("X yielded frames of pandas and of polars; use only one of them.")
        self.names, self.n_columns = names, table.shape[1]
        self.size = MAX_NUMBERS // max(self.n_columns, 1)
        indices = np.arange(self.n_seen, self.n_seen + len(table))
        self.n_seen += len(table)
        self._keep(table, self._keys(indices), indices)
        if self.n_kept > SLACK * self.size:
            self._cut()

    def sample(self):
        if self.n_columns is None:
            raise ValueError(
                "X is an iterator that yielded no table; a generator can be read only once, so "
                "make a new one."
            )
        if self.n_kept > self.size:
            self._cut()
        table, _, indices = self._taken()
        if self.weight is None:
            return Sampled(table, None, indices, self.n_seen / max(len(indices), 1))
        if len(self.weight) != self.n_seen or len(indices) == 0:
            self._refuse_weights()
        # Where none was left out, `highest` is infinite.
        return Sampled(table, np.maximum(self.weight[indices], np.exp(-self.highest)), indices)

    def _keys(self, indices):
        keys = self.random_state.random(len(indices))
        if self.weight is None:
            return keys
        weight = self.weight[indices[0] : indices[-1] + 1] if len(indices) else keys
        if len(weight) != len(keys) or not (weight >= 0).all():
            self._refuse_weights()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(keys) - np.log(weight)

    def _refuse_weights(self):
        raise ValueError(
            f"sample_weight has {len(self.weight)} values, for {self.n_seen} or more rows of X; it "
            "must have one for each, none may be negative or NaN, and some must be positive."
        )

    def _keep(self, table, keys, indices):
        chosen = np.flatnonzero(keys < self.highest)
        # A copy, even of all: a slice would hold on to the table.
        self.kept.append((_safe_indexing(table, chosen), keys[chosen], indices[chosen]))
        self.n_kept += len(chosen)

    def _cut(self):
        table, keys, indices = self._taken()
        self.highest = np.partition(keys, self.size)[self.size]
        self._keep(table, keys, indices)

    def _taken(self):
        """All rows that were kept, as one table; they are no longer kept here."""
        tables, keys, indices = map(list, zip(*self.kept, strict=True))
        self.kept, self.n_kept = [], 0
        # A frame without rows has columns of objects, which would make all columns such.
        tables = [table for table in tables if len(table)] or tables[:1]
        return _concatenated(tables), np.concatenate(keys), np.concatenate(indices)


def _concatenated_polars(polars, tables):
    """Numbers of two types become those of a type that holds both, but never strings."""
    try:
        whole = polars.concat(tables, how="vertical_relaxed")
    except polars.exceptions.SchemaError as error:
        raise ValueError(
            f"X yielded frames with incompatible types: {error}. Convert them to the same types."
        ) from error
    for table in tables:
        for name, dtype, common in zip(table.columns, table.dtypes, whole.dtypes, strict=True):
            if common == polars.String and (dtype.is_numeric() or dtype == polars.Boolean):
                raise _mixed_types(name, dtype)
    return whole


def _concatenated_pandas(pandas, tables):
    """Labels that are strings in some frames and numbers in others would become two labels."""
    whole, types = pandas.concat(tables), pandas.api.types
    for j, name in enumerate(whole.columns):
        if types.is_numeric_dtype(whole.dtypes.iloc[j]):  # its parts would take long to look at
            continue
        parts = [table.iloc[:, j] for table in tables]
        numbers = [part for part in parts if types.is_numeric_dtype(part) and part.notna().any()]
        if numbers and len(numbers) < len(parts) and whole.iloc[:, j].map(type).eq(str).any():
            raise _mixed_types(name, numbers[0].dtype)
    return whole


def _mixed_types(name, dtype):
    return ValueError(
        f"X yielded frames whose column {name!r} holds strings in some and is of the type {dtype} "
        "in others; convert it to one type."
    )


def _concatenated(tables):
    """One table of several, which are released on the way."""
    first = tables[0]
    if len(tables) == 1:
        return first
    pandas, polars = map(sys.modules.get, ("pandas", "polars"))
    if is_frame(first, "pandas"):
        return _concatenated_pandas(pandas, tables)
    if is_frame(first, "polars"):
        return _concatenated_polars(polars, tables)
    whole = np.empty(
        (sum(map(len, tables)), first.shape[1]), np.result_type(*{t.dtype for t in tables})
    )
    end = len(whole)
    while tables:
        table = tables.pop()
        whole[end - len(table) : end] = table
        end -= len(table)
    return whole
