"""Velocity fields f(t, x), by name.

A velocity is a ``torch.nn.Module`` built as ``cls(n_features, hidden_layer_sizes,
generator, n_given, structure)`` whose ``forward(t, x)`` maps a time (a number, or a column (n, 1))
and rows of shape (n, d) to velocities of shape (n, d). The last ``n_given`` columns, the inputs of
the rows, are at rest: their velocities are zero. ``forward_and_trace(t, x)`` adds the exact
divergence of shape (n,); if ``has_cheap_trace`` is false, training estimates it. From
``numbers_of_layer``, those of a row, `sklearn_jko.flow` finds how many rows to take at once. Its
``n_given``, ``hidden_layer_sizes``, ``structure`` and `state_dict` are all that a file needs to
hold.
The ``structure`` defines which columns are neighbours; it is None if a velocity has none.
To add one, write such a class in a file of its own and name it in `VELOCITIES`.
"""

from sklearn_jko.velocities.linear import LinearVelocity
from sklearn_jko.velocities.local import LocalVelocity
from sklearn_jko.velocities.mlp import MLPVelocity

__all__ = ["VELOCITIES", "LinearVelocity", "LocalVelocity", "MLPVelocity"]

VELOCITIES = {"mlp": MLPVelocity, "linear": LinearVelocity, "local": LocalVelocity}
