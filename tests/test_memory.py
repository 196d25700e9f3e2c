"""Tables that are large, mapped from a file, or not in double precision."""

import tracemalloc

import numpy as np
import pytest
from conftest import SMALL, two_moons

from sklearn_jko import JKOFlowDensity, evaluation, flow
from sklearn_jko.fitting import course
from sklearn_jko.rows import resolution
from sklearn_jko.training import pilot, scaled_rows

N, D = 20_000, 50
PART = 300


@pytest.fixture
def small_parts(monkeypatch):
    """Parts so small that this file's tables are large beside them."""
    monkeypatch.setattr(evaluation, "ROWS_AT_ONCE", PART)
    monkeypatch.setattr(course, "MAX_SCALER_ROWS", PART)
    monkeypatch.setattr(scaled_rows, "ROWS_AT_ONCE", PART)
    monkeypatch.setattr(pilot, "MAX_ROWS", PART)
    monkeypatch.setattr(resolution, "MAX_ROWS", PART)
    monkeypatch.setattr(flow, "ROWS_AT_ONCE", PART)


def peak_of_numpy(function):
    function()  # what a first call imports does not count
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def mapped(X, folder):
    path = folder / "X.npy"
    np.save(path, X)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.filterwarnings("ignore:.*repeated values:UserWarning")
def test_fit_makes_no_second_table_in_double_precision(small_parts, tmp_path, tied):
    X = np.random.default_rng(0).normal(size=(N, D))
    X = mapped(X.round(1) if tied else X, tmp_path)
    model = JKOFlowDensity(
        "standard", hidden_layer_sizes=(8,), max_iter=2, max_blocks=1, random_state=0
    )
    # The held-out tenth, and whole columns for a moment.
    assert peak_of_numpy(lambda: model.fit(X)) < 0.5 * X.nbytes
    assert np.any(model.noise_width_) == tied


@pytest.mark.parametrize("method", ["score_samples", "transform", "sample"])
def test_calls_need_little_beside_what_they_return(small_parts, tmp_path, method):
    X = mapped(np.random.default_rng(0).normal(size=(N, D)), tmp_path)
    model = JKOFlowDensity("whiten", max_blocks=0).fit(X[:200])
    returned = X.nbytes / D if method == "score_samples" else X.nbytes
    call = getattr(model, method)
    peak = peak_of_numpy(lambda: call(N if method == "sample" else X))
    assert peak < returned + 0.2 * X.nbytes


def test_type_and_layout_of_the_table_do_not_matter(tmp_path):
    X = two_moons(300, 0).astype(np.float32)
    expected = JKOFlowDensity("standard", **SMALL).fit(X.astype(np.float64)).score_samples(X)
    for other in (X, np.asfortranarray(X), mapped(X, tmp_path), X[::1, ::-1][:, ::-1]):
        model = JKOFlowDensity("standard", **SMALL).fit(other)
        np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-12)
