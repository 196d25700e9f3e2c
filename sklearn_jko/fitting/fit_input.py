"""The input of a fit: read, checked, and completed."""

import functools
from collections.abc import Iterator
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import _check_feature_names, _check_sample_weight

from sklearn_jko.checks import are_nan, columns_in_words, short_repr
from sklearn_jko.columns.numbers import (
    FLOATS,
    NOT_NUMERIC,
    as_numbers,
    check_at_hand,
    validated_numbers,
)
from sklearn_jko.columns.roles import Roles, resolve_and_encode, resolve_roles
from sklearn_jko.devices import device_named
from sklearn_jko.missing.completion import completed
from sklearn_jko.rows.dask_tables import is_partitioned
from sklearn_jko.rows.reservoir import Sampled, in_memory
from sklearn_jko.rows.table_types import check_collected, without_masks_or_arrow
from sklearn_jko.scaling import make_scaler
from sklearn_jko.structure import Structure, structure_of
from sklearn_jko.user_warnings import warn_user

__all__ = ["FitInput", "read_input", "read_rows"]


class FitInput(NamedTuple):
    """The rows of a fit, and what goes with them.

    Attributes
    ----------
    sampled : Sampled
        The rows as the user passed them, or a sample that is kept in memory, with their weights;
        rows of weight zero are left out.
    X : ndarray of shape (n, d)
        The same rows as numbers, encoded if the columns have roles; NaN where a value is missing.
    X_val : ndarray of shape (m, d), or None
        The validation rows.
    roles : Roles or None
    structure : Structure or None
    device : torch.device
    """

    sampled: Sampled
    X: np.ndarray
    X_val: np.ndarray | None
    roles: Roles | None
    structure: Structure | None
    device: torch.device

    @property
    def sample_weight(self):
        """Weights of the rows, shape (n,), or None."""
        return self.sampled.weight

    @property
    def has_missing(self):
        tables = (self.X, self.X_val)
        return any(are_nan(table).any() for table in tables if table is not None)

    def completed(self, density, seed):
        """The same with missing values filled in, after a warning.

        Raises
        ------
        ValueError
            If a column has no value, or fewer than two rows have one.
        """
        if not self.has_missing:
            return self
        _check_columns(density, are_nan(self.X))
        rows, sampled, validation = self._with_values("X", self.X), self.sampled, []
        if len(rows) < len(self.X):
            sampled = sampled.only(rows)
        if self.X_val is not None:
            validation = [self.X_val[self._with_values("X_val", self.X_val)]]
            _warn_of_missing(density, are_nan(self.X_val), "X_val: ")
        _warn_of_missing(density, are_nan(self.X))
        X, *validation = completed(
            self.X[rows], sampled.weight, seed, *validation, roles=self.roles
        )
        return self._replace(sampled=sampled, X=X, X_val=validation[0] if validation else None)

    def _with_values(self, parameter, X):
        """Indices of the rows that have a value in some column that is not given."""
        given = [] if self.roles is None else self.roles.given
        is_missing = np.broadcast_to(are_nan(X), X.shape)
        rows = np.flatnonzero(~np.delete(is_missing, given, axis=1).all(axis=1))
        if len(rows) < 2:
            apart = " apart from given ones" if len(given) else ""
            raise ValueError(
                f"{len(rows)} of {len(X)} rows of {parameter} hold values{apart}; two or more must."
            )
        return rows


def read_input(density, X, sample_weight, X_val):
    """Read and check the input of `JKOFlowDensity.fit`, and the parameters that refer to it.

    Sets `n_features_in_` and `feature_names_in_` of the density.

    Parameters
    ----------
    density : JKOFlowDensity
    X, sample_weight, X_val
        See `JKOFlowDensity.fit`.

    Returns
    -------
    read : FitInput

    Raises
    ------
    ValueError
        See `JKOFlowDensity.fit`.
    """
    sampled = read_rows(X, sample_weight)
    X, roles = _rows(density, sampled.X)
    X_val = None if X_val is None else _read_validation_rows(density, X_val, roles)
    is_given = np.zeros(X.shape[1], bool) if roles is None else roles.numbers_given
    structure = structure_of(density.structure, is_given)
    if density.scaling != "auto":
        make_scaler(density.scaling)  # so that a wrong name fails before the work begins
    device = device_named(density.device)
    return FitInput(sampled, X, X_val, roles, structure, device)


def _rows(density, X):
    """The rows as an array, and the roles of their columns, or None."""
    if density.columns is None and density.condition is None:
        return _numbers(density, X), None
    roles, encoded = resolve_and_encode(X, density.columns, density.condition)
    if len(roles.modelled) == 0:
        raise ValueError(
            f"columns={density.columns!r} and condition={density.condition!r} leave no numbers "
            "to model, as all columns are categories or given; leave at least one column of "
            "numbers out of both, or add one."
        )
    _check_feature_names(density, X, reset=True)
    X = check_array(encoded, ensure_min_samples=2, ensure_all_finite="allow-nan")
    density.n_features_in_ = X.shape[1]
    return X, roles


def _numbers(density, X):
    try:
        return validated_numbers(density, X, dtype=FLOATS, ensure_min_samples=2)
    except ValueError as error:
        if NOT_NUMERIC in str(error):
            resolve_roles(X)  # its error names the column, and how to make it a category
        raise


def _read_validation_rows(density, X_val, roles):
    try:
        return _checked_validation_rows(density, X_val, roles)
    except ValueError as error:
        if "X_val" in str(error):
            raise
        raise ValueError(f"X_val: {error}") from error


def _checked_validation_rows(density, X_val, roles):
    if is_partitioned(X_val):  # scikit-learn does not see the names of a Dask frame
        X_val = in_memory(X_val).X
    X_val = without_masks_or_arrow(X_val)
    check_at_hand(X_val, "X_val")
    _check_feature_names(density, X_val, reset=False)
    check = functools.partial(
        check_array,
        dtype=FLOATS,
        estimator=density,
        input_name="X_val",
        ensure_min_samples=2,
        ensure_all_finite="allow-nan",
    )
    encoded = X_val if roles is None else roles.encode(X_val, "X_val")
    X_val = as_numbers(check, encoded, "X_val")
    if X_val.shape[1] != density.n_features_in_:
        raise ValueError(
            f"X_val has {X_val.shape[1]} features; it must have {density.n_features_in_}, like X."
        )
    if roles is not None:
        roles.check_inside(X_val)
    return X_val


def read_rows(X, sample_weight):
    """The rows of positive weight, or a sample of them; rows of weight zero may hold anything.

    Parameters
    ----------
    X, sample_weight
        See `JKOFlowDensity.fit`.

    Returns
    -------
    sampled : Sampled

    Raises
    ------
    ValueError
        If a weight is negative, fewer than two are positive, or there is not one for each row; or
        if it is a single one for all rows, and not a positive finite number.
    TypeError
        If X is a lazy frame, or the weights are an iterator.
    """
    check_collected(X)
    _check_single_weight(sample_weight)
    sampled = in_memory(without_masks_or_arrow(X), sample_weight)
    if sampled.weight is None:
        return sampled
    weight = _check_sample_weight(
        sampled.weight, sampled.X, dtype=np.float64, ensure_non_negative=True
    )
    present = np.flatnonzero(weight)
    if len(present) < 2:
        raise ValueError(
            f"sample_weight is positive for {len(present)} rows; at least two rows need a positive "
            "weight."
        )
    sampled = sampled._replace(weight=weight)
    return sampled if len(present) == len(weight) else sampled.only(present)


def _check_single_weight(weight):
    """Raise an error if this is neither None, nor an array, nor a positive finite number."""
    if isinstance(weight, Iterator):
        raise TypeError(
            f"sample_weight is an iterator ({type(weight).__name__}); pass an array with one value "
            "per row, such as np.array(list(sample_weight))."
        )
    if weight is None or np.asarray(weight).ndim > 0:
        return
    if not isinstance(weight, Real) or not 0 < weight < np.inf:
        raise ValueError(
            f"sample_weight={short_repr(weight)} must be an array with one value per row, or one "
            "positive finite number for all rows."
        )


def _check_columns(density, is_missing):
    if is_missing.all(axis=0).any():
        raise ValueError(
            f"{columns_in_words(density, is_missing.all(axis=0))} hold no value, so nothing can be "
            "learned about them; leave them out."
        )


def _warn_of_missing(density, is_missing, where=""):
    if is_missing.any():
        warn_user(
            f"{where}{columns_in_words(density, is_missing.any(axis=0))} have missing values. For "
            "training these were filled in with random draws given the other values of their rows."
        )
