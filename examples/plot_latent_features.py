"""The latent space as features of a classifier.

`JKOFlowDensity.transform` maps rows to coordinates that are standard normal: a whitening that also
straightens curved structure. Does a classifier gain from it? In a `Pipeline`, before logistic
regression and before nearest neighbours, it is compared with `StandardScaler` and with the linear
whitening of `PCA`, by the accuracy on held-out rows of two tables that come with scikit-learn. The
flow does not know the labels, and turning all rows into one round cloud can bring classes closer to
each other, so it does not always win. To end in half a minute, the flow has the plain scaling
"standard", not the one that "auto" would choose, and at most 100 optimiser steps a block, a tenth
of the default: the results hold for such short trainings, about which the script does not warn.

    python plot_latent_features.py         # about half a minute, writes latent_features.png
    python plot_latent_features.py --short # a few seconds, two folds and training too short
"""

import argparse
import tempfile
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity

SEED = 0
TABLES = {"wine": load_wine, "breast cancer": load_breast_cancer}
CLASSIFIERS = {
    "logistic regression": LogisticRegression(max_iter=1000),
    "15 nearest neighbours": KNeighborsClassifier(15),
}


def feature_makers(max_iter):
    return {
        "StandardScaler": StandardScaler(),
        "PCA(whiten=True)": PCA(whiten=True, random_state=SEED),
        "JKOFlowDensity": JKOFlowDensity("standard", max_iter=max_iter, random_state=SEED),
    }


def accuracies(load, makers, n_folds):
    """Accuracies of all folds, by classifier and features."""
    X, y = load(return_X_y=True)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=SEED)
    # Both classifiers share the features of a fold, which are computed once.
    with tempfile.TemporaryDirectory() as memory:
        return {
            classifier: {
                maker: cross_val_score(
                    make_pipeline(transformer, model, memory=memory), X, y, cv=folds
                )
                for maker, transformer in makers.items()
            }
            for classifier, model in CLASSIFIERS.items()
        }


def print_table(results, makers):
    print(f"{'table':14s} {'classifier':22s}" + "".join(f"{maker:>18s}" for maker in makers))
    for table, by_classifier in results.items():
        for classifier, by_maker in by_classifier.items():
            cells = "".join(f"{by_maker[maker].mean():18.3f}" for maker in makers)
            print(f"{table:14s} {classifier:22s}{cells}")


def draw(results, makers, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(results), figsize=(10, 4.2), sharey=True, layout="constrained"
    )
    for axes, (table, by_classifier) in zip(panels, results.items(), strict=True):
        draw_table(axes, by_classifier, makers)
        axes.set_title(table)
    panels[0].set_ylabel("accuracy on held-out rows")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(makers), frameon=False)
    figure.savefig(path, dpi=120)


def draw_table(axes, by_classifier, makers):
    """Plot means as points, with the folds as dots beside them."""
    for k, maker in enumerate(makers):
        x = np.arange(len(by_classifier)) + 0.25 * (k - 1)
        folds = np.array([by_maker[maker] for by_maker in by_classifier.values()])
        axes.plot(x + 0.06, folds, "o", ms=3.5, color=f"C{k}", alpha=0.45, mew=0)
        axes.plot(x - 0.03, folds.mean(axis=1), "D", ms=8, color=f"C{k}", mec="white", label=maker)
    axes.set_xticks(range(len(by_classifier)), by_classifier)
    axes.set_xlim(-0.5, len(by_classifier) - 0.5)
    axes.grid(axis="y", alpha=0.4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="latent_features.png", help="file of the picture")
    arguments = parser.parse_args()
    # Measurements recorded to few digits repeat, and the trainings are short on purpose.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    # On a busy machine, joblib warns about the time it took to store a fold.
    warnings.filterwarnings("ignore", message="Persisting input arguments")

    n_folds, max_iter = (2, 5) if arguments.short else (5, 100)
    makers = feature_makers(max_iter)
    print(f"Accuracy on held-out rows, mean of {n_folds} folds (seed {SEED}), by features:\n")
    results = {name: accuracies(load, makers, n_folds) for name, load in TABLES.items()}
    print_table(results, makers)
    draw(results, makers, arguments.output)
    print(f"\nPicture: {arguments.output}")


if __name__ == "__main__":
    main()
