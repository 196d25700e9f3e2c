"""Cures for a flow that learns to exploit its solver, all given the same wall time.

The objective is unbounded below for a solver whose error the network can steer. For each cure
this prints the negative log-likelihood of test rows (nats per row; less is better) as the solver
of the training tells it and as it is (RK4 of 32 steps a block, in double precision):

    export SKLEARN_JKO_DATA=...            # see data_folder in datasets.py
    python compare_cures.py --output results/cures

Rows are dequantised, cut 80/10/10 and standardised as in compare_density.py; BSDS300 patches are
left in their usual units. Every run trains up to four blocks of two hidden layers of 128 (BSDS300:
256) until its time is over. The validation rows decide which weights of a block are best.
"""

import argparse
import functools
import json
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from compare_density import describe_run
from datasets import adbench_inliers, bsds300_patches, data_folder, make_splits
from threadpoolctl import threadpool_limits

from sklearn_jko.bases import StandardNormal
from sklearn_jko.block_training import TrainingOptions, row_nll
from sklearn_jko.divergence import exact_divergence_for
from sklearn_jko.flow import JKOFlow
from sklearn_jko.pilot import as_rows
from sklearn_jko.scaling import make_scaler
from sklearn_jko.schedules import geometric_step
from sklearn_jko.solvers import SOLVERS
from sklearn_jko.training import train_flow

BSDS = "BSDS300"
DATASETS = {
    "magic.gamma": functools.partial(adbench_inliers, "22_magic.gamma.npz"),
    "shuttle": functools.partial(adbench_inliers, "32_shuttle.npz"),
}
# Without a scaling of their own these columns are nearly collinear.
PLAIN = {BSDS: "whiten"}
SCALINGS = ("marginal", "whiten+radial", "marginal+whiten+radial")
BEST = "best"  # of the scalings that the same run has tried, by the validation rows
MAX_TEST = 2000
FINE_STEPS = 32


@dataclass(frozen=True)
class Cure:
    """What differs from the trainer's defaults, and the scaling where it is not the plain one."""

    name: str
    options: dict = field(default_factory=dict)
    scaling: str | None = None


def kinetic_energy(block, x, y, log_det, generator):
    """Mean |f|^2 at a random time of each row's path, taken as straight."""
    v, _ = velocity_on_path(block, x, y, generator)
    return v.square().sum(1).mean()


def jacobian_norm(block, x, y, log_det, generator):
    """Hutchinson's estimate of the mean |J|^2 (Frobenius) at a random time of each row's path."""
    v, point = velocity_on_path(block, x, y, generator)
    signs = 2.0 * torch.randint(2, v.shape, generator=generator) - 1.0
    (product,) = torch.autograd.grad(v, point, signs, create_graph=True)
    return product.square().sum(1).mean()


def velocity_on_path(block, x, y, generator):
    t = torch.rand((len(x), 1), generator=generator)
    point = x + t * (y.detach() - x)
    point.requires_grad_()
    return block.velocity(t, point), point


def local_error(block, x, y, log_det, generator):
    """What a rule of lower order makes of the same step, for the rows and the divergence."""
    divergence = exact_divergence_for(block.velocity)
    coarse_y, coarse_log_det = block(x, SOLVERS["midpoint"], 1, divergence)
    return (coarse_y - y).square().sum(1).mean() + (coarse_log_det - log_det).square().mean()


def spectral_norms(block, x, y, log_det, generator, bound=2.0, n_products=5):
    """How far the weights' largest singular values exceed a bound, squared."""
    velocity, excess = block.velocity, 0.0
    for weight in (*velocity.weights, velocity.out_weight):
        vector = torch.ones(weight.shape[1])
        for _ in range(n_products):
            vector = torch.nn.functional.normalize(weight.T @ (weight @ vector), dim=0)
        excess = excess + (weight @ vector).norm().sub(bound).clamp(min=0).square()
    return excess


def weighted(penalty, weight):
    return lambda *arguments: weight * penalty(*arguments)


UNWATCHED = {"honest_gap": math.inf}
CURES = (
    Cure("none: midpoint x 2", {"solver": "midpoint", "solver_steps": 2, **UNWATCHED}),
    Cure("none: RK4 x 1", UNWATCHED),
    Cure("none: RK4 x 4", {"solver_steps": 4, **UNWATCHED}),
    Cure("control, midpoint", {"solver": "midpoint"}),
    Cure("control, RK4"),
    Cure("control at 0.1 nat", {"honest_gap": 0.1}),
    Cure("control at 0.001 nat", {"honest_gap": 1e-3}),
    Cure("control, rate x 2", {"rate": 2.0}),
    Cure("control, kinetic energy x 0.01", {"penalty": weighted(kinetic_energy, 0.01)}),
    Cure("control, Jacobian x 0.001", {"penalty": weighted(jacobian_norm, 1e-3)}),
    Cure("control, local error x 0.1", {"penalty": weighted(local_error, 0.1)}),
    Cure("control, spectral norms <= 2", {"penalty": spectral_norms}),
    *(Cure(f"control, scaling {name}", scaling=name) for name in SCALINGS),
    Cure("none: RK4 x 1, best scaling", UNWATCHED, BEST),
    Cure("Jacobian x 0.001, best scaling", {"penalty": weighted(jacobian_norm, 1e-3)}, BEST),
    Cure("local error x 0.1, best scaling", {"penalty": weighted(local_error, 0.1)}, BEST),
)


def main(argv=None):
    arguments = parse(argv)
    folder = data_folder()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        report = {**describe_run(arguments), "results": run_all(arguments, folder)}
    table = markdown_table(report["results"])
    print(f"\n{table}")
    if arguments.output:
        write(report, table, arguments.output)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    every = (*DATASETS, BSDS)
    parser.add_argument("--datasets", nargs="*", default=every, choices=every)
    parser.add_argument("--cures", type=int, default=len(CURES), help="only so many of the first")
    parser.add_argument("--seconds", type=float, default=30.0, help="wall time of each training")
    parser.add_argument("--bsds-seconds", type=float, default=45.0, help="the same for patches")
    parser.add_argument("--bsds", type=int, default=100_000, help="training patches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", metavar="PREFIX", help="write PREFIX-<date>.json and .md")
    return parser.parse_args(argv)


def run_all(arguments, folder):
    results = []
    for dataset in arguments.datasets:
        parts = load(dataset, arguments, folder)
        print(f"{dataset}: {[part.shape for part in parts]}", flush=True)
        nll_of_scaling = {}
        for cure in CURES[: arguments.cures]:
            scaling = cure.scaling or PLAIN.get(dataset, "standard")
            if scaling == BEST:
                scaling = min(nll_of_scaling, key=nll_of_scaling.get)
            seconds = arguments.bsds_seconds if dataset == BSDS else arguments.seconds
            result = run(cure, scaling, parts, seconds, arguments.seed)
            if not cure.options:
                nll_of_scaling[scaling] = result["validation_nll"]
            results.append({"dataset": dataset, **result})
    return results


def load(dataset, arguments, folder):
    if dataset == BSDS:
        n = arguments.bsds
        return bsds300_patches(n, max(n // 20, 1), MAX_TEST, arguments.seed, folder)
    train, validation, test = make_splits(DATASETS[dataset](folder), arguments.seed)
    return train, validation, test[:MAX_TEST]


def run(cure, scaling, parts, seconds, seed):
    """Train under the cure for the time given; print and return the record."""
    scaler = make_scaler(scaling).fit(parts[0])
    rows, validation, test = (as_rows(scaler, part, "cpu") for part in parts)
    options = training_options(cure, rows.x.shape)
    generator = torch.Generator().manual_seed(seed)
    start = time.monotonic()
    trained = train_flow(rows.x, validation, options, generator, start + seconds)
    seconds = time.monotonic() - start
    result = {
        "cure": cure.name,
        "scaling": scaling,
        "told_nll": told_nll(trained, options, test),
        "true_nll": true_nll(trained.flow, test),
        "seconds": seconds,
        "solver_steps": [record.solver_steps for record in trained.history],
        "n_iter": sum(record.n_iter for record in trained.history),
        "validation_nll": trained.history[-1].validation_nll,
    }
    print(f"  {' '.join(f'{k}={brief(v)}' for k, v in result.items())}", flush=True)
    return result


def training_options(cure, shape):
    """The defaults of `JKOFlowDensity`, as far as the cure leaves them."""
    n, d = shape
    width = 256 if d >= 32 else 128
    changes = dict(cure.options)
    rate = min(0.64 / width, 1e-2) * changes.pop("rate", 1.0)
    return replace(
        TrainingOptions(
            step_size=functools.partial(geometric_step, first=0.5, growth=2.0),
            hidden_layer_sizes=(width, width),
            max_blocks=4,
            max_iter=10_000,
            learning_rate=rate,
            weight_decay=min(200 * d / n, 3.0),
        ),
        **changes,
    )


@torch.no_grad()
def told_nll(trained, options, rows):
    """Mean negative log-density of the rows by the solver with which each block was trained."""
    kept = [record for record in trained.history if record.kept]
    x, log_det = rows
    for block, record in zip(trained.flow.blocks, kept, strict=True):
        divergence = exact_divergence_for(block.velocity)
        x, gain = block(x, SOLVERS[options.solver], record.solver_steps, divergence)
        log_det = log_det + gain
    return float(row_nll(StandardNormal(), rows._replace(x=x, log_det=log_det)).mean())


@torch.no_grad()
def true_nll(flow, rows):
    fine = JKOFlow(flow.double().blocks, n_steps=FINE_STEPS)
    return float(-(fine.log_prob(rows.x.double()) + rows.log_det).mean())


def brief(value):
    return f"{value:.4g}" if isinstance(value, float) else value


def markdown_table(results):
    """One row a cure; for each data set the true figure, the told one, and seconds."""
    datasets = list(dict.fromkeys(result["dataset"] for result in results))
    lines = [["cure", *datasets], ["---"] * (len(datasets) + 1)]
    for cure in dict.fromkeys(result["cure"] for result in results):
        cells = {
            r["dataset"]: f"{r['true_nll']:.2f} (told {r['told_nll']:.2f}) {r['seconds']:.0f} s"
            for r in results
            if r["cure"] == cure
        }
        lines.append([cure, *(cells.get(dataset, "") for dataset in datasets)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(report, table, prefix):
    stem = f"{prefix}-{report['date'][:10]}"
    Path(f"{stem}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    text = f"{__doc__}\n{table}\n\n{report['date']}; {versions}; threads: {report['threads']}.\n"
    Path(f"{stem}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
