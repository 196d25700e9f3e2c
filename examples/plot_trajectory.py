"""From data to noise, block by block.

The rows are pixels of a picture of a flower that comes with scikit-learn, each with its green and
blue: dark leaves along one branch, petals along another. `JKOFlowDensity` carries them to a
standard normal distribution in a few blocks. Each block is one step of the scheme of Jordan,
Kinderlehrer and Otto, which weighs the gain against the distance. The upper panels follow pixels
that the fit has not seen, each in the same colour throughout; the lower ones show how much each
block gained on the held-out rows, and how far it moved them. A block that gains nothing is dropped.
The rays among the dark pixels come from integer values, of which dark colours have only a few.

    python plot_trajectory.py              # about 10 seconds, writes trajectory.png
    python plot_trajectory.py --short      # a few seconds, training too short to reach noise

References
----------
Jordan, Kinderlehrer and Otto (1998), The variational formulation of the Fokker-Planck equation,
SIAM Journal on Mathematical Analysis 29.
Xu, Cheng and Xie (2023), Normalizing flow neural networks by JKO scheme, NeurIPS,
arXiv:2212.14424.
"""

import argparse
import warnings

import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sklearn_jko import FlowTrajectoryDisplay, JKOFlowDensity, TrainingHistoryDisplay
from sklearn_jko.diagnostics import measure_blocks, path_through_blocks

SEED = 0
N_TRAIN, N_TEST = 2900, 1500
GREEN, BLUE = 1, 2
SHORT = {"max_blocks": 3, "max_iter": 40}


def load_pixels(n_rows):
    """Green and blue of a number of pixels in random order."""
    pixels = load_sample_image("flower.jpg").reshape(-1, 3)[:, [GREEN, BLUE]].astype(float)
    return np.random.default_rng(SEED).choice(pixels, n_rows, replace=False)


def print_table(density, X):
    """Print what each kept block does to rows that the fit has not seen."""
    measures = measure_blocks(density, X)
    print("after     movement  log-likelihood per row")
    print(f"scaling          -  {-measures.nll[0]:22.3f}")
    for k, movement in enumerate(measures.movements, 1):
        print(f"block {k}   {movement:8.3f}  {-measures.nll[k]:22.3f}")
    Z = density.transform(X)
    print(f"\nlatent means {Z.mean(axis=0).round(2)}, standard deviations {Z.std(axis=0).round(2)}")


def draw(density, X, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 8.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.25, 1])
    FlowTrajectoryDisplay(
        path=path_through_blocks(density, X),
        movements=measure_blocks(density, X).movements,
        coordinate_names=["scaled green", "scaled blue"],
    ).plot(ax=upper.subplots())
    TrainingHistoryDisplay.from_estimator(density, ax=lower.subplots())
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="trajectory.png", help="file of the picture")
    arguments = parser.parse_args()
    # Integers repeat; the noise added for this is what we want.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    if arguments.short:
        warnings.filterwarnings("ignore", category=ConvergenceWarning)

    settings = SHORT if arguments.short else {}
    train, test = train_test_split(
        load_pixels(N_TRAIN + N_TEST), train_size=N_TRAIN, random_state=SEED
    )
    # The plain scaling leaves all the work to the blocks.
    density = JKOFlowDensity("standard", random_state=SEED, **settings).fit(train)
    print(f"{N_TRAIN} pixels fitted (seed {SEED}), {N_TEST} others followed; nats.\n")
    print_table(density, test)
    draw(density, test, arguments.output)
    print(f"\nPicture: {arguments.output}")


if __name__ == "__main__":
    main()
