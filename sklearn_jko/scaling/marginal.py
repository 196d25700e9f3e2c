"""Columns made normal, each on its own."""

import numpy as np
from scipy.special import ndtr, ndtri

from sklearn_jko.checks import SMALLEST, check_ndarray
from sklearn_jko.scaling._knots import fit_spline
from sklearn_jko.scaling._spline import (
    check_splines,
    evaluate,
    invert,
    mirrored,
    with_slope_beyond,
)
from sklearn_jko.statistics.columns import LARGEST_EXPONENT, bounded, median_and_spread

__all__ = ["Marginal"]

# Held-out likelihood is flat between 1 and 3 spreads: normal columns gain from more, Student
# columns from less.
LINEAR_RANGE = 2.0
# Beyond the rows of the sample the slope of a tail is at least this, in deviations per factor of e
# in x: with the slope of a gap before an outlier, draws came 1e19 times as far out. New rows with
# heavy tails, up to Cauchy's, lose nothing by it (at most 0.01 nats for four columns).
LEAST_SLOPE = 1.0
# Farther out than any likely row, `LIKELY_EXCESS` deviations beyond where the first and last of the
# sample belong, a tail is no steeper than a normal column at its centre: otherwise the tail at a
# sharp edge would carry a row just outside it a thousand deviations out.
LIKELY_EXCESS, TAIL_SLOPE = 1.5, LINEAR_RANGE


class Marginal:
    """Map each column to a standard normal by a spline of u = asinh((x - centre) / spread).

    Beyond the outer knots the map is linear in u, so logarithmic in x, and gentle: gross outliers
    stay finite and keep their order. Beyond the sample it is not too gentle: draws do not go far
    beyond the sample.

    Parameters
    ----------
    share : float, default=1
        Share of the rows in `fit` that add information.

    Attributes
    ----------
    centre_, spread_ : ndarrays of shape (d,)
    splines_ : ndarray of shape (3, k)
        The columns' splines side by side (see `_spline`).
    starts_ : ndarray of shape (d + 1,), int
        Column j's spline is `splines_[:, starts_[j]:starts_[j + 1]]`.
    """

    learned = ("centre_", "spread_", "splines_", "starts_")

    def __init__(self, share=1.0):
        self.share = share

    def fit(self, X):
        n_rows = max(self.share * len(X), 1.0)
        self.centre_, spread = median_and_spread(X)
        self.spread_ = LINEAR_RANGE * spread
        likely = LIKELY_EXCESS - ndtri(0.5 / n_rows)
        splines = [
            _with_tails(fit_spline(inner, ndtri, ndtr, n_rows), inner, likely)
            for inner in (self._inner(bounded(X[:, j]), j) for j in range(X.shape[1]))
        ]
        self.splines_ = np.concatenate(splines, axis=1)
        self.starts_ = np.cumsum([0] + [spline.shape[1] for spline in splines])
        return self

    def check(self, n_features):
        check_ndarray("centre_", self.centre_, (n_features,))
        check_ndarray("spread_", self.spread_, (n_features,), low=SMALLEST)
        n_knots = np.size(self.splines_) // 3
        check_ndarray("starts_", self.starts_, (n_features + 1,), 0, n_knots, dtype=np.int64)
        check_splines("splines_", self.splines_, self.starts_)

    def transform(self, X):
        Z, log_det = np.empty(X.shape), np.zeros(len(X))
        for j in range(X.shape[1]):
            column = bounded(np.ascontiguousarray(X[:, j]))
            Z[:, j], log_slope = evaluate(self._spline(j), self._inner(column, j))
            log_det += log_slope - np.log(np.hypot(column - self.centre_[j], self.spread_[j]))
        return Z, log_det

    def inverse_transform(self, Z):
        X = np.empty(Z.shape)
        for j in range(Z.shape[1]):
            with np.errstate(over="ignore"):
                inner = invert(self._spline(j), np.ascontiguousarray(Z[:, j]))
                outer = self.spread_[j] * np.sinh(
                    np.clip(inner, -LARGEST_EXPONENT, LARGEST_EXPONENT)
                )
                X[:, j] = bounded(self.centre_[j] + outer)
        return X

    def _spline(self, j):
        return self.splines_[:, self.starts_[j] : self.starts_[j + 1]]

    def _inner(self, column, j):
        deviation, spread = column - self.centre_[j], self.spread_[j]
        with np.errstate(over="ignore"):
            inner = np.arcsinh(deviation / spread)
        # The quotient can overflow where its logarithm does not.
        far = ~np.isfinite(inner)
        inner[far] = np.copysign(
            np.log(np.abs(deviation[far])) - np.log(spread / 2), deviation[far]
        )
        return inner


def _with_tails(spline, values, likely):
    upper = _with_upper_tail(spline, values.max(), likely)
    return mirrored(_with_upper_tail(mirrored(upper), -values.min(), likely))


def _with_upper_tail(spline, last, likely):
    """Bend the upper tail: a gentle one beyond the last value, a steep one where it is `likely`."""
    x, y, slope = spline[:, -1]
    if slope < LEAST_SLOPE:
        return with_slope_beyond(spline, last, LEAST_SLOPE)
    if slope > TAIL_SLOPE:
        return with_slope_beyond(spline, x + (likely - y) / slope, TAIL_SLOPE)
    return spline
