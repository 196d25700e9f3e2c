"""Columns whose far values are drawn in."""

import numpy as np

from sklearn_jko.checks import SMALLEST, check_array
from sklearn_jko.column_statistics import (
    CENTRAL_RANGES,
    median_and_spread,
    standardised,
    unstandardised,
)

__all__ = ["REACH", "Tails"]

# In spreads, from the median: values of normal columns lie within.
REACH = 10.0


class Tails:
    """Subtract each column's median, divide by its spread, and draw in what is beyond ten of them.

    There a distance z from the median becomes 10 + log(1 + z - 10), so that single values far from
    all others neither set the scale of a column nor lose their place outside. The spread is that of
    the inner nine tenths.

    Attributes
    ----------
    median_, spread_ : ndarrays of shape (d,)
    """

    learned = ("median_", "spread_")

    def fit(self, X):
        self.median_, self.spread_ = median_and_spread(X, CENTRAL_RANGES[1:])
        return self

    def check(self, n_features):
        check_array("median_", self.median_, (n_features,))
        check_array("spread_", self.spread_, (n_features,), low=SMALLEST)

    def transform(self, X):
        Z = standardised(X, self.median_, self.spread_)
        log_stretch = np.log1p(np.maximum(np.abs(Z) - REACH, 0.0))
        log_det = -(np.log(self.spread_) + log_stretch).sum(axis=1)
        return Z.clip(-REACH, REACH) + np.copysign(log_stretch, Z), log_det

    def inverse_transform(self, Z):
        with np.errstate(over="ignore"):
            beyond = np.expm1(np.maximum(np.abs(Z) - REACH, 0.0))
        distance = Z.clip(-REACH, REACH) + np.copysign(beyond, Z)
        return unstandardised(distance, self.median_, self.spread_)
