"""Which values a column holds, and which of them are missing."""

import math
from decimal import Decimal

import numpy as np

__all__ = ["are_missing", "distinct", "is_missing"]


def distinct(values):
    """The different values of a column, and where each row's is among them.

    What must be known of every value is then asked once for each different one: columns of labels
    hold few.

    Parameters
    ----------
    values : ndarray of shape (n,)

    Returns
    -------
    different : list
        In the order of their first rows. Equal values of different types, as 1 and True, are
        different; NaN may occur several times, and so may any value if some are not hashable.
    inverse : ndarray of shape (n,), int
        Indices of the rows' values in this list.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.columns.values import distinct
    >>> different, inverse = distinct(np.array(["red", 1, "red", True], dtype=object))
    >>> different, inverse.tolist()
    (['red', 1, True], [0, 1, 0, 2])
    """
    plain = values.tolist()
    keys = list(zip(map(type, plain), plain, strict=True))
    try:
        places = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    except TypeError:  # lists and the like, which no kind of column may hold
        return plain, np.arange(len(plain))
    inverse = np.fromiter(map(places.__getitem__, keys), np.intp, len(keys))
    return [value for _, value in places], inverse


def are_missing(values):
    """Which of a column's values (n,) are missing: NaN, None, or pandas' NA or NaT."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype != object:
        return np.zeros(len(values), dtype=bool)
    different, inverse = distinct(values)
    return np.array([is_missing(value) for value in different], dtype=bool)[inverse]


def is_missing(value):
    """Whether one value is missing, see `are_missing`."""
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if isinstance(value, Decimal):
        return value.is_nan()
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # of pandas
