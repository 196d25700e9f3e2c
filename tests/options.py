"""Options of a training on tiny data."""

import functools

from sklearn_jko.step_sizes import geometric_step
from sklearn_jko.training.block_training import TrainingOptions


def constant(h):
    """Steps of one size."""
    return functools.partial(geometric_step, first=h, growth=1.0)


def tiny_options(**changes):
    """Options of two blocks of two small layers, with changes."""
    options = {
        "step_size": constant(0.5),
        "velocity": "mlp",
        "hidden_layer_sizes": (8, 8),
        "max_blocks": 2,
        "n_refinements": 0,
        "tol": 0.01,
        "max_iter": 60,
        "batch_size": 100,
        "learning_rate": 0.02,
        "weight_decay": 0.0,
        "turns_axes": True,
        "solver": "rk4",
        "patience": 5,
        "n_given": 0,
        "structure": None,
    }
    return TrainingOptions(**{**options, **changes})
