"""Clusters of rows: a normal mixture whose number of components is chosen on held-out rows."""

import itertools
from typing import NamedTuple

import numpy as np
from sklearn.mixture import GaussianMixture

from sklearn_jko.statistics.normal_mixture import NormalMixture
from sklearn_jko.statistics.thinning import evenly_spread

__all__ = ["fit_clusters"]

N_CLUSTERS = (2, 3, 5, 8, 12, 18, 27, 40, 60, 90)
# Rings and spirals gain nothing from a few clusters, and much from many.
MAX_FAILURES = 3
MIN_ROWS = 4  # of a cluster, on average
# Where clusters have fewer rows for each column, EM looks for such as share a covariance.
MIN_ROWS_PER_COLUMN = 2
MAX_ROWS, MAX_VALUES = 20_000, 100_000  # to which clusters are fitted
MAX_ROWS_OF_SEARCH = 4_000  # with which their number is chosen
MIN_ROWS_OF_SEARCH = 20
HELD_OUT = 4  # the last quarter: copies of a row, which are adjacent, stay together
# EM has several starts for few clusters; for many, any start finds as good a fit, and takes longer.
RESTARTS, CLUSTERS_FOR_RESTARTS, VALUES_FOR_RESTARTS = 5, 12, 20_000
POOLING = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
ALL = 1e6  # a single cluster's covariance is the common one
SHRINKAGES = (1e-6, 1e-4, 1e-2, 0.1, 0.5, 1.0)
SHRINKAGE_OF_FEW = 0.5
SIZE_STEPS = 3  # from sizes to the common shape, and back
FLOOR = 1e-6  # of a variance, in standardised columns
# Rows are rounded to so many digits. Further digits depend on the units of the data, and would lead
# EM to other clusters in other units.
DIGITS = 9


class Pull(NamedTuple):
    """How far the covariances of clusters are pulled together.

    Attributes
    ----------
    pooling : float
        Number of prior rows with the common shape, per column, added to each cluster's own.
    shrinkage : float
        Of the common shape towards its diagonal, from 0 to 1.
    """

    pooling: float
    shrinkage: float


def fit_clusters(Z, seed=0):
    """The normal mixture of 1 to 90 clusters that fits held-out rows best, and that of one.

    The covariances of clusters are pulled towards a common shape with the cluster's own size, and
    this shape towards its diagonal, each as far as is best for held-out rows.

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
    if len(Z) < MIN_ROWS_OF_SEARCH:
        alone = _pulled(_single(Z), len(Z), Pull(ALL, SHRINKAGE_OF_FEW))
        return alone, alone
    some = evenly_spread(Z, MAX_ROWS_OF_SEARCH)
    train, held_out = np.split(some, [len(some) - len(some) // HELD_OUT])
    _, pull_alone = _best_pull(_single(train), len(train), held_out, [ALL], SHRINKAGES)
    n_clusters, pull = _best_number(train, held_out, pull_alone, seed)
    alone = _pulled(_single(Z), len(Z), pull_alone)
    return _pulled(_by_em(Z, n_clusters, seed), len(Z), pull), alone


def _best_number(train, held_out, pull, seed):
    """The number of clusters that fits held-out rows best, and its pull, starting from `pull`."""
    n = len(train)
    best, n_clusters, failures = _log_density(_single(train), n, pull, held_out), 1, 0
    most = len(np.unique(train, axis=0)) // MIN_ROWS
    for k in (k for k in N_CLUSTERS if k <= most):
        found = _by_em(train, k, seed)
        _, of_k = _best_pull(found, n, held_out, POOLING, [pull.shrinkage])
        gained, of_k = _best_pull(found, n, held_out, [of_k.pooling], SHRINKAGES)
        if gained > best:
            best, n_clusters, pull, failures = gained, k, of_k, 0
        elif (failures := failures + 1) == MAX_FAILURES:
            break
    return n_clusters, pull


def _best_pull(mixture, n, held_out, poolings, shrinkages):
    """The highest mean log-density of held-out rows, and the pull that gives it."""
    pulls = [Pull(*pair) for pair in itertools.product(poolings, shrinkages)]
    return max((_log_density(mixture, n, pull, held_out), pull) for pull in pulls)


def _log_density(mixture, n, pull, held_out):
    return _pulled(mixture, n, pull).log_density(held_out).mean()


def _single(Z):
    mean = Z.mean(axis=0)
    return NormalMixture.single(mean, (Z - mean).T @ (Z - mean) / len(Z))


def _by_em(Z, k, seed):
    if k == 1:
        return _single(Z)
    is_quick = k <= CLUSTERS_FOR_RESTARTS and Z.size <= VALUES_FOR_RESTARTS
    has_many_rows = len(np.unique(Z, axis=0)) >= MIN_ROWS_PER_COLUMN * Z.shape[1] * k
    found = GaussianMixture(
        k,
        covariance_type="full" if has_many_rows else "tied",
        tol=1e-2,
        max_iter=1000,
        n_init=RESTARTS if is_quick else 1,
        random_state=seed,
    ).fit(Z)
    if has_many_rows:
        return NormalMixture(found.weights_, found.means_, found.covariances_)
    return _of_shares(Z, found.predict_proba(Z))


def _of_shares(Z, shares):
    """Clusters of rows with these responsibilities (n, k)."""
    sizes = shares.sum(axis=0) + 10 * np.finfo(float).eps  # none is empty
    means = shares.T @ Z / sizes[:, None]
    covariances = [
        ((Z - mean).T * share) @ (Z - mean) / size
        for mean, share, size in zip(means, shares.T, sizes, strict=True)
    ]
    return NormalMixture(sizes / sizes.sum(), means, np.stack(covariances))


def _pulled(mixture, n, pull):
    """The clusters of n rows, their covariances pulled together."""
    k, d = mixture.means.shape
    shape, sizes = _common_shape(mixture, n, pull.shrinkage), np.ones(k)
    for _ in range(SIZE_STEPS if k > 1 else 0):
        sizes = np.einsum("kij,ji->k", mixture.covariances, np.linalg.inv(shape)) / d
        sizes = np.maximum(sizes, FLOOR)
        same_size = mixture._replace(covariances=mixture.covariances / sizes[:, None, None])
        shape = _common_shape(same_size, n, pull.shrinkage)
    if k > 1:
        shape = shape * n / max(n - k, 1)  # each cluster's mean has taken up a row's deviation
    rows, made_up = (mixture.weights * n)[:, None, None], pull.pooling * d
    pulled = rows * mixture.covariances + made_up * sizes[:, None, None] * shape
    return mixture._replace(covariances=pulled / (rows + made_up))


def _common_shape(mixture, n, shrinkage):
    """The mean covariance, pulled to its diagonal."""
    shape = np.einsum("k,kij->ij", mixture.weights, mixture.covariances)
    diagonal = np.diag(np.diag(shape)) + (FLOOR + 1 / n**2) * np.eye(len(shape))
    return (1 - shrinkage) * shape + shrinkage * diagonal
