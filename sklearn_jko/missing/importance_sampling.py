"""Log-densities of rows with missing values, and draws of these values, by importance sampling.

The density of the observed part is the mean of density / proposal over draws of the missing part
from a proposal distribution. Resampled with these weights, the draws follow the distribution given
the observed part. An observed integer is drawn too, uniformly from its cell.
"""

import functools
from itertools import islice
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp, ndtri, softmax
from scipy.stats import chi2, qmc

from sklearn_jko.missing.incomplete_normal import patterns
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.statistics.drawing import drawn_index

__all__ = ["draw_missing", "observed_log_density"]

# Independent scramblings of the draws, from which their error is estimated.
REPLICATES, BITS = 16, 30
# Digits of normal coordinates that are hashed: a row is then the same in other units.
DIGITS = 6
ROWS_AT_ONCE = 4096
# A twentieth of the draws takes its component by the mixture's own weights, in case those given the
# observed values are wrong, and a fifth is from Student's distribution instead of the normal one,
# whose tails may be thinner than the density's.
BLIND_SHARE = 0.05
STUDENT_SHARE, DEGREES_OF_FREEDOM = 0.2, 5.0
INSIDE = (2**-40, 1 - 2**-40)  # where quantile functions are finite


def observed_log_density(log_density, proposal, X, n_draws, seed, cell_width=0.0):
    """Log-density of the observed part of each row: log of the integral of p over the missing part.

    It is estimated by importance sampling with quasi-random draws (a scrambled Sobol sequence).
    The mean of the weights is unbiased; its logarithm is too low by about half its squared error.
    The draws depend only on the seed and the row, so the result of a row does not depend on other
    rows, if that of `log_density` does not. The points of different rows differ by a digital shift,
    so that errors cancel out on average over rows.

    Parameters
    ----------
    log_density : callable
        Maps complete rows (n, d), float64, to finite log-densities (n,) in nats.
    proposal : MarginalMixture
        Should be fitted to draws from the density, see `sklearn_jko.missing.marginal_mixture`.
    X : ndarray of shape (n, d), float64, finite or NaN
    n_draws : int
        Draws for each row: 16 times a power of two, so that the Sobol points are balanced.
    seed : int
    cell_width : ndarray of shape (d,) or float, default=0
        Width of the cells around observed values, over which the density is integrated; 0 for a
        column in which it is evaluated at the value. Rows without gaps are not integrated.

    Returns
    -------
    log_p : ndarray of shape (n,)
        Nats, in the units of the observed columns: 0 where all is missing.
    standard_error : ndarray of shape (n,)
        Of log_p: the deviation of the means of 16 independent parts of the draws, over 4 times the
        mean (delta method). 0 if nothing or everything is missing. Few parts hold the rare large
        weights: for normal rows of three to six columns, one value missing, the root mean square of
        error over standard error was 1.2 to 1.5. Above about 0.5 it is usually much too low:
        perhaps no draw came from where the density is high.

    Raises
    ------
    ValueError
        If `n_draws` is not 16 times a power of two.

    References
    ----------
    Owen (2013), Monte Carlo theory, methods and examples, chapters 9 and 17.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import multivariate_normal
    >>> from sklearn_jko.missing.marginal_mixture import MarginalMixture
    >>> from sklearn_jko.missing.importance_sampling import observed_log_density
    >>> normal = multivariate_normal(cov=[[1.0, 0.5], [0.5, 1.0]])
    >>> proposal = MarginalMixture().fit(normal.rvs(1000, random_state=0), seed=0)
    >>> X = np.array([[1.0, np.nan], [0.5, 0.0]])
    >>> log_p, error = observed_log_density(normal.logpdf, proposal, X, n_draws=256, seed=0)
    >>> bool(abs(log_p[0] - -1.4189) < 0.02)  # log N(1; 0, 1)
    True
    """
    size = n_draws // REPLICATES
    if size * REPLICATES != n_draws or size < 1 or size & (size - 1):
        raise ValueError(
            f"n_draws={n_draws} must be {REPLICATES} times a power of two, such as 256."
        )
    missing = np.isnan(X)
    log_p, error = np.zeros(len(X)), np.zeros(len(X))
    complete = ~missing.any(axis=1)
    if complete.any():
        log_p[complete] = log_density(X[complete])
    scrambled = _scrambled_points(size, X.shape[1] + 1, seed)
    hashes = hash_rows(proposal.transform(X)[0].round(DIGITS))
    partial = missing & ~missing.all(axis=1, keepdims=True)
    for rows, conditionals in _batches(proposal, partial, n_draws):
        points = [_shifted(scrambled, int(row)) for row in hashes[rows]]
        draws = _weighted_draws(log_density, proposal, X[rows], conditionals, points, cell_width)
        log_p[rows], error[rows] = _log_mean(draws.log_weights)
    return log_p, error


def draw_missing(log_density, proposal, X, n_proposals, random_state, cell_width=0.0):
    """Fill missing values with draws given the observed ones, by sampling-importance-resampling.

    Parameters
    ----------
    log_density : callable
        Maps complete rows (n, d), float64, to finite log-densities (n,) in nats.
    proposal : MarginalMixture
    X : ndarray of shape (n, d), float64, finite or NaN
        A row of NaN alone becomes a draw from the density.
    n_proposals : int
        Draws from the proposal for each row, one of which is taken. The more there are, and the
        better the proposal, the closer the result is to a draw given the observed values.
    random_state : numpy.random.Generator
    cell_width : ndarray of shape (d,) or float, default=0
        See `observed_log_density`.

    Returns
    -------
    completed : ndarray of shape (n, d)

    References
    ----------
    Rubin (1988), Using the SIR algorithm to simulate posterior distributions, in Bayesian
    Statistics 3.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.stats import multivariate_normal
    >>> from sklearn_jko.missing.marginal_mixture import MarginalMixture
    >>> from sklearn_jko.missing.importance_sampling import draw_missing
    >>> normal = multivariate_normal(cov=[[1.0, 0.5], [0.5, 1.0]])
    >>> proposal = MarginalMixture().fit(normal.rvs(1000, random_state=0), seed=0)
    >>> X = np.array([[1.0, np.nan], [0.5, 0.0]])
    >>> draw_missing(normal.logpdf, proposal, X, 64, np.random.default_rng(0)).shape
    (2, 2)
    """
    completed = X.copy()
    for rows, conditionals in _batches(proposal, np.isnan(X), n_proposals):
        shape = (len(rows), n_proposals, X.shape[1] + 1)
        uniform = random_state.random(shape).clip(*INSIDE)
        draws = _weighted_draws(log_density, proposal, X[rows], conditionals, uniform, cell_width)
        weights = softmax(draws.log_weights, axis=1)
        taken = drawn_index(weights, random_state.random(len(rows)))
        drawn = draws.rows[np.arange(len(rows)), taken]
        completed[rows] = np.where(np.isnan(X[rows]), drawn, X[rows])
    return completed


class WeightedDraws(NamedTuple):
    """Completions of each of n rows: (n, k, d), and the logarithms of their weights (n, k)."""

    rows: np.ndarray
    log_weights: np.ndarray


@functools.lru_cache(maxsize=8)  # making them took a third of the time of a row
def _scrambled_points(size, n_columns, seed):
    """Digits (16 size, n_columns) of 16 Sobol sequences of the unit cube, one after the other."""
    states = np.random.default_rng(seed).spawn(REPLICATES)
    parts = [qmc.Sobol(n_columns, bits=BITS, seed=state).random(size) for state in states]
    digits = np.rint(np.concatenate(parts) * 2**BITS).astype(np.int64)
    digits.flags.writeable = False
    return digits


def _shifted(digits, seed):
    """Points of the unit cube, each coordinate shifted by digits of its own."""
    shift = np.random.default_rng(seed).integers(2**BITS, size=digits.shape[1])
    return ((digits ^ shift) + 0.5) / 2**BITS


def _batches(proposal, missing, n_draws):
    """Indices of rows with missing values and their conditional distributions, in batches."""
    pairs = (
        (row, conditional)
        for pattern, rows in patterns(missing)
        if pattern.any()
        for conditional in [proposal.conditional(pattern)]
        for row in rows
    )
    while batch := list(islice(pairs, max(ROWS_AT_ONCE // n_draws, 1))):
        rows, conditionals = zip(*batch, strict=True)
        yield np.array(rows), conditionals


def _weighted_draws(log_density, proposal, X, conditionals, uniform, cell_width):
    """Completions of each row, from points (k, d + 1) of the unit cube for each."""
    missing, widths = np.isnan(X), np.broadcast_to(cell_width, X.shape[1:])
    Z, _ = proposal.transform(X)
    completed, log_q = [], []
    for z, gaps, conditional, points in zip(Z, missing, conditionals, uniform, strict=True):
        drawn = np.tile(z, (len(points), 1))
        drawn[:, gaps], log_q_of_row = _proposed(conditional, z[~gaps], points)
        completed.append(drawn)
        log_q.append(log_q_of_row)
    is_drawn = np.repeat(missing, len(log_q[0]), axis=0)
    rows = proposal.inverse_transform(np.concatenate(completed))
    rows = np.where(is_drawn, rows, _within_cells(X, widths, uniform))
    _, log_slope = proposal.transform(rows)
    log_q = np.concatenate(log_q) + np.where(is_drawn, log_slope, 0.0).sum(axis=1)
    log_weights = (log_density(rows) - log_q).reshape(len(X), -1)
    log_volumes = np.where(missing, 0.0, np.log(np.where(widths > 0, widths, 1.0))).sum(axis=1)
    return WeightedDraws(rows.reshape(*log_weights.shape, -1), log_weights + log_volumes[:, None])


def _within_cells(X, widths, uniform):
    """Observed values moved within their cells, by coordinates not used for missing values."""
    parts = []
    for x, points in zip(X, uniform, strict=True):
        seen = ~np.isnan(x)
        moved = np.tile(x, (len(points), 1))
        moved[:, seen] += (points[:, 1 + (~seen).sum() :] - 0.5) * widths[seen]
        parts.append(moved)
    return np.concatenate(parts)


def _proposed(conditional, z, points):
    """Coordinates (k, m) drawn for a row's missing values, and their log-densities (k,)."""
    log_weights, means = conditional.given(z)
    weights = BLIND_SHARE * conditional.weights + (1 - BLIND_SHARE) * np.exp(log_weights)
    component, place = _chosen(weights / weights.sum(), points[:, 0])
    steps = ndtri(points[:, 1 : means.shape[1] + 1]) * _stretch(place)[:, None]
    drawn = means[component] + (conditional.roots[component] @ steps[:, :, None])[:, :, 0]
    scaled = (drawn - means[:, None]) @ np.swapaxes(conditional.inverse_roots, 1, 2)
    log_dets = np.log(np.diagonal(conditional.inverse_roots, axis1=1, axis2=2)).sum(axis=1)
    log_parts = _log_kernel(scaled) + (np.log(weights) + log_dets)[:, None]
    return drawn, logsumexp(log_parts, axis=0)


def _chosen(weights, points):
    """The interval, of these lengths, that contains each point of (0, 1), and its place in it."""
    ends = np.cumsum(weights)
    component = np.searchsorted(ends[:-1], points)
    place = (points - (ends - weights)[component]) / weights[component]
    return component, place.clip(*INSIDE)


def _stretch(place):
    """Factors of normal draws: 1, except at the last places, which give Student's distribution."""
    tail = ((place - 1 + STUDENT_SHARE) / STUDENT_SHARE).clip(*INSIDE)
    student = np.sqrt(DEGREES_OF_FREEDOM / chi2.ppf(tail, DEGREES_OF_FREEDOM))
    return np.where(place > 1 - STUDENT_SHARE, student, 1.0)


def _log_kernel(steps):
    """Log-density of normal draws (..., m) times the factors of `_stretch`."""
    m, square = steps.shape[-1], (steps**2).sum(axis=-1)
    nu = DEGREES_OF_FREEDOM
    normal = -0.5 * (m * np.log(2 * np.pi) + square)
    student = gammaln((nu + m) / 2) - gammaln(nu / 2) - 0.5 * m * np.log(np.pi * nu)
    student = student - 0.5 * (nu + m) * np.log1p(square / nu)
    return np.logaddexp(np.log1p(-STUDENT_SHARE) + normal, np.log(STUDENT_SHARE) + student)


def _log_mean(log_weights):
    """Logarithm (n,) of the mean of weights (n, k), and its standard error (n,)."""
    top = log_weights.max(axis=1)
    weights = np.exp(log_weights - top[:, None])
    means = weights.reshape(len(weights), REPLICATES, -1).mean(axis=2)
    mean = means.mean(axis=1)
    error = means.std(axis=1, ddof=1) / (np.sqrt(REPLICATES) * mean)
    return top + np.log(mean), error
