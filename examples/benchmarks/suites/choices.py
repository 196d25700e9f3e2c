"""Choices of the trainer, all given the same wall time, and their ranks over the data sets.

Each choice differs in one thing from what the estimator does with `max_time`. Given is the negative
log-likelihood of test rows (nats per row; less is better) by a fine solver in double precision, and
for each time the median rank over the data sets. Rows are dequantised, cut 80/10/10 and
standardised as in the suite "likelihood"; every choice has the same scaling, rows and seed.
"""

import math
import time
from dataclasses import replace

import numpy as np
import torch
from datasets import DATASETS, data_folder, make_splits
from flows import training_options
from reporting import Option, listed, markdown, printed, ratio
from scipy.stats import rankdata

from sklearn_jko.flow import JKOFlow
from sklearn_jko.scaling import make_scaler
from sklearn_jko.training.automatic import peak_rate
from sklearn_jko.training.flow_training import train_flow
from sklearn_jko.training.scaled_rows import as_rows

__all__ = ["OPTIONS", "ratios", "run", "table"]

DEFAULT = "default"
FINE_STEPS = 8


def batch(size):
    return lambda options: {"batch_size": size}


def rate(factor):
    return lambda options: {"learning_rate": factor * options.learning_rate}


def decay(factor):
    return lambda options: {"weight_decay": factor * options.weight_decay}


def width(m):
    def changed(options):
        was, becomes = (
            peak_rate(size, options.turns_axes) for size in (options.hidden_layer_sizes[0], m)
        )
        return {
            "hidden_layer_sizes": (m, m),
            "learning_rate": options.learning_rate * becomes / was,
        }

    return changed


def changes(**fixed):
    return lambda options: fixed


# Functions of the default options that give what differs from them.
CHOICES = {
    DEFAULT: changes(),
    "AdamW, rate / 3": lambda options: {
        "learning_rate": options.learning_rate / 3,
        "turns_axes": False,
    },
    "batch 128": batch(128),
    "batch 512": batch(512),
    "rate x 2": rate(2),
    "rate / 2": rate(1 / 2),
    "decay x 3": decay(3),
    "decay / 3": decay(1 / 3),
    "width 64": width(64),
    "width 256": width(256),
    "midpoint": changes(solver="midpoint"),
    "one free block": changes(max_blocks=1, step_size=lambda k: math.inf),
}
OPTIONS = (
    Option("datasets", tuple(DATASETS), ("thyroid",), "data sets", tuple(DATASETS)),
    Option("choices", tuple(CHOICES), tuple(CHOICES), "choices", tuple(CHOICES)),
    Option("budgets", (10.0, 30.0, 120.0), (0.2,), "seconds of each training"),
    Option("scaling", "marginal+whiten", "standard", "scaling of all rows"),
)


def run(arguments):
    folder = data_folder()
    records = []
    for dataset in arguments.datasets:
        parts = make_splits(DATASETS[dataset](folder), arguments.seed)
        scaler = make_scaler(arguments.scaling).fit(parts[0])
        parts = [as_rows(scaler, part, "cpu") for part in parts]
        for budget in arguments.budgets:
            for choice in arguments.choices:
                record = train(CHOICES[choice], parts, budget, arguments.seed)
                records.append(
                    printed({"dataset": dataset, "budget": budget, "choice": choice, **record})
                )
    return records


def train(choice, parts, seconds, seed):
    """The record of one training."""
    rows, validation, test = parts
    n, d = rows.x.shape
    plain = training_options(n, d, 64 if n < 3000 else 128, max_blocks=6, max_iter=20_000)
    options = replace(plain, **choice(plain))
    start = time.monotonic()
    generator = torch.Generator().manual_seed(seed)
    trained = train_flow(rows.x.clone(), validation, options, generator, start + seconds)
    seconds = time.monotonic() - start
    fine = JKOFlow(trained.flow.double().blocks, solver="dop853", n_steps=FINE_STEPS)
    nll = -(fine.log_prob(test.x.double()) + test.log_det)
    return {
        "nll": float(nll.mean()),
        "standard_error": float(nll.std() / len(nll) ** 0.5),
        "seconds": seconds,
        "n_iter": sum(record.n_iter for record in trained.history),
        "n_blocks": len(trained.flow.blocks),
    }


def table(records):
    """For each time a row a choice: its median rank, and the figure on each data set."""
    parts = []
    for budget in dict.fromkeys(r["budget"] for r in records):
        some = [r for r in records if r["budget"] == budget]
        datasets = list(dict.fromkeys(r["dataset"] for r in some))
        nll = {(r["choice"], r["dataset"]): r["nll"] for r in some}
        rows = [
            [choice, f"{rank:g}", *(f"{nll[choice, dataset]:.3f}" for dataset in datasets)]
            for choice, rank in median_ranks(nll).items()
        ]
        parts.append(f"{budget:g} s\n\n{markdown(['choice', 'median rank', *datasets], rows)}")
    return "\n\n".join(parts)


def median_ranks(nll):
    """Choices with their median rank over the data sets, the best first."""
    choices, datasets = (list(dict.fromkeys(names)) for names in zip(*nll, strict=True))
    values = np.array([[nll[choice, dataset] for dataset in datasets] for choice in choices])
    ranks = np.median(rankdata(values, axis=0), axis=1)  # equal figures share their ranks
    return {choices[i]: float(ranks[i]) for i in np.argsort(ranks, kind="stable")}


def ratios(records):
    """Optimiser steps in the time given, of each choice over the default's, on each data set."""
    steps = {(r["dataset"], r["budget"], r["choice"]): r["n_iter"] for r in records}
    return [
        ratio(f"optimiser steps, {choice} over {DEFAULT}; {listed((dataset, budget))} s", n, plain)
        for (dataset, budget, choice), n in steps.items()
        if choice != DEFAULT and (plain := steps.get((dataset, budget, DEFAULT)))
    ]
