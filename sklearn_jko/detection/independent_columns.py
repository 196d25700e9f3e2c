"""Log-densities of rows with independent columns."""

import numpy as np

from sklearn_jko.detection.coordinates import standard_normal_log_density
from sklearn_jko.scaling import make_scaler

__all__ = ["IndependentColumns"]

# Prior number of rows for each label, including an unknown one.
PRIOR_ROWS = 0.5


class IndependentColumns:
    """Mean of two log-densities of independent columns, up to a constant.

    In one the numbers are normal, in the other each column follows its own distribution, by a
    spline. The first finds values far out, and a few outliers change it little; the second finds
    values in gaps. In both, labels have probabilities equal to their shares.

    Parameters
    ----------
    rows, label_columns, n_labels
        See `sklearn_jko.detection.coordinates.Coordinates`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_jko.detection.independent_columns import IndependentColumns
    >>> rows = np.r_[np.linspace(-1.2, -0.8, 50), np.linspace(0.8, 1.2, 50)][:, None]
    >>> columns = IndependentColumns(rows, label_columns=np.arange(0), n_labels=[])
    >>> a_cluster, the_gap = columns.score_samples(np.array([[1.0], [0.0]]))
    >>> bool(a_cluster > the_gap + 1)
    True
    """

    def __init__(self, rows, label_columns, n_labels):
        self.label_columns = label_columns
        self._log_shares = [
            _log_shares(codes, n)
            for codes, n in zip(rows[:, label_columns].T, n_labels, strict=True)
        ]
        self._own = make_scaler("marginal").fit(self._numbers(rows))

    def score_samples(self, rows):
        """Log-density (n,) in nats, up to a constant, of rows (n, d)."""
        numbers = self._numbers(rows)
        made_normal, log_det = self._own.transform(numbers)
        log_density = standard_normal_log_density(made_normal) + log_det
        log_density = (standard_normal_log_density(numbers) + log_density) / 2
        for codes, log_shares in zip(rows[:, self.label_columns].T, self._log_shares, strict=True):
            log_density += log_shares[codes.astype(int)]
        return log_density

    def _numbers(self, rows):
        return np.delete(rows, self.label_columns, axis=1)


def _log_shares(codes, n_labels):
    """Log-share of each label and, last, where the code -1 finds it, of an unknown one."""
    counts = np.bincount(codes[codes >= 0].astype(int), minlength=n_labels)
    counts = np.r_[counts, 0] + PRIOR_ROWS
    return np.log(counts / counts.sum())
