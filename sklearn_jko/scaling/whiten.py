"""Uncorrelated columns of unit variance, turned as little as possible."""

import numpy as np

from sklearn_jko.checks import SMALLEST, check_array, check_number
from sklearn_jko.column_statistics import bounded, mean_and_scale, standardised, unstandardised

__all__ = ["Whiten", "held_out_losses", "moments"]

EIGENVALUE_FLOOR = 1e-9
SHRINKAGES = np.geomspace(1e-9, 1.0, 37)
FOLDS = 5
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
        Of the whole map, in nats.
    """

    learned = ("mean_", "scale_", "whitening_", "colouring_", "log_det_")

    def fit(self, X):
        self.mean_, self.scale_ = mean_and_scale(X)
        correlation = _shrunk_correlation(standardised(X, self.mean_, self.scale_))
        eigenvalues, vectors = np.linalg.eigh(correlation)
        roots = np.sqrt(np.maximum(eigenvalues, EIGENVALUE_FLOOR * eigenvalues[-1]))
        self.whitening_ = (vectors / roots) @ vectors.T
        self.colouring_ = (vectors * roots) @ vectors.T
        self.log_det_ = float(-np.log(self.scale_).sum() - np.log(roots).sum())
        return self

    def check(self, n_features):
        check_array("mean_", self.mean_, (n_features,))
        check_array("scale_", self.scale_, (n_features,), low=SMALLEST)
        check_array("whitening_", self.whitening_, (n_features, n_features))
        check_array("colouring_", self.colouring_, (n_features, n_features))
        check_number("log_det_", self.log_det_, -MAX_FLOAT, MAX_FLOAT)

    def transform(self, X):
        standard = standardised(X, self.mean_, self.scale_)
        return standard @ self.whitening_, np.full(len(X), self.log_det_)

    def inverse_transform(self, Z):
        with np.errstate(over="ignore"):
            coloured = bounded(Z @ self.colouring_)
        return unstandardised(coloured, self.mean_, self.scale_)


def moments(rows):
    """Mean, with one row more at the origin, and scatter (d, d) around it."""
    mean = rows.sum(axis=0) / (len(rows) + 1)
    deviation = rows - mean
    return mean, deviation.T @ deviation


def held_out_losses(rows, variances):
    """Normal negative log-likelihood of rows that the moments have not seen, in five folds.

    There are fewer folds where these had less than two rows: of rows whose sum is zero, a single
    one lies in the span of the others. One fold, of up to three rows, has seen none.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Of about zero mean; copies of a row stand together.
    variances : callable
        From the eigenvalues (d,) of the scatter of n rows, and n, to the variances (k, d) that k
        rules make of them.

    Returns
    -------
    losses : ndarray of shape (k,)
        In nats, up to a constant.
    """
    losses, n_folds = 0.0, max(min(FOLDS, len(rows) // 2), 1)
    folds = np.arange(len(rows)) * n_folds // max(len(rows), 1)
    for fold in range(n_folds):
        train, held_out = rows[folds != fold], rows[folds == fold]
        mean, scatter = moments(train)
        eigenvalues, vectors = np.linalg.eigh(scatter)
        energy = (((held_out - mean) @ vectors) ** 2).sum(axis=0)
        of_rules = variances(np.maximum(eigenvalues, 0.0), len(train))
        losses += (energy / of_rules + len(held_out) * np.log(of_rules)).sum(axis=1) / 2
    return losses


def _shrunk_correlation(standard):
    """Pull the correlation matrix towards the identity as far as held-out rows gain by it.

    Rules for the least squared error (Ledoit-Wolf, OAS) drown the small eigenvalues that whitening
    is for: on 5,000 normal rows of 60 nearly collinear columns they lose 15 nats a row.
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
