"""Share of the machine's matrix-product peak that a training step reaches.

The peak is the best rate of torch.mm on square matrices in single precision. A training step of
the library with one RK4 step evaluates the velocity four times and its trace three times. Counted
are the products that grow with the batch: forward 2 b (2 d m + m^2), trace 2 b m^2, backward twice
both. The product of weights that the trace needs, and everything elementwise, counts for nothing.
"""

import functools

import torch
from flows import curved_rows, library_training, training_options
from measuring import interleaved
from reporting import Option, markdown, printed, ratio

from sklearn_jko.solvers import TABLEAUS

__all__ = ["OPTIONS", "flops_of_step", "ratios", "run", "table"]

WEIGHTS = TABLEAUS["rk4"].b  # the trace is not needed where they are 0
WARMUP = 2
PRODUCT, STEP = "torch.mm", "training step"
OPTIONS = (
    Option("sizes", (256, 512, 1024, 2048, 4096), (64, 128), "sizes of the square matrices"),
    Option("columns", 63, 4, "columns of the rows trained on"),
    Option("widths", (128, 256, 512), (16, 32), "widths of the hidden layers"),
    Option("batches", (512, 1024), (64,), "rows of a step"),
    Option("rounds", 20, 5, f"timings of each, {WARMUP} of them not counted"),
)


def run(arguments):
    records = [printed(product_record(size, arguments)) for size in arguments.sizes]
    best = max(record["gflops_per_second"] for record in records)
    for width in arguments.widths:
        for batch in arguments.batches:
            record = step_record(width, batch, arguments)
            share = record["gflops_per_second"] / best
            records.append(printed({**record, "peak_gflops_per_second": best, "share": share}))
    return records


def product_record(size, arguments):
    a, b = torch.randn(2, size, size)
    contender = {PRODUCT: functools.partial(torch.mm, a, b)}
    seconds = interleaved(contender, arguments.rounds, WARMUP)[PRODUCT]
    return {"what": PRODUCT, "size": size, **rate(2 * size**3, seconds)}


def step_record(width, batch, arguments):
    d, seed = arguments.columns, arguments.seed
    x = torch.tensor(curved_rows(batch, d, seed), dtype=torch.float32)
    options = training_options(batch, d, width, batch_size=batch, max_iter=arguments.rounds)
    training = library_training(x, options, seed)
    generator = torch.Generator().manual_seed(seed)
    contender = {STEP: functools.partial(training.step, x, generator)}
    seconds = interleaved(contender, arguments.rounds, WARMUP)[STEP]
    flops = flops_of_step(batch, d, width)
    return {"what": STEP, "columns": d, "width": width, "batch": batch, **rate(flops, seconds)}


def flops_of_step(batch, d, width):
    """Floating-point operations of a step's matrix products that grow with the batch."""
    forward = 2 * batch * (2 * d * width + width * width)
    trace = 2 * batch * width * width
    return 3 * (len(WEIGHTS) * forward + sum(map(bool, WEIGHTS)) * trace)


def rate(flops, seconds):
    return {"flops": flops, "seconds": seconds, "gflops_per_second": flops / seconds / 1e9}


def table(records):
    products = [[r["size"], *figures(r)] for r in records if r["what"] == PRODUCT]
    steps = [
        [r["columns"], r["width"], r["batch"], *figures(r), f"{r['share']:.0%}"]
        for r in records
        if r["what"] == STEP
    ]
    names = ["ms", "GFLOP/s"]
    return (
        f"{markdown(['size of torch.mm', *names], products)}\n\n"
        f"{markdown(['columns', 'width', 'batch', *names, 'share of the peak'], steps)}"
    )


def figures(record):
    return [f"{1e3 * record['seconds']:.3f}", f"{record['gflops_per_second']:.1f}"]


def ratios(records):
    """The rate of each step over the best of the products."""
    return [
        ratio(
            f"GFLOP/s, training step over torch.mm; width {r['width']}, batch {r['batch']}",
            r["gflops_per_second"],
            r["peak_gflops_per_second"],
        )
        for r in records
        if r["what"] == STEP
    ]
