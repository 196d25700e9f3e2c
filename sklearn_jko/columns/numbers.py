"""Tables of numbers, checked as scikit-learn does, in errors that name the column."""

import functools
from collections.abc import Iterator

import numpy as np
from sklearn.utils.validation import validate_data

from sklearn_jko.columns.roles import resolve_and_encode, resolve_roles
from sklearn_jko.columns.tables import (
    check_different_names,
    check_names,
    has_times,
    read_table,
)
from sklearn_jko.rows.dask_tables import check_computed
from sklearn_jko.rows.table_types import without_masks_or_arrow

__all__ = [
    "FLOATS",
    "NOT_NUMERIC",
    "NUMERIC_DTYPES",
    "as_numbers",
    "check_at_hand",
    "validated_numbers",
]

FLOATS = (np.float64, np.float32)
# Types that tables to score may keep; a table of any other type is converted as in `fit`.
NUMERIC_DTYPES = (*FLOATS, *map(np.dtype, np.typecodes["AllInteger"]))
# In the errors of numpy and scikit-learn about strings, and about lists in cells.
NOT_NUMERIC, NOT_SINGLE = "could not convert", "setting an array element with a sequence"


def validated_numbers(estimator, X, **options):
    """X as an array of numbers, checked as scikit-learn does for an estimator.

    Parameters
    ----------
    estimator : estimator
    X : array-like of shape (n, d)
    **options
        Options of `sklearn.utils.validation.validate_data`.

    Raises
    ------
    ValueError
        As in `validate_data`, except that NaN may stand for missing values; and if a column holds
        times, whose numbers would depend on their unit.
    TypeError
        If X is sparse, a lazy frame, a collection of Dask or an iterator, or holds objects that are
        not numbers.
    """
    X = without_masks_or_arrow(X)
    check_at_hand(X, "X")
    validate = functools.partial(validate_data, estimator, ensure_all_finite="allow-nan", **options)
    return as_numbers(validate, X, "X")


def check_at_hand(X, parameter):
    """Raise TypeError if rows are yet to be computed or read; ValueError if names repeat."""
    check_computed(X, parameter)
    check_different_names(X)  # scikit-learn would fail with an error from another library
    if isinstance(X, Iterator):
        raise TypeError(
            f"{parameter} is an iterator ({type(X).__name__}), which is accepted only as X of "
            "`fit`, as it can be read only once; pass a table here."
        )


def as_numbers(validate, X, parameter):
    """A table validated by a function, where its objects may include pandas' missing values.

    Parameters
    ----------
    validate : callable
        Takes a table and returns an array, or raises an error.
    X : array-like of shape (n, d)
    parameter : str
        Name of X in messages.

    Raises
    ------
    ValueError, TypeError
        As of `validate`; where that cannot name the column, an error that does.
    """
    if has_times(X):
        read_table(X, parameter)  # its error names the column
    try:
        return validate(X)
    except (OverflowError, ValueError) as error:
        if isinstance(error, OverflowError) or NOT_SINGLE in str(error):
            resolve_roles(X)  # its error names the column
        raise
    except TypeError as error:
        return validate(_numbers_of_objects(X, parameter, error))


def _numbers_of_objects(X, parameter, refusal):
    """The table without objects; the TypeError by which they were refused, and why, otherwise."""
    check_names(X, parameter)
    read_table(X, parameter)  # its error explains what is not a table
    try:
        _, numbers = resolve_and_encode(X)
    except ValueError as error:
        raise TypeError(f"{refusal}. {parameter}: {error}") from error
    return type(X)(numbers, columns=X.columns) if hasattr(X, "columns") else numbers
