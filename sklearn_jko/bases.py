"""The base density, a flow's target.

A base offers ``log_prob(z)``, of shape (n,) in nats, ``sample(shape, generator)`` and
``modelled(z)``, the columns of z to which its density refers. A model's file names no base: for
another one, its format would have to.
"""

import math

import torch

__all__ = ["StandardNormal"]


class StandardNormal:
    """Standard normal density N(0, I) on R^d.

    Parameters
    ----------
    n_given : int, default=0
        Number of given columns at the end of the rows, to which the density does not refer.
    """

    def __init__(self, n_given=0):
        self.n_given = n_given

    def modelled(self, z):
        """The first d columns of z (n, d + n_given)."""
        return z[:, : z.shape[1] - self.n_given]

    def log_prob(self, z):
        """Log-density in nats of the rows of ``z``."""
        z = self.modelled(z)
        return -0.5 * (z * z).sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)

    def sample(self, shape, generator):
        """Draw rows of the given shape (n, d), float64."""
        device = generator.device
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=device)
