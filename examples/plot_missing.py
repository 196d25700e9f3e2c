"""Missing values: training on rows with gaps, scoring such rows, and filling gaps with draws.

A fifth of the values of breast tumours (569 rows, eight of scikit-learn's measurements) is hidden.
`JKOFlowDensity` trains on the rows with gaps as they are. The script prints log-densities of
complete test rows in nats, and compares with training on only the few complete rows, on rows whose
gaps were filled by the column's mean or by scikit-learn's `IterativeImputer`, and, as an upper
reference, on the rows before anything was hidden. Then the gaps of the test rows are filled, by the
mean of 20 draws of `impute` and by scikit-learn's imputers; errors are root mean squares, in
standard deviations of each column. The draws also show the uncertainty: the last line gives the
share of hidden values between two quantiles of their draws, which should be nine tenths.

    python plot_missing.py           # about 50 seconds, writes missing.png
    python plot_missing.py --short   # a few seconds, with hardly any training
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.model_selection import train_test_split

from sklearn_jko import JKOFlowDensity

SEED = 0
HIDDEN_SHARE = 0.2
# Area and perimeter follow from the radius and are left out.
COLUMNS = [0, 1, 4, 5, 6, 7, 8, 9]
# The i-th smallest of k draws is the i / (k + 1) quantile: a further draw is as likely in any gap.
QUANTILES = {"axis": 0, "method": "weibull"}
SHORT = {"max_blocks": 1, "max_iter": 20}


def load_rows():
    """Training and test rows, complete and with gaps."""
    X = load_breast_cancer().data[:, COLUMNS]
    hidden = np.random.default_rng(SEED).random(X.shape) < HIDDEN_SHARE
    return train_test_split(X, np.where(hidden, np.nan, X), random_state=SEED, test_size=0.4)


def ways_to_train(whole, gaps):
    imputers = {
        "gaps filled by means": SimpleImputer(),
        "gaps filled by IterativeImputer": IterativeImputer(random_state=SEED, max_iter=50),
    }
    return {
        "rows with gaps": gaps,
        "complete rows only": gaps[~np.isnan(gaps).any(axis=1)],
        **{name: imputer.fit_transform(gaps) for name, imputer in imputers.items()},
        "rows before the gaps": whole,
    }


def error_of(filled, truth, gaps):
    deviations = (filled - truth) / truth.std(axis=0)
    return np.sqrt(np.mean(deviations[np.isnan(gaps)] ** 2))


def mean_and_error(values):
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def draw_picture(draws, truth, gaps, scores, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    of_radius = np.isnan(gaps[:, 0])
    low, middle, high = np.quantile(draws[:, of_radius, 0], [0.05, 0.5, 0.95], **QUANTILES)
    bars = [middle - low, high - middle]
    left.errorbar(truth[of_radius, 0], middle, bars, fmt="o", markersize=4, linewidth=1, alpha=0.7)
    left.axline((15, 15), slope=1, color="0.5", linewidth=1)
    left.set(xlabel="hidden mean radius", ylabel="draws of it: median, 5 % to 95 %")
    for k, of_rows in enumerate(scores.values()):
        mean, error = mean_and_error(of_rows)
        right.errorbar(mean, k, xerr=error, fmt="o", color="C0", capsize=3)
        right.annotate(f"{mean:.2f}", (mean, k), (0, 6), textcoords="offset points", ha="center")
    right.set(xlabel="log-density of complete test rows\n(nats, mean and standard error)")
    right.set_yticks(range(len(scores)), scores)
    right.set_title("Trained on")
    right.margins(0.1, 0.15)
    right.invert_yaxis()
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="missing.png", help="file for the picture")
    arguments = parser.parse_args()
    settings, n_draws = (SHORT, 5) if arguments.short else ({}, 20)
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", ".*missing values", UserWarning)
    warnings.filterwarnings("ignore", ".*repeated values", UserWarning)
    whole, test, gaps, test_gaps = load_rows()

    models = {
        name: JKOFlowDensity(random_state=SEED, **settings).fit(rows)
        for name, rows in ways_to_train(whole, gaps).items()
    }
    scores = {name: model.score_samples(test) for name, model in models.items()}
    print(f"mean log-density of {len(test)} complete test rows, in nats:")
    for name, of_rows in scores.items():
        mean, error = mean_and_error(of_rows)
        print(f"trained on {name:32s} {mean:7.2f} +- {error:.2f}")

    model = models["rows with gaps"]
    observed, error = model.score_samples(test_gaps, return_std=True)
    print(f"test rows with gaps: {observed.mean():.2f} nats, standard error {np.median(error):.3f}")
    draws = np.array([model.impute(test_gaps, random_state=k) for k in range(n_draws)])
    filled = {
        "mean of draws": draws.mean(axis=0),
        "IterativeImputer": IterativeImputer(random_state=SEED, max_iter=50)
        .fit(gaps)
        .transform(test_gaps),
        "KNNImputer": KNNImputer().fit(gaps).transform(test_gaps),
        "column's mean": SimpleImputer().fit(gaps).transform(test_gaps),
    }
    for name, rows in filled.items():
        print(f"gaps filled by {name:20s} error {error_of(rows, test, test_gaps):.3f}")
    low, high = np.quantile(draws, [0.05, 0.95], **QUANTILES)
    inside = ((low <= test) & (test <= high))[np.isnan(test_gaps)]
    print(f"hidden values between the draws' 5 % and 95 %: {inside.mean():.3f}")
    draw_picture(draws, test, test_gaps, scores, arguments.output)


if __name__ == "__main__":
    main()
