"""Velocities of deep networks that `torch.export` records."""

from torch import nn

__all__ = ["DeepVelocity"]


class DeepVelocity(nn.Module):
    """A network of any depth with a trace that can be recorded.

    The automatic differentiation that scores use for a deep network cannot.
    """

    has_trace = True

    def __init__(self, velocity):
        super().__init__()
        self.velocity = velocity

    def forward(self, t, x):
        """Velocity (n, d) of the rows ``x``."""
        return self.velocity(t, x)

    def forward_and_trace(self, t, x):
        """Velocity (n, d) and its divergence (n,), exactly."""
        return self.velocity.forward_and_trace_by_product(t, x)
