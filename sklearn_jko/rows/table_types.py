"""Types of tables: their library, hidden names and missing values, and lazy tables."""

import sys

import numpy as np

__all__ = ["as_array", "check_collected", "is_frame", "without_masks_or_arrow"]


def is_frame(X, library):
    """Whether X is a frame of pandas or polars; does not import the library."""
    module = sys.modules.get(library)
    return module is not None and isinstance(X, module.DataFrame)


def without_masks_or_arrow(X):
    """X as a table whose names and missing values are visible, if its type hides them.

    A frame of another library, such as a pyarrow table, would lose its names as an array, so it
    becomes a pandas frame. Masked values of numpy become NaN: a plain array would show them.
    """
    if isinstance(X, np.ma.MaskedArray):
        return _without_mask(X) if np.ma.is_masked(X) else X.data
    is_known = is_frame(X, "pandas") or is_frame(X, "polars")
    is_table = hasattr(X, "to_pandas") and hasattr(X, "columns")
    return X.to_pandas() if is_table and not is_known else X


def check_collected(X, parameter="X"):
    """Raise TypeError if X is a lazy frame of polars."""
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(X, polars.LazyFrame):
        raise TypeError(f"{parameter} is a lazy frame of polars; pass {parameter}.collect().")


def as_array(X):
    """A table as an array; in a list with strings, numbers stay numbers."""
    array = np.asarray(X)
    is_of_texts = array.dtype.kind == "U" and not hasattr(X, "dtype")
    return np.asarray(X, dtype=object) if is_of_texts else array


def _without_mask(X):
    """An array of the same values, NaN where they are masked."""
    if X.dtype.kind not in "fO":
        X = X.astype(np.float64 if X.dtype.kind in "biu" else object)
    return X.filled(np.nan)
