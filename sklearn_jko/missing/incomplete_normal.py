"""Normal distributions for rows with missing values: fit and log-density."""

import numpy as np

from sklearn_jko.statistics.thinning import evenly_spread

__all__ = ["fit_normal", "marginal_log_density", "patterns", "shrunk"]

MAX_ITERATIONS = 30
# In units of the deviations. The result is only a start for others, and needs no more digits.
CLOSE = 1e-4
MAX_ROWS = 20_000
# An iteration solves one linear system for each.
MAX_PATTERNS = 2000


def fit_normal(Z):
    """Mean and covariance of rows with missing values, by the EM algorithm.

    In each iteration the missing values and their products are replaced by their means given the
    observed values.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Columns of about zero mean and unit variance, NaN where a value is missing. At most 20,000
        rows are taken, evenly spaced, and fewer if these hold more than 2,000 patterns.

    Returns
    -------
    mean : ndarray of shape (d,)
    covariance : ndarray of shape (d, d)
        Positive definite: see `shrunk`.

    References
    ----------
    Little and Rubin (2019), Statistical analysis with missing data, third edition, section 11.2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.missing.incomplete_normal import fit_normal
    >>> Z = np.random.default_rng(0).normal(size=(1000, 2))
    >>> Z[:300, 1] = np.nan
    >>> mean, covariance = fit_normal(Z)
    >>> covariance.shape
    (2, 2)
    """
    groups, n = _groups(Z)
    mean, covariance = np.zeros(Z.shape[1]), np.eye(Z.shape[1])
    for _ in range(MAX_ITERATIONS):
        shift, products = _expected_moments(groups, mean, covariance)
        last, covariance = covariance, shrunk(products / n - np.outer(shift, shift) / n**2, n)
        mean = mean + shift / n
        if max(np.abs(shift).max() / n, np.abs(covariance - last).max()) < CLOSE:
            break
    return mean, covariance


def shrunk(covariance, n):
    """The covariance of n rows and a few prior rows of independent, standard columns.

    There are 1 + d^2 / n prior rows: next to nothing for many rows, and about n where the rows are
    as few as the columns.
    """
    d = len(covariance)
    made_up = 1 + d**2 / n
    covariance = (covariance + covariance.T) / 2  # rounding leaves it askew
    return (n * covariance + made_up * np.eye(d)) / (n + made_up)


def patterns(missing):
    """Patterns of missing values: a list of patterns (d,), bool, with the indices of their rows."""
    # Ten times as fast by bits as by columns.
    _, first, pattern_of, counts = np.unique(
        np.packbits(missing, axis=1),
        axis=0,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    numbers = np.argsort(pattern_of.ravel(), kind="stable")
    return list(zip(missing[first], np.split(numbers, np.cumsum(counts))[:-1], strict=True))


def marginal_log_density(mixture, Z):
    """Log-density (n,), in nats, of the observed values of rows: 0 where all are missing.

    Parameters
    ----------
    mixture : sklearn_jko.statistics.normal_mixture.NormalMixture
    Z : ndarray of shape (n, d), finite or NaN
    """
    log_density = np.zeros(len(Z))
    for missing, rows in patterns(np.isnan(Z)):
        if not missing.all():
            observed = mixture.marginal(~missing)
            log_density[rows] = observed.log_density(Z[np.ix_(rows, ~missing)])
    return log_density


def _groups(Z):
    """Patterns with the observed values of their rows, and how many rows that is."""
    Z = Z[~np.isnan(Z).all(axis=1)]
    Z = evenly_spread(Z, MAX_ROWS)
    while len(found := patterns(np.isnan(Z))) > MAX_PATTERNS:
        Z = Z[::2]
    return [(missing, Z[np.ix_(rows, ~missing)]) for missing, rows in found], len(Z)


def _expected_moments(groups, mean, covariance):
    """Expected sums, over all rows, of the deviations from the mean and of their products."""
    sums, products = np.zeros(len(mean)), np.zeros(covariance.shape)
    for missing, values in groups:
        seen = ~missing
        across = covariance[np.ix_(seen, missing)]
        regression = np.linalg.solve(covariance[np.ix_(seen, seen)], across)
        deviations = np.empty((len(values), len(mean)))
        deviations[:, seen] = values - mean[seen]
        deviations[:, missing] = deviations[:, seen] @ regression
        sums += deviations.sum(axis=0)
        products += deviations.T @ deviations
        remaining = covariance[np.ix_(missing, missing)] - across.T @ regression
        products[np.ix_(missing, missing)] += len(values) * remaining
    return sums, products
