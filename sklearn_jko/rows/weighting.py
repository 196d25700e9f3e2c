"""Weights of rows as repetitions of them."""

from typing import NamedTuple

import numpy as np

__all__ = ["WeightedRows", "weighted_rows"]

# Where weights are no whole numbers, so many copies stand in for a row of the mean weight, while
# they are not more than so many rows.
COPIES, MANY_ROWS = 4, 400_000


class WeightedRows(NamedTuple):
    """Rows of a table by their indices, in an order that only their values decide.

    It is random but for that, in any unit of X; copies of a row stand side by side, so that evenly
    spread parts of it are samples of the whole.

    Attributes
    ----------
    repeated : ndarray of int
        Every row as often as its weight says.
    observed : ndarray of int
        The rows whose equal values are the data's own: the repeated ones where the weights are
        whole, and else each row once.
    size : float
        Kish's effective sample size: rows of equal weight that would tell as much.
    """

    repeated: np.ndarray
    observed: np.ndarray
    size: float

    @property
    def has_whole_weights(self):
        """Whether the repeated rows stand for the data's own, and not only for weights."""
        return self.observed is self.repeated


def weighted_rows(X, weight=None):
    """Express weights by repeating rows.

    Where the weights, or their multiples of the least, are whole numbers, the rows are repeated so
    often, and to all that follows a weighted table is one with its rows repeated; a common factor
    of the numbers is left out, and so are very large ones. Other weights repeat rows in proportion,
    as nearly as a few copies of each can.

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
    """Row indices sorted by the rows' values, and which of them differ from the one before.

    Column after column sorts what the columns before it left tied, and no more is read of it. One
    NaN is as good as another.
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
    """The weights, or their multiples of the least, as whole numbers; None where they are none."""
    for unit in (1.0, weight.min()):
        with np.errstate(over="ignore"):
            multiples = weight / unit
            counts = np.rint(multiples)
            n = counts.sum()
        if n <= max(len(weight), MANY_ROWS) and np.allclose(multiples, counts, rtol=1e-9, atol=0):
            return counts
    return None


def _spread_evenly(weight, n):
    """Indices of rows, each about as often as its weight says, ascending."""
    n = max(n, min(COPIES * n, MANY_ROWS))
    ends = np.cumsum(weight)
    chosen = np.searchsorted(ends, (np.arange(n) + 0.5) * (ends[-1] / n))
    if len(weight) > 1 and chosen[0] == chosen[-1]:  # copies of one row alone have no spread
        chosen[0] = np.argsort(weight)[-2]
    return np.sort(chosen)
