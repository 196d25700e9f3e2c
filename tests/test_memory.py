"""Tables that are large, mapped from a file, or not in double precision."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, two_moons
from scripts import load

from sklearn_jko import JKOFlowDensity, evaluation, flow
from sklearn_jko.fitting import course
from sklearn_jko.rows import resolution
from sklearn_jko.training import pilot, scaled_rows

N, D = 20_000, 50
# So small that this file's tables are large beside them.
PARTS = {
    evaluation: {"ROWS_AT_ONCE": 300},
    course: {"MAX_SCALER_ROWS": 300},
    scaled_rows: {"ROWS_AT_ONCE": 300},
    pilot: {"MAX_ROWS": 300},
    resolution: {"MAX_ROWS": 300},
    flow: {"ROWS_AT_ONCE": 300},
}
BENCHMARKS = Path(__file__).resolve().parent.parent / "examples" / "benchmarks"
measuring = load(BENCHMARKS / "measuring.py")
needs_proc = pytest.mark.skipif(not measuring.CLEAR.exists(), reason="needs Linux's /proc")


def in_new_process(function, *arguments):
    """What it returns where no memory that was freed before hides what it takes."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, context, prepare_process) as pool:
        return pool.submit(function, *arguments).result()


def prepare_process():
    torch.set_num_threads(1)
    measuring.free_at_once()
    for module, sizes in PARTS.items():
        vars(module).update(sizes)


def peak_memory_of(function, X):
    """NumPy's and torch's together, as a multiple of the mapped table, which is not counted."""
    X.sum()  # from here on it is in memory
    function()  # what a first call imports does not count
    return measuring.peak_memory_of(function) / X.nbytes


def peak_of_fit(path):
    """And whether noise was added."""
    X = np.load(path, mmap_mode="r")
    model = JKOFlowDensity(
        "standard", hidden_layer_sizes=(8,), max_iter=2, max_blocks=1, random_state=0
    )
    return peak_memory_of(lambda: model.fit(X), X), np.any(model.noise_width_)


def peak_of_call(path, method):
    X = np.load(path, mmap_mode="r")
    call = getattr(JKOFlowDensity("whiten", max_blocks=0).fit(X[:200]), method)
    return peak_memory_of(lambda: call(N if method == "sample" else X), X)


def saved(X, folder):
    path = folder / "X.npy"
    np.save(path, X)
    return path


@needs_proc
@pytest.mark.parametrize("tied", [False, True])
def test_fit_makes_no_second_table_in_double_precision(tmp_path, tied):
    X = np.random.default_rng(0).normal(size=(N, D))
    path = saved(X.round(1) if tied else X, tmp_path)
    peak, is_noisy = in_new_process(peak_of_fit, path)
    # The training rows in single precision, the held-out tenth, and whole columns for a moment.
    assert 0.5 < peak < 1
    assert is_noisy == tied


@needs_proc
@pytest.mark.parametrize("method", ["score_samples", "transform", "sample"])
def test_calls_need_little_beside_what_they_return(tmp_path, method):
    path = saved(np.random.default_rng(0).normal(size=(N, D)), tmp_path)
    returned = 1 / D if method == "score_samples" else 1
    assert in_new_process(peak_of_call, path, method) < returned + 0.2


def test_type_and_layout_of_the_table_do_not_matter(tmp_path):
    X = two_moons(300, 0).astype(np.float32)
    expected = JKOFlowDensity("standard", **SMALL).fit(X.astype(np.float64)).score_samples(X)
    for other in (
        X,
        np.asfortranarray(X),
        np.load(saved(X, tmp_path), mmap_mode="r"),
        X[::1, ::-1][:, ::-1],
    ):
        model = JKOFlowDensity("standard", **SMALL).fit(other)
        np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-12)
