"""Evaluation of a fitted density: log-densities, latent rows, and their inverse."""

import functools

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.utils import gen_batches

from sklearn_jko.columns.cells import cell_log_probability
from sklearn_jko.devices import on_device_of
from sklearn_jko.flow import ROWS_AT_ONCE, in_batches
from sklearn_jko.missing.completion import fit_proposal
from sklearn_jko.missing.importance_sampling import draw_missing, observed_log_density
from sklearn_jko.missing.label_combinations import label_combinations
from sklearn_jko.statistics.drawing import drawn_index

__all__ = ["LOWEST_LOG_DENSITY", "Evaluator"]

# Far enough below any density, and a million of them still add up to a finite number.
LOWEST_LOG_DENSITY = -1e300
# Largest number of points in a cell of integers at which the density is evaluated: 16 would leave
# errors of 0.05 nats with three columns of integers, and of half a nat with more.
CELL_POINTS = 64
# Importance draws for the score of a row with missing values; proposals to impute one; and rows
# drawn from the flow to fit the mixture that proposes both.
N_DRAWS, N_PROPOSALS, PROPOSAL_ROWS = 256, 64, 5000


def by_chunks(method):
    """Decorate a method for a few float64 rows to take any number, of any type, in chunks."""

    @functools.wraps(method)
    def of_all(self, rows):
        made = None
        for chunk in gen_batches(max(len(rows), 1), ROWS_AT_ONCE):
            of_chunk = method(self, np.ascontiguousarray(rows[chunk], dtype=np.float64))
            if made is None:
                made = np.empty((len(rows), *of_chunk.shape[1:]))
            made[chunk] = of_chunk
        return made

    return of_all


class Evaluator:
    """The parts of a fitted density, and its evaluation on rows.

    Rows are arrays (n, d), encoded where the columns have roles.

    Parameters
    ----------
    n_modelled : int
        Number of columns that the flow models.
    scaler : scaler
    flow : JKOFlow
        On the device to compute on.
    roles : Roles or None
        See `sklearn_jko.columns.roles`.
    category_model : CategoryModel or None
    given_rows : ndarray of shape (m, n_given), or None
        Given values of some rows.
    cache : dict
        Keeps the mixture that proposes missing values, once it is fitted.
    """

    def __init__(self, *, n_modelled, scaler, flow, roles, category_model, given_rows, cache):
        self.n_modelled, self.scaler, self.flow = n_modelled, scaler, flow
        self.roles, self.category_model, self.given_rows = roles, category_model, given_rows
        self.cache = cache
        self.cell_width = 0.0 if roles is None else roles.cell_width

    def log_density(self, X):
        """Finite log-density (n,) of the observed values of rows."""
        return self.log_density_and_error(X)[:, 0].copy()  # lest it keep the errors alive

    @by_chunks
    def log_density_and_error(self, X):
        """Finite log-density and its standard error, (n, 2): 0 where nothing is estimated."""
        is_complete = ~np.isnan(X).any(axis=1)
        found = np.zeros((len(X), 2))
        for rows, method in ((is_complete, self._of_complete), (~is_complete, self._of_observed)):
            if rows.any():
                log_density, error = method(X[rows])
                found[rows] = np.c_[_finite(log_density), error]
        return found

    def point_log_density(self, X):
        """Finite log-density (n,) of rows without gaps, at the exact values of integer columns.

        The mean of the density over an integer's cell is the integer's probability. Over the
        numbers that round to a label's code it is constant: the label's probability.
        """
        if self.category_model is None:
            return _finite(self._flow_log_density(X))
        X, columns = X.copy(), self.category_model.columns
        codes = np.rint(X[:, columns])
        X[:, columns] = codes.clip(-1, self.category_model.n_categories - 1)
        log_density = self._flow_log_density(X) + self.category_model.log_prob(X)
        log_density[(codes != X[:, columns]).any(axis=1)] = -np.inf
        return _finite(log_density)

    @by_chunks
    def latent(self, X):
        """Latent rows (n, n_modelled); NaN for a row with gaps."""
        is_complete = ~np.isnan(X).any(axis=1)
        Z, _ = self.scaler.transform(X[is_complete])
        moved = self.flow.base.modelled(self._through(self.flow.transform, Z))
        latent = np.full((len(X), moved.shape[1]), np.nan)
        latent[is_complete] = moved.cpu().numpy()
        return latent

    def latent_and_log_density(self, X):
        """Both, (n, n_modelled) and (n,), of rows without gaps, in one pass where possible."""
        both = self._latent_beside_log_density(X)
        return both[:, :-1], both[:, -1]

    def original(self, Z, table):
        """Rows for latent ones (n, n_modelled); if columns have roles, written into a table.

        The table holds the inputs of the rows, and its other columns are filled in.
        """
        return self._fill(np.empty(Z.shape) if table is None else table, Z)

    def draw(self, n_samples, table, seed):
        """Rows drawn from the density, one for each row of a table of given values, if any."""
        if self.category_model is not None:
            self.category_model.draw(table, seed)
        shape = (n_samples if table is None else len(table), self.n_modelled)
        Z = self.flow.base.sample(shape, torch.Generator().manual_seed(seed)).numpy()
        return self._fill(Z if table is None else table, Z)

    def imputed(self, X, seed):
        """Rows whose missing values are filled with draws given the observed ones."""
        completed = np.array(X, dtype=np.float64)
        random_state = np.random.default_rng(seed)
        for rows, combinations, log_p, _ in self._of_combinations(np.asarray(X, dtype=np.float64)):
            taken = drawn_index(softmax(log_p, axis=1), random_state.random(len(rows)))
            completed[rows] = combinations[np.arange(len(rows)), taken]
        if not np.isnan(completed).any():  # then there is nothing to fit a mixture for
            return completed
        return draw_missing(
            self.point_log_density,
            self.proposal,
            completed,
            N_PROPOSALS,
            random_state,
            self.cell_width,
        )

    def filled(self, X, seed, same_noise):
        """Rows whose missing values are filled with approximate draws.

        Draws come from the mixture only. With `same_noise` all rows use the same random numbers,
        so that the result of a row does not depend on the other rows in X.
        """
        if not np.isnan(X).any():
            return X
        filled = self.proposal.fill(X, np.random.default_rng(seed), same_noise)
        if self.roles is not None:
            filled = np.where(np.isnan(X), self.roles.rounded(filled), X)
        return filled

    @property
    def proposal(self):
        """The `MarginalMixture` from which missing values are drawn: near the density itself."""
        if "proposal" not in self.cache:
            self.cache["proposal"] = self._fitted_proposal()
        return self.cache["proposal"]

    def _fitted_proposal(self):
        table = None
        if self.roles is not None:
            table = np.full((PROPOSAL_ROWS, len(self.roles.columns)), np.nan)
        if self.given_rows is not None:
            table[:, self.roles.given] = np.resize(
                self.given_rows, (PROPOSAL_ROWS, self.given_rows.shape[1])
            )
        return fit_proposal(self.draw(PROPOSAL_ROWS, table, seed=0), self.roles)

    @by_chunks
    def _latent_beside_log_density(self, X):
        if np.any(self.cell_width):
            return np.c_[self.latent(X), self.log_density(X)]
        Z, log_det = self.scaler.transform(X)
        moved, flow_log_det = self._through(self.flow, Z)
        log_density = (self.flow.base.log_prob(moved) + flow_log_det).cpu().numpy() + log_det
        if self.category_model is not None:
            log_density += self.category_model.log_prob(X)
        return np.c_[self.flow.base.modelled(moved).cpu().numpy(), _finite(log_density)]

    def _fill(self, rows, Z):
        """Fill in the modelled columns of rows, which may be the array of latent rows itself."""
        modelled = slice(None) if self.roles is None else self.roles.modelled
        for chunk in gen_batches(len(Z), ROWS_AT_ONCE):
            rows[chunk][:, modelled] = self._modelled(Z[chunk], rows[chunk])
        return rows

    def _modelled(self, Z, rows):
        """The modelled columns (n, n_modelled) of rows with these latent coordinates."""
        if self.roles is not None and len(self.roles.inputs):
            Z = np.hstack([Z, self.scaler.codes.transform(rows[:, self.roles.inputs])])
        back = self._through(self.flow.inverse, np.asarray(Z, dtype=np.float64))
        return self.scaler.inverse_transform(back.cpu().numpy())

    def _flow_log_density(self, X):
        Z, log_det = self.scaler.transform(X)
        return self._through(self.flow.log_prob, Z).cpu().numpy() + log_det

    def _through(self, function, Z):
        with torch.no_grad():
            return in_batches(self.flow, function, on_device_of(self.flow, Z))

    def _of_complete(self, X):
        log_density, error = cell_log_probability(
            self._flow_log_density, X, self.cell_width, CELL_POINTS, seed=0
        )
        if self.category_model is not None:
            log_density = log_density + self.category_model.log_prob(X)
        return log_density, error

    def _of_observed(self, X):
        log_density, error, is_sampled = np.empty(len(X)), np.empty(len(X)), np.full(len(X), True)
        for rows, _, log_p, errors in self._of_combinations(X):
            log_density[rows] = logsumexp(log_p, axis=1)
            error[rows] = (softmax(log_p, axis=1) * errors).sum(axis=1)
            is_sampled[rows] = False
        if is_sampled.any():
            log_density[is_sampled], error[is_sampled] = self._sampled(X[is_sampled])
        return log_density, error

    def _of_combinations(self, X):
        """Yield rows in which only labels are missing: indices, combinations, log p, its errors."""
        if self.category_model is None:
            return
        columns = self.roles.category
        for rows, completed in label_combinations(X, columns, self.roles.n_labels_of(columns)):
            log_p, error = self._of_complete(completed.reshape(-1, X.shape[1]))
            log_p, error = (part.reshape(completed.shape[:2]) for part in (_finite(log_p), error))
            yield rows, completed, log_p, error

    def _sampled(self, X):
        log_density, error = observed_log_density(
            self.point_log_density, self.proposal, X, N_DRAWS, 0, self.cell_width
        )
        if self.roles is not None:
            is_missing = np.isnan(np.delete(X, self.roles.given, axis=1))
            shows_nothing = is_missing.all(axis=1)  # except given values
            log_density[shows_nothing], error[shows_nothing] = 0.0, 0.0
        return log_density, error


def _finite(log_density):
    bounded = np.nan_to_num(log_density, nan=-np.inf, posinf=-LOWEST_LOG_DENSITY)
    return bounded.clip(min=LOWEST_LOG_DENSITY)
