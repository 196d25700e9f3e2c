"""Evenly spaced selections of rows."""

import numpy as np

__all__ = ["evenly_spread"]


def evenly_spread(rows, n):
    """At most n rows, evenly spaced, in their order.

    Parameters
    ----------
    rows : sequence that takes an array of indices
    n : int

    Returns
    -------
    some : ndarray of shape (min(n, len(rows)), ...)
    """
    return rows[np.arange(n) * len(rows) // n] if n < len(rows) else rows[:]
