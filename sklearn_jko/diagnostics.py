"""Measurements of a trained flow."""

import torch

__all__ = ["calibrate_steps", "inversion_error", "solver_error"]

MAX_STEPS = 256
# Largest round-trip error, in scaled units, for which no finer steps are taken.
INVERSION_TOL = 5e-5


def calibrate_steps(flow, x, tol):
    """Set the flow's solver steps to the fewest that doubling leaves the results as they are.

    Log-densities may then change by at most ``tol`` on any row, and rows must return from a
    round trip to within 5e-5.

    Parameters
    ----------
    flow : JKOFlow
    x : Tensor of shape (n, d)
        Rows to measure on, float64.
    tol : float
        In nats.

    Returns
    -------
    solver_error : float
        Largest change of a row's log-density when the steps are doubled, in nats.
    inversion_error : float
        As `inversion_error`.
    """
    flow.n_steps = 1
    while True:
        errors = solver_error(flow, x), inversion_error(flow, x)
        if (errors[0] <= tol and errors[1] <= INVERSION_TOL) or flow.n_steps >= MAX_STEPS:
            return errors
        flow.n_steps *= 2


@torch.no_grad()
def solver_error(flow, x):
    """Largest change, in nats, of a row's log-density when the solver's steps are doubled."""
    if not len(x):
        return 0.0
    n_steps, coarse = flow.n_steps, flow.log_prob(x)
    flow.n_steps = 2 * n_steps
    fine = flow.log_prob(x)
    flow.n_steps = n_steps
    return float((fine - coarse).abs().max())


@torch.no_grad()
def inversion_error(flow, x):
    """Largest distance |x - F^-1(F(x))| of a row from its round trip, in scaled units."""
    if not len(x):
        return 0.0
    return float((flow.inverse(flow.transform(x)) - x).norm(dim=1).max())
