"""Columns made more symmetric by a power."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import boxcox1p, inv_boxcox1p

from sklearn_jko.checks import SMALLEST, check_ndarray
from sklearn_jko.statistics.columns import (
    bounded,
    mean_and_scale,
    median_and_spread,
    standardised,
    unstandardised,
)

__all__ = ["MAX_OUTER_SLOPE", "Power"]

EXPONENTS = (-3.0, 5.0)
MAX_STRETCH, MARGIN = 1e3, 1.1
# Largest slope of the line in which the curve outside ends, in units of the slope at the median.
MAX_OUTER_SLOPE = 1 / 8
SEARCH_ROWS = 10_000
LARGEST_SEARCHED = 1e6  # in spreads; its fifth power is far from overflow


class Power:
    """The Yeo-Johnson power of each column, between a robust and an ordinary standardisation.

    Outside the training range, and where the slope of the power leaves [1e-3, 1e3], it continues as
    a curve that ends in a straight line. So its image is all real numbers, while that of a plain
    Yeo-Johnson power is bounded for exponents below 0 or above 2. The line is gentle, so that a
    value far from all others costs no more likelihood than it must: a power that was bent by
    outliers on one side would be steep on the other.

    Attributes
    ----------
    centre_, spread_ : ndarrays of shape (d,)
    exponent_ : ndarray of shape (d,)
        The exponent in [-3, 5] with the largest normal likelihood.
    low_, high_ : ndarrays of shape (d,)
        Ends of the power, in units of the spread.
    mean_, scale_ : ndarrays of shape (d,)
        Mean and standard deviation of the powers.

    References
    ----------
    Yeo and Johnson (2000), A new family of power transformations, Biometrika 87.
    """

    learned = ("centre_", "spread_", "exponent_", "low_", "high_", "mean_", "scale_")

    def fit(self, X):
        self.centre_, self.spread_ = median_and_spread(X)
        inner = standardised(X, self.centre_, self.spread_)
        quantiles = _quantiles(inner)
        self.exponent_ = np.array([_likeliest_exponent(column) for column in quantiles.T])
        self.low_, self.high_ = _ends(quantiles, self.exponent_)
        power, _ = self._power(inner)
        self.mean_, self.scale_ = mean_and_scale(power)
        return self

    def check(self, n_features):
        for name in ("centre_", "low_", "mean_"):
            check_ndarray(name, getattr(self, name), (n_features,))
        for name in ("spread_", "scale_"):
            check_ndarray(name, getattr(self, name), (n_features,), low=SMALLEST)
        check_ndarray("exponent_", self.exponent_, (n_features,), *EXPONENTS)
        check_ndarray("high_", self.high_, (n_features,), low=self.low_)

    def transform(self, X):
        power, log_slope = self._power(standardised(X, self.centre_, self.spread_))
        log_slope -= np.log(self.spread_) + np.log(self.scale_)
        return standardised(power, self.mean_, self.scale_), log_slope.sum(axis=1)

    def inverse_transform(self, Z):
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            power = unstandardised(Z, self.mean_, self.scale_)
            low, high = _power(self.low_, self.exponent_), _power(self.high_, self.exponent_)
            inside = np.clip(power, low, high)
            inner = _root(inside, self.exponent_)
            slope = np.exp(_log_slope(inner, self.exponent_))
            inner += np.copysign(_distance(np.abs(power - inside), slope), power)
        return unstandardised(inner, self.centre_, self.spread_)

    def _power(self, inner):
        inside = np.clip(inner, self.low_, self.high_)
        slope = np.exp(_log_slope(inside, self.exponent_))
        rise, outer_slope = _outside(np.abs(inner - inside), slope)
        with np.errstate(over="ignore"):
            power = bounded(_power(inside, self.exponent_) + np.copysign(rise, inner))
        return power, np.log(outer_slope)


def _power(x, exponent):
    side = np.where(x < 0, 2 - exponent, exponent)
    return np.copysign(boxcox1p(np.abs(x), side), x)


def _root(y, exponent):
    side = np.where(y < 0, 2 - exponent, exponent)
    return np.copysign(inv_boxcox1p(np.abs(y), side), y)


def _log_slope(x, exponent):
    return (np.where(x < 0, 2 - exponent, exponent) - 1) * np.log1p(np.abs(x))


def _outside(distance, slope):
    """Rise of the curve at a distance from an end with this slope, and its slope there."""
    least = np.minimum(slope, MAX_OUTER_SLOPE)
    share = 1 / (1 + distance)  # the steeper part fades within a spread
    return distance * (least + (slope - least) * share), least + (slope - least) * share**2


def _distance(rise, slope):
    """The inverse of the rise, a root of a quadratic equation."""
    least = np.minimum(slope, MAX_OUTER_SLOPE)
    ahead = rise - slope
    root = np.hypot(ahead, 2 * np.sqrt(least * rise))
    return np.where(ahead > 0, (root + ahead) / (2 * least), 2 * rise / (root - ahead))


def _quantiles(X):
    ranks = np.linspace(0, len(X) - 1, min(len(X), SEARCH_ROWS)).astype(int)
    return np.sort(np.ascontiguousarray(X.T), axis=1)[:, ranks].T


def _likeliest_exponent(x):
    """Minimise the normal negative log-likelihood of one column's powers."""
    if x[0] == x[-1]:
        return 1.0
    x = np.clip(x, -LARGEST_SEARCHED, LARGEST_SEARCHED)

    def loss(exponent):
        deviation = _power(x, exponent).std()
        return np.log(max(deviation, 1e-300)) - _log_slope(x, exponent).mean()

    return minimize_scalar(loss, bounds=EXPONENTS, method="bounded", options={"xatol": 1e-4}).x


def _ends(quantiles, exponent):
    """The training range, a tenth wider, as far as the slope stays within MAX_STRETCH of 1."""
    # Each end by its own distance from the median: outliers on one side do not widen the other.
    low, high = MARGIN * quantiles[0] - 1e-3, MARGIN * quantiles[-1] + 1e-3
    with np.errstate(over="ignore", divide="ignore"):
        reach = bounded(np.expm1(np.log(MAX_STRETCH) / np.abs(exponent - 1)))
    return np.maximum(low, -reach), np.minimum(high, reach)
