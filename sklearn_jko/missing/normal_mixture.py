"""Mixtures fitted to held-out rows, and what they say of some columns given others."""

import numpy as np
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from sklearn_jko.missing.incomplete_normal import fit_normal, shrunk
from sklearn_jko.normal_mixture import NormalMixture, log_normal

__all__ = ["ConditionalMixture", "fit_mixture", "some_rows"]

MAX_ROWS = 10_000
N_COMPONENTS = (1, 2, 5, 10, 20)
MIN_ROWS = 20  # for each component
HELD_OUT = 5  # every fifth row


class ConditionalMixture:
    """The mixture of some columns given the others, which is one of normal distributions again.

    Parameters
    ----------
    mixture : NormalMixture
    missing : ndarray of shape (d,), bool

    Attributes
    ----------
    weights : ndarray of shape (k,)
        Of the mixture itself.
    roots, inverse_roots : ndarrays of shape (k, m, m)
        Lower triangular roots of the covariances of the missing columns, whatever the values of the
        others are, and their inverses.
    """

    def __init__(self, mixture, missing):
        seen = ~missing
        self.weights = mixture.weights
        self._seen_means, self._means = mixture.means[:, seen], mixture.means[:, missing]
        covariances = mixture.covariances
        across = covariances[:, seen][:, :, missing]
        self._inverses = np.linalg.inv(np.linalg.cholesky(covariances[:, seen][:, :, seen]))
        scaled = self._inverses @ across
        self._regressions = np.swapaxes(scaled, 1, 2)
        remaining = covariances[:, missing][:, :, missing] - self._regressions @ scaled
        self.roots = np.linalg.cholesky(remaining)
        self.inverse_roots = np.linalg.inv(self.roots)

    def given(self, z):
        """Log-weights (..., k) and means (..., k, m) of components, given values (..., d - m).

        A row's result depends on its values alone, to the last bit.
        """
        scaled = self._inverses @ (z[..., None, :] - self._seen_means)[..., None]
        log_weights = np.log(self.weights) + log_normal(scaled[..., 0], self._inverses)
        means = self._means + (self._regressions @ scaled)[..., 0]
        return log_weights - logsumexp(log_weights, axis=-1, keepdims=True), means


def fit_mixture(Z, seed):
    """The mixture, of 1 to 20 components, that suits held-out rows best, by a standard error.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Columns of about zero mean and unit variance, rows in any random order. At most 10,000 rows
        are taken, evenly spaced.
    seed : int

    Returns
    -------
    mixture : NormalMixture
        With covariances as of `shrunk`.
    """
    Z = some_rows(Z)
    most = max(len(np.unique(Z, axis=0)) // MIN_ROWS, 1)
    held_out = np.arange(len(Z)) % HELD_OUT == HELD_OUT - 1
    if most == 1:
        return _fitted(Z, 1, seed)
    best, log_density = None, None
    for k in N_COMPONENTS:
        if k <= most:
            mixture = _fitted(Z[~held_out], k, seed)
            found = mixture.log_density(Z[held_out])
            if best is None or _is_better(found, log_density):
                best, log_density = mixture, found
    return best


def _is_better(found, before):
    """Whether rows gain more than a standard error: a chance gain costs what it does not know."""
    gain = found - before
    return gain.mean() > gain.std() / np.sqrt(len(gain))


def some_rows(Z):
    """At most 10,000 of the rows, evenly spaced."""
    return Z[:: -(-len(Z) // MAX_ROWS)]


def _fitted(Z, n_components, seed):
    if n_components == 1:
        mean, covariance = fit_normal(Z)
        return NormalMixture(np.ones(1), mean[None], covariance[None])
    fitted = GaussianMixture(n_components, tol=1e-2, max_iter=1000, random_state=seed).fit(Z)
    covariances = [
        shrunk(covariance, weight * len(Z))
        for weight, covariance in zip(fitted.weights_, fitted.covariances_, strict=True)
    ]
    return NormalMixture(fitted.weights_, fitted.means_, np.stack(covariances))
