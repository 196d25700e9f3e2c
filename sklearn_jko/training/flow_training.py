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

# Nats per row. After a block that overfitted and gained less, no later block gained as much.
WORTH_OVERFITTING = 1e-2
# Weight decay of a block, as a share of that of the one before. The first block decays strongly and
# learns what is certain. Later blocks decay less and less, until one gains nothing; otherwise
# clusters stay blurred. Of eighteen tables of 113 to 4,000 rows, half gain 0.05 to 4.5 nats per row
# by this. Five lose more than 0.05: digits 0.95; wine, glass and cancer 0.1 to 0.3; magic.gamma
# 0.06. The second share applies after a block that overfitted or was dropped: if held-out rows stop
# gaining under strong decay, that says little about overfitting, so the decay then falls faster.
DECAY_SHARE, DECAY_SHARE_OF_STUCK = 0.6, 0.25
# Shares of the remaining time for the first blocks, which gain most; the next one has the rest.
TIME_SHARES = 0.5, 0.7
# Up to half of this number of rows are repeated, to at most this number, with JITTER as noise in
# scaled units.
MIN_ROWS = 4000
JITTER = 0.05


class Progress(NamedTuple):
    """State of training between two blocks: all that is needed to resume there."""

    history: tuple[BlockRecord, ...]
    weights: tuple[dict[str, torch.Tensor], ...]  # of the blocks that were kept, of all rounds
    generator_state: torch.Tensor


class Trained(NamedTuple):
    """A trained flow, the records of the blocks tried, and whether time ended the training."""

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
        Scaled training rows of this process, float32, whose last columns may be given. They are
        overwritten, as they are pushed through the blocks in place.
    held_out : Rows
        Held-out rows of all processes, with the scaler's log |det|. Without any, no block is
        trained.
    options : TrainingOptions
    generator : torch.Generator
        On the rows' device.
    deadline : float
        Time by `time.monotonic` at which training must end.
    resume : Progress, optional
        State from which to resume; the other arguments must be those that led to it.
    observer : Observer, optional
        Is notified; that of the first process may end the training after a block.
    processes : Processes
        The processes that train together; the result is the same in all.

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
        is_out_of_time = _add_blocks(training, observer)
    flow = training.flow.eval().requires_grad_(False)
    return Trained(flow, training.history, is_out_of_time)


def _add_blocks(training, observer):
    """Train until there is nothing to gain, or the observer ends it; return whether time did."""
    while not training.is_done:
        if training.processes.on_first(lambda: time.monotonic() >= training.deadline):
            return True
        training.add_block(observer)
        if training.processes.on_first(lambda: bool(observer.block_ended(training))):
            break
    return False


@torch.no_grad()
def push_forward_(block, x, n_steps):
    """Push training rows through a trained block in place, in parts and without the divergence."""
    for rows in x.split(block.rows_at_once):  # eight times as many would double a fit's memory
        rows.copy_(block(rows, SOLVERS["rk4"], n_steps)[0])


def round_gains(history, history_before):
    """Whether to keep a round of training, given its records and those of the one before."""
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
        """The flow of the best round that is complete, or of the first round so far."""
        return JKOFlow((self.best or self.round).blocks, self.options.base)

    @property
    def is_done(self):
        return self._round_is_over and (self.rounds_left == 0 or self.best is None)

    @property
    def progress(self):
        weights = [copy.deepcopy(block.velocity.state_dict()) for block in self.kept]
        return Progress(tuple(self.history), tuple(weights), self.generator.get_state())

    def add_block(self, observer):
        """Train the next block, and keep it if it gains enough."""
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
        """The ceiling from the scaling alone: the same for all blocks and rounds."""
        if self.n_held_out == 0:
            return math.inf
        nll = row_nll(self.options.base, held_out)
        return outlier_ceiling(self.processes.all_concatenate(nll, self.n_held_out))

    def _seed_batches(self):
        """With several processes, seed the random numbers of each block by its index.

        A checkpoint holds the generator state of the first process only.
        """
        if not self.processes.is_alone:
            state = np.random.SeedSequence([self.seed, len(self.history)]).generate_state(1)
            self.generator.manual_seed(int(state[0]))

    def replay(self, progress):
        """Restore finished blocks: everything else follows from them."""
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
        """A round with its part of the remaining time."""
        now = time.monotonic()
        deadline = now + (self.deadline - now) / (self.rounds_left + 1)
        number = self.options.n_refinements - self.rounds_left
        x, held_out = self.start
        if self.rounds_left:  # the last round may overwrite the rows
            x = x.clone()
        return _Round(x, held_out, number, prepared, deadline)

    def _next_block(self, generator):
        """The next block and its step size; of a new round if the last one is over."""
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
        """The step size of the options; infinite for the last block or after rows have settled."""
        history = self.round.history
        n = len(history)
        is_free = n > 0 and (
            n == self.options.max_blocks - 1 or has_settled(history[-1], self.options.tol)
        )
        return math.inf if is_free else self.options.step_size(n)

    def _seconds(self):
        """Time for the next block; in a refinement all blocks get the same."""
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
        """Keep the round if the held-out rows gained from it; otherwise end the training."""
        self.round.x = None  # a refinement starts from the data again
        if self.best is None or round_gains(self.round.history, self.best.history):
            self.best = self.round
        else:
            self.rounds_left = 0
        if not self.best.blocks:
            self.rounds_left = 0


class _Round:
    """Training of all blocks in sequence, starting from the data.

    The blocks of the first round are made one by one; those of a refinement are prepared in
    advance.
    """

    def __init__(self, x, held_out, number, prepared, deadline):
        self.x, self.held_out = x, held_out
        self.number, self.prepared, self.deadline = number, prepared, deadline
        self.blocks, self.history = [], []
        self.unpushed = None

    @property
    def trained(self):
        """The kept blocks, their step sizes and their distances."""
        kept = [record for record in self.history if record.kept]
        return self.blocks, [record.h for record in kept], [record.distance for record in kept]

    def add(self, record, block):
        self.push()
        self.history.append(record)
        if record.kept:
            self.blocks.append(block)
            self.unpushed = block, record.solver_steps

    def push(self):
        """Push the rows through the last block, once, and return them."""
        if self.unpushed is not None:
            block, n_steps = self.unpushed
            push_forward_(block, self.x, n_steps)
            self.held_out = push_held_out(block, self.held_out, 4 * n_steps)
            self.unpushed = None
        return self.x, self.held_out


def _jittered(x, n, generator):
    """Copies of the rows with a little noise, if all n rows are few.

    This keeps the first blocks from memorising the rows.
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
    """Share of the remaining time for the next block: `TIME_SHARES`, or all for the last one."""
    is_last = n_trained >= min(len(TIME_SHARES), max_blocks - 1)
    return 1.0 if is_last else TIME_SHARES[n_trained]


def _has_stalled(history):
    """Whether the last block, if not the first, gained nothing, or too little while overfitting."""
    if len(history) < 2:
        return False
    last = history[-1]
    return not last.kept or (last.overfits and last.gain < WORTH_OVERFITTING)
