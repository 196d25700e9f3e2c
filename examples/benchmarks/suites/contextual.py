"""Outliers given other columns: values that are usual, but not beside these others.

Of each set the last quarter of the columns is judged given the others. In one row of twenty these
columns are exchanged for those of another row: each of its values is as usual as before. In the
setting "half" a detector is trained on half of the rows as they were and judged on the other half,
in which some were exchanged; in the setting "all" it is trained and judged on all rows, exchanged
ones among them. Larger sets are cut to ``--max-rows`` rows at random. Ours with a condition, and
ours of all columns, get the rows as they are and have the flow and scaling of the detector's
default; the other detectors get standardised columns and have their defaults (`detectors.py`).
"boosted trees" predict each judged column from the given ones, and score a row by the squared
errors, each over the mean one of the training rows; of these they predict each fifth, drawn at
random, by the rest. The "conditional" mixture and kernels divide their density by that of the given
columns alone; a training row has no kernel at itself. Every figure is the mean over the seeds,
ranks are by these means, ties shared.
"""

import functools
import math
import warnings

import numpy as np
from datasets import DATASETS
from detectors import DETECTORS
from flows import OURS_DETECTOR
from measuring import limit_threads, timed
from reporting import Option
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from suites.outliers import ALL, HALF, judged, ratios, run_jobs, setting_table

__all__ = ["OPTIONS", "ratios", "run", "table"]

OURS_OF_ALL = "ours, all columns"
SHARE_JUDGED = 4
SHARE_EXCHANGED = 20
OPTIONS = (
    Option("datasets", tuple(DATASETS), ("thyroid",), "data sets", tuple(DATASETS)),
    Option("settings", (HALF, ALL), (HALF, ALL), "settings", (HALF, ALL)),
    Option("seeds", 3, 1, "seeds, counted from --seed"),
    Option("max-rows", 4000, 120, "most rows of a set"),
    Option("max-iter", 1000, 5, "most optimiser steps of a block of ours"),
    Option("workers", 1, 1, "processes, each with its --threads"),
)


def run(arguments):
    return run_jobs(run_job, arguments)


def run_job(folder, dataset, setting, seed, arguments):
    limit_threads(arguments.threads)
    rows = DATASETS[dataset](folder)
    train, test, is_exchanged = rows_of(rows, setting, seed, arguments.max_rows)
    facts = {"dataset": dataset, "setting": setting, "seed": seed, "rows": len(train)}
    records = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties and of short trainings
        for method, detect in methods(train, test, seed, arguments).items():
            scores, seconds = timed(detect)
            records.append({**facts, **judged(method, is_exchanged, scores, seconds)})
    return records


def n_given(rows):
    d = rows.shape[1]
    return d - max(d // SHARE_JUDGED, 1)


def rows_of(rows, setting, seed, max_rows):
    """Training rows, test rows, and which of these were exchanged."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(rows)[:max_rows]
    train, test = (rows, rows.copy()) if setting == ALL else np.array_split(rows, 2)
    n, judged_columns = max(len(test) // SHARE_EXCHANGED, 1), slice(n_given(rows), None)
    others = rng.choice(np.arange(n, len(test)), size=n, replace=False)
    test[:n, judged_columns] = test[others, judged_columns]
    return test if setting == ALL else train, test, np.arange(len(test)) < n


def methods(train, test, seed, arguments):
    """Functions without arguments that give scores of the test rows, higher for outliers."""
    given = list(range(n_given(train)))
    scaler = StandardScaler().fit(train)
    scaled = scaler.transform(train)
    scaled_test = scaled if test is train else scaler.transform(test)
    return {
        OURS_DETECTOR: functools.partial(ours, given, train, test, seed, arguments),
        OURS_OF_ALL: functools.partial(ours, None, train, test, seed, arguments),
        "boosted trees": functools.partial(boosted_trees, train, test, seed),
        "conditional mixture": functools.partial(conditional_mixture, scaled, scaled_test, seed),
        "conditional kernels": functools.partial(conditional_kernels, scaled, scaled_test),
        **{
            name: functools.partial(detect, scaled, scaled_test, seed)
            for name, detect in DETECTORS.items()
        },
    }


def ours(condition, train, test, seed, arguments):
    density = JKOFlowDensity(
        "tails+standard",
        hidden_layer_sizes=(64, 64),
        condition=condition,
        max_iter=arguments.max_iter,
        random_state=seed,
    )
    return -JKOFlowOutlierDetector(density=density).fit(train).score_samples(test)


def boosted_trees(train, test, seed):
    k, total = n_given(train), 0.0
    # The exchanged rows come first: folds in the order of the rows would learn from clean ones.
    folds = KFold(5, shuffle=True, random_state=seed)
    for j in range(k, train.shape[1]):
        model, of_training = (
            HistGradientBoostingRegressor(random_state=seed),
            (train[:, :k], train[:, j]),
        )
        out_of_fold = cross_val_predict(model, *of_training, cv=folds)
        predicted = out_of_fold if test is train else model.fit(*of_training).predict(test[:, :k])
        size = np.mean((out_of_fold - train[:, j]) ** 2)
        total = total + (predicted - test[:, j]) ** 2 / max(size, np.finfo(float).tiny)
    return total


def conditional_mixture(train, test, seed):
    """Of five components; the given columns have the mixture's own marginal."""
    mixture = GaussianMixture(5, random_state=seed).fit(train)
    k = n_given(train)
    joint, marginal = (
        logsumexp(
            [
                np.log(weight)
                + multivariate_normal(mean[:d], covariance[:d, :d]).logpdf(test[:, :d])
                for weight, mean, covariance in zip(
                    mixture.weights_, mixture.means_, mixture.covariances_, strict=True
                )
            ],
            axis=0,
        )
        for d in (train.shape[1], k)
    )
    return marginal - joint


def conditional_kernels(train, test):
    """Both of one bandwidth, Scott's for all columns."""
    k, d = n_given(train), train.shape[1]
    bandwidth = len(train) ** (-1 / (d + 4))
    kernels = functools.partial(log_kernels, bandwidth=bandwidth, leave_one_out=test is train)
    return kernels(train[:, :k], test[:, :k]) - kernels(train, test)


def log_kernels(train, test, bandwidth, leave_one_out):
    """Log-density of normal kernels at the training rows, or at all of these but the row itself."""
    exponents = -cdist(test, train, "sqeuclidean") / (2 * bandwidth**2)
    if leave_one_out:
        np.fill_diagonal(exponents, -np.inf)
    log_norm = train.shape[1] * math.log(bandwidth * math.sqrt(2 * math.pi))
    return logsumexp(exponents, axis=1) - log_norm - math.log(len(train) - leave_one_out)


def table(records):
    settings = dict.fromkeys(r["setting"] for r in records)
    return "\n\n".join(f"**{s}**\n\n{setting_table(records, s)}" for s in settings)
