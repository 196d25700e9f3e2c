"""Measurements of a trained flow."""

import functools

import torch

__all__ = ["calibrate_steps"]

FEW_ROWS = 100
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Largest round-trip error, in scaled units, for which no finer steps are taken.
INVERSION_TOL = 1e-7
# Rows that are not measured may be worse than the worst of those that are.
MARGIN = 2.0


@torch.no_grad()
def calibrate_steps(flow, x, tol):
    """Fewest solver steps that leave the results as they are when doubled.

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
    n_steps : int
        At most 64.
    solver_error : float
        Largest change of a row's log-density when the steps are doubled, in nats.
    """
    log_prob = functools.cache(lambda n_rows, n_steps: flow.log_prob(x[:n_rows], n_steps))

    def solver_error(n_rows, n_steps):
        coarse, fine = log_prob(n_rows, n_steps), log_prob(n_rows, 2 * n_steps)
        return _largest((fine - coarse).abs() / (1 + 1e-3 * fine.abs()))

    def is_honest(n_rows, n_steps):
        return (
            solver_error(n_rows, n_steps) <= tol / MARGIN
            and _inversion_error(flow, x[:n_rows], n_steps) <= INVERSION_TOL
        )

    # Most of what is too coarse is so for a few rows already.
    sizes = min(FEW_ROWS, len(x)), len(x)
    for n_steps in STEPS:
        if all(is_honest(n_rows, n_steps) for n_rows in sizes):
            break
    return n_steps, solver_error(len(x), n_steps)


def _inversion_error(flow, x, n_steps):
    back = flow.inverse(flow.transform(x, n_steps), n_steps)
    return _largest((back - x).norm(dim=1) / x.norm(dim=1).clamp(min=1))


def _largest(errors):
    return float(errors.nan_to_num().max()) if len(errors) else 0.0
