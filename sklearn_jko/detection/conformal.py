"""Conformal p-values."""

import numpy as np

__all__ = ["conformal_p_values", "score_tolerance"]


def conformal_p_values(scores, calibration, size):
    """Share of the calibration rows, and of the row itself, that score no higher.

    For a row that is exchangeable with the calibration rows, P(p <= u) <= u, whatever the
    distribution of the scores. Scores that differ only by rounding count as equal.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Higher for normal rows.
    calibration : ndarray of shape (m,), ascending
        Scores of rows that are normal and were not trained on.
    size : float
        Number of calibration rows: m, unless one stands for several, or several for one.

    Returns
    -------
    p_values : ndarray of shape (n,), in (0, 1]

    References
    ----------
    Bates, Candes, Lei, Romano and Sesia (2023), Testing for outliers with conformal p-values,
    Annals of Statistics 51.
    """
    counts = np.searchsorted(calibration, scores + score_tolerance(scores), side="right")
    share = counts / max(len(calibration), 1)
    return (1 + size * share) / (1 + size)


def score_tolerance(scores):
    """Largest difference of scores that may come from the other rows scored in the same batch."""
    return 1e-9 * (1 + np.abs(scores))
