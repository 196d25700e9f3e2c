"""Cures for a flow that learns to exploit its solver, all given the same wall time.

The objective is unbounded below for a solver whose error the network can steer. For each cure
this gives the negative log-likelihood of test rows (nats per row; less is better) as the solver
of the training tells it and as it is (RK4 of 32 steps a block, in double precision).

Rows are dequantised, cut 80/10/10 and standardised as in the suite "likelihood"; BSDS300 patches
are left in their usual units. Every run trains up to four blocks of two hidden layers of 128
(BSDS300: 256) until its time is over. The validation rows decide which weights of a block are best.
"""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from unittest.mock import patch

import torch
from datasets import adbench_inliers, bsds300_patches, data_folder, make_splits
from flows import training_options
from reporting import Option, markdown, printed, ratio

from sklearn_jko.bases import StandardNormal
from sklearn_jko.divergence import exact
from sklearn_jko.flow import JKOFlow
from sklearn_jko.scaling import make_scaler
from sklearn_jko.solvers import SOLVERS
from sklearn_jko.training import flow_training
from sklearn_jko.training.block_training import BlockTraining
from sklearn_jko.training.objective import jko_terms
from sklearn_jko.training.scaled_rows import as_rows, row_nll

__all__ = ["OPTIONS", "ratios", "run", "table"]

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
    """What differs from the trainer's defaults, and the scaling where it is not the plain one.

    A ``penalty(block, x, y, log_det, generator)`` is added to the objective of a batch.
    """

    name: str
    options: dict = field(default_factory=dict)
    scaling: str | None = None
    penalty: Callable | None = None


class PenalisedTraining(BlockTraining):
    """Training of a block under a penalty, which counts as transport."""

    def __init__(self, penalty, *arguments):
        super().__init__(*arguments)
        self.penalty = penalty

    def terms(self, x, generator):
        y, log_det = self.solve(x, self.pace.solver_steps, generator)
        terms = jko_terms(self.base, x, y, log_det, self.h)
        penalty = self.penalty(self.block, x, y, log_det, generator)
        return terms._replace(transport=terms.transport + penalty)


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
    coarse_y, coarse_log_det = block(x, SOLVERS["midpoint"], 1, exact)
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


PLAINEST = "none: RK4 x 1"
UNWATCHED = {"max_solver_error": math.inf}
CURES = (
    Cure("none: midpoint x 2", {"solver": "midpoint", "solver_steps": 2, **UNWATCHED}),
    Cure(PLAINEST, UNWATCHED),
    Cure("none: RK4 x 4", {"solver_steps": 4, **UNWATCHED}),
    Cure("control, midpoint", {"solver": "midpoint"}),
    Cure("control, RK4"),
    Cure("control at 0.1 nat", {"max_solver_error": 0.1}),
    Cure("control at 0.001 nat", {"max_solver_error": 1e-3}),
    Cure("control, rate x 2", {"rate": 2.0}),
    Cure("control, kinetic energy x 0.01", penalty=weighted(kinetic_energy, 0.01)),
    Cure("control, Jacobian x 0.001", penalty=weighted(jacobian_norm, 1e-3)),
    Cure("control, local error x 0.1", penalty=weighted(local_error, 0.1)),
    Cure("control, spectral norms <= 2", penalty=spectral_norms),
    *(Cure(f"control, scaling {name}", scaling=name) for name in SCALINGS),
    Cure("none: RK4 x 1, best scaling", UNWATCHED, BEST),
    Cure("Jacobian x 0.001, best scaling", scaling=BEST, penalty=weighted(jacobian_norm, 1e-3)),
    Cure("local error x 0.1, best scaling", scaling=BEST, penalty=weighted(local_error, 0.1)),
)


EVERY = (*DATASETS, BSDS)
OPTIONS = (
    Option("datasets", EVERY, ("magic.gamma",), "data sets", EVERY),
    Option("cures", len(CURES), len(CURES), "only so many of the first"),
    Option("seconds", 30.0, 0.2, "wall time of each training"),
    Option("bsds-seconds", 45.0, 0.2, "the same for patches"),
    Option("bsds", 100_000, 400, "training patches"),
)


def run(arguments):
    folder = data_folder()
    records = []
    for dataset in arguments.datasets:
        parts = load(dataset, arguments, folder)
        print(f"{dataset}: training, validation, test {[part.shape for part in parts]}", flush=True)
        seconds = arguments.bsds_seconds if dataset == BSDS else arguments.seconds
        for record in run_cures(CURES[: arguments.cures], dataset, parts, seconds, arguments.seed):
            records.append(printed({"dataset": dataset, **record}))
    return records


def run_cures(cures, dataset, parts, seconds, seed):
    """A record for each cure in turn."""
    nll_of_scaling = {}
    for cure in cures:
        scaling = cure.scaling or PLAIN.get(dataset, "standard")
        if scaling == BEST:
            scaling = min(nll_of_scaling, key=nll_of_scaling.get)
        record = run_cure(cure, scaling, parts, seconds, seed)
        if not cure.options and cure.penalty is None:
            nll_of_scaling[scaling] = record["validation_nll"]
        yield record


def load(dataset, arguments, folder):
    if dataset == BSDS:
        n = arguments.bsds
        return bsds300_patches(n, max(n // 20, 1), MAX_TEST, arguments.seed, folder)
    train, validation, test = make_splits(DATASETS[dataset](folder), arguments.seed)
    return train, validation, test[:MAX_TEST]


def run_cure(cure, scaling, parts, seconds, seed):
    """Train under the cure for the time given; the record."""
    scaler = make_scaler(scaling).fit(parts[0])
    rows, validation, test = (as_rows(scaler, part, "cpu") for part in parts)
    options = options_of(cure, rows.x.shape)
    generator = torch.Generator().manual_seed(seed)
    start = time.monotonic()
    with patch.object(flow_training, "BlockTraining", training_of(cure)):
        trained = flow_training.train_flow(rows.x, validation, options, generator, start + seconds)
    seconds = time.monotonic() - start
    return {
        "cure": cure.name,
        "scaling": scaling,
        "told_nll": told_nll(trained, options, test),
        "true_nll": true_nll(trained.flow, test),
        "seconds": seconds,
        "solver_steps": [record.solver_steps for record in trained.history],
        "n_iter": sum(record.n_iter for record in trained.history),
        "validation_nll": trained.history[-1].validation_nll,
    }


def options_of(cure, shape):
    """The defaults of `JKOFlowDensity`, as far as the cure leaves them."""
    n, d = shape
    width = 256 if d >= 32 else 128
    changes = dict(cure.options)
    rate = changes.pop("rate", 1.0) * training_options(n, d, width).learning_rate
    return training_options(
        n, d, width, max_blocks=4, max_iter=10_000, learning_rate=rate, **changes
    )


def training_of(cure):
    """What trains a block under the cure."""
    if cure.penalty is None:
        return BlockTraining
    return functools.partial(PenalisedTraining, cure.penalty)


@torch.no_grad()
def told_nll(trained, options, rows):
    """Mean negative log-density of the rows by the solver with which each block was trained."""
    kept = [record for record in trained.history if record.kept]
    x, log_det = rows
    for block, record in zip(trained.flow.blocks, kept, strict=True):
        x, gain = block(x, SOLVERS[options.solver], record.solver_steps, exact)
        log_det = log_det + gain
    return float(row_nll(StandardNormal(), rows._replace(x=x, log_det=log_det)).mean())


@torch.no_grad()
def true_nll(flow, rows):
    fine = JKOFlow(flow.double().blocks, n_steps=FINE_STEPS)
    return float(-(fine.log_prob(rows.x.double()) + rows.log_det).mean())


def table(records):
    """One row a cure; for each data set the true figure, the told one, and seconds."""
    datasets = list(dict.fromkeys(r["dataset"] for r in records))
    rows = []
    for cure in dict.fromkeys(r["cure"] for r in records):
        cells = {
            r["dataset"]: f"{r['true_nll']:.2f} (told {r['told_nll']:.2f}) {r['seconds']:.0f} s"
            for r in records
            if r["cure"] == cure
        }
        rows.append([cure, *(cells.get(dataset, "") for dataset in datasets)])
    return markdown(["cure", *datasets], rows)


def ratios(records):
    """Seconds of an optimiser step under each cure over those without any."""
    seconds = {(r["dataset"], r["cure"]): r["seconds"] / r["n_iter"] for r in records}
    return [
        ratio(f"seconds a step, {cure} over {PLAINEST}; {dataset}", value, plain)
        for (dataset, cure), value in seconds.items()
        if cure != PLAINEST and (plain := seconds.get((dataset, PLAINEST)))
    ]
