"""Distance to the truth: densities of tables drawn from known distributions.

Nats per row by which the mean log-density of fresh rows misses that of the true density: the
Kullback-Leibler divergence of the density from the truth; less is better. Every row's share in it
is at most 50 nats, lest a single row decide; a star marks means in which rows were cut so. The
distributions (distributions.py) are smooth and rough, round and curved, bounded and heavy-tailed.

All have their defaults, but what people choose for them: the mixture the number of components, up
to 30, by BIC; kernels the bandwidth by fivefold cross-validation; both after StandardScaler.
"""

from functools import partial

import numpy as np
from distributions import DISTRIBUTIONS
from measuring import timed
from reporting import Option, markdown, printed, ratio
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity

__all__ = ["OPTIONS", "ratios", "run", "table"]

OURS = "JKOFlowDensity"
MAX_LOSS = 50.0
ROWS_OF_A_COMPONENT, MAX_COMPONENTS = 5, 30
BANDWIDTHS = {"bandwidth": np.geomspace(0.02, 1.0, 20)}
OPTIONS = (
    Option("rows", (300, 1500), (40,), "training rows"),
    Option("test-rows", 4000, 50, "test rows"),
    Option("distributions", tuple(DISTRIBUTIONS), ("moons", "shell, 3 columns"), "their names"),
    Option("max-iter", 1000, 5, "most optimiser steps of a block of ours"),
)


def run(arguments):
    records = []
    for n in arguments.rows:
        for number, name in enumerate(DISTRIBUTIONS):
            if name in arguments.distributions:
                rng = np.random.default_rng([arguments.seed, n, number])
                records += compare(name, n, rng, arguments)
    return records


def compare(name, n, rng, arguments):
    """A record for each method, all fitted to the same rows."""
    law = DISTRIBUTIONS[name]
    train, test = law.draw(n, rng), law.draw(arguments.test_rows, rng)
    truth, records = law.log_density(test), []
    for method, fit in METHODS.items():
        density, seconds = timed(partial(fit, train, arguments))
        losses = truth - density(test)
        figures = {
            "loss": float(np.minimum(losses, MAX_LOSS).mean()),
            "error": float(np.minimum(losses, MAX_LOSS).std() / np.sqrt(len(test))),
            "cut": int((losses > MAX_LOSS).sum()),
        }
        of = {"distribution": name, "rows": n, "columns": train.shape[1], "method": method}
        records.append(printed({**of, **figures, "seconds": seconds}))
    return records


def fit_flow(X, arguments):
    density = JKOFlowDensity(max_iter=arguments.max_iter, random_state=arguments.seed)
    return density.fit(X).score_samples


def fit_mixture(X, arguments):
    scaler = StandardScaler().fit(X)
    Z = scaler.transform(X)
    mixtures = [
        GaussianMixture(k, random_state=arguments.seed).fit(Z)
        for k in range(1, min(len(Z) // ROWS_OF_A_COMPONENT, MAX_COMPONENTS) + 1)
    ]
    best = min(mixtures, key=lambda mixture: mixture.bic(Z))
    return in_units_of_rows(make_pipeline(scaler, best))


def fit_kernels(X, arguments):
    folds = KFold(5, shuffle=True, random_state=arguments.seed)
    scaler = StandardScaler().fit(X)
    search = GridSearchCV(KernelDensity(), BANDWIDTHS, cv=folds).fit(scaler.transform(X))
    return in_units_of_rows(make_pipeline(scaler, search.best_estimator_))


def in_units_of_rows(pipeline):
    log_det = -np.log(pipeline[0].scale_).sum()
    return lambda X: pipeline.score_samples(X) + log_det


METHODS = {OURS: fit_flow, "GaussianMixture": fit_mixture, "KernelDensity": fit_kernels}


def table(records):
    parts = []
    for n in dict.fromkeys(r["rows"] for r in records):
        of_n = [r for r in records if r["rows"] == n]
        lines = [
            [name, *(cell(of(of_n, name, method)) for method in METHODS)]
            for name in dict.fromkeys(r["distribution"] for r in of_n)
        ]
        for figure in ("loss", "seconds"):
            medians = [f"{median(of_n, method, figure):.3g}" for method in METHODS]
            lines.append([f"median {figure}", *medians])
        parts.append(f"{n:,} rows\n\n" + markdown(["distribution", *METHODS], lines))
    return "\n\n".join(parts)


def cell(record):
    return f"{record['loss']:.3f} ± {record['error']:.3f}{'*' * (record['cut'] > 0)}"


def of(records, name, method):
    """The record of a distribution and a method."""
    return next(r for r in records if r["distribution"] == name and r["method"] == method)


def median(records, method, figure):
    return float(np.median([r[figure] for r in records if r["method"] == method]))


def ratios(records):
    return [
        ratio(
            f"median loss, ours over {method}; {n} rows",
            *(median([r for r in records if r["rows"] == n], m, "loss") for m in (OURS, method)),
        )
        for n in dict.fromkeys(r["rows"] for r in records)
        for method in METHODS
        if method != OURS
    ]
