"""Tables passed to a display, and tables that it passes to an estimator."""

import copy
import inspect
from numbers import Integral

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_array, check_random_state

from sklearn_jko.checks import listed
from sklearn_jko.columns.tables import read_table
from sklearn_jko.rows.table_types import as_array
from sklearn_jko.statistics.columns import LARGEST

__all__ = [
    "best_of",
    "column_names",
    "column_positions",
    "columns_of_texts",
    "draw_samples",
    "log_density",
    "models_numbers_only",
    "numbers_in",
]


def column_names(X):
    """The labels of a data frame's columns; "column 0", "column 1", ... of an array's."""
    if hasattr(X, "columns"):
        return list(X.columns)
    return [f"column {k}" for k in range(len(read_table(X).values))]


def column_positions(columns, names):
    """Indices in the table of columns given by name or index."""
    wanted = [columns] if isinstance(columns, (str, Integral)) else list(columns)
    if not wanted:
        raise ValueError("columns is empty; pass at least one name or index of a column of X.")
    return [_position(column, names) for column in wanted]


def _position(column, names):
    if column in names:
        return names.index(column)
    if isinstance(column, Integral) and 0 <= column < len(names):
        return int(column)
    raise ValueError(
        f"columns holds {column!r}, which is not a column of X. Pass names among "
        f"{listed(map(repr, names))}, or indices from 0 to {len(names) - 1}."
    )


def columns_of_texts(density):
    """Indices of the categories of the density that have string labels."""
    roles = getattr(density, "roles_", None)
    if roles is None:
        return []
    return [j for j in roles.category if any(type(v) is str for v in roles.columns[j].labels)]


def numbers_in(X, chosen):
    """These columns of a table, shape (n, len(chosen)), float64 and finite."""
    table = check_array(_columns_of(X, chosen), dtype=np.float64, ensure_all_finite="allow-nan")
    is_missing = np.isnan(table).any(axis=0)
    if is_missing.any():
        names = column_names(X)
        missed = listed(repr(names[chosen[k]]) for k in np.flatnonzero(is_missing))
        raise ValueError(
            f"X has missing values in {missed}, which cannot be shown; pass rows without missing "
            "values, such as those of `impute(X)`."
        )
    return table


def _columns_of(X, chosen):
    return _safe_indexing(X if hasattr(X, "columns") else as_array(X), chosen, axis=1)


def best_of(estimator):
    """The estimator itself or, for a search, the best one that it found."""
    return getattr(estimator, "best_estimator_", estimator)


def models_numbers_only(density):
    """Whether no column is given, of integers, or a category; also of a pipeline's density."""
    while isinstance(density, Pipeline):
        density = best_of(density[-1])
    roles = getattr(density, "roles_", None)
    return roles is None or roles.has_bounds_only


def _as_table_like(X, rows):
    """Rows as an estimator fitted to X expects them: with the column names of X, if it has any."""
    if hasattr(X, "columns"):
        return type(X)(dict(zip(X.columns, rows.T, strict=True)))
    return rows


def log_density(density, X, rows):
    """Finite log-densities of rows, shape (n,), by an estimator fitted to tables like X."""
    if not hasattr(density, "score_samples"):
        raise TypeError(
            f"{type(density).__name__} has no score_samples; pass a density estimator, such as "
            "JKOFlowDensity, KernelDensity or GaussianMixture."
        )
    scores = np.asarray(density.score_samples(_as_table_like(X, rows)), dtype=np.float64)
    return np.nan_to_num(scores, nan=-LARGEST, posinf=LARGEST, neginf=-LARGEST)


def draw_samples(density, X, n_samples, random_state):
    """A table of n_samples rows drawn from an estimator; None if it cannot sample.

    Their given columns are those of rows of X that are drawn at random.
    """
    if not hasattr(density, "sample"):
        return None
    random_state = check_random_state(random_state)
    seed = random_state.randint(2**31 - 1)
    arguments, roles = {}, getattr(density, "roles_", None)
    if roles is not None and len(roles.given):
        rows = _safe_indexing(X, random_state.randint(len(X), size=n_samples))
        arguments["condition"] = _columns_of(rows, roles.given)
        n_samples = 1
    if "random_state" in inspect.signature(density.sample).parameters:
        arguments["random_state"] = seed
    elif hasattr(density, "random_state"):
        # A mixture uses its own seed, or numpy's global one.
        density = copy.copy(density)
        density.random_state = seed
    try:
        samples = density.sample(n_samples, **arguments)
    except NotImplementedError:  # KernelDensity with most kernels
        return None
    return samples[0] if isinstance(samples, tuple) else samples
