"""Multilayer perceptron velocity fields."""

import itertools
import math

import torch
from torch import nn
from torch.nn.functional import pad

from sklearn_jko.velocities._tanh import tanh_from_, tanh_slope, uniform

__all__ = ["MLPVelocity"]

# In up to three dimensions rows show fine structure, which a steeper first layer can follow:
# pictures, rings and moons gained 0.02 to 0.15 nat, tables of two or three columns -0.03 to 0.04.
# From four columns on nothing was gained.
FEW_FEATURES, STEEPNESS = 3, 6.0


class MLPVelocity(nn.Module):
    """Time-dependent tanh network f(t, x) from R^d to R^d.

    The time enters every hidden layer's pre-activation. The last layer starts at
    zero, so an untrained block is the identity map. With one or two hidden layers
    the divergence has a closed form that costs one matrix product; in deeper
    networks the Jacobian of every row is multiplied out.

    Parameters
    ----------
    n_features : int
        Dimension d of the space.
    hidden_layer_sizes : sequence of int
        Width of each hidden layer.
    generator : torch.Generator, optional
        Source of the random initial weights.
    n_given : int, default=0
        Number of columns, the last ones, that are at rest and act as inputs for the others.
    structure : ignored
        Present for a constructor common to all velocities.

    Raises
    ------
    ValueError
        If there is no hidden layer.
    """

    structure = None

    def __init__(self, n_features, hidden_layer_sizes, generator=None, n_given=0, structure=None):
        super().__init__()
        if not hidden_layer_sizes:
            raise ValueError(
                "hidden_layer_sizes is empty; use LinearVelocity for a velocity without hidden "
                "layers."
            )
        widths = [n_features, *hidden_layer_sizes]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.time_weights = nn.ParameterList()
        for n_in, n_out in itertools.pairwise(widths):
            scale = 1 / math.sqrt(n_in)
            self.weights.append(uniform((n_out, n_in), math.sqrt(3) * scale, generator))
            self.biases.append(uniform((n_out,), scale, generator))
            self.time_weights.append(torch.zeros(n_out))
        if n_features <= FEW_FEATURES:
            for parameters in (self.weights, self.biases):
                parameters[0].data.mul_(STEEPNESS / n_features)
        self.n_given = n_given
        self.out_weight = nn.Parameter(torch.zeros(n_features - n_given, widths[-1]))
        self.out_bias = nn.Parameter(torch.zeros(n_features - n_given))

    @property
    def hidden_layer_sizes(self):
        """Width of each hidden layer."""
        return tuple(len(bias) for bias in self.biases)

    @property
    def has_cheap_trace(self):
        """Whether the divergence costs about as much as the velocity."""
        return len(self.weights) <= 2

    @property
    def numbers_of_layer(self):
        """How many numbers a row has in the widest layer, with its Jacobian where that is made."""
        n_features = 1 if self.has_cheap_trace else self.weights[0].shape[1]
        return n_features * max(self.hidden_layer_sizes)

    def out_layer(self):
        """Weight (d, width) and bias (d,) of the last layer: zero for columns at rest."""
        if self.n_given == 0:
            return self.out_weight, self.out_bias
        return pad(self.out_weight, (0, 0, 0, self.n_given)), pad(self.out_bias, (0, self.n_given))

    def forward(self, t, x):
        """Velocity (n, d) of the rows ``x`` (n, d) at time ``t``, a number or a column (n, 1)."""
        *_, activation = self._activations(t, x)
        weight, bias = self.out_layer()
        return torch.addmm(bias, activation, weight.T)

    def forward_and_trace(self, t, x):
        """Velocity (n, d) and its divergence (n,), exactly.

        With a1, a2 the activations and s = 1 - a^2 the derivatives of tanh, the
        Jacobian is W3 diag(s2) W2 diag(s1) W1, so its trace is the bilinear form
        s2^T (W2 * (W1 W3)^T) s1; ``*`` is elementwise. Beyond two hidden layers the
        Jacobian is made, a layer after the other.
        """
        if not self.has_cheap_trace:
            return self._forward_and_trace_by_product(t, x)
        *activations, last = self._activations(t, x)
        weight, bias = self.out_layer()
        v = torch.addmm(bias, last, weight.T)
        loop = (self.weights[0] @ weight).T
        if not activations:
            return v, tanh_slope(last) @ loop.diagonal()
        (first,) = activations
        inner = tanh_slope(first) @ (self.weights[1] * loop).T
        return v, torch.linalg.vecdot(inner, tanh_slope(last))

    def _forward_and_trace_by_product(self, t, x):
        jacobian = None  # transposed, of shape (n, d, width)
        for weight, activation in zip(self.weights, self._activations(t, x), strict=True):
            slope = tanh_slope(activation).unsqueeze(1)
            jacobian = slope * (weight.T if jacobian is None else jacobian @ weight.T)
        weight, bias = self.out_layer()
        v = torch.addmm(bias, activation, weight.T)
        return v, jacobian.flatten(1) @ weight.flatten()

    def _activations(self, t, x):
        for weight, bias, time_weight in zip(
            self.weights, self.biases, self.time_weights, strict=True
        ):
            x = tanh_from_(torch.addmm(bias + t * time_weight, x, weight.T, beta=-2, alpha=-2))
            yield x
