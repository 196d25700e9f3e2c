"""Mixtures of multivariate normal distributions."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

__all__ = ["NormalMixture", "log_normal"]


class NormalMixture(NamedTuple):
    """A mixture of k normal distributions of d columns.

    Attributes
    ----------
    weights : ndarray of shape (k,)
    means : ndarray of shape (k, d)
    covariances : ndarray of shape (k, d, d)
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @classmethod
    def single(cls, mean, covariance):
        """One normal distribution, of a mean (d,) and a covariance (d, d)."""
        return cls(np.ones(1), mean[None], covariance[None])

    def log_density(self, Z):
        """Log-density (n,), in nats, of rows (n, d)."""
        roots = np.linalg.cholesky(self.covariances)
        parts = [
            np.log(weight) + log_normal(_divided(Z - mean, root), np.diag(root))
            for weight, mean, root in zip(self.weights, self.means, roots, strict=True)
        ]
        return logsumexp(parts, axis=0)

    def marginal(self, columns):
        """The mixture of some columns, a mask (d,)."""
        covariances = self.covariances[:, columns][:, :, columns]
        return NormalMixture(self.weights, self.means[:, columns], covariances)


def log_normal(scaled, diagonal):
    """Log-density of normal rows (..., d) that were divided by their covariance's root.

    Of this triangular root the diagonal (..., d) is enough.
    """
    constant = np.log(diagonal).sum(axis=-1) + 0.5 * np.log(2 * np.pi) * scaled.shape[-1]
    return -constant - 0.5 * (scaled**2).sum(axis=-1)


def _divided(rows, root):
    """Rows (n, d) times the transposed inverse of a lower triangular root (d, d)."""
    return solve_triangular(root, rows.T, lower=True, check_finite=False).T
