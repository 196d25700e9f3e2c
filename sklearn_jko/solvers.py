"""Solvers of the flow's ordinary differential equation.

A solver maps ``(field, x, t0, t1, n_steps)`` to the final state (n, d) and the
integral of the divergence (n,). ``field`` holds two functions and their parameters:
``velocity(t, x)`` returns (n, d); ``velocity_and_divergence(t, x)`` returns that and a divergence,
which may be the number 0.0 if none is wanted. The time t is a number, or a column (n, 1) with a
time for each row. To add a solver, write such a function and name it in `SOLVERS`, or add a rule of
equal steps to `TABLEAUS`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torchdiffeq
from scipy.integrate import DOP853, RK45

__all__ = [
    "SCORING_SOLVERS",
    "SOLVERS",
    "TABLEAUS",
    "TRAINING_SOLVERS",
    "Field",
    "Tableau",
    "dopri5",
    "dopri5_adjoint",
    "dopri5_by_row",
    "fixed_step",
]

# Coefficients of the Dormand-Prince rule; the weights of the error include a seventh stage.
STAGE_WEIGHTS = [RK45.A[i, :i].tolist() for i in range(1, 6)] + [RK45.B.tolist()]
STAGE_TIMES = [*RK45.C[1:].tolist(), 1.0]
ERROR_WEIGHTS = RK45.E.tolist()
COARSEST_TOL, FINEST_TOL = 1e-2, 1e-13
SMALLEST_STEP = 1 / 1024  # as a share of the interval


class Field(NamedTuple):
    """Right-hand side of the equation, with and without the divergence, and its parameters."""

    velocity: Callable
    velocity_and_divergence: Callable
    parameters: tuple = ()


class Tableau(NamedTuple):
    """Explicit Runge-Kutta rule: stage i is at time c_i and moves by sum_j a_ij k_j, the step by
    sum_i b_i k_i. The divergence is not needed at stages of weight 0.
    """

    a: tuple
    b: tuple
    c: tuple


MIDPOINT = Tableau(a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5))
# Of Kutta's rules of order 4 with four stages, one that needs the divergence at three of them.
RK4 = Tableau(
    a=((), (0.25,), (0.0, 0.5), (1.0, -2.0, 2.0)),
    b=(1 / 6, 0.0, 2 / 3, 1 / 6),
    c=(0.0, 0.25, 0.5, 1.0),
)

# Of order 8, for scores: two or three of its steps are as accurate as sixteen of order 4.
DORMAND_PRINCE_8 = Tableau(
    a=tuple(tuple(DOP853.A[i, :i].tolist()) for i in range(DOP853.n_stages)),
    b=tuple(DOP853.B.tolist()),
    c=tuple(DOP853.C.tolist()),
)


def fixed_step(tableau, field, x, t0, t1, n_steps):
    """Solve with ``n_steps`` equal steps of a rule."""
    dt = (t1 - t0) / n_steps
    integral = 0.0
    for k in range(n_steps):
        slopes = []
        for a, b, c in zip(*tableau, strict=True):
            t, stage = t0 + (k + c) * dt, _moved(x, dt, a, slopes)
            if b:
                v, div = field.velocity_and_divergence(t, stage)
                integral = integral + b * dt * div
            else:
                v = field.velocity(t, stage)
            slopes.append(v)
        x = _moved(x, dt, tableau.b, slopes)
    return x, integral


def _moved(x, dt, weights, slopes):
    for weight, v in zip(weights, slopes, strict=True):
        if weight:
            x = torch.add(x, v, alpha=weight * dt)
    return x


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


def dopri5_by_row(field, x, t0, t1, n_steps):
    """Dormand-Prince rule with a step size for each row, so rows do not affect each other.

    The error allowed in a step is 0.01 / n_steps^5, according to the order of the rule, so that
    doubling ``n_steps`` halves the steps here too. The smallest step is accepted whatever its
    error, and a row that overflows in it ends there.
    """
    tol = max(COARSEST_TOL / n_steps**5, FINEST_TOL)
    span = t1 - t0
    time = x.new_zeros(len(x))  # share of the interval covered
    step = x.new_full((len(x),), 1 / n_steps)
    integral = x.new_zeros(len(x))
    rows = torch.arange(len(x), device=x.device)
    while len(rows):
        dt = torch.minimum(step[rows], 1 - time[rows])
        start = t0 + span * time[rows]
        new_x, gain, error = _dopri5_step(field, x[rows], start, span * dt)
        accepted = (error <= tol) | (dt <= SMALLEST_STEP)
        done, covered = rows[accepted], dt[accepted]
        x = x.index_put((done,), new_x[accepted])
        integral = integral.index_put((done,), integral[done] + gain[accepted])
        time[done] += torch.where(error[accepted].isfinite(), covered, 1.0)
        growth = (0.9 * (tol / error) ** 0.2).nan_to_num(nan=0.2).clamp(0.2, 5.0)
        step[rows] = (dt * growth).clamp(min=SMALLEST_STEP)
        rows = rows[time[rows] < 1 - 1e-12]
    return x, integral


def _dopri5_step(field, x, t, dt):
    """Rows after one step, its part of the divergence's integral, and its errors (n,)."""
    t, column = t.unsqueeze(1), dt.unsqueeze(1)
    v, div = field.velocity_and_divergence(t, x)
    velocities, divergences = [v], [_as_column(div, v)]
    for weights, at in zip(STAGE_WEIGHTS, STAGE_TIMES, strict=True):
        moved = x + column * _weighted(weights, velocities)
        v, div = field.velocity_and_divergence(t + at * column, moved)
        velocities.append(v)
        divergences.append(_as_column(div, v))
    gain = column * _weighted(STAGE_WEIGHTS[-1], divergences)
    with torch.no_grad():
        scale = 1 + torch.maximum(x.norm(dim=1), moved.norm(dim=1))
        error = (column * _weighted(ERROR_WEIGHTS, velocities)).norm(dim=1) / scale
        error = torch.maximum(error, (column * _weighted(ERROR_WEIGHTS, divergences)).abs()[:, 0])
    return moved, gain[:, 0], error


def _weighted(weights, stages):
    used = zip(weights, stages, strict=False)
    return sum(weight * stage for weight, stage in used if weight)


def _as_column(divergence, v):
    return torch.as_tensor(divergence, dtype=v.dtype, device=v.device).expand(len(v)).unsqueeze(1)


TABLEAUS = {"midpoint": MIDPOINT, "rk4": RK4, "dop853": DORMAND_PRINCE_8}
SOLVERS = {
    **{name: functools.partial(fixed_step, tableau) for name, tableau in TABLEAUS.items()},
    "dopri5": dopri5,
    "dopri5_adjoint": dopri5_adjoint,
    "dopri5_by_row": dopri5_by_row,
}
# Offered for training. Not offered are `dopri5_by_row`, as the fixed noise of a stochastic
# divergence needs all rows at every stage, and `dop853`, whose twelve stages cost too much.
TRAINING_SOLVERS = ("rk4", "midpoint", "dopri5", "dopri5_adjoint")
# Used after training with equal steps, and after training with an adaptive solver. Both have a
# bounded cost.
SCORING_SOLVERS = ("dop853", "dopri5_by_row")
