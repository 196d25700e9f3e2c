"""Conditional densities: prices given features of houses, digits given their label.

Prices: the median values of California's districts (in 100,000 dollars) given eight features.
Negative log-likelihood (NLL) of test rows in nats; of the interval between the predicted 5 % and
95 % quantiles the coverage, the mean width and the interval score (Winkler's: the width, and 20
times what values outside miss it by; less is better, in 100,000 dollars). Ours takes quantiles
from the flow, which is monotone in a single column. The Gaussian process, which gets standardised
features, and the least squares have normal errors; boosted trees give quantiles only.

Digits: the 8 x 8 pixels of scikit-learn's digits given the label, and labels by Bayes' rule,
p(label | x) ~ p(x | label) p(label), with the shares in the training rows; half of the rows are
trained on. Ours is also fitted with `scaling="standard"`: "auto" goes by the likelihood, to which
pixels at the edge, nearly always 0, contribute most. The shrunk quadratic discriminant has a normal
density with Ledoit and Wolf's covariance for every label. Pixels are whole numbers: uniform noise
in [0, 1) is added before the split, the same for all. Logistic regression, which has no density, is
there for comparison.
"""

import math
from functools import partial

import numpy as np
from datasets import data_folder
from measuring import timed
from reporting import Option, markdown, printed, ratio
from scipy.stats import multivariate_normal, norm
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity

__all__ = ["OPTIONS", "ratios", "run", "table"]

OURS, STANDARD = "JKOFlowDensity", "JKOFlowDensity, standard scaling"
LEVELS = np.array([0.05, 0.95])
# Of a Gaussian process, whose time grows with the cube.
MAX_PROCESS_ROWS = 2000
BANDWIDTHS = {"bandwidth": np.geomspace(0.5, 10.0, 20)}
OPTIONS = (
    Option("rows", (1000, 15_000), (60,), "training rows of prices"),
    Option("test-rows", 5000, 50, "test rows of prices"),
    Option("digits", 1797, 300, "rows of digits, half of them to test"),
    Option("max-iter", 1000, 5, "most optimiser steps of a block of ours"),
)


def run(arguments):
    with np.load(data_folder() / "uci" / "california_housing.npz") as data:
        X, y = data["X"].astype(np.float64), data["y"].astype(np.float64)
    order = np.random.default_rng(arguments.seed).permutation(len(X))
    n_test = min(arguments.test_rows, len(X) // 2)
    test, rest = order[:n_test], order[n_test:]
    records = []
    for n in arguments.rows:
        train = rest[:n]
        for name, method in PRICE_METHODS.items():
            if name == "Gaussian process" and n > MAX_PROCESS_ROWS:
                continue
            parts = X[train], y[train], X[test], y[test]
            (log_density, quantiles), seconds = timed(partial(method, *parts, arguments))
            nll = None if log_density is None else -float(np.mean(log_density))
            figures = {"nll": nll, **interval(quantiles, y[test])}
            of = {"task": f"prices, {len(train)} rows", "method": name}
            records.append(printed({**of, "seconds": seconds, **figures}))
    return records + digits(arguments)


def interval(quantiles, y):
    low, high = quantiles
    missed = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    return {
        "coverage": float(np.mean(missed == 0)),
        "width": float(np.mean(high - low)),
        "interval_score": float(np.mean(high - low + missed * 2 / (1 - np.ptp(LEVELS)))),
    }


def flow_prices(X, y, X_test, y_test, arguments):
    given = list(range(X.shape[1]))
    model = JKOFlowDensity(
        condition=given, max_iter=arguments.max_iter, random_state=arguments.seed
    ).fit(np.c_[X, y])
    quantiles = [
        model.inverse_transform(np.full((len(X_test), 1), norm.ppf(level)), X_test)[:, -1]
        for level in LEVELS
    ]
    return model.score_samples(np.c_[X_test, y_test]), quantiles


def process_prices(X, y, X_test, y_test, arguments):
    kernel = ConstantKernel() * RBF(np.ones(X.shape[1])) + WhiteKernel()
    process = GaussianProcessRegressor(
        kernel, normalize_y=True, n_restarts_optimizer=1, random_state=arguments.seed
    )
    model = make_pipeline(StandardScaler(), process).fit(X, y)
    return normal_predictions(*model.predict(X_test, return_std=True), y_test)


def least_squares_prices(X, y, X_test, y_test, arguments):
    model = LinearRegression().fit(X, y)
    deviation = math.sqrt(np.sum((y - model.predict(X)) ** 2) / max(len(y) - X.shape[1] - 1, 1))
    return normal_predictions(model.predict(X_test), deviation, y_test)


def normal_predictions(mean, deviation, y):
    law = norm(mean, deviation)
    return law.logpdf(y), [law.ppf(level) for level in LEVELS]


def boosted_prices(X, y, X_test, y_test, arguments):
    quantiles = [
        HistGradientBoostingRegressor(loss="quantile", quantile=level, random_state=arguments.seed)
        .fit(X, y)
        .predict(X_test)
        for level in LEVELS
    ]
    return None, quantiles


PRICE_METHODS = {
    OURS: flow_prices,
    "Gaussian process": process_prices,
    "boosted trees (quantiles)": boosted_prices,
    "least squares": least_squares_prices,
}


def digits(arguments):
    data = load_digits()
    rng = np.random.default_rng(arguments.seed)
    some = rng.permutation(len(data.data))[: arguments.digits]
    X = data.data[some] + rng.uniform(size=(len(some), data.data.shape[1]))
    parts = train_test_split(
        X, data.target[some], test_size=0.5, stratify=data.target[some], random_state=0
    )
    records = []
    for name, method in DIGIT_METHODS.items():
        figures, seconds = timed(partial(method, *parts, arguments))
        of = {"task": f"digits, {len(parts[0])} rows", "method": name}
        records.append(printed({**of, "seconds": seconds, **figures}))
    return records


def flow_digits(scaling, X, X_test, y, y_test, arguments):
    label = X.shape[1]
    model = JKOFlowDensity(
        scaling,
        columns={label: "category"},
        condition=[label],
        max_iter=arguments.max_iter,
        random_state=arguments.seed,
    ).fit(np.c_[X, y])
    log_density = [
        model.score_samples(np.c_[X_test, np.full(len(X_test), k)]) for k in np.unique(y)
    ]
    return by_bayes_rule(np.array(log_density), y, y_test)


def kernel_digits(X, X_test, y, y_test, arguments):
    search = GridSearchCV(KernelDensity(), BANDWIDTHS, cv=3)
    log_density = [search.fit(X[y == k]).score_samples(X_test) for k in np.unique(y)]
    return by_bayes_rule(np.array(log_density), y, y_test)


def by_bayes_rule(log_density, y, y_test):
    """Figures of log p(x | label), of shape (labels, n)."""
    labels, counts = np.unique(y, return_counts=True)
    found = labels[np.argmax(log_density + np.log(counts)[:, None], axis=0)]
    own = log_density[np.searchsorted(labels, y_test), np.arange(len(y_test))]
    return {"accuracy": float(np.mean(found == y_test)), "nll": -float(own.mean())}


def quadratic_digits(X, X_test, y, y_test, arguments):
    fits = [LedoitWolf().fit(X[y == k]) for k in np.unique(y)]
    log_density = [
        multivariate_normal(fit.location_, fit.covariance_, allow_singular=True).logpdf(X_test)
        for fit in fits
    ]
    return by_bayes_rule(np.array(log_density), y, y_test)


def naive_digits(X, X_test, y, y_test, arguments):
    model = GaussianNB().fit(X, y)
    log_density = model.predict_joint_log_proba(X_test) - np.log(model.class_prior_)
    return by_bayes_rule(log_density.T, y, y_test)


def logistic_digits(X, X_test, y, y_test, arguments):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, y)
    return {"accuracy": float(model.score(X_test, y_test)), "nll": None}


DIGIT_METHODS = {
    OURS: partial(flow_digits, "auto"),
    STANDARD: partial(flow_digits, "standard"),
    "GaussianNB": naive_digits,
    "QDA, shrunk": quadratic_digits,
    "KernelDensity": kernel_digits,
    "LogisticRegression": logistic_digits,
}


def table(records):
    prices = [r for r in records if "coverage" in r]
    header = ["task", "method", "NLL", "coverage", "width", "interval score", "seconds"]
    figures = ("nll", "coverage", "width", "interval_score", "seconds")
    rows = [[r["task"], r["method"], *(shown(r[name]) for name in figures)] for r in prices]
    digit_header = ["task", "method", "accuracy", "NLL given the label", "seconds"]
    digit_rows = [
        [r["task"], r["method"], *(shown(r[name]) for name in ("accuracy", "nll", "seconds"))]
        for r in records
        if "accuracy" in r
    ]
    return f"{markdown(header, rows)}\n\n{markdown(digit_header, digit_rows)}"


def shown(figure):
    return "" if figure is None else f"{figure:.3f}"


def ratios(records):
    """Interval scores and rates of wrong labels, of ours over the others'."""
    found = []
    for measure, of in ((interval_score, "interval score"), (error_rate, "wrong labels")):
        figures = {(r["task"], r["method"]): measure(r) for r in records if measure(r)}
        found += [
            ratio(f"{of}, ours over {method}; {task}", figures[task, OURS], figure)
            for (task, method), figure in figures.items()
            if method != OURS and (task, OURS) in figures
        ]
    return found


def interval_score(record):
    return record.get("interval_score")


def error_rate(record):
    return 1 - record["accuracy"] if "accuracy" in record else None
