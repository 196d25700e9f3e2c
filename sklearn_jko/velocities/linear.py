"""Linear velocity field."""

import torch
from torch import nn
from torch.nn.functional import pad

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
    n_given : int, default=0
        Number of last columns that are at rest.
    structure : ignored
        Present for a constructor common to all velocities.
    """

    has_cheap_trace = True
    hidden_layer_sizes = ()
    numbers_of_layer = 1
    structure = None

    def __init__(
        self, n_features, hidden_layer_sizes=(), generator=None, n_given=0, structure=None
    ):
        super().__init__()
        self.n_given = n_given
        self.weight = nn.Parameter(torch.zeros(n_features - n_given, n_features))
        self.bias = nn.Parameter(torch.zeros(n_features - n_given))

    def forward(self, t, x):
        """Velocity of the rows ``x``, shape (n, d)."""
        v = torch.addmm(self.bias, x, self.weight.T)
        return pad(v, (0, self.n_given)) if self.n_given else v

    def forward_and_trace(self, t, x):
        """Velocity (n, d) and its divergence (n,), the same for every row."""
        return self(t, x), self.weight.diagonal().sum().expand(x.shape[0])
