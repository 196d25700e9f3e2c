"""Log-densities of rows with missing values, and draws of what is missing, by importance sampling.

The density of the observed part is the mean of density / proposal over draws of the missing part
from a proposal, and the draws, resampled by these weights, are draws given the observed part. An
observed integer is drawn too, from within its cell.
"""

import functools
from itertools import islice
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp, ndtri
from scipy.stats import chi2, qmc

from sklearn_jko.missing.incomplete_normal import patterns
from sklearn_jko.rows.row_hash import hash_rows

__all__ = ["draw_missing", "observed_log_density"]

# Independent scramblings of the draws, which tell their error.
REPLICATES, BITS = 16, 30
# Of normal coordinates: in other units a row is the same.
DIGITS = 6
ROWS_AT_ONCE = 4096
# A twentieth of the draws takes its component by the mixture's own weights, in case that those
# given the observed values are misjudged, and a fifth is from Student's distribution in place of
# the normal one, whose tails may be thinner than the density's.
BLIND_SHARE = 0.05
STUDENT_SHARE, DEGREES_OF_FREEDOM = 0.2, 5.0
INSIDE = (2**-40, 1 - 2**-40)  # where quantile functions are finite


def observed_log_density(log_density, proposal, X, n_draws, seed, cell_width=0.0):
    """Log-density of the observed part of each row: log of the integral of p over the missing part.

    It is estimated by importance sampling with quasi-random draws (a scrambled Sobol sequence).
    The mean of the weights is unbiased; its logarithm is low by about half its squared error. The
    draws are made of the seed and the row alone: no row's result depends on the rows beside it, if
    none of `log_density` does. Those of different rows differ by a digital shift of the points, so
    that over rows errors cancel out.

    Parameters
    ----------
    log_density : callable
        Maps complete rows (n, d), float64, to finite log-densities (n,) in nats.
    proposal : MarginalMixture
        Best fitted to draws from the density itself, see `sklearn_jko.missing.marginal_mixture`.
    X : ndarray of shape (n, d), float64, finite or NaN
    n_draws : int
        Draws for each row: 16 times a power of two, so that the Sobol points are balanced.
    seed : int
    cell_width : ndarray of shape (d,) or float, default=0
        Width of the cells about observed values, over which the density is integrated; 0 for a
        column of which it is taken at the value. Rows without gaps are taken as they are.

    Returns
    -------
    log_p : ndarray of shape (n,)
        Nats, in the units of the observed columns: 0 where all is missing.
    standard_error : ndarray of shape (n,)
        Of log_p: the deviation of the means of 16 independent parts of the draws, over 4 times the
        mean (delta method). 0 where nothing is missing, or all. From about 0.5 on it is itself too
        low more often than not: no draw may have met what matters.

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
        raise ValueError(f"n_draws={n_draws} must be {REPLICATES} times a power of two, as 256 is.")
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
    """Fill what is missing with draws given what is observed, by sampling-importance-resampling.

    Parameters
    ----------
    log_density : callable
        Maps complete rows (n, d), float64, to finite log-densities (n,) in nats.
    proposal : MarginalMixture
    X : ndarray of shape (n, d), float64, finite or NaN
        A row of NaN alone becomes a draw from the density.
    n_proposals : int
        Draws from the proposal for each row, of which one is taken. The more there are, and the
        better the proposal, the nearer is the result to a draw given the observed values.
    random_state : numpy.random.Generator
    cell_width : ndarray of shape (d,) or float, default=0
        As of `observed_log_density`.

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
        # The largest of Gumbel's variables at the log-weights is a draw by the weights.
        noise = random_state.gumbel(size=draws.log_weights.shape)
        taken = np.argmax(draws.log_weights + noise, axis=1)
        drawn = draws.rows[np.arange(len(rows)), taken]
        completed[rows] = np.where(np.isnan(X[rows]), drawn, X[rows])
    return completed


class WeightedDraws(NamedTuple):
    """Completions of each of n rows: (n, k, d), and the logarithms of their weights (n, k)."""

    rows: np.ndarray
    log_weights: np.ndarray


@functools.lru_cache(maxsize=8)  # they took a third of the time of a row
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
    """Indices of rows that miss something, and their conditional distributions, a few at a time."""
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
    """What rows show, moved within its cells by coordinates that no missing value takes."""
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
    """The interval, of these lengths, that each point of (0, 1) is in, and its place within."""
    ends = np.cumsum(weights)
    component = np.searchsorted(ends[:-1], points)
    place = (points - (ends - weights)[component]) / weights[component]
    return component, place.clip(*INSIDE)


def _stretch(place):
    """Factors of normal draws: 1, but at the last places, where the draws become Student's."""
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
