"""Rows that form clusters, made standard normal column by column."""

import numpy as np
from scipy.special import erfcx, ndtri_exp
from sklearn.utils import gen_batches

from sklearn_jko.checks import SMALLEST, check_ndarray
from sklearn_jko.statistics.clusters import fit_clusters
from sklearn_jko.statistics.columns import mean_and_scale, standardised

__all__ = ["FARTHEST", "Mixture"]

# In deviations: rows farther out are clipped to this, so that squares stay finite.
FARTHEST = 1e50
NUMBERS_AT_ONCE = 2**21
MAX_NEWTON_STEPS = 200
CLOSE = 1e-8  # of a quantile
HALF_LOG_TWO_PI = 0.5 * np.log(2 * np.pi)
LOG_HAZARD_AT_ERFCX_1 = 0.5 * np.log(2 / np.pi)


class Mixture:
    """Map a mixture of normal clusters to one standard normal distribution.

    This is the Knothe-Rosenblatt map: column j becomes the normal quantile of its distribution
    function under the mixture, given the columns before it. Without any block, the density is that
    of the mixture, which `sklearn_jko.statistics.clusters.fit_clusters` finds; with a weight of one
    row in n + 1, it includes the normal distribution of all rows.

    Attributes
    ----------
    mean_, scale_ : ndarrays of shape (d,)
    log_weights_ : ndarray of shape (k,)
        Log-weights of the clusters and, last, of the distribution of all rows.
    means_ : ndarray of shape (k, d)
        In standardised columns.
    roots_ : ndarray of shape (k, d, d)
        Lower Cholesky factors of the covariances.

    References
    ----------
    Rosenblatt (1952), Remarks on a multivariate transformation, Annals of Mathematical Statistics
    23.
    """

    learned = ("mean_", "scale_", "log_weights_", "means_", "roots_")

    def fit(self, X):
        self.mean_, self.scale_ = mean_and_scale(X)
        Z = self._standard(X)
        clusters, alone = fit_clusters(Z)
        share = 1 / (len(X) + 1)
        self.log_weights_ = np.log(np.append((1 - share) * clusters.weights, share))
        self.means_ = np.vstack([clusters.means, alone.means])
        # A constant column is treated as one of unit variance.
        is_constant = np.diag((~Z.any(axis=0)).astype(float))
        covariances = np.concatenate([clusters.covariances, alone.covariances]) + is_constant
        self.roots_ = np.linalg.cholesky(covariances)
        return self

    def check(self, n_features):
        d, k = n_features, np.size(self.log_weights_)
        check_ndarray("mean_", self.mean_, (d,))
        check_ndarray("scale_", self.scale_, (d,), low=SMALLEST)
        check_ndarray("log_weights_", self.log_weights_, (max(k, 1),), high=0.0)
        check_ndarray("means_", self.means_, (k, d))
        check_ndarray("roots_", self.roots_, (k, d, d))
        check_ndarray("diagonals of roots_", _diagonals(self.roots_), (k, d), low=SMALLEST)
        if np.triu(self.roots_, 1).any():
            raise ValueError("roots_ must be lower triangular")

    def transform(self, X):
        Z, log_det = np.empty(X.shape), np.empty(len(X))
        for part in self._parts(X):
            Z[part], log_det[part] = self._normal(self._standard(X[part]))
        return Z, log_det

    def inverse_transform(self, Z):
        X = np.empty(Z.shape)
        for part in self._parts(Z):
            X[part] = self._original(Z[part].clip(-FARTHEST, FARTHEST))
        return X

    def _parts(self, X):
        return gen_batches(len(X), max(NUMBERS_AT_ONCE // self.means_.size, 1)) if len(X) else []

    def _standard(self, X):
        return standardised(X, self.mean_, self.scale_).clip(-FARTHEST, FARTHEST)

    def _normal(self, X):
        inverses = np.linalg.inv(self.roots_)
        deviations = np.stack(
            [(X - mean) @ inverse.T for mean, inverse in zip(self.means_, inverses, strict=True)]
        )
        log_scales = np.log(_diagonals(self.roots_))
        log_weights = np.tile(self.log_weights_[:, None], len(X))
        Z, log_det = np.empty_like(X), np.full(len(X), -np.log(self.scale_).sum())
        for j in range(X.shape[1]):
            e, log_scale = deviations[:, :, j], log_scales[:, j, None]
            Z[:, j], log_slope = _quantile(log_weights, e, log_scale)
            log_det += log_slope
            log_weights = _updated(log_weights, e, log_scale)
        return Z, log_det

    def _original(self, Z):
        scales = _diagonals(self.roots_)
        log_weights = np.tile(self.log_weights_[:, None], len(Z))
        deviations, X = np.empty((len(scales), *Z.shape)), np.empty_like(Z)
        for j in range(Z.shape[1]):
            before = np.einsum("kni,ki->kn", deviations[:, :, :j], self.roots_[:, j, :j])
            means, scale = self.means_[:, j, None] + before, scales[:, j, None]
            X[:, j] = _root(log_weights, means, scale, Z[:, j])
            deviations[:, :, j] = (X[:, j] - means) / scale
            log_weights = _updated(log_weights, deviations[:, :, j], np.log(scale))
        with np.errstate(over="ignore"):
            return np.nan_to_num(X * self.scale_ + self.mean_)


def _quantile(log_weights, e, log_scale):
    """Normal quantile of a mixture in one dimension, and the logarithm of its slope.

    The tail in which less lies is what is known to all digits. There the density is the tail times
    the mean of the parts' hazards phi / Phi, which have no large terms that cancel.
    """
    log_erfcx, small, large = _log_tails(e)
    is_left = e < 0
    below = _log_sum(log_weights + np.where(is_left, small, large))
    above = _log_sum(log_weights + np.where(is_left, large, small))
    tail = np.minimum(np.minimum(below, above), -np.log(2))
    is_small = is_left == (below < above)
    shares = log_weights + np.where(is_small, small, large) - tail
    log_hazard = np.where(
        is_small, LOG_HAZARD_AT_ERFCX_1 - log_erfcx, -0.5 * e**2 - HALF_LOG_TWO_PI - large
    )
    z = ndtri_exp(tail)
    for _ in range(2):  # The first gives digits that are lacking far out.
        log_erfcx, found, _ = _log_tails(z)
        log_hazard_of_z = LOG_HAZARD_AT_ERFCX_1 - log_erfcx
        z = np.minimum(z - (found - tail) / np.exp(log_hazard_of_z), 0.0)
    log_slope = _log_sum(shares + log_hazard - log_scale) - log_hazard_of_z
    return np.where(below < above, z, -z), log_slope


def _log_tails(e):
    """log erfcx(|e| / sqrt 2), and the logarithms of Phi(-|e|) and Phi(|e|)."""
    log_erfcx = np.log(erfcx(np.abs(e) / np.sqrt(2)))
    small = log_erfcx - 0.5 * e**2 - np.log(2)
    return log_erfcx, small, np.log1p(-np.exp(small))


def _updated(log_weights, e, log_scale):
    """Log-weights of the components after one more column is known."""
    log_weights = log_weights - 0.5 * e**2 - log_scale
    return log_weights - _log_sum(log_weights)


def _log_sum(logarithms):
    """Logarithm of the sum of exponentials over components; scipy's takes twice the time."""
    largest = logarithms.max(axis=0)
    return largest + np.log(np.exp(logarithms - largest).sum(axis=0))


def _diagonals(roots):
    return np.diagonal(roots, axis1=-2, axis2=-1)


def _root(log_weights, means, scale, z):
    """The values whose quantiles are z, by Newton's method within brackets.

    A quantile of a mixture lies between those of its components. The step from a value this `CLOSE`
    is the last, as it squares the error.
    """
    of_parts = means + scale * z
    low, high = of_parts.min(axis=0), of_parts.max(axis=0)
    x = (np.exp(log_weights) * of_parts).sum(axis=0).clip(low, high)
    active = np.arange(len(z))
    for step in range(MAX_NEWTON_STEPS):
        e = (x[active] - means[:, active]) / scale
        found, log_slope = _quantile(log_weights[:, active], e, np.log(scale))
        above = found - z[active]
        low[active] = np.where(above < 0, x[active], low[active])
        high[active] = np.where(above < 0, high[active], x[active])
        with np.errstate(over="ignore", invalid="ignore"):
            next_x = x[active] - above * np.exp(-log_slope)
        is_inside = (next_x >= low[active]) & (next_x <= high[active])
        # From time to time the bracket is halved, whatever Newton's steps do.
        is_close = np.abs(above) <= CLOSE * (1 + np.abs(z[active]))
        keeps = is_inside & (is_close | (step % 4 < 3))
        x[active] = np.where(keeps, next_x, (low[active] + high[active]) / 2)
        active = active[~(is_close & is_inside) & (low[active] < high[active])]
        if not len(active):
            break
    return x
