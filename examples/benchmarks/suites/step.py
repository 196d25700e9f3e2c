"""Seconds of one training step: ours against the paper's configuration.

The paper's (Xu, Cheng and Xie 2023): three hidden layers, Hutchinson's divergence by finite
differences, three RK4 steps of torchdiffeq with the gradient by its adjoint, softplus, Adam. Ours:
the library's own training step with two hidden layers, the analytic trace, one or two RK4 steps.
All have the same width, batch and rows, and the learning rate of their optimiser; they take turns,
and the figure is the median.

After the same number of steps each block is judged on held-out rows with the exact divergence:
its negative log-likelihood (nats per row) with the solver steps of its training, and with twice
as many. The difference is the solver's error; the second figure is the one to believe.
"""

import itertools
import math

import numpy as np
import torch
import torchdiffeq
from flows import STEP_SIZE, curved_rows, library_training, training_options
from measuring import interleaved
from reporting import Option, markdown, printed, ratio

from sklearn_jko.bases import StandardNormal
from sklearn_jko.divergence import exact
from sklearn_jko.flow import JKOBlock
from sklearn_jko.solvers import SOLVERS
from sklearn_jko.training.automatic import peak_rate
from sklearn_jko.training.objective import jko_terms

__all__ = ["OPTIONS", "ratios", "run", "table"]

PAPER, PAPER_STEPS = "paper", 3
OUR_STEPS = (1, 2)
WARMUP = 3
OPTIONS = (
    Option("columns", (2, 10, 43, 63), (2,), "columns of each shape"),
    Option("widths", (128, 128, 256, 256), (16,), "width of each shape's hidden layers"),
    Option("batches", (2000, 512, 1000, 1024), (64,), "batch of each shape"),
    Option("steps", 200, 8, f"training steps, {WARMUP} of them not timed"),
    Option("judged-rows", 500, 50, "held-out rows"),
)


def run(arguments):
    shapes = (arguments.columns, arguments.widths, arguments.batches)
    if len({len(values) for values in shapes}) > 1:
        raise SystemExit(f"--columns, --widths, --batches are {shapes}: give as many of each.")
    return [
        printed(record)
        for shape in zip(*shapes, strict=True)
        for record in run_shape(*shape, arguments)
    ]


def run_shape(d, width, batch, arguments):
    """Train each for the same steps in turn; a record each."""
    rows = torch.tensor(curved_rows(10 * batch, d, arguments.seed), dtype=torch.float32)
    judged = curved_rows(arguments.judged_rows, d, arguments.seed + 1)
    judged = torch.tensor(judged, dtype=torch.float32)
    blocks, steps = {}, {}
    blocks[PAPER], steps[PAPER] = paper_training(rows, width, batch, arguments.seed)
    for n in OUR_STEPS:
        blocks[ours(n)], steps[ours(n)] = our_training(rows, width, batch, n, arguments)
    seconds = interleaved(steps, arguments.steps, warmup=WARMUP)
    return [
        {
            "columns": d,
            "width": width,
            "batch": batch,
            "method": name,
            "step_seconds": seconds[name],
            **judgement(blocks[name], judged, n_steps),
        }
        for name, n_steps in zip(seconds, (PAPER_STEPS, *OUR_STEPS), strict=True)
    ]


def ours(n_steps):
    return f"ours, RK4 x {n_steps}"


def our_training(rows, width, batch, n_steps, arguments):
    """The block, and a function that takes one step of the library's training."""
    n, d = rows.shape
    options = training_options(
        n, d, width, batch_size=batch, max_iter=arguments.steps, solver_steps=n_steps
    )
    training = library_training(rows, options, arguments.seed)
    parts = batches(rows, batch, arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    return training.block, lambda: training.step(next(parts), generator)


class PaperVelocity(torch.nn.Module):
    """Three hidden layers of softplus units with the time as one more input; at first zero."""

    def __init__(self, d, width):
        super().__init__()
        widths = [d + 1, *(width,) * 3]
        hidden = [
            layer
            for sizes in itertools.pairwise(widths)
            for layer in (torch.nn.Linear(*sizes), torch.nn.Softplus(beta=20))
        ]
        last = torch.nn.Linear(width, d)
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        self.layers = torch.nn.Sequential(*hidden, last)

    def forward(self, t, x):
        return self.layers(torch.cat([x, t * torch.ones_like(x[:, :1])], dim=1))

    def forward_and_trace(self, t, x):
        """Velocity and its divergence, for judgement: one backward pass a column."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            v = self(t, x)
            gradients = (
                torch.autograd.grad(v[:, j].sum(), x, retain_graph=True)[0]
                for j in range(x.shape[1])
            )
            trace = sum(gradient[:, j] for j, gradient in enumerate(gradients))
        return v.detach(), trace


def finite_difference(velocity, t, x, noise):
    """Hutchinson's estimate by a forward difference, the paper's equation (10).

    The step is 0.02 / sqrt(d), the paper's choice; one more forward pass.
    """
    step = 0.02 / math.sqrt(x.shape[1])
    v = velocity(t, x)
    return v, ((velocity(t, x + step * noise) - v) * noise).sum(1) / step


def paper_training(rows, width, batch, seed):
    """The same for the paper's configuration."""
    d = rows.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = JKOBlock(PaperVelocity(d, width))
    rate = peak_rate(width, turns_axes=False)
    optimizer = torch.optim.Adam(block.parameters(), lr=rate)
    parts = batches(rows, batch, seed)
    generator = torch.Generator().manual_seed(seed)

    def step():
        x = next(parts)
        noise = torch.randn(x.shape, generator=generator)
        optimizer.zero_grad()
        y, log_det = block(x, rk4_adjoint, PAPER_STEPS, finite_difference, noise)
        jko_terms(StandardNormal(), x, y, log_det, STEP_SIZE).total.backward()
        optimizer.step()

    return block, step


def rk4_adjoint(field, x, t0, t1, n_steps):
    """RK4 of torchdiffeq with the gradient by the adjoint equation, as a solver of the library."""
    states = torchdiffeq.odeint_adjoint(
        lambda t, state: field.velocity_and_divergence(t, state[0]),
        (x, x.new_zeros(len(x))),
        torch.tensor([t0, t1]),
        method="rk4",
        options={"step_size": (t1 - t0) / n_steps},
        adjoint_params=tuple(field.parameters),
    )
    return states[0][-1], states[1][-1]


def batches(rows, batch, seed):
    """Endless minibatches, the same for every contender."""
    generator = torch.Generator().manual_seed(seed)
    for _ in itertools.count():
        for part in torch.randperm(len(rows), generator=generator).split(batch):
            yield rows[part]


@torch.no_grad()
def judgement(block, rows, n_steps):
    """Negative log-likelihood with the steps of training and twice as many, and the difference."""
    coarse, fine = (mean_nll(block, rows, n) for n in (n_steps, 2 * n_steps))
    return {"nll": coarse, "nll_steps_x2": fine, "solver_error": abs(fine - coarse)}


def mean_nll(block, rows, n_steps):
    y, log_det = block(rows, SOLVERS["rk4"], n_steps, exact)
    return -float((StandardNormal().log_prob(y) + log_det).double().mean())


def table(records):
    header = ["columns, width, batch", "method", "ms a step", "NLL", "steps x 2", "solver error"]
    rows = [
        [
            shape_of(r),
            r["method"],
            f"{1e3 * r['step_seconds']:.2f}",
            *(f"{r[name]:.4f}" for name in ("nll", "nll_steps_x2")),
            f"{r['solver_error']:.1e}",
        ]
        for r in records
    ]
    return markdown(header, rows)


def ratios(records):
    """The paper's seconds over ours, for each shape, and their geometric mean for each of ours."""
    seconds = {(shape_of(r), r["method"]): r["step_seconds"] for r in records}
    shapes = dict.fromkeys(shape_of(r) for r in records)
    found = [
        ratio(
            f"seconds a step, paper over {ours(n)}; columns, width, batch {shape}",
            seconds[shape, PAPER],
            seconds[shape, ours(n)],
        )
        for n in OUR_STEPS
        for shape in shapes
    ]
    for n in OUR_STEPS:
        means = (
            math.exp(np.mean([math.log(seconds[shape, name]) for shape in shapes]))
            for name in (PAPER, ours(n))
        )
        found.append(ratio(f"seconds a step, paper over {ours(n)}; geometric means", *means))
    return found


def shape_of(record):
    return f"{record['columns']}, {record['width']}, {record['batch']}"
