"""Outliers with p-values, and control of the false discovery rate.

Thirty measurements of 357 benign tumours (the Wisconsin breast cancer data, which come with
scikit-learn) are split into three folds. Detectors are trained on two of them, and must separate
the rows of the third from 212 malignant ones. The ROC curve of `JKOFlowOutlierDetector` is compared
with those of `IsolationForest` and `LocalOutlierFactor`. It also turns scores into p-values, using
the training rows that its flow held out: those of benign rows should be uniform between 0 and 1.
With `predict(X, fdr=q)`, the expected share of benign rows among those labelled as outliers should
be at most q.

    python plot_outliers.py                # about 20 seconds, writes outliers.png
    python plot_outliers.py --short        # a few seconds, training too short for good scores

References
----------
Street, Wolberg and Mangasarian (1993), Nuclear feature extraction for breast tumor diagnosis.
Benjamini and Hochberg (1995), Controlling the false discovery rate, JRSS B 57.
Bates, Candes, Lei, Romano and Sesia (2023), Testing for outliers with conformal p-values, Annals of
Statistics 51.
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector

SEED = 0
N_FOLDS = 3
# As in the detector's default density, except for the length of the training.
DENSITY = JKOFlowDensity("tails+standard", hidden_layer_sizes=(64, 64), max_iter=300)
LEVELS = np.array([0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
FALSE_RATES = np.linspace(0, 1, 201)
STYLES = {
    "JKOFlowOutlierDetector": {"color": "C0", "lw": 2.2},
    "IsolationForest": {"color": "C2"},
    "LocalOutlierFactor": {"color": "C3"},
}


def detectors(density):
    return {
        "JKOFlowOutlierDetector": JKOFlowOutlierDetector(density=density, random_state=SEED),
        "IsolationForest": IsolationForest(random_state=SEED),
        "LocalOutlierFactor": make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True)),
    }


def found_and_false(detector, X, is_outlier):
    """Shares of outliers found, and of inliers among the findings, at each level."""
    calls = np.array([detector.predict(X, fdr=level) == -1 for level in LEVELS])
    found = calls[:, is_outlier].mean(axis=1)
    false = calls[:, ~is_outlier].sum(axis=1) / calls.sum(axis=1).clip(min=1)
    return found, false


def cross_validate(benign, malignant, density):
    """ROC curves and AUCs by detector; p-values of both groups; findings, one row per fold."""
    curves, aucs = ({name: [] for name in STYLES} for _ in range(2))
    p_values, findings = ([], []), []
    for train, test in KFold(N_FOLDS, shuffle=True, random_state=SEED).split(benign):
        X = np.r_[benign[test], malignant]
        is_outlier = np.arange(len(X)) >= len(test)
        for name, detector in detectors(density).items():
            outlyingness = -detector.fit(benign[train]).score_samples(X)
            false_rate, true_rate, _ = roc_curve(is_outlier, outlyingness)
            curves[name].append(np.interp(FALSE_RATES, false_rate, true_rate))
            aucs[name].append(roc_auc_score(is_outlier, outlyingness))
            if isinstance(detector, JKOFlowOutlierDetector):
                p_values[0].append(detector.p_values(benign[test]))
                p_values[1].append(detector.p_values(malignant))
                findings.append(found_and_false(detector, X, is_outlier))
    return curves, aucs, [np.concatenate(p) for p in p_values], np.mean(findings, axis=0)


def print_tables(aucs, p_values, findings):
    for name, values in aucs.items():
        print(f"{name:24s}  ROC AUC {np.mean(values):.3f}")
    at_most = [np.mean(p_values[0] <= level) for level in LEVELS]
    print("\nlevel q                   " + "".join(f"{level:7.2f}" for level in LEVELS))
    for name, shares in (
        ("benign with p <= q", at_most),
        ("false, of those called", findings[1]),
        ("malignant found", findings[0]),
    ):
        print(f"{name:26s}" + "".join(f"{share:7.3f}" for share in shares))


def draw(curves, aucs, p_values, findings, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
    draw_curves(panels[0], curves, aucs)
    draw_p_values(panels[1], *p_values)
    draw_findings(panels[2], *findings)
    figure.savefig(path, dpi=120)


def draw_curves(axes, curves, aucs):
    for name, style in STYLES.items():
        label = f"{name}, AUC {np.mean(aucs[name]):.3f}"
        axes.plot(FALSE_RATES, np.mean(curves[name], axis=0), label=label, **style)
    axes.set(
        xlim=(-0.01, 0.6),
        ylim=(0, 1.02),
        xlabel="share of held-out benign rows above the threshold",
        ylabel="share of malignant rows above it",
        title="Benign or malignant, learnt from benign rows",
    )
    axes.legend(loc="lower right", fontsize="small")


def draw_p_values(axes, benign, malignant):
    bins = np.linspace(0, 1, 11)
    for p_values, colour, label in ((malignant, "0.35", "malignant"), (benign, "C1", "benign")):
        weights = np.full(len(p_values), 100 / len(p_values))
        axes.hist(p_values, bins, weights=weights, color=colour, alpha=0.65, label=label)
    axes.axhline(10, color="black", ls="--", lw=1, label="uniform")
    axes.set(
        xlim=(0, 1),
        xlabel="p-value",
        ylabel="% of the group's rows",
        title="p-values of rows that no model has seen",
    )
    axes.legend()


def draw_findings(axes, found, false):
    axes.plot(LEVELS, found, "o-", color="0.35", label="malignant rows found")
    axes.plot(LEVELS, false, "o-", color="C1", label="benign among those called")
    axes.plot([0, LEVELS[-1]], [0, LEVELS[-1]], "k--", lw=1, label="bound of the latter")
    axes.set(
        xlim=(0, 1.05 * LEVELS[-1]),
        ylim=(-0.02, 1.02),
        xlabel="level q of predict(X, fdr=q)",
        ylabel="share of rows",
        title="What is called an outlier at a level",
    )
    axes.legend(fontsize="small")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="outliers.png", help="file of the picture")
    arguments = parser.parse_args()
    # Measurements recorded to few digits repeat, and the trainings are short on purpose.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)

    data = load_breast_cancer()
    is_benign = data.target == data.target_names.tolist().index("benign")
    benign, malignant = data.data[is_benign], data.data[~is_benign]
    density = DENSITY.set_params(max_iter=10, max_blocks=2) if arguments.short else DENSITY
    print(
        f"{len(benign)} benign rows, each told from {len(malignant)} malignant ones by detectors "
        f"of {N_FOLDS} (seed {SEED}) that learnt from\nother benign rows; means of the folds.\n"
    )
    curves, aucs, p_values, findings = cross_validate(benign, malignant, density)
    print_tables(aucs, p_values, findings)
    draw(curves, aucs, p_values, findings, arguments.output)
    print(f"\nPicture: {arguments.output}")


if __name__ == "__main__":
    main()
