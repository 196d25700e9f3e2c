"""One density fitted by two processes, each with rows of its own.

Measurements of benign tumours (scikit-learn's breast cancer data, ten columns) lie with two
processes of `torch.distributed`, a third of them with the first. Both call `fit` with their rows
and the group; only gradients, sums and decisions travel in training, and both end with the same
model, whose held-out log-likelihood is that of a fit to all rows in one process, up to the draws
of the batches.

    python fit_in_processes.py                                  # starts both itself
    torchrun --nproc-per-node 2 fit_in_processes.py             # or let torchrun start them

On machines of their own the processes need nothing else: torchrun's --nnodes and --rdzv-endpoint.
"""

import argparse
import os
import tempfile
import warnings

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from sklearn_jko import JKOFlowDensity

N_PROCESSES = 2
SHORT, FULL = {"max_iter": 20, "max_blocks": 2}, {}


def benign_rows():
    """Rows to fit and rows to test, the same in every process."""
    data = load_breast_cancer()
    return train_test_split(data.data[data.target == 1, :10], test_size=0.3, random_state=0)


def fit(rank, settings):
    """What one process does, once it is in a group."""
    train, test = benign_rows()
    third = len(train) // 3
    own = train[:third] if rank == 0 else train[third:]
    density = JKOFlowDensity(random_state=0, **settings)
    # Of small data the first warns of repeated values, and where few steps cut training short.
    warnings.filterwarnings("ignore", message=".*hold repeated values|max_blocks")
    density.fit(own, process_group=torch.distributed.group.WORLD)
    scores = density.score_samples(test)
    line = f"process {rank}: {len(own)} rows, {scores.mean():.4f} nats per test row\n"
    print(line, end="", flush=True)  # whole, whoever writes beside it
    if rank == 0:
        alone = JKOFlowDensity(random_state=0, **settings).fit(train).score_samples(test)
        print(f"one process: {len(train)} rows, {alone.mean():.4f} nats per test row")
        error = np.std(scores - alone) / np.sqrt(len(test))
        print(f"difference: {np.mean(scores - alone):.4f} +- {error:.4f}")


def start(rank, meeting, settings):
    """Join the group in a process that this script started."""
    torch.set_num_threads(1)
    join = {"init_method": meeting, "rank": rank, "world_size": N_PROCESSES}
    run_in_group(join, settings)


def run_in_group(join, settings):
    torch.distributed.init_process_group("gloo", **join)  # "nccl" where each has a GPU
    fit(torch.distributed.get_rank(), settings)
    torch.distributed.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few steps only")
    settings = SHORT if parser.parse_args().short else FULL
    if "RANK" in os.environ:  # torchrun is the parent
        run_in_group({}, settings)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments = (f"file://{folder}/meeting", settings)
        torch.multiprocessing.spawn(start, arguments, nprocs=N_PROCESSES)


if __name__ == "__main__":
    main()
