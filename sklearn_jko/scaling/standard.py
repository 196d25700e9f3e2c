"""Centred columns of unit variance."""

import numpy as np

from sklearn_jko.checks import SMALLEST, check_ndarray
from sklearn_jko.statistics.columns import mean_and_scale, standardised, unstandardised

__all__ = ["Standard"]


class Standard:
    """Subtract each column's mean and divide by its standard deviation.

    Attributes
    ----------
    mean_, scale_ : ndarrays of shape (d,)
        A constant column has scale 1.
    """

    learned = ("mean_", "scale_")

    def fit(self, X):
        self.mean_, self.scale_ = mean_and_scale(X)
        return self

    def check(self, n_features):
        check_ndarray("mean_", self.mean_, (n_features,))
        check_ndarray("scale_", self.scale_, (n_features,), low=SMALLEST)

    def transform(self, X):
        Z = standardised(X, self.mean_, self.scale_)
        return Z, np.full(len(X), -np.log(self.scale_).sum())

    def inverse_transform(self, Z):
        return unstandardised(Z, self.mean_, self.scale_)
