"""Slow twins of the package's formulas, in float64."""

import numpy as np
import scipy.linalg
import torch

from sklearn_jko.structure import structure_of
from sklearn_jko.velocities import VELOCITIES

# Every velocity by name, and networks of one and of three hidden layers beside.
VELOCITY_CASES = [*((name, (7, 5)) for name in VELOCITIES), ("mlp", (6,)), ("mlp", (7, 6, 5))]


def new_velocity(case, n_features, generator, n_given=0):
    """A velocity as it is before training; of rows that are images of one line, where it asks."""
    name, hidden = case
    structure = structure_of((1, n_features - n_given), np.zeros(n_features - n_given, bool))
    return VELOCITIES[name](n_features, hidden, generator, n_given, structure)


def make_velocity(case, n_features=3, seed=0, size=0.5, n_given=0):
    """A float64 velocity whose parameters, those that start at zero included, are random."""
    generator = torch.Generator().manual_seed(seed)
    velocity = new_velocity(case, n_features, generator, n_given).double()
    with torch.no_grad():
        for parameter in velocity.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(size * noise)
    return velocity


def normal_rows(n, d, seed=0):
    """Standard normal rows, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((n, d), generator=generator, dtype=torch.float64)


def jacobians(function, x, create_graph=False):
    """Jacobian (n, d, d) of a function of rows, one row at a time."""
    return torch.stack(
        [
            torch.autograd.functional.jacobian(
                lambda r: function(r[None])[0], row, create_graph=create_graph
            )
            for row in x
        ]
    )


def traces(velocity, t, x, create_graph=False):
    """Divergence (n,) of a velocity, by the whole Jacobian."""
    return jacobians(lambda r: velocity(t, r), x, create_graph).diagonal(dim1=1, dim2=2).sum(1)


def log_dets(function, x):
    """log |det| (n,) of a function of rows, by the whole Jacobian."""
    return torch.linalg.slogdet(jacobians(function, x))[1]


def affine_map(velocity, time):
    """Matrix E and shift c of x -> E x + c, the map of a linear velocity over a time."""
    d = len(velocity.bias)
    generator = np.zeros((d + 1, d + 1))
    generator[:d, :d] = velocity.weight.detach().numpy()
    generator[:d, d] = velocity.bias.detach().numpy()
    whole = scipy.linalg.expm(time * generator)
    return whole[:d, :d], whole[:d, d]
