"""Columns whose far values are pulled in."""

import numpy as np

from sklearn_jko.checks import SMALLEST, check_ndarray
from sklearn_jko.statistics.columns import (
    CENTRAL_RANGES,
    median_and_spread,
    standardised,
    unstandardised,
)

__all__ = ["REACH", "Tails"]

# In spreads from the median: values of normal columns are within.
REACH = 10.0
# Beyond the farthest value of a sample that has values beyond ten, the logarithm is multiplied by
# three: with plain logarithms, draws from a normal cluster of such values came up to 1e20 times as
# far out. In columns without such values, a far value must cost no more than its plain logarithm.
STEEPER = 3.0


class Tails:
    """Subtract each column's median, divide by its spread, and pull in values beyond ten spreads.

    There a distance z from the median becomes 10 + log(1 + z - 10), so that single values far from
    all others do not set the scale of a column, but stay outside of all others. Beyond the farthest
    value f of the sample, if that is beyond ten, the logarithm continues as 3 log(1 + (z - f) / (3
    (1 + f - 10))). The spread is that of the inner nine tenths.

    Attributes
    ----------
    median_, spread_ : ndarrays of shape (d,)
    farthest_ : ndarray of shape (d,)
        Distance of the farthest value from the median in spreads, at least ten.
    """

    learned = ("median_", "spread_", "farthest_")

    def fit(self, X):
        self.median_, self.spread_ = median_and_spread(X, CENTRAL_RANGES[1:])
        ends = standardised(np.stack([X.min(axis=0), X.max(axis=0)]), self.median_, self.spread_)
        self.farthest_ = np.abs(ends).max(axis=0).clip(REACH)
        return self

    def check(self, n_features):
        check_ndarray("median_", self.median_, (n_features,))
        check_ndarray("spread_", self.spread_, (n_features,), low=SMALLEST)
        check_ndarray("farthest_", self.farthest_, (n_features,), low=REACH)

    def transform(self, X):
        Z = standardised(X, self.median_, self.spread_)
        distance, scale = np.abs(Z), self._scale_beyond
        inner = np.log1p(np.maximum(np.minimum(distance, self.farthest_) - REACH, 0.0))
        outer = np.log1p(np.maximum(distance - self.farthest_, 0.0) / scale)
        log_det = -(np.log(self.spread_) + inner + outer).sum(axis=1)
        return Z.clip(-REACH, REACH) + np.copysign(inner + self.steepness * outer, Z), log_det

    def inverse_transform(self, Z):
        last = np.log1p(self.farthest_ - REACH)
        beyond = np.maximum(np.abs(Z) - REACH, 0.0)
        inner, outer = np.expm1(np.minimum(beyond, last)), np.maximum(beyond - last, 0.0)
        with np.errstate(over="ignore"):
            outer = self._scale_beyond * np.expm1(outer / self.steepness)
        distance = Z.clip(-REACH, REACH) + np.copysign(inner + outer, Z)
        return unstandardised(distance, self.median_, self.spread_)

    @property
    def steepness(self):
        """Factor of the logarithm beyond the farthest value, shape (d,)."""
        return np.where(self.farthest_ > REACH, STEEPER, 1.0)

    @property
    def _scale_beyond(self):
        return self.steepness * (1 + self.farthest_ - REACH)
