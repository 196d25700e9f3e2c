"""Whitened rows, stretched to the radii of a normal sample."""

import numpy as np
from scipy.special import gammainc, gammaincinv

from sklearn_jko.scaling._knots import fit_spline
from sklearn_jko.scaling._spline import (
    IDENTITY,
    check_splines,
    evaluate,
    invert,
    with_slope_beyond,
)
from sklearn_jko.statistics.columns import LARGEST_EXPONENT, bounded

__all__ = ["Radial"]

# Smallest slopes of log |z| by log |x|: in the tail, and beyond the rows of the sample, where draws
# would otherwise come too far out.
FLATTEST_TAIL, FLATTEST_BEYOND = 0.05, 0.3


class Radial:
    """Stretch every row along its direction, to the lengths of standard normal rows.

    With u = log |x| and v = log |z| an increasing spline of u, log |det dz/dx| = log dv/du + d (v -
    u). Within the lowest knot the map is linear (x = 0 included); beyond the highest, |z| is a
    power of |x|.

    Parameters
    ----------
    share : float, default=1
        Share of the rows in `fit` that add information.

    Attributes
    ----------
    spline_ : ndarray of shape (3, k)
        From u to v (see `_spline`).

    References
    ----------
    Lyu and Simoncelli (2009), Nonlinear extraction of independent components of natural images
    using radial Gaussianization, Neural Computation 21.
    """

    learned = ("spline_",)

    def __init__(self, share=1.0):
        self.share = share

    def fit(self, X):
        half = X.shape[1] / 2
        radius = _radius(X)
        radius = radius[radius > 0]
        self.spline_ = IDENTITY.copy()
        if len(radius):
            self.spline_ = fit_spline(
                np.log(radius),
                lambda probability: np.log(2 * gammaincinv(half, probability)) / 2,
                lambda v: gammainc(half, np.exp(2 * np.minimum(v, 300.0)) / 2),
                max(self.share * len(radius), 1.0),
            )
        self.spline_[2, 0] = 1.0
        self.spline_[2, -1] = np.clip(self.spline_[2, -1], FLATTEST_TAIL, 1.0)
        if self.spline_[2, -1] < FLATTEST_BEYOND:
            longest = np.log(radius.max())
            self.spline_ = with_slope_beyond(self.spline_, longest, FLATTEST_BEYOND)
        return self

    def check(self, n_features):
        check_splines("spline_", self.spline_, np.array([0, np.size(self.spline_) // 3]))

    def transform(self, X):
        # Where the map is linear every length gives the same stretch, so zero may stand for the
        # lowest knot.
        u = np.log(np.maximum(_radius(X), np.exp(self.spline_[0, 0])))
        v, log_slope = evaluate(self.spline_, u)
        return _stretched(X, v - u), log_slope + X.shape[1] * (v - u)

    def inverse_transform(self, Z):
        v = np.log(np.maximum(_radius(Z), np.exp(self.spline_[1, 0])))
        u = invert(self.spline_, v)
        return _stretched(Z, u - v)


def _stretched(X, log_factor):
    with np.errstate(over="ignore"):
        return bounded(X * np.exp(np.minimum(log_factor, LARGEST_EXPONENT))[:, None])


def _radius(X):
    X = bounded(X)
    largest = np.abs(X).max(axis=1)
    unit = np.where(largest > 0, largest, 1.0)
    return unit * np.linalg.norm(X / unit[:, None], axis=1)
