"""Measurements of a trained flow."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_jko.checks import check_complete, check_is_flow
from sklearn_jko.devices import on_device_of
from sklearn_jko.flow import ROWS_AT_ONCE

__all__ = ["BlockMeasures", "measure_blocks", "movements_of", "path_through_blocks"]


class BlockMeasures(NamedTuple):
    """What the blocks of a flow do to given rows.

    Attributes
    ----------
    distances : list of float, one per block
        Root mean squared distance by which the block moves the rows, the root of E|x1 - x0|^2, in
        scaled units: S_k in section 4.2 of the paper.
    movements : list of float, one per block
        E|x1 - x0|^2 / E|x1|^2, the quantity in the paper's stopping rule.
    nll : list of float, one per block and one more at the start
        Mean negative log-density, in nats per row and in the units of X, of the flow truncated
        there: of the scaling alone, with the first block, and so on. Integers contribute the
        density at their values instead of a probability; categories that are not given are left
        out. Infinite if a row is outside the bounds of a column.
    """

    distances: list[float]
    movements: list[float]
    nll: list[float]


def measure_blocks(density, X):
    """Movement by, and likelihood after, each block of a fitted density.

    Parameters
    ----------
    density : JKOFlowDensity
        Fitted density.
    X : array-like of shape (n_samples, n_features)
        Without missing values.

    Returns
    -------
    measures : BlockMeasures

    Raises
    ------
    TypeError
        If `density` is not a JKOFlowDensity.
    ValueError
        If X has missing values, or `density.transform` refuses it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_jko import JKOFlowDensity
    >>> from sklearn_jko.diagnostics import measure_blocks
    >>> X = load_iris().data
    >>> density = JKOFlowDensity(random_state=0, max_iter=50).fit(X)
    >>> len(measure_blocks(density, X).nll) == density.n_blocks_ + 1
    True
    """
    path, log_density = _path(density, X)
    distances = np.sqrt(_mean_squares(np.diff(path, axis=0)))
    return BlockMeasures(
        distances.tolist(), movements_of(path), (-log_density.mean(axis=1)).tolist()
    )


def movements_of(path):
    """E|x1 - x0|^2 / E|x1|^2 of each block.

    Parameters
    ----------
    path : ndarray of shape (n_blocks + 1, n, d)
        Path of rows, as returned by `path_through_blocks`.

    Returns
    -------
    movements : list of float, one per block
    """
    return (_mean_squares(np.diff(path, axis=0)) / _mean_squares(path[1:])).tolist()


def path_through_blocks(density, X):
    """Positions of rows after the scaling and after each block.

    Parameters
    ----------
    density : JKOFlowDensity
        Fitted density.
    X : array-like of shape (n_samples, n_features)
        Without missing values.

    Returns
    -------
    path : ndarray of shape (n_blocks_ + 1, n_samples, n_modelled)
        First the scaled rows, last those of `transform`; only the coordinates that the flow models.

    Raises
    ------
    TypeError
        If `density` is not a JKOFlowDensity.
    ValueError
        If X has missing values, or `density.transform` refuses it.
    """
    return _path(density, X)[0]


def _mean_squares(rows):
    return np.square(rows).sum(axis=2).mean(axis=1)


@torch.no_grad()
def _path(density, X):
    """Rows after each block, and log-densities (n_blocks + 1, n) of the flow truncated there."""
    check_is_flow("density", density)
    X, base = density._validated(X), density.flow_.base
    check_complete(density, X)
    shape = len(density.flow_.blocks) + 1, len(X)
    path, log_density = np.empty((*shape, density._n_features_out)), np.empty(shape)
    for chunk in gen_batches(len(X), ROWS_AT_ONCE):
        Z, scaler_log_det = density.scaler_.transform(np.asarray(X[chunk], dtype=np.float64))
        for stop, (x, log_det) in enumerate(density.flow_.path(on_device_of(density.flow_, Z))):
            path[stop, chunk] = base.modelled(x).numpy()
            log_prob = base.log_prob(x) + log_det
            log_density[stop, chunk] = log_prob.numpy() + scaler_log_det
    return path, log_density
