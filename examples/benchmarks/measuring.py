"""Time and memory."""

import ctypes
import functools
import gc
import mmap
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

__all__ = [
    "exponent",
    "free_at_once",
    "in_new_process",
    "interleaved",
    "limit_threads",
    "peak_memory_of",
    "rows_for",
    "seconds_of",
    "timed",
]

M_MMAP_THRESHOLD = -3  # of the C library's mallopt
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def limit_threads(n):
    """For torch, and for the libraries below numpy, scipy and scikit-learn."""
    torch.set_num_threads(n)
    threadpool_limits(n)


def timed(function):
    """What a function returns, and the seconds that it took."""
    start = time.perf_counter()
    return function(), time.perf_counter() - start


def seconds_of(function):
    return timed(function)[1]


def interleaved(contenders, rounds, warmup=0):
    """Median seconds of each: they take turns, so that a slow minute is slow for all of them.

    Parameters
    ----------
    contenders : dict of callables without arguments, by name
    rounds : int
    warmup : int
        Rounds at the start that are not counted.
    """
    if rounds <= warmup:
        raise SystemExit(f"{rounds} timings, of which {warmup} are not counted: ask for more.")
    seconds = [[seconds_of(run) for run in contenders.values()] for _ in range(rounds)]
    return dict(zip(contenders, np.median(seconds[warmup:], axis=0).tolist(), strict=True))


def rows_for(score, rows, seconds):
    """So many of the rows as take the time to score, or all."""
    n = 1
    while n < len(rows) and seconds_of(functools.partial(score, rows[:n])) < seconds:
        n *= 2
    return rows[:n]


def exponent(x, y):
    """Slope of a straight line through log y against log x, by least squares."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def in_new_process(threads, function, *arguments):
    """What a function returns in a process of its own, where nothing but imports has run before."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, context, limit_threads, (threads,)) as pool:
        return pool.submit(function, *arguments).result()


def free_at_once():
    """From now on, return every freed piece of a page or more to the system, with glibc.

    By default glibc keeps freed pieces of up to 32 MiB for later, so that the memory of a process
    tells less of what its program holds.
    """
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, mmap.PAGESIZE)


def peak_memory_of(function):
    """Bytes by which a call raises the process's resident memory at its worst moment.

    Pages of mapped files count once they are touched. At least one page, so that ratios exist.
    """
    if not CLEAR.exists():
        raise SystemExit(f"{CLEAR} does not exist: peak memory is measured on Linux only.")
    gc.collect()  # what is freed in the meantime would hide what is taken
    CLEAR.write_text("5", encoding="ascii")  # sets VmHWM back to what is resident now
    before = _status("VmHWM")
    function()
    return max(_status("VmHWM") - before, mmap.PAGESIZE)


def _status(name):
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
