"""Draws of missing labels, given all observed values of a row."""

import numpy as np
from scipy.special import softmax

from sklearn_jko.columns.category_model import CategoryModel
from sklearn_jko.missing.incomplete_normal import fit_normal, marginal_log_density
from sklearn_jko.missing.within_labels import WithinLabels
from sklearn_jko.statistics.drawing import drawn_index
from sklearn_jko.statistics.normal_mixture import NormalMixture

__all__ = ["LabelDraws"]


class LabelDraws:
    """P(label | the rest of the row) by Bayes' rule, for one category after the other.

    Given the other labels its probability comes from a logistic regression. Given labels, the
    numbers are normal, with means and deviations that depend on each label (`WithinLabels`) and a
    correlation that is common to all. Missing numbers and labels are left out.

    Parameters
    ----------
    low, high, label_columns, n_labels
        See `WithinLabels`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.missing.label_draws import LabelDraws
    >>> rng = np.random.default_rng(0)
    >>> codes = rng.integers(3, size=300)
    >>> X = np.c_[np.array([0, 20, 10])[codes] + rng.normal(size=300), codes]
    >>> X[:50, 1] = np.nan
    >>> ends = np.full(2, -np.inf), np.full(2, np.inf)
    >>> filled = LabelDraws(*ends, np.array([1]), np.array([3])).fit(X).fill(X, rng)
    >>> bool((filled[:50, 1] == codes[:50]).all())
    True
    """

    def __init__(self, low, high, label_columns, n_labels):
        self.label_columns, self.n_labels = label_columns, n_labels
        self.within = WithinLabels(low, high, label_columns, n_labels)

    def fit(self, X):
        Z, _ = self.within.fit(X).transform(X)
        self.normal_ = NormalMixture.single(*fit_normal(Z))
        self.known_ = X[:, self.label_columns]
        return self

    def fill(self, X, random_state):
        """The rows with draws in place of missing labels."""
        X = X.copy()
        for place, column in enumerate(self.label_columns):
            gaps = np.flatnonzero(np.isnan(X[:, column]))
            if len(gaps) == 0:
                continue
            labels = _codes(X[np.ix_(gaps, self.label_columns)])
            log_p = self._of_labels(place).log_prob_of_each(labels)
            for label in range(self.n_labels[place]):
                rows = X[gaps]
                rows[:, column] = label
                log_p[:, label] += self._of_numbers(rows)
            probabilities = softmax(log_p, axis=1)
            X[gaps, column] = drawn_index(probabilities, random_state.random(len(gaps)))
        return X

    def _of_labels(self, place):
        """Probabilities of a category's labels, given those of the others."""
        others = np.delete(np.arange(len(self.label_columns)), place)
        known = self.known_[~np.isnan(self.known_[:, place])]
        return CategoryModel(others, np.array([place]), self.n_labels).fit(_codes(known))

    def _of_numbers(self, X):
        Z, log_slope = self.within.transform(X)
        return log_slope + marginal_log_density(self.normal_, Z)


def _codes(labels):
    """The labels with the code of an unknown one where they are missing."""
    return np.nan_to_num(labels, nan=-1.0)
