"""A data frame of integers, categories and positive numbers: scores, samples and missing values.

The rows are 442 patients with diabetes: age and progression are integers, sex is a label, and the
body mass index is positive. `JKOFlowDensity(columns={...})` gives the probability of integers and
labels times the density of the rest, and draws rows of the same kinds, in a frame of the same
types. Values may be missing: it is fitted a second time after a fifth of all values were hidden,
labels too, and `impute` fills the gaps with labels, integers and numbers. The script prints mean
log-probabilities of test rows in nats, and compares with densities that take all columns as
numbers, trained and tested with uniform noise of width 1 on integers and labels: their mean
log-density is a lower bound of their log-probability. The mixture's number of components is chosen
by BIC, and the kernels' bandwidth, in standardised columns, by cross-validation.

    python plot_mixed_columns.py           # about 30 seconds, writes mixed_columns.png
    python plot_mixed_columns.py --short   # a few seconds, with hardly any training
"""

import argparse
import warnings
from functools import partial

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity

SEED = 0
WHOLE = ["age", "sex", "progression"]
COLUMNS = {"age": "integer", "sex": "category", "bmi": (0, None), "progression": "integer"}
HIDDEN_SHARE = 0.2
N_NOISE = 20
N_DRAWN = 5000
SHORT = {"max_blocks": 1, "max_iter": 20}


def load_patients():
    frame = load_diabetes(as_frame=True, scaled=False).frame[["age", "sex", "bmi", "bp", "target"]]
    frame = frame.rename(columns={"target": "progression"})
    frame[["age", "progression"]] = frame[["age", "progression"]].astype(int)
    return frame.assign(sex=frame["sex"].map({1: "one", 2: "two"}))  # the data do not name them


def as_numbers(frame, rng):
    """The frame with labels as 1 and 2, and noise on integers and labels."""
    table = frame.assign(sex=frame["sex"].map({"one": 1, "two": 2})).astype(float)
    table[WHOLE] += rng.uniform(-0.5, 0.5, (len(frame), len(WHOLE)))
    return table.to_numpy()


def noisy_score(score_samples, test, rng):
    """Mean log-density of test rows, over several draws of their noise."""
    return np.mean([score_samples(as_numbers(test, rng)).mean() for _ in range(N_NOISE)])


def fit_gaussian_mixture(X):
    models = [GaussianMixture(k, random_state=SEED).fit(X) for k in range(1, 11)]
    return min(models, key=lambda model: model.bic(X)).score_samples


def fit_kernel_density(X):
    grid = {"kerneldensity__bandwidth": np.geomspace(0.05, 2.0, 20)}
    search = GridSearchCV(make_pipeline(StandardScaler(), KernelDensity()), grid)
    return in_units_of_rows(search.fit(X).best_estimator_)


def in_units_of_rows(pipeline):
    """Log-density in the units of the data: that of the standardised rows plus log |det|."""
    log_det = -np.log(pipeline[0].scale_).sum()
    return lambda X: pipeline.score_samples(X) + log_det


def draw(frame, drawn, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    edges = np.arange(15.5, 85, 3)
    for rows, name in ((frame, "patients"), (drawn, "drawn")):
        axes[0].hist(rows["age"], edges, density=True, alpha=0.5, label=name)
    axes[0].set(xlabel="age (years)", ylabel="share of rows, per year")
    shares = [rows["sex"].value_counts(normalize=True).sort_index() for rows in (frame, drawn)]
    for shift, share in zip((-0.2, 0.2), shares, strict=True):
        axes[1].bar(np.arange(2) + shift, share, width=0.4, alpha=0.7)
    axes[1].set(xlabel="sex", ylabel="share of rows", xticks=[0, 1])
    axes[1].set_xticklabels(shares[0].index)
    for rows in (frame, drawn[: len(frame)]):
        axes[2].plot(rows["bmi"], rows["progression"], ".", alpha=0.6)
    axes[2].set(xlabel="body mass index", ylabel="progression (whole numbers)")
    axes[0].legend()
    figure.suptitle("Patients, and rows drawn from JKOFlowDensity")
    figure.savefig(path, dpi=110)


def shown(rows):
    return rows.head(4).to_string(index=False, float_format="{:.1f}".format, na_rep="-")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="mixed_columns.png", help="file for the picture")
    arguments = parser.parse_args()
    settings = SHORT if arguments.short else {}
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", ".*(repeated|missing) values", UserWarning)
    frame, rng = load_patients(), np.random.default_rng(SEED)
    train, test = train_test_split(frame, random_state=SEED, test_size=0.4)

    new_model = partial(JKOFlowDensity, columns=COLUMNS, random_state=SEED, **settings)
    model = new_model().fit(train)
    gaps = train.mask(rng.random(train.shape) < HIDDEN_SHARE)
    of_gaps = new_model().fit(gaps)
    table = as_numbers(train, rng)
    plain = JKOFlowDensity(random_state=SEED, **settings).fit(table)
    scores = {
        "JKOFlowDensity(columns=...)": model.score_samples(test).mean(),
        "the same, a fifth hidden": of_gaps.score_samples(test).mean(),
        "JKOFlowDensity, numbers only": noisy_score(plain.score_samples, test, rng),
        "GaussianMixture": noisy_score(fit_gaussian_mixture(table), test, rng),
        "KernelDensity": noisy_score(fit_kernel_density(table), test, rng),
    }
    for name, score in scores.items():
        print(f"{name:30s} {score:8.3f} nats per row, {len(test)} test rows")
    drawn = model.sample(N_DRAWN, random_state=SEED)
    filled = of_gaps.impute(gaps, random_state=SEED)
    for rows, title in ((drawn, "drawn"), (gaps, "with gaps"), (filled, "filled")):
        print(title, shown(rows), sep="\n")
    draw(frame, drawn, arguments.output)


if __name__ == "__main__":
    main()
