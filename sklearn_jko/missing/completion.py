"""Missing values filled in for training, and the mixture that proposes them in scores."""

import numpy as np

from sklearn_jko.missing.label_draws import LabelDraws
from sklearn_jko.missing.labelled_mixture import LabelledMixture
from sklearn_jko.missing.marginal_mixture import MarginalMixture
from sklearn_jko.rows.blurred import blur, reflect
from sklearn_jko.rows.resolution import tie_width
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.rows.weighting import weighted_rows
from sklearn_jko.statistics.columns import median_and_spread

__all__ = ["completed", "fit_proposal"]


def completed(X, weight, seed, *others, roles=None):
    """Tables with draws, given what is observed, where values are missing.

    Labels are drawn first (`LabelDraws`), then numbers from a mixture that is fitted to the
    observed values of X (`MarginalMixture`, of numbers standardised within their labels). The draws
    do not depend on the order of the rows. In columns of repeated values and of integers they are
    rounded to values of X.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        With NaN where a value is missing.
    weight : ndarray of shape (n,) or None
        Weights of the rows of X, to which the mixture is fitted; see `weighted_rows`.
    seed : int
    *others : ndarrays of shape (m, d)
        Tables to fill in likewise.
    roles : Roles, optional
        What the columns are, see `sklearn_jko.columns.roles`.

    Returns
    -------
    tables : list of ndarray
        X and the others, filled in: float64. Where no value is missing they may be X and the others
        themselves, of any type.

    Raises
    ------
    ValueError
        If a column of X is all NaN in the rows that have a notable weight.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.missing.completion import completed
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> X[:30, 1] = np.nan
    >>> (filled,) = completed(X, None, 0)
    >>> bool(np.isfinite(filled).all() and (filled[30:] == X[30:]).all())
    True
    """
    random_state = np.random.default_rng(seed)
    rows = weighted_rows(X, weight).repeated
    _check_columns(np.isnan(X)[rows])
    tables = [X, *others]
    mixture = _new_mixture(roles)
    if roles is not None and len(roles.category):
        n_labels = roles.n_labels_of(roles.category)
        columns = *roles.cell_bounds, roles.category, n_labels
        labels = LabelDraws(*columns).fit(X[rows])
        tables = [_in_order(labels.fill, table, random_state) for table in tables]
        mixture = LabelledMixture(*columns)
    gaps = [np.isnan(table) for table in tables]
    if not any(gap.any() for gap in gaps):
        return tables
    widths, sample = _widths(X, roles), tables[0][rows].astype(np.float64, copy=False)
    mixture.fit(_blurred(sample, widths, roles, random_state), seed)
    tables = [_in_order(mixture.fill, table, random_state) for table in tables]
    for j in np.flatnonzero(widths):
        values = np.unique(X[~np.isnan(X[:, j]), j])
        for table, gap in zip(tables, gaps, strict=True):
            table[gap[:, j], j] = _nearest(values, table[gap[:, j], j])
    return tables


def fit_proposal(rows, roles):
    """The mixture from which missing values are drawn for a fitted density.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Rows drawn from the density, with fractions in columns of integers, and codes of labels.
    roles : Roles or None

    Returns
    -------
    proposal : MarginalMixture
        A mixture of codes as numbers, which are to be rounded.
    """
    widths = np.zeros(rows.shape[1])
    if roles is not None:
        widths[roles.category] = 1.0
    blurred = _blurred(rows, widths, roles, np.random.default_rng(0))
    return _new_mixture(roles).fit(blurred, seed=0)


def _check_columns(is_missing):
    empty = np.flatnonzero(is_missing.all(axis=0))
    if len(empty):
        raise ValueError(
            f"columns {empty.tolist()} of X hold no value but in rows of next to no weight, from "
            "which nothing can be learned; leave the columns out, or give these rows more weight."
        )


def _new_mixture(roles):
    return MarginalMixture() if roles is None else MarginalMixture(*roles.cell_bounds)


def _widths(X, roles):
    """Widths of the noise in numbers: repeated values would be spikes."""
    widths = np.array([_width(column[~np.isnan(column)]) for column in X.T])
    if roles is not None:
        widths[roles.integer], widths[roles.category] = 1.0, 0.0
    return widths


def _blurred(X, widths, roles, random_state):
    blurred = blur(X, widths, random_state)
    return blurred if roles is None else reflect(blurred, roles.cell_bounds)


def _in_order(fill, X, random_state):
    """Rows with gaps filled in one by one, in an order that depends only on their values."""
    filled, rows = X.astype(np.float64), np.flatnonzero(np.isnan(X).any(axis=1))
    if len(rows):
        rows = rows[np.argsort(hash_rows(X[rows]), kind="stable")]
        filled[rows] = fill(filled[rows], random_state)
    return filled


def _width(values):
    _, spread = median_and_spread(values[:, None])
    return tie_width(values, spread[0])


def _nearest(values, x):
    """The nearest of ascending values to each x."""
    middles = values[:-1] / 2 + values[1:] / 2  # the sum of both may overflow
    return values[np.searchsorted(middles, x)]
