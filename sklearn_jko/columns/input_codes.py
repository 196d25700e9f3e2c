"""Inputs of rows encoded as numbers for a network or a regression."""

import numpy as np

from sklearn_jko.checks import check_ndarray
from sklearn_jko.scaling.power import Power
from sklearn_jko.statistics.columns import MAX_DEVIATIONS

__all__ = ["InputCodes", "n_codes_given"]


class InputCodes:
    """Columns of numbers and of categories as columns of about unit size.

    A number becomes its Yeo-Johnson power (`Power`), clipped to +-10 deviations. A category of K
    labels becomes K columns: 1 for the row's own label and 0 for others, all 0 for an unknown one
    (code -1) or one that `fit` did not see in two rows: from a label that only one row has, such as
    a name, nothing but that row could be memorised. The numbers come first.

    Parameters
    ----------
    n_labels : ndarray of shape (g,), int
        How many labels each column has; 0 for a column of numbers.

    Attributes
    ----------
    seen_ : ndarray of shape (n,)
        For all labels of all categories: 1 for those that `fit` saw at least twice, 0 for others.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.columns.input_codes import InputCodes
    >>> rows = np.array([[0, 1.5], [2, 2.5], [0, 1.5], [2, 2.5], [1, 2.0]])
    >>> codes = InputCodes(n_labels=np.array([3, 0])).fit(rows).transform(rows)
    >>> codes[-3:].round(1).tolist()
    [[-1.1, 1.0, 0.0, 0.0], [1.1, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """

    learned = ("seen_",)

    def __init__(self, n_labels):
        self.n_labels = n_labels
        self.powers = Power()
        self.parts = [self.powers]

    @property
    def n_codes(self):
        """Number of columns that `transform` returns."""
        return int(np.maximum(self.n_labels, 1).sum())

    def fit(self, X):
        self.powers.fit(X[:, self.n_labels == 0])
        self.seen_ = (self._one_hot(X).sum(axis=0) > 1).astype(np.float64)
        return self

    def check(self):
        """Raise ValueError unless what was learned fits such columns."""
        self.powers.check(np.count_nonzero(self.n_labels == 0))
        check_ndarray("seen_", self.seen_, (int(self.n_labels.sum()),), 0.0, 1.0)

    def transform(self, X):
        """Codes of shape (n, n_codes) of X (n, g)."""
        numbers, _ = self.powers.transform(X[:, self.n_labels == 0])
        numbers = numbers.clip(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        return np.hstack([numbers, self._one_hot(X) * self.seen_])

    def labels(self, codes):
        """Codes of the labels (n, n_categories), -1 for an unknown one, from the one-hot codes."""
        n_labels = self.n_labels[self.n_labels > 0].tolist()
        start = len(self.n_labels) - len(n_labels)  # after the numbers
        found = np.empty((len(codes), len(n_labels)))
        for column, n in zip(found.T, n_labels, strict=True):
            one_hot = codes[:, start : start + n]
            column[:] = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)
            start += n
        return found

    def _one_hot(self, X):
        is_label = self.n_labels > 0
        parts = zip(X[:, is_label].T, self.n_labels[is_label], strict=True)
        none = np.empty((len(X), 0), dtype=bool)
        return np.hstack([none, *(codes[:, None] == np.arange(n) for codes, n in parts)])


def n_codes_given(roles):
    """Number of columns of encoded inputs in a flow's rows; 0 if `roles` is None."""
    return 0 if roles is None else InputCodes(roles.n_labels).n_codes
