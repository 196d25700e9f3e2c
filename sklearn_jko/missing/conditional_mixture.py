"""Distribution of some columns of a normal mixture given the others."""

import numpy as np
from scipy.special import logsumexp

from sklearn_jko.statistics.normal_mixture import log_normal

__all__ = ["ConditionalMixture"]


class ConditionalMixture:
    """The distribution of some columns given the others, again a mixture of normal distributions.

    Parameters
    ----------
    mixture : sklearn_jko.statistics.normal_mixture.NormalMixture
    missing : ndarray of shape (d,), bool

    Attributes
    ----------
    weights : ndarray of shape (k,)
        Weights of the mixture itself.
    roots, inverse_roots : ndarrays of shape (k, m, m)
        Lower triangular roots of the conditional covariances of the missing columns, which do not
        depend on the values of the others, and their inverses.
    """

    def __init__(self, mixture, missing):
        seen = ~missing
        self.weights = mixture.weights
        self._seen_means, self._means = mixture.means[:, seen], mixture.means[:, missing]
        covariances = mixture.covariances
        across = covariances[:, seen][:, :, missing]
        seen_roots = np.linalg.cholesky(covariances[:, seen][:, :, seen])
        self._diagonals = np.diagonal(seen_roots, axis1=-2, axis2=-1)
        self._inverses = np.linalg.inv(seen_roots)
        scaled = self._inverses @ across
        self._regressions = np.swapaxes(scaled, 1, 2)
        remaining = covariances[:, missing][:, :, missing] - self._regressions @ scaled
        self.roots = np.linalg.cholesky(remaining)
        self.inverse_roots = np.linalg.inv(self.roots)

    def given(self, z):
        """Log-weights (..., k) and means (..., k, m) of components, given values (..., d - m).

        The result of a row does not depend on other rows, to the last bit.
        """
        scaled = self._inverses @ (z[..., None, :] - self._seen_means)[..., None]
        log_weights = np.log(self.weights) + log_normal(scaled[..., 0], self._diagonals)
        means = self._means + (self._regressions @ scaled)[..., 0]
        return log_weights - logsumexp(log_weights, axis=-1, keepdims=True), means
