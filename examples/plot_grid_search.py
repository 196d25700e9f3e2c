"""Hyperparameters chosen by held-out log-likelihood.

`JKOFlowDensity` works without tuning, but can be tuned like any scikit-learn estimator: here in a
`Pipeline` after `StandardScaler`, with `GridSearchCV` in two processes. The rows are nine
measurements of 442 patients with diabetes, which come with scikit-learn; the grid has scalings and
maximum numbers of blocks. A candidate's score is the mean log-density of the rows of the fold that
it was not fitted to. With no block only the scaling is left, which for "whiten" is just a normal
distribution. Candidates are compared fairly in each fold, as all see the same standardised rows.

    python plot_grid_search.py             # about 40 seconds, writes grid_search.png
    python plot_grid_search.py --short     # a few seconds, smaller grid, training too short

References
----------
Efron, Hastie, Johnstone and Tibshirani (2004), Least angle regression, Annals of Statistics 32.
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity

SEED = 0
SCALING, MAX_BLOCKS = "jkoflowdensity__scaling", "jkoflowdensity__max_blocks"
FULL = {
    "max_iter": 150,
    "n_folds": 3,
    "scalings": ["standard", "whiten", "marginal", "marginal+whiten+radial"],
    "max_blocks": [0, 1, 2, 4],
}
SHORT = {"max_iter": 10, "n_folds": 2, "scalings": ["standard", "whiten"], "max_blocks": [0, 1]}


def load_rows():
    """The columns that are measurements: all but sex."""
    data = load_diabetes(scaled=False)
    return data.data[:, [name != "sex" for name in data.feature_names]]


def mean_log_likelihood(model, X, y=None):
    return model.score(X) / len(X)


def search(X, settings):
    density = JKOFlowDensity(random_state=SEED, max_iter=settings["max_iter"])
    pipeline = make_pipeline(StandardScaler(), density)
    grid = {SCALING: settings["scalings"], MAX_BLOCKS: settings["max_blocks"]}
    folds = KFold(settings["n_folds"], shuffle=True, random_state=SEED)
    return GridSearchCV(pipeline, grid, scoring=mean_log_likelihood, cv=folds, n_jobs=2).fit(X)


def table_of(results, name, settings):
    """A column of `cv_results_` by scaling and number of blocks."""
    cells = {
        (candidate[SCALING], candidate[MAX_BLOCKS]): value
        for candidate, value in zip(results["params"], results[name], strict=True)
    }
    return np.array([[cells[s, k] for k in settings["max_blocks"]] for s in settings["scalings"]])


def print_table(means, best, settings):
    print("scaling                 " + "".join(f"{k:>9d}" for k in settings["max_blocks"]))
    for scaling, row in zip(settings["scalings"], means, strict=True):
        print(f"{scaling:24s}" + "".join(f"{mean:9.3f}" for mean in row))
    print(f"\nBest: {best[SCALING]!r} and at most {best[MAX_BLOCKS]} blocks")


def draw(means, settings, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4), layout="constrained")
    image = axes.imshow(means, cmap="viridis", aspect="auto")
    best = np.unravel_index(means.argmax(), means.shape)
    middle = (means.min() + means.max()) / 2
    for (row, column), mean in np.ndenumerate(means):
        style = {"color": "black" if mean > middle else "white"}
        weight = "bold" if (row, column) == best else "normal"
        axes.text(
            column,
            row,
            f"{mean:.2f}".replace("-", "\N{MINUS SIGN}"),
            ha="center",
            va="center",
            weight=weight,
            **style,
        )
    axes.set_xticks(range(means.shape[1]), settings["max_blocks"])
    axes.set_yticks(range(means.shape[0]), settings["scalings"])
    axes.set(xlabel="max_blocks", ylabel="scaling")
    figure.colorbar(image, label="held-out log-likelihood per row (nats)")
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="search for a few seconds only")
    parser.add_argument("--output", default="grid_search.png", help="file of the picture")
    arguments = parser.parse_args()
    # Measurements recorded to few digits repeat, and few blocks end the training early.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)

    settings = SHORT if arguments.short else FULL
    X = load_rows()
    result = search(X, settings)
    print(
        f"Log-likelihood in nats per held-out row of {X.shape[1]} standardised columns, mean of "
        f"{settings['n_folds']} folds of\n{len(X)} rows (seed {SEED}), by scaling and largest "
        "number of blocks.\n"
    )
    means = table_of(result.cv_results_, "mean_test_score", settings)
    print_table(means, result.best_params_, settings)
    draw(means, settings, arguments.output)
    print(f"\nPicture: {arguments.output}")


if __name__ == "__main__":
    main()
