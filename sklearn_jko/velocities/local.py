"""Velocity fields of images and graphs."""

import math

import torch
from torch import nn
from torch.nn.functional import pad

from sklearn_jko.velocities._tanh import tanh_from_, tanh_slope, uniform

__all__ = ["LocalVelocity"]

# Each part of the rows reads the weights of all nodes, which takes longer than a few rows. With
# this limit 64 rows or more are taken at once.
LARGEST_LAYER = 2**13


class LocalVelocity(nn.Module):
    """One small tanh network, applied around every node of a `sklearn_jko.structure.Structure`.

    A node p sees u_p = B_p x, a few sums of nearby columns. All nodes share the weights of

        v = sum_p B_p^T D_p W3 tanh(W2 tanh(W1 C_p u_p + b1_p) + b2_p) + b3,

    and differ in their biases and in the scales of what they see and send, the diagonal C_p and
    D_p. In a graph they also differ in the scales with which others see them and they receive:
    there B_p is B_p E for what is seen and B_p F for what is sent, with diagonal E and F for each
    of the relations. For images this is a residual network of three convolutions (the second of
    size 1, the last transposed), for graphs a message-passing network. Nodes farther away have an
    effect through the integration over time.

    Parameters
    ----------
    n_features : int
        Dimension of the space, including the columns at rest.
    hidden_layer_sizes : sequence of two int
        Widths of the hidden layers.
    generator : torch.Generator, optional
        Source of the random initial weights.
    n_given : int, default=0
        Number of columns, the last ones, that are at rest and act as inputs for the others. A node
        sees those that are part of the structure like other columns, with separate weights; all
        others are inputs of every node's network.
    structure : Structure
        Structure of the first columns.
    """

    has_cheap_trace = True

    def __init__(self, n_features, hidden_layer_sizes, generator=None, n_given=0, structure=None):
        super().__init__()
        n_nodes, n_seen, (m1, m2) = structure.n_nodes, structure.n_relations, hidden_layer_sizes
        self.n_given, self.structure = n_given, structure
        self.in_weight = uniform((m1, n_seen), math.sqrt(3 / n_seen), generator)
        self.in_bias = uniform((n_nodes, m1), 1 / math.sqrt(n_seen), generator)
        self.weight = uniform((m2, m1), math.sqrt(3 / m1), generator)
        self.bias = uniform((n_nodes, m2), 1 / math.sqrt(m1), generator)
        self.time_weights = nn.ParameterList([torch.zeros(m1), torch.zeros(m2)])
        self.n_placed = structure.n_given
        if self.n_placed:
            self.placed_weight = nn.Parameter(torch.zeros(m1, n_seen))
        self.seen_change = nn.Parameter(torch.zeros(n_nodes, n_seen * (1 + bool(self.n_placed))))
        self.sent_change = nn.Parameter(torch.zeros(n_nodes, n_seen))
        self.is_graph = structure.shape is None
        if self.is_graph:
            n_modelled = n_features - n_given
            self.shown_change = nn.Parameter(torch.zeros(n_seen, n_modelled + self.n_placed))
            self.taken_change = nn.Parameter(torch.zeros(n_seen, n_modelled))
        if n_given > self.n_placed:
            self.given_weight = nn.Parameter(torch.zeros(n_nodes * m1, n_given - self.n_placed))
        self.out_weight = nn.Parameter(torch.zeros(n_seen, m2))
        self.out_bias = nn.Parameter(torch.zeros(n_features - n_given))

    @property
    def hidden_layer_sizes(self):
        """Width of each hidden layer."""
        return tuple(self.weight.shape[::-1])

    @property
    def numbers_of_layer(self):
        """How many numbers a row has in the wider layer of all nodes, limited to LARGEST_LAYER."""
        return min(self.structure.n_nodes * max(self.hidden_layer_sizes), LARGEST_LAYER)

    def forward(self, t, x):
        """Velocity (n, d) of the rows ``x`` (n, d) at time ``t``, a number or a column (n, 1)."""
        _, last = self._activations(t, x)
        return self._velocity(last)

    def forward_and_trace(self, t, x):
        """Velocity (n, d) and its exact divergence (n,).

        The Jacobian is the sum of B_p^T D_p W3 diag(s2) W2 diag(s1) W1 C_p B_p over the nodes, with
        s = 1 - a^2 of their activations, so its trace is that of s2^T (W2 * (W1 G_p W3)^T) s1, with
        the Gram matrix G_p = C_p B_p E F B_p^T D_p and the elementwise product ``*``.
        """
        first, last = self._activations(t, x)
        in_weight = self._in_weight()[:, :, : self.structure.n_relations]
        loop = (self._times_gram(in_weight) @ self._out_weight()).mT
        inner = torch.bmm(self.weight * loop, tanh_slope(first))
        return self._velocity(last), (inner * tanh_slope(last)).sum((0, 1))

    def _activations(self, t, x):
        """Activations of both layers, of shape (n_nodes, width, n)."""
        n, n_nodes = x.shape[0], self.structure.n_nodes
        shape = n_nodes, self.structure.n_relations, n  # all of it: no rows have no inferred size
        modelled, placed, given = x.T.split(
            [x.shape[1] - self.n_given, self.n_placed, self.n_given - self.n_placed]
        )
        maps = self.structure.maps(x)
        if self.is_graph:
            scales, sizes = 1 + self.shown_change.unsqueeze(2), [len(modelled), len(placed)]
            modelled, placed = (
                (scale * part).flatten(0, 1)
                for scale, part in zip(scales.split(sizes, dim=1), (modelled, placed), strict=True)
            )
        seen = _product(maps.gather, maps.scatter, modelled.contiguous())
        seen = seen.view(shape)
        shift = self._shift(self.in_bias, 0, t)
        if self.n_placed:
            seen_placed = torch.mm(maps.gather_given, placed.contiguous()).view(shape)
            seen = torch.cat([seen, seen_placed], dim=1)
        if len(given):
            shift = shift + (self.given_weight @ given).view(n_nodes, len(self.in_weight), n)
        first = self._layer(shift, self._in_weight(), seen)
        return first, self._layer(self._shift(self.bias, 1, t), self.weight, first)

    def _in_weight(self):
        """W1 C_p of every node, shape (n_nodes, width, n_seen), with given columns last."""
        weight = self.in_weight
        if self.n_placed:
            weight = torch.cat([weight, self.placed_weight], dim=1)
        return weight * (1 + self.seen_change).unsqueeze(1)

    def _out_weight(self):
        """D_p W3 of every node, shape (n_nodes, n_seen, width)."""
        return self.out_weight * (1 + self.sent_change).unsqueeze(2)

    def _shift(self, bias, layer, t):
        t = t.T if isinstance(t, torch.Tensor) and t.ndim == 2 else t
        return bias.unsqueeze(2) + self.time_weights[layer].unsqueeze(1) * t

    def _layer(self, shift, weight, below):
        weight = weight.expand(len(below), -1, -1)
        return tanh_from_(torch.baddbmm(shift, weight, below, beta=-2, alpha=-2))

    def _times_gram(self, weight):
        """Matrices of shape (n_nodes, width, n_relations) times B_p E F B_p^T."""
        maps = self.structure.maps(weight)
        if not self.is_graph:
            return weight @ maps.gram
        shown = 1 + self.shown_change[:, : self.taken_change.shape[1]]
        scales = (shown * (1 + self.taken_change)).view(-1, 1)
        diagonal = _product(maps.squares, maps.squares_back, scales)
        return weight * diagonal.view(len(weight), 1, -1)

    def _velocity(self, last):
        maps = self.structure.maps(last)
        sent = torch.bmm(self._out_weight(), last).flatten(0, 1)
        v = _product(maps.scatter, maps.gather, sent)
        if self.is_graph:
            taken = 1 + self.taken_change.unsqueeze(2)
            v = (taken * v.view(*self.taken_change.shape, last.shape[2])).sum(0)
        v = v.T + self.out_bias
        return pad(v, (0, self.n_given)) if self.n_given else v


def _product(matrix, transposed, dense):
    """A constant matrix, sparse or dense, times another."""
    if matrix.is_sparse:
        return _Product.apply(matrix, transposed, dense)
    return torch.mm(matrix, dense)


class _Product(torch.autograd.Function):
    """A constant sparse matrix times another; takes its transpose for the gradient."""

    @staticmethod
    def forward(matrix, transposed, dense):
        return torch.mm(matrix, dense)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.matrices = inputs[:2]

    @staticmethod
    def backward(ctx, grad):
        matrix, transposed = ctx.matrices
        return None, None, _Product.apply(transposed, matrix, grad.contiguous())

    @staticmethod
    def jvp(ctx, _, __, tangent):
        return _Product.apply(*ctx.matrices, tangent.contiguous())

    @staticmethod
    def vmap(info, in_dims, matrix, transposed, dense):
        """The products of all in the batch, side by side."""
        batch = dense.movedim(in_dims[2], 1)
        product = _Product.apply(matrix, transposed, batch.flatten(1))
        return product.view(len(product), *batch.shape[1:]), 1
