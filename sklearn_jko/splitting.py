"""Split of the rows into training and held-out rows."""

import numpy as np

__all__ = ["held_out_mask"]

MIN_HELD_OUT = 50
MAX_HELD_OUT = 4_000


def held_out_mask(X, fraction, seed):
    """Choose the held-out rows by a hash of their values.

    Copies of one row fall on the same side (unless they are more than a fifth of the wanted
    rows), and the choice does not depend on the order of the rows.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    fraction : float
        Wanted share of held-out rows. It is raised to reach 50 rows, but never beyond 0.25,
        and lowered to stay at most 4,000.
    seed : int

    Returns
    -------
    mask : ndarray of shape (n,), bool
        True where held out. There is at least one row on either side unless all
        rows are equal: then none is held out.
    """
    n = len(X)
    wanted = min(max(fraction * n, min(MIN_HELD_OUT, 0.25 * n), 1), MAX_HELD_OUT)
    hashes = _hash_rows(X, seed)
    if len(np.unique(hashes)) == 1:
        return np.zeros(n, dtype=bool)
    hashes = _divide_common_rows(hashes, max(wanted / 5, 10))
    values, counts = np.unique(hashes, return_counts=True)
    # Whole groups of copies, as many as come nearest to the wanted number of rows.
    n_groups = np.abs(np.cumsum(counts) - wanted).argmin() + 1
    n_groups = min(n_groups, len(values) - 1)
    return hashes < values[n_groups] if n_groups else np.zeros(n, dtype=bool)


def _divide_common_rows(hashes, largest):
    """Give every copy of a very common row a hash of its own.

    Held out together, the copies would leave a whole value out of training; and nothing can be
    learned by heart from a row that many share.
    """
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    common = counts[inverse] > largest
    if not common.any():
        return hashes
    order = np.argsort(inverse, kind="stable")
    rank = np.empty(len(hashes), dtype=np.uint64)
    rank[order] = np.arange(len(hashes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.where(common, _mix(hashes ^ _mix(rank + np.uint64(1))), hashes)


def _hash_rows(X, seed):
    """64-bit hash of each row's values."""
    # The last number is added, or a row of zeros would hash to zero whatever the seed.
    *multipliers, offset = np.random.default_rng(seed).integers(
        2**63, size=X.shape[1] + 1, dtype=np.uint64
    )
    total = np.full(len(X), offset)
    for column, multiplier in zip(X.T, multipliers, strict=True):
        bits = (column.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 becomes 0.0, its equal
        total += (bits ^ (bits >> np.uint64(32))) * (np.uint64(2) * multiplier + np.uint64(1))
    return _mix(total)


def _mix(hashes):
    hashes = hashes ^ (hashes >> np.uint64(31))
    hashes = hashes * np.uint64(0x9E3779B97F4A7C15)
    return hashes ^ (hashes >> np.uint64(29))
