"""Block-wise training of a flow."""

import copy
import math
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from sklearn_jko.flow import JKOBlock, JKOFlow
from sklearn_jko.rows.processes import ALONE
from sklearn_jko.solvers import SOLVERS
from sklearn_jko.step_sizes import has_settled
from sklearn_jko.training.block_training import (
    MIN_GAIN,
    BlockRecord,
    BlockTraining,
    push_held_out,
)
from sklearn_jko.training.observation import NOBODY
from sklearn_jko.training.refinement import next_round
from sklearn_jko.training.scaled_rows import Rows, outlier_ceiling, row_nll
from sklearn_jko.training.threads import no_idle_threads
from sklearn_jko.velocities import VELOCITIES

__all__ = ["Progress", "Trained", "push_forward_", "round_gains", "train_flow"]

# Nats per row. After a block that overfitted and gained less, no block was seen to gain as much.
WORTH_OVERFITTING = 1e-2
# Weight decay of a block, as a share of that of the one before. The first block decays strongly and
# learns what can be trusted. Those after it decay less and less, until one gains nothing; otherwise
# clusters stay blurred. Of eighteen tables of 113 to 4,000 rows, half gain 0.05 to 4.5 nats a row
# by this. Five lose more than 0.05: digits 0.95; wine, glass and cancer 0.1 to 0.3; magic.gamma
# 0.06. The second share follows a block that overfitted or was dropped: held-out rows that
# stop gaining under strong decay say little of overfitting, so the decay then falls faster.
DECAY_SHARE, DECAY_SHARE_OF_STUCK = 0.6, 0.25
# Of the time that is left, for the first blocks, which gain most; the next has the rest.
TIME_SHARES = 0.5, 0.7
# Up to half as many rows are repeated, to at most this number, with noise in scaled units.
MIN_ROWS = 4000
JITTER = 0.05


class Progress(NamedTuple):
    """Where training stands between two blocks: all it takes to go on from there."""

    history: tuple[BlockRecord, ...]
    weights: tuple[dict[str, torch.Tensor], ...]  # of the blocks that were kept, of all rounds
    generator_state: torch.Tensor


class Trained(NamedTuple):
    """A trained flow, what happened to each block tried, and whether time left no more of them."""

    flow: JKOFlow
    history: list[BlockRecord]
    is_out_of_time: bool


def train_flow(
    x,
    held_out,
    options,
    generator,
    deadline=math.inf,
    *,
    resume=None,
    observer=NOBODY,
    processes=ALONE,
):
    """Train block after block, each on rows pushed through those before it, and refine them.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Scaled training rows of this process, float32, whose last columns may be given.
        They are overwritten, as they are pushed through the blocks in place.
    held_out : Rows
        Held-out rows of all processes, with the scaler's log |det|. Where there are none no block
        is trained.
    options : TrainingOptions
    generator : torch.Generator
        On the rows' device.
    deadline : float
        Time by `time.monotonic` at which training must end.
    resume : Progress, optional
        State from which to go on, with the arguments that led to it.
    observer : Observer, optional
        Listens; that of the first process may end the training after a block.
    processes : Processes
        Those that train together; the result is the same in all.

    Returns
    -------
    trained : Trained
    """
    training = _FlowTraining(x, held_out, options, generator, deadline, processes)
    if resume is not None:
        training.replay(resume)
    else:
        processes.on_first(lambda: observer.started(training))
    with no_idle_threads(options):
        is_out_of_time = _add_blocks(training, observer, deadline)
    flow = training.flow.eval().requires_grad_(False)
    return Trained(flow, training.history, is_out_of_time)


def _add_blocks(training, observer, deadline):
    """Train until there is nothing to gain, or the observer ends it; whether time did before."""
    while not training.is_done:
        if training.processes.on_first(lambda: time.monotonic() >= deadline):
            return True
        training.add_block(observer)
        if training.processes.on_first(lambda: bool(observer.block_ended(training))):
            break
    return False


@torch.no_grad()
def push_forward_(block, x, n_steps):
    """Push training rows through a trained block in place, in parts and without the divergence."""
    for rows in x.split(block.rows_at_once):  # eight times as many doubled the memory of a fit
        rows.copy_(block(rows, SOLVERS["rk4"], n_steps)[0])


def round_gains(history, history_before):
    """Whether a round of training is to be kept, by its records and those of the one before."""
    return history[-1].validation_nll < history_before[-1].validation_nll - MIN_GAIN


class _FlowTraining:
    """State of the training of a flow, between two blocks."""

    def __init__(self, x, held_out, options, generator, deadline, processes):
        self.options, self.generator, self.deadline = options, generator, deadline
        self.processes, self.n_held_out = processes, len(held_out.x)
        self.seed = generator.initial_seed()
        own = processes.own_slice(self.n_held_out)
        held_out = Rows(held_out.x[own], held_out.log_det[own])
        self.start = _jittered(x, processes.total(len(x)), generator), held_out
        self.ceiling = self._outlier_ceiling(held_out)
        self.history, self.kept = [], []  # records and blocks of all rounds
        self.best, self.rounds_left = None, options.n_refinements
        self.round = self._new_round(prepared=None)

    @property
    def flow(self):
        """That of the best round that is over, or of the first so far."""
        return JKOFlow((self.best or self.round).blocks, self.options.base)

    @property
    def is_done(self):
        return self._round_is_over and (self.rounds_left == 0 or self.best is None)

    @property
    def progress(self):
        weights = [copy.deepcopy(block.velocity.state_dict()) for block in self.kept]
        return Progress(tuple(self.history), tuple(weights), self.generator.get_state())

    def add_block(self, observer):
        """Train the next block, and keep it where it serves."""
        block, h = self._next_block(self.generator)
        self.processes.on_first(lambda: observer.block_started(self.options.max_evaluations))
        self._seed_batches()
        x, held_out = self.round.push()
        seconds = self.processes.on_first(self._seconds)
        record = BlockTraining(
            block, h, x, held_out, self.options, self.round.number, self.processes, self.ceiling
        ).run(self.generator, seconds, observer)
        self._add(record, block)

    def _outlier_ceiling(self, held_out):
        """By the scaling alone, so that the likelihoods of all blocks and rounds compare."""
        if self.n_held_out == 0:
            return math.inf
        nll = row_nll(self.options.base, held_out)
        return outlier_ceiling(self.processes.all_concatenate(nll, self.n_held_out))

    def _seed_batches(self):
        """Make the draws of a block those of its number, in each of several processes.

        A checkpoint holds the generator's state of the first alone.
        """
        if not self.processes.is_alone:
            state = np.random.SeedSequence([self.seed, len(self.history)]).generate_state(1)
            self.generator.manual_seed(int(state[0]))

    def replay(self, progress):
        """Take over finished blocks: everything else follows from them."""
        weights = iter(progress.weights)
        unused = torch.Generator(self.generator.device)
        for record in progress.history:
            block, _ = self._next_block(unused)
            if record.kept:
                block.velocity.load_state_dict(next(weights))
            self._add(record, block)
        self.generator.set_state(progress.generator_state)

    @property
    def _round_is_over(self):
        history, options = self.round.history, self.options
        n = len(history)
        if self.round.prepared is not None:
            return n == len(self.round.prepared)
        return (
            self.n_held_out == 0
            or n >= options.max_blocks
            or (n > 1 and has_settled(history[-2], options.tol))
            or _has_stalled(history)
        )

    def _new_round(self, prepared):
        """A round with its part of the time that is left."""
        now = time.monotonic()
        deadline = now + (self.deadline - now) / (self.rounds_left + 1)
        number = self.options.n_refinements - self.rounds_left
        x, held_out = self.start
        if self.rounds_left:  # the last round may overwrite the rows
            x = x.clone()
        return _Round(x, held_out, number, prepared, deadline)

    def _next_block(self, generator):
        """The next block, of a new round where one is over, and its step size."""
        if self._round_is_over:
            self.rounds_left -= 1
            self.round = self._new_round(next_round(*self.best.trained))
        if self.round.prepared is not None:
            return self.round.prepared[len(self.round.history)]
        return self._fresh_block(generator), self._next_step_size()

    def _fresh_block(self, generator):
        """A block that starts where the last one ended, or at random."""
        options, x = self.options, self.round.x
        velocity = VELOCITIES[options.velocity](
            x.shape[1],
            options.hidden_layer_sizes,
            generator,
            options.n_given,
            options.structure,
        )
        if self.round.blocks:
            velocity.load_state_dict(self.round.blocks[-1].velocity.state_dict())
        else:
            self.processes.broadcast_weights_(velocity)
        return JKOBlock(velocity.to(x))

    def _next_step_size(self):
        """That of the options; infinite for the last block, or after the rows have settled."""
        history = self.round.history
        n = len(history)
        is_free = n > 0 and (
            n == self.options.max_blocks - 1 or has_settled(history[-1], self.options.tol)
        )
        return math.inf if is_free else self.options.step_size(n)

    def _seconds(self):
        """Time for the next block; in a refinement all get the same."""
        remaining = max(self.round.deadline - time.monotonic(), 0.0)
        n_trained = len(self.round.history)
        if self.round.prepared is not None:
            return remaining / (len(self.round.prepared) - n_trained)
        return remaining * _time_share(n_trained, self.options.max_blocks)

    def _add(self, record, block):
        self.history.append(record)
        self.round.add(record, block)
        if record.kept:
            self.kept.append(block)
        self.options = _adapted(self.options, record)
        if self._round_is_over:
            self._close_round()

    def _close_round(self):
        """Keep the round where the held-out rows gained by it; end the training where not."""
        self.round.x = None  # a refinement starts from the data again
        if self.best is None or round_gains(self.round.history, self.best.history):
            self.best = self.round
        else:
            self.rounds_left = 0
        if not self.best.blocks:
            self.rounds_left = 0


class _Round:
    """Training of all blocks, one after another from the data on.

    The blocks of the first round are found on the way; those of a refinement are prepared in
    advance.
    """

    def __init__(self, x, held_out, number, prepared, deadline):
        self.x, self.held_out = x, held_out
        self.number, self.prepared, self.deadline = number, prepared, deadline
        self.blocks, self.history = [], []
        self.unpushed = None

    @property
    def trained(self):
        """The blocks that were kept, their step sizes and distances."""
        kept = [record for record in self.history if record.kept]
        return self.blocks, [record.h for record in kept], [record.distance for record in kept]

    def add(self, record, block):
        self.push()
        self.history.append(record)
        if record.kept:
            self.blocks.append(block)
            self.unpushed = block, record.solver_steps

    def push(self):
        """Push the rows through the last block, once, and return where they are."""
        if self.unpushed is not None:
            block, n_steps = self.unpushed
            push_forward_(block, self.x, n_steps)
            self.held_out = push_held_out(block, self.held_out, 4 * n_steps)
            self.unpushed = None
        return self.x, self.held_out


def _jittered(x, n, generator):
    """Copies of rows with a little noise, where all n are few.

    They keep the first blocks from memorising the rows.
    """
    copies = MIN_ROWS // max(n, 1)
    if copies < 2:
        return x
    x = x.repeat(copies, 1)
    return x + JITTER * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def _adapted(options, record):
    """Options of the next block: less weight decay, and a solver that starts coarser."""
    weight_decay = options.weight_decay
    if record.refinement == 0:
        is_stuck = record.overfits or not record.kept
        weight_decay *= DECAY_SHARE_OF_STUCK if is_stuck else DECAY_SHARE
    return replace(
        options, weight_decay=weight_decay, solver_steps=max(1, record.solver_steps // 2)
    )


def _time_share(n_trained, max_blocks):
    """Share of the time left for the next block: `TIME_SHARES`, and all where it is the last."""
    is_last = n_trained >= min(len(TIME_SHARES), max_blocks - 1)
    return 1.0 if is_last else TIME_SHARES[n_trained]


def _has_stalled(history):
    """Whether the last block, which is not the first, gained nothing, or too little to trust."""
    if len(history) < 2:
        return False
    last = history[-1]
    return not last.kept or (last.overfits and last.gain < WORTH_OVERFITTING)
