"""Linear velocity field."""

import torch
from torch import nn

__all__ = ["LinearVelocity"]


class LinearVelocity(nn.Module):
    """Autonomous affine field f(t, x) = A x + b, whose flow has a closed form.

    Over a time t it maps x to expm(A t) x (for b = 0) and its divergence integrates
    to t tr(A). It turns the flow into the best affine map, and pins the tests.

    Parameters
    ----------
    n_features : int
        Dimension d of the space.
    hidden_layer_sizes : ignored
        Present for a constructor common to all velocities.
    generator : ignored
        Present for a constructor common to all velocities; A and b start at zero.
    """

    has_trace = True
    hidden_layer_sizes = ()

    def __init__(self, n_features, hidden_layer_sizes=(), generator=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_features, n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def forward(self, t, x):
        """Velocity of the rows ``x``, shape (n, d)."""
        return torch.addmm(self.bias, x, self.weight.T)

    def forward_and_trace(self, t, x):
        """Velocity (n, d) and its divergence (n,), the same for every row."""
        return self(t, x), self.weight.trace().expand(x.shape[0])
