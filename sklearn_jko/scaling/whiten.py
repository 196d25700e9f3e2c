"""Uncorrelated columns of unit variance, rotated as little as possible."""

import numpy as np

from sklearn_jko.checks import SMALLEST, check_ndarray, check_number
from sklearn_jko.statistics.columns import bounded, mean_and_scale, standardised, unstandardised
from sklearn_jko.statistics.covariance import held_out_losses, symmetric_roots

__all__ = ["Whiten"]

EIGENVALUE_FLOOR = 1e-9
SHRINKAGES = np.geomspace(1e-9, 1.0, 37)
MAX_FLOAT = np.finfo(float).max


class Whiten:
    """Standardise, then multiply by the inverse square root of a shrunk correlation matrix.

    The root is the symmetric one (zero-phase, or Mahalanobis, whitening), so every column stays
    close to itself.

    Attributes
    ----------
    mean_, scale_ : ndarrays of shape (d,)
    whitening_, colouring_ : ndarrays of shape (d, d)
        Symmetric, and each other's inverse.
    log_det_ : float
        log |det| of the whole map, in nats.
    """

    learned = ("mean_", "scale_", "whitening_", "colouring_", "log_det_")

    def fit(self, X):
        self.mean_, self.scale_ = mean_and_scale(X)
        correlation = _shrunk_correlation(standardised(X, self.mean_, self.scale_))
        self.whitening_, self.colouring_, log_det = symmetric_roots(correlation, EIGENVALUE_FLOOR)
        self.log_det_ = float(log_det - np.log(self.scale_).sum())
        return self

    def check(self, n_features):
        check_ndarray("mean_", self.mean_, (n_features,))
        check_ndarray("scale_", self.scale_, (n_features,), low=SMALLEST)
        check_ndarray("whitening_", self.whitening_, (n_features, n_features))
        check_ndarray("colouring_", self.colouring_, (n_features, n_features))
        check_number("log_det_", self.log_det_, -MAX_FLOAT, MAX_FLOAT)

    def transform(self, X):
        standard = standardised(X, self.mean_, self.scale_)
        return standard @ self.whitening_, np.full(len(X), self.log_det_)

    def inverse_transform(self, Z):
        with np.errstate(over="ignore"):
            coloured = bounded(Z @ self.colouring_)
        return unstandardised(coloured, self.mean_, self.scale_)


def _shrunk_correlation(standard):
    """Shrink the correlation matrix towards the identity, as far as held-out rows gain from it.

    Rules for the smallest squared error (Ledoit-Wolf, OAS) bury the small eigenvalues that matter
    for whitening: on 5,000 normal rows of 60 nearly collinear columns they lose 15 nats per row.
    """
    n, d = standard.shape
    shrinkages = SHRINKAGES[:, None]
    is_constant = ~standard.any(axis=0)

    def shrunk(eigenvalues, n_rows):
        return (1 - shrinkages) * eigenvalues / max(n_rows, 1) + shrinkages

    losses = held_out_losses(standard[:, ~is_constant], shrunk)
    shrinkage = SHRINKAGES[np.argmin(losses)]
    correlation = standard.T @ standard / n + np.diag(is_constant.astype(float))
    return (1 - shrinkage) * correlation + shrinkage * np.eye(d)
