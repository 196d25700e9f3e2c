"""Invertible flow made of JKO blocks."""

import math

import numpy as np
import torch
from torch import nn

from sklearn_jko.bases import StandardNormal
from sklearn_jko.divergence import exact
from sklearn_jko.solvers import SOLVERS, Field

__all__ = ["ROWS_AT_ONCE", "JKOBlock", "JKOFlow", "in_batches"]

# Rows go through a network in parts whose activations fit the processor's cache: at most so many
# numbers per layer, and so many rows.
NUMBERS_AT_ONCE, ROWS_AT_ONCE = 2**19, 2048

MAX_CORRECTIONS = 10
CLOSE = 1e-8  # the next error would be a fraction of it


class JKOBlock(nn.Module):
    """One neural ODE x' = f(t, x) over [t0, t1]: one JKO step.

    Parameters
    ----------
    velocity : nn.Module
        Velocity field f, see `sklearn_jko.velocities`.
    t0, t1 : float
        Interval of time; refinement splits it in two, for blocks with copies of the network.
    """

    def __init__(self, velocity, t0=0.0, t1=1.0):
        super().__init__()
        self.velocity = velocity
        self.t0 = t0
        self.t1 = t1

    @property
    def rows_at_once(self):
        """Rows of a part, see `in_batches`."""
        return max(min(NUMBERS_AT_ONCE // self.velocity.numbers_of_layer, ROWS_AT_ONCE), 1)

    def forward(self, x, solver, n_steps, divergence=None, noise=None):
        """Push rows from data to noise.

        Parameters
        ----------
        x : Tensor of shape (n, d)
        solver : callable
            One of `sklearn_jko.solvers.SOLVERS`.
        n_steps : int
        divergence : callable, optional
            One of `sklearn_jko.divergence`; None computes none.
        noise : Tensor of shape (n, d), optional
            Fixed noise of a stochastic divergence.

        Returns
        -------
        y : Tensor of shape (n, d)
        log_det : Tensor of shape (n,), or 0.0 without a divergence
            Integral of the divergence: log |det dy/dx|.
        """
        return solver(self._field(divergence, noise), x, self.t0, self.t1, n_steps)

    def inverse(self, y, solver, n_steps):
        """Pull rows from noise to data by solving backward in time."""
        return solver(self._field(None, None), y, self.t1, self.t0, n_steps)[0]

    def _field(self, divergence, noise):
        parameters = tuple(self.velocity.parameters())
        if divergence is None:
            return Field(self.velocity, lambda t, x: (self.velocity(t, x), 0.0), parameters)
        return Field(self.velocity, lambda t, x: divergence(self.velocity, t, x, noise), parameters)


class JKOFlow(nn.Module):
    """A sequence of blocks, from the data to the base density.

    Without any block it is the base density itself.

    Parameters
    ----------
    blocks : iterable of JKOBlock, default=()
    base : object, default=None
        Target density, see `sklearn_jko.bases`; None is `StandardNormal`.
    solver : str, default="rk4"
        Name in `sklearn_jko.solvers.SOLVERS`, used for everything below.
    n_steps : int or array of int of shape (n_blocks,), default=4
        Steps of the solver in each block.
    """

    def __init__(self, blocks=(), base=None, solver="rk4", n_steps=4):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.base = base or StandardNormal()
        self.solver = solver
        self.n_steps = n_steps

    @property
    def rows_at_once(self):
        """Rows of a part, see `in_batches`."""
        return min((block.rows_at_once for block in self.blocks), default=ROWS_AT_ONCE)

    def forward(self, x, n_steps=None):
        """Map rows (n, d) to latent rows (n, d), with log |det| (n,), exactly.

        ``n_steps``, here and below, replaces the flow's own.
        """
        *_, end = self.path(x, n_steps)
        return end

    def path(self, x, n_steps=None):
        """Yield rows (n, d) and their log |det| so far (n,), at the start and after each block."""
        log_det = x.new_zeros(x.shape[0])
        yield x, log_det
        for block, *solver in self._solvers(n_steps):
            x, block_log_det = block(x, *solver, exact)
            log_det = log_det + block_log_det
            yield x, log_det

    def transform(self, x, n_steps=None):
        """Map rows (n, d) to latent rows without the log-determinant."""
        for block, *solver in self._solvers(n_steps):
            x, _ = block(x, *solver)
        return x

    def inverse(self, z, n_steps=None):
        """Map latent rows (n, d) back to data rows: the inverse of `transform` up to rounding.

        Solving backward alone would leave the solver's error. So each row is corrected by its error
        after a round trip, until that vanishes or no longer decreases.
        """
        x = start = self._solve_backward(z, n_steps)
        rows = torch.arange(len(z), device=z.device)
        last_miss = x.new_full((len(z),), math.inf)
        for _ in range(MAX_CORRECTIONS):
            back = self._solve_backward(self.transform(x[rows], n_steps), n_steps)
            correction = start[rows] - back
            miss = correction.norm(dim=1) / (1 + start[rows].norm(dim=1))
            helps = miss < 0.5 * last_miss[rows]
            x = x.index_add(0, rows[helps], correction[helps])
            last_miss[rows] = miss
            rows = rows[helps & (miss > CLOSE)]
            if len(rows) == 0:
                break
        return x

    def _solve_backward(self, z, n_steps):
        for block, *solver in reversed(self._solvers(n_steps)):
            z = block.inverse(z, *solver)
        return z

    def log_prob(self, x, n_steps=None):
        """Log-density in nats of each row, shape (n,)."""
        z, log_det = self(x, n_steps)
        return self.base.log_prob(z) + log_det

    def _solvers(self, n_steps):
        """Each block with its solver and number of steps."""
        n_steps = self.n_steps if n_steps is None else n_steps
        steps = np.broadcast_to(n_steps, len(self.blocks)).tolist()
        return [
            (block, SOLVERS[self.solver], n) for block, n in zip(self.blocks, steps, strict=True)
        ]


def in_batches(module, function, x):
    """Apply a function to rows in batches that fit the processor's cache.

    With large batches half of the time would be spent moving memory.

    Parameters
    ----------
    module : JKOBlock or JKOFlow
        The module through which the rows go.
    function : callable
        Maps rows (m, d) to a tensor with a row for each, or a tuple of such tensors.
    x : Tensor of shape (n, d)

    Returns
    -------
    made : Tensor or tuple of Tensor
        The same for all rows.
    """
    parts = [function(rows) for rows in x.split(module.rows_at_once)]
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))
    return torch.cat(parts)
