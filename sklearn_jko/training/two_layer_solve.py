"""Fixed-step solve of a network with two hidden layers, with its gradient written out.

Training spends nearly all of its time here. The results are those of automatic differentiation
through `solvers.fixed_step` and `MLPVelocity.forward_and_trace`, but faster: traces, their
gradients and the gradients of the weights, on which the path of the rows does not depend, are
computed for all stages at once, in memory that is kept from one call to the next.

With a1, a2 the activations, s = 1 - a^2, and T = W2 * (W1 W3)^T, one evaluation is

    v = W3 a2 + b3,   trace = s2^T T s1.
"""

import functools
from typing import NamedTuple

import torch

from sklearn_jko.solvers import Tableau
from sklearn_jko.velocities import MLPVelocity

__all__ = ["TwoLayerSolve", "is_two_layer"]


class TwoLayerSolve:
    """Push rows through a block and integrate its divergence.

    Parameters
    ----------
    velocity : MLPVelocity
        With two hidden layers.
    tableau : Tableau
        Rule of the solver.
    t0, t1 : float
    """

    def __init__(self, velocity, tableau, t0=0.0, t1=1.0):
        self.velocity, self.tableau, self.t0, self.t1 = velocity, tableau, t0, t1
        self.memory = None

    def __call__(self, x, n_steps):
        """Rows of shape (n, d) after the block, and log |det| (n,), differentiable once.

        The gradient must be taken before the next call, which overwrites the memory it needs.
        """
        velocity = self.velocity
        layout = _layout(self.tableau, self.t0, self.t1, n_steps)
        out_weight, out_bias = velocity.out_layer()
        widths = [len(bias) for bias in velocity.biases]
        if self.memory is None or self.memory.sizes != _sizes(x, widths, layout):
            self.memory = None  # frees the old one first
            self.memory = _Memory(x, widths, layout)
        return _Solve.apply(
            layout,
            self.memory,
            x,
            *velocity.weights,
            out_weight,
            *velocity.biases,
            *velocity.time_weights,
            out_bias,
        )


def is_two_layer(velocity):
    """Whether a velocity is such a network."""
    return isinstance(velocity, MLPVelocity) and len(velocity.weights) == 2


class _Layout(NamedTuple):
    """Positions of the evaluations of a solve in memory, those whose trace is needed first."""

    tableau: Tableau
    dt: float
    slots: list  # for each step, those of its stages
    times: list  # for each slot
    trace_weights: list  # for each slot whose trace is needed

    @property
    def n_traced(self):
        return len(self.trace_weights)


@functools.cache
def _layout(tableau, t0, t1, n_steps):
    dt = (t1 - t0) / n_steps
    stages = [(k, i) for k in range(n_steps) for i in range(len(tableau.b))]
    order = sorted(stages, key=lambda stage: tableau.b[stage[1]] == 0)
    slots = [[order.index((k, i)) for i in range(len(tableau.b))] for k in range(n_steps)]
    return _Layout(
        tableau,
        dt,
        slots,
        times=[t0 + (k + tableau.c[i]) * dt for k, i in order],
        trace_weights=[tableau.b[i] * dt for _, i in order if tableau.b[i]],
    )


class _Memory:
    """Tensors of shape (slots, n, width), reused by every call of the same sizes."""

    def __init__(self, x, widths, layout):
        (n, d), (m1, m2), n_slots, n_traced = x.shape, widths, len(layout.times), layout.n_traced
        self.sizes = _sizes(x, widths, layout)
        self.times = x.new_tensor(layout.times)
        self.trace_weights = x.new_tensor(layout.trace_weights)
        self.x, self.v, self.grad_v = x.new_empty((3, n_slots, n, d)).unbind()
        self.a1, self.s1 = x.new_empty((2, n_slots, n, m1)).unbind()
        self.a2, self.s2 = x.new_empty((2, n_slots, n, m2)).unbind()
        self.grad_z1, self.grad_z2 = self.s1, self.s2  # take the place of what they need
        self.u, self.grad_u = x.new_empty((2, n_traced, n, m2)).unbind()
        self.to_z1 = x.new_empty((n_traced, n, m1))
        self.scratch1, self.scratch2 = x.new_empty((n, m1)), x.new_empty((n, m2))
        # Taken apart once: an index into a tensor costs as much as a small product.
        self.of_slot = [
            _Slot(*(None if k >= len(tensor) else tensor[k] for tensor in self._of_slots()))
            for k in range(n_slots)
        ]

    def _of_slots(self):
        return (
            self.x,
            self.v,
            self.grad_v,
            self.a1,
            self.a2,
            self.grad_z1,
            self.grad_z2,
            self.to_z1,
            self.u,
        )


class _Slot(NamedTuple):
    """The memory of one evaluation of the velocity; the last two only where its trace is needed."""

    x: torch.Tensor
    v: torch.Tensor
    grad_v: torch.Tensor
    a1: torch.Tensor
    a2: torch.Tensor
    grad_z1: torch.Tensor
    grad_z2: torch.Tensor
    to_z1: torch.Tensor | None
    to_z2: torch.Tensor | None


def _sizes(x, widths, layout):
    return x.shape, x.dtype, x.device, widths, layout.times


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, layout, memory, x, w1, w2, w3, b1, b2, c1, c2, b3):
        trace_matrix = w2 * (w1 @ w3).T
        shifts = [torch.addcmul(b, memory.times[:, None], c) for b, c in ((b1, c1), (b2, c2))]
        y = _follow_path(layout, memory, x, (w1, w2, w3), shifts, b3)
        log_det = _integrate_traces(layout, memory, trace_matrix)
        ctx.layout, ctx.memory = layout, memory
        ctx.save_for_backward(w1, w2, w3, trace_matrix)
        return y, log_det

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_y, grad_log_det):
        *weights, trace_matrix = ctx.saved_tensors
        layout, m = ctx.layout, ctx.memory
        grad_trace_matrix = _back_through_traces(layout, m, grad_log_det, trace_matrix)
        grad_x = _back_along_path(layout, m, grad_y, weights)
        grad_weights = _weight_gradients(m, weights, grad_trace_matrix)
        sums1, sums2 = m.grad_z1.sum(1), m.grad_z2.sum(1)
        grad_b3 = m.grad_v.sum((0, 1))
        grad_shifts = sums1.sum(0), sums2.sum(0), m.times @ sums1, m.times @ sums2
        return None, None, grad_x, *grad_weights, *grad_shifts, grad_b3


def _follow_path(layout, memory, x, weights, shifts, b3):
    """Evaluate the velocity stage by stage; return the rows at the end."""
    (w1, w2, w3), (shifts1, shifts2) = weights, shifts
    for slots in layout.slots:
        stages = [memory.of_slot[slot] for slot in slots]
        for a, slot, stage in zip(layout.tableau.a, slots, stages, strict=True):
            _move(x, layout.dt, a, stages, out=stage.x)
            _tanh_layer(stage.x, w1, shifts1[slot], out=stage.a1)
            _tanh_layer(stage.a1, w2, shifts2[slot], out=stage.a2)
            torch.addmm(b3, stage.a2, w3.T, out=stage.v)
        x = _move(x, layout.dt, layout.tableau.b, stages, out=torch.empty_like(x))
    return x


def _tanh_layer(x, weight, shift, out):
    """tanh(z) = 2 sigmoid(2 z) - 1, in place; see `velocities._tanh`."""
    torch.addmm(shift, x, weight.T, beta=2, alpha=2, out=out)
    out.sigmoid_().mul_(2).sub_(1)


def _move(x, dt, weights, stages, out):
    """Fill ``out`` with x + dt sum_j weights_j v_j."""
    out.copy_(x)
    for weight, stage in zip(weights, stages, strict=False):
        if weight:
            out.add_(stage.v, alpha=weight * dt)
    return out


def _integrate_traces(layout, m, trace_matrix):
    one = trace_matrix.new_ones(())
    torch.addcmul(one, m.a1, m.a1, value=-1, out=m.s1)
    torch.addcmul(one, m.a2, m.a2, value=-1, out=m.s2)
    torch.mm(_rows(m.s1[: layout.n_traced]), trace_matrix.T, out=_rows(m.u))
    traces = torch.linalg.vecdot(m.u, m.s2[: layout.n_traced])
    return m.trace_weights @ traces


def _back_through_traces(layout, m, grad_log_det, trace_matrix):
    """Gradient of T, and, in `m.u` and `m.to_z1`, what traces add to those of pre-activations."""
    a1, a2, s1, s2 = (tensor[: layout.n_traced] for tensor in (m.a1, m.a2, m.s1, m.s2))
    weights = m.trace_weights[:, None] * grad_log_det
    # The factor is that of ds = -2 a s dz.
    torch.mul(s2, -2 * weights[:, :, None], out=m.grad_u)
    m.u.mul_(a2).mul_(m.grad_u)
    torch.mm(_rows(m.grad_u), trace_matrix, out=_rows(m.to_z1))
    m.to_z1.mul_(a1).mul_(s1)
    return _rows(m.grad_u).T @ _rows(s1) / -2


def _back_along_path(layout, memory, grad_y, weights):
    """Gradient of the rows, and, in ``memory``, those of velocities and pre-activations."""
    w1, w2, w3 = weights
    (_, *rows_of_a), b = layout.tableau.a, layout.tableau.b
    grad_x = grad_y.clone()
    for slots in reversed(layout.slots):
        grad_stages = []  # the last first
        for i, slot in reversed([*enumerate(slots)]):
            stage = memory.of_slot[slot]
            torch.mul(grad_x, b[i] * layout.dt, out=stage.grad_v)
            for row, grad in zip(reversed(rows_of_a[i:]), grad_stages, strict=True):
                stage.grad_v.add_(grad, alpha=row[i] * layout.dt)
            grad_a2 = torch.mm(stage.grad_v, w3, out=memory.scratch2)
            _times_slope(stage.grad_z2, grad_a2, stage.to_z2)
            grad_a1 = torch.mm(stage.grad_z2, w2, out=memory.scratch1)
            _times_slope(stage.grad_z1, grad_a1, stage.to_z1)
            grad_stages.append(stage.grad_z1 @ w1)
        grad_x += sum(grad_stages)
    return grad_x


def _times_slope(slope, grad, added):
    """Overwrite an activation's slope by the gradient of its pre-activation."""
    slope.mul_(grad)
    if added is not None:
        slope.add_(added)


def _weight_gradients(m, weights, grad_trace_matrix):
    w1, w2, w3 = weights
    grad_loop = (grad_trace_matrix * w2).T  # of W1 W3
    grad_w1 = (_rows(m.grad_z1).T @ _rows(m.x)).addmm_(grad_loop, w3.T)
    grad_w2 = (_rows(m.grad_z2).T @ _rows(m.a1)).addcmul_(grad_trace_matrix, (w1 @ w3).T)
    grad_w3 = (_rows(m.grad_v).T @ _rows(m.a2)).addmm_(w1.T, grad_loop)
    return grad_w1, grad_w2, grad_w3


def _rows(tensor):
    return tensor.view(-1, tensor.shape[-1])
