"""Divergences of a velocity field.

Each function maps ``(velocity, t, x, noise)`` to the velocity (n, d) and its divergence (n,).
``noise`` is a fixed (n, d) tensor of random signs, drawn by the caller once per solve; the exact
one ignores it.
"""

import torch

__all__ = ["divergence_for_training", "exact", "hutchinson"]


def exact(velocity, t, x, noise=None):
    """The trace of the Jacobian, by the velocity itself."""
    return velocity.forward_and_trace(t, x)


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


def divergence_for_training(velocity):
    """The exact divergence where it is cheap, and else its estimate."""
    return exact if velocity.has_cheap_trace else hutchinson
