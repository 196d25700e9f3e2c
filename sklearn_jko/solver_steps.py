"""The number of solver steps that the blocks of a trained flow need, and the remaining errors."""

import functools
import math
import time
from typing import NamedTuple

import numpy as np
import torch

from sklearn_jko.flow import JKOFlow, in_batches

__all__ = ["STEPS", "Calibration", "calibrate_steps", "n_measurable", "with_draws"]

FEW_ROWS = 100
# A measurement takes about as long as PROBES comparisons of one step with two.
PROBED_ROWS, PROBES = 10, 5
ROWS_OF_A_DRAW = 4
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Round-trip error, in scaled units, up to which steps are not refined.
INVERSION_TOL = 1e-7
# Rows that are not measured may have larger errors than those that are.
MARGIN = 2.0


class Calibration(NamedTuple):
    """Solver steps that suffice for some rows, and the remaining errors.

    Attributes
    ----------
    n_steps : ndarray of int of shape (n_blocks,)
        At most 64.
    solver_error : float
        Largest change of a row's log-density when the steps are doubled, in nats over
        1 + |log-density| / 1000.
    round_trip : Tensor of shape (n, d)
        The rows after mapping them to noise and back.
    """

    n_steps: np.ndarray
    solver_error: float
    round_trip: torch.Tensor


@torch.no_grad()
def calibrate_steps(flow, x, tol):
    """The smallest number of solver steps of each block whose doubling hardly changes the results.

    Doubling them may change the log-density of each of these rows by at most half of ``tol``, so
    that on other rows the change should rarely exceed ``tol``; and rows must return from a round
    trip to within 1e-7. The first is divided by 1 + |log-density| / 1000, the second by the norm
    where that is above 1, as far out rounding alone would exceed absolute tolerances.

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
            back = in_batches(flow, functools.partial(_round_trip, flow, n_steps), x)
            if is_finest or _distance(back, x) <= INVERSION_TOL:
                return Calibration(n_steps, error, back)
        n_steps = np.array([_finer(n) for n in n_steps])


@torch.no_grad()
def with_draws(flow, x):
    """Some rows, and draws from the flow: one for every four of them, which has the inputs of one.

    Where there are no data, as between clusters, blocks may need more steps. Draws fall there.

    Parameters
    ----------
    flow : JKOFlow
    x : Tensor of shape (n, d)
    """
    some = x[: len(x) // ROWS_OF_A_DRAW]
    shape = flow.base.modelled(some).shape
    noise = flow.base.sample(shape, torch.Generator().manual_seed(0)).to(x)
    z = torch.cat([noise, some[:, shape[1] :]], dim=1)
    drawn = in_batches(flow, lambda rows: flow.inverse(rows, STEPS[1]), z)
    return torch.cat([x, drawn[drawn.isfinite().all(dim=1)]])


@torch.no_grad()
def n_measurable(flow, x, deadline):
    """How many of these rows can be measured before the deadline, at least 100.

    Parameters
    ----------
    flow : JKOFlow
    x : Tensor of shape (n, d)
    deadline : float
        By `time.monotonic`.
    """
    if deadline == math.inf or len(flow.blocks) == 0:
        return len(x)
    start = time.monotonic()
    _by_doubled_steps(flow, x[:PROBED_ROWS], 1)
    now = time.monotonic()
    rows_in_time = PROBED_ROWS * (deadline - now) / (PROBES * max(now - start, 1e-9))
    return int(min(max(rows_in_time, FEW_ROWS), len(x)))


def _steps_of_each(flow, x, tol):
    """Steps for each block as if it were the last."""
    n_steps = np.empty(len(flow.blocks), dtype=int)
    for k, block in enumerate(flow.blocks):
        n_steps[k], x = _fewest_steps(JKOFlow([block], flow.base, flow.solver), x, tol)
    return n_steps


def _fewest_steps(flow, x, tol):
    """The fewest steps whose doubling changes little, and the rows moved by the doubled steps."""
    # Steps that are too coarse mostly show this for a few rows already.
    parts = (x[:FEW_ROWS], x) if len(x) > FEW_ROWS else (x,)
    for n_steps in STEPS[:-1]:
        for rows in parts:
            error, moved = _by_doubled_steps(flow, rows, n_steps)
            if not error <= tol:
                break
        else:
            return n_steps, moved
    return STEPS[-1], _by_doubled_steps(flow, x, STEPS[-1])[1]


def _finer(n_steps):
    return next((n for n in STEPS if n > n_steps), STEPS[-1])


def _by_doubled_steps(flow, x, n_steps):
    """Largest change of a log-density when steps are doubled, and the rows moved by these."""

    def both(rows):
        moved, log_det = flow(rows, 2 * n_steps)
        fine = flow.base.log_prob(moved) + log_det
        return flow.log_prob(rows, n_steps), fine, moved

    coarse, fine, moved = in_batches(flow, both, x)
    error = (fine - coarse).abs() / (1 + 1e-3 * fine.abs())
    return _largest(error.where(fine != coarse, 0.0)), moved  # both may be infinite


def _round_trip(flow, n_steps, x):
    return flow.inverse(flow.transform(x, n_steps), n_steps)


def _distance(back, x):
    return _largest((back - x).norm(dim=1) / x.norm(dim=1).clamp(min=1))


def _largest(errors):
    return float(errors.nan_to_num(nan=math.inf).max()) if len(errors) else 0.0
