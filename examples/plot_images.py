"""Densities of images: the value of knowing how the pixels are arranged.

Rows are the 8 x 8 pixels of scikit-learn's digits. With `JKOFlowDensity(structure=(8, 8))` one
small network serves the surroundings of every pixel; without a structure one network takes all
columns alike. Both are trained on the same rows and compared on held-out rows, in bits per
dimension (the mean number of bits per pixel value under the density; lower is better), with a
Gaussian mixture whose number of components is chosen by cross-validation. Pixels are integers, so
uniform noise in [0, 1) is added to all of them first.

    python plot_images.py           # under a minute, writes images.png
    python plot_images.py --short   # a few seconds, with hardly any training
"""

import argparse
import math
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_jko import JKOFlowDensity

SEED = 0
SIDE = 8
LARGEST = 16
ROWS_OF_GRID, COLUMNS_OF_GRID = 6, 8
COMPONENTS = {"n_components": [2, 5, 10, 20]}
FULL = {"max_blocks": 2, "max_iter": 450, "step_size": 2.0}
SHORT = {"max_blocks": 1, "max_iter": 10}


def load_images():
    """Training and test rows, with the noise that makes integers continuous."""
    pixels = load_digits().data
    noise = np.random.default_rng(SEED).uniform(size=pixels.shape)
    return train_test_split(pixels + noise, test_size=0.2, random_state=SEED)


def fit_densities(X, settings):
    flow = {"scaling": "marginal+whiten+radial", "random_state": SEED, **settings}
    mixture = GridSearchCV(GaussianMixture(reg_covar=1e-2, random_state=SEED), COMPONENTS, cv=3)
    return {
        "JKOFlowDensity, structure=(8, 8)": JKOFlowDensity(structure=(SIDE, SIDE), **flow).fit(X),
        "JKOFlowDensity": JKOFlowDensity(**flow).fit(X),
        "GaussianMixture": mixture.fit(X).best_estimator_,
    }


def bits_per_dimension(density, X):
    return -density.score_samples(X).mean() / (math.log(2) * X.shape[1])


def draw(density, n):
    drawn = (
        density.sample(n, random_state=SEED)
        if isinstance(density, JKOFlowDensity)
        else (density.sample(n)[0])
    )
    return np.clip(np.floor(drawn), 0, LARGEST)


def grid_of(images):
    """One large picture of many, with a gap between them."""
    padded = np.pad(
        images.reshape(ROWS_OF_GRID, COLUMNS_OF_GRID, SIDE, SIDE),
        ((0, 0), (0, 0), (0, 1), (0, 1)),
        constant_values=LARGEST / 2,
    )
    return padded.transpose(0, 2, 1, 3).reshape(ROWS_OF_GRID * (SIDE + 1), -1)[:-1, :-1]


def plot(panels, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.2 * len(panels), 3), layout="constrained"
    )
    for axis, (title, images) in zip(axes, panels.items(), strict=True):
        axis.imshow(grid_of(images), cmap="gray_r", vmin=0, vmax=LARGEST)
        axis.set(title=title, xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="images.png", help="file of the picture")
    arguments = parser.parse_args()
    # A longer training would gain a little more.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)

    X, X_test = load_images()
    n_drawn = ROWS_OF_GRID * COLUMNS_OF_GRID
    panels = {"real, not seen": np.floor(X_test[:n_drawn])}
    print(f"{'':34}bits per dimension")
    for name, density in fit_densities(X, SHORT if arguments.short else FULL).items():
        bits = bits_per_dimension(density, X_test)
        print(f"{name:34}{bits:.3f}")
        panels[f"{name}\n{bits:.2f} bits per dimension"] = draw(density, n_drawn)
    plot(panels, arguments.output)
    print(f"Picture: {arguments.output}")


if __name__ == "__main__":
    main()
