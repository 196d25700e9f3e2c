"""Limit of the number of threads to those that a network keeps busy."""

from contextlib import nullcontext

import torch
from threadpoolctl import ThreadpoolController

__all__ = ["no_idle_threads"]

# Multiplications in the product of a layer and a batch that keep one thread busy.
MULTIPLICATIONS_OF_A_THREAD = 2**20


def no_idle_threads(options):
    """A context in which the calling thread uses no more threads than training keeps busy.

    Idle threads wait in a loop, which takes the processor from whatever else runs on it: on busy
    cores small networks took thirty times as long with two threads as with one. OpenMP's setting
    belongs to the calling thread, so other threads of the process keep theirs.

    Parameters
    ----------
    options : TrainingOptions

    Returns
    -------
    context : context manager
    """
    n_nodes = 1 if options.structure is None else options.structure.n_nodes
    width = max(options.hidden_layer_sizes, default=1)
    busy = max(options.batch_size * n_nodes * width**2 // MULTIPLICATIONS_OF_A_THREAD, 1)
    if busy >= torch.get_num_threads():
        return nullcontext()
    return ThreadpoolController().limit(limits=busy, user_api="openmp")
