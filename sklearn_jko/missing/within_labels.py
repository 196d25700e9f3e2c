"""Numbers standardised within the labels of the same row."""

import numpy as np

from sklearn_jko.scaling.bounds import Bounds
from sklearn_jko.statistics.columns import MAX_DEVIATIONS, median_and_spread

__all__ = ["WithinLabels"]

# Rows of the pooled variance within labels that are added to each label's own.
PRIOR_ROWS = 3.0
SMALLEST_VARIANCE = 1e-9


class WithinLabels:
    """Standardise numbers within the labels of their row, for one category after the other.

    A number with bounds is first mapped to the whole line. An unknown label, NaN, has no effect.

    Parameters
    ----------
    low, high : ndarrays of shape (d,)
        Bounds of the columns.
    label_columns : ndarray of int
        Indices of the columns that hold codes of labels, from 0 on.
    n_labels : ndarray of int
        How many labels each of these columns has, whether or not rows have them.

    Attributes
    ----------
    number_columns : ndarray of shape (p,), int
        Indices of the other columns.
    moments_ : list of (mean, deviation), ndarrays of shape (k + 1, p)
        Moments for each category's labels and, last, for an unknown one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.missing.within_labels import WithinLabels
    >>> rng = np.random.default_rng(0)
    >>> codes = rng.integers(3, size=300)
    >>> X = np.c_[np.array([0, 20, 10])[codes] + rng.normal(size=300), codes]
    >>> open_ends = np.full(2, -np.inf), np.full(2, np.inf)
    >>> Z, _ = WithinLabels(*open_ends, np.array([1]), np.array([3])).fit(X).transform(X)
    >>> bool(abs(Z.std() - 1) < 0.1)
    True
    """

    def __init__(self, low, high, label_columns, n_labels):
        self.label_columns, self.n_labels = label_columns, n_labels
        self.number_columns = np.setdiff1d(np.arange(len(low)), label_columns)
        self.to_line = Bounds(low[self.number_columns], high[self.number_columns])

    def fit(self, X):
        numbers = X[:, self.number_columns]
        on_line, _ = self.to_line.fit(numbers).transform(numbers)
        ranges = [median_and_spread(z[~np.isnan(z), None]) for z in on_line.T]
        self.centre_, self.spread_ = np.hstack(ranges)
        self.moments_ = []
        Z = self._standard(X)
        for codes, k in zip(_codes_of(X[:, self.label_columns]), self.n_labels, strict=True):
            mean, deviation = _moments(Z.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS), codes, k)
            self.moments_.append((mean, deviation))
            Z = (Z - mean[codes]) / deviation[codes]
        return self

    def transform(self, X):
        """Standardised numbers (n, p), and the log-slope (n,) that is the labels' part of it."""
        Z, log_slope = self._standard(X), np.zeros(len(X))
        for codes, (mean, deviation) in self._by_category(X):
            Z = (Z - mean[codes]) / deviation[codes]
            log_slope -= np.where(np.isnan(Z), 0.0, np.log(deviation[codes])).sum(axis=1)
        return Z, log_slope

    def inverse_transform(self, Z, X):
        """The numbers (n, p) that `transform` maps to Z, given the labels in X (n, d)."""
        for codes, (mean, deviation) in reversed(self._by_category(X)):
            Z = Z * deviation[codes] + mean[codes]
        return self.to_line.inverse_transform(Z * self.spread_ + self.centre_)

    def _standard(self, X):
        Z, _ = self.to_line.transform(X[:, self.number_columns])
        return (Z - self.centre_) / self.spread_

    def _by_category(self, X):
        return [*zip(_codes_of(X[:, self.label_columns]), self.moments_, strict=True)]


def _codes_of(labels):
    """Codes (m, n) of labels (n, m), after rounding off any noise; -1 for NaN."""
    return np.rint(np.nan_to_num(labels, nan=-1.0)).astype(int).T


def _moments(Z, codes, k):
    """Means and deviations (k + 1, p) of each label's values."""
    parts = []
    for z in Z.T:
        known = ~np.isnan(z) & (codes >= 0)
        parts.append(_moments_of(z[known], codes[known], k))
    mean, deviation = (np.transpose(part) for part in zip(*parts, strict=True))
    nothing = np.zeros((1, Z.shape[1]))
    return np.vstack([mean, nothing]), np.vstack([deviation, nothing + 1.0])


def _moments_of(z, codes, k):
    """Means and deviations (k,) of values around 0, each label's shrunk towards those of all."""
    counts, sums = np.bincount(codes, minlength=k), np.bincount(codes, z, minlength=k)
    residual = z - (sums / np.maximum(counts, 1))[codes]
    pooled = max(np.mean(residual**2), SMALLEST_VARIANCE) if len(z) else 1.0
    mean = sums / (counts + pooled)  # as if the labels' means had the variance 1
    scatter = np.bincount(codes, (z - mean[codes]) ** 2, minlength=k)
    return mean, np.sqrt((scatter + PRIOR_ROWS * pooled) / (counts + PRIOR_ROWS))
