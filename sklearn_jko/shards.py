"""Rows that lie with several processes: what all must see, and what each keeps."""

from typing import NamedTuple

import numpy as np

from sklearn_jko.partition import Parts, divide
from sklearn_jko.processes import Processes
from sklearn_jko.resolution import BlurredRows
from sklearn_jko.row_hash import hash_rows
from sklearn_jko.weighting import weighted_rows

__all__ = ["MAX_POOLED", "Shares", "check_alike", "divide_among"]

# From so many rows the scaling is chosen and fitted, and the held-out ones are taken.
MAX_POOLED = 200_000


class Shares(NamedTuple):
    """The rows of a fit in several processes.

    Attributes
    ----------
    parts : Parts
        Of a uniform sample of the rows of all, the same in all: of all rows where they are few.
    train : BlurredRows
        What this process trains on.
    train_size : float
        As of `Parts`, for all rows of all processes.
    processes : Processes
        They, with the share of this one.
    """

    parts: Parts
    train: BlurredRows
    train_size: float
    processes: Processes


def check_alike(what, processes):
    """Raise in all processes where what they were told differs.

    Parameters
    ----------
    what : dict
        Of what can be compared, by name.
    processes : Processes

    Raises
    ------
    ValueError
        Naming the first that differs.
    """
    everywhere = processes.gathered(what)
    for name in what:
        values = [told[name] for told in everywhere]
        if any(value != values[0] for value in values):
            raise ValueError(f"the processes of the group differ in {name}: {values!r}.")


def divide_among(X, weight, X_val, fraction, seed, roles, processes):
    """Divide rows that lie with several processes; parameters as of `divide`.

    Parameters
    ----------
    X, weight, X_val
        Of this process.
    fraction, seed, roles
    processes : Processes

    Returns
    -------
    shares : Shares

    Raises
    ------
    ValueError
        In all processes, if one has nothing left to train on.
    """
    if processes.size == 1:
        parts = divide(X, weight, X_val, fraction, seed, roles)
        return Shares(parts, parts.train, parts.train_size, processes)
    n = processes.total(len(X))
    pool, *others = _pooled((X, weight, X_val), n, processes, seed)
    parts = divide(pool, *others, fraction, seed, roles)
    is_own = ~np.isin(hash_rows(X), _hashes_held_out(pool, parts))
    weights = is_own if weight is None else np.where(is_own, weight, 0.0)
    with processes.failing_together():
        if not weights.any():
            raise ValueError(
                f"of the {len(X)} rows of process {processes.rank} none is left to train on; give "
                "every process more, or fewer processes."
            )
    repeated = weighted_rows(X, weight).repeated
    train = BlurredRows(
        X, repeated, np.flatnonzero(is_own[repeated]), parts.noise_width, seed + processes.rank
    )
    weighed = processes.weighed(float(weights.sum()))
    return Shares(parts, train, parts.train_size * n / len(pool), weighed)


def _pooled(arrays, n, processes, seed):
    """Of this process's (X, weight, X_val) and those of the others so many rows as are wanted."""
    X, weight, X_val = arrays
    some = np.arange(len(X))
    if n > MAX_POOLED:
        random_state = np.random.default_rng([seed, processes.rank])
        wanted = -(-MAX_POOLED * len(X) // n)
        some = np.sort(random_state.choice(len(X), wanted, replace=False, shuffle=False))
    parts = processes.gathered((X[some], None if weight is None else weight[some], X_val))
    for column in zip(*parts, strict=True):
        yield None if column[0] is None else np.concatenate(column)


def _hashes_held_out(pool, parts):
    """Hashes of rows that are not to be trained on."""
    if parts.held_out.X is not pool:
        return np.array([], dtype=np.uint64)
    hashes = hash_rows(pool)
    # Of values so common that only some of their copies are held out, the others are trained on.
    return np.setdiff1d(hashes[parts.held_out.row_numbers], hashes[parts.train.row_numbers])
