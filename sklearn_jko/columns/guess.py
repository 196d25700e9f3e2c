"""A guess at what a column is, for `columns="auto"`."""

import numpy as np
from scipy.stats import skew

from sklearn_jko.columns.kind import CATEGORY, INTEGER, Kind

__all__ = ["LARGEST_INTEGER", "are_two_values", "common_unit", "guess_kind"]

MIN_ROWS = 20
# How near to either end of [0, 1] a share's values come, as a part of it.
NEAR_ENDS = 0.05
# Rows on an end of [0, 1] that may be there because somebody divided by the range of the data, not
# because a share goes no farther: the next row may then lie outside, where the density is zero. One
# is there of most columns, and up to three of rounded ones; ends of shares have none or many.
FEW_ON_END = 3
# Skewness of a column to which a logarithm is worth trying; that of an exponential one is 2.
STRONG_SKEWNESS = 1.0
# A column that begins far from zero has no bound there: its least value over its median.
NEAR_ZERO = 0.2
# Beyond it a float has no room for a half, by which integers are told from their neighbours.
LARGEST_INTEGER = 2**52


def guess_kind(values, column_type, some_missing):
    """Guess a column's kind by its type and values.

    - "category": booleans, texts, and types that declare categories;
    - "integer": types of integers, without bounds; whole numbers beside missing values, which types
      of integers mostly do not hold; and whole numbers that are only two, such as 0 and 1; up to
      2^52, and not where all are multiples of another number, or these plus a number, such as
      amounts in thousands;
    - (0, 1): numbers all in [0, 1] that come within 0.05 of both ends; not where one to three are
      on an end, as of numbers that were scaled by their own least and largest;
    - (0, None): positive numbers of a skewness above 1, and above that of their logarithms in
      absolute value, the least of which is under a fifth of the median;
    - numbers without bounds: all others, and any numbers of fewer than 20 rows.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Those that are not missing.
    column_type : ColumnType
    some_missing : bool
        Whether some are.

    Returns
    -------
    kind : Kind
    """
    content = _content(values)
    if column_type.categories is not None or content in ("boolean", "text"):
        return Kind(CATEGORY)
    if content not in ("integer", "number"):
        return Kind()
    numbers = values.astype(np.float64)
    may_be_whole = some_missing or are_two_values(numbers)
    if content == "integer" or (may_be_whole and np.array_equal(numbers, np.rint(numbers))):
        fits = np.abs(numbers).max(initial=0.0) <= LARGEST_INTEGER
        return Kind(INTEGER) if fits and common_unit(numbers) == 1 else Kind()
    return _guess_bounds(numbers)


def are_two_values(values):
    """Whether many values (n,) are only two."""
    return len(values) >= MIN_ROWS and len(np.unique(values)) == 2


def common_unit(integers):
    """The greatest number of which all differences of integers (n,) are multiples.

    It is 1 of less than 20 integers, or where they are two values or less: these tell nothing.
    """
    distinct = np.unique(integers)
    if len(integers) < MIN_ROWS or len(distinct) < 3:
        return 1
    return int(np.gcd.reduce(np.diff(distinct).astype(np.int64)))


def _content(values):
    by_type = {"b": "boolean", "U": "text", "i": "integer", "u": "integer", "f": "number"}
    if values.dtype != object:
        return by_type.get(values.dtype.kind, "other")
    kinds = {np.asarray(value).dtype.kind for value in values.tolist()}
    contents = {by_type.get(kind, "other") for kind in kinds}
    if contents == {"integer", "number"}:
        return "number"
    return contents.pop() if len(contents) == 1 else "other"


def _guess_bounds(x):
    if len(x) < MIN_ROWS or not np.isfinite(x).all():
        return Kind()
    least, most = x.min(), x.max()
    if 0 <= least < NEAR_ENDS and 1 - NEAR_ENDS < most <= 1 and not _are_few_on_an_end(x):
        return Kind(low=0.0, high=1.0)
    if 0 < least < NEAR_ZERO * np.median(x):
        skewness = skew(x / most)
        if skewness > STRONG_SKEWNESS and abs(skew(np.log(x))) < skewness:
            return Kind(low=0.0)
    return Kind()


def _are_few_on_an_end(x):
    return any(1 <= np.count_nonzero(x == end) <= FEW_ON_END for end in (0, 1))
