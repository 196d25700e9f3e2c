"""Saved models that later releases must read: `python tests/golden.py` writes them to tests/data.

Run it when `FORMAT_VERSION` was raised, and commit what it wrote.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from homes import COLUMNS, homes

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.files.persistence import FORMAT_VERSION

DATA = Path(__file__).with_name("data")
CLASSES = {
    "density": JKOFlowDensity,
    "detector": JKOFlowOutlierDetector,
    "kinds": JKOFlowDensity,
    "graph": JKOFlowDensity,
}
TINY = {"hidden_layer_sizes": (4, 4), "max_iter": 20, "max_blocks": 2, "random_state": 0}


def numbers(n, seed):
    """A frame of three columns, of which one follows another on a curve, so that blocks gain."""
    a, b, c = np.random.default_rng(seed).normal(size=(3, n))
    return pd.DataFrame({"a": a, "b": 3 * a**2 + 0.3 * b, "c": np.exp(c)})


def models_and_rows():
    """Fitted models by name, each with a frame of rows to score."""
    X, rows = numbers(80, seed=0), numbers(6, seed=1)
    ring = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    density = JKOFlowDensity("marginal+whiten+radial", **TINY).fit(X)
    detector = JKOFlowOutlierDetector(density=JKOFlowDensity("tails+standard", **TINY)).fit(X)
    kinds = JKOFlowDensity("power", columns=COLUMNS, condition=["rooms"], **TINY)
    graph = JKOFlowDensity("standard", structure=ring, **TINY).fit(X)
    return {
        "density": (density, rows),
        "detector": (detector, rows),
        "kinds": (kinds.fit(homes(80, seed=0)), homes(6, seed=1)),
        "graph": (graph, rows),
    }


def write(folder):
    """Write each model, and of all a table of rows and scores."""
    scores = {}
    for name, (model, rows) in models_and_rows().items():
        model.save(folder / f"{name}.safetensors")
        values = model.score_samples(rows).tolist()
        scores[name] = {"rows": rows.to_dict("list"), "scores": values}
    text = json.dumps({"format_version": FORMAT_VERSION, "models": scores}, indent=1)
    (folder / "scores.json").write_text(text + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    write(DATA)
