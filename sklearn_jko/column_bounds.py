"""Bounds of columns, as a user names them and as arrays."""

import math
from numbers import Integral, Real

import numpy as np

__all__ = ["bounds_of_columns", "check_inside", "reflect"]

# Beyond it, differences of numbers overflow.
LARGEST_BOUND = 1e300


def bounds_of_columns(columns, names, n_features):
    """Least and largest value of each column.

    Parameters
    ----------
    columns : dict or None
        From names or numbers of columns to pairs (low, high); None or an infinity for an open side.
    names : ndarray of str or None
        Names of the columns, where they have any.
    n_features : int
        Number of columns.

    Returns
    -------
    bounds : ndarray of shape (2, n_features)
        Infinite where open.

    Raises
    ------
    ValueError
        If a column is not known or named twice, or a pair is no pair of bounds.
    """
    bounds = np.tile([[-np.inf], [np.inf]], n_features)
    numbers = [_number(column, names, n_features) for column in columns or {}]
    for column, j in zip(columns or {}, numbers, strict=True):
        if numbers.count(j) > 1:
            raise ValueError(f"columns names {column!r} twice, by its name and by its number.")
        bounds[:, j] = _pair(column, columns[column])
    return bounds


def check_inside(X, bounds, shown_names):
    """Raise ValueError, naming the column, if values are outside their bounds."""
    for j in np.flatnonzero(np.isfinite(bounds).any(axis=0)):
        low, high = bounds[:, j]
        outside = X[:, j][(X[:, j] < low) | (X[:, j] > high)]
        if len(outside):
            raise ValueError(
                f"column {shown_names[j]!r}: {len(outside)} of its {len(X)} values are outside "
                f"its bounds {low:g} and {high:g}, the first is {outside[0]:g}. Widen the bounds, "
                "or drop these rows."
            )


def reflect(X, bounds):
    """Fold values that noise has carried over a bound back inside, in place."""
    for j in np.flatnonzero(np.isfinite(bounds).any(axis=0)):
        low, high = bounds[:, j]
        column = np.where(X[:, j] < low, 2 * low - X[:, j], X[:, j])
        column = np.where(column > high, 2 * high - column, column)
        X[:, j] = np.clip(column, low, high)
    return X


def _number(column, names, n_features):
    if isinstance(column, Integral) and not isinstance(column, bool):
        if 0 <= column < n_features:
            return int(column)
        raise ValueError(f"columns: there is no column {column}; use 0 to {n_features - 1}.")
    known = [] if names is None else names.tolist()
    if column not in known:
        raise ValueError(
            f"columns: there is no column {column!r}; use the numbers 0 to {n_features - 1}"
            f"{f' or one of the names {known[:10]}' if known else ', as X has no names'}."
        )
    return known.index(column)


def _pair(column, pair):
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(map(_is_bound, pair)):
        raise ValueError(
            f"columns: {column!r} must have a pair (low, high) of numbers, None where a side is "
            f"open; got {pair!r}."
        )
    low, high = (
        open_side if bound is None else float(bound)
        for bound, open_side in zip(pair, (-math.inf, math.inf), strict=True)
    )
    if not low < high:
        raise ValueError(f"columns: {column!r} has bounds {pair!r}; the first must be less.")
    if any(math.isfinite(bound) and abs(bound) > LARGEST_BOUND for bound in (low, high)):
        raise ValueError(f"columns: {column!r} has bounds {pair!r}; {LARGEST_BOUND} is the most.")
    return low, high


def _is_bound(bound):
    is_number = isinstance(bound, Real) and not isinstance(bound, bool) and not math.isnan(bound)
    return bound is None or is_number
