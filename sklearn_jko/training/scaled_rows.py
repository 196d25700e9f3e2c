"""Rows as training sees them: scaled, in single precision, on the device."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import gen_batches

__all__ = ["Rows", "as_rows", "outlier_ceiling", "row_nll"]

ROWS_AT_ONCE = 65_536
LARGEST_SCALED = 1e15  # its square is well within single precision
# A row is a gross outlier where its NLL exceeds the median by more than 20 times
# (0.9-quantile - median + 1 nat).
OUTLYING = 20


class Rows(NamedTuple):
    """Rows on their way through the flow: (n, d) values and (n,) log |det| so far.

    The latter is in double precision: the units of many columns can add thousands of nats, beside
    which single precision would lose the gain of a block.
    """

    x: torch.Tensor
    log_det: torch.Tensor


def as_rows(scaler, X, device):
    """Scale rows in chunks, clip them, and put them on the device.

    Parameters
    ----------
    scaler : object
    X : ndarray of shape (n, d) or BlurredRows
        May be empty.
    device : torch.device

    Returns
    -------
    rows : Rows
    """
    d = scaler.transform(X[:1])[0].shape[1]
    x = torch.empty((len(X), d), dtype=torch.float32, device=device)
    rows = Rows(x, torch.empty(len(X), dtype=torch.float64, device=device))
    for chunk in gen_batches(len(X), ROWS_AT_ONCE):
        Z, log_det = scaler.transform(X[chunk])
        Z = Z.clip(-LARGEST_SCALED, LARGEST_SCALED)
        rows.x[chunk] = torch.from_numpy(Z.astype(np.float32)).to(device)
        rows.log_det[chunk] = torch.tensor(log_det).to(device)
    return rows


def row_nll(base, rows):
    """Negative log-density in nats of each row, shape (n,)."""
    return -(base.log_prob(rows.x) + rows.log_det)


def outlier_ceiling(nll):
    """Upper limit of the negative log-density, in nats, that a single row may contribute."""
    median, high = (float(nll.quantile(q)) for q in (0.5, 0.9))
    return median + OUTLYING * (high - median + 1)
