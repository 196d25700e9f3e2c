"""Cost of a fit against rows, columns, width and blocks.

One size is varied at a time, the others stay at the base. Given are the seconds of one optimiser
step, evaluations on held-out rows included, and those of the whole fit, with the exponents of both
by least squares on logarithms. Early stopping is the default's, so a fit's steps vary too. The
fits against blocks are forced to keep them: rows too wide, small steps, no scaling and no pilot.
"""

from flows import FORCED_BLOCKS, curved_rows, forced_rows, quiet_fit
from measuring import exponent, timed
from reporting import Option, markdown, printed, ratio

__all__ = ["OPTIONS", "ratios", "run", "table"]

SIZES = ("rows", "columns", "width", "blocks")
TIMES = ("step_seconds", "fit_seconds")
OPTIONS = (
    Option("rows", (1000, 10_000, 100_000, 1_000_000), (200, 400), "rows"),
    Option("columns", (2, 8, 32, 64), (2, 4), "columns"),
    Option("width", (32, 64, 128, 256, 512), (8, 16), "widths of the two hidden layers"),
    Option("blocks", (1, 2, 4, 8, 16), (1, 2), "blocks"),
    Option("base", (10_000, 10, 128, 4), (200, 2, 8, 1), f"base: {', '.join(SIZES)}"),
    Option("max-iter", 400, 20, "most optimiser steps of a block"),
)


def run(arguments):
    if len(arguments.base) != len(SIZES):
        raise SystemExit(f"--base is {arguments.base}: give {', '.join(SIZES)}.")
    base = dict(zip(SIZES, arguments.base, strict=True))
    return [
        printed({"varied": size, **fit_of({**base, size: value}, size == "blocks", arguments)})
        for size in SIZES
        for value in getattr(arguments, size)
    ]


def fit_of(sizes, forced, arguments):
    """Sizes and seconds of one fit."""
    make_rows, changes = (forced_rows, FORCED_BLOCKS) if forced else (curved_rows, {})
    X = make_rows(sizes["rows"], sizes["columns"], arguments.seed)
    settings = {
        "hidden_layer_sizes": (sizes["width"],) * 2,
        "max_blocks": sizes["blocks"],
        "max_iter": arguments.max_iter,
        "random_state": arguments.seed,
        "device": "cpu",
        **changes,
    }
    estimator, seconds = timed(lambda: quiet_fit(settings, X))
    trained = sum(record.seconds for record in estimator.history_)
    return {
        **sizes,
        "blocks": len(estimator.history_),
        "n_iter": estimator.n_iter_,
        "step_seconds": trained / estimator.n_iter_,
        "fit_seconds": seconds,
    }


def table(records):
    """The fits, and the exponents of each size."""
    header = ["varied", *SIZES, "optimiser steps", "ms a step", "fit (s)"]
    rows = [
        [
            r["varied"],
            *(r[size] for size in SIZES),
            r["n_iter"],
            f"{1e3 * r['step_seconds']:.2f}",
            f"{r['fit_seconds']:.2f}",
        ]
        for r in records
    ]
    powers = [
        [size, *(f"{power:.2f}" for power in exponents(records, size).values())] for size in SIZES
    ]
    columns = ["size", "exponent of the step", "exponent of the fit"]
    return f"{markdown(header, rows)}\n\n{markdown(columns, powers)}"


def exponents(records, size):
    """Powers of one size with which the seconds grow, by name of the seconds."""
    some = [r for r in records if r["varied"] == size]
    return {name: exponent([r[size] for r in some], [r[name] for r in some]) for name in TIMES}


def ratios(records):
    """Seconds at the largest of a size over those at the smallest."""
    found = []
    for size in SIZES:
        some = sorted((r for r in records if r["varied"] == size), key=lambda r: r[size])
        few, many = some[0], some[-1]
        for name in TIMES:
            of = f"{name}, {many[size]} over {few[size]} {size}"
            found.append(ratio(of, many[name], few[name]))
    return found
