"""Weights of rows, expressed by repeating rows."""

from typing import NamedTuple

import numpy as np

__all__ = ["WeightedRows", "weighted_rows"]

# If weights are not integers, a row of mean weight is represented by so many copies, as long as
# there are no more than so many rows in all.
COPIES, MANY_ROWS = 4, 400_000


class WeightedRows(NamedTuple):
    """Indices of the rows of a table, in an order that depends only on their values.

    Apart from that, the order is random, and the same in any units of X. Copies of a row are
    adjacent, so that evenly spread parts are samples of the whole.

    Attributes
    ----------
    repeated : ndarray of int
        Each row, repeated according to its weight.
    observed : ndarray of int
        The rows of the data: the repeated ones if the weights are integers, else each row once.
    size : float
        Kish's effective sample size.
    """

    repeated: np.ndarray
    observed: np.ndarray
    size: float

    @property
    def has_whole_weights(self):
        """Whether the repeated rows are rows of the data, and do not only express weights."""
        return self.observed is self.repeated


def weighted_rows(X, weight=None):
    """Express weights by repeating rows.

    If the weights, or their ratios to the smallest, are integers, the rows are repeated that often,
    and everything that follows is the same as for a table with repeated rows; a common factor of
    these integers is removed. All other weights, and very large integers, repeat rows approximately
    in proportion, with a few copies of each.

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
    order, is_first = _ordered(X, np.flatnonzero(weight))
    weight = weight[order]
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


def _ordered(X, rows):
    """Row indices sorted by the rows' values, and which of the rows differ from the one before.

    Each column sorts only the rows that the columns before it left tied, and is read only for
    these. All NaN are equal.
    """
    order = rows[np.argsort(X[rows, 0], kind="stable")]
    is_first = np.r_[True, _differ(X[order[1:], 0], X[order[:-1], 0])]
    for j in range(1, X.shape[1]):
        group = np.cumsum(is_first) - 1
        tied = np.flatnonzero(np.bincount(group)[group] > 1)
        if len(tied) == 0:
            break
        values, group = X[order[tied], j], group[tied]
        by_value = np.lexsort([values, group])
        order[tied] = order[tied][by_value]
        values, group = values[by_value], group[by_value]
        is_first[tied[1:]] |= _differ(values[1:], values[:-1]) & (group[1:] == group[:-1])
    return order, is_first


def _differ(a, b):
    return (a != b) & ~(np.isnan(a) & np.isnan(b))


def _whole_numbers(weight):
    """The weights, or their ratios to the smallest, as integers; None if they are not integers."""
    for unit in (1.0, weight.min()):
        with np.errstate(over="ignore"):
            multiples = weight / unit
            counts = np.rint(multiples)
            n = counts.sum()
        if n <= max(len(weight), MANY_ROWS) and np.allclose(multiples, counts, rtol=1e-9, atol=0):
            return counts
    return None


def _spread_evenly(weight, n):
    """Ascending indices of rows, each repeated about in proportion to its weight."""
    n = max(n, min(COPIES * n, MANY_ROWS))
    ends = np.cumsum(weight)
    chosen = np.searchsorted(ends, (np.arange(n) + 0.5) * (ends[-1] / n))
    if len(weight) > 1 and chosen[0] == chosen[-1]:  # copies of one row alone have no spread
        chosen[0] = np.argsort(weight)[-2]
    return np.sort(chosen)
