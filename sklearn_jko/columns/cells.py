"""Probabilities of integers under a density of real numbers."""

import functools
import math

import numpy as np
from numpy.polynomial.legendre import legvander
from scipy.stats import qmc
from sklearn.utils import gen_batches

__all__ = ["cell_log_probability"]

MIN_POINTS = 16
# A row takes no more points when its estimated error is this small, in nats. On eight tables with a
# count that takes 17 to 51 points of Fejer's rule: the mean log-probability is then within 0.00004
# of that with 63 points throughout, that of a row within 0.005. For two or three columns, Sobol
# points overestimate their error several times: with 25 points per row, Poisson counts are off by
# 0.002.
CLOSE_BY_FEJER, CLOSE_BY_SOBOL = 5e-4, 0.02
# Groups of consecutive Sobol points, whose scatter gives the error.
GROUPS = 8
POINTS_AT_ONCE = 65_536


def cell_log_probability(log_density, X, widths, n_points, seed):
    """Log-probability of each row's integers, with the density of its other columns.

    The integer k stands for its cell, the interval [k - w/2, k + w/2]. The result is the logarithm
    of the integral of the density over the cells of all integer columns. It is estimated from the
    density at some points of the cells. All rows share these points: the result of a row depends
    only on that row and the seed, and averaging over rows does not cancel the error.

    Parameters
    ----------
    log_density : callable
        From float64 rows (m, d) to their log-densities (m,), in nats.
    X : ndarray of shape (n, d)
    widths : ndarray of shape (d,)
        Width w of the cells, in the units of X: 1 for integers, 0 for other columns.
    n_points : int
        Largest number of points in each cell: a power of two of 16 or more.
    seed : int
        Seed of the scrambling.

    Returns
    -------
    log_probability : ndarray of shape (n,)
        In nats: a probability of the integer columns times a density of the others.
    standard_error : ndarray of shape (n,)
        Standard error of the log-probability, in nats: 0 where the density is zero at all points.

    Raises
    ------
    ValueError
        If `n_points` is not a power of two of 16 or more.

    Notes
    -----
    One integer column is integrated by Fejer's second rule.

    - It starts with 15 points. While the error is more than 0.0005 nats, it goes on to twice as
      many plus one, up to ``n_points - 1``.
    - The error is the difference from the rule with half as many points, which are every other one
      of these. It is mostly too large.

    Several columns are integrated by scrambled Sobol points.

    - It starts with 16 points. While the error is more than 0.02 nats, their number is doubled, up
      to `n_points`.
    - The standard error comes from the scatter of eight groups of consecutive points.
    - With few columns it is several times too large, as the errors of the groups cancel out.
    - With twenty or more columns it is too small, as few points miss where the density is high.
    - The mean is unbiased, apart from the choice of the number of points. Its logarithm is too low
      in expectation, by half of its squared error.

    References
    ----------
    Theis, van den Oord and Bethge (2016), A note on the evaluation of generative models, ICLR, on
    densities of integers with uniform noise. Owen (1997), Scrambled net variance for integrals of
    smooth functions, Annals of Statistics 25. Waldvogel (2006), Fast construction of the Fejer and
    Clenshaw-Curtis quadrature rules, BIT 46.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import norm
    >>> from sklearn_jko.columns.cells import cell_log_probability
    >>> X = np.array([[0.0], [1.0]])
    >>> log_p, _ = cell_log_probability(
    ...     lambda rows: norm.logpdf(rows[:, 0]), X, np.ones(1), n_points=16, seed=0
    ... )
    >>> np.exp(log_p).round(6).tolist()
    [0.382925, 0.24173]
    """
    if n_points < MIN_POINTS or n_points & (n_points - 1):
        raise ValueError(f"n_points={n_points} must be a power of two, {MIN_POINTS} or more.")
    columns = np.flatnonzero(widths)
    if len(columns) == 0:
        return log_density(X), np.zeros(len(X))
    if len(columns) == 1:
        rules, close = _fejer_rules(n_points), CLOSE_BY_FEJER
    else:
        rules, close = _sobol_rules(len(columns), n_points, seed), CLOSE_BY_SOBOL
    log_mean, error = np.empty(len(X)), np.empty(len(X))
    for part in gen_batches(len(X), max(POINTS_AT_ONCE // n_points, 1)):
        log_mean[part], error[part] = _in_cells(log_density, X[part], widths, columns, rules, close)
    return log_mean + np.log(widths[columns]).sum(), error


def _in_cells(log_density, X, widths, columns, rules, close):
    """Logarithm of the mean over each row's cells, by the first accurate rule, and its error.

    The points of each rule begin with those of the one before.
    """
    log_mean, error = np.empty(len(X)), np.full(len(X), np.inf)
    values, active = np.empty((len(X), 0)), np.arange(len(X))
    for points, weights, contrasts in rules:
        new = points[values.shape[1] :]
        offsets = np.zeros((len(new), X.shape[1]))
        offsets[:, columns] = new * widths[columns]
        rows = (X[active, None, :] + offsets).reshape(-1, X.shape[1])
        values = np.hstack([values, log_density(rows).reshape(len(active), -1)])
        log_mean[active], error[active] = _log_mean_and_error(values, weights, contrasts)
        is_open = error[active] > close
        values, active = values[is_open], active[is_open]
        if len(active) == 0:
            break
    return log_mean, error


def _log_mean_and_error(log_values, weights, contrasts):
    """Logarithm of the weighted mean of each row, and its error by the contrasts."""
    largest = log_values.max(axis=1, keepdims=True)
    values = np.exp(log_values - np.where(np.isfinite(largest), largest, 0.0))
    # Not a matrix product, whose rounding would depend on the number of rows.
    mean = (values * weights).sum(axis=1)
    squares = sum((values * contrast).sum(axis=1) ** 2 for contrast in contrasts)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(mean > 0, np.sqrt(squares) / mean, 0.0)  # there is nothing to estimate
        return np.log(mean) + largest[:, 0], error


@functools.lru_cache(maxsize=8)
def _fejer_rules(n_points):
    """Rules of 15, 31 and more points.

    Each is points within [-1/2, 1/2], their weights, and one contrast: the coarse rule's
    difference.
    """
    rules, n = [], MIN_POINTS
    nodes = np.cos(np.arange(1, n // 2) * math.pi / (n // 2))
    weights = _weights_of(nodes)
    while n <= n_points:
        coarse = np.r_[weights, np.zeros(n // 2)]
        nodes = np.r_[nodes, np.cos(np.arange(1, n, 2) * math.pi / n)]
        weights = _weights_of(nodes)
        rules.append((nodes[:, None] / 2, weights, [weights - coarse]))
        n *= 2
    return rules


def _weights_of(nodes):
    """Weights that give the mean over [-1, 1] of the interpolating polynomial."""
    means_of_legendre = np.eye(len(nodes))[0]
    return np.linalg.solve(legvander(nodes, len(nodes) - 1).T, means_of_legendre)


@functools.lru_cache(maxsize=8)
def _sobol_rules(n_columns, n_points, seed):
    """Rules of 16, 32 and more points within [-1/2, 1/2], with weights and contrasts.

    There is one contrast for each group: its share of the error.
    """
    sequence = qmc.Sobol(n_columns, scramble=True, seed=np.random.default_rng(seed))
    points = sequence.random(n_points) - 0.5
    rules, n = [], MIN_POINTS
    while n <= n_points:
        weights = np.full(n, 1 / n)
        in_group = np.repeat(np.eye(GROUPS), n // GROUPS, axis=1) / (n // GROUPS)
        contrasts = (in_group - weights) / math.sqrt(GROUPS * (GROUPS - 1))
        rules.append((points[:n], weights, contrasts))
        n *= 2
    return rules
