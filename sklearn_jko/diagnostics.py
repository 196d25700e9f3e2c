"""Measurements of a trained flow."""

import torch

__all__ = ["calibrate_steps", "inversion_error"]

MAX_SCORING_STEPS = 256


@torch.no_grad()
def calibrate_steps(flow, x, tol):
    """Fewest solver steps whose log-densities stand when the steps are doubled.

    Parameters
    ----------
    flow : JKOFlow
    x : Tensor of shape (n, d)
        Rows to measure on, float64.
    tol : float
        Largest change allowed for any row, in nats.

    Returns
    -------
    n_steps : int
        A power of two, at most 256.
    error : float
        Largest change from these steps to twice as many, in nats.
    """
    flow.n_steps, log_prob = 1, None
    while True:
        coarse = flow.log_prob(x) if log_prob is None else log_prob
        n_steps, flow.n_steps = flow.n_steps, 2 * flow.n_steps
        log_prob = flow.log_prob(x)
        error = float((log_prob - coarse).abs().max()) if len(x) else 0.0
        if error <= tol or n_steps >= MAX_SCORING_STEPS:
            return n_steps, error


@torch.no_grad()
def inversion_error(flow, x):
    """Largest distance |x - F^-1(F(x))| over the rows, in scaled units."""
    if not len(x):
        return 0.0
    return float((flow.inverse(flow.transform(x)) - x).norm(dim=1).max())
