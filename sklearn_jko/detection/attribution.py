"""Contributions of the columns to a difference of scores."""

import itertools

import numpy as np

from sklearn_jko.statistics.columns import bounded

__all__ = ["attribute"]

SEGMENTS = 16
NUMBERS_AT_ONCE = 2**22


def attribute(score, X, reference, label_columns=()):
    """Divide score(X) - score(reference) among the columns.

    The straight line from the reference to the row is divided into sixteen steps. In each step the
    columns are moved one by one, from first to last and from last to first, and each gets the mean
    of the two changes that it makes. These shares add up to the whole difference; with shorter
    steps they become the integrated gradients along the line, also known as Aumann-Shapley values.

    Parameters
    ----------
    score : callable
        Maps rows (n, d) to scores (n,).
    X : ndarray of shape (n, d)
    reference : ndarray of shape (n, d)
    label_columns : sequence of int
        Columns of labels, which have no values in between: they change in the middle of the line.

    Returns
    -------
    shares : ndarray of shape (n, d)

    References
    ----------
    Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks, ICML.
    """
    X, reference = bounded(X), bounded(reference)  # else their difference may overflow
    shares = np.zeros(X.shape)
    d = X.shape[1]
    rows_at_once = max(NUMBERS_AT_ONCE // ((2 * d + 2) * d), 1)
    for start in range(0, len(X), rows_at_once):
        part = slice(start, start + rows_at_once)
        for ends in _segments(reference[part], X[part], label_columns):
            shares[part] += _both_ways(score, *ends)
    return shares


def _segments(start, end, label_columns):
    points = [start + (end - start) * (k / SEGMENTS) for k in range(SEGMENTS)]
    points.append(end.copy())
    for k, point in enumerate(points):
        point[:, label_columns] = (start if 2 * k < SEGMENTS else end)[:, label_columns]
    return itertools.pairwise(points)


def _both_ways(score, start, end):
    """Mean change of the score by each column, moved from first to last and from last to first."""
    n, d = start.shape
    exchanged = np.tri(d + 1, d, -1, dtype=bool)[:, None, :]  # the first k columns, k = 0 ... d
    forward = np.where(exchanged, end, start)
    backward = np.where(exchanged[:, :, ::-1], end, start)
    scores = score(np.concatenate([forward, backward]).reshape(-1, d)).reshape(2, d + 1, n)
    changes = np.diff(scores, axis=1)
    return (changes[0] + changes[1, ::-1]).T / 2
