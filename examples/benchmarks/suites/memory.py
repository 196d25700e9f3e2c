"""Peak memory of fit against blocks and rows, and of scoring, mapping and sampling against rows.

Each figure is of a process of its own: how far a call raises the resident memory at its worst
moment (Linux's VmHWM), less the rows that it reads, which are a file mapped to memory, and the
rows that it returns. The blocks of the first part are forced: rows too wide for small steps, so
that every block is kept. The memory of a training step grows with the solver's steps, of which
the most that a block took are given. "In use" is the same fit where freed memory is returned to the
system at once, less the weights of all blocks. The fits take few optimiser steps, on which memory
does not depend, and the estimator that is called has one block, so that millions of rows take
minutes.
"""

import functools
import itertools
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flows import FORCED_BLOCKS, curved_rows, forced_rows, quiet_fit, warm_up
from measuring import free_at_once, in_new_process, peak_memory_of
from reporting import Option, markdown, printed, ratio

from sklearn_jko.rows.reservoir import MAX_NUMBERS

__all__ = ["OPTIONS", "ratios", "run", "table"]

FIT_BLOCKS, FIT_BLOCKS_IN_USE, FIT_ROWS = "fit, blocks", "fit, blocks, in use", "fit, rows"
BYTES_OF_WEIGHT = 4  # in training
CALLS = ("score_samples", "transform", "sample")
CHUNK = 100_000
MIB = 2**20
OPTIONS = (
    Option("blocks", (2, 4, 8, 16, 32), (1, 2), "blocks of a fit"),
    Option("block-rows", 20_000, 1000, "rows of the fits against blocks"),
    Option("calls", CALLS, CALLS[:1], "calls against rows", CALLS),
    Option("scaling", "standard", "standard", "scaling of the estimator that is called"),
    Option("rows", (100_000, 1_000_000, 10_000_000), (1000, 20_000), "rows of the calls"),
    Option("fit-rows", (10_000, 100_000, 1_000_000), (500,), "rows of the fits"),
    Option("columns", 10, 2, "columns of all rows"),
    Option("width", 128, 16, "width of the hidden layers"),
    Option("max-iter", 40, 20, "optimiser steps of a block"),
)


def run(arguments):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        parts = (runs_of_blocks, runs_of_fits, runs_of_calls)
        return [printed(record) for part in parts for record in part(arguments, path)]


def runs_of_blocks(arguments, path):
    save_rows(path, arguments.block_rows, arguments, forced_rows)
    for n_blocks, what in itertools.product(arguments.blocks, (FIT_BLOCKS, FIT_BLOCKS_IN_USE)):
        settings = {**settings_of(arguments), **FORCED_BLOCKS, "max_blocks": n_blocks}
        in_use = what == FIT_BLOCKS_IN_USE
        fit = in_new_process(arguments.threads, fit_in_process, settings, path, in_use)
        if fit.n_blocks != n_blocks:
            raise SystemExit(f"{fit.n_blocks} of {n_blocks} blocks were kept: raise --max-iter.")
        sizes = {"rows": arguments.block_rows, "blocks": n_blocks, "solver_steps": fit.solver_steps}
        weights = BYTES_OF_WEIGHT * fit.n_weights if in_use else 0
        yield record_of(what, sizes, fit.peak_bytes, path.stat().st_size, weights)


def runs_of_fits(arguments, path):
    for n in arguments.fit_rows:
        save_rows(path, n, arguments, curved_rows)
        settings = settings_of(arguments)
        fit = in_new_process(arguments.threads, fit_in_process, settings, path)
        sizes = {"rows": n, "blocks": fit.n_blocks, "solver_steps": fit.solver_steps}
        # Of a larger table a sample is copied, part by part, and the file does not stay in memory.
        read = path.stat().st_size if n * arguments.columns <= MAX_NUMBERS else 0
        yield record_of(FIT_ROWS, sizes, fit.peak_bytes, read, 0)


def runs_of_calls(arguments, path):
    rows = curved_rows(min(arguments.fit_rows), arguments.columns, arguments.seed)
    settings = {**settings_of(arguments), "max_blocks": 1, "scaling": arguments.scaling}
    estimator = quiet_fit(settings, rows)
    for n in arguments.rows:
        save_rows(path, n, arguments, curved_rows)
        for call in arguments.calls:
            peak = in_new_process(arguments.threads, call_in_process, estimator, call, n, path)
            read = 0 if call == "sample" else path.stat().st_size
            returned = 8 * n * (1 if call == "score_samples" else arguments.columns)
            steps = max(estimator.flow_.n_steps.tolist(), default=0)
            sizes = {"rows": n, "blocks": estimator.n_blocks_, "solver_steps": steps}
            yield record_of(call, sizes, peak, read, returned)


def settings_of(arguments):
    width = arguments.width
    return {
        "hidden_layer_sizes": (width, width),
        "max_iter": arguments.max_iter,
        "random_state": arguments.seed,
        "device": "cpu",
    }


def save_rows(path, n, arguments, made_up):
    """Write rows to a file by chunks; no process needs to hold them all."""
    shape = (n, arguments.columns)
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=shape)
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        rows[start : start + size] = made_up(size, arguments.columns, arguments.seed + start)
    rows.flush()


class MeasuredFit(NamedTuple):
    """Peak memory of a fit, its blocks and weights, and the most solver steps in training."""

    peak_bytes: int
    n_blocks: int
    n_weights: int
    solver_steps: int


def fit_in_process(settings, path, in_use=False):
    """Measure a fit."""
    if in_use:
        free_at_once()
    warm_up()
    X, fitted = np.load(path, mmap_mode="r"), []
    peak = peak_memory_of(lambda: fitted.append(quiet_fit(settings, X)))
    (density,) = fitted
    n_weights = sum(parameter.numel() for parameter in density.flow_.parameters())
    steps = max(record.solver_steps for record in density.history_)
    return MeasuredFit(peak, density.n_blocks_, n_weights, steps)


def call_in_process(estimator, call, n, path):
    """Peak memory of a method of the fitted estimator."""
    argument = n if call == "sample" else np.load(path, mmap_mode="r")
    return peak_memory_of(functools.partial(getattr(estimator, call), argument))


def record_of(what, sizes, peak, read, returned):
    return {
        "what": what,
        **sizes,
        "peak_bytes": peak,
        "read_bytes": read,
        "returned_bytes": returned,
        "own_bytes": max(peak - read - returned, 1),
    }


def table(records):
    header = ["call", "rows", "blocks", "solver steps"]
    header += ["peak (MiB)", "read", "returned or weights", "its own"]
    sizes = ("peak_bytes", "read_bytes", "returned_bytes", "own_bytes")
    rows = [
        [r["what"], r["rows"], r["blocks"], r["solver_steps"]]
        + [f"{r[name] / MIB:.1f}" for name in sizes]
        for r in records
    ]
    return markdown(header, rows)


def ratios(records):
    """Memory of its own at the most blocks or rows over that at the fewest."""
    found = []
    for what in dict.fromkeys(r["what"] for r in records):
        size = "rows" if what == FIT_ROWS or what in CALLS else "blocks"
        some = sorted((r for r in records if r["what"] == what), key=lambda r: r[size])
        few, many = some[0], some[-1]
        of = f"own bytes of {what}, {many[size]} over {few[size]} {size}"
        found.append(ratio(of, many["own_bytes"], few["own_bytes"]))
    return found
