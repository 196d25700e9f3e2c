"""Measurements of a trained flow."""

import numpy as np
import torch

from sklearn_jko.flow import JKOFlow

__all__ = ["calibrate_steps"]

FEW_ROWS = 100
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Largest round-trip error, in scaled units, for which no finer steps are taken.
INVERSION_TOL = 1e-7
# Rows that are not measured may be worse than the worst of those that are.
MARGIN = 2.0


@torch.no_grad()
def calibrate_steps(flow, x, tol):
    """Fewest solver steps of each block that leave the results as they are when doubled.

    Log-densities may then change by at most half of ``tol`` on any of these rows, and so by hardly
    more than ``tol`` on others; and rows must return from a round trip to within 1e-7. Of a row
    so far out that its log-density is below -1,000 nats, or its norm above 1, both are relative
    errors: rounding alone would exceed absolute ones.

    Parameters
    ----------
    flow : JKOFlow
    x : Tensor of shape (n, d)
        Rows to measure on, float64.
    tol : float
        In nats.

    Returns
    -------
    n_steps : ndarray of int of shape (n_blocks,)
        At most 64.
    solver_error : float
        Largest change of a row's log-density when the steps are doubled, in nats.
    """
    tol = tol / MARGIN
    n_steps = _steps_of_each(flow, x, tol)
    while True:
        error = _solver_error(flow, x, n_steps)
        is_honest = error <= tol and _inversion_error(flow, x, n_steps) <= INVERSION_TOL
        if is_honest or n_steps.min() == STEPS[-1]:
            return n_steps, error
        n_steps = np.array([_finer(n) for n in n_steps])


def _steps_of_each(flow, x, tol):
    """Steps for each block as if it were the last."""
    n_steps = np.empty(len(flow.blocks), dtype=int)
    for k, block in enumerate(flow.blocks):
        alone = JKOFlow([block], flow.base, flow.solver)
        n_steps[k] = next((n for n in STEPS if _is_true(alone, x, n, tol)), STEPS[-1])
        x = alone.transform(x, 2 * n_steps[k])
    return n_steps


def _finer(n_steps):
    return next((n for n in STEPS if n > n_steps), STEPS[-1])


def _is_true(flow, x, n_steps, tol):
    # Most of what is too coarse is so for a few rows already.
    return all(_solver_error(flow, rows, n_steps) <= tol for rows in (x[:FEW_ROWS], x))


def _solver_error(flow, x, n_steps):
    coarse, fine = flow.log_prob(x, n_steps), flow.log_prob(x, 2 * n_steps)
    return _largest((fine - coarse).abs() / (1 + 1e-3 * fine.abs()))


def _inversion_error(flow, x, n_steps):
    back = flow.inverse(flow.transform(x, n_steps), n_steps)
    return _largest((back - x).norm(dim=1) / x.norm(dim=1).clamp(min=1))


def _largest(errors):
    return float(errors.nan_to_num().max()) if len(errors) else 0.0
