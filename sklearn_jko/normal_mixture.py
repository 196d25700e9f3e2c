"""Mixtures of multivariate normal distributions."""

from typing import NamedTuple

import numpy as np
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
        inverses = np.linalg.inv(np.linalg.cholesky(self.covariances))
        parts = [
            np.log(weight) + log_normal((Z - mean) @ inverse.T, inverse)
            for weight, mean, inverse in zip(self.weights, self.means, inverses, strict=True)
        ]
        return logsumexp(parts, axis=0)

    def marginal(self, columns):
        """The mixture of some columns, a mask (d,)."""
        covariances = self.covariances[:, columns][:, :, columns]
        return NormalMixture(self.weights, self.means[:, columns], covariances)


def log_normal(scaled, inverse_root):
    """Log-density of normal rows (..., d) that were multiplied by the inverse root (..., d, d)."""
    diagonal = np.diagonal(inverse_root, axis1=-2, axis2=-1)
    constant = np.log(diagonal).sum(axis=-1) - 0.5 * np.log(2 * np.pi) * scaled.shape[-1]
    return constant - 0.5 * (scaled**2).sum(axis=-1)
