"""Several scalers in sequence."""

import numpy as np

__all__ = ["Chain"]


class Chain:
    """Apply scalers from left to right, each fitted to the output of those before it.

    Parameters
    ----------
    scalers : list of scalers
    """

    def __init__(self, scalers):
        self.parts = scalers

    def fit(self, X):
        for scaler in self.parts[:-1]:
            X, _ = scaler.fit(X).transform(X)
        self.parts[-1].fit(X)
        return self

    def check(self, n_features):
        for scaler in self.parts:
            scaler.check(n_features)

    def transform(self, X):
        log_det = np.zeros(len(X))
        for scaler in self.parts:
            X, step = scaler.transform(X)
            log_det += step
        return X, log_det

    def inverse_transform(self, Z):
        for scaler in reversed(self.parts):
            Z = scaler.inverse_transform(Z)
        return Z
