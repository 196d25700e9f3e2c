"""Log-densities from the distances to neighbours."""

import math

import numpy as np
from sklearn.neighbors import NearestNeighbors

__all__ = ["NeighbourDensity"]

FEW = 2
# With more columns a tree takes longer than computing all distances.
TREE_COLUMNS = 5
# In units of the columns: a constant added to distances, so that their logarithms stay finite; and
# the distance, relative to one plus a row's norm, below which a row coincides with its neighbour.
SMALLEST_DISTANCE, SAME_PLACE = 1e-2, 1e-6


class NeighbourDensity:
    """Mean of two nearest-neighbour estimates of a log-density, up to a constant.

    One uses the second neighbour, which resolves what is rare, and one the sqrt(n)-th of n
    neighbours, which a few outliers among them do not mislead. A row that coincides with a
    neighbour is taken for that neighbour, and does not count as its own neighbour.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        In columns of about unit deviation.
    n_dimensions : int, optional
        Number of dimensions, if that is not d.
    """

    def __init__(self, rows, n_dimensions=None):
        n, d = rows.shape
        self.n_dimensions = d if n_dimensions is None else n_dimensions
        self.ranks = [min(FEW, n), min(max(round(math.sqrt(n)), 1), n)]
        algorithm = "kd_tree" if d <= TREE_COLUMNS else "brute"
        n_neighbours = min(max(self.ranks) + 1, n)
        self._index = NearestNeighbors(n_neighbors=n_neighbours, algorithm=algorithm).fit(rows)

    def score_samples(self, X):
        """Log-density in nats, up to a constant, of each row of X (n, d)."""
        d = self.n_dimensions
        distances, _ = self._index.kneighbors(X)
        same = distances[:, :1] < SAME_PLACE * (1 + np.linalg.norm(X, axis=1, keepdims=True))
        others = np.concatenate([distances[:, 1:], distances[:, -1:]], axis=1)
        distances = np.where(same, others, distances)[:, np.array(self.ranks) - 1]
        return -d * np.log(distances + SMALLEST_DISTANCE * math.sqrt(d)).mean(axis=1)
