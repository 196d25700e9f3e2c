"""Rows with noise, made in double precision and part by part."""

import copy

import numpy as np

from sklearn_jko.statistics.thinning import evenly_spread

__all__ = ["BlurredRows", "blur", "reflect"]


class BlurredRows:
    """Some rows of a table with their noise, made in double precision and part by part.

    A slice of it is an array; the whole table is never copied. The noise depends on the seed and on
    the first place of the part.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Of any floating-point type and memory layout; may be a memory map.
    rows : ndarray of int
        Index in X of the row at each place.
    places : ndarray of int
        The places that are taken.
    widths : ndarray of shape (d,)
        See `noise_widths`.
    seed : int
    bounds : ndarray of shape (2, d), optional
        Smallest and largest values, at which the noise is folded back.
    """

    def __init__(self, X, rows, places, widths, seed, bounds=None):
        self.X, self.rows, self.places, self.widths, self.seed = X, rows, places, widths, seed
        self.bounds = bounds

    def __len__(self):
        return len(self.places)

    @property
    def row_indices(self):
        """Indices of the rows in X, shape (len,)."""
        return self.rows[self.places]

    def some(self, n):
        """Up to n of the rows, evenly spread: copies of a row are adjacent."""
        some = copy.copy(self)
        some.places = evenly_spread(self.places, n)
        return some

    def __getitem__(self, part):
        places = self.places[part]
        values = np.ascontiguousarray(self.X[self.rows[places]], dtype=np.float64)
        noisy = blur(values, self.widths, np.random.default_rng([self.seed, *places[:1]]))
        return noisy if noisy is values or self.bounds is None else reflect(noisy, self.bounds)


def blur(X, widths, random_state):
    """Add uniform noise of the given widths to every column."""
    if not np.any(widths):
        return X
    noise = random_state.uniform(-0.5, 0.5, X.shape)
    noise *= widths
    with np.errstate(over="ignore"):  # all that uses the sum clips it to 1e300
        noise += X
    return noise


def reflect(X, bounds):
    """Fold values that noise has carried over a bound back inside, in place."""
    for j in np.flatnonzero(np.isfinite(bounds).any(axis=0)):
        low, high = bounds[:, j]
        column = np.where(X[:, j] < low, 2 * low - X[:, j], X[:, j])
        column = np.where(column > high, 2 * high - column, column)
        X[:, j] = np.clip(column, low, high)
    return X
