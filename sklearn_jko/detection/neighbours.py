"""Log-densities by the distances to neighbours."""

import math

import numpy as np
from sklearn.neighbors import NearestNeighbors

__all__ = ["NeighbourDensity"]

FEW = 2
# Beyond so many columns a tree takes longer than all distances.
TREE_COLUMNS = 5
# In units of the columns: what is added to distances, so that their logarithms stay finite; and the
# distance, as a share of one plus a row's length, below which it is in its neighbour's place.
SMALLEST_DISTANCE, SAME_PLACE = 1e-2, 1e-6


class NeighbourDensity:
    """Mean of two nearest-neighbour estimates of a log-density, up to a constant.

    One is by the second neighbour, which resolves what is rare, and one by the square root of
    their number, which a few outliers among them do not mislead. A row in the very place of a
    neighbour passes for that neighbour, and is not counted as its own.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        In columns of about unit deviation.
    n_dimensions : int, optional
        Where that is not d.
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
