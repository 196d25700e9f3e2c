"""Divergences of a velocity field.

Each function maps ``(velocity, t, x, noise)`` to the velocity (n, d) and its
divergence (n,). ``noise`` is a fixed (n, d) tensor of random signs or normal values,
drawn by the caller once per solve; the exact ones ignore it. To add one, write such a
function and name it in `DIVERGENCES`.
"""

import math

import torch

__all__ = ["DIVERGENCES", "NOISY_DIVERGENCES", "divergence_for_training", "exact_divergence_for"]


def analytic(velocity, t, x, noise=None):
    """Closed form of the velocity itself; exact, the cost of one matrix product."""
    return velocity.forward_and_trace(t, x)


def exact(velocity, t, x, noise=None):
    """Trace of the Jacobian by automatic differentiation; exact, d backward passes."""
    grad_needed = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        v = velocity(t, x)
        trace = sum(
            torch.autograd.grad(v[:, j].sum(), x, create_graph=grad_needed, retain_graph=True)[0][
                :, j
            ]
            for j in range(x.shape[1])
        )
    return (v, trace) if grad_needed else (v.detach(), trace.detach())


def hutchinson(velocity, t, x, noise):
    """Hutchinson's estimate noise . (J^T noise); unbiased, one backward pass."""
    grad_needed = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        v = velocity(t, x)
        (vjp,) = torch.autograd.grad(
            v, x, noise, create_graph=grad_needed, retain_graph=grad_needed
        )
    estimate = (vjp * noise).sum(1)
    return (v, estimate) if grad_needed else (v.detach(), estimate.detach())


def finite_difference(velocity, t, x, noise):
    """Hutchinson's estimate by a forward difference, the paper's equation (10).

    The step is 0.02 / sqrt(d), the paper's choice; one more forward pass.
    """
    step = 0.02 / math.sqrt(x.shape[1])
    v = velocity(t, x)
    return v, ((velocity(t, x + step * noise) - v) * noise).sum(1) / step


DIVERGENCES = {
    "analytic": analytic,
    "exact": exact,
    "hutchinson": hutchinson,
    "finite_difference": finite_difference,
}

NOISY_DIVERGENCES = (hutchinson, finite_difference)


def exact_divergence_for(velocity):
    """Return the cheapest exact divergence of this velocity."""
    return analytic if velocity.has_trace else exact


def divergence_for_training(name, velocity):
    """Return the function named; ``"auto"`` is analytic where there is one."""
    if name == "auto":
        return analytic if velocity.has_trace else hutchinson
    if name == "analytic" and not velocity.has_trace:
        raise ValueError(
            "divergence='analytic' needs a velocity with one or two hidden layers; "
            "use divergence='auto', 'exact' or 'hutchinson' for a deeper one."
        )
    return DIVERGENCES[name]
