"""The scaler that does nothing."""

import numpy as np

__all__ = ["Identity"]


class Identity:
    """Z = X."""

    def fit(self, X):
        return self

    def transform(self, X):
        return X.copy(), np.zeros(len(X))

    def inverse_transform(self, Z):
        return Z.copy()
