"""Rows of normal mixtures, rows with gaps, and the exact density of what these show."""

import numpy as np

from sklearn_jko.statistics.normal_mixture import NormalMixture


def rows_of(mixture, n, seed=0):
    rng = np.random.default_rng(seed)
    component = rng.choice(len(mixture.weights), size=n, p=mixture.weights)
    noise = rng.normal(size=(n, mixture.means.shape[1], 1))
    roots = np.linalg.cholesky(mixture.covariances)[component]
    return mixture.means[component] + (roots @ noise)[:, :, 0]


def without_some(X, share, seed=0):
    """The rows without a share of their values."""
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


def observed_part(mixture, X):
    """Exact log-density of what each row shows."""
    parts = []
    for row in X:
        seen = np.flatnonzero(~np.isnan(row))
        covariances = mixture.covariances[:, seen][:, :, seen]
        marginal = NormalMixture(mixture.weights, mixture.means[:, seen], covariances)
        parts.append(marginal.log_density(row[None, seen])[0])
    return np.array(parts)
