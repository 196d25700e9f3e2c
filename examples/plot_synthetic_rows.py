"""Synthetic rows, and whether a classifier can tell them from real ones.

The rows are pixels of a picture of a flower that comes with scikit-learn, each with its red, green
and blue. `JKOFlowDensity` and `GaussianMixture`, whose number of components is chosen by BIC, are
trained on some of them and then draw new ones, rounded to integers like real pixels. Two tests
compare these with real pixels that no model has seen: gradient-boosted trees, which are right half
of the time if the rows are as good as real ones, and the maximum mean discrepancy, which should
stay below its threshold. Other real pixels take the same tests, to show the effect of chance.

    python plot_synthetic_rows.py          # about half a minute, writes synthetic_rows.png
    python plot_synthetic_rows.py --short  # a few seconds, training too short for good rows

References
----------
Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, ICLR.
Gretton et al. (2012), A kernel two-sample test, JMLR 13.
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

from sklearn_jko import JKOFlowDensity
from sklearn_jko.two_sample import classifier_test, median_distance, mmd_test

SEED = 0
LARGEST = 255
FULL = {"n_train": 6000, "n_test": 2000, "components": range(2, 25, 2), "density": {}}
SHORT = {
    "n_train": 1000,
    "n_test": 500,
    "components": range(2, 9, 2),
    "density": {"scaling": "whiten", "max_blocks": 2, "max_iter": 20},
}


def load_pixels(n_rows):
    """The picture, and a number of its pixels in random order."""
    picture = load_sample_image("flower.jpg")
    pixels = picture.reshape(-1, 3).astype(float)
    return picture, np.random.default_rng(SEED).choice(pixels, n_rows, replace=False)


def fit_mixture(X, components):
    models = [GaussianMixture(k, random_state=SEED).fit(X) for k in components]
    return min(models, key=lambda model: model.bic(X))


def as_pixels(rows):
    return rows.round().clip(0, LARGEST)


def compare(real, rows):
    """Both tests of rows against real ones."""
    by_trees = classifier_test(real, rows, random_state=SEED)
    by_kernel = mmd_test(real, rows, 0.1 * median_distance(real), random_state=SEED)
    return by_trees, by_kernel


def print_table(results):
    print(f"{'rows':24s}  trees right  p-value     MMD^2 / threshold  p-value")
    for name, (trees, kernel) in results.items():
        print(
            f"{name:24s}  {trees.accuracy:11.3f}  {trees.p_value:7.1e}  "
            f"{kernel.mmd / kernel.threshold:20.2f}  {kernel.p_value:7.3f}"
        )


def draw(picture, samples, results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 4, figsize=(14, 3.9), layout="constrained")
    panels[0].imshow(picture)
    panels[0].set(xticks=[], yticks=[], title="the picture")
    for axes, (name, rows) in zip(panels[1:], samples.items(), strict=True):
        axes.scatter(rows[:, 1], rows[:, 2], c=rows / LARGEST, s=7, linewidths=0)
        accuracy = results[name][0].accuracy
        axes.set(xlim=(-5, 225), ylim=(-5, 195), xlabel="green", facecolor="0.93")
        axes.set_title(f"{name}\ntold from real ones: {accuracy:.1%} right", fontsize="medium")
    panels[1].set_ylabel("blue")
    figure.savefig(path, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="synthetic_rows.png", help="file of the picture")
    arguments = parser.parse_args()
    # Integers repeat; the noise added for this is undone by rounding.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    if arguments.short:
        warnings.filterwarnings("ignore", category=ConvergenceWarning)

    settings = SHORT if arguments.short else FULL
    n_train, n_test = settings["n_train"], settings["n_test"]
    picture, pixels = load_pixels(n_train + 2 * n_test)
    train, others = train_test_split(pixels, train_size=n_train, random_state=SEED)
    test, control = train_test_split(others, test_size=0.5, random_state=SEED)
    density = JKOFlowDensity(random_state=SEED, **settings["density"]).fit(train)
    mixture = fit_mixture(train, settings["components"])
    samples = {
        "real pixels": control,
        "JKOFlowDensity": as_pixels(density.sample(n_test, random_state=SEED)),
        f"GaussianMixture of {mixture.n_components}": as_pixels(mixture.sample(n_test)[0]),
    }
    print(
        f"{n_test} rows of each kind against {n_test} real pixels that no model has seen; models "
        f"fitted to\n{n_train} others (seed {SEED}). Chance is 0.5 right and a ratio below 1.\n"
    )
    results = {name: compare(test, rows) for name, rows in samples.items()}
    print_table(results)
    draw(picture, samples, results, arguments.output)
    print(f"\nPicture: {arguments.output}")


if __name__ == "__main__":
    main()
