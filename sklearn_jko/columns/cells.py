"""Probabilities of integers under a density of real numbers."""

import math

import numpy as np
from numpy.polynomial.legendre import legvander
from scipy.stats import qmc
from sklearn.utils import gen_batches

__all__ = ["cell_log_probability"]

MIN_POINTS = 16
# Nats. Of eight tables with a count the mean log-probability is then within 0.00004 of that by 63
# points throughout, by 17 to 51 a row; a row moves by up to 0.005.
CLOSE = 5e-4
# Scrambled apart from each other, so that their scatter tells the error.
GROUPS = 8
POINTS_AT_ONCE = 65_536


def cell_log_probability(log_density, X, widths, n_points, seed):
    """Log-probability of each row's integers, with the density of its other columns.

    The integer k stands for its cell, the interval [k - w/2, k + w/2]: the result is the
    logarithm of the integral of the density over the cells of all integer columns. The mean of the
    density over the cells is taken at points that are the same for all rows, so that a row's
    result depends on that row and the seed only:

    - for one integer column by Fejer's second rule: of 15 points, and of twice as many and one
      where its error is more than 0.0005 nats, up to ``n_points - 1``. The error is told by the
      rule of half as many, which uses every other one, and is mostly overstated;
    - for more by scrambled Sobol points, in eight groups that are scrambled apart from each other;
      their scatter gives the standard error. The mean is unbiased, so that its logarithm is
      too low in expectation, by half of its squared error. Few points of many columns miss what
      weighs most: standard errors are then too low, and so are most logarithms. As all rows
      have the same points, their errors do not cancel out in a mean over rows.

    Parameters
    ----------
    log_density : callable
        From float64 rows (m, d) to their log-densities (m,), in nats.
    X : ndarray of shape (n, d)
    widths : ndarray of shape (d,)
        Width w of the cells, in the units of X: 1 for integers, 0 for a column that is none.
    n_points : int
        Points in each cell, at most for one integer column: a power of two of 16 or more.
    seed : int
        Of the scrambling.

    Returns
    -------
    log_probability : ndarray of shape (n,)
        In nats: a probability of the integer columns times a density of the others.
    standard_error : ndarray of shape (n,)
        Of the log-probability, in nats: 0 where the density is zero at all points.

    Raises
    ------
    ValueError
        If `n_points` is no power of two of 16 or more.

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
    is_one = len(columns) == 1
    rules = _fejer_rules(n_points) if is_one else [_sobol_rule(len(columns), n_points, seed)]
    log_mean, error = np.empty(len(X)), np.empty(len(X))
    for part in gen_batches(len(X), max(POINTS_AT_ONCE // n_points, 1)):
        log_mean[part], error[part] = _in_cells(log_density, X[part], widths, columns, rules)
    return log_mean + np.log(widths[columns]).sum(), error


def _in_cells(log_density, X, widths, columns, rules):
    """Logarithm of the mean over each row's cells, by the first rule close enough, and its error.

    Every rule but the first is of the points before, which become every other one of its own.
    """
    log_mean, error = np.empty(len(X)), np.full(len(X), np.inf)
    values, active = np.empty((len(X), 0)), np.arange(len(X))
    for points, weights, contrasts in rules:
        n_known = values.shape[1]
        is_new = np.ones(len(points), dtype=bool)
        is_new[1 : 2 * n_known : 2] = False
        offsets = np.zeros((is_new.sum(), X.shape[1]))
        offsets[:, columns] = points[is_new] * widths[columns]
        rows = (X[active, None, :] + offsets).reshape(-1, X.shape[1])
        of_all = np.empty((len(active), len(points)))
        of_all[:, ~is_new] = values
        of_all[:, is_new] = log_density(rows).reshape(len(active), -1)
        log_mean[active], error[active] = _log_mean_and_error(of_all, weights, contrasts)
        is_open = error[active] > CLOSE
        values, active = of_all[is_open], active[is_open]
        if len(active) == 0:
            break
    return log_mean, error


def _log_mean_and_error(log_values, weights, contrasts):
    """Logarithm of the weighted mean of each row, and its error by the contrasts."""
    largest = log_values.max(axis=1, keepdims=True)
    values = np.exp(log_values - np.where(np.isfinite(largest), largest, 0.0))
    # Not by a matrix product, whose rounding depends on the number of rows.
    mean = (values * weights).sum(axis=1)
    squares = sum((values * contrast).sum(axis=1) ** 2 for contrast in contrasts)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(mean > 0, np.sqrt(squares) / mean, 0.0)  # there is nothing to estimate
        return np.log(mean) + largest[:, 0], error


def _fejer_rules(n_points):
    """Rules of 15, 31 and more points, each of which holds those of the one before.

    Each is points within [-1/2, 1/2], their weights, and one contrast: the coarse rule's
    difference.
    """
    rules, n = [], MIN_POINTS
    while n <= n_points:
        nodes = np.cos(np.arange(1, n) * math.pi / n)
        weights, coarse = _weights_of(nodes), np.zeros(n - 1)
        coarse[1::2] = _weights_of(nodes[1::2])
        rules.append((nodes[:, None] / 2, weights, [weights - coarse]))
        n *= 2
    return rules


def _weights_of(nodes):
    """Those that give the mean over [-1, 1] of every polynomial through the nodes."""
    means_of_legendre = np.eye(len(nodes))[0]
    return np.linalg.solve(legvander(nodes, len(nodes) - 1).T, means_of_legendre)


def _sobol_rule(n_columns, n_points, seed):
    """Points within [-1/2, 1/2], their weights, and contrasts: each group's share of the error."""
    size = n_points // GROUPS
    random_state = np.random.default_rng(seed)
    groups = [
        qmc.Sobol(n_columns, scramble=True, seed=random_state).random(size) for _ in range(GROUPS)
    ]
    weights = np.full(n_points, 1 / n_points)
    in_group = np.repeat(np.eye(GROUPS), size, axis=1) / size
    contrasts = (in_group - weights) / math.sqrt(GROUPS * (GROUPS - 1))
    return np.concatenate(groups) - 0.5, weights, contrasts
