"""What a fitted density says of rows: log-densities, latent rows, and the way back."""

import numpy as np
import torch

from sklearn_jko.cells import cell_log_probability
from sklearn_jko.devices import on_device_of
from sklearn_jko.missing import observed_log_density

__all__ = ["LOWEST_LOG_DENSITY", "Evaluator"]

# Far enough below any density, and a million of them still add up to a finite number.
LOWEST_LOG_DENSITY = -1e300
# At which the density is taken in the cell of a row's integers.
CELL_POINTS = 16
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
        See `sklearn_jko.columns`.
    categories : CategoryModel, optional
    proposal : callable, optional
        Gives the `MarginalMixture` from which missing values are drawn; called where there are any.
    """

    def __init__(self, scaler, flow, roles=None, categories=None, proposal=None):
        self.scaler, self.flow = scaler, flow
        self.roles, self.categories, self.proposal = roles, categories, proposal

    def log_density(self, X):
        """Finite log-density (n,) of rows, of what they show."""
        return self.log_density_and_error(X)[:, 0]

    def log_density_and_error(self, X):
        """Finite log-density beside its standard error, (n, 2): 0 where nothing is estimated."""
        log_density, error = self._of_table(X) if self.roles is not None else self._of_numbers(X)
        return np.c_[_finite(log_density), error]

    def complete_log_density(self, X):
        """Finite log-density (n,) of rows of numbers without gaps."""
        return _finite(self._flow_log_density(X))

    @torch.no_grad()
    def latent(self, X):
        """Latent rows (n, n_modelled); NaN for a row with gaps."""
        is_complete = ~np.isnan(X).any(axis=1)
        Z, _ = self.scaler.transform(X[is_complete])
        moved = self.flow.base.modelled(self.flow.transform(on_device_of(self.flow, Z)))
        latent = np.full((len(X), moved.shape[1]), np.nan)
        latent[is_complete] = moved.cpu().numpy()
        return latent

    @torch.no_grad()
    def latent_and_log_density(self, X):
        """Both (n, d + 1) of rows of numbers without gaps, in one pass."""
        Z, log_det = self.scaler.transform(X)
        latent, flow_log_det = self.flow(on_device_of(self.flow, Z))
        log_density = self.flow.base.log_prob(latent) + flow_log_det
        return np.c_[latent.cpu().numpy(), _finite(log_density.cpu().numpy() + log_det)]

    @torch.no_grad()
    def original(self, Z):
        """Modelled columns (n, n_modelled) of latent rows and what they are given."""
        back = self.flow.inverse(on_device_of(self.flow, Z))
        return self.scaler.inverse_transform(back.cpu().numpy())

    @torch.no_grad()
    def _flow_log_density(self, X):
        Z, log_det = self.scaler.transform(X)
        return self.flow.log_prob(on_device_of(self.flow, Z)).cpu().numpy() + log_det

    def _of_numbers(self, X):
        if not np.isnan(X).any():
            return self._flow_log_density(X), np.zeros(len(X))
        return observed_log_density(self.complete_log_density, self.proposal(), X, N_DRAWS, seed=0)

    def _of_table(self, X):
        widths = self.roles.cell_width
        log_density, error = cell_log_probability(
            self._flow_log_density, X, widths, CELL_POINTS, seed=0
        )
        if self.categories is not None:
            log_density = log_density + self.categories.log_prob(X)
        return log_density, error


def _finite(log_density):
    bounded = np.nan_to_num(log_density, nan=-np.inf, posinf=-LOWEST_LOG_DENSITY)
    return bounded.clip(min=LOWEST_LOG_DENSITY)
