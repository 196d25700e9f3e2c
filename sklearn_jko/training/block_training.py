"""Training of one block."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sklearn_jko.bases import StandardNormal
from sklearn_jko.divergence import divergence_for_training, exact, hutchinson
from sklearn_jko.flow import in_batches
from sklearn_jko.rows.processes import ALONE
from sklearn_jko.solvers import SOLVERS, TABLEAUS
from sklearn_jko.structure import Structure
from sklearn_jko.training.objective import JKOTerms, jko_terms
from sklearn_jko.training.observation import NOBODY
from sklearn_jko.training.optimizer import SOAP
from sklearn_jko.training.pace import Pace
from sklearn_jko.training.scaled_rows import Rows, row_nll
from sklearn_jko.training.schedule import LONG
from sklearn_jko.training.two_layer_solve import TwoLayerSolve, is_two_layer

__all__ = [
    "MIN_GAIN",
    "BlockRecord",
    "BlockTraining",
    "TrainingOptions",
    "push_held_out",
]

MAX_GRADIENT_NORM = 1.0  # longer gradients of a batch are shortened to this
# Nats per row. A block or round of refinement that gains less than MIN_GAIN is dropped. Weights
# that gain less than MIN_PROGRESS over the best so far do not count as better.
MIN_GAIN, MIN_PROGRESS = 1e-3, 1e-4
# If the solver's error exceeds so many times `max_solver_error`, training goes back to the best
# weights.
LARGE_ERROR = 10


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of training; `JKOFlowDensity` documents most of them for the user.

    The others are:

    - ``velocity`` is a name in `VELOCITIES`;
    - the block after one that moved the rows by less than ``tol`` (see `has_settled`) is the free
      one, whose step size is infinite;
    - the first block starts with ``solver_steps`` steps of its solver, which are doubled if they
      are too coarse;
    - the optimiser is SOAP if ``turns_axes``, else AdamW;
    - a block's weights are evaluated on held-out rows ``n_evaluations`` times (see `Schedule`), and
      rejected if doubling the solver steps changes the mean there by more than
      ``max_solver_error`` nats;
    - after ``patience`` evaluations without a gain, training returns to the best weights and cools
      down, or ends;
    - the last ``n_given`` columns of the rows are given, and stay unchanged; the others have this
      ``structure``.
    """

    step_size: Callable[[int], float]
    velocity: str
    hidden_layer_sizes: tuple
    max_blocks: int
    n_refinements: int
    tol: float
    max_iter: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    turns_axes: bool
    solver: str
    patience: int
    n_given: int
    structure: Structure | None
    solver_steps: int = 1
    n_evaluations: int = 20
    max_solver_error: float = 1e-2

    @property
    def base(self):
        """Target density of the flow."""
        return StandardNormal(self.n_given)

    @property
    def max_evaluations(self):
        """Largest number of evaluations of a block; None if it depends on the training time."""
        return self.n_evaluations if self.max_iter <= LONG else None

    @property
    def n_visits(self):
        """Largest number of row visits in training, each row counted as often as it is visited.

        A round of refinement has up to twice the blocks of the one before.
        """
        n_blocks = self.max_blocks * (2 ** (self.n_refinements + 1) - 1)
        return n_blocks * self.max_iter * self.batch_size


@dataclass(frozen=True)
class BlockRecord:
    """Record of the training of one block; all likelihoods are in nats per row.

    Attributes
    ----------
    h : float
        Step size of equation (8); infinite for the free block.
    potential, log_det, transport : float
        Terms of equation (8) on the last training batch.
    distance : float
        Root mean squared distance by which the block moves the held-out rows, in scaled units: S_k
        in section 4.2 of the paper.
    movement : float
        E|x1 - x0|^2 / E|x1|^2 of the same rows.
    movement_before : float
        The same with the weights from which the training of the block started.
    validation_nll : float
        Mean negative log-density of the held-out rows after this block, with twice the solver
        steps of training. That of gross outliers is limited by a ceiling, the same in all blocks.
    gain : float
        How much the block lowered that mean; 0 if it was dropped.
    solver_error : float
        Change of that mean between the solver steps of training and twice as many.
    solver_steps : int
        Solver steps of training.
    n_iter : int
        Optimiser steps.
    seconds : float
    kept : bool
        False if the block was dropped, as it did not lower the held-out mean by more than a
        standard error and MIN_GAIN.
    overfits : bool
        Whether the held-out likelihood became worse during training.
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


@torch.no_grad()
def push_held_out(block, held_out, n_steps, solver=SOLVERS["rk4"]):
    """Push held-out rows through a block, and add up their log |det| exactly."""
    x, log_det = in_batches(block, lambda x: block(x, solver, n_steps, exact), held_out.x)
    return Rows(x, held_out.log_det + log_det)


class BlockTraining:
    """Training of one block on objective (8), in place. Its `Pace` schedules the steps.

    Parameters
    ----------
    block : JKOBlock
    h : float
        Step size.
    x : Tensor of shape (n, d)
        Training rows of this process, pushed through the blocks before.
    held_out : Rows
        The same for the held-out rows.
    options : TrainingOptions
    refinement : int
        Round of refinement, 0 in the first training. In the others the block starts from trained
        weights, which the rising learning rate first makes worse.
    processes : Processes
        The block is trained and evaluated on the rows of all of these.
    ceiling : float
        Upper limit of negative log-densities of held-out rows, in nats: a gross outlier must not
        outweigh all others.
    """

    def __init__(
        self, block, h, x, held_out, options, refinement=0, processes=ALONE, ceiling=math.inf
    ):
        self.start = time.monotonic()
        self.block, self.h, self.x, self.held_out = block, h, x, held_out
        self.options, self.refinement, self.processes = options, refinement, processes
        self.base, self.ceiling = options.base, ceiling
        n_rows, self.n_held_out = processes.total(len(x)), processes.total(len(held_out.x))
        # An adaptive solver has no steps to double, so RK4, which also pushes the rows on, is used
        # for evaluation.
        self.evaluation_solver = SOLVERS[options.solver if options.solver in TABLEAUS else "rk4"]
        self.solve = _training_solve(block, options.solver)
        self.pace = Pace(options, n_rows, self.n_held_out)
        self.plateau = None  # the state to which a trial cool-down returns
        self.last_terms = JKOTerms(*torch.full((3,), math.nan))
        self.nll_before = self._bounded_nll(held_out)
        self.best_nll, self.best_solver_error = self.nll_before, 0.0
        self.nll_to_beat = self.nll_before
        self.best_weights = copy.deepcopy(block.state_dict())
        _, self.movement_before = self._distance_and_movement()
        self._new_optimizer()

    @torch.enable_grad()
    def run(self, generator, seconds=math.inf, observer=NOBODY):
        """Train, and leave the block at the best weights for which its solver was accurate.

        Parameters
        ----------
        generator : torch.Generator
            As in `train_flow`.
        seconds : float
            Time limit of the training, from the creation of this object on.
        observer : Observer, optional
            Is notified of every evaluation.

        Returns
        -------
        record : BlockRecord
        """
        batch_size = _own_batch_size(self.options.batch_size, self.processes)
        for rows in _batches(len(self.x), batch_size, generator):
            self.step(self.x[rows], generator)
            if math.isfinite(seconds) and self.pace.clock_is_due:
                self.pace.keep_to(seconds, self.processes.on_first(self._elapsed))
            if self.pace.evaluation_is_due:
                self.evaluate()
                self.processes.on_first(observer.evaluated)
            self.try_cooldown()
            if self.pace.finished:
                self.optimizer.zero_grad()  # gradients take as much memory as the weights
                return self.record()

    def step(self, x, generator):
        """Take one optimiser step on a batch, unless the objective or its gradient overflows.

        Nothing here waits for the device.
        """
        self.optimizer.zero_grad()
        self.pace.step()
        try:
            terms = self.terms(x, generator)
            terms.total.backward()
        except AssertionError:
            # An adaptive solver asserts that its steps and rows stay finite; the rules of equal
            # steps assert nothing.
            if self.options.solver in TABLEAUS:
                raise
            terms = JKOTerms(*x.new_full((3,), math.nan))
            for parameter in self.block.parameters():
                parameter.grad = torch.zeros_like(parameter)
        terms = self._of_all_processes(terms)
        norm = torch.nn.utils.clip_grad_norm_(self.block.parameters(), MAX_GRADIENT_NORM)
        overflows = ~(norm + terms.total).isfinite()
        self.optimizer.step(self.pace.learning_rate(self.pace.n_iter - 1), overflows)
        self.last_terms = terms

    def terms(self, x, generator):
        """The objective's terms on a batch."""
        y, log_det = self.solve(x, self.pace.solver_steps, generator)
        return jko_terms(self.base, x, y, log_det, self.h)

    def evaluate(self):
        """Evaluate the weights on the held-out rows; keep them where they are the best so far."""
        # Machines round differently, and rotated axes amplify the differences.
        self.processes.broadcast_weights_(self.block)
        nll, solver_error = self._held_out_nll()
        is_accurate = abs(solver_error) <= self.options.max_solver_error  # false for NaN
        is_better = nll.mean() < self.best_nll.mean() - MIN_PROGRESS
        counts = is_accurate and not self._is_rewarming
        self.pace.count_evaluation(bool(is_better) if counts else None)
        if not is_accurate:
            self._refine_solver(solver_error)
        elif counts and is_better:
            self.best_nll, self.best_solver_error = nll, solver_error
            self.best_weights = copy.deepcopy(self.block.state_dict())
        if self.pace.is_stuck and self.pace.end_plateau():
            self._return_to_best()

    def try_cooldown(self):
        """Begin or end a trial cool-down, where it is time to."""
        if self.pace.trial_cooldown_ends:
            self._end_trial_cooldown()
        elif self.pace.trial_cooldown_begins:
            self._begin_trial_cooldown()

    def record(self):
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
            solver_error=float(self.best_solver_error),
            solver_steps=self.pace.solver_steps,
            n_iter=self.pace.n_iter,
            seconds=self._elapsed(),
            kept=kept,
            overfits=self.pace.overfits,
            refinement=self.refinement,
        )

    def _elapsed(self):
        return time.monotonic() - self.start

    def _of_all_processes(self, terms):
        """The terms, and in place the gradients, of the batches of all processes together."""
        terms = [term.detach() for term in terms]
        if not self.processes.is_alone:
            parameters = list(self.block.parameters())
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            summed = [part * self.processes.share for part in (*terms, *gradients)]
            self.processes.all_reduce_(summed)
            terms = summed[: len(terms)]
            for parameter, gradient in zip(parameters, summed[len(terms) :], strict=True):
                parameter.grad = gradient
        return JKOTerms(*terms)

    @property
    def _is_rewarming(self):
        """Whether the rising learning rate is still making trained weights worse."""
        pace = self.pace
        return self.refinement > 0 and pace.n_iter <= 2 * pace.schedule.warmup and not pace.finished

    @torch.no_grad()
    def _distance_and_movement(self):
        x, n_steps = self.held_out.x, self.pace.solver_steps
        y = in_batches(self.block, lambda x: self.block(x, SOLVERS["rk4"], n_steps)[0], x)
        moved, size = (y - x).square().sum(), self.base.modelled(y).square().sum()
        self.processes.all_reduce_([moved, size])
        return math.sqrt(moved / self.n_held_out), float(moved / size)

    @torch.no_grad()
    def _held_out_nll(self):
        """Negative log-density of each row at twice the steps, and how the mean changed."""
        n_steps = self.pace.solver_steps
        coarse, fine = (
            self._bounded_nll(push_held_out(self.block, self.held_out, n, self.evaluation_solver))
            for n in (n_steps, 2 * n_steps)
        )
        return fine, float(fine.mean() - coarse.mean())

    def _bounded_nll(self, rows):
        """The rows' negative log-densities, of all processes, none above the ceiling."""
        nll = self.processes.all_concatenate(row_nll(self.base, rows), self.n_held_out)
        return nll.clamp(max=self.ceiling)

    def _refine_solver(self, solver_error):
        """Continue with a finer solver; from the best weights so far if the error was large."""
        if not abs(solver_error) <= LARGE_ERROR * self.options.max_solver_error:
            self._return_to_best()
        self.pace.refine_solver()

    def _return_to_best(self):
        self.block.load_state_dict(self.best_weights)
        self._new_optimizer()

    def _begin_trial_cooldown(self):
        shared = {id(parameter): parameter for parameter in self.block.parameters()}
        weights = copy.deepcopy(self.block.state_dict())
        self.plateau = weights, copy.deepcopy(self.optimizer, shared), self.pace.solver_steps
        self.pace.begin_trial_cooldown()

    def _end_trial_cooldown(self):
        weights, optimizer, solver_steps = self.plateau
        gains = self.best_nll.mean() < self.nll_to_beat.mean() - MIN_PROGRESS
        # A trial in which the solver became finer may have gained less because of that.
        goes_on = bool(gains) or self.pace.solver_steps > solver_steps
        self.pace.end_trial_cooldown(goes_on)
        if goes_on:
            self.nll_to_beat, self.optimizer, self.plateau = self.best_nll, optimizer, None
            self.block.load_state_dict(weights)

    def _new_optimizer(self):
        self.optimizer = SOAP(
            self.block.parameters(), self.options.weight_decay, self.options.turns_axes
        )


def _training_solve(block, solver):
    """Function of rows, solver steps and generator that returns rows and log |det| after the block.

    If available, it is the one with its gradient written out.
    """
    if solver in TABLEAUS and is_two_layer(block.velocity):
        solve = TwoLayerSolve(block.velocity, TABLEAUS[solver], block.t0, block.t1)
        return lambda x, n_steps, generator: solve(x, n_steps)
    divergence = divergence_for_training(block.velocity)
    return lambda x, n_steps, generator: block(
        x, SOLVERS[solver], n_steps, divergence, _noise(divergence, block.velocity, x, generator)
    )


def _own_batch_size(batch_size, processes):
    """Rows of a batch that come from this process: by its share of them."""
    return max(round(batch_size * processes.share), 1)


def _batches(n, batch_size, generator):
    """Endless minibatches of row indices, every epoch in a new order."""
    batch_size = min(batch_size, n)
    while True:
        order = torch.randperm(n, generator=generator, device=generator.device)
        yield from order[: n - n % batch_size].split(batch_size)


def _noise(divergence, velocity, x, generator):
    """Random signs for a stochastic divergence, fixed over one solve; zero for columns at rest."""
    if divergence is not hutchinson:
        return None
    bits = torch.randint(2, x.shape, generator=generator, device=x.device)
    noise = 2.0 * bits.to(x.dtype) - 1.0
    noise[:, x.shape[1] - velocity.n_given :] = 0.0
    return noise


def _standard_error(values):
    return values.std() / math.sqrt(len(values)) if len(values) > 1 else math.inf
