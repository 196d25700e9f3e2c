"""Rows in which only labels are missing: all combinations of these can be tried."""

import math

import numpy as np
from sklearn.utils import gen_batches

from sklearn_jko.missing.incomplete_normal import patterns

__all__ = ["label_combinations"]

# A single category has at most 1,000 labels. More combinations are sampled, as missing numbers are.
MAX_COMBINATIONS = 1024
ROWS_AT_ONCE = 4096


def label_combinations(X, columns, n_labels):
    """Yield batches of rows in which only labels are missing, with all that these may be.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        With NaN where a value is missing.
    columns : ndarray of int
        Columns that hold codes of labels, from 0 on.
    n_labels : ndarray of int
        How many labels each of these columns has.

    Yields
    ------
    rows : ndarray of shape (m,), int
        Indices of rows that have the same columns missing.
    completed : ndarray of shape (m, k, d)
        Each row with each combination of labels.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.missing.label_combinations import label_combinations
    >>> X = np.array([[0.5, np.nan], [0.5, 1.0], [np.nan, np.nan]])
    >>> for rows, completed in label_combinations(X, np.array([1]), np.array([3])):
    ...     print(rows.tolist(), completed.tolist())
    [0] [[[0.5, 0.0], [0.5, 1.0], [0.5, 2.0]]]
    """
    counts = dict(zip(columns.tolist(), n_labels.tolist(), strict=True))
    for pattern, rows in patterns(np.isnan(X)):
        gaps = np.flatnonzero(pattern)
        shape = [counts.get(j, math.inf) for j in gaps.tolist()]
        if len(gaps) == 0 or math.prod(shape) > MAX_COMBINATIONS:
            continue
        labels = np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), axis=1)
        for part in gen_batches(len(rows), max(ROWS_AT_ONCE // len(labels), 1)):
            completed = np.repeat(X[rows[part], None], len(labels), axis=1)
            completed[:, :, gaps] = labels
            yield rows[part], completed
