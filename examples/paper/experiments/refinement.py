"""Reparameterisation and refinement: likelihood and movements, against the same steps without.

Four fits of each data set: "start", so many blocks of so many optimiser steps; "refined", the same
and then rounds of `n_refinements`; and with as many steps in total as these took, "longer", where
the first training's blocks are trained longer, and "more blocks", where there are more of them.
Negative log-likelihood (NLL) of test rows in nats per row, less is better, also
with the solver's steps doubled and quadrupled; distances are the root mean squared movements of
the blocks on test rows, and evenness is the largest over the smallest, on held-out rows for the
rounds. A last round that gained nothing on held-out rows was undone.
"""

import functools

import numpy as np
from datasets import DATASETS, DEQUANTISATION, data_folder, make_splits
from flows import judged
from reporting import Option, listed, markdown, printed, ratio

from sklearn_jko import JKOFlowDensity
from sklearn_jko.diagnostics import measure_blocks
from sklearn_jko.step_sizes import geometric_step

__all__ = ["OPTIONS", "ratios", "run", "table"]

OPTIONS = (
    Option("datasets", tuple(DATASETS), ("thyroid",), "data sets", tuple(DATASETS)),
    Option("blocks", 3, 2, "blocks of the first training"),
    Option("iterations", 1000, 20, "optimiser steps of each of its blocks"),
    Option("scaling", "auto", "standard", "scaling, which may leave the blocks nothing"),
    Option("rounds", 2, 1, "rounds of refinement"),
    Option("step-size", 0.0, 0.0, "the same for all blocks, as in the paper; doubled where 0"),
)

# The default's, but for all blocks.
GROWING = functools.partial(geometric_step, first=0.5, growth=2.0)
# What sets each fit apart from the first, by the command line and the steps taken so far.
CHANGES = {
    "start": lambda arguments, steps: {},
    "refined": lambda arguments, steps: {"n_refinements": arguments.rounds},
    "longer": lambda arguments, steps: {"max_iter": steps // arguments.blocks},
    "more blocks": lambda arguments, steps: {"max_blocks": steps // arguments.iterations},
}


def run(arguments):
    folder = data_folder()
    records = []
    for dataset in arguments.datasets:
        parts = make_splits(DATASETS[dataset](folder), arguments.seed)
        start = {"max_blocks": arguments.blocks, "max_iter": arguments.iterations}
        start["scaling"] = arguments.scaling
        start["step_size"] = constant(arguments.step_size) if arguments.step_size else GROWING
        steps = 0
        for name, change in CHANGES.items():
            record = fit(parts, arguments.seed, {**start, **change(arguments, steps)})
            steps = max(steps, record["steps"])
            records.append(printed({"dataset": dataset, "fit": name, **record}))
    return records


def constant(h):
    return lambda k: h


def fit(parts, seed, settings):
    train, validation, test = parts
    density = JKOFlowDensity(random_state=seed, device="cpu", **settings)
    density.fit(np.r_[train, validation])
    kept = [record for record in density.history_ if record.kept]
    rounds = [
        [record.distance for record in kept if record.refinement == k]
        for k in range(1 + max(record.refinement for record in density.history_))
    ]
    distances = measure_blocks(density, test).distances
    return {
        **judged(density, test),
        "steps": density.n_iter_,
        "seconds": sum(record.seconds for record in density.history_),
        "distances": distances,
        "evenness_of_rounds": [evenness(moved) for moved in rounds],
    }


def evenness(distances):
    return float(max(distances) / min(distances)) if distances else 1.0


def table(records):
    header = ["data", "fit", "NLL", "steps x 2", "blocks", "optimiser steps", "distances"]
    rows = [
        [
            *(r["dataset"], r["fit"], f"{r['nll']:.3f} ± {r['standard_error']:.3f}"),
            *(f"{r['nll_steps_x2']:.4f}", r["n_blocks"], r["steps"]),
            listed([f"{distance:.2f}" for distance in r["distances"]]),
        ]
        for r in records
    ]
    evenness = [
        [r["dataset"], listed([f"{value:.2f}" for value in r["evenness_of_rounds"]])]
        for r in records
        if r["fit"] == "refined"
    ]
    rounds = markdown(["data", "evenness after the first training and each round"], evenness)
    return "\n\n".join([markdown(header, rows), rounds, DEQUANTISATION])


def ratios(records):
    """Evenness of the refined flow's movements; 1 is even."""
    return [
        ratio(
            f"largest over smallest distance, refined; {r['dataset']}",
            max(r["distances"], default=1.0),
            min(r["distances"], default=1.0),
        )
        for r in records
        if r["fit"] == "refined"
    ]
