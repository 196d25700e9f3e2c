"""Several estimates of a log-density in one score."""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin, pairwise_distances_chunked

from sklearn_jko.detection.coordinates import Coordinates
from sklearn_jko.detection.independent_columns import IndependentColumns
from sklearn_jko.detection.neighbours import NeighbourDensity
from sklearn_jko.scaling import make_scaler

__all__ = ["SCALING", "CombinedScore"]

# Weights of the estimates, chosen on ADBench and on synthetic outliers: between clusters, within
# rings, with the correlations removed, and next to positive columns.
FLOW, INDEPENDENT, IN_COLUMNS, IN_LATENTS = np.array([2, 1, 2, 1]) / 6
# One value far from all others must not turn its column into a constant.
SCALING = "tails+standard"
# Weight of distances in other columns, relative to those in columns that take precedence.
SHARE_OF_OTHERS = 0.01
WORKING_MEMORY = 64  # MiB of distances to rows with gaps


class CombinedScore:
    """Weighted mean of four estimates of a log-density, up to a constant.

    Weight 1/3 is the flow's; 1/6 that of independent columns and labels; 1/3 comes from the
    distances to two neighbours in standardised columns with far values pulled in; and 1/6 from
    those in the flow's latent coordinates.

    Parameters
    ----------
    neighbours : ndarray of shape (n, d)
        Without gaps.
    latent : ndarray of shape (n, p)
        Their latent coordinates.
    label_columns : ndarray of int
        Indices of the columns that hold labels, as codes.
    n_labels : sequence of int
        How many labels each of these has.
    """

    def __init__(self, neighbours, latent, label_columns, n_labels):
        self.label_columns = label_columns
        self.scaler = make_scaler(SCALING).fit(np.delete(neighbours, label_columns, axis=1))
        standard = self._standard(neighbours)
        self.independent = IndependentColumns(standard, label_columns, n_labels)
        self.columns = Coordinates(standard, label_columns, n_labels)
        beside = self._beside_labels(latent, neighbours)
        behind = beside.shape[1] - np.arange(len(label_columns), 0, -1)
        self.latents = Coordinates(beside, behind, n_labels)
        self.in_columns, self.in_latents = (
            NeighbourDensity(space.points, space.n_dimensions)
            for space in (self.columns, self.latents)
        )

    def of(self, X, latent, log_density):
        """Scores (n,) of rows (n, d) with these latent coordinates and log-densities."""
        standard, beside = self._standard(X), self._beside_labels(latent, X)
        return (
            FLOW * log_density
            + INDEPENDENT * self.independent.score_samples(standard)
            + IN_COLUMNS * self.in_columns.score_samples(self.columns.of(standard))
            + IN_LATENTS * self.in_latents.score_samples(self.latents.of(beside))
        )

    def nearest_to_observed(self, X, k):
        """Indices (n, k) of the neighbours nearest to rows with gaps in their observed columns."""
        missing = np.isnan(X)
        points = self.columns.of(self._standard(np.where(missing, 0.0, X)))
        points[self.columns.of_missing(missing)] = np.nan
        k = min(k, len(self.columns.points))

        def indices(distances, start):
            # Of a row without any value all distances are unknown, and all rows as near.
            return np.argsort(np.nan_to_num(distances), axis=1, kind="stable")[:, :k]

        chunks = pairwise_distances_chunked(
            points,
            self.columns.points,
            metric="nan_euclidean",
            reduce_func=indices,
            working_memory=WORKING_MEMORY,
        )
        return np.concatenate([*chunks])

    def nearest(self, X, rows, first):
        """Index (n,) of the row among `rows` (m, d) that is nearest to each row of X (n, d).

        Distances in the columns `first`, if any, take precedence over those in others.
        """
        return pairwise_distances_argmin(self._points(X, first), self._points(rows, first))

    def _points(self, X, first):
        standard = self._standard(X)
        if len(first):
            others = np.setdiff1d(np.arange(X.shape[1]), first)
            standard[:, np.setdiff1d(others, self.label_columns)] *= SHARE_OF_OTHERS
            standard[:, np.intersect1d(others, self.label_columns)] = 0.0
        return self.columns.of(standard)

    def _standard(self, X):
        """Rows with their numbers standardised."""
        X, is_number = X.copy(), np.delete(np.arange(X.shape[1]), self.label_columns)
        X[:, is_number], _ = self.scaler.transform(X[:, is_number])
        return X

    def _beside_labels(self, latent, X):
        return np.hstack([latent, X[:, self.label_columns]])
