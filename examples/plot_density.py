"""Density of benign tumours, with malignant ones as outliers.

Ten measurements of 357 benign tumours (the "mean ..." columns of the Wisconsin breast cancer
data, which come with scikit-learn) are split into five folds. Each fold is scored by models
trained on the other four: `JKOFlowDensity` on the rows as they are, `KernelDensity` and
`GaussianMixture` after `StandardScaler`, with bandwidth and number of components chosen by
cross-validation and BIC. The script prints the log-likelihood of the held-out benign rows, in the
units of the data for every method, and how well the same scores separate benign from malignant
rows that no model has seen. Radius, perimeter and area nearly determine one another; a kernel with
a single bandwidth cannot follow that.

    python plot_density.py                 # about a minute, writes density.png
    python plot_density.py --short         # a few seconds, training too short for good scores

References
----------
Street, Wolberg and Mangasarian (1993), Nuclear feature extraction for breast tumor diagnosis.
Xu, Cheng and Xie (2023), Normalizing flow neural networks by JKO scheme, NeurIPS,
arXiv:2212.14424.
"""

import argparse
import functools
import time
import warnings
from collections import namedtuple

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import DensityDisplay, JKOFlowDensity, OutlierDisplay

SEED = 0
N_FOLDS = 5
N_COLUMNS = 10
# A fixed scaling avoids the pilot runs that choose one.
SHORT = {"scaling": "whiten+radial", "max_iter": 10}
SHOWN = ("mean radius", "mean fractal dimension")

# benign: each row scored by the fold that held it out; malignant: (folds, rows).
Scores = namedtuple("Scores", ["benign", "malignant", "auc", "seconds", "is_density"])


def fit_jko(X, **settings):
    return JKOFlowDensity(random_state=SEED, **settings).fit(X)


def fit_kernel_density(X):
    grid = {"kerneldensity__bandwidth": np.geomspace(0.1, 2.0, 20)}
    search = GridSearchCV(make_pipeline(StandardScaler(), KernelDensity()), grid, cv=N_FOLDS)
    return in_units_of_rows(search.fit(X).best_estimator_)


def fit_gaussian_mixture(X):
    models = [
        make_pipeline(
            StandardScaler(),
            GaussianMixture(n_components, covariance_type=covariance_type, random_state=SEED),
        ).fit(X)
        for n_components in range(1, 9)
        for covariance_type in ("full", "diag")
    ]
    return in_units_of_rows(min(models, key=lambda model: model[-1].bic(model[0].transform(X))))


def in_units_of_rows(pipeline):
    """Log-density in the units of the data: that of the standardised rows plus log |det|."""
    log_det = -np.log(pipeline[0].scale_).sum()
    return lambda X: pipeline.score_samples(X) + log_det


def fit_isolation_forest(X):
    return IsolationForest(random_state=SEED).fit(X).score_samples


def cross_validate(fit, benign, malignant, is_density):
    """Score every benign row with the model trained on the other folds."""
    held_out, others, aucs, seconds = np.empty(len(benign)), [], [], []
    for train, test in KFold(N_FOLDS, shuffle=True, random_state=SEED).split(benign):
        start = time.perf_counter()
        score = fit(benign[train])
        seconds.append(time.perf_counter() - start)
        held_out[test] = score(benign[test])
        others.append(score(malignant))
        is_malignant = np.r_[np.zeros(len(test)), np.ones(len(malignant))]
        aucs.append(roc_auc_score(is_malignant, -np.r_[held_out[test], others[-1]]))
    return Scores(held_out, np.stack(others), np.mean(aucs), np.mean(seconds), is_density)


def print_table(results):
    print(f"{'method':16s}  log-likelihood per row  outlier ROC AUC  fit seconds")
    for name, scores in results.items():
        row = "-"
        if scores.is_density:
            error = scores.benign.std(ddof=1) / np.sqrt(len(scores.benign))
            row = f"{scores.benign.mean():.2f} +- {error:.2f}"
        print(f"{name:16s}  {row:>22s}  {scores.auc:15.3f}  {scores.seconds:11.2f}")


def draw(scores, plane, benign, malignant, path):
    """Plot regions of the density of two columns next to the scores of all ten."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(12, 4.6), width_ratios=[1, 1.1], layout="constrained"
    )
    draw_plane(left, plane, benign, malignant)
    draw_scores(right, scores)
    figure.savefig(path, dpi=130)


def draw_plane(axes, density, benign, malignant):
    DensityDisplay.from_estimator(density, benign, random_state=SEED, ax=axes)
    style = {"ls": "", "marker": "^", "color": "0.35", "ms": 4.5, "mec": "white", "mew": 0.4}
    (points,) = axes.plot(*malignant.T, zorder=1, label="malignant", **style)
    legend = axes.get_legend()
    regions, benign_points = legend.legend_handles[:-1], legend.legend_handles[-1]
    benign_points.set_label("benign, held out")
    axes.legend(handles=[*regions, benign_points, points], loc="upper right", fontsize="small")
    rows = np.concatenate([benign, malignant])
    (left, right), (bottom, top) = np.stack([rows.min(axis=0), rows.max(axis=0)], axis=1)
    axes.set(xlim=(left - 1, right + 1), ylim=(0.97 * bottom, 1.03 * top))
    axes.set(xlabel=SHOWN[0], ylabel=SHOWN[1])
    axes.set_title("Density of two measurements, fitted to benign rows", fontsize="medium")


def draw_scores(axes, scores):
    """Every score is of a single model: a mean over models would lie on another scale."""
    malignant = scores.malignant.ravel()
    OutlierDisplay(
        scores=np.r_[scores.benign, malignant],
        is_outlier=np.arange(len(scores.benign) + len(malignant)) >= len(scores.benign),
    ).plot(ax=axes)
    axes.set_title(
        f"Malignant rows as outliers: ROC AUC {scores.auc:.3f}, mean of {N_FOLDS} models",
        fontsize="medium",
    )
    axes.set_xlabel(
        f"log-density of ten columns (nats); benign rows once, malignant ones by {N_FOLDS} models"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="density.png", help="file of the picture")
    arguments = parser.parse_args()
    # Measurements recorded to few digits repeat; the noise added for this is what we want.
    warnings.filterwarnings("ignore", message=".*hold repeated values")

    data = load_breast_cancer()
    X, names = data.data[:, :N_COLUMNS], data.feature_names[:N_COLUMNS].tolist()
    is_benign = data.target == data.target_names.tolist().index("benign")
    benign, malignant = X[is_benign], X[~is_benign]
    ours = functools.partial(fit_jko, **SHORT if arguments.short else {})
    methods = {
        "JKOFlowDensity": (lambda X: ours(X).score_samples, True),
        "KernelDensity": (fit_kernel_density, True),
        "GaussianMixture": (fit_gaussian_mixture, True),
        "IsolationForest": (fit_isolation_forest, False),
    }
    print(
        f"{len(benign)} benign rows of {N_COLUMNS} columns, each scored once, by the model of "
        f"{N_FOLDS} (seed {SEED}) that was\ntrained without it: log-likelihood in nats, mean +- "
        f"standard error. ROC AUC against {len(malignant)} malignant\nrows and seconds: means "
        f"of the {N_FOLDS} folds.\n"
    )
    results = {
        name: cross_validate(fit, benign, malignant, is_density)
        for name, (fit, is_density) in methods.items()
    }
    print_table(results)
    columns = [names.index(name) for name in SHOWN]
    train, test = train_test_split(benign[:, columns], test_size=1 / 3, random_state=SEED)
    draw(results["JKOFlowDensity"], ours(train), test, malignant[:, columns], arguments.output)
    print(f"\nPicture: {arguments.output}")


if __name__ == "__main__":
    main()
