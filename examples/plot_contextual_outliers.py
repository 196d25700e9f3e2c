"""Contextual outliers: halves of digits that do not belong together.

Rows are the 8 x 8 pixels of scikit-learn's digits. In one test digit of ten the lower half is
replaced by that of a digit with another label: each half is as common as before, and only the
lower one, given the upper one, is unusual. A `JKOFlowOutlierDetector` whose density has the pixels
of the upper half as `condition` scores the lower half given the upper one. Its ROC curve is
compared with those of the same detector without a condition, `IsolationForest`,
`LocalOutlierFactor` and the squared errors of a ridge regression of the lower half on the upper.

    python plot_contextual_outliers.py          # about 20 seconds, writes contextual_outliers.png
    python plot_contextual_outliers.py --short  # a few seconds, with hardly any training
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector

SEED = 0
SIDE = 8
UPPER = list(range(SIDE * SIDE // 2))
EXCHANGED = 10
ROWS_SHOWN, COLUMNS_SHOWN = 3, 6
GIVEN_UPPER = "JKOFlowOutlierDetector, given the upper half"
STYLES = {
    GIVEN_UPPER: {"color": "C0", "lw": 2.2},
    "errors of ridge regression": {"color": "C1"},
    "JKOFlowOutlierDetector": {"color": "C0", "ls": "--"},
    "LocalOutlierFactor": {"color": "C3"},
    "IsolationForest": {"color": "C2"},
}


def load_rows():
    """Training digits; test digits, one in ten with the lower half of another; which those are."""
    pixels, labels = load_digits(return_X_y=True)
    train, test, _, labels = train_test_split(pixels, labels, test_size=0.4, random_state=SEED)
    rng, glued = np.random.default_rng(SEED), test.copy()
    is_glued = np.arange(len(test)) < len(test) // EXCHANGED
    for k in np.flatnonzero(is_glued):
        other = rng.choice(np.flatnonzero(labels != labels[k]))
        glued[k, len(UPPER) :] = test[other, len(UPPER) :]
    return train, glued, is_glued


def score(train, test, settings):
    """Scores of the test rows by each method, higher for normal rows."""
    flow = {"hidden_layer_sizes": (64, 64), "random_state": SEED, **settings}
    given, whole = (
        JKOFlowDensity("tails+standard", condition=condition, **flow) for condition in (UPPER, None)
    )
    detectors = {
        GIVEN_UPPER: JKOFlowOutlierDetector(density=given),
        "JKOFlowOutlierDetector": JKOFlowOutlierDetector(density=whole),
        "LocalOutlierFactor": LocalOutlierFactor(novelty=True),
        "IsolationForest": IsolationForest(random_state=SEED),
    }
    scores = {name: detector.fit(train).score_samples(test) for name, detector in detectors.items()}
    return {**scores, "errors of ridge regression": score_by_regression(train, test)}


def score_by_regression(train, test):
    n = len(UPPER)
    model = RidgeCV(np.geomspace(1, 1e4, 9)).fit(train[:, :n], train[:, n:])
    deviation = np.maximum((model.predict(train[:, :n]) - train[:, n:]).std(axis=0), 0.5)
    return -np.square((model.predict(test[:, :n]) - test[:, n:]) / deviation).sum(axis=1)


def draw(scores, test, is_glued, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(13, 4.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.2))
    draw_curves(left.subplots(), scores, is_glued)
    draw_lowest(right, scores[GIVEN_UPPER], test, is_glued)
    figure.savefig(path, dpi=120)


def draw_curves(axes, scores, is_glued):
    for name, style in STYLES.items():
        false_rate, true_rate, _ = roc_curve(is_glued, -scores[name])
        area = roc_auc_score(is_glued, -scores[name])
        axes.plot(false_rate, true_rate, label=f"{name}: {area:.3f}", **style)
    axes.set(
        xlabel="share of whole digits above the threshold",
        ylabel="share of glued digits above it",
        title="Whole or glued, learnt from whole digits (area under the curve)",
    )
    axes.legend(loc="lower right", fontsize="small")


def draw_lowest(figure, scores, test, is_glued):
    """Plot the digits with the lowest scores, with frames around those that were glued."""
    lowest = np.argsort(scores)[: ROWS_SHOWN * COLUMNS_SHOWN]
    n_glued = is_glued[lowest].sum()
    figure.suptitle(
        f"Lowest scores given the upper half: {n_glued} of {len(lowest)} are glued (red)"
    )
    for axes, k in zip(figure.subplots(ROWS_SHOWN, COLUMNS_SHOWN).flat, lowest, strict=True):
        axes.imshow(test[k].reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=16)
        axes.axhline(SIDE / 2 - 0.5, color="0.5", lw=0.8)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color="#D55E00" if is_glued[k] else "0.8", lw=3 if is_glued[k] else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="contextual_outliers.png", help="file of the picture")
    arguments = parser.parse_args()
    # Pixels are integers, whose values repeat; with --short the training does not converge.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)

    train, test, is_glued = load_rows()
    print(
        f"{len(train)} digits to learn from; {is_glued.sum()} of {len(test)} others with the lower "
        f"half of another label (seed {SEED}).\nArea under the ROC curve:"
    )
    scores = score(train, test, {"max_blocks": 1, "max_iter": 10} if arguments.short else {})
    for name in STYLES:
        print(f"  {name:46s}{roc_auc_score(is_glued, -scores[name]):.3f}")
    draw(scores, test, is_glued, arguments.output)
    print(f"\nPicture: {arguments.output}")


if __name__ == "__main__":
    main()
