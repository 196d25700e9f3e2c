"""A search and scores on workers of Dask.

Two workers on this machine search for the scaling of a density of pixels: the usual
`GridSearchCV`, under joblib's Dask backend. Then they score a table in partitions: `score_samples`
of a `dask.array` is a lazy `dask.array`, and the same numbers as those of one process. The pixels
are those of a picture that comes with scikit-learn. On a cluster, connect `Client` to its
scheduler; nothing else changes.

    python score_with_dask.py             # about 40 seconds
    python score_with_dask.py --short     # a few seconds, too short a training
"""

import argparse
import tempfile
import warnings

import dask.array
import joblib
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_sample_image
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold

from sklearn_jko import JKOFlowDensity

SEED = 0
FULL = {"max_iter": 300, "n_fitted": 3000, "n_scored": 60_000}
SHORT = {"max_iter": 10, "n_fitted": 300, "n_scored": 5000}


def pixels():
    """Red, green and blue in random order, made continuous within their steps."""
    rng = np.random.default_rng(SEED)
    rows = load_sample_image("flower.jpg").reshape(-1, 3)
    return rng.permutation(rows) + rng.uniform(size=rows.shape)


def mean_log_likelihood(model, X, y=None):
    return model.score_samples(X).mean()


def search(X, max_iter):
    density = JKOFlowDensity(max_blocks=3, max_iter=max_iter, random_state=SEED)
    folds = KFold(3, shuffle=True, random_state=SEED)
    grid = {"scaling": ["standard", "whiten", "marginal+whiten"]}
    found = GridSearchCV(density, grid, scoring=mean_log_likelihood, cv=folds)
    with joblib.parallel_backend("dask"):
        return found.fit(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few steps only")
    settings = SHORT if parser.parse_args().short else FULL
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    X = pixels()
    fitted_to, scored = X[: settings["n_fitted"]], X[-settings["n_scored"] :]
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=folder
        ) as cluster,
        Client(cluster),
    ):
        found = search(fitted_to, settings["max_iter"])
        print(f"log-likelihood per held-out row (nats), {len(fitted_to)} rows in 3 folds")
        for params, score in zip(
            found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True
        ):
            print(f"  {params['scaling']:16s} {score:.3f}")
        lazy = found.best_estimator_.score_samples(dask.array.from_array(scored, chunks=(5000, 3)))
        scores = lazy.compute()
    alone = found.best_estimator_.score_samples(scored)
    print(f"{lazy.npartitions} partitions of 5000 rows: {scores.mean():.3f} nats per row")
    print(f"largest difference from one process: {np.abs(scores - alone).max():.1e}")


if __name__ == "__main__":
    main()
