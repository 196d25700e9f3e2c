"""Velocity fields f(t, x), by name.

A velocity is a ``torch.nn.Module`` built as ``cls(n_features, hidden_layer_sizes,
generator, n_given, structure)`` whose ``forward(t, x)`` maps a time (a number, or a column (n, 1))
and rows of shape (n, d) to velocities of shape (n, d). The last ``n_given`` columns, what the rows
are given, are at rest: their velocities are zero. ``forward_and_trace(t, x)`` adds
the exact divergence of shape (n,); where ``has_cheap_trace`` is false training estimates it. By
``numbers_of_layer``, of a row, `sklearn_jko.flow` tells how many rows to take at once. Its
``n_given``, ``hidden_layer_sizes``, ``structure`` and `state_dict` are all that a file needs to
hold.
The ``structure`` tells which columns are neighbours; it is None where a velocity takes none.
To add one, write such a class in a file of its own and name it in `VELOCITIES`.
"""

from sklearn_jko.velocities.linear import LinearVelocity
from sklearn_jko.velocities.local import LocalVelocity
from sklearn_jko.velocities.mlp import MLPVelocity

__all__ = ["VELOCITIES", "LinearVelocity", "LocalVelocity", "MLPVelocity"]

VELOCITIES = {"mlp": MLPVelocity, "linear": LinearVelocity, "local": LocalVelocity}
