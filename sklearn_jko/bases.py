"""The base density, a flow's target.

It offers ``log_prob(z)``, of shape (n,) in nats, ``sample(shape, generator)`` and
``modelled(z)``, the columns of z whose density it is. A file of a model names none: of another base
its format would have to tell.
"""

import math

import torch

__all__ = ["StandardNormal"]


class StandardNormal:
    """Standard normal density N(0, I) on R^d.

    Parameters
    ----------
    n_given : int, default=0
        Rows have so many columns more, at their end: what they are given, of which the density
        does not speak.
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
