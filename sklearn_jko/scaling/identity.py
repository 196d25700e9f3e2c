"""The scaler that leaves rows unchanged."""

import numpy as np

from sklearn_jko.statistics.columns import bounded

__all__ = ["Identity"]


class Identity:
    """Z = X, bounded like the output of every scaler."""

    learned = ()

    def fit(self, X):
        return self

    def check(self, n_features):
        """Nothing was learned."""

    def transform(self, X):
        return bounded(X), np.zeros(len(X))

    def inverse_transform(self, Z):
        return Z.copy()
