"""Clusters of rows: as many normal distributions as suit held-out rows best."""

import itertools

import numpy as np
from sklearn.mixture import GaussianMixture

from sklearn_jko.normal_mixture import NormalMixture
from sklearn_jko.thinning import evenly_spread

__all__ = ["fit_clusters"]

N_CLUSTERS = (2, 3, 5, 8, 12, 18, 27, 40, 60, 90)
# Rings and spirals gain nothing from a few clusters, and much from many.
MAX_FAILURES = 3
MIN_ROWS_PER_COLUMN = 2  # of a cluster, on average
MAX_ROWS, MAX_VALUES = 20_000, 100_000  # that clusters are fitted to
MAX_ROWS_OF_SEARCH = 4_000  # that choose their number
MIN_ROWS = 20
HELD_OUT = 4  # the last fourth: copies of a row, which stand together, stay together
# From several starts: of many clusters any start finds as good a fit, and takes longer.
RESTARTS, CLUSTERS_FOR_RESTARTS, VALUES_FOR_RESTARTS = 5, 12, 20_000
# Made-up rows of the pooled covariance, per column, beside each cluster's own.
POOLING = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
ALL = 1e6  # a single cluster's covariance is the pooled one
# Of all covariances towards their diagonal.
SHRINKAGES = (1e-6, 1e-4, 1e-2, 0.1, 0.5)
FLOOR = 1e-6  # of a variance, in standardised columns
# Of the rows. The last ones, which are others in other units, would lead EM to other clusters.
DIGITS = 9


def fit_clusters(Z, seed=0):
    """The normal mixture of 1 to 90 clusters that suits held-out rows best, and all rows as one.

    Covariances of clusters are pulled towards their mean, and this to its diagonal, each as far as
    suits held-out rows best.

    Parameters
    ----------
    Z : ndarray of shape (n, d), n >= 1
        Columns of about zero mean and unit variance, rows in any random order. At most 20,000 rows
        and 100,000 values are taken, evenly spaced, and 4,000 rows to choose the number.
    seed : int

    Returns
    -------
    clusters, alone : NormalMixture
    """
    Z = evenly_spread(Z, max(min(MAX_ROWS, MAX_VALUES // Z.shape[1]), 2)).round(DIGITS)
    if len(Z) < MIN_ROWS:
        alone = _regular(_by_em(Z, 1, seed), len(Z), ALL, SHRINKAGES[-1])
        return alone, alone
    n_clusters, pooling, shrinkage = _best(evenly_spread(Z, MAX_ROWS_OF_SEARCH), seed)
    alone = _regular(_by_em(Z, 1, seed), len(Z), ALL, shrinkage)
    return _regular(_by_em(Z, n_clusters, seed), len(Z), pooling, shrinkage), alone


def _best(Z, seed):
    """The number of clusters, the pooling and the shrinkage that suit held-out rows best."""
    n_train = len(Z) - len(Z) // HELD_OUT
    train, held_out = Z[:n_train], Z[n_train:]

    def best_of(k, poolings, shrinkages):
        """Mean log-density of held-out rows, and what pooling and shrinkage give it."""
        found = _by_em(train, k, seed)
        return max(
            (_regular(found, n_train, *pull).log_density(held_out).mean(), *pull)
            for pull in itertools.product(poolings, shrinkages)
        )

    best, pooling, shrinkage = best_of(1, [ALL], SHRINKAGES)
    n_clusters, failures = 1, 0
    most = len(np.unique(train, axis=0)) // (MIN_ROWS_PER_COLUMN * Z.shape[1])
    for k in (k for k in N_CLUSTERS if k <= most):
        gained, of_k, _ = best_of(k, POOLING, [shrinkage])
        if gained > best:
            best, n_clusters, pooling, failures = gained, k, of_k, 0
        elif (failures := failures + 1) == MAX_FAILURES:
            break
    return n_clusters, pooling, shrinkage


def _by_em(Z, k, seed):
    if k == 1:
        mean = Z.mean(axis=0)
        covariance = (Z - mean).T @ (Z - mean) / len(Z)
        return NormalMixture.single(mean, covariance)
    is_quick = k <= CLUSTERS_FOR_RESTARTS and Z.size <= VALUES_FOR_RESTARTS
    n_init = RESTARTS if is_quick else 1
    mixture = GaussianMixture(k, tol=1e-2, max_iter=1000, n_init=n_init, random_state=seed).fit(Z)
    return NormalMixture(mixture.weights_, mixture.means_, mixture.covariances_)


def _regular(mixture, n, pooling, shrinkage):
    """The clusters of n rows, covariances pulled to their mean, and this to its diagonal."""
    d = mixture.means.shape[1]
    pooled = np.einsum("k,kij->ij", mixture.weights, mixture.covariances)
    diagonal = np.diag(np.diag(pooled)) + (FLOOR + 1 / n**2) * np.eye(d)
    pooled = (1 - shrinkage) * pooled + shrinkage * diagonal
    rows, made_up = (mixture.weights * n)[:, None, None], pooling * d
    covariances = (rows * mixture.covariances + made_up * pooled) / (rows + made_up)
    return mixture._replace(covariances=covariances)
