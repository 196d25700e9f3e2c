"""Peak memory of training against the number of blocks: block by block, and end to end.

Both train the same blocks of the same width, with the same batches and one RK4 step a block. Ours
is a fit that trains one after another, each on rows pushed through those before. End to end, the
usual continuous flow of that depth, the gradient of every step goes through all the blocks at once.
Each figure is of a process of its own: how far the training raises the resident memory at its worst
moment (Linux's VmHWM), the median of several processes, and how far they are apart.
"""

import functools

import numpy as np
import torch
from flows import FORCED_BLOCKS, forced_rows, new_block, quiet_fit, warm_up
from measuring import in_new_process, peak_memory_of
from reporting import Option, markdown, printed, ratio
from suites.memory import MIB, settings_of

from sklearn_jko.bases import StandardNormal
from sklearn_jko.divergence import divergence_for_training
from sklearn_jko.solvers import SOLVERS

__all__ = ["OPTIONS", "ratios", "run", "table"]

OURS, END_TO_END = "block by block", "end to end"
N_END_TO_END_STEPS = 3  # every one takes the same memory
OPTIONS = (
    Option("blocks", (2, 4, 8, 16, 32), (1, 2), "numbers of blocks"),
    Option("rows", 20_000, 1000, "training rows"),
    Option("columns", 10, 2, "their columns"),
    Option("width", 128, 16, "width of the hidden layers"),
    Option("batch-size", 1024, 100, "rows of a batch"),
    Option("max-iter", 40, 20, "optimiser steps of a block of ours"),
    Option("repeats", 3, 1, "processes for each figure"),
)


def run(arguments):
    return [
        printed(record_of(training, n_blocks, arguments))
        for n_blocks in arguments.blocks
        for training in TRAININGS
    ]


def record_of(training, n_blocks, arguments):
    peaks = [
        in_new_process(arguments.threads, TRAININGS[training], n_blocks, arguments)
        for _ in range(arguments.repeats)
    ]
    return {
        "training": training,
        "blocks": n_blocks,
        "peak_bytes": float(np.median(peaks)),
        "spread_bytes": max(peaks) - min(peaks),
    }


def train_block_by_block(n_blocks, arguments):
    """Peak memory of a fit that keeps all its blocks."""
    settings = settings_of(arguments) | FORCED_BLOCKS
    settings |= {"batch_size": arguments.batch_size, "max_blocks": n_blocks}
    X = forced_rows(arguments.rows, arguments.columns, arguments.seed)
    warm_up()
    fitted = []
    peak = peak_memory_of(lambda: fitted.append(quiet_fit(settings, X)))
    if fitted[0].n_blocks_ != n_blocks:
        raise SystemExit(f"{fitted[0].n_blocks_} of {n_blocks} blocks were kept: raise --max-iter.")
    return peak


def train_end_to_end(n_blocks, arguments):
    """Peak memory of a few steps of one objective through all the blocks."""
    X = forced_rows(arguments.rows, arguments.columns, arguments.seed)
    end_to_end_steps(1, X[:10], arguments)  # loads parts of torch
    return peak_memory_of(functools.partial(end_to_end_steps, n_blocks, X, arguments))


def end_to_end_steps(n_blocks, X, arguments):
    rows = torch.from_numpy(X.astype(np.float32))
    width, d = arguments.width, arguments.columns
    blocks = torch.nn.ModuleList(
        new_block(d, (width, width), arguments.seed + k) for k in range(n_blocks)
    )
    optimizer = torch.optim.AdamW(blocks.parameters(), lr=1e-3)
    for batch in rows.split(arguments.batch_size)[:N_END_TO_END_STEPS]:
        optimizer.zero_grad()
        end_to_end_loss(blocks, batch).backward()
        optimizer.step()


def end_to_end_loss(blocks, x):
    total = 0.0
    for block in blocks:
        divergence = divergence_for_training(block.velocity)
        x, log_det = block(x, SOLVERS["rk4"], 1, divergence)
        total = total + log_det
    return -(StandardNormal().log_prob(x) + total).mean()


TRAININGS = {OURS: train_block_by_block, END_TO_END: train_end_to_end}


def table(records):
    rows = []
    for n_blocks in sorted({r["blocks"] for r in records}):
        peaks = {r["training"]: r for r in records if r["blocks"] == n_blocks}
        rows.append(
            [n_blocks]
            + [
                f"{peaks[name]['peak_bytes'] / MIB:.1f} ({peaks[name]['spread_bytes'] / MIB:.1f})"
                for name in TRAININGS
            ]
        )
    return markdown(["blocks", *(f"{name}, MiB (spread)" for name in TRAININGS)], rows)


def ratios(records):
    """Memory at the most blocks over that at the fewest."""
    found = []
    for training in TRAININGS:
        some = sorted((r for r in records if r["training"] == training), key=lambda r: r["blocks"])
        few, many = some[0], some[-1]
        of = f"peak memory {training}, {many['blocks']} over {few['blocks']} blocks"
        found.append(ratio(of, many["peak_bytes"], few["peak_bytes"]))
    return found
