"""Densities on a graph: the value of knowing which columns are neighbours.

Columns such as stations of a network, regions of a map or points of a mesh have neighbours, but are
not an image. Here they are the pixels of scikit-learn's digits without those that are nearly always
empty: 50 pixels that do not form a rectangle. The graph that joins neighbouring pixels comes from
scikit-learn's `grid_to_graph`. `JKOFlowDensity(structure=graph)` learns one small network that
serves the surroundings of every node; without a structure one network takes all columns alike. Both
are trained on the same rows and compared on held-out rows with a Gaussian mixture whose number of
components is chosen by cross-validation. Pixels are integers, so uniform noise in [0, 1) is added
to all of them first.

    python plot_graph.py           # under a minute, writes graph.png
    python plot_graph.py --short   # a few seconds, with hardly any training
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.image import grid_to_graph
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, train_test_split

from sklearn_jko import JKOFlowDensity

SEED = 0
SIDE = 8
LARGEST = 16
FEWEST_INKED = 0.05
N_DRAWN = 48
COLUMNS_OF_GRID = 8
COMPONENTS = {"n_components": [2, 5, 10, 20]}
FULL = {"max_blocks": 2, "max_iter": 400, "step_size": 2.0}
SHORT = {"max_blocks": 1, "max_iter": 10}


def load_nodes():
    """Rows of the pixels that are used, with noise, and their positions in the image."""
    pixels = load_digits().data
    is_used = (pixels > 0).mean(axis=0) > FEWEST_INKED
    noise = np.random.default_rng(SEED).uniform(size=(len(pixels), is_used.sum()))
    return pixels[:, is_used] + noise, is_used.reshape(SIDE, SIDE)


def fit_densities(X, graph, settings):
    flow = {"scaling": "marginal+whiten+radial", "random_state": SEED, **settings}
    mixture = GridSearchCV(GaussianMixture(reg_covar=1e-2, random_state=SEED), COMPONENTS, cv=3)
    return {
        "JKOFlowDensity, structure=graph": JKOFlowDensity(structure=graph, **flow).fit(X),
        "JKOFlowDensity": JKOFlowDensity(**flow).fit(X),
        "GaussianMixture": mixture.fit(X).best_estimator_,
    }


def draw(density, n):
    if isinstance(density, JKOFlowDensity):
        return density.sample(n, random_state=SEED)
    return density.sample(n)[0]


def grid_of(rows, is_used):
    """One large picture of many rows, blank where there is no node."""
    images = np.full((len(rows), SIDE + 1, SIDE + 1), np.nan)
    images[:, :-1, :-1][:, is_used] = np.clip(np.floor(rows), 0, LARGEST)
    images = images.reshape(-1, COLUMNS_OF_GRID, SIDE + 1, SIDE + 1)
    return images.transpose(0, 2, 1, 3).reshape(-1, COLUMNS_OF_GRID * (SIDE + 1))


def plot(panels, is_used, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = plt.get_cmap("gray_r").with_extremes(bad="lightsteelblue")
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.2 * len(panels), 3), layout="constrained"
    )
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        axis.imshow(grid_of(rows, is_used), cmap=colours, vmin=0, vmax=LARGEST)
        axis.set(title=title, xticks=[], yticks=[])
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="graph.png", help="file of the picture")
    arguments = parser.parse_args()
    # A longer training would gain a little more.
    warnings.filterwarnings("ignore", category=ConvergenceWarning)

    rows, is_used = load_nodes()
    X, X_test = train_test_split(rows, test_size=0.2, random_state=SEED)
    graph = grid_to_graph(SIDE, SIDE, mask=is_used)
    panels = {"real, not seen": X_test[:N_DRAWN]}
    print(f"{'':34}nats per row")
    for name, density in fit_densities(X, graph, SHORT if arguments.short else FULL).items():
        nats = -density.score_samples(X_test).mean()
        print(f"{name:34}{nats:.2f}")
        panels[f"{name}\n{nats:.1f} nats per row"] = draw(density, N_DRAWN)
    plot(panels, is_used, arguments.output)
    print(f"Picture: {arguments.output}")


if __name__ == "__main__":
    main()
