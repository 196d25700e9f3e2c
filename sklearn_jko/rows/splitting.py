"""Split of the rows into training and held-out rows."""

import numpy as np

from sklearn_jko.rows.row_hash import mix

__all__ = ["MAX_HELD_OUT", "held_out_mask", "rank_among_equals", "separate_copies"]

MIN_HELD_OUT = 50
MAX_HELD_OUT = 4_000
MIN_TRAINED = 2  # as many as a fit asks for


def held_out_mask(hashes, fraction, seed, splits_copies=False):
    """Choose the held-out rows by a hash of their values.

    The choice does not depend on the order of the rows. Copies of one row fall on the same side,
    unless they are more than ten and more than a fifth of the wanted rows.

    Parameters
    ----------
    hashes : ndarray of shape (n,), uint64
        From `hash_rows`.
    fraction : float
        Wanted share of held-out rows. It is raised to reach 50 rows, but not beyond 0.25, and
        lowered to stay at most 4,000.
    seed : int
    splits_copies : bool, default=False
        Whether copies of a row may fall on different sides.

    Returns
    -------
    mask : ndarray of shape (n,), bool
        True where held out. At least two rows are left to train on, whatever the fraction; if that
        is not possible, or all rows are equal, none is held out.
    """
    n = len(hashes)
    wanted = min(max(fraction * n, min(MIN_HELD_OUT, 0.25 * n), 1), MAX_HELD_OUT)
    hashes = mix(hashes ^ mix(np.uint64([seed + 1])))
    if (hashes == hashes[0]).all():
        return np.zeros(n, dtype=bool)
    hashes = separate_copies(hashes, 1 if splits_copies else max(wanted / 5, 10))
    values, counts = np.unique(hashes, return_counts=True)
    # Whole groups of copies, as many as come nearest to the wanted number of rows.
    n_taken = np.cumsum(counts)
    n_groups = np.abs(n_taken - wanted).argmin() + 1
    n_groups = min(n_groups, np.count_nonzero(n - n_taken >= MIN_TRAINED))
    return hashes < values[n_groups]


def separate_copies(hashes, largest):
    """Give every copy of a row with more than so many copies a hash of its own.

    Held out together, the copies would leave a whole value out of training; and a row that occurs
    so often cannot be memorised as a single one.

    Parameters
    ----------
    hashes : ndarray of shape (n,), uint64
    largest : float

    Returns
    -------
    hashes : ndarray of shape (n,), uint64
    """
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    common = counts[inverse] > largest
    if not common.any():
        return hashes
    rank = rank_among_equals(inverse).astype(np.uint64)
    return np.where(common, mix(hashes ^ mix(rank + np.uint64(1))), hashes)


def rank_among_equals(group):
    """How many items of the same group precede each, shape (n,), from group indices (n,) >= 0."""
    counts = np.bincount(group)
    rank = np.empty(len(group), dtype=np.int64)
    order = np.argsort(group, kind="stable")
    rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank
