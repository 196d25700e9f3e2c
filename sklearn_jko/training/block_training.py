"""Training of one block."""

import copy
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from sklearn_jko.bases import StandardNormal
from sklearn_jko.divergence import (
    DIVERGENCES,
    NOISY_DIVERGENCES,
    divergence_for_training,
    exact_divergence_for,
)
from sklearn_jko.flow import in_parts
from sklearn_jko.objective import JKOTerms, jko_terms
from sklearn_jko.rows.processes import ALONE
from sklearn_jko.solvers import SOLVERS, TABLEAUS
from sklearn_jko.structure import Structure
from sklearn_jko.training.observation import Observer
from sklearn_jko.training.optimizer import SOAP
from sklearn_jko.training.plan import COOLDOWN_SHARE, LONG, Plan, cooldown_start
from sklearn_jko.training.two_layer_solve import TwoLayerSolve, is_two_layer

__all__ = [
    "BlockRecord",
    "Rows",
    "TrainingOptions",
    "outlier_ceiling",
    "row_nll",
    "train_block",
]

MAX_GRADIENT_NORM = 1.0
CLOCK_PERIOD = 5
MAX_SOLVER_STEPS = 32
# As torchdiffeq says on rows that make other solvers overflow.
UNDERFLOW = "underflow in dt"
# From the length of a rehearsal to that of the next.
REHEARSAL_GROWTH = 3
# A block may take as many solver steps as if all its optimiser steps took so many.
SOLVER_STEPS_IN_PLAN = 2
MIN_GAIN = 1e-3
MIN_PROGRESS = 1e-4


@dataclass(frozen=True)
class TrainingOptions:
    """What training needs to know; `JKOFlowDensity` documents most of them for the user.

    Beside those, the optimiser turns its axes where ``turns_axes``; a block's weights are judged by
    ``n_evaluations`` (see `Plan`), and not believed where the solver moves the held-out mean by
    more than ``honest_gap`` nats when its steps are doubled; the last ``n_given`` columns of the
    rows are what they are given, and stay as they are; the others have this ``structure``; and
    ``penalty(block, x, y, log_det, generator)``, where given, is added to the objective of a batch.
    """

    step_size: Callable[[int], float]
    velocity: str = "mlp"
    hidden_layer_sizes: tuple = (128, 128)
    max_blocks: int = 8
    n_refinements: int = 0
    tol: float = 1e-2
    max_iter: int = 1000
    batch_size: int = 256
    learning_rate: float = 1.5e-2
    weight_decay: float = 0.3
    turns_axes: bool = True
    solver: str = "rk4"
    solver_steps: int = 1
    divergence: str = "auto"
    n_evaluations: int = 20
    patience: int = 5
    honest_gap: float = 1e-2
    n_given: int = 0
    structure: Structure | None = None
    penalty: Callable | None = None

    @property
    def most_judgements(self):
        """Of a block; None where that depends on how long it trains."""
        return self.n_evaluations if self.max_iter <= LONG else None

    @property
    def n_visits(self):
        """Most rows that training can take, each as often as it is taken.

        A round of refinement has up to twice the blocks of the one before.
        """
        n_blocks = self.max_blocks * (2 ** (self.n_refinements + 1) - 1)
        return n_blocks * self.max_iter * self.batch_size


class Rows(NamedTuple):
    """Rows on their way through the flow: (n, d) values and (n,) log |det| so far."""

    x: torch.Tensor
    log_det: torch.Tensor


@dataclass(frozen=True)
class BlockRecord:
    """What happened while one block was trained; all likelihoods in nats per row.

    Attributes
    ----------
    h : float
        Step size of equation (8); infinite for the free block.
    potential, log_det, transport : float
        Terms of equation (8) on the last training batch.
    distance : float
        Root of the mean squared distance E|x1 - x0|^2 over which the block carries the held-out
        rows, in scaled units: the paper's S_k, section 4.2.
    movement : float
        E|x1 - x0|^2 / E|x1|^2 of the same rows.
    movement_before : float
        The same by the weights from which the training of the block started.
    validation_nll : float
        Mean negative log-density of the held-out rows after this block, with twice the solver
        steps of training. The say of gross outliers among them is bounded, by the same number in
        all blocks.
    gain : float
        How much the block lowered that mean; 0 where it was dropped.
    solver_error : float
        Change of that mean between the solver steps of training and twice as many.
    solver_steps : int
    n_iter : int
        Optimiser steps.
    seconds : float
    kept : bool
        False where the block did not lower the held-out mean by a standard error and was
        dropped.
    overfits : bool
        Whether the held-out rows got worse during training.
    refinement : int
        Round of refinement in which the block was trained; 0 for the first training.
    """

    h: float
    potential: float
    log_det: float
    transport: float
    distance: float
    movement: float
    movement_before: float
    validation_nll: float
    gain: float
    solver_error: float
    solver_steps: int
    n_iter: int
    seconds: float
    kept: bool
    overfits: bool
    refinement: int


@torch.enable_grad()
def train_block(
    block,
    h,
    x,
    held_out,
    options,
    generator,
    seconds=math.inf,
    refinement=0,
    observer=None,
    processes=ALONE,
    ceiling=math.inf,
):
    """Train one block on objective (8), in place, and leave it at its best honest weights.

    Parameters
    ----------
    block : JKOBlock
    h : float
        Step size.
    x : Tensor of shape (n, d)
        Training rows of this process, pushed through the blocks before.
    held_out : Rows
        The same for the held-out rows.
    options, generator
        As in `train_flow`.
    seconds : float
        Time the training may take.
    refinement : int
        Round of refinement. After the first training, 0, the block starts from weights of its own,
        which the learning rate first makes worse.
    observer : Observer, optional
        Hears every judgement.
    processes : Processes
        With whose rows together the block is trained and judged.
    ceiling : float
        Largest negative log-density of a held-out row that counts, in nats: a gross outlier must
        not decide for all the others.

    Returns
    -------
    record : BlockRecord
    """
    start = time.monotonic()
    observer = observer or Observer()
    base = StandardNormal(options.n_given)
    n_rows = processes.total(len(x))
    training = _BlockTraining(
        block, h, base, held_out, options, n_rows, refinement, processes, ceiling
    )
    for rows in _batches(len(x), _own_batch_size(options.batch_size, processes), generator):
        training.step(x[rows], generator)
        if math.isfinite(seconds) and training.n_iter % CLOCK_PERIOD == 0:
            training.keep_to(seconds, processes.of_first(lambda: time.monotonic() - start))
        if training.is_due or training.ends_rehearsal or training.finished:
            nll = training.evaluate()
            processes.of_first(functools.partial(observer.evaluated, nll))
        training.rehearse()
        if training.finished:
            return training.record(time.monotonic() - start)


def row_nll(base, rows):
    """Negative log-density in nats of each row, shape (n,)."""
    return -(base.log_prob(rows.x) + rows.log_det)


def outlier_ceiling(nll):
    """Largest negative log-density, in nats, at which a row still counts for itself."""
    median, high = (float(nll.quantile(q)) for q in (0.5, 0.9))
    return median + 20 * (high - median + 1)


class _BlockTraining:
    """State of the training of one block.

    The learning rate warms up, stays, and cools down to zero. Where the held-out rows get worse on
    the plateau, a shorter cool-down starts from the best weights.

    On a long plateau overfitting hides behind the learning rate's noise. So the end is rehearsed:
    training cools down as if it were to end after 1,000 steps, and then returns to the plateau; and
    so after 3,000, and so on, as long as the held-out rows gain by it. From the first rehearsal on
    these alone decide.
    """

    def __init__(
        self,
        block,
        h,
        base,
        held_out,
        options,
        n_rows,
        refinement=0,
        processes=ALONE,
        ceiling=math.inf,
    ):
        self.block, self.h, self.base = block, h, base
        self.held_out, self.ceiling = held_out, ceiling
        self.options, self.refinement, self.processes = options, refinement, processes
        self.n_held_out = processes.total(len(held_out.x))
        self.divergence = divergence_for_training(options.divergence, block.velocity)
        # An adaptive solver has no steps to double: RK4's, with which the rows are pushed on, are
        # judged in its place.
        self.judge = SOLVERS[options.solver if options.solver in TABLEAUS else "rk4"]
        self.solve = _training_solve(block, options.solver, self.divergence)
        self.solver_steps = options.solver_steps
        self.n_iter, self.n_solved, self.n_judged, self.n_bad = 0, 0, 0, 0
        self.n_rehearsed, self.rehearsal_end, self.plateau = 0, LONG, None
        self.overfits = False
        self.batch_size = min(options.batch_size, n_rows)
        self.epoch = n_rows / self.batch_size
        self.last_terms = JKOTerms(*torch.full((3,), math.nan))
        self._plan(options.max_iter)
        self.nll_before = self._judged(held_out)
        self.best_nll, self.best_gap = self.nll_before, 0.0
        self.rehearsed_nll = self.nll_before
        self.best_weights = copy.deepcopy(block.state_dict())
        _, self.movement_before = self._distance_and_movement()
        self._new_optimizer()

    @property
    def finished(self):
        return self.n_iter >= self.end

    @property
    def is_due(self):
        """Whether so many steps have passed since the last judgement as are to be between two."""
        return self.n_iter - self.n_judged >= self.plan.period(self.n_iter)

    @property
    def cools_down(self):
        return self.n_iter >= self.cooldown_start

    @property
    def ends_rehearsal(self):
        return self.plateau is not None and self.n_iter >= self.cooldown_end

    def step(self, x, generator):
        """Take one optimiser step on a batch, unless the objective or its gradient overflows.

        Nothing here waits for the device.
        """
        self.optimizer.zero_grad()
        self.n_iter += 1
        self.n_solved += self.solver_steps
        try:
            terms, penalty = self._loss(x, generator)
            (terms.total + penalty).backward()
        except AssertionError as error:
            if UNDERFLOW not in str(error):
                raise
            terms = JKOTerms(*x.new_full((3,), math.nan))
            for parameter in self.block.parameters():
                parameter.grad = torch.zeros_like(parameter)
        terms = self._of_all_processes(terms)
        norm = torch.nn.utils.clip_grad_norm_(self.block.parameters(), MAX_GRADIENT_NORM)
        overflows = ~(norm + terms.total).isfinite()
        self.optimizer.step(self._learning_rate(self.n_iter - 1), overflows)
        self.last_terms = terms

    def evaluate(self):
        """Judge the weights on the held-out rows; keep them, or turn back. Return the mean."""
        self.n_judged = self.n_iter
        self.processes.align(self.block)  # machines round differently, and axes make it matter
        nll, gap = self._held_out_nll()
        if not abs(gap) <= self.options.honest_gap:  # also where it is not a number
            self._refine(gap)
        elif self._is_thawing:
            pass
        elif nll.mean() < self.best_nll.mean() - MIN_PROGRESS:
            self.best_nll, self.best_gap, self.n_bad = nll, gap, 0
            self.best_weights = copy.deepcopy(self.block.state_dict())
        else:
            self.n_bad += 1
        # Nothing is memorised before it was seen twice: early losses are the learning rate's.
        has_seen_enough = self.n_iter > max(2 * self.plan.warmup, 2 * self.epoch)
        if self.n_bad >= self.options.patience and has_seen_enough and not self.finished:
            self._end_plateau()
        return float(nll.mean())

    def rehearse(self):
        """Begin or end a rehearsal, where it is time to."""
        n_trained = self.n_iter - self.n_rehearsed
        is_due = self.plateau is None and n_trained >= cooldown_start(self.rehearsal_end)
        if self.ends_rehearsal:
            self._end_rehearsal()
        elif is_due and not self.overfits:
            end = int(n_trained / (1 - COOLDOWN_SHARE))
            if 2 * end <= self.plan.end:
                self._begin_rehearsal(end - n_trained)

    def keep_to(self, seconds, elapsed):
        """Plan again, so that training ends when its time does."""
        affordable = int(self.n_iter * seconds / max(elapsed, 1e-9))
        if elapsed >= seconds:
            self.end = self.n_iter
        elif not self.overfits:
            self._plan(max(min(self.options.max_iter, affordable), self.n_iter + 1))

    def record(self, seconds):
        """Restore the best weights and report."""
        self.block.load_state_dict(self.best_weights)
        distance, movement = self._distance_and_movement()
        gain = self.nll_before - self.best_nll
        kept = bool(gain.mean() > max(MIN_GAIN, _standard_error(gain)))
        return BlockRecord(
            h=float(self.h),
            **{name: float(term) for name, term in self.last_terms._asdict().items()},
            distance=distance,
            movement=movement,
            movement_before=self.movement_before,
            validation_nll=float((self.best_nll if kept else self.nll_before).mean()),
            gain=float(gain.mean()) if kept else 0.0,
            solver_error=float(self.best_gap),
            solver_steps=self.solver_steps,
            n_iter=self.n_iter,
            seconds=seconds,
            kept=kept,
            overfits=self.overfits,
            refinement=self.refinement,
        )

    def _loss(self, x, generator):
        y, log_det = self.solve(x, self.solver_steps, generator)
        terms, penalty = jko_terms(self.base, x, y, log_det, self.h), self.options.penalty
        return terms, penalty(self.block, x, y, log_det, generator) if penalty else 0.0

    def _of_all_processes(self, terms):
        """The terms, and in place the gradients, of the batches of all processes together."""
        terms = [term.detach() for term in terms]
        if not self.processes.is_alone:
            parameters = list(self.block.parameters())
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            summed = [part * self.processes.share for part in (*terms, *gradients)]
            self.processes.sum_(summed)
            terms = summed[: len(terms)]
            for parameter, gradient in zip(parameters, summed[len(terms) :], strict=True):
                parameter.grad = gradient
        return JKOTerms(*terms)

    def _learning_rate(self, k):
        """That of optimiser step k = 0, 1, ..., lower where the block has become stiff."""
        # A rate that roughens the velocity makes every further step dearer.
        stiffness = max(self.solver_steps / SOLVER_STEPS_IN_PLAN, 1.0)
        warmup = (k + 1) / (self.plan.warmup + 1)
        cooldown = (self.cooldown_end - k) / max(self.cooldown_end - self.cooldown_start, 1)
        return self.options.learning_rate / stiffness * min(warmup, cooldown, 1.0)

    @property
    def _is_thawing(self):
        """Whether weights trained before are still on their way to the plateau's noise."""
        return self.refinement > 0 and self.n_iter <= 2 * self.plan.warmup and not self.finished

    @torch.no_grad()
    def _distance_and_movement(self):
        y, _ = self.block(self.held_out.x, SOLVERS["rk4"], self.solver_steps)
        moved, size = (y - self.held_out.x).square().sum(), self.base.modelled(y).square().sum()
        self.processes.sum_([moved, size])
        return math.sqrt(moved / self.n_held_out), float(moved / size)

    @torch.no_grad()
    def _held_out_nll(self):
        """Negative log-density of each row at twice the steps, and how the mean changed."""
        coarse, fine = (self._nll(n) for n in (self.solver_steps, 2 * self.solver_steps))
        return fine, float(fine.mean() - coarse.mean())

    def _nll(self, n_steps):
        divergence = exact_divergence_for(self.block.velocity)
        y, log_det = in_parts(
            self.block, lambda x: self.block(x, self.judge, n_steps, divergence), self.held_out.x
        )
        return self._judged(Rows(y, self.held_out.log_det + log_det))

    def _judged(self, rows):
        """The rows' negative log-densities, of all processes, none above the ceiling."""
        nll = self.processes.joined(row_nll(self.base, rows), self.n_held_out)
        return nll.clamp(max=self.ceiling)

    def _refine(self, gap):
        """Go on with a finer solver; from the last honest weights where the error was large."""
        if not abs(gap) <= 10 * self.options.honest_gap:
            self.block.load_state_dict(self.best_weights)
            self._new_optimizer()
        if self.solver_steps == MAX_SOLVER_STEPS:
            self.end = self.n_iter
            return
        self.solver_steps *= 2
        if not self.overfits:
            self._plan(self.end)

    def _end_plateau(self):
        self.n_bad = 0
        if self.overfits:
            self.end = self.n_iter
        elif not self.cools_down and self.n_rehearsed == 0:
            self.block.load_state_dict(self.best_weights)
            self._new_optimizer()
            self.overfits = True
            self.cooldown_start = self.n_iter
            length = max(int(COOLDOWN_SHARE * self.n_iter), self.plan.period(self.n_iter))
            self.end = self.cooldown_end = self.n_iter + length

    def _begin_rehearsal(self, n_steps):
        shared = {id(parameter): parameter for parameter in self.block.parameters()}
        weights = copy.deepcopy(self.block.state_dict())
        self.plateau = weights, copy.deepcopy(self.optimizer, shared), self.solver_steps
        self.cooldown_start, self.cooldown_end = self.n_iter, self.n_iter + n_steps

    def _end_rehearsal(self):
        weights, optimizer, solver_steps = self.plateau
        gains = self.best_nll.mean() < self.rehearsed_nll.mean() - MIN_PROGRESS
        if gains or self.solver_steps > solver_steps:  # by a finer solver it might have gained
            self.rehearsed_nll, self.optimizer = self.best_nll, optimizer
            self.block.load_state_dict(weights)
            self.n_rehearsed += self.n_iter - self.cooldown_start
            self.rehearsal_end *= REHEARSAL_GROWTH
            self.plateau = None
            self._plan(self.end)
        else:
            self.overfits = True
            self.end = self.n_iter

    def _plan(self, end):
        """Plan to end after so many optimiser steps, or fewer where they have become dear."""
        left = SOLVER_STEPS_IN_PLAN * self.options.max_iter - self.n_solved
        self.end = max(min(end, self.n_iter + left // self.solver_steps), self.n_iter, 1)
        n_steps = self.end - self.n_rehearsed
        cost = self.n_held_out // self.batch_size
        self.plan = Plan(n_steps, self.options.n_evaluations, self.options.patience, cost)
        if self.plateau is None:
            self.cooldown_start = self.n_rehearsed + self.plan.cooldown_start
            self.cooldown_end = self.end
        else:
            self.cooldown_end = min(self.cooldown_end, self.end)

    def _new_optimizer(self):
        self.optimizer = SOAP(
            self.block.parameters(), self.options.weight_decay, self.options.turns_axes
        )


def _training_solve(block, solver, divergence):
    """Function of rows, solver steps and generator that gives rows and log |det| after the block.

    It is the one with its gradient written out, where there is one.
    """
    if (
        divergence is DIVERGENCES["analytic"]
        and solver in TABLEAUS
        and is_two_layer(block.velocity)
    ):
        solve = TwoLayerSolve(block.velocity, TABLEAUS[solver], block.t0, block.t1)
        return lambda x, n_steps, generator: solve(x, n_steps)
    return lambda x, n_steps, generator: block(
        x, SOLVERS[solver], n_steps, divergence, _noise(divergence, block.velocity, x, generator)
    )


def _own_batch_size(batch_size, processes):
    """Rows of a batch that come from this process: by its share of them."""
    return max(round(batch_size * processes.share), 1)


def _batches(n, batch_size, generator):
    """Endless minibatches of row numbers, every epoch in a new order."""
    batch_size = min(batch_size, n)
    while True:
        order = torch.randperm(n, generator=generator, device=generator.device)
        yield from order[: n - n % batch_size].split(batch_size)


def _noise(divergence, velocity, x, generator):
    """Random signs for a stochastic divergence, fixed over one solve; zero for columns at rest."""
    if divergence not in NOISY_DIVERGENCES:
        return None
    bits = torch.randint(2, x.shape, generator=generator, device=x.device)
    noise = 2.0 * bits.to(x.dtype) - 1.0
    noise[:, x.shape[1] - velocity.n_given :] = 0.0
    return noise


def _standard_error(values):
    return values.std() / math.sqrt(len(values)) if len(values) > 1 else math.inf
