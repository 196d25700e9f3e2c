"""A density of rows with missing values: columns made normal, and a normal mixture of these."""

import numpy as np
from sklearn.utils import gen_batches

from sklearn_jko.missing.conditional_mixture import ConditionalMixture
from sklearn_jko.missing.incomplete_normal import fit_normal, marginal_log_density, patterns
from sklearn_jko.scaling.bounds import Bounds
from sklearn_jko.scaling.chain import Chain
from sklearn_jko.scaling.marginal import Marginal
from sklearn_jko.statistics.clusters import fit_clusters
from sklearn_jko.statistics.drawing import drawn_index
from sklearn_jko.statistics.normal_mixture import NormalMixture
from sklearn_jko.statistics.thinning import evenly_spread

__all__ = ["MarginalMixture"]

# Rounds of completion: by one normal distribution, then each by the mixture fitted before it. On
# mixtures of 20 columns each of the first four gains 0.5 to 1.5 nats per row.
ROUNDS = 4
# With so many complete rows, the clusters of these start one round ahead.
MIN_COMPLETE = 20
MAX_ROWS = 10_000  # largest number of rows that are completed
MAX_VALUES = 200_000  # largest number of values to which the map of a column is fitted
ROWS_AT_ONCE = 512


class MarginalMixture:
    """Each column is made normal by its observed values; their joint density is a mixture.

    With one component it is a Gaussian copula. The mixture is fitted to completed rows: missing
    values are first drawn from one normal distribution, fitted by the EM algorithm, or from the
    mixture of the complete rows if the observed values are likelier under that; and then, a few
    times, from the latest mixture (stochastic EM).

    Parameters
    ----------
    low, high : ndarrays of shape (d,) or floats
        Bounds of the columns and of all draws; infinite if there are none.

    Attributes
    ----------
    columns_ : list of Chain
        The columns' maps: `sklearn_jko.scaling.marginal.Marginal` behind
        `sklearn_jko.scaling.bounds.Bounds`.
    mixture_ : sklearn_jko.statistics.normal_mixture.NormalMixture
        Mixture of their normal coordinates.

    References
    ----------
    Celeux and Diebolt (1985), The SEM algorithm, Computational Statistics Quarterly 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.missing.marginal_mixture import MarginalMixture
    >>> X = np.exp(np.random.default_rng(0).normal(size=(200, 2)))
    >>> X[:50, 1] = np.nan
    >>> completed = MarginalMixture().fit(X, seed=0).fill(X, np.random.default_rng(0))
    >>> bool(np.isfinite(completed).all())
    True
    """

    def __init__(self, low=-np.inf, high=np.inf):
        self.low, self.high = low, high

    def fit(self, X, seed):
        """Fit the maps of the columns and the mixture.

        Parameters
        ----------
        X : ndarray of shape (n, d), float64, finite or NaN
            Rows in any random order, each column with a value. A constant column should have noise,
            which says how wide it is.
        seed : int

        Returns
        -------
        self : MarginalMixture
        """
        missing = np.isnan(X)
        ends = (np.broadcast_to(bound, X.shape[1:]) for bound in (self.low, self.high))
        self.columns_ = [_column_map(*parts) for parts in zip(X.T, *ends, strict=True)]
        X = X[~missing.all(axis=1)]
        if missing.any():
            X = evenly_spread(X, MAX_ROWS)
        Z, _ = self.transform(X)
        if missing.any():
            Z = _completed(Z, seed)
        self.mixture_, _ = fit_clusters(Z, seed)
        return self

    def transform(self, X):
        """Normal coordinates of values, and the logarithms of their slopes.

        Parameters
        ----------
        X : ndarray of shape (n, d), finite or NaN

        Returns
        -------
        Z, log_slope : ndarrays of shape (n, d)
            z and log(dz / dx) of each value; NaN at NaN.
        """
        Z, log_slope = np.empty(X.shape), np.empty(X.shape)
        for j, column in enumerate(self.columns_):
            Z[:, j : j + 1], log_slope[:, j] = column.transform(X[:, j : j + 1])
        return Z, log_slope

    def inverse_transform(self, Z):
        """Values (n, d) at normal coordinates (n, d)."""
        X = np.empty(Z.shape)
        for j, column in enumerate(self.columns_):
            X[:, j : j + 1] = column.inverse_transform(Z[:, j : j + 1])
        return X

    def conditional(self, missing):
        """The distribution of the normal coordinates of missing columns given the other ones.

        Parameters
        ----------
        missing : ndarray of shape (d,), bool

        Returns
        -------
        conditional : sklearn_jko.missing.conditional_mixture.ConditionalMixture
        """
        return ConditionalMixture(self.mixture_, missing)

    def fill(self, X, random_state, same_noise=False):
        """Fill what is missing with draws from its distribution given what is observed.

        Parameters
        ----------
        X : ndarray of shape (n, d), float64, finite or NaN
        random_state : numpy.random.Generator
        same_noise : bool, default=False
            Whether all rows get the same random numbers: then the draw for a row does not depend on
            other rows.

        Returns
        -------
        completed : ndarray of shape (n, d)
        """
        Z = _drawn(self.mixture_, self.transform(X)[0], random_state, same_noise)
        return np.where(np.isnan(X), self.inverse_transform(Z), X)


def _column_map(values, low, high):
    to_line = Bounds(np.array([low]), np.array([high]))
    observed = evenly_spread(values[~np.isnan(values)], MAX_VALUES)
    return Chain([to_line, Marginal()]).fit(observed[:, None])


def _completed(Z, seed):
    """The coordinates with draws of a mixture where they are missing."""
    random_state = np.random.default_rng(seed)
    mixture, rounds = NormalMixture.single(*fit_normal(Z)), ROUNDS
    complete = Z[~np.isnan(Z).any(axis=1)]
    if len(complete) >= MIN_COMPLETE:
        clusters, _ = fit_clusters(complete, seed)
        of_clusters, of_one = (marginal_log_density(m, Z).sum() for m in (clusters, mixture))
        if of_clusters > of_one:
            mixture, rounds = clusters, ROUNDS - 1
    for _ in range(rounds - 1):
        mixture, _ = fit_clusters(_drawn(mixture, Z, random_state), seed)
    return _drawn(mixture, Z, random_state)


def _drawn(mixture, Z, random_state, same_noise=False):
    """The coordinates (n, d) with draws, given the others of the row, where they are NaN."""
    n_sets = 1 if same_noise else len(Z)
    noise = random_state.standard_normal((n_sets, Z.shape[1]))
    choice = random_state.random(n_sets)
    noise, choice = np.broadcast_to(noise, Z.shape), np.broadcast_to(choice, len(Z))
    Z = Z.copy()
    for missing, rows in patterns(np.isnan(Z)):
        if not missing.any():
            continue
        conditional = ConditionalMixture(mixture, missing)
        for part in gen_batches(len(rows), ROWS_AT_ONCE):
            some = rows[part]
            log_weights, means = conditional.given(Z[np.ix_(some, ~missing)])
            k = drawn_index(np.exp(log_weights), choice[some])
            steps = conditional.roots[k] @ noise[np.ix_(some, missing)][:, :, None]
            Z[np.ix_(some, missing)] = means[np.arange(len(some)), k] + steps[:, :, 0]
    return Z
