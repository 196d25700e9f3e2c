"""Split of the rows into training and held-out rows."""

import numpy as np

__all__ = ["held_out_mask"]

MIN_HELD_OUT = 50
MAX_HELD_OUT = 4_000


def held_out_mask(X, fraction, seed):
    """Choose the held-out rows by a hash of their values.

    Copies of one row always fall on the same side, and the choice does not depend on the
    order of the rows.

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
    values, counts = np.unique(hashes, return_counts=True)
    # Whole groups of copies, as many as come nearest to the wanted number of rows.
    n_groups = np.abs(np.cumsum(counts) - wanted).argmin() + 1
    n_groups = min(n_groups, len(values) - 1)
    return hashes < values[n_groups] if n_groups else np.zeros(n, dtype=bool)


def _hash_rows(X, seed):
    """64-bit hash of each row's values."""
    bits = (X + 0.0).view(np.uint64)  # -0.0 becomes 0.0, its equal
    # The last number is added, or a row of zeros would hash to zero whatever the seed.
    *multipliers, offset = np.random.default_rng(seed).integers(
        2**63, size=X.shape[1] + 1, dtype=np.uint64
    )
    odd = 2 * np.array(multipliers) + 1
    total = ((bits ^ (bits >> np.uint64(32))) * odd).sum(axis=1, dtype=np.uint64) + offset
    total ^= total >> np.uint64(31)
    total *= np.uint64(0x9E3779B97F4A7C15)
    return total ^ (total >> np.uint64(29))
