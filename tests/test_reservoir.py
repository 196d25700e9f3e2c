"""Tables that are too large, or come in parts, and the samples that are taken of them."""

import tracemalloc

import dask
import numpy as np
import pandas as pd
import polars as pl
import pyarrow
import pytest
import torch
from conftest import SMALL, two_moons
from scipy import sparse

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.rows import reservoir
from sklearn_jko.rows.reservoir import in_memory

D = 4


def table(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, D))


def batches(X, size):
    return (X[start : start + size] for start in range(0, len(X), size))


@pytest.fixture
def room_for(monkeypatch):
    """Let so many rows fit in memory."""

    def install(n):
        monkeypatch.setattr(reservoir, "MAX_NUMBERS", n * D)
        monkeypatch.setattr(reservoir, "NUMBERS_AT_ONCE", 64 * D)

    return install


@pytest.mark.parametrize("size", [1, 64, 100, 5000])
def test_streams_that_fit_are_kept_whole_and_in_order(size):
    X = table(100)
    sampled = in_memory(batches(X, size))
    np.testing.assert_array_equal(sampled.X, X)
    np.testing.assert_array_equal(sampled.indices, np.arange(100))


def test_tables_that_fit_are_left_as_they_are():
    X = table(100)
    for same in (X, X.tolist(), pd.DataFrame(X)):
        assert in_memory(same).X is same


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_sample_is_of_the_rows_it_numbers(room_for, make):
    room_for(300)
    X = table(5000)
    for source in (make(X), batches(make(X), 700)):
        sampled = in_memory(source)
        assert type(sampled.X) is type(make(X))
        assert len(sampled.X) == 300
        assert (np.diff(sampled.indices) > 0).all()
        np.testing.assert_array_equal(np.asarray(sampled.X), X[sampled.indices])


def test_sample_is_uniform(room_for):
    """Of 40 parts of the rows, each holds what a hypergeometric law allows."""
    room_for(4000)
    indices = in_memory(batches(table(20_000), 333)).indices
    counts = np.bincount(indices // 500, minlength=40)
    deviation = np.sqrt(4000 * (1 / 40) * (39 / 40) * (16_000 / 19_999))
    assert np.abs(counts - 100).max() < 4 * deviation
    assert np.square((counts - 100) / deviation).sum() == pytest.approx(40, abs=30)


def test_weights_are_in_proportion_to_what_they_were(room_for):
    """Heavy rows are all there, and sums are those of all rows without bias."""
    room_for(1000)
    X = table(20_000)
    weight = np.random.default_rng(1).exponential(size=len(X)) ** 3
    weight[:500] = 0.0
    sampled = in_memory(X, weight)
    assert len(sampled.X) == 1000
    assert sampled.indices.min() >= 500
    level = sampled.weight.min()
    assert np.isin(np.flatnonzero(weight > level), sampled.indices).all()
    np.testing.assert_array_equal(sampled.weight, np.maximum(weight[sampled.indices], level))
    total, error = weight.sum(), level * np.sqrt(1000)
    assert sampled.weight.sum() == pytest.approx(total, abs=3 * error)
    assert sampled.weight @ sampled.X == pytest.approx(weight @ X, abs=5 * error)


def test_weights_of_a_stream_that_fits_are_kept():
    weight = np.arange(100.0)
    sampled = in_memory(batches(table(100), 30), weight)
    np.testing.assert_array_equal(sampled.indices, np.arange(1, 100))
    np.testing.assert_array_equal(sampled.weight, weight[1:])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("smallest", [1e-310, 5e-324])
def test_rows_of_tiny_weight_are_rows(room_for, smallest):
    weight = np.where(np.arange(100) < 50, smallest, 1.0)
    sampled = in_memory(batches(table(100), 30), weight)
    np.testing.assert_array_equal(sampled.weight, weight)
    room_for(300)
    sampled = in_memory(table(1000), np.full(1000, 1e3 * smallest))
    assert len(sampled.X) == 300
    assert sampled.weight.sum() == pytest.approx(1e6 * smallest, rel=0.2)


def test_what_streams_by_is_not_kept(room_for):
    room_for(1000)

    def made():
        for k in range(400):
            yield table(1000, seed=k)

    tracemalloc.start()
    try:
        in_memory(made())
        assert tracemalloc.get_traced_memory()[1] < 12 * 1000 * D * 8
    finally:
        tracemalloc.stop()


def test_fit_to_a_mapped_file_is_that_to_an_array_and_goes_with_its_weights(room_for, tmp_path):
    room_for(400)
    X = table(3000)
    X[:, 1] += 2 * X[:, 0] ** 2
    weight = np.where(X[:, 2] > 0, 2.0, 0.0)
    np.save(tmp_path / "X.npy", X)
    settings = {"scaling": "whiten", **SMALL, "max_iter": 5}
    models = [
        JKOFlowDensity(**settings).fit(source, sample_weight=weight)
        for source in (X, np.load(tmp_path / "X.npy", mmap_mode="r"), batches(X, 1234))
    ]
    held_out = models[0].validation_indices_
    assert (X[held_out, 2] > 0).all()
    assert held_out.max() > 400
    for model in models[1:]:
        np.testing.assert_array_equal(model.validation_indices_, held_out)
        np.testing.assert_array_equal(model.score_samples(X), models[0].score_samples(X))


def test_a_writable_mapping_keeps_what_was_written(room_for, tmp_path):
    room_for(100)
    np.save(tmp_path / "X.npy", table(1000))
    for mode in ("c", "r+"):
        X = np.load(tmp_path / "X.npy", mmap_mode=mode)
        X[7] = 3.0
        in_memory(X)
        np.testing.assert_array_equal(X[7], 3.0)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ([], "yielded no table"),
        ([table(5), table(5)[:, :2]], r"shape \(5, 2\).*as many columns as the first: 4"),
        ([np.ones(3)], r"shape \(3,\)"),
        (
            [pd.DataFrame(table(5), columns=[*"abcd"]), pd.DataFrame(table(5), columns=[*"abce"])],
            "'d'.*'e'",
        ),
    ],
)
def test_streams_of_anything_else_are_refused(stream, message):
    with pytest.raises(ValueError, match=message):
        JKOFlowDensity().fit(iter(stream))


def test_batches_of_pyarrow_are_frames():
    frame = pd.DataFrame(table(50), columns=[*"abcd"])
    whole = pyarrow.Table.from_pandas(frame)
    for given in (whole.to_batches(max_chunksize=20), [whole]):
        np.testing.assert_array_equal(in_memory(iter(given)).X, frame)
        assert in_memory(iter(given)).X.columns.tolist() == [*"abcd"]


def test_what_batches_mask_is_missing():
    """It was trained on as a value."""
    X = np.ma.masked_array(table(100), mask=table(100) > 1)
    stream = in_memory(iter([X[:30], X[30:]])).X
    np.testing.assert_array_equal(stream, X.filled(np.nan))


def test_labels_that_some_batches_read_as_numbers_are_refused(tmp_path):
    """As `read_csv` by chunks does: 1 and "1" were two labels."""
    labels = ["1", "2"] * 20 + ["1", "A"] * 10
    pd.DataFrame({"x": np.arange(60.0), "k": labels}).to_csv(tmp_path / "k.csv", index=False)
    with pytest.raises(
        ValueError, match="column 'k' holds strings in some and is of the type int64"
    ):
        in_memory(pd.read_csv(tmp_path / "k.csv", chunksize=20))
    texts = pd.read_csv(tmp_path / "k.csv", chunksize=20, dtype={"k": str})
    assert in_memory(texts).X["k"].tolist() == labels
    gaps = [pd.DataFrame({"k": [None, None]}, dtype=float), pd.DataFrame({"k": ["a", "b"]})]
    assert in_memory(iter(gaps)).X["k"].tolist()[2:] == ["a", "b"]


def test_batches_that_are_yet_to_be_computed_are_refused():
    frame = pl.DataFrame(table(50), schema=[*"abcd"])
    with pytest.raises(TypeError, match=r"a batch of X is a lazy frame of polars"):
        in_memory(iter([frame.lazy()]))
    with pytest.raises(ValueError, match="yielded frames of pandas and of polars"):
        in_memory(iter([frame, frame.to_pandas()]))
    with pytest.raises(TypeError, match="a batch of X is a collection of Dask"):
        in_memory(iter([dask.delayed(table(50))]))
    with pytest.raises(ValueError, match="not a table of rows and columns"):
        in_memory(dask.delayed(table(50)))


@pytest.mark.parametrize("weight", [np.ones(5), np.ones(120), -np.ones(100), np.full(100, np.nan)])
def test_weights_that_are_none_of_the_rows_are_refused(weight):
    with pytest.raises(ValueError, match=rf"sample_weight has {len(weight)} values"):
        JKOFlowDensity().fit(batches(table(100), 30), sample_weight=weight)


def test_streams_may_give_tensors():
    stream = (torch.from_numpy(part) for part in batches(table(100), 30))
    np.testing.assert_array_equal(in_memory(stream).X, table(100))


def test_sparse_tables_too_large_for_memory_are_refused_as_others_are(room_for):
    room_for(10)
    with pytest.raises(TypeError, match=r"X is a sparse matrix; pass X.toarray\(\)"):
        JKOFlowDensity().fit(sparse.csr_array(table(100)))


def test_weights_in_a_column_are_refused():
    with pytest.raises(ValueError, match=r"sample_weight has the shape \(100, 1\)"):
        JKOFlowDensity().fit(batches(table(100), 30), sample_weight=np.ones((100, 1)))


def test_batches_of_frames_with_categories_are_one_frame():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": two_moons(200, 0)[:, 0], "kind": rng.choice(["a", "b"], 200)})
    settings = {"columns": {"kind": "category"}, **SMALL, "max_blocks": 0}
    whole = JKOFlowDensity("standard", **settings).fit(frame)
    model = JKOFlowDensity("standard", **settings).fit(batches(frame, 60))
    np.testing.assert_array_equal(model.score_samples(frame), whole.score_samples(frame))


def test_numbers_beside_texts_in_batches_of_lists_stay_numbers():
    stream = iter([[[1.5, "a"], [2.5, "b"]], [[0.5, 1.0], [3.5, 2.0]]])
    assert in_memory(stream).X.tolist() == [[1.5, "a"], [2.5, "b"], [0.5, 1.0], [3.5, 2.0]]


@pytest.mark.parametrize(
    "empty",
    [
        pd.DataFrame(columns=[*"abcd"]),
        pl.DataFrame(schema=dict.fromkeys("abcd", pl.String)),
        np.empty((0, D), dtype=object),
    ],
    ids=["pandas", "polars", "numpy"],
)
def test_batches_without_rows_leave_the_types_alone(empty):
    frame = pd.DataFrame(table(100), columns=[*"abcd"])
    kind = type(empty)
    whole = kind(frame.to_dict("list")) if kind is not np.ndarray else frame.to_numpy()
    for parts in ([empty, whole], [whole[:30], empty, whole[30:]], [whole, empty]):
        stream = in_memory(iter(parts)).X
        assert np.asarray(stream).dtype == np.float64
        np.testing.assert_array_equal(stream, whole)
    assert in_memory(iter([empty, empty])).X.shape == (0, D)
    with pytest.raises(ValueError, match="shape"):
        in_memory(iter([whole, empty[:, :2] if kind is np.ndarray else empty[["a", "b"]]]))


def polars_batch(values, dtype):
    return pl.DataFrame({"x": pl.Series(values, dtype=dtype)})


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        (pl.Int64, pl.Float64, pl.Float64),
        (pl.Int16, pl.UInt8, pl.Int16),
        (pl.Null, pl.Int64, pl.Int64),
        (pl.Null, pl.String, pl.String),
    ],
)
def test_batches_of_polars_may_differ_in_their_types(first, second, common):
    parts = [polars_batch([None, None], first), polars_batch([None], second)]
    for stream in (parts, parts[::-1]):
        assert in_memory(iter(stream)).X["x"].dtype == common


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (["a"], pl.String, "'x' holds strings in some and is of the type Int64 in others"),
        ([[1]], pl.List(pl.Int64), "incompatible types"),
    ],
)
def test_batches_of_polars_of_texts_and_numbers_are_refused(values, dtype, message):
    """The numbers would be texts too."""
    with pytest.raises(ValueError, match=message):
        in_memory(iter([polars_batch([1], pl.Int64), polars_batch(values, dtype)]))


def test_a_detector_takes_a_stream(room_for):
    room_for(400)
    X = table(1000)
    small = JKOFlowDensity("whiten", **{**SMALL, "max_iter": 5})
    detectors = [
        JKOFlowOutlierDetector(density=small, random_state=0).fit(source)
        for source in (batches(X, 300), X, X[in_memory(X).indices])
    ]
    scores = [detector.score_samples(X[:50]) for detector in detectors]
    np.testing.assert_array_equal(scores[1], scores[0])
    np.testing.assert_array_equal(scores[2], scores[0])


def test_streams_are_for_fit_alone():
    X = table(100)
    small = JKOFlowDensity("standard", max_blocks=0)
    for model in (small.fit(X), JKOFlowOutlierDetector(density=small).fit(X)):
        with pytest.raises(TypeError, match=r"^X is an iterator \(generator\).*pass a table"):
            model.score_samples(batches(X, 30))
    with pytest.raises(TypeError, match=r"^X is an iterator \(generator\).*pass a table"):
        model.fit_predict(batches(X, 30))
    with pytest.raises(TypeError, match=r"^X_val is an iterator \(generator\).*pass a table"):
        small.fit(X, X_val=batches(X, 30))


@pytest.mark.parametrize(
    ("thing", "remedy"),
    [({"a": 1}, r"pandas.DataFrame\(\[{}\]\)"), ([object()], r"np.reshape\({}, \(1, -1\)\)")],
)
def test_what_is_no_table_is_told(thing, remedy):
    X = table(100)
    model = JKOFlowDensity("standard", max_blocks=0).fit(X)
    for method in (model.fit, model.score_samples):
        with pytest.raises(ValueError, match=rf"^X must be a table.*{remedy.format('X')}"):
            method(thing)
    with pytest.raises(ValueError, match=rf"^X_val must be a table.*{remedy.format('X_val')}"):
        model.fit(X, X_val=thing)
