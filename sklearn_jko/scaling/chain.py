"""Several scalers, one after the other."""

import numpy as np

__all__ = ["Chain"]


class Chain:
    """Apply scalers from left to right, each fitted to the output of those before it.

    Parameters
    ----------
    scalers : list of scalers
    """

    def __init__(self, scalers):
        self.scalers = scalers

    def fit(self, X):
        for scaler in self.scalers[:-1]:
            X, _ = scaler.fit(X).transform(X)
        self.scalers[-1].fit(X)
        return self

    def transform(self, X):
        log_det = np.zeros(len(X))
        for scaler in self.scalers:
            X, step = scaler.transform(X)
            log_det += step
        return X, log_det

    def inverse_transform(self, Z):
        for scaler in reversed(self.scalers):
            Z = scaler.inverse_transform(Z)
        return Z
