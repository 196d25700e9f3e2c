"""Wall time of GridSearchCV with two workers against one.

The same search each time, in a process of its own where no worker runs yet: the start of the
workers, which import torch, counts. With one worker torch has all the threads; with two, joblib
gives each its share.
"""

import warnings

from flows import curved_rows, warm_up
from joblib.externals.loky import get_reusable_executor
from measuring import in_new_process, seconds_of
from reporting import Option, markdown, printed, ratio
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sklearn_jko import JKOFlowDensity

__all__ = ["OPTIONS", "ratios", "run", "table"]

OPTIONS = (
    Option("rows", 3000, 100, "rows"),
    Option("columns", 6, 2, "columns of them"),
    Option("decays", (0.1, 0.3, 1.0, 3.0), (0.1, 1.0), "weight decays to choose from"),
    Option("folds", 3, 2, "folds"),
    Option("max-iter", 1000, 5, "most optimiser steps of a block"),
    Option("jobs", (1, 2), (1, 2), "numbers of workers"),
)


def run(arguments):
    return [
        printed({"n_jobs": n, **in_new_process(arguments.threads, search, n, arguments)})
        for n in arguments.jobs
    ]


def search(n_jobs, arguments):
    """Seconds of a search, and what it chose."""
    warm_up()
    X = curved_rows(arguments.rows, arguments.columns, arguments.seed)
    estimator = JKOFlowDensity(
        max_iter=arguments.max_iter, random_state=arguments.seed, device="cpu"
    )
    grid = {"weight_decay": list(arguments.decays)}
    chosen = GridSearchCV(estimator, grid, cv=arguments.folds, n_jobs=n_jobs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        seconds = seconds_of(lambda: chosen.fit(X))
    get_reusable_executor().shutdown()  # idle workers would keep this process from ending
    n_fits = 1 + arguments.folds * len(arguments.decays)
    return {"fits": n_fits, "seconds": seconds, **chosen.best_params_, "score": chosen.best_score_}


def table(records):
    header = ["workers", "fits", "seconds", "weight decay", "score"]
    rows = [
        [r["n_jobs"], r["fits"], f"{r['seconds']:.1f}", r["weight_decay"], f"{r['score']:.3f}"]
        for r in records
    ]
    return markdown(header, rows)


def ratios(records):
    first = records[0]
    return [
        ratio(
            f"seconds, {r['n_jobs']} over {first['n_jobs']} workers", r["seconds"], first["seconds"]
        )
        for r in records[1:]
    ]
