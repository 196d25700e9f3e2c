"""Uncorrelated columns of unit variance, turned as little as possible."""

import numpy as np

from sklearn_jko.checks import SMALLEST, check_array, check_number
from sklearn_jko.column_statistics import bounded, mean_and_scale

__all__ = ["Whiten"]

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
        correlation = _shrunk_correlation((X - self.mean_) / self.scale_)
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
        with np.errstate(over="ignore"):
            standard = bounded((X - self.mean_) / self.scale_)
        return standard @ self.whitening_, np.full(len(X), self.log_det_)

    def inverse_transform(self, Z):
        with np.errstate(over="ignore"):
            return bounded(bounded(Z @ self.colouring_) * self.scale_ + self.mean_)


def _shrunk_correlation(standard):
    """Pull the correlation matrix towards the identity as far as held-out rows gain by it.

    Rules for the least squared error (Ledoit-Wolf, OAS) drown the small eigenvalues that whitening
    is for: on 5,000 normal rows of 60 nearly collinear columns they lose 15 nats a row.
    """
    n, d = standard.shape
    total = standard.T @ standard
    constant = np.diag(np.diag(total) == 0).astype(float)
    folds = np.array_split(standard, min(FOLDS, n))  # copies of a row stand together
    losses = [
        _held_out_losses((total - fold.T @ fold) / max(n - len(fold), 1) + constant, fold)
        for fold in folds
    ]
    shrinkage = SHRINKAGES[np.argmin(np.sum(losses, axis=0))]
    return (1 - shrinkage) * (total / n + constant) + shrinkage * np.eye(d)


def _held_out_losses(correlation, rows):
    """Normal negative log-likelihood of the rows, up to a constant, for every shrinkage."""
    eigenvalues, vectors = np.linalg.eigh(correlation)
    shrunk = (1 - SHRINKAGES[:, None]) * np.maximum(eigenvalues, 0) + SHRINKAGES[:, None]
    energy = ((rows @ vectors) ** 2).sum(axis=0)
    return (energy / shrunk + len(rows) * np.log(shrunk)).sum(axis=1) / 2
