"""Frames, tensors, PyOD and scorers of one's own: other people's objects in and out."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow
import pytest
import torch
from conftest import SMALL
from numpy.testing import assert_allclose, assert_array_equal
from scripts import load
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector

pytestmark = pytest.mark.filterwarnings("ignore:.*hold repeated values")

PYOD_EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "pyod_detector.py"
NAMES = ["height", "width"]


def small_density(**parameters):
    return JKOFlowDensity("standard", **{**SMALL, "max_iter": 10, "max_blocks": 1, **parameters})


def small_detector():
    return JKOFlowOutlierDetector(density=small_density())


both = pytest.mark.parametrize("make", [small_density, small_detector])


@pytest.fixture(params=[pd, pl], ids=["pandas", "polars"])
def library(request):
    return request.param


def frame_of(library, X):
    return library.DataFrame({name: X[:, j] for j, name in enumerate(NAMES)})


@both
def test_a_frame_is_its_values(library, moons, make):
    X, held_out = moons[0][:200], moons[1]
    by_frame, by_array = make().fit(frame_of(library, X)), make().fit(X)
    assert by_frame.feature_names_in_.tolist() == NAMES
    frame = frame_of(library, held_out)
    assert_array_equal(by_frame.score_samples(frame), by_array.score_samples(held_out))
    assert_array_equal(by_frame.transform(frame), by_array.transform(held_out))
    assert by_frame.score(frame) == by_array.score(held_out)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        by_frame.score_samples(held_out)


@both
def test_a_table_of_pyarrow_goes_by_its_names(moons, make):
    """It had no `dtypes`, and with `columns` it was read as an array: by place."""
    frame = frame_of(pd, moons[0][:200])
    model = make().fit(pyarrow.Table.from_pandas(frame))
    assert model.feature_names_in_.tolist() == NAMES
    swapped = pyarrow.Table.from_pandas(frame[NAMES[::-1]])
    with pytest.raises(ValueError, match="must be in the same order"):
        model.score_samples(swapped)
    density = small_density(condition=["height"], columns={"width": (None, 1e9)})
    density.fit(pyarrow.Table.from_pandas(frame), X_val=pyarrow.Table.from_pandas(frame))
    alone, beside = frame[["height"]][:3], swapped.slice(0, 3)
    for condition in (pyarrow.Table.from_pandas(alone), beside, beside.to_batches()[0]):
        sample = density.sample(random_state=0, condition=condition)
        assert sample.equals(density.sample(random_state=0, condition=alone))


@both
@pytest.mark.parametrize("columns", [None, {0: (None, 1e9)}])
def test_names_that_repeat_are_told(moons, make, columns):
    """Scikit-learn ended in an error of a library that users need not know."""
    X = moons[0][:100]
    twice = pd.DataFrame(X, columns=["height", "height"])
    model = make()
    getattr(model, "density", model).set_params(columns=columns)
    with pytest.raises(ValueError, match="two columns have the name 'height'; rename one"):
        model.fit(twice)
    with pytest.raises(ValueError, match="two columns have the name 'height'; rename one"):
        model.fit(frame_of(pd, X)).score_samples(twice)


@both
def test_integers_too_large_for_a_float_are_told_by_their_column(make):
    X = [[0.5 * k, k] for k in range(30)]
    X[3][1] = 10**400
    with pytest.raises(ValueError, match="column 1 holds an integer that is too large"):
        make().fit(X)


@pytest.mark.parametrize("columns", [None, "auto"])
@pytest.mark.parametrize("cell", [[1], (1.0, 2.0), np.ones(3), ["a"], [[1], [1, 2]]], ids=str)
def test_lists_in_cells_are_told_by_their_column(columns, cell):
    x = np.random.default_rng(0).normal(size=30)
    table = pd.DataFrame({"height": x, "width": [cell] * 30})
    complete = pd.DataFrame({"height": x, "width": x[::-1]})
    density = small_density(columns=columns)
    message = r"column 'width': .* is not a number; convert it\.$"
    with pytest.raises(ValueError, match=message):
        density.fit(table)
    with pytest.raises(ValueError, match=message):
        density.fit(complete).score_samples(table)
    with pytest.raises(ValueError, match="X_val: " + message):
        density.fit(complete, X_val=table)


@both
def test_times_are_no_numbers(library, make):
    days = np.datetime64("2024-01-01", "us") + np.arange(50) * np.timedelta64(86_400_000_000, "us")
    for times in (days, days - days[0]):
        frame = library.DataFrame({"height": np.arange(50.0), "width": times})
        with pytest.raises(ValueError, match=r"'width' is of the type .*convert it"):
            make().fit(frame)
    with pytest.raises(ValueError, match="column 0 is of the type datetime64"):
        make().fit(days[:, None])


@both
def test_a_series_is_no_table(library, make):
    """A series of pandas ended in an error of its own type's."""
    frame = frame_of(library, np.random.default_rng(0).normal(size=(30, 2)))
    with pytest.raises(ValueError, match=r"[Ee]xpected.* 2"):
        make().fit(frame["height"])
    density = JKOFlowDensity("standard", max_blocks=0, columns="auto")
    for model in (density, JKOFlowOutlierDetector(density=density)):
        with pytest.raises(ValueError, match=r"X must be a table.*X.to_frame\(\)"):
            model.fit(frame["height"])
        with pytest.raises(ValueError, match=r"X must be a table.*X.to_frame\(\)"):
            model.fit(frame).score_samples(frame["height"])


@pytest.mark.parametrize("columns", [None, "auto"])
def test_a_lazy_frame_is_to_be_collected(columns):
    frame = pl.DataFrame({"a": [0.0, 1.0, 3.0], "b": [1.0, 0.0, 2.0]})
    density = JKOFlowDensity("standard", max_blocks=0, columns=columns)
    for model in (density, JKOFlowOutlierDetector(density=density)):
        with pytest.raises(TypeError, match=r"lazy frame of polars; pass X.collect\(\)"):
            model.fit(frame.lazy())
        with pytest.raises(TypeError, match=r"lazy frame of polars; pass X.collect\(\)"):
            model.fit(frame).score_samples(frame.lazy())
        with pytest.raises(TypeError, match=r"lazy frame of polars; pass X.collect\(\)"):
            model.inverse_transform(frame.lazy())


@pytest.mark.filterwarnings("error:X does not have valid feature names")
def test_a_detector_judges_frames(library, moons):
    X, held_out = moons[0][:200], moons[1][:20]
    by_frame, by_array = small_detector().fit(frame_of(library, X)), small_detector().fit(X)
    frame = frame_of(library, held_out)
    for method in ("predict", "decision_function", "p_values", "explain", "references"):
        assert_array_equal(getattr(by_frame, method)(frame), getattr(by_array, method)(held_out))


@both
def test_latent_coordinates_come_as_a_frame_of_any_library(library, moons, make):
    X = moons[0][:200]
    estimator = make().set_output(transform=library.__name__)
    for latent in (estimator.fit_transform(X), estimator.transform(X)):
        assert isinstance(latent, library.DataFrame)
        assert list(latent.columns) == estimator.get_feature_names_out().tolist()
        assert_array_equal(latent.to_numpy(), make().fit(X).transform(X))
    assert_allclose(estimator.inverse_transform(latent), X)


@both
def test_weights_may_be_a_series(library, moons, make):
    X, weight = moons[0][:200], np.arange(200.0) % 3
    by_series = make().fit(frame_of(library, X), sample_weight=library.Series(weight))
    by_array = make().fit(X, sample_weight=weight)
    assert_array_equal(
        by_series.score_samples(frame_of(library, X[:50])), by_array.score_samples(X[:50])
    )


def test_rows_that_judge_may_be_a_frame(library, moons):
    X, judges = moons[0][:200], moons[1]
    by_frame = small_density().fit(frame_of(library, X), X_val=frame_of(library, judges))
    by_array = small_density().fit(X, X_val=judges)
    expected = by_array.score_samples(judges)
    assert_array_equal(by_frame.score_samples(frame_of(library, judges)), expected)
    turned = frame_of(library, judges)[NAMES[::-1]]
    with pytest.raises(ValueError, match="must be in the same order"):
        small_density().fit(frame_of(library, X), X_val=turned)


@both
def test_columns_in_another_order_are_refused_and_gaps_are_scored(library, moons, make):
    estimator = make().fit(frame_of(library, moons[0][:200]))
    with pytest.raises(ValueError, match="must be in the same order"):
        estimator.score_samples(frame_of(library, moons[1])[NAMES[::-1]])
    gaps = library.DataFrame({"height": [1.0, None], "width": [1.0, 2.0]})
    assert np.isfinite(estimator.score_samples(gaps)).all()


@both
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64])
def test_a_tensor_is_its_values(moons, make, dtype):
    X = torch.tensor(1000 * moons[0][:200], dtype=dtype)
    by_tensor = make().fit(X, sample_weight=X[:, 0])
    by_array = make().fit(X.numpy(), sample_weight=X[:, 0].numpy())
    assert_array_equal(by_tensor.score_samples(X), by_array.score_samples(X.numpy()))
    latent = by_tensor.transform(X)
    assert_array_equal(
        by_tensor.inverse_transform(torch.tensor(latent)), by_array.inverse_transform(latent)
    )


def test_tensors_may_judge(moons):
    X, judges = moons[0][:200], moons[1]
    by_tensor = small_density().fit(torch.tensor(X), X_val=torch.tensor(judges))
    by_array = small_density().fit(X, X_val=judges)
    assert_array_equal(by_tensor.score_samples(judges), by_array.score_samples(judges))


@both
@pytest.mark.parametrize(
    ("prepare", "remedy"),
    [
        (lambda X: X.requires_grad_(), r"Use tensor\.detach\(\)"),
        (lambda X: X.to("meta"), r"Use Tensor\.cpu\(\)"),
        (lambda X: X.to_sparse(), r"Use Tensor\.to_dense\(\)"),
    ],
    ids=["gradient", "device", "sparse"],
)
def test_a_tensor_that_is_no_array_is_refused_with_the_remedy(moons, make, prepare, remedy):
    """Numbers without their gradient, or a silent copy off the device, would mislead."""
    estimator = make().fit(moons[0][:200])
    rows = prepare(torch.tensor(moons[1]))
    for method in (make().fit, estimator.score_samples, estimator.inverse_transform):
        with pytest.raises((RuntimeError, TypeError), match=remedy):
            method(rows)


def mean_log_likelihood(estimator, X, y=None):
    """Nats per row: comparable between folds and tables of other sizes."""
    return estimator.score_samples(X).mean()


def test_grid_search_takes_total_and_mean_log_likelihoods(moons):
    X = moons[0][:200]
    grid = {"scaling": ["standard", "whiten"]}
    total = GridSearchCV(small_density(), grid, cv=2).fit(X)
    mean = GridSearchCV(small_density(), grid, cv=2, scoring=mean_log_likelihood).fit(X)
    assert total.best_params_ == mean.best_params_
    assert_allclose(total.cv_results_["mean_test_score"], 100 * mean.cv_results_["mean_test_score"])
    assert_allclose(total.score(X), 200 * mean.score(X))
    both_scores = {
        "total": lambda estimator, X, y=None: estimator.score(X),
        "mean": mean_log_likelihood,
    }
    several = GridSearchCV(small_density(), grid, cv=2, scoring=both_scores, refit="mean").fit(X)
    assert several.best_params_ == mean.best_params_
    assert several.best_estimator_.score(X) == mean.best_estimator_.score(X)


@both
def test_pipelines_take_the_mean_too(moons, make):
    scores = cross_val_score(
        make_pipeline(StandardScaler(), make()), moons[0][:200], scoring=mean_log_likelihood, cv=2
    )
    assert np.isfinite(scores).all()


@pytest.fixture
def pyod_class():
    return load(PYOD_EXAMPLE).JKOFlow


def test_pyod_adapter_keeps_the_conventions_of_pyod(pyod_class, moons):
    X, far = moons[0][:200], moons[0][:200].mean(axis=0) + 20 * moons[0].std(axis=0)
    detector = pyod_class(contamination=0.05, density=small_density()).fit(X)
    assert detector.labels_.sum() == 10
    assert_array_equal(detector.labels_, detector.decision_scores_ > detector.threshold_)
    assert_array_equal(detector.decision_function(X), detector.decision_scores_)
    assert_array_equal(detector.predict(X), detector.labels_)
    assert detector.predict(far[None]) == 1
    assert_allclose(detector.predict_proba(far[None]), [[0, 1]])
    again = small_detector().fit(X)
    assert np.corrcoef(again.score_samples(X), detector.decision_scores_)[0, 1] == pytest.approx(-1)


def test_pyod_adapter_is_to_be_fitted_first(pyod_class, moons):
    for method in ("decision_function", "predict"):
        with pytest.raises(NotFittedError, match="This JKOFlow instance is not fitted yet"):
            getattr(pyod_class(), method)(moons[0])


def test_pyod_adapter_can_be_cloned(pyod_class, moons):
    X = moons[0][:200]
    detector = clone(pyod_class(contamination=0.2, density=small_density(), random_state=3)).fit(X)
    assert detector.labels_.sum() == 40
