"""Conditional densities: digits given their label, progression of diabetes given two measurements.

`JKOFlowDensity(condition=[...])` models the other columns given these. The first example draws
pixels of scikit-learn's digits for a given label, and inverts the density with Bayes' rule to
classify unseen images. Normal densities do the same, with independent pixels and with covariances
by Ledoit and Wolf; logistic regression has no density. All get the same noise on the pixels, which
are whole numbers. The second models how far diabetes has progressed after a year, given the
body mass index and the blood pressure. With a single modelled column the flow is monotone, so the
95 % quantile is exactly the inverse transform of the normal 95 % quantile. It is compared with a
least-squares fit with normal errors of constant width.

    python plot_conditional.py           # about 20 seconds, writes conditional.png
    python plot_conditional.py --short   # a few seconds, with hardly any training
"""

import argparse
import warnings

import numpy as np
from scipy.stats import multivariate_normal, norm
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity

SEED = 0
LEVELS = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
N_DRAWN = 6
SHORT = {"max_blocks": 1, "max_iter": 20}


def load_noisy_digits():
    """Training and test rows, and their labels."""
    X, y = load_digits(return_X_y=True)
    noise = np.random.default_rng(SEED).uniform(-0.5, 0.5, X.shape)
    return train_test_split(X + noise, y, random_state=SEED, stratify=y)


def fit_digits(train, labels, settings):
    """A density of pixels given the label."""
    label = train.shape[1]
    return JKOFlowDensity(
        "standard",
        columns={label: "category", **dict.fromkeys(range(label), (-0.5, 16.5))},
        condition=[label],
        random_state=SEED,
        **settings,
    ).fit(np.c_[train, labels])


def told_labels(density, X):
    """The labels with the largest log p(x | label), as all labels are equally frequent."""
    given = [density.score_samples(np.c_[X, np.full(len(X), k)]) for k in range(10)]
    return np.argmax(given, axis=0)


def told_by_discriminant(train, labels, X):
    fits = [LedoitWolf().fit(train[labels == k]) for k in range(10)]
    given = [multivariate_normal(fit.location_, fit.covariance_).logpdf(X) for fit in fits]
    return np.argmax(given, axis=0)


def print_accuracies(density, train, test, labels, test_labels):
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    told = {
        "JKOFlowDensity": told_labels(density, test),
        "quadratic discriminant": told_by_discriminant(train, labels, test),
        "GaussianNB": GaussianNB().fit(train, labels).predict(test),
        "LogisticRegression": logistic.fit(train, labels).predict(test),
    }
    print(f"{'labels of digits':22s}  accuracy   {len(test)} test rows")
    for name, found in told.items():
        print(f"{name:22s}  {np.mean(found == test_labels):8.3f}")
    print()


def load_progression():
    """Body mass index, blood pressure and progression of training and test rows."""
    data = load_diabetes(scaled=False)
    columns = [data.feature_names.index(name) for name in ("bmi", "bp")]
    rows = np.c_[data.data[:, columns], data.target]
    return train_test_split(rows, random_state=SEED, test_size=0.4)


def flow_quantiles(density, given):
    latent = norm.ppf(LEVELS)
    return np.array(
        [density.inverse_transform(np.full((len(given), 1), z), given)[:, -1] for z in latent]
    )


def line_law(train, given):
    line = LinearRegression().fit(train[:, :2], train[:, 2])
    deviation = (train[:, 2] - line.predict(train[:, :2])).std(ddof=3)
    return norm(line.predict(given), deviation)


def print_progression(log_density, quantiles, name, y):
    inside = (quantiles[0] <= y) & (y <= quantiles[-1])
    width = np.mean(quantiles[-1] - quantiles[0])
    print(f"{name:16s}  {-log_density.mean():6.3f}  {inside.mean():7.3f}  {width:7.1f}")


def draw(digits, density, train, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    images = digits[:, :64].reshape(10, N_DRAWN, 8, 8)
    mosaic = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 1))).transpose(1, 2, 0, 3)
    left.imshow(mosaic.reshape(N_DRAWN * 9, 90), cmap="gray_r")
    left.set(title="Digits drawn given their label", yticks=[])
    left.set_xticks(np.arange(10) * 9 + 3.5, range(10))
    pressure = np.median(train[:, 1])
    bmi = np.linspace(train[:, 0].min(), train[:, 0].max(), 200)
    quantiles = flow_quantiles(density, np.c_[bmi, np.full(200, pressure)])
    right.fill_between(bmi, quantiles[0], quantiles[-1], alpha=0.2, label="5 % to 95 %")
    right.fill_between(bmi, quantiles[1], quantiles[-2], alpha=0.3, label="25 % to 75 %")
    right.plot(bmi, quantiles[2], label="median")
    right.plot(train[:, 0], train[:, 2], ".", color="0.3", markersize=3, label="all pressures")
    right.set(xlabel="body mass index", ylabel="progression of diabetes after a year")
    right.set_title(f"Quantiles given the index and a blood pressure of {pressure:.0f}")
    right.legend(loc="upper left")
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="conditional.png", help="file for the picture")
    arguments = parser.parse_args()
    settings = SHORT if arguments.short else {}
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", ".*repeated values", UserWarning)

    train, test, labels, test_labels = load_noisy_digits()
    of_digits = fit_digits(train, labels, settings)
    print_accuracies(of_digits, train, test, labels, test_labels)
    digits = of_digits.sample(N_DRAWN, random_state=SEED, condition=np.arange(10)[:, None])

    train, test = load_progression()
    bounded = {2: (0, None)}
    of_progression = JKOFlowDensity(
        columns=bounded, condition=[0, 1], random_state=SEED, **settings
    ).fit(train)
    print(
        f"{'progression':16s}  {'NLL':>6s}  {'in 90 %':>7s}  {'width':>7s}   {len(test)} test rows"
    )
    quantiles = flow_quantiles(of_progression, test[:, :2])
    print_progression(of_progression.score_samples(test), quantiles, "JKOFlowDensity", test[:, 2])
    law = line_law(train, test[:, :2])
    of_line = [law.ppf(level) for level in LEVELS]
    print_progression(law.logpdf(test[:, 2]), of_line, "least squares", test[:, 2])
    draw(digits, of_progression, train, arguments.output)


if __name__ == "__main__":
    main()
