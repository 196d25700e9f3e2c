"""Multilayer perceptron velocity fields."""

import itertools
import math

import torch
from torch import nn

__all__ = ["MLPVelocity"]


class MLPVelocity(nn.Module):
    """Time-dependent tanh network f(t, x) from R^d to R^d.

    The time enters every hidden layer's pre-activation. The last layer starts at
    zero, so an untrained block is the identity map. With one or two hidden layers
    the divergence has a closed form that costs one matrix product
    (:meth:`forward_and_trace`); deeper networks have none.

    Parameters
    ----------
    n_features : int
        Dimension d of the space.
    hidden_layer_sizes : sequence of int, default=(128, 128)
        Width of each hidden layer.
    generator : torch.Generator, optional
        Source of the random initial weights.
    """

    def __init__(self, n_features, hidden_layer_sizes=(128, 128), generator=None):
        super().__init__()
        widths = [n_features, *hidden_layer_sizes]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.time_weights = nn.ParameterList()
        for n_in, n_out in itertools.pairwise(widths):
            scale = 1 / math.sqrt(n_in)
            self.weights.append(_uniform((n_out, n_in), math.sqrt(3) * scale, generator))
            self.biases.append(_uniform((n_out,), scale, generator))
            self.time_weights.append(torch.zeros(n_out))
        self.out_weight = nn.Parameter(torch.zeros(n_features, widths[-1]))
        self.out_bias = nn.Parameter(torch.zeros(n_features))

    @property
    def has_trace(self):
        """Whether :meth:`forward_and_trace` is available."""
        return len(self.weights) <= 2

    def forward(self, t, x):
        """Velocity (n, d) of the rows ``x`` (n, d) at time ``t``, a number or a column (n, 1)."""
        *_, activation = self._activations(t, x)
        return torch.addmm(self.out_bias, activation, self.out_weight.T)

    def forward_and_trace(self, t, x):
        """Velocity (n, d) and its divergence (n,), exactly.

        With a1, a2 the activations and s = 1 - a^2 the derivatives of tanh, the
        Jacobian is W3 diag(s2) W2 diag(s1) W1, so its trace is the bilinear form
        s2^T (W2 * (W1 W3)^T) s1; ``*`` is elementwise.
        """
        loop = (self.weights[0] @ self.out_weight).T
        if len(self.weights) == 1:
            (activation,) = self._activations(t, x)
            trace = (1 - activation * activation) @ loop.diagonal()
            return torch.addmm(self.out_bias, activation, self.out_weight.T), trace
        shifts = [b + t * c for b, c in zip(self.biases, self.time_weights, strict=True)]
        return _TwoLayerTrace.apply(
            x, *self.weights, *shifts, self.out_weight, self.out_bias, self.weights[1] * loop
        )

    def _activations(self, t, x):
        for weight, bias, time_weight in zip(
            self.weights, self.biases, self.time_weights, strict=True
        ):
            x = torch.tanh(torch.addmm(bias + t * time_weight, x, weight.T))
            yield x


def _uniform(shape, bound, generator):
    device = None if generator is None else generator.device
    return nn.Parameter((2 * torch.rand(shape, generator=generator, device=device) - 1) * bound)


class _TwoLayerTrace(torch.autograd.Function):
    """Velocity and trace of two hidden layers, with the gradient written out.

    The same numbers as automatic differentiation of the plain formula, in about half
    of its elementwise passes; training spends nearly all of its time here.
    """

    @staticmethod
    def forward(ctx, x, w1, w2, shift1, shift2, w3, b3, trace_matrix):
        a1 = torch.addmm(shift1, x, w1.T).tanh_()
        a2 = torch.addmm(shift2, a1, w2.T).tanh_()
        s1, s2 = (1 - a1 * a1), (1 - a2 * a2)
        u = s1 @ trace_matrix.T
        ctx.shift_shapes = shift1.shape, shift2.shape
        ctx.save_for_backward(x, w1, w2, w3, trace_matrix, a1, a2, s1, s2, u)
        return torch.addmm(b3, a2, w3.T), torch.linalg.vecdot(u, s2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_v, grad_trace):
        x, w1, w2, w3, trace_matrix, a1, a2, s1, s2, u = ctx.saved_tensors
        column = grad_trace.unsqueeze(1)
        grad_u = column * s2
        grad_z2 = (grad_v @ w3).addcmul_(column * u, a2, value=-2).mul_(s2)
        grad_z1 = (grad_z2 @ w2).addcmul_(grad_u @ trace_matrix, a1, value=-2).mul_(s1)
        return (
            grad_z1 @ w1,
            grad_z1.T @ x,
            grad_z2.T @ a1,
            grad_z1.sum_to_size(ctx.shift_shapes[0]),
            grad_z2.sum_to_size(ctx.shift_shapes[1]),
            grad_v.T @ a2,
            grad_v.sum(0),
            grad_u.T @ s1,
        )
