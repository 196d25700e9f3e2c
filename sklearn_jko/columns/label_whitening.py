"""Whitening within the labels of a category."""

import numpy as np

from sklearn_jko.checks import check_ndarray
from sklearn_jko.statistics.covariance import held_out_losses, moments, symmetric_roots

__all__ = ["LabelWhitening"]

# Numbers of prior rows, with the covariance of all rows, that are added to those of a label.
PRIOR_ROWS = np.geomspace(1.0, 1e6, 25)
# Largest number of entries in all matrices: beyond it, no label has one, and rows stay unchanged.
MAX_NUMBERS = 500_000


class LabelWhitening:
    """Centre the rows of each label, and whiten them by a covariance of their own.

    The rows of all labels together are white before. A label's covariance is that of its n rows
    and a number of prior rows with the identity as covariance, its mean that of its rows and one at
    the origin. The number of prior rows, the same for all labels, is chosen by the normal
    likelihood of held-out rows. If labels do not differ, or have few rows, the rows stay nearly
    unchanged. They stay exactly unchanged for an unknown label (code -1), and if labels times
    squared columns are over 500,000.

    Parameters
    ----------
    n_labels : int

    Attributes
    ----------
    means_ : ndarray of shape (k + 1, p)
        Mean of each of k = `n_labels` labels, or of none if these are too many, and, last, where
        code -1 finds it, of all others.
    whitening_, colouring_ : ndarrays of shape (k + 1, p, p)
        Symmetric, and each other's inverse.
    log_dets_ : ndarray of shape (k + 1,)

    References
    ----------
    Friedman (1989), Regularized discriminant analysis, Journal of the American Statistical
    Association 84.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.columns.label_whitening import LabelWhitening
    >>> rng = np.random.default_rng(0)
    >>> codes = rng.integers(2, size=1000)
    >>> Z = rng.normal(size=(1000, 1)) * np.where(codes, 0.1, 1.4)[:, None]
    >>> white, _ = LabelWhitening(2).fit(Z, codes).transform(Z, codes)
    >>> bool(abs(white[codes == 1].std() - 1) < 0.1)
    True
    """

    learned = ("means_", "whitening_", "colouring_", "log_dets_")

    def __init__(self, n_labels):
        self.n_labels = n_labels

    def fit(self, Z, codes):
        p = Z.shape[1]
        n = self._n_matrices(p)
        self.means_ = np.zeros((n, p))
        self.whitening_ = np.tile(np.eye(p), (n, 1, 1))
        self.colouring_ = self.whitening_.copy()
        self.log_dets_ = np.zeros(n)
        codes = self._of_matrices(codes)
        rows_of = {k: Z[codes == k] for k in np.unique(codes[codes >= 0])}
        if not rows_of:
            return self
        losses = sum(held_out_losses(rows, _shrunk) for rows in rows_of.values())
        prior = PRIOR_ROWS[np.argmin(losses)]
        for k, rows in rows_of.items():
            mean, scatter = moments(rows)
            covariance = (scatter + prior * np.eye(p)) / (len(rows) + prior)
            self.means_[k] = mean
            self.whitening_[k], self.colouring_[k], self.log_dets_[k] = symmetric_roots(covariance)
        return self

    def check(self, p):
        """Raise ValueError unless what was learned fits rows of p columns."""
        n = self._n_matrices(p)
        check_ndarray("means_", self.means_, (n, p))
        check_ndarray("whitening_", self.whitening_, (n, p, p))
        check_ndarray("colouring_", self.colouring_, (n, p, p))
        check_ndarray("log_dets_", self.log_dets_, (n,))

    def transform(self, Z, codes):
        """Rows (n, p) made white within their labels (n,), and log |det| (n,)."""
        codes, out = self._of_matrices(codes), np.empty(Z.shape)
        for k in np.unique(codes):
            rows = codes == k
            out[rows] = (Z[rows] - self.means_[k]) @ self.whitening_[k]
        return out, self.log_dets_[codes]

    def inverse_transform(self, Z, codes):
        """The rows that `transform` maps to Z."""
        codes, out = self._of_matrices(codes), np.empty(Z.shape)
        for k in np.unique(codes):
            rows = codes == k
            out[rows] = Z[rows] @ self.colouring_[k] + self.means_[k]
        return out

    def _n_matrices(self, p):
        n = self.n_labels + 1
        return n if n * p**2 <= MAX_NUMBERS else 1

    def _of_matrices(self, codes):
        """The codes of labels that have a matrix, and -1 for others."""
        return np.where(codes < len(self.means_) - 1, codes, -1).astype(int)


def _shrunk(eigenvalues, n):
    """Variances (k, p) by `PRIOR_ROWS`, from eigenvalues of the scatter of a label's n rows."""
    prior = PRIOR_ROWS[:, None]
    return (eigenvalues + prior) / (n + prior)
