"""Base densities, the flow's target.

A base offers ``log_prob(z)``, of shape (n,) in nats, and ``sample(shape, generator)``.
"""

import math

import torch

__all__ = ["BASES", "StandardNormal"]


class StandardNormal:
    """Standard normal density N(0, I) on R^d."""

    def log_prob(self, z):
        """Log-density in nats of the rows of ``z``."""
        return -0.5 * (z * z).sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)

    def sample(self, shape, generator, dtype=torch.float64):
        """Draw rows of the given shape (n, d)."""
        return torch.randn(shape, generator=generator, dtype=dtype)


BASES = {"normal": StandardNormal}
