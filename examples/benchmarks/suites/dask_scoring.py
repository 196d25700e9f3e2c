"""Scores of millions of rows by workers of Dask, against one process.

The rows are a file mapped to memory. One process scores them with as many threads as the run has;
then so many workers with one thread each, every partition read from the file where it is scored.
The start of the workers is not timed, the way of the model to them is. Dask's workers are told not
to trim their memory (`MALLOC_TRIM_THRESHOLD_`). The scores are compared row by row.
"""

import tempfile
from pathlib import Path

import dask
import dask.array
import numpy as np
from dask.distributed import Client, LocalCluster
from flows import curved_rows, quiet_fit, warm_up
from measuring import in_new_process, timed
from reporting import Option, markdown, printed, ratio

from suites.memory import save_rows, settings_of

__all__ = ["OPTIONS", "ratios", "run", "table"]

# Dask makes its workers give memory back at once, which costs half of the speed where arrays come
# and go.
TRIMMING = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"
OPTIONS = (
    Option("rows", 10_000_000, 3000, "rows to score"),
    Option("partition", 100_000, 1000, "rows of a partition"),
    Option("workers", 2, 1, "workers of one thread each"),
    Option("fit-rows", 20_000, 300, "rows of the fit"),
    Option("columns", 10, 2, "columns of all rows"),
    Option("width", 128, 16, "width of the hidden layers"),
    Option("max-iter", 1000, 20, "most optimiser steps of a block"),
)


def run(arguments):
    fitted_to = curved_rows(arguments.fit_rows, arguments.columns, arguments.seed)
    estimator = quiet_fit(settings_of(arguments), fitted_to)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        save_rows(path, arguments.rows, arguments, curved_rows)
        scores, seconds = in_new_process(arguments.threads, by_one, estimator, path)
        method = f"one process, {arguments.threads} threads"
        alone = record(method, seconds, arguments, estimator, 0.0)
        found, seconds = by_workers(estimator, path, arguments)
        method = f"Dask, {arguments.workers} workers"
        difference = float(np.abs(found - scores).max())
        return [alone, record(method, seconds, arguments, estimator, difference)]


def record(method, seconds, arguments, estimator, difference):
    return printed(
        {
            "method": method,
            "rows": arguments.rows,
            "blocks": estimator.n_blocks_,
            "seconds": seconds,
            "rows_per_second": arguments.rows / seconds,
            "largest_difference": difference,
        }
    )


def by_one(estimator, path):
    """The scores, and the seconds that they took."""
    warm_up()
    X = np.load(path, mmap_mode="r")
    return timed(lambda: estimator.score_samples(X))


def by_workers(estimator, path, arguments):
    """The same by workers, each of which has scored a few rows before."""
    with (
        dask.config.set({TRIMMING: None}),
        LocalCluster(
            n_workers=arguments.workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(warm_up)
        X = mapped(path, arguments)
        return timed(lambda: estimator.score_samples(X).compute())


def mapped(path, arguments):
    """A dask.array of the file's rows, which each task reads for itself."""
    starts = range(0, arguments.rows, arguments.partition)
    sizes = [min(arguments.partition, arguments.rows - start) for start in starts]
    read = dask.delayed(rows_of, pure=False)
    parts = [
        dask.array.from_delayed(
            read(path, start, size), (size, arguments.columns), dtype=np.float64
        )
        for start, size in zip(starts, sizes, strict=True)
    ]
    return dask.array.concatenate(parts)


def rows_of(path, start, size):
    return np.load(path, mmap_mode="r")[start : start + size]


def table(records):
    header = ["method", "rows", "blocks", "seconds", "rows a second", "largest difference (nats)"]
    rows = [
        [
            *(r["method"], r["rows"], r["blocks"], f"{r['seconds']:.1f}"),
            *(f"{r['rows_per_second']:.0f}", f"{r['largest_difference']:.1e}"),
        ]
        for r in records
    ]
    return markdown(header, rows)


def ratios(records):
    one, many = records
    return [
        ratio("rows a second, Dask over one process", *(r["rows_per_second"] for r in (many, one)))
    ]
