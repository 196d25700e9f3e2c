"""Draws with given probabilities."""

import numpy as np

__all__ = ["drawn_index"]


def drawn_index(probabilities, uniform):
    """In each row, the index of one of k probabilities, drawn by them.

    Parameters
    ----------
    probabilities : ndarray of shape (n, k)
        Each row adds up to one.
    uniform : ndarray of shape (n,)
        Random numbers from [0, 1).

    Returns
    -------
    index : ndarray of shape (n,), int
    """
    # The last end, one up to rounding, is left out: no draw is beyond it.
    ends = np.cumsum(probabilities, axis=1)[:, :-1]
    return np.count_nonzero(uniform[:, None] >= ends, axis=1)
