"""Measurements of a trained flow."""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import gen_batches

from sklearn_jko.checks import check_complete, check_is_flow
from sklearn_jko.devices import on_device_of
from sklearn_jko.flow import JKOFlow, in_parts

__all__ = [
    "STEPS",
    "BlockMeasures",
    "Calibration",
    "calibrate_steps",
    "measure_blocks",
    "movements_of",
    "path_through_blocks",
]

CHUNK = 2048

FEW_ROWS = 100
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Largest round-trip error, in scaled units, for which no finer steps are taken.
INVERSION_TOL = 1e-7
# Rows that are not measured may be worse than the worst of those that are.
MARGIN = 2.0


class BlockMeasures(NamedTuple):
    """What the blocks of a flow do to some rows.

    Attributes
    ----------
    distances : list of float, one a block
        Root of the mean squared distance E|x1 - x0|^2 by which the block moves the rows, in
        scaled units: the paper's S_k, section 4.2.
    movements : list of float, one a block
        E|x1 - x0|^2 / E|x1|^2, by which the paper's stopping rule goes.
    nll : list of float, one a block and one more at the start
        Mean negative log-density in nats per row, in the units of X, of the flow that ends there:
        of the scaling alone, of the first block, and so on. Integers count by the density at their
        numbers, and categories that are not given are left out.
    """

    distances: list[float]
    movements: list[float]
    nll: list[float]


def measure_blocks(density, X):
    """Movement and likelihood after each block of a fitted density.

    Parameters
    ----------
    density : JKOFlowDensity
        Fitted.
    X : array-like of shape (n_samples, n_features)
        Without missing values.

    Returns
    -------
    measures : BlockMeasures

    Raises
    ------
    TypeError
        If `density` is something else.

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
        Of rows, as of `path_through_blocks`.

    Returns
    -------
    movements : list of float, one a block
    """
    return (_mean_squares(np.diff(path, axis=0)) / _mean_squares(path[1:])).tolist()


def path_through_blocks(density, X):
    """Where rows are after the scaling and after each block.

    Parameters
    ----------
    density : JKOFlowDensity
        Fitted.
    X : array-like of shape (n_samples, n_features)
        Without missing values.

    Returns
    -------
    path : ndarray of shape (n_blocks_ + 1, n_samples, n_modelled)
        The first are the scaled rows, the last are those of `transform`, of the columns that the
        flow models.

    Raises
    ------
    TypeError
        If `density` is something else.
    """
    return _path(density, X)[0]


def _mean_squares(rows):
    return np.square(rows).sum(axis=2).mean(axis=1)


@torch.inference_mode(False)  # it would forbid the trace by automatic differentiation
@torch.no_grad()
def _path(density, X):
    """Rows, and log-densities of the flow that ends there, of shape (n_blocks + 1, n)."""
    check_is_flow("density", density)
    X, base = density._validated(X), density.flow_.base
    check_complete(density, X)
    shape = len(density.flow_.blocks) + 1, len(X)
    path, log_density = np.empty((*shape, density._n_features_out)), np.empty(shape)
    for chunk in gen_batches(len(X), CHUNK):
        Z, scaler_log_det = density.scaler_.transform(np.asarray(X[chunk], dtype=np.float64))
        for stop, (x, log_det) in enumerate(density.flow_.path(on_device_of(density.flow_, Z))):
            path[stop, chunk] = base.modelled(x).numpy()
            log_prob = base.log_prob(x) + log_det
            log_density[stop, chunk] = log_prob.numpy() + scaler_log_det
    return path, log_density


class Calibration(NamedTuple):
    """Solver steps that suffice for some rows, and what is left of errors.

    Attributes
    ----------
    n_steps : ndarray of int of shape (n_blocks,)
        At most 64.
    solver_error : float
        Largest change of a row's log-density when the steps are doubled, in nats over
        1 + |log-density| / 1000.
    round_trip : Tensor of shape (n, d)
        The rows after they went to noise and back.
    """

    n_steps: np.ndarray
    solver_error: float
    round_trip: torch.Tensor


@torch.no_grad()
def calibrate_steps(flow, x, tol):
    """Fewest solver steps of each block that leave the results as they are when doubled.

    Log-densities may then change by at most half of ``tol`` on any of these rows, and so by hardly
    more than ``tol`` on others; and rows must return from a round trip to within 1e-7. The first is
    divided by 1 + |log-density| / 1000, the second by the norm where that is above 1: far out,
    rounding alone would exceed absolute errors.

    Parameters
    ----------
    flow : JKOFlow
    x : Tensor of shape (n, d)
        Rows to measure on, float64.
    tol : float
        In nats.

    Returns
    -------
    calibration : Calibration
    """
    tol = tol / MARGIN
    n_steps = _steps_of_each(flow, x, tol)
    while True:
        is_finest = np.all(n_steps == STEPS[-1])
        error, _ = _by_doubled_steps(flow, x, n_steps)
        if error <= tol or is_finest:
            back = in_parts(flow, functools.partial(_round_trip, flow, n_steps), x)
            if is_finest or _distance(back, x) <= INVERSION_TOL:
                return Calibration(n_steps, error, back)
        n_steps = np.array([_finer(n) for n in n_steps])


def _steps_of_each(flow, x, tol):
    """Steps for each block as if it were the last."""
    n_steps = np.empty(len(flow.blocks), dtype=int)
    for k, block in enumerate(flow.blocks):
        n_steps[k], x = _fewest_steps(JKOFlow([block], flow.base, flow.solver), x, tol)
    return n_steps


def _fewest_steps(flow, x, tol):
    """Steps of which the doubled change little, and the rows by the doubled ones."""
    for n_steps in STEPS[:-1]:
        # Most of what is too coarse is so for a few rows already.
        for rows in (x[:FEW_ROWS], x):
            error, moved = _by_doubled_steps(flow, rows, n_steps)
            if not error <= tol:
                break
        else:
            return n_steps, moved
    return STEPS[-1], _by_doubled_steps(flow, x, STEPS[-1])[1]


def _finer(n_steps):
    return next((n for n in STEPS if n > n_steps), STEPS[-1])


def _by_doubled_steps(flow, x, n_steps):
    """Largest change of a log-density when the steps are doubled, and the rows by these."""

    def both(rows):
        moved, log_det = flow(rows, 2 * n_steps)
        fine = flow.base.log_prob(moved) + log_det
        return flow.log_prob(rows, n_steps), fine, moved

    coarse, fine, moved = in_parts(flow, both, x)
    error = (fine - coarse).abs() / (1 + 1e-3 * fine.abs())
    return _largest(error.where(fine != coarse, 0.0)), moved  # both may be infinite


def _round_trip(flow, n_steps, x):
    return flow.inverse(flow.transform(x, n_steps), n_steps)


def _distance(back, x):
    return _largest((back - x).norm(dim=1) / x.norm(dim=1).clamp(min=1))


def _largest(errors):
    return float(errors.nan_to_num(nan=math.inf).max()) if len(errors) else 0.0
