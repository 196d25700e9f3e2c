"""A density of rows with labels and missing numbers."""

import numpy as np

from sklearn_jko.missing.marginal_mixture import MarginalMixture
from sklearn_jko.missing.within_labels import WithinLabels

__all__ = ["LabelledMixture"]


class LabelledMixture:
    """A `MarginalMixture` of the numbers in a row, standardised within their labels.

    Parameters
    ----------
    low, high, label_columns, n_labels
        See `sklearn_jko.missing.within_labels.WithinLabels`.
    """

    def __init__(self, low, high, label_columns, n_labels):
        self.within = WithinLabels(low, high, label_columns, n_labels)
        self.mixture = MarginalMixture()

    def fit(self, X, seed):
        """Fit to rows (n, d) of numbers, finite or NaN, and codes of labels."""
        Z, _ = self.within.fit(X).transform(X)
        self.mixture.fit(Z, seed)
        return self

    def fill(self, X, random_state):
        """Fill missing numbers with draws given what else is in the row."""
        Z, _ = self.within.transform(X)
        drawn = self.within.inverse_transform(self.mixture.fill(Z, random_state), X)
        filled, numbers = X.copy(), self.within.number_columns
        filled[:, numbers] = np.where(np.isnan(X[:, numbers]), drawn, X[:, numbers])
        return filled
