"""A guess at what a column is, for `columns="auto"`."""

import numpy as np
from scipy.stats import skew

from sklearn_jko.columns.kind import CATEGORY, INTEGER, Kind
from sklearn_jko.columns.values import distinct
from sklearn_jko.statistics.columns import bounded

__all__ = ["LARGEST_INTEGER", "are_two_values", "common_unit", "guess_kind"]

MIN_ROWS = 20
# Values of a share come at least this near to both ends of [0, 1].
NEAR_ENDS = 0.05
# So few rows on an end of [0, 1] may be there because somebody divided by the range of the data,
# not because a share ends there: the next row may then lie outside, where the density is zero. Most
# such columns have one row there, rounded ones up to three; true shares have none or many.
FEW_ON_END = 3
# Skewness from which a logarithm is worth trying; an exponential distribution has 2.
STRONG_SKEWNESS = 1.0
# Largest ratio of the smallest value to the median for a bound at zero.
NEAR_ZERO = 0.2
# Beyond it floats have no halves, by which integers are distinguished from their neighbours.
LARGEST_INTEGER = 2**52


def guess_kind(values, column_type, some_missing):
    """Guess the kind of a column from its type and values.

    - "category": booleans, strings, and types that declare categories;
    - "integer": integer types; whole numbers with missing values, which most integer types cannot
      hold; and whole numbers with only two different values, such as 0 and 1. Only up to 2^52, and
      not if all are multiples of another number, up to a constant, such as amounts in thousands;
    - (0, 1): numbers in [0, 1] that come within 0.05 of both ends; not if one to three of them are
      on an end, as after scaling by their own minimum and maximum;
    - (0, None): positive numbers whose skewness is above 1 and above the absolute skewness of their
      logarithms, and whose minimum is below a fifth of the median;
    - numbers without bounds: all others.

    Fewer than 20 rows are not enough to guess bounds, or integers from two different values.

    Parameters
    ----------
    values : ndarray of shape (n,)
        The values that are not missing.
    column_type : ColumnType
    some_missing : bool
        Whether other values are missing.

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
    """Whether these 20 or more values (n,) are only two different ones."""
    return len(values) >= MIN_ROWS and len(np.unique(values)) == 2


def common_unit(integers):
    """The greatest number of which all differences of integers (n,) are multiples.

    It is 1 for fewer than 20 integers, or fewer than three different ones: these show nothing.
    """
    distinct = np.unique(integers)
    if len(integers) < MIN_ROWS or len(distinct) < 3:
        return 1
    return int(np.gcd.reduce(np.diff(distinct).astype(np.int64)))


def _content(values):
    by_type = {"b": "boolean", "U": "text", "i": "integer", "u": "integer", "f": "number"}
    if values.dtype != object:
        return by_type.get(values.dtype.kind, "other")
    contents = {by_type.get(_type_of(value), "other") for value in distinct(values)[0]}
    if contents == {"integer", "number"}:
        return "number"
    return contents.pop() if len(contents) == 1 else "other"


def _type_of(value):
    # A list or an array in a cell has no type that a column could have, whatever its items have.
    is_collection = hasattr(value, "__iter__") and not isinstance(value, str)
    return "O" if is_collection else np.asarray(value).dtype.kind


def _guess_bounds(x):
    if len(x) < MIN_ROWS or not np.isfinite(x).all():
        return Kind()
    x = bounded(x)
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
