"""Rows that are distributed over several processes: what all must see, and what each keeps."""

from typing import NamedTuple

import numpy as np

from sklearn_jko.rows.blurred import BlurredRows
from sklearn_jko.rows.division import Parts, divide
from sklearn_jko.rows.processes import Processes
from sklearn_jko.rows.row_hash import hash_rows, mix
from sklearn_jko.rows.splitting import separate_copies
from sklearn_jko.rows.weighting import weighted_rows

__all__ = ["MAX_POOLED", "Shares", "are_pooled", "divide_among"]

# In a group, the scaling is chosen and fitted, and held-out rows are taken, from about so many.
MAX_POOLED = 200_000
# Gives other hashes than those by which rows are held out.
SALT = np.uint64(0x5851F42D4C957F2D)


class Shares(NamedTuple):
    """The rows of a fit in several processes.

    Attributes
    ----------
    parts : Parts
        Of a uniform sample of the rows of all processes, or of all rows if they are few; the same
        in all processes.
    train : BlurredRows
        What this process trains on.
    train_size : float
        As in `Parts`, for the rows of all processes.
    processes : Processes
        The group, with this process's share set.
    """

    parts: Parts
    train: BlurredRows
    train_size: float
    processes: Processes


def are_pooled(n, processes):
    """Whether all processes see a sample of their n rows instead of all rows."""
    return not processes.is_alone and n > MAX_POOLED


def divide_among(X, weight, X_val, fraction, seed, roles, processes, scale):
    """Divide rows that are distributed over several processes; parameters as in `divide`.

    Parameters
    ----------
    X, weight, X_val
        Those of this process.
    fraction, seed, roles
    processes : Processes
    scale : float
        Number of rows that each row of X stands for.

    Returns
    -------
    shares : Shares

    Raises
    ------
    ValueError
        If this process has no rows left to train on; RuntimeError in the others.
    """
    if processes.is_alone:
        parts = divide(X, weight, X_val, fraction, seed, roles)
        return Shares(parts, parts.train, parts.train_size, processes)
    present = np.arange(len(X)) if weight is None else np.flatnonzero(weight)
    n = processes.total(scale * len(present))
    pool, pool_weight, pool_val = _pooled(X, weight, X_val, present, scale / n, processes, seed)
    parts = divide(pool, pool_weight, pool_val, fraction, seed, roles)
    train, total = _own_rows(X, weight, pool, parts, seed, processes)
    shares = processes.weighed(scale * total)
    return Shares(parts, train, parts.train_size * n / len(pool), shares)


def _pooled(X, weight, X_val, present, share_of_row, processes, seed):
    """About as many rows of all processes as are wanted, or all; the same in every process."""
    shown = X if len(present) == len(X) else X[present]  # a copy of all would double the memory
    some = present[_chosen(shown, MAX_POOLED * share_of_row, seed)]
    if X_val is not None:
        X_val = X_val[_chosen(X_val, MAX_POOLED / processes.total(len(X_val)), seed)]
    parts = processes.all_gather((X[some], None if weight is None else weight[some], X_val))
    return tuple(_joined(arrays) for arrays in zip(*parts, strict=True))


def _joined(arrays):
    """All arrays as one; None if there are none."""
    return None if arrays[0] is None else np.concatenate(arrays)


def _chosen(X, share, seed):
    """Indices of about this share of the rows, chosen by value, wherever a row is."""
    if share >= 1:
        return np.arange(len(X))
    salted = mix(hash_rows(X) ^ mix(np.uint64([seed]) ^ SALT))
    return np.flatnonzero(separate_copies(salted, 1) < np.uint64(share * 2.0**64))


def _own_rows(X, weight, pool, parts, seed, processes):
    """The rows of this process that are not held out, and their weight."""
    is_own = ~np.isin(hash_rows(X), _hashes_held_out(pool, parts))
    repeated = weighted_rows(X, weight).repeated
    places = np.flatnonzero(is_own[repeated])
    with processes.failing_together():
        if len(places) == 0:
            raise ValueError(
                f"of the {len(X)} rows of process {processes.rank} none is left to train on; pass "
                "more rows to every process, or use fewer processes."
            )
    train = BlurredRows(X, repeated, places, parts.noise_width, seed + processes.rank)
    return train, float(np.sum(is_own if weight is None else weight[is_own]))


def _hashes_held_out(pool, parts):
    """Hashes of the rows that must not be trained on."""
    if parts.held_out.X is not pool:
        return np.array([], dtype=np.uint64)
    hashes = hash_rows(pool)
    # If a value is so common that only some of its copies are held out, the others are trained on.
    return np.setdiff1d(hashes[parts.all.row_indices], hashes[parts.train.row_indices])
