"""Hashes of rows, equal for equal rows."""

import numpy as np

__all__ = ["hash_rows", "mix"]


def hash_rows(X):
    """64-bit hash of each row's values.

    Parameters
    ----------
    X : ndarray of shape (n, d)

    Returns
    -------
    hashes : ndarray of shape (n,), uint64
        Two rows that differ have the same hash with a probability of about 1 in 2^44, or less
        where their numbers fill a double's bits.
    """
    # The last number is added, or a row of zeros would hash to zero.
    *multipliers, offset = np.random.default_rng(0).integers(
        2**63, size=X.shape[1] + 1, dtype=np.uint64
    )
    total = np.full(len(X), offset)
    for column, multiplier in zip(X.T, multipliers, strict=True):
        values = column.astype(np.float64) + 0.0  # -0.0 becomes 0.0, its equal
        values[np.isnan(values)] = np.nan  # whatever its sign and bits
        bits = values.view(np.uint64)
        total += (bits ^ (bits >> np.uint64(32))) * (np.uint64(2) * multiplier + np.uint64(1))
    return mix(total)


def mix(hashes):
    """Hash 64-bit numbers once more."""
    hashes = hashes ^ (hashes >> np.uint64(31))
    hashes = hashes * np.uint64(0x9E3779B97F4A7C15)
    return hashes ^ (hashes >> np.uint64(29))
