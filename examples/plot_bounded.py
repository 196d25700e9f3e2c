"""Columns with bounds: measurements above zero, and shares between zero and one.

A kernel density smears the rows near a bound across it: it has density below zero, and is too low
just above. `JKOFlowDensity(columns={0: (0, None)})` has no density beyond the bound, and the pair
(0, 1) does the same for a share. The rows are one measurement of breast tumours (the error of the
area of 569 tumours), and the blue of pixels in a picture with a bright sky, both from scikit-learn;
half of each, at most 500 rows, is trained on. The script prints the mean negative log-density of
the other rows in nats (lower is better), and the share of the density beyond the bounds.

    python plot_bounded.py           # about 20 seconds, writes bounded.png
    python plot_bounded.py --short   # a few seconds, with hardly any training
"""

import argparse
import warnings

import numpy as np
from scipy.stats import norm
from sklearn.datasets import load_breast_cancer, load_sample_image
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.neighbors import KernelDensity

from sklearn_jko import JKOFlowDensity

SEED = 0
N_SAMPLES = 100_000
SHORT = {"max_blocks": 1, "max_iter": 20}


def load_area_errors():
    data = load_breast_cancer()
    return data.data[:, [list(data.feature_names).index("area error")]]


def load_blue(n_rows=2000):
    rng = np.random.default_rng(SEED)
    pixels = rng.choice(load_sample_image("china.jpg")[:, :, 2].ravel(), n_rows)
    return (pixels[:, None] + rng.uniform(size=(n_rows, 1))) / 256  # whole numbers made continuous


def fit_kernel_density(train):
    widths = train.std() * np.geomspace(0.02, 0.5, 20)
    folds = KFold(5, shuffle=True, random_state=SEED)
    return GridSearchCV(KernelDensity(), {"bandwidth": widths}, cv=folds).fit(train).best_estimator_


def open_as_infinite(bounds):
    low, high = bounds
    return -np.inf if low is None else low, np.inf if high is None else high


def outside_kernel_density(model, bounds):
    """Share of the density beyond the bounds."""
    rows, width = np.asarray(model.tree_.data)[:, 0], model.bandwidth
    low, high = open_as_infinite(bounds)
    return float(np.mean(norm.cdf((low - rows) / width) + norm.sf((high - rows) / width)))


def outside_samples(model, bounds):
    rows = model.sample(N_SAMPLES, random_state=SEED)
    low, high = open_as_infinite(bounds)
    return float(np.mean((rows < low) | (rows > high)))


def compare(title, X, bounds, settings):
    """Fit the three densities and print their results."""
    train, test = train_test_split(X, train_size=min(500, len(X) // 2), random_state=SEED)
    kernels = fit_kernel_density(train)
    plain = JKOFlowDensity(random_state=SEED, **settings).fit(train)
    bounded = JKOFlowDensity(columns={0: bounds}, random_state=SEED, **settings).fit(train)
    models = {
        "KernelDensity": (kernels, outside_kernel_density),
        "JKOFlowDensity": (plain, outside_samples),
        "JKOFlowDensity, bounds": (bounded, outside_samples),
    }
    print(f"{title}: {len(train)} training rows, {len(test)} test rows")
    print(f"{'':24} {'nats per row':>16} {'beyond the bounds':>18}")
    for name, (model, outside) in models.items():
        nll = -model.score_samples(test)
        error = nll.std() / np.sqrt(len(nll))
        print(f"{name:24} {nll.mean():8.3f} +- {error:.3f} {outside(model, bounds):17.2%}")
    print()
    return train, {name: model for name, (model, _) in models.items()}


def draw(axes, title, train, models, grid):
    bins = np.linspace(0, grid[-1], 60)
    # Rows beyond the axis count too.
    weights = np.full(len(train), 1 / (len(train) * (bins[1] - bins[0])))
    heights, *_ = axes.hist(train[:, 0], bins, weights=weights, color="0.85", label="training rows")
    for (name, model), color in zip(models.items(), ("#D55E00", "#999999", "C0"), strict=True):
        axes.plot(grid, np.exp(model.score_samples(grid[:, None])), color=color, label=name)
    limits = {"xlim": (grid[0], grid[-1]), "ylim": (0, 1.3 * heights.max())}
    axes.set(xlabel=title, ylabel="density", **limits)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="bounded.png", help="file of the picture")
    arguments = parser.parse_args()
    # Warnings about repeated values and short trainings do not matter here.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    run(SHORT if arguments.short else {}, arguments.output)
    print(f"Picture: {arguments.output}")


def run(settings, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    tables = (
        ("error of the area", load_area_errors(), (0, None), np.linspace(-30, 150, 1500)),
        ("blue of a pixel", load_blue(), (0, 1), np.linspace(-0.05, 1.05, 1500)),
    )
    for ax, (title, X, bounds, grid) in zip(axes, tables, strict=True):
        draw(ax, title, *compare(title, X, bounds, settings), grid)
    axes[0].legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
