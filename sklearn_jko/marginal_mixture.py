"""A density of rows with missing values: columns made normal, and a mixture of normals of these."""

import numpy as np

from sklearn_jko.checks import SMALLEST, check_array
from sklearn_jko.incomplete_normal import fit_normal, patterns
from sklearn_jko.normal_mixture import ConditionalMixture, NormalMixture, fit_mixture, some_rows
from sklearn_jko.scaling.marginal import Marginal

__all__ = ["MarginalMixture"]

# Completions: by one normal distribution, then by the mixtures fitted to those before. On mixtures
# of 20 columns each of the first four gains 0.5 to 1.5 nats a row.
ROUNDS = 4


class MarginalMixture:
    """Each column is made normal by its observed values; their joint density is a mixture.

    With one component it is a Gaussian copula. The mixture is fitted to completed rows: what is
    missing is drawn from one normal distribution, fitted by the EM algorithm, and then, a few
    times, from the mixture so far (stochastic EM).

    Attributes
    ----------
    centre_, spread_, splines_, starts_ : ndarrays
        The columns' maps, as in `sklearn_jko.scaling.marginal.Marginal`.
    weights_, means_, covariances_ : ndarrays
        The mixture of their normal coordinates, see
        `sklearn_jko.normal_mixture.NormalMixture`.

    References
    ----------
    Celeux and Diebolt (1985), The SEM algorithm, Computational Statistics Quarterly 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.marginal_mixture import MarginalMixture
    >>> X = np.exp(np.random.default_rng(0).normal(size=(200, 2)))
    >>> X[:50, 1] = np.nan
    >>> completed = MarginalMixture().fit(X, seed=0).draw(X, np.random.default_rng(0))
    >>> bool(np.isfinite(completed).all())
    True
    """

    learned = (*Marginal.learned, "weights_", "means_", "covariances_")

    def fit(self, X, seed):
        """Fit the maps of the columns and the mixture.

        Parameters
        ----------
        X : ndarray of shape (n, d), float64, finite or NaN
            Rows in any random order. A constant column should have noise, which says how wide it
            is.
        seed : int

        Returns
        -------
        self : MarginalMixture

        Raises
        ------
        ValueError
            If a column is all NaN.
        """
        missing = np.isnan(X)
        empty = np.flatnonzero(missing.all(axis=0))
        if len(empty):
            raise ValueError(
                f"columns {empty.tolist()} of X hold NaN alone: leave them out, as nothing can be "
                "learned of them."
            )
        vars(self).update(_side_by_side([_fitted(column) for column in X.T]))
        Z, _ = self.transform(X[~missing.all(axis=1)])
        if missing.any():
            Z = _completed(some_rows(Z), seed)
        self.weights_, self.means_, self.covariances_ = fit_mixture(Z, seed)
        return self

    def check(self, n_features):
        """Raise ValueError unless what was learned is sound and of so many columns."""
        whole = Marginal()
        vars(whole).update({name: getattr(self, name) for name in Marginal.learned})
        whole.check(n_features)
        k = np.size(self.weights_)
        check_array("weights_", self.weights_, (k,), SMALLEST, 1.0)
        check_array("means_", self.means_, (k, n_features))
        check_array("covariances_", self.covariances_, (k, n_features, n_features))
        if not _are_positive_definite(self.covariances_):
            raise ValueError("covariances_ must be symmetric and positive definite")

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
        for j, column in enumerate(self._columns()):
            Z[:, j : j + 1], log_slope[:, j] = column.transform(X[:, j : j + 1])
        return Z, log_slope

    def inverse_transform(self, Z):
        """Values (n, d) at normal coordinates (n, d)."""
        X = np.empty(Z.shape)
        for j, column in enumerate(self._columns()):
            X[:, j : j + 1] = column.inverse_transform(Z[:, j : j + 1])
        return X

    def conditional(self, missing):
        """The distribution of the normal coordinates of missing columns given the other ones.

        Parameters
        ----------
        missing : ndarray of shape (d,), bool

        Returns
        -------
        conditional : sklearn_jko.normal_mixture.ConditionalMixture
        """
        return ConditionalMixture(self._mixture(), missing)

    def draw(self, X, random_state):
        """Fill what is missing with draws from its distribution given what is observed.

        Parameters
        ----------
        X : ndarray of shape (n, d), float64, finite or NaN
        random_state : numpy.random.Generator

        Returns
        -------
        completed : ndarray of shape (n, d)
        """
        Z = _drawn(self._mixture(), self.transform(X)[0], random_state)
        return np.where(np.isnan(X), self.inverse_transform(Z), X)

    def _mixture(self):
        return NormalMixture(self.weights_, self.means_, self.covariances_)

    def _columns(self):
        """The map of each column."""
        for j in range(len(self.centre_)):
            column, start, end = Marginal(), *self.starts_[j : j + 2]
            column.centre_, column.spread_ = self.centre_[[j]], self.spread_[[j]]
            column.splines_ = self.splines_[:, start:end]
            column.starts_ = np.array([0, end - start])
            yield column


def _fitted(column):
    return Marginal().fit(column[~np.isnan(column), None])


def _side_by_side(columns):
    """What maps of one column each have learned, as a map of all columns has it."""
    return {
        "centre_": np.concatenate([column.centre_ for column in columns]),
        "spread_": np.concatenate([column.spread_ for column in columns]),
        "splines_": np.concatenate([column.splines_ for column in columns], axis=1),
        "starts_": np.cumsum([0] + [column.splines_.shape[1] for column in columns]),
    }


def _completed(Z, seed):
    """The coordinates with draws of a mixture where they are missing."""
    random_state = np.random.default_rng(seed)
    mean, covariance = fit_normal(Z)
    mixture = NormalMixture(np.ones(1), mean[None], covariance[None])
    for _ in range(ROUNDS - 1):
        mixture = fit_mixture(_drawn(mixture, Z, random_state), seed)
    return _drawn(mixture, Z, random_state)


def _drawn(mixture, Z, random_state):
    """The coordinates (n, d) with draws, given the others of the row, where they are NaN."""
    noise, choice = random_state.standard_normal(Z.shape), random_state.random(len(Z))
    Z = Z.copy()
    for missing, rows in patterns(np.isnan(Z)):
        if not missing.any():
            continue
        conditional = ConditionalMixture(mixture, missing)
        for row in rows:
            log_weights, means = conditional.given(Z[row, ~missing])
            k = np.searchsorted(np.cumsum(np.exp(log_weights))[:-1], choice[row])
            Z[row, missing] = means[k] + conditional.roots[k] @ noise[row, missing]
    return Z


def _are_positive_definite(matrices):
    if not np.array_equal(matrices, np.swapaxes(matrices, 1, 2)):
        return False
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return False
    return True
