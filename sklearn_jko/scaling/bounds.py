"""Columns with bounds, mapped to the whole line."""

import numpy as np
from scipy.special import expit

from sklearn_jko.checks import SMALLEST, check_ndarray
from sklearn_jko.statistics.columns import LARGEST_EXPONENT, bounded

__all__ = ["Bounds"]


class Bounds:
    """The logit of a column between two bounds, the logarithm with one bound, others unchanged.

    With a = x - low and b = high - x:

    - between two bounds z = log(a / b), log dz/dx = log(high - low) - log a - log b;
    - above a lower one z = log a, log dz/dx = -log a;
    - below an upper one z = -log b, log dz/dx = -log b;
    - without bounds z = x.

    On a bound the map has no value. A value there is moved inside: half as far from the bound as
    the nearest inner value of the column in `fit`; in a column with noise, by a quarter of its
    width, as the noise does on average; and if `fit` saw no inner value, by a quarter of the
    distance between two bounds, or by 1 from a single one. Values inside are not moved, however
    near, so that densities are exact. Beyond a bound there is no density: log |det| is -inf, and Z
    that of the bound. Every Z is mapped back to within the bounds, and onto one only by rounding.
    Nothing is standardised: the scaler that follows does that.

    Parameters
    ----------
    low, high : ndarrays of shape (d,)
        In the units of X, low < high; -inf and inf for an open side.
    noise_width : ndarray of shape (d,) or float, default=0
        Width of the uniform noise in the rows, folded back at the bounds; 0 for none.

    Attributes
    ----------
    low_gap_, high_gap_ : ndarrays of shape (d,)
        How far inside a value on or beyond the bound is moved, in the units of X; 1, without
        effect, for an open side.

    Raises
    ------
    ValueError
        If a lower bound is not below its upper one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.scaling.bounds import Bounds
    >>> X = np.array([[0.5, 1.0], [0.25, 9.0], [0.0, 4.0]])
    >>> scaler = Bounds(low=np.array([0.0, -np.inf]), high=np.array([1.0, np.inf])).fit(X)
    >>> Z, log_det = scaler.transform(X)
    >>> Z[0].tolist(), bool(np.isclose(log_det[0], np.log(4)))
    ([0.0, 1.0], True)
    >>> scaler.inverse_transform(Z)[:, 0].round(9).tolist()  # the last counts as half of 0.25
    [0.5, 0.25, 0.125]
    """

    learned = ("low_gap_", "high_gap_")

    def __init__(self, low, high, noise_width=0.0):
        wrong = np.flatnonzero(~(low < high))
        if len(wrong):
            j = wrong[0]
            raise ValueError(f"column {j}: low={low[j]} must be below high={high[j]}.")
        self.low, self.high = low, high
        self.noise_width = np.broadcast_to(noise_width, np.shape(low))

    def fit(self, X):
        parts = zip(X.T, self.low, self.high, self.noise_width, strict=True)
        gaps = [_gaps(*part) for part in parts]
        self.low_gap_, self.high_gap_ = np.array(gaps).T.copy()
        return self

    def check(self, n_features):
        for name in self.learned:
            check_ndarray(name, getattr(self, name), (n_features,), low=SMALLEST)
        # A value on one bound must not be moved beyond the other.
        if not np.all(self.low_gap_ + self.high_gap_ <= self.high - self.low):
            raise ValueError("low_gap_ and high_gap_ must fit between the bounds")

    def transform(self, X):
        Z, log_det = np.empty(X.shape), np.zeros(len(X))
        for j, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            gaps = self.low_gap_[j], self.high_gap_[j]
            Z[:, j], log_slope = _to_line(bounded(X[:, j]), low, high, *gaps)
            log_det += log_slope
        log_det[((X < self.low) | (X > self.high)).any(axis=1)] = -np.inf
        return Z, log_det

    def inverse_transform(self, Z):
        X = np.empty(Z.shape)
        for j, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            X[:, j] = np.clip(bounded(_from_line(Z[:, j], low, high)), low, high)
        return X


def _gaps(x, low, high, noise_width):
    """How far inside values on the lower and on the upper bound are moved."""
    inner = x[(x > low) & (x < high)]
    width = high - low
    if noise_width > 0:
        gap = min(noise_width, width) / 4
        return gap, gap
    if len(inner) == 0:
        gap = width / 4 if np.isfinite(width) else 1.0
        return gap, gap
    nearest = (inner.min() - low, high - inner.max())
    return [max(gap / 2, SMALLEST) if np.isfinite(gap) else 1.0 for gap in nearest]


def _to_line(x, low, high, low_gap, high_gap):
    """Value and log-slope of one column's map, both of the shape (n,) of x."""
    if np.isinf(low) and np.isinf(high):
        return x, np.zeros(len(x))
    width = high - low
    at_ends = [x <= low, x >= high]
    log_above = log_below = log_width = np.zeros(len(x))
    if np.isfinite(low):
        log_above = np.log(np.select(at_ends, [low_gap, width - high_gap], x - low))
    if np.isfinite(high):
        log_below = np.log(np.select(at_ends, [width - low_gap, high_gap], high - x))
    if np.isfinite(width):
        log_width = np.log(width)
    return log_above - log_below, log_width - log_above - log_below


def _from_line(z, low, high):
    if np.isinf(low) and np.isinf(high):
        return z
    if np.isinf(high):
        return low + np.exp(np.minimum(z, LARGEST_EXPONENT))
    if np.isinf(low):
        return high - np.exp(np.minimum(-z, LARGEST_EXPONENT))
    # From the nearer bound, so that small distances keep their digits.
    part = (high - low) * expit(-np.abs(z))
    return np.where(z < 0, low + part, high - part)
