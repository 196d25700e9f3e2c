"""Collections of Dask: scored part by part, and fitted."""

import pickle

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, two_moons

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector

ROWS = two_moons(500, 3)
METHODS = ("score_samples", "transform", "decision_function", "predict", "p_values", "explain")


@pytest.fixture(scope="module")
def detector(moons):
    small = JKOFlowDensity("whiten", **{**SMALL, "max_iter": 20})
    return JKOFlowOutlierDetector(density=small, random_state=0).fit(moons[0])


@pytest.fixture(scope="module")
def of_frame(moons):
    frame = pd.DataFrame(moons[0], columns=["x", "y"])
    return JKOFlowDensity("whiten", **{**SMALL, "max_iter": 20}).fit(frame)


@pytest.mark.parametrize("chunks", [(200, 2), (77, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_lazy_array_holds_what_the_rows_give(fitted, detector, method, chunks):
    model = fitted if hasattr(fitted, method) else detector
    lazy = getattr(model, method)(da.from_array(ROWS, chunks=chunks))
    expected = getattr(model, method)(ROWS)
    assert isinstance(lazy, da.Array)
    assert lazy.shape == expected.shape
    assert lazy.dtype == expected.dtype
    np.testing.assert_allclose(lazy.compute(scheduler="sync"), expected, rtol=0, atol=1e-12)


def test_frames_go_by_name_and_may_have_empty_partitions(of_frame):
    frame = pd.DataFrame(ROWS, columns=["x", "y"])
    lazy = dd.from_pandas(frame, npartitions=3)
    some = lazy[lazy.x > lazy.x.max() - 0.5]
    scores = of_frame.score_samples(some).compute(scheduler="sync")
    expected = of_frame.score_samples(frame[frame.x > frame.x.max() - 0.5])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="feature names"):
        of_frame.score_samples(lazy[["y", "x"]]).compute(scheduler="sync")
    total = of_frame.score(lazy)
    assert total == pytest.approx(of_frame.score(frame))


def test_a_detector_scores_the_likelihood_part_by_part(detector):
    computed = []

    def part(block):
        computed.append(len(block))
        return block

    lazy = da.from_array(ROWS, chunks=(100, 2)).map_blocks(part, meta=np.empty((0, 2)))
    with dask.config.set(scheduler="sync"):
        assert detector.score(lazy) == pytest.approx(detector.score(ROWS))
    assert computed == 5 * [100]


def test_the_graph_holds_the_model_once(fitted):
    lazy = fitted.score_samples(da.from_array(ROWS, chunks=(10, 2)))
    holders = [key for key, task in dict(lazy.__dask_graph__()).items() if "JKOFlow" in str(key)]
    assert len(holders) == 1


def test_what_cannot_be_done_by_parts_is_told(fitted, detector):
    lazy = da.from_array(ROWS, chunks=(100, 2))
    with pytest.raises(ValueError, match="takes no other argument than X"):
        detector.predict(lazy, fdr=0.1)
    with pytest.raises(ValueError, match="score_samples takes no other argument than X"):
        fitted.score_samples(lazy, return_std=True)
    with pytest.raises(ValueError, match="X has 3 features, but JKOFlowDensity is expecting 2"):
        fitted.score_samples(da.ones((5, 3)))
    with pytest.raises(ValueError, match="not a table of rows and columns"):
        fitted.score_samples(da.ones(5))


def test_what_is_not_done_by_parts_refuses_collections(fitted, of_frame):
    lazy = da.from_array(ROWS, chunks=(200, 2))
    frame = dd.from_pandas(pd.DataFrame(ROWS, columns=["x", "y"]), npartitions=2)
    for method in (fitted.impute, fitted.inverse_transform):
        with pytest.raises(TypeError, match=r"is a collection of Dask.*pass X.compute\(\)"):
            method(lazy)
    with pytest.raises(TypeError, match=r"is a collection of Dask.*pass X.compute\(\)"):
        of_frame.impute(frame)
    given = JKOFlowDensity("standard", condition=["x"], max_blocks=0).fit(frame.compute())
    with pytest.raises(TypeError, match=r"condition is a collection.*condition.compute\(\)"):
        given.sample(1, condition=frame)


def test_an_option_may_be_spelled_as_it_is_by_default(fitted, detector):
    lazy = da.from_array(ROWS, chunks=(200, 2))
    np.testing.assert_array_equal(detector.predict(lazy, fdr=None), detector.predict(ROWS))
    np.testing.assert_array_equal(fitted.score_samples(lazy, False), fitted.score_samples(ROWS))


def test_a_lazy_array_is_not_put_into_a_frame(of_frame):
    """All parts were computed at once."""
    lazy = dd.from_pandas(pd.DataFrame(ROWS, columns=["x", "y"]), npartitions=2)
    density = pickle.loads(pickle.dumps(of_frame)).set_output(transform="pandas")
    with pytest.raises(
        TypeError, match=r"not a table of pandas; call set_output\(transform='default'\)"
    ):
        density.transform(lazy)
    np.testing.assert_array_equal(density.score_samples(lazy), of_frame.score_samples(lazy))


def test_masked_collections_miss_what_is_masked():
    X = np.ma.masked_array(ROWS, mask=np.abs(ROWS) > np.abs(ROWS).max() - 0.2)
    lazy = da.from_array(X, chunks=(200, 2))
    density = JKOFlowDensity("whiten", max_blocks=0, random_state=0)
    with pytest.warns(UserWarning, match="have missing values"):
        expected = density.fit(X).score_samples(ROWS)
    with pytest.warns(UserWarning, match="have missing values"):
        np.testing.assert_array_equal(density.fit(lazy).score_samples(ROWS), expected)


def test_fit_takes_a_collection(moons):
    settings = {"scaling": "whiten", **SMALL, "max_iter": 5}
    whole = JKOFlowDensity(**settings).fit(moons[0])
    for lazy in (
        da.from_array(moons[0], chunks=(300, 1)),
        dd.from_pandas(pd.DataFrame(moons[0]), npartitions=2),
    ):
        model = JKOFlowDensity(**settings).fit(lazy)
        np.testing.assert_array_equal(model.validation_indices_, whole.validation_indices_)
        np.testing.assert_array_equal(model.score_samples(ROWS), whole.score_samples(ROWS))


@pytest.mark.filterwarnings("error:X does not have valid feature names")
@pytest.mark.parametrize("columns", [None, {"x": (None, 1e9)}])
def test_a_lazy_frame_may_judge(moons, columns):
    """It went by the order of its columns, whatever their names."""
    X, judges = (pd.DataFrame(rows, columns=["x", "y"]) for rows in (moons[0][:200], moons[1]))
    lazy = dd.from_pandas(judges, npartitions=3)
    model = JKOFlowDensity("whiten", **{**SMALL, "columns": columns, "max_iter": 20})
    with dask.config.set(scheduler="sync"):
        scores = model.fit(X, X_val=lazy).score_samples(judges)
        with pytest.raises(ValueError, match="must be in the same order"):
            model.fit(X, X_val=lazy[["y", "x"]])
    np.testing.assert_array_equal(scores, model.fit(X, X_val=judges).score_samples(judges))
