"""Rows of numbers and labels as points, between which there are distances."""

import numpy as np

__all__ = ["Coordinates", "standard_normal_log_density"]

# Squares of larger ones would overflow.
FARTHEST = 1e100
# Rows that each label is given before any are seen, an unknown one too.
PRIOR_ROWS = 0.5


class Coordinates:
    """Numbers as they are, and labels as corners of a simplex whose edges have length 1.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        The numbers in columns of about unit deviation, the labels as codes.
    labels : ndarray of int
        Numbers of the columns that hold codes.
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
    >>> points = Coordinates(rows, labels=np.array([1]), n_labels=[2]).points
    >>> np.linalg.norm(points[0] - points[1:], axis=1).round(3).tolist()
    [1.0, 1.118]
    """

    def __init__(self, rows, labels, n_labels):
        self.labels, self.n_dimensions = labels, rows.shape[1]
        self._log_shares = [
            _log_shares(codes, n) for codes, n in zip(rows[:, labels].T, n_labels, strict=True)
        ]
        self.points = self.of(rows)

    def of(self, rows):
        """The points (n, p) of rows (n, d), where an unknown label, code -1, is a corner too."""
        corners = [
            np.eye(len(log_shares))[codes.astype(int)] / np.sqrt(2)
            for codes, log_shares in self._columns_of_labels(rows)
        ]
        return np.hstack([self._numbers(rows), *corners])

    def log_density_of_independent_columns(self, rows):
        """That (n,) of standard normal numbers, up to a constant, and labels by their shares."""
        log_density = standard_normal_log_density(np.delete(rows, self.labels, axis=1))
        for codes, log_shares in self._columns_of_labels(rows):
            log_density += log_shares[codes.astype(int)]
        return log_density

    def _numbers(self, rows):
        return _bounded(np.delete(rows, self.labels, axis=1))

    def _columns_of_labels(self, rows):
        return zip(rows[:, self.labels].T, self._log_shares, strict=True)


def standard_normal_log_density(numbers):
    """That (n,) of rows (n, d) of any numbers, up to a constant, and finite."""
    return -0.5 * np.square(_bounded(numbers)).sum(axis=1)


def _bounded(numbers):
    return np.nan_to_num(numbers).clip(-FARTHEST, FARTHEST)


def _log_shares(codes, n_labels):
    """Of each label, and last, where the code -1 finds it, of an unknown one."""
    counts = np.bincount(codes[codes >= 0].astype(int), minlength=n_labels)
    counts = np.r_[counts, 0] + PRIOR_ROWS
    return np.log(counts / counts.sum())
