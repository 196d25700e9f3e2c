"""Outliers among rows of which some columns are given."""

import numpy as np
import pandas as pd
import pytest
from homes import COLUMNS, SMALLER, homes, with_gaps
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector

GIVEN = ["city", "rooms"]


def fitted(condition):
    density = JKOFlowDensity("standard", columns=COLUMNS, condition=condition, **SMALLER)
    return JKOFlowOutlierDetector(density=density).fit(homes(1500, seed=0))


@pytest.fixture(scope="module")
def detector():
    return fitted(GIVEN)


def dear(frame):
    """What costs eight times as much as other homes in the city with as many rooms."""
    return frame.assign(price=8 * frame["price"])


def test_score_is_the_mean_of_the_density_and_of_that_of_the_latent_rows(detector):
    frame = homes(200, seed=1)
    log_density = detector.density_.score_samples(frame)
    of_latent = norm.logpdf(detector.transform(frame)).sum(axis=1) + np.log(2 * np.pi) / 2
    expected = (log_density + of_latent) / 2
    np.testing.assert_allclose(detector.score_samples(frame), expected, rtol=1e-12)


def test_extreme_rows_have_finite_scores_and_are_outliers(detector):
    frame = homes(2, seed=1).assign(price=[1e-300, 1e300])
    assert np.isfinite(detector.score_samples(frame)).all()
    assert (detector.predict(frame) == -1).all()


def test_what_is_rare_given_the_condition_is_strange(detector):
    """Eight times the price of a small home in Bonn is that of a large one in Ulm."""
    frame = homes(500, seed=1)
    X = pd.concat([frame, dear(frame)])
    is_normal = np.arange(len(X)) < len(frame)
    assert roc_auc_score(is_normal, detector.score_samples(X)) > 0.95
    assert np.mean(detector.predict(dear(frame), fdr=0.1) == -1) > 0.8


def test_a_rare_condition_is_not_strange(detector):
    """One home of ten is in Ulm, where homes are large."""
    frame = homes(6000, seed=2).query("city == 'Ulm'")
    assert np.mean(detector.p_values(frame) <= 0.1) < 0.25
    assert np.mean(fitted(None).p_values(frame) <= 0.1) > 0.35


def test_shares_add_up_and_name_the_column(detector):
    strange = dear(homes(30, seed=3))
    shares, references = detector.explain(strange), detector.references(strange)
    difference = detector.score_samples(strange) - detector.score_samples(references)
    np.testing.assert_allclose(shares.sum(axis=1), difference, atol=1e-9)
    assert np.mean(shares.argmin(axis=1) == 2) > 0.9


def test_strange_rows_are_compared_with_rows_of_the_same_condition(detector):
    """They were with rows whose price is near too, so that the condition took the blame."""
    strange = dear(dear(homes(30, seed=3)))
    references = detector.references(strange)
    assert (references["city"].to_numpy() == strange["city"].to_numpy()).all()
    assert np.abs(references["rooms"].to_numpy() - strange["rooms"].to_numpy()).max() <= 2
    shares = np.abs(detector.explain(strange))
    assert shares[:, :2].sum() < 0.05 * shares.sum()


def test_what_is_given_must_be_there_and_the_rest_may_be_missing(detector):
    gaps = homes(6, seed=4).assign(price=None)
    assert np.isfinite(detector.score_samples(gaps)).all()
    with pytest.raises(ValueError, match="rooms"):
        detector.score_samples(homes(6, seed=4).assign(rooms=None))


def test_fit_to_rows_with_gaps():
    frame = homes(400, seed=5)
    frame["price"] = with_gaps(frame, 0.3, seed=0)["price"]
    density = JKOFlowDensity("standard", columns=COLUMNS, condition=GIVEN, **SMALLER)
    with pytest.warns(UserWarning, match="price"):
        detector = JKOFlowOutlierDetector(density=density).fit(frame)
    frame = homes(200, seed=6)
    assert detector.score_samples(frame).mean() > detector.score_samples(dear(frame)).mean() + 1


def test_saved_and_loaded_and_drawn_from(detector, tmp_path):
    frame, path = homes(50, seed=7), tmp_path / "detector.safetensors"
    detector.save(path)
    loaded = JKOFlowOutlierDetector.load(path)
    np.testing.assert_array_equal(loaded.p_values(frame), detector.p_values(frame))
    drawn = loaded.sample(2, random_state=0, condition=frame[GIVEN])
    assert drawn["city"].tolist() == frame["city"].repeat(2).tolist()
