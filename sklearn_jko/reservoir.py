"""Uniform samples of tables that need not fit in memory, in one pass."""

import mmap
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.utils import _safe_indexing, gen_batches

from sklearn_jko.partitioned import is_partitioned, parts_of

__all__ = ["MAX_NUMBERS", "Sampled", "in_memory"]

# Half a gigabyte in double precision. A flow of 20,000 weights that is trained on some million
# rows gains nothing by more.
MAX_NUMBERS = 2**26
ROWS_AT_ONCE = 65_536
# The sample is cut to its size when it is larger by this.
SLACK = 1.25


class Sampled(NamedTuple):
    """Rows of a table that fit in memory, and their numbers in it, ascending.

    `numbers` is None where it is the table itself, else of `n_rows` rows.
    """

    X: object
    numbers: np.ndarray | None
    n_rows: int | None

    def numbers_of(self, rows):
        """The numbers in the table of rows of the sample."""
        return rows if self.numbers is None else self.numbers[rows]

    def some(self, values, parameter):
        """Of one value for each row of the table those of the sample."""
        if self.numbers is None or np.ndim(values) == 0:
            return values
        if len(values) != self.n_rows:
            raise ValueError(f"{parameter} has {len(values)} values for {self.n_rows} rows of X.")
        return np.asarray(values)[self.numbers]


def in_memory(X):
    """The table itself, or a uniform sample of its rows where it is too large or a stream.

    Parameters
    ----------
    X : array-like of shape (n, d), collection of Dask, or iterator of array-likes
        An iterator gives tables with the same columns, such as the batches of a parquet file. It is
        read to its end, once.

    Returns
    -------
    sampled : Sampled
        Of not more than 2^26 numbers. All rows, in their order, where those are no more. Which
        rows are chosen depends on nothing but their number.

    Raises
    ------
    ValueError
        If an iterator gives no table, or tables with different numbers of columns.
    """
    if is_partitioned(X):
        return _sample(part.compute() for part in parts_of(X))
    if isinstance(X, Iterator):
        return _sample(X)
    shape = getattr(X, "shape", ())
    if len(shape) == 2 and shape[0] * shape[1] > MAX_NUMBERS:
        return _sample(_slices(X))
    return Sampled(X, None, None)


def _sample(tables):
    reservoir = _Reservoir(np.random.default_rng(0))
    for table in tables:
        reservoir.add(table)
    return reservoir.sample()


def _slices(X):
    for rows in gen_batches(len(X), ROWS_AT_ONCE):
        yield _safe_indexing(X, rows)
        _forget_pages(X)


def _forget_pages(X):
    """Tell the system that what was read of a mapped file need not stay in memory."""
    file = X.base if isinstance(X, np.memmap) else None
    # In the mode "c" the pages hold changes that are nowhere else.
    if isinstance(file, mmap.mmap) and X.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        file.madvise(mmap.MADV_DONTNEED)


class _Reservoir:
    """Rows with the smallest of random keys, one for each row that came by."""

    def __init__(self, random_state):
        self.random_state = random_state
        self.kept, self.n_kept, self.n_seen = [], 0, 0
        self.highest, self.n_columns, self.size = 1.0, None, None

    def add(self, table):
        if not hasattr(table, "shape"):
            table = np.asarray(table)
        if len(table.shape) != 2 or self.n_columns not in (None, table.shape[1]):
            raise ValueError(
                f"X gave a table of shape {table.shape}; all must be two-dimensional, with as many "
                f"columns as the first{'' if self.n_columns is None else f': {self.n_columns}'}."
            )
        self.n_columns = table.shape[1]
        self.size = MAX_NUMBERS // max(self.n_columns, 1)
        keys = self.random_state.random(len(table))
        self._keep(table, keys, np.arange(self.n_seen, self.n_seen + len(table)))
        self.n_seen += len(table)
        if self.n_kept > SLACK * self.size:
            self._cut()

    def sample(self):
        if self.n_columns is None:
            raise ValueError("X is an iterator that gave no table; a generator serves only once.")
        if self.n_kept > self.size:
            self._cut()
        numbers = np.concatenate([numbers for _, _, numbers in self.kept])
        tables, self.kept = [table for table, _, _ in self.kept], []
        return Sampled(_concatenated(tables), numbers, self.n_seen)

    def _keep(self, table, keys, numbers):
        chosen = np.flatnonzero(keys < self.highest)
        if len(chosen):
            # A copy, even of all: a slice would hold on to the table.
            self.kept.append((_safe_indexing(table, chosen), keys[chosen], numbers[chosen]))
            self.n_kept += len(chosen)

    def _cut(self):
        keys = np.concatenate([keys for _, keys, _ in self.kept])
        self.highest = np.partition(keys, self.size)[self.size]
        before, self.kept, self.n_kept = self.kept[::-1], [], 0
        while before:
            self._keep(*before.pop())


def _concatenated(tables):
    """One table of several, which are given up on the way."""
    first = tables[0]
    for name in ("pandas", "polars"):
        library = sys.modules.get(name)
        if library is not None and isinstance(first, library.DataFrame):
            return library.concat(tables)
    whole = np.empty(
        (sum(map(len, tables)), first.shape[1]), np.result_type(*{t.dtype for t in tables})
    )
    end = len(whole)
    while tables:
        table = tables.pop()
        whole[end - len(table) : end] = table
        end -= len(table)
    return whole
