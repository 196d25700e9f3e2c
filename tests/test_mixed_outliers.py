"""Outliers among rows of labels, integers and positive numbers."""

import pickle

import numpy as np
import pandas as pd
import pytest
from homes import COLUMNS, SMALLER, homes, with_gaps
from sklearn.metrics import roc_auc_score

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.detection.attribution import attribute
from sklearn_jko.detection.combined_score import SCALING, CombinedScore
from sklearn_jko.detection.coordinates import Coordinates
from sklearn_jko.detection.independent_columns import PRIOR_ROWS, IndependentColumns
from sklearn_jko.scaling import make_scaler


@pytest.fixture(scope="module")
def detector():
    density = JKOFlowDensity("standard", columns=COLUMNS, **SMALLER)
    return JKOFlowOutlierDetector(density=density, random_state=0).fit(homes(1500, seed=0))


STRANGE = {
    "a city's rooms are another's": pd.DataFrame(
        {"city": "Bonn", "rooms": [9, 10, 11, 12], "price": np.exp([0.9, 1.0, 1.1, 1.2])}
    ),
    "a price": homes(30, seed=2).assign(price=lambda frame: 15 * frame["price"]),
    "a price for the rooms": pd.DataFrame({"city": "Kiel", "rooms": 6, "price": [0.15, 0.2, 20]}),
}


@pytest.mark.parametrize("what", STRANGE)
def test_strange_rows_score_low(detector, what):
    normal, strange = homes(500, seed=1), STRANGE[what]
    X = pd.concat([normal, strange])
    is_normal = np.arange(len(X)) < len(normal)
    assert roc_auc_score(is_normal, detector.score_samples(X)) > 0.95
    assert 0.0 < np.mean(detector.p_values(normal) <= 0.1) < 0.2


def test_shares_add_up_and_name_the_column(detector):
    strange = STRANGE["a price"]
    shares, references = detector.explain(strange), detector.references(strange)
    difference = detector.score_samples(strange) - detector.score_samples(references)
    np.testing.assert_allclose(shares.sum(axis=1), difference, atol=1e-9)
    assert np.mean(shares.argmin(axis=1) == 2) > 0.9
    assert references.dtypes.tolist() == strange.dtypes.tolist()


def test_labels_change_at_once_and_in_the_middle():
    """Of a score that is the sum of a label's worth and of a number's cube."""
    worth = np.array([0.0, 3.0])

    def score(rows):
        return worth[rows[:, 0].astype(int)] + rows[:, 1] ** 3

    shares = attribute(score, np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]), label_columns=[0])
    np.testing.assert_allclose(shares, [[3.0, 7.0]])


def test_an_unknown_label_is_stranger_than_a_known_one(detector):
    frame = homes(20, seed=3)
    unknown = detector.score_samples(frame.assign(city="Rome"))
    assert (unknown < detector.score_samples(frame)).all()
    assert np.isfinite(unknown).all()
    gaps = frame.assign(rooms=None)
    unknown = detector.score_samples(gaps.assign(city="Rome"))
    assert (unknown < detector.score_samples(gaps) - 1).all()


def test_rows_may_miss_values(detector):
    frame = homes(12, seed=4)
    gaps = with_gaps(frame, 0.4, seed=0)
    gaps.loc[0] = None
    together = detector.score_samples(gaps)
    alone = [detector.score_samples(gaps.iloc[k : k + 1])[0] for k in range(12)]
    np.testing.assert_allclose(alone, together, rtol=1e-9)
    with pytest.raises(ValueError, match="have missing values: fill them in first"):
        detector.explain(gaps)


def test_a_fit_to_rows_with_gaps():
    frame = homes(400, seed=5)
    gaps = with_gaps(frame, 0.2, seed=0)
    density = JKOFlowDensity("standard", columns="auto", **{**SMALLER, "max_blocks": 0})
    with pytest.warns(UserWarning, match="have missing values"):
        detector = JKOFlowOutlierDetector(0.1, density=density).fit(gaps)
    assert np.isfinite(detector.score_samples(frame)).all()
    assert np.mean(detector.predict(gaps) == -1) == pytest.approx(0.1, abs=0.01)
    shares, references = detector.explain(frame), detector.references(frame)
    difference = detector.score_samples(frame) - detector.score_samples(references)
    np.testing.assert_allclose(shares.sum(axis=1), difference, atol=1e-6)  # of whole integers


def test_what_the_density_does_the_detector_does(detector):
    frame, density = homes(10, seed=6), detector.density_
    np.testing.assert_array_equal(detector.transform(frame), density.transform(frame))
    back = detector.inverse_transform(detector.transform(frame), frame[["city"]])
    pd.testing.assert_frame_equal(back, frame)
    assert detector.sample(5, 0).equals(density.sample(5, 0))
    assert detector.get_feature_names_out().shape == (2,)


def test_files_and_pickles(detector, tmp_path):
    frame = homes(20, seed=7).assign(price=None)
    detector.save(tmp_path / "detector.safetensors")
    for other in (
        JKOFlowOutlierDetector.load(tmp_path / "detector.safetensors"),
        pickle.loads(pickle.dumps(detector)),
    ):
        np.testing.assert_array_equal(other.score_samples(frame), detector.score_samples(frame))


def test_damaged_labels_are_refused(detector):
    state = detector._state()
    neighbours = state["fitted"]["neighbours_"].copy()
    neighbours[3, 0] = 3.0
    damaged = {**state, "fitted": {**state["fitted"], "neighbours_": neighbours}}
    with pytest.raises(ValueError, match="neighbours_"):
        JKOFlowOutlierDetector._from_state(damaged)


def test_points_of_rows():
    rows = np.array([[0.5, 0.0, 1.0], [2.0, 2.0, 1.0], [0.5, 0.0, 0.0], [0.5, -1.0, 0.0]])
    coordinates = Coordinates(rows[:3], label_columns=np.array([1, 2]), n_labels=[3, 2])
    points = coordinates.of(rows)
    squares = np.square(points[:, None] - points).sum(axis=2)
    differ = (rows[:, None] != rows)[:, :, 1:].sum(axis=2)
    np.testing.assert_allclose(squares, differ + np.square(rows[:, None, 0] - rows[:, 0]))
    assert coordinates.n_dimensions == 3


def test_log_density_of_independent_columns():
    numbers = np.random.default_rng(0).normal(size=(40, 1))
    labels = np.repeat([[0.0, 1.0], [0.0, 0.0], [2.0, 1.0], [2.0, 0.0]], 10, axis=0)
    rows = np.hstack([numbers, labels])
    columns = IndependentColumns(rows, label_columns=np.array([1, 2]), n_labels=[3, 2])
    new = np.array([[0.5, 0.0, 1.0], [2.0, 2.0, 1.0], [-9.0, 1.0, 0.0], [1e200, -1.0, 0.0]])
    log_density = columns.score_samples(new)
    counts = np.array([20, 20, 0, 0]) + PRIOR_ROWS, np.array([20, 20, 20, 20]) + PRIOR_ROWS
    log_shares = np.log(counts[0] / 42) + np.log(counts[1] / 41.5)
    z, log_slope = make_scaler("marginal").fit(numbers).transform(new[:, :1])
    own = log_slope - z[:, 0] ** 2 / 2
    normal = -(np.minimum(new[:, 0], 1e100) ** 2) / 2
    np.testing.assert_allclose(log_density, (own + normal) / 2 + log_shares)


def test_neighbours_of_rows_with_gaps_are_nearest_in_observed_columns():
    rng = np.random.default_rng(0)
    rows = np.c_[rng.normal(size=(40, 2)), rng.integers(3, size=40)]
    score = CombinedScore(rows, rows[:, :2], label_columns=np.array([2]), n_labels=[3])
    X = np.array([[0.3, np.nan, 1], [np.nan, -0.5, np.nan], [1.0, 2.0, np.nan], [np.nan] * 3])
    scaler = make_scaler(SCALING).fit(rows[:, :2])
    standard, places = (scaler.transform(part[:, :2])[0] for part in (rows, X))
    for x, place, found in zip(X, places, score.nearest_to_observed(X, 5), strict=True):
        squares = np.nan_to_num((standard - place) ** 2).sum(axis=1)
        squares += ~np.isnan(x[2]) & (rows[:, 2] != x[2])
        np.testing.assert_allclose(squares[found], np.sort(squares)[:5])
