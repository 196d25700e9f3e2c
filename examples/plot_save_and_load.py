"""A model saved by one process, and a stream monitored by another.

The rows are the colours of pixels of a picture that comes with scikit-learn, as if a camera sent
them one by one. A first process fits `JKOFlowDensity` and saves it to a file of numbers and text;
loading it executes no code from the file, so files from untrusted sources are safe to load. A
second process, which has nothing but that file, loads it and scores the stream chunk by chunk. From
the middle of the stream on, the camera's red fades, by a tenth at the end. The plot shows the mean
log-density of the last 500 rows, with a range of three standard errors around its mean over other
pixels of the unchanged picture.

    python plot_save_and_load.py           # about 20 seconds, writes save_and_load.png
    python plot_save_and_load.py --short   # a few seconds, training too short to monitor well
"""

import argparse
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches

from sklearn_jko import JKOFlowDensity

SEED = 0
N_TRAIN, N_REFERENCE = 2900, 4000
CHUNK, WINDOW, N_ERRORS = 1000, 500, 3
RED, FADED = 0, 0.9
FULL = {"n_stream": 20_000, "density": {}}
SHORT = {"n_stream": 4000, "density": {"scaling": "marginal", "max_blocks": 1, "max_iter": 10}}


def load_pixels(n_rows):
    pixels = load_sample_image("china.jpg").reshape(-1, 3).astype(float)
    return np.random.default_rng(SEED).choice(pixels, n_rows, replace=False)


def with_fading_red(stream):
    """The stream, whose red fades from the middle on, and the row where this begins."""
    start = len(stream) // 2
    stream = stream.copy()
    stream[start:, RED] *= np.linspace(1, FADED, len(stream) - start)
    return stream.round(), start


def score_stream(model, stream, scores):
    """Work of the second process: uses three files, and one chunk of rows at a time in memory."""
    density, rows = JKOFlowDensity.load(model), np.load(stream, mmap_mode="r")
    chunks = gen_batches(len(rows), CHUNK)
    np.save(scores, np.concatenate([density.score_samples(rows[chunk]) for chunk in chunks]))


def score_in_another_process(density, rows):
    """Scores of the rows, and the size of the model's file."""
    with tempfile.TemporaryDirectory() as folder:
        model, stream, scores = (
            Path(folder, name) for name in ("model.safetensors", "stream.npy", "scores.npy")
        )
        density.save(model)
        np.save(stream, rows)
        subprocess.run([sys.executable, __file__, "--score", model, stream, scores], check=True)
        return np.load(scores), model.stat().st_size


def running_mean(values):
    return np.convolve(values, np.full(WINDOW, 1 / WINDOW), mode="valid")


def draw(means, low, high, drift, alarm, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    last_row = np.arange(len(means)) + WINDOW
    axes.axhspan(low, high, color="C0", alpha=0.15, lw=0, label="expected range")
    axes.plot(last_row, means, color="C0", label=f"mean of the last {WINDOW} rows")
    axes.axvline(drift, color="black", ls="--", lw=1, label="red begins to fade")
    if alarm is not None:
        axes.plot(alarm, means[alarm - WINDOW], "o", color="#D55E00", ms=9, label="first alarm")
    axes.set(
        xlim=(0, last_row[-1]),
        xlabel="row of the stream",
        ylabel="log-density per row (nats)",
    )
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="train for a few seconds only")
    parser.add_argument("--output", default="save_and_load.png", help="file of the picture")
    parser.add_argument("--score", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.score:
        score_stream(*arguments.score)
    else:
        run(SHORT if arguments.short else FULL, arguments.output)


def run(settings, path):
    # Integers repeat; with --short the training does not converge.
    warnings.filterwarnings("ignore", message=".*hold repeated values")
    warnings.filterwarnings("ignore", category=ConvergenceWarning)
    pixels = load_pixels(N_TRAIN + N_REFERENCE + settings["n_stream"])
    train, reference, stream = np.split(pixels, [N_TRAIN, N_TRAIN + N_REFERENCE])
    stream, drift = with_fading_red(stream)
    density = JKOFlowDensity(random_state=SEED, **settings["density"]).fit(train)
    scores, size = score_in_another_process(density, stream)
    difference = np.abs(scores - density.score_samples(stream)).max()
    print(f"A file of {size / 1024:.0f} KiB; another process scored {len(scores)} rows by {CHUNK}.")
    print(f"Largest difference from the scores here: {difference:.1e} nats")

    usual = density.score_samples(reference)
    margin = N_ERRORS * usual.std() / np.sqrt(WINDOW)
    low, high = usual.mean() - margin, usual.mean() + margin
    means = running_mean(scores)
    outside = np.flatnonzero((means < low) | (means > high)) + WINDOW
    alarm = outside[0] if len(outside) else None
    print(f"Expected {low:.3f} to {high:.3f} nats per row; last mean {means[-1]:.3f}.")
    print(f"Red begins to fade after row {drift}; first alarm after row {alarm}.")
    draw(means, low, high, drift, alarm, path)
    print(f"\nPicture: {path}")


if __name__ == "__main__":
    main()
