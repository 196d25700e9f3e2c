"""Rows of numbers and labels as points in a Euclidean space."""

import numpy as np

__all__ = ["Coordinates", "standard_normal_log_density"]

# Squares of larger ones would overflow.
FARTHEST = 1e100


class Coordinates:
    """Numbers as they are, and labels as corners of a simplex whose edges have length 1.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        The numbers in columns of about unit deviation, the labels as codes.
    label_columns : ndarray of int
        Indices of the columns that hold codes.
    n_labels : sequence of int
        How many labels each of these has.

    Attributes
    ----------
    points : ndarray of shape (n, p)
        The rows as points.
    n_dimensions : int
        Number of the columns, in which a label counts as one dimension.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.detection.coordinates import Coordinates
    >>> rows = np.array([[0.5, 0], [0.5, 1], [0.0, 1]])
    >>> points = Coordinates(rows, label_columns=np.array([1]), n_labels=[2]).points
    >>> np.linalg.norm(points[0] - points[1:], axis=1).round(3).tolist()
    [1.0, 1.118]
    """

    def __init__(self, rows, label_columns, n_labels):
        self.label_columns, self.n_dimensions = label_columns, rows.shape[1]
        self._n_labels = n_labels
        self.points = self.of(rows)

    def of(self, rows):
        """The points (n, p) of rows (n, d), where an unknown label, code -1, is a corner too."""
        corners = [np.eye(n + 1)[rows[:, j].astype(int)] / np.sqrt(2) for j, n in self._labels()]
        return np.hstack([self._numbers(rows), *corners])

    def of_missing(self, missing):
        """Which coordinates (n, p) of the points are those of missing values (n, d)."""
        of_labels = [np.repeat(missing[:, [j]], n + 1, axis=1) for j, n in self._labels()]
        return np.hstack([np.delete(missing, self.label_columns, axis=1), *of_labels])

    def _labels(self):
        return zip(self.label_columns, self._n_labels, strict=True)

    def _numbers(self, rows):
        return _bounded(np.delete(rows, self.label_columns, axis=1))


def standard_normal_log_density(numbers):
    """Finite standard normal log-density (n,) of any rows (n, d), up to a constant."""
    return -0.5 * np.square(_bounded(numbers)).sum(axis=1)


def _bounded(numbers):
    return np.nan_to_num(numbers).clip(-FARTHEST, FARTHEST)
