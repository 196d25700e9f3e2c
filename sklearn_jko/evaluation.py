"""What a fitted density says of rows: log-densities, latent rows, and the way back."""

import numpy as np
import torch

from sklearn_jko.columns.cells import cell_log_probability
from sklearn_jko.devices import on_device_of
from sklearn_jko.flow import in_parts
from sklearn_jko.missing.importance_sampling import observed_log_density

__all__ = ["LOWEST_LOG_DENSITY", "Evaluator"]

# Far enough below any density, and a million of them still add up to a finite number.
LOWEST_LOG_DENSITY = -1e300
# At which the density is taken in the cell of a row's integers: 16 leave errors of 0.05 nats of
# three columns, and of half a nat of more.
CELL_POINTS = 64
# For each row with missing values.
N_DRAWS = 256


class Evaluator:
    """The parts of a fitted density, and what they make of a chunk of rows.

    Rows are float64 arrays (n, d), encoded where the columns have roles.

    Parameters
    ----------
    scaler : scaler
    flow : JKOFlow
        On the device to compute on.
    roles : Roles, optional
        See `sklearn_jko.columns.roles`.
    categories : CategoryModel, optional
    proposal : callable, optional
        Gives the `MarginalMixture` from which missing values are drawn; called where there are any.
    """

    def __init__(self, scaler, flow, roles=None, categories=None, proposal=None):
        self.scaler, self.flow = scaler, flow
        self.roles, self.categories, self.proposal = roles, categories, proposal
        self.cell_width = 0.0 if roles is None else roles.cell_width

    def log_density(self, X):
        """Finite log-density (n,) of rows, of what they show."""
        return self.log_density_and_error(X)[:, 0]

    def log_density_and_error(self, X):
        """Finite log-density beside its standard error, (n, 2): 0 where nothing is estimated."""
        is_complete = ~np.isnan(X).any(axis=1)
        found = np.zeros((len(X), 2))
        for rows, method in ((is_complete, self._of_complete), (~is_complete, self._of_observed)):
            if rows.any():
                log_density, error = method(X[rows])
                found[rows] = np.c_[_finite(log_density), error]
        return found

    def point_log_density(self, X):
        """Finite log-density (n,) of rows without gaps, at the very numbers of integer columns.

        That of an integer is then its mean over the cell, and the probability of a label that over
        the numbers that are rounded to its code.
        """
        if self.categories is None:
            return _finite(self._flow_log_density(X))
        X, columns = X.copy(), self.categories.categories
        codes = np.rint(X[:, columns])
        X[:, columns] = codes.clip(-1, self.categories.n_categories - 1)
        log_density = self._flow_log_density(X) + self.categories.log_prob(X)
        log_density[(codes != X[:, columns]).any(axis=1)] = -np.inf
        return _finite(log_density)

    @torch.no_grad()
    def latent(self, X):
        """Latent rows (n, n_modelled); NaN for a row with gaps."""
        is_complete = ~np.isnan(X).any(axis=1)
        Z, _ = self.scaler.transform(X[is_complete])
        moved = self.flow.base.modelled(self._through(self.flow.transform, Z))
        latent = np.full((len(X), moved.shape[1]), np.nan)
        latent[is_complete] = moved.cpu().numpy()
        return latent

    @torch.no_grad()
    def latent_and_log_density(self, X):
        """Both (n, n_modelled + 1) of rows without gaps, in one pass where all are numbers."""
        if self.categories is not None or np.any(self.cell_width):
            return np.c_[self.latent(X), self.log_density(X)]
        Z, log_det = self.scaler.transform(X)
        moved, flow_log_det = self._through(self.flow, Z)
        log_density = self.flow.base.log_prob(moved) + flow_log_det
        latent = self.flow.base.modelled(moved)
        return np.c_[latent.cpu().numpy(), _finite(log_density.cpu().numpy() + log_det)]

    @torch.no_grad()
    def original(self, Z):
        """Modelled columns (n, n_modelled) of latent rows and what they are given."""
        back = self._through(self.flow.inverse, Z)
        return self.scaler.inverse_transform(back.cpu().numpy())

    @torch.no_grad()
    def _flow_log_density(self, X):
        Z, log_det = self.scaler.transform(X)
        return self._through(self.flow.log_prob, Z).cpu().numpy() + log_det

    def _through(self, function, Z):
        return in_parts(self.flow, function, on_device_of(self.flow, Z))

    def _of_complete(self, X):
        log_density, error = cell_log_probability(
            self._flow_log_density, X, self.cell_width, CELL_POINTS, seed=0
        )
        if self.categories is not None:
            log_density = log_density + self.categories.log_prob(X)
        return log_density, error

    def _of_observed(self, X):
        log_density, error = observed_log_density(
            self.point_log_density, self.proposal(), X, N_DRAWS, 0, self.cell_width
        )
        if self.roles is not None:
            is_missing = np.isnan(np.delete(X, self.roles.given, axis=1))
            shows_nothing = is_missing.all(axis=1)  # beside what it is given
            log_density[shows_nothing], error[shows_nothing] = 0.0, 0.0
        return log_density, error


def _finite(log_density):
    bounded = np.nan_to_num(log_density, nan=-np.inf, posinf=-LOWEST_LOG_DENSITY)
    return bounded.clip(min=LOWEST_LOG_DENSITY)
