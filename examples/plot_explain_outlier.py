"""Which columns make a row an outlier.

A detector is fitted to ten measurements of benign tumours (the Wisconsin breast cancer data, which
come with scikit-learn). `explain` then divides the score of a row, minus that of the nearest
typical row, among the columns. Three unseen rows are shown: a benign one; the same with an area
copied from another tumour, so that every value is common and only the combination is impossible;
and a malignant one. Then one value of each held-out benign row is replaced by that of another row.
The script counts how often this column has the most negative contribution by `explain`, and how
often it is the one farthest from the mean, in standard deviations: of all these rows, many of which
are still usual, and of those that the detector calls outliers.

    python plot_explain_outlier.py         # about 20 seconds, writes explain_outlier.png
    python plot_explain_outlier.py --short # a few seconds, training too short for good results

References
----------
Street, Wolberg and Mangasarian (1993), Nuclear feature extraction for breast tumor diagnosis.
Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks, ICML.
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector

SEED = 0
N_COLUMNS = 10
AREA = "mean area"
SHORT = JKOFlowDensity("tails+standard", hidden_layer_sizes=(64, 64), max_blocks=2, max_iter=10)


def with_copied_area(row, area, rows):
    """The row with the area of another row, large but not an outlier: the 90th percentile."""
    row = row.copy()
    row[area] = np.quantile(rows[:, area], 0.9, method="nearest")
    return row


def median_row(detector, rows):
    """The row with the median score."""
    return rows[np.argsort(detector.score_samples(rows))[len(rows) // 2]]


def rows_to_explain(detector, train, benign, malignant, area):
    row = median_row(detector, benign)
    return {
        "a benign row": row,
        "the same, area copied from another": with_copied_area(row, area, train),
        "a malignant row": median_row(detector, malignant),
    }


def exchange_one_value(rows, rng):
    """Rows with one value each from another row, and the columns of these values."""
    columns = rng.integers(rows.shape[1], size=len(rows))
    others = (np.arange(len(rows)) + rng.integers(1, len(rows), size=len(rows))) % len(rows)
    exchanged = rows.copy()
    exchanged[np.arange(len(rows)), columns] = rows[others, columns]
    return exchanged, columns


def named_columns(train, detector, exchanged):
    """The column that each method names for each row."""
    distances = np.abs(exchanged - train.mean(axis=0)) / train.std(axis=0)
    return {
        "explain": detector.explain(exchanged).argmin(axis=1),
        "farthest from the mean": distances.argmax(axis=1),
    }


def print_lowest(rows, shares, p_values, names):
    for title, values, p_value in zip(rows, shares, p_values, strict=True):
        told = ", ".join(f"{names[k]} {values[k]:.2f}" for k in np.argsort(values)[:3])
        print(f"{title}: p-value {p_value:.3f}; lowest shares in nats: {told}")


def print_named(train, test, detector):
    exchanged, columns = exchange_one_value(test, np.random.default_rng(SEED))
    is_called = detector.p_values(exchanged) <= 0.05
    print(
        f"\nOf {len(test)} benign rows with one value of {N_COLUMNS} exchanged (seed {SEED}), "
        f"{is_called.sum()} have a p-value of at most 0.05.\n"
        f"{'The exchanged column is named by':34s} of all rows  of these"
    )
    for method, named in named_columns(train, detector, exchanged).items():
        is_right = named == columns
        print(f"  {method:32s} {is_right.mean():11.2f}  {is_right[is_called].mean():8.2f}")


def draw(rows, shares, p_values, names, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(rows), figsize=(13, 4.6), sharey=True, layout="constrained"
    )
    for axes, title, values, p_value in zip(panels, rows, shares, p_values, strict=True):
        colours = np.where(values < 0, "#D55E00", "#0072B2")
        axes.barh(names, values, color=colours)
        axes.axvline(0, color="black", lw=0.8)
        axes.set_title(f"{title}\np-value {p_value:.2f}", fontsize="medium")
        axes.set_xlabel("share in the score (nats)")
        axes.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="explain_outlier.png", help="file of the picture")
    arguments = parser.parse_args()
    # Measurements recorded to few digits repeat; with --short the training does not converge.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)

    data = load_breast_cancer()
    X, names = data.data[:, :N_COLUMNS], data.feature_names[:N_COLUMNS].tolist()
    is_benign = data.target == data.target_names.tolist().index("benign")
    train, test = train_test_split(X[is_benign], test_size=1 / 3, random_state=SEED)
    density = SHORT if arguments.short else None
    detector = JKOFlowOutlierDetector(density=density, random_state=SEED).fit(train)

    rows = rows_to_explain(detector, train, test, X[~is_benign], names.index(AREA))
    table = np.stack(list(rows.values()))
    shares, p_values = detector.explain(table), detector.p_values(table)
    print_lowest(rows, shares, p_values, names)
    print_named(train, test, detector)
    draw(rows, shares, p_values, names, arguments.output)
    print(f"\nPicture: {arguments.output}")


if __name__ == "__main__":
    main()
