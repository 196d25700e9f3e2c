"""Weights of rows as repetitions of them."""

from typing import NamedTuple

import numpy as np

__all__ = ["WeightedRows", "weighted_rows"]

# Where weights are no whole numbers, so many copies stand in for a row of the mean weight, while
# they are not more than so many rows.
COPIES, MANY_ROWS = 4, 400_000


class WeightedRows(NamedTuple):
    """Rows of a table by their numbers, in an order that only their values decide.

    It is random but for that: any part of it is a sample of the whole, in any unit of X.

    Attributes
    ----------
    repeated : ndarray of int
        Every row as often as its weight says.
    observed : ndarray of int
        The rows whose equal values are the data's own.
    size : float
        Rows of equal weight that would tell as much (Kish's effective sample size).
    """

    repeated: np.ndarray
    observed: np.ndarray
    size: float


def weighted_rows(X, weight=None):
    """Express weights by repeating rows.

    Only the ratios of weights count. Where these make them whole numbers the rows are repeated
    so often, and to all that follows a weighted table is one with its rows repeated. Other weights
    repeat rows in proportion, as nearly as a few copies of each can.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,), optional
        Not negative, and not all zero.

    Returns
    -------
    rows : WeightedRows
    """
    weight = np.ones(len(X)) if weight is None else weight
    order = _order(X, np.flatnonzero(weight))
    weight = weight[order]
    is_first = np.r_[True, _differ_from_next(X, order)]
    group, distinct = np.cumsum(is_first) - 1, order[is_first]
    shuffled = np.random.default_rng(0).permutation(len(distinct))
    counts = _whole_numbers(weight)
    if counts is not None:
        counts = np.bincount(group, counts).astype(np.int64)
        if len(counts) > 1:  # else the noise of a constant table would be a single draw
            counts //= np.gcd.reduce(counts)
        repeated = distinct[shuffled].repeat(counts[shuffled])
        return WeightedRows(repeated, repeated, len(repeated))
    weight = weight / weight.max()
    total = np.bincount(group, weight)
    chosen = _spread_evenly(total[shuffled], len(weight))
    size = weight.sum() ** 2 / np.square(weight).sum()
    return WeightedRows(distinct[shuffled][chosen], order, size)


def _order(X, rows):
    """Sort row numbers by the rows' values, column after column."""
    first = X[rows, 0]
    order = np.argsort(first, kind="stable")
    if (np.diff(first[order]) == 0).any():
        order = np.lexsort([X[rows, j] for j in reversed(range(X.shape[1]))])
    return rows[order]


def _differ_from_next(X, rows):
    """Whether each of the rows but the last differs from the one after."""
    differs = np.zeros(len(rows) - 1, dtype=bool)
    for column in X.T:
        values = column[rows]
        differs |= values[1:] != values[:-1]
    return differs


def _whole_numbers(weight):
    """The weights, or their multiples of the least, as whole numbers; None where they are none."""
    for unit in (1.0, weight.min()):
        with np.errstate(over="ignore"):
            multiples = weight / unit
        counts = np.rint(multiples)
        if counts.sum() <= max(len(weight), MANY_ROWS) and np.allclose(
            multiples, counts, rtol=1e-9, atol=0
        ):
            return counts
    return None


def _spread_evenly(weight, n):
    """Numbers of rows, each about as often as its weight says, ascending."""
    n = max(n, min(COPIES * n, MANY_ROWS))
    ends = np.cumsum(weight)
    return np.searchsorted(ends, (np.arange(n) + 0.5) * (ends[-1] / n))
