"""Images and graphs: what a fit gains by knowing which columns lie near which.

Digits: the 8 x 8 pixels of scikit-learn's digits, four fifths of them to train; uniform noise in
[0, 1) is added before the split, the same for all. Bits per dimension of the test rows (negative
log-likelihood over log 2 and 64), their median too, since the mean is led by a few rows with ink in
pixels that are nearly always empty; less is better. Mixtures take the number of components, kernels
the bandwidth, by threefold cross-validation; the normal density has Ledoit and Wolf's covariance.

Field: a Gaussian Markov field z on a grid of 5 x 6 nodes, of precision I/2 + the graph's Laplacian,
carried through a known map of determinant 1: nodes of odd parity are moved by 1.5 tanh(2 m), m the
mean of their neighbours' z. Nats per row by which the mean log-density of test rows misses
that of the truth. Given labels: the nodes hold patterns of 0 and 1 at random, which are given, and
every node is moved by the mean of its neighbours' labels; the graph then has an edge from each node
to its label.

All of ours are defaults, but for one fit of the digits without structure, by the scaling that
"auto" takes with it. Their solver error is the largest change of a row's log-density, in nats, when
the solver's steps are doubled.
"""

import math
from functools import partial

import numpy as np
from measuring import timed
from reporting import Option, markdown, printed, ratio
from scipy.sparse.csgraph import laplacian
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.feature_extraction.image import grid_to_graph
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KernelDensity

from sklearn_jko import JKOFlowDensity

__all__ = ["OPTIONS", "ratios", "run", "table"]

STRUCTURE, PLAIN = "JKOFlowDensity, structure", "JKOFlowDensity"
SIDE, GRID = 8, (5, 6)
COMPONENTS = {"n_components": [1, 2, 5, 10, 20]}
BANDWIDTHS = {"bandwidth": np.geomspace(0.5, 10.0, 20)}
OPTIONS = (
    Option("digits", 1797, 100, "rows of digits, a fifth of them to test"),
    Option("rows", (1000, 4000, 16_000), (100,), "training rows of the field"),
    Option("given-rows", (4000,), (100,), "training rows of the field given labels"),
    Option("test-rows", 10_000, 100, "test rows of the field"),
    Option("max-iter", 1000, 5, "most optimiser steps of a block of ours"),
)


def run(arguments):
    return (
        digits(arguments)
        + fields(arguments, arguments.rows, has_labels=False)
        + fields(arguments, arguments.given_rows, has_labels=True)
    )


def digits(arguments):
    X = load_digits().data
    rng = np.random.default_rng(arguments.seed)
    X = X[rng.permutation(len(X))[: arguments.digits]]
    X, X_test = train_test_split(X + rng.uniform(size=X.shape), test_size=0.2, random_state=0)
    records = []

    def record(method, fit):
        (model, log_density), seconds = timed(fit)
        bits = -log_density(X_test) / (math.log(2) * X.shape[1])
        figures = {"bits": float(bits.mean()), "median_bits": float(np.median(bits))}
        error = getattr(model, "solver_error_", None)
        of = {"task": f"digits, {len(X)} rows", "method": method, "solver_error": error}
        records.append(printed({**of, "seconds": seconds, **figures}))
        return model

    mixture = GaussianMixture(reg_covar=1e-2, random_state=arguments.seed)
    with_structure = record(STRUCTURE, lambda: flow(X, arguments, structure=(SIDE, SIDE)))
    record(PLAIN, lambda: flow(X, arguments))
    scaling = with_structure.scaling_
    record(f"{PLAIN}, {scaling}", lambda: flow(X, arguments, scaling=scaling))
    record("GaussianMixture", lambda: chosen(mixture, COMPONENTS, X))
    record("KernelDensity", lambda: chosen(KernelDensity(), BANDWIDTHS, X))
    record("normal, shrunk", lambda: shrunk_normal(X))
    return records


def flow(X, arguments, **settings):
    model = JKOFlowDensity(
        **settings, max_iter=arguments.max_iter, random_state=arguments.seed
    ).fit(X)
    return model, model.score_samples


def chosen(model, grid, X):
    search = GridSearchCV(model, grid, cv=3).fit(X)
    return search, search.best_estimator_.score_samples


def shrunk_normal(X):
    fit = LedoitWolf().fit(X)
    return fit, multivariate_normal(fit.location_, fit.covariance_).logpdf


def fields(arguments, sizes, has_labels):
    graph = grid_to_graph(*GRID).toarray()
    np.fill_diagonal(graph, 0)
    X_test, truth = draw_field(graph, arguments.test_rows, arguments.seed + 1, has_labels)
    settings, known = {}, graph
    if has_labels:  # each beside its node
        settings = {"condition": list(range(len(graph), X_test.shape[1]))}
        known = np.kron([[0, 1], [1, 0]], np.eye(len(graph)))
        known[: len(graph), : len(graph)] = graph
    records = []
    for n in sizes:
        X, _ = draw_field(graph, n, arguments.seed, has_labels)
        for method, structure in ((STRUCTURE, known), (PLAIN, None)):
            fit = partial(flow, X, arguments, structure=structure, **settings)
            (model, log_density), seconds = timed(fit)
            missed = truth - log_density(X_test)
            task = f"field{' given labels' if has_labels else ''}, {n} rows"
            of = {"task": task, "method": method, "seconds": seconds}
            error = float(missed.std() / math.sqrt(len(missed)))
            figures = {"missed": float(missed.mean()), "standard_error": error}
            ours = {"scaling": model.scaling_, "solver_error": model.solver_error_}
            records.append(printed({**of, **ours, **figures}))
    return records


def draw_field(graph, n, seed, has_labels):
    """Rows of the field, their labels beside them where there are any, and the log-densities."""
    rng = np.random.default_rng(seed)
    covariance = np.linalg.inv(laplacian(graph) + 0.5 * np.eye(len(graph)))
    law = multivariate_normal(cov=covariance)
    z = law.rvs(n, random_state=rng)
    mean_of_neighbours = graph / graph.sum(axis=1)
    is_odd = np.indices(GRID).sum(axis=0).ravel() % 2 == 1
    X = z + is_odd * 1.5 * np.tanh(2 * z @ mean_of_neighbours.T)
    if not has_labels:
        return X, law.logpdf(z)
    labels = rng.integers(2, size=X.shape).astype(float)
    return np.hstack([X + labels @ mean_of_neighbours.T, labels]), law.logpdf(z)


def table(records):
    images = [
        [
            r["task"],
            r["method"],
            f"{r['bits']:.3f}",
            f"{r['median_bits']:.3f}",
            shown(r["solver_error"]),
            f"{r['seconds']:.0f}",
        ]
        for r in records
        if "bits" in r
    ]
    graphs = [
        [
            *(r["task"], r["method"], r["scaling"]),
            f"{r['missed']:.3f} ± {r['standard_error']:.3f}",
            shown(r["solver_error"]),
            f"{r['seconds']:.0f}",
        ]
        for r in records
        if "missed" in r
    ]
    image_header = ["task", "method", "bits per dimension", "median", "solver error", "seconds"]
    graph_header = ["task", "method", "scaling", "nats missed", "solver error", "seconds"]
    return f"{markdown(image_header, images)}\n\n{markdown(graph_header, graphs)}"


def shown(error):
    return "" if error is None else f"{error:.0e}"


def ratios(records):
    """Bits and missed nats, with structure over those without."""
    found = []
    for figure in ("bits", "missed"):
        figures = {(r["task"], r["method"]): r[figure] for r in records if figure in r}
        found += [
            ratio(
                f"{figure}, with structure over {method}; {task}", figures[task, STRUCTURE], value
            )
            for (task, method), value in figures.items()
            if method != STRUCTURE
        ]
    return found
