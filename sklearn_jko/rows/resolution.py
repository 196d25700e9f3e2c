"""Resolution of each column, below which its values carry no information about a density.

A density is not defined where values repeat or where one column is a linear function of
others: the likelihood grows without bound as the model concentrates there. Noise at the
resolution of the data, added for training only, makes it finite.
"""

import numpy as np

from sklearn_jko.rows.blurred import blur
from sklearn_jko.statistics.columns import bounded, median_and_spread
from sklearn_jko.statistics.thinning import evenly_spread

__all__ = ["are_few_values", "noise_widths", "tie_width"]

# Repeats up to this share of the rows are left alone, unless one value alone
# holds more than `ATOM_SHARE` of them.
TIED_SHARE = 0.1
ATOM_SHARE = 0.02
# A value with fewer copies than this is not an atom, however few the rows are.
ATOM_COPIES = 3
# Relative to the column's spread. A nearly exact linear relation is one whose residual's
# deviation is under a third of this.
FLOOR = 1e-3
# Relations are sought among so many rows or values, of which there are several copies.
MAX_ROWS, MAX_VALUES = 100_000, 2**24
# Rows of integer multiples of a unit that each occur so often, on average, are not copies of a few
# rows but counts, ages or grades, where single values hold a share of the data.
MANY_COPIES = 4
# How far a gap may be from an integer multiple of the smallest, in units of that.
MULTIPLE_TOL = 0.01
# Rows farther out in any column, in units of its spread, are left out of the search for relations.
FARTHEST_ORDINARY = 20
# A column takes part in a relation where its share of the unit vector is larger.
LEAST_PART = 0.05
# A deviation of up to so many rounding errors may be just rounding.
ROUNDINGS = 64
# Gaps that separate clusters, as a share of the range; smallest share and number of rows of one.
GAP, CLUSTER, FEWEST = 0.01, 0.05, 5


def noise_widths(X, rows=None):
    """Width of the uniform noise that each column needs, in its own units; 0 if none.

    Parameters
    ----------
    X : ndarray of shape (n, d), finite
    rows : ndarray of int, optional
        Indices of the rows to use, repeated as often as they count; by default, all.

    Returns
    -------
    widths : ndarray of shape (d,)
        For a column with repeated values, the median gap between distinct values (and at least
        a thousandth of its spread where single values hold many rows); 1 for a constant
        column, or a few rounding errors of its value where these are more; for columns in a
        nearly exact linear relation, noise of a thousandth of the spread in deviation.
    """
    rows = np.arange(len(X)) if rows is None else rows
    n_some = max(MAX_VALUES // X.shape[1], 4 * X.shape[1])  # fewer rows may relate all columns
    some = bounded(X[evenly_spread(rows, min(n_some, MAX_ROWS))])
    _, spread = median_and_spread(some)
    # One column at a time in double precision: X itself may be a mapped file, which is read in its
    # own order.
    in_order = np.sort(rows)
    columns = (column[in_order] for column in X.T)
    widths = np.array(
        [tie_width(column, unit) for column, unit in zip(columns, spread, strict=True)]
    )
    related = _linearly_related(blur(some, widths, np.random.default_rng(0)), spread)
    return np.where(related, np.maximum(widths, FLOOR * np.sqrt(12) * spread), widths)


def are_few_values(X, rows, hashes):
    """Whether rows are equal because they can have only few values.

    Then equal rows are as good as any others to be held out. They are not if they may be copies of
    a few rows, as in a table that was drawn with replacement or has weights.

    Parameters
    ----------
    X : ndarray of shape (n, d), finite
    rows : ndarray of int
        Indices of rows, repeated as often as they count.
    hashes : ndarray of shape (n,), uint64
        Hashes of the rows of X, see `hash_rows`.
    """
    # Asked for counts too, numpy sorts, which is 20 times faster for millions of rows.
    distinct, _ = np.unique(hashes[rows], return_counts=True)
    if len(rows) < MANY_COPIES * len(distinct):
        return False
    some = bounded(X[evenly_spread(rows, MAX_ROWS)])
    return all(_are_multiples(column) for column in some.T)


def _are_multiples(values):
    values = np.unique(values)
    gaps = np.diff(values)
    gaps = gaps[gaps > 4 * np.spacing(np.abs(values).max())]  # others are rounding
    multiples = gaps / gaps.min(initial=np.inf)
    return bool(np.all(np.abs(multiples - np.rint(multiples)) < MULTIPLE_TOL))


def tie_width(column, spread):
    """Width that `noise_widths` finds for the values (n,) of a single column."""
    values, counts = np.unique(bounded(column), return_counts=True)
    rounding = 4 * np.spacing(np.abs(values).max())
    if len(values) == 1:
        return max(1.0, rounding)
    n = len(column)
    repeated = counts[counts > 1].sum() / n
    atoms = counts[counts >= max(ATOM_SHARE * n, ATOM_COPIES)].sum() / n
    if repeated <= TIED_SHARE and not atoms:
        return 0.0
    # Values that differ only by rounding are the same value.
    gap = max(np.median(np.diff(values)), rounding)
    return max(gap, FLOOR * spread) if atoms else gap


def _linearly_related(X, spread):
    """Columns that take part in a nearly exact linear relation of ordinary rows."""
    n, d = X.shape
    with np.errstate(over="ignore"):
        standard = bounded((X - np.median(X, axis=0)) / spread)
    is_ordinary = np.abs(standard).max(axis=1) < FARTHEST_ORDINARY
    ordinary = standard[is_ordinary]
    if d == 1 or len(ordinary) < max(2 * d, n / 2):
        return np.zeros(d, dtype=bool)
    rounding = ROUNDINGS * np.spacing(np.abs(X[is_ordinary]).max(axis=0)) / spread
    # Between distant clusters columns may be related that are not related within the clusters.
    while (related := _in_null_space(ordinary)).any():
        groups = _parted(ordinary)
        n_free = sum(map(len, groups)) - len(groups)
        # Around the means of their clusters, too few rows would relate all columns.
        if len(groups) == 1 or n_free < 2 * d:
            return related
        ordinary = np.concatenate([group - group.mean(axis=0) for group in groups])
        if np.all(ordinary.std(axis=0) <= rounding, where=related):  # indistinguishable from it
            return related
    return related


def _in_null_space(rows):
    """Columns that take part in a linear combination that is nearly constant."""
    eigenvalues, vectors = np.linalg.eigh(_correlation(rows))
    null = vectors[:, eigenvalues < (FLOOR / 3) ** 2]
    return np.abs(null).max(axis=1, initial=0.0) > LEAST_PART


def _parted(rows):
    """The rows of each cluster along the direction of largest spread, if there are several."""
    _, vectors = np.linalg.eigh(_correlation(rows))
    along = rows @ (vectors[:, -1] / _positive(rows.std(axis=0)))
    order = np.argsort(along)
    gaps = np.diff(along[order])
    groups = np.split(order, np.flatnonzero(gaps > GAP * gaps.sum()) + 1)
    large = [group for group in groups if len(group) >= max(CLUSTER * len(rows), FEWEST)]
    is_most = sum(map(len, large)) > len(rows) / 2
    return [rows[group] for group in large] if len(large) > 1 and is_most else [rows]


def _correlation(rows):
    deviation = rows - rows.mean(axis=0)
    deviation /= _positive(np.sqrt((deviation**2).mean(axis=0)))
    return deviation.T @ deviation / len(deviation)


def _positive(scale):
    return np.where(scale > 0, scale, 1.0)
