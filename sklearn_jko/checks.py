"""Checks of values, which may come from an untrusted file, and words for error messages."""

import reprlib
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

__all__ = [
    "SMALLEST",
    "are_nan",
    "check_choice",
    "check_complete",
    "check_is_flow",
    "check_keys",
    "check_list",
    "check_ndarray",
    "check_number",
    "check_texts",
    "columns_in_words",
    "is_whole",
    "listed",
    "short_repr",
]

SMALLEST = np.nextafter(0.0, 1.0)
LARGEST_EXACT = 2**53  # a float can be every integer up to this


def check_keys(name, state, keys):
    """Raise ValueError unless the state is a dictionary of exactly these keys."""
    if not isinstance(state, dict) or state.keys() != set(keys):
        found = list(state) if isinstance(state, dict) else state
        raise ValueError(f"{name} must hold {list(keys)}; it holds {short_repr(found)}")


def check_ndarray(name, value, shape, low=-np.inf, high=np.inf, dtype=np.float64):
    """Raise ValueError unless the value is a finite array of this shape, type and range."""
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        is_array = isinstance(value, np.ndarray)
        found = f"{value.dtype} {value.shape}" if is_array else short_repr(value)
        raise ValueError(
            f"{name} must be a {np.dtype(dtype)} array of shape {shape}; it is {found}"
        )
    if not (np.isfinite(value).all() and np.all((value >= low) & (value <= high))):
        raise ValueError(f"{name} must be finite and within [{low}, {high}]")


def check_number(name, value, low=-np.inf, high=np.inf, whole=False, allows_nan=False):
    """Raise ValueError unless the value is a number within the range.

    An infinite end is within it. An int is a number up to 2^53 in size. With `whole`, only an int
    is, of whatever size. With `allows_nan`, NaN is a number within the range.
    """
    is_float = type(value) is float or (type(value) is int and abs(value) <= LARGEST_EXACT)
    is_number = type(value) is int if whole else is_float
    if not is_number or not (low <= value <= high or (allows_nan and np.isnan(value))):
        kind = "an integer" if whole else "a number"
        raise ValueError(f"{name} must be {kind} within [{low}, {high}]; it is {short_repr(value)}")


def check_choice(name, value, choices):
    """Raise ValueError unless the value is one of some names, such as a dictionary's keys."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}; it is {short_repr(value)}")


def check_list(name, value):
    """Raise ValueError unless the value is a list."""
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list; it is {short_repr(value)}")


def check_texts(name, value, n):
    """Raise ValueError unless the value is a list of n strings."""
    if not isinstance(value, list) or len(value) != n or any(type(v) is not str for v in value):
        raise ValueError(f"{name}={short_repr(value)} must be {n} strings")


def is_whole(value):
    """Whether a parameter is an integer, of Python or NumPy, and not a boolean."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def short_repr(value):
    """The representation of a value, shortened if it is long."""
    return reprlib.repr(value)


def columns_in_words(model, chosen):
    """How many of a fitted model's columns are chosen, and their names or indices."""
    names = getattr(model, "feature_names_in_", np.arange(model.n_features_in_))[chosen]
    return f"{len(names)} of {model.n_features_in_} columns ({listed(map(repr, names.tolist()))})"


def listed(texts):
    """The first ten of some texts, and dots for others."""
    texts = list(texts)
    return ", ".join(texts[:10]) + (", ..." if len(texts) > 10 else "")


def check_is_flow(name, value):
    """Raise TypeError unless the value is a JKOFlowDensity, NotFittedError unless it is fitted."""
    check_is_fitted(value)
    if not hasattr(value, "flow_"):
        raise TypeError(
            f"{name} must be a JKOFlowDensity; got {type(value).__name__}. For a "
            "JKOFlowOutlierDetector, pass its `density_`."
        )


def check_complete(estimator, X, remedy="`impute` X first"):
    """Raise ValueError, naming the columns, where values of an array (n, d) are missing."""
    is_missing = np.broadcast_to(are_nan(X), X.shape).any(axis=0)
    if is_missing.any():
        raise ValueError(
            f"{columns_in_words(estimator, is_missing)} have missing values: {remedy}."
        )


def are_nan(X):
    """Which values are NaN: of shape (n, d), or (1, d) where none is."""
    with np.errstate(over="ignore", invalid="ignore"):
        has_any = np.isnan(X.sum())  # the sum is NaN if a value is
    return np.isnan(X) if has_any else np.zeros((1, X.shape[1]), dtype=bool)
