"""Training rows and held-out rows, with their noise."""

from typing import NamedTuple

import numpy as np

from sklearn_jko.rows.blurred import BlurredRows
from sklearn_jko.rows.resolution import are_few_values, noise_widths
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.rows.splitting import MAX_HELD_OUT, held_out_mask, rank_among_equals
from sklearn_jko.rows.weighting import weighted_rows
from sklearn_jko.statistics.thinning import evenly_spread

__all__ = ["Parts", "divide"]

# Added to the seed of the noise of X_val, so that it is not that of X; larger than any seed.
NOISE_OF_OTHERS = 2**32


class Parts(NamedTuple):
    """The rows of a fit.

    Attributes
    ----------
    all, train, held_out : BlurredRows
        Held-out rows are some of all, or those of X_val.
    noise_width : ndarray of shape (d,)
        See `noise_widths`.
    train_size : float
        Kish's effective sample size of the training rows.
    """

    all: BlurredRows
    train: BlurredRows
    held_out: BlurredRows
    noise_width: np.ndarray
    train_size: float

    @property
    def share(self):
        """Effective share of a training row: below 1 if copies only express weights."""
        return self.train_size / len(self.train)


def divide(X, weight, X_val, fraction, seed, roles=None):
    """Divide the rows of a fit, independently of their order.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    weight : ndarray of shape (n,) or None
        See `weighted_rows`.
    X_val : ndarray of shape (m, d) or None
        Validation rows, of which up to 4,000 are taken; None for a part of X.
    fraction : float
        Share of X to hold out, see `held_out_mask`.
    seed : int
    roles : Roles, optional
        Roles of the columns, see `sklearn_jko.columns.roles`: the noise stays within their bounds,
        has width 1 for integers, and is zero for the columns on which the others are conditioned.

    Returns
    -------
    parts : Parts
    """
    rows = weighted_rows(X, weight)
    widths, bounds = noise_widths(X, rows.observed), None
    if roles is not None:
        widths = np.where(np.isnan(roles.noise_width), widths, roles.noise_width)
        bounds = np.array([roles.low, roles.high])
    places = np.arange(len(rows.repeated))

    def some(chosen):
        return BlurredRows(X, rows.repeated, places[chosen], widths, seed, bounds)

    all_rows = some(slice(None))
    if X_val is None:
        hashes = hash_rows(X)
        splits = are_few_values(X, rows.observed, hashes)
        is_held_out, n_held_out = _held_out_places(rows, hashes, fraction, seed, splits)
        train, held_out = some(~is_held_out), some(is_held_out).some(n_held_out)
    else:
        chosen = evenly_spread(weighted_rows(X_val).repeated, MAX_HELD_OUT)
        train, seed_of_others = all_rows, seed + NOISE_OF_OTHERS
        held_out = BlurredRows(
            X_val, chosen, np.arange(len(chosen)), widths, seed_of_others, bounds
        )
    train_size = rows.size * len(train) / len(rows.repeated)
    return Parts(all_rows, train, held_out, widths, train_size)


def _held_out_places(rows, hashes, fraction, seed, splits_copies):
    """Which of the repeated rows are held out, and how many of these are rows of the data.

    Weights that are not integers are expressed by copies, which are not independent rows. So the
    rows of the data are divided first. Then the same share of each row's copies is held out: all or
    none, or a part if the row is so common in the data that it is on both sides.
    """
    if rows.has_whole_weights:
        is_held_out = held_out_mask(hashes[rows.repeated], fraction, seed, splits_copies)
        return is_held_out, np.count_nonzero(is_held_out)
    of_observed = held_out_mask(hashes[rows.observed], fraction, seed, splits_copies)
    values, group = np.unique(hashes[rows.observed], return_inverse=True)
    share = np.bincount(group, of_observed) / np.bincount(group)
    group = np.searchsorted(values, hashes[rows.repeated])
    counts = np.bincount(group, minlength=len(values))
    is_held_out = rank_among_equals(group) < np.rint(share * counts)[group]
    if np.count_nonzero(~is_held_out) < 2:
        is_held_out[:] = False
    return is_held_out, np.count_nonzero(of_observed)
