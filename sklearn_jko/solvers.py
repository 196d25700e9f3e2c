"""Solvers of the flow's ordinary differential equation.

A solver maps ``(field, x, t0, t1, n_steps)`` to the final state (n, d) and the
integral of the divergence (n,). ``field`` is a pair of functions: ``velocity(t, x)``
returns (n, d); ``velocity_and_divergence(t, x)`` returns that and a divergence, which
may be the number 0.0 where none is wanted. To add one, write such a function and name
it in `SOLVERS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torchdiffeq

__all__ = ["FIXED_STEP_SOLVERS", "SOLVERS", "Field", "dopri5", "dopri5_adjoint", "midpoint", "rk4"]


class Field(NamedTuple):
    """Right-hand side of the equation, with and without the divergence, and its parameters."""

    velocity: Callable
    velocity_and_divergence: Callable
    parameters: tuple = ()


def midpoint(field, x, t0, t1, n_steps):
    """Explicit midpoint rule, order 2; the divergence is needed at midpoints only."""
    dt = (t1 - t0) / n_steps
    integral = 0.0
    for k in range(n_steps):
        t = t0 + k * dt
        half = x + 0.5 * dt * field.velocity(t, x)
        v, div = field.velocity_and_divergence(t + 0.5 * dt, half)
        x = x + dt * v
        integral = integral + dt * div
    return x, integral


def rk4(field, x, t0, t1, n_steps):
    """Classical Runge-Kutta rule, order 4."""
    dt = (t1 - t0) / n_steps
    integral = 0.0
    for k in range(n_steps):
        t = t0 + k * dt
        v1, div1 = field.velocity_and_divergence(t, x)
        v2, div2 = field.velocity_and_divergence(t + 0.5 * dt, x + 0.5 * dt * v1)
        v3, div3 = field.velocity_and_divergence(t + 0.5 * dt, x + 0.5 * dt * v2)
        v4, div4 = field.velocity_and_divergence(t + dt, x + dt * v3)
        x = x + dt / 6 * (v1 + 2 * (v2 + v3) + v4)
        integral = integral + dt / 6 * (div1 + 2 * (div2 + div3) + div4)
    return x, integral


def dopri5(field, x, t0, t1, n_steps):
    """Adaptive Dormand-Prince rule of torchdiffeq; ``n_steps`` is ignored."""
    return _dopri5(torchdiffeq.odeint, field, x, t0, t1)


def dopri5_adjoint(field, x, t0, t1, n_steps):
    """The same, with gradients by the adjoint equation: memory does not grow with the steps."""
    parameters = tuple(field.parameters)
    return _dopri5(torchdiffeq.odeint_adjoint, field, x, t0, t1, adjoint_params=parameters)


def _dopri5(odeint, field, x, t0, t1, **options):
    def rhs(t, state):
        v, div = field.velocity_and_divergence(t, state[0])
        return v, torch.as_tensor(div, dtype=v.dtype, device=v.device).expand(len(v))

    times = torch.tensor([t0, t1], dtype=x.dtype, device=x.device)
    tol = 1e-5 if x.dtype == torch.float32 else 1e-8
    states = odeint(
        rhs, (x, x.new_zeros(len(x))), times, rtol=tol, atol=tol, method="dopri5", **options
    )
    return states[0][-1], states[1][-1]


SOLVERS = {"midpoint": midpoint, "rk4": rk4, "dopri5": dopri5, "dopri5_adjoint": dopri5_adjoint}
FIXED_STEP_SOLVERS = ("midpoint", "rk4")
