"""Missing labels, and missing numbers beside labels, given all else that a row shows."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from sklearn_jko import JKOFlowDensity
from sklearn_jko.missing.label_draws import LabelDraws
from sklearn_jko.missing.labelled_mixture import LabelledMixture
from sklearn_jko.missing.within_labels import WithinLabels

PLACES = np.array([12.0, 0.0, 20.0, 4.0, 16.0, 8.0])  # of labels that are in no order
NO_BOUNDS = -np.inf, np.inf


def labelled_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(6, size=n)
    return np.c_[PLACES[codes] + rng.normal(size=n), codes]


def without(X, column, share, seed=1):
    X = X.copy()
    X[np.random.default_rng(seed).random(len(X)) < share, column] = np.nan
    return X


def draws(X, labels, n_labels):
    bounds = (np.full(X.shape[1], end) for end in NO_BOUNDS)
    return LabelDraws(*bounds, np.array(labels), np.array(n_labels)).fit(X)


def test_labels_in_no_order_are_found():
    X = labelled_rows(1000)
    gaps = without(X, 1, 0.3)
    filled = draws(gaps, [1], [6]).fill(gaps, np.random.default_rng(0))
    assert np.mean(filled == X, axis=0)[1] > 0.98  # Bayes' rule: 97 % of the gaps


def test_draws_have_the_posterior_probabilities():
    rng = np.random.default_rng(0)
    codes = rng.random(4000) < 0.3
    X = np.c_[2.0 * codes + rng.normal(size=4000), codes]
    asked = np.repeat([[1.0, np.nan], [2.0, np.nan]], 4000, axis=0)
    drawn = draws(X, [1], [2]).fill(asked, rng)[:, 1].reshape(2, -1).mean(axis=1)
    odds = 0.3 * norm.pdf([1, 2], 2) / (0.7 * norm.pdf([1, 2]))
    np.testing.assert_allclose(drawn, odds / (1 + odds), atol=0.05)


def test_labels_that_tell_of_each_other_still_do():
    rng = np.random.default_rng(0)
    first = rng.integers(4, size=2000)
    second = np.where(
        rng.random(2000) < 0.9, np.array([2, 0, 3, 1])[first], rng.integers(4, size=2000)
    )
    X = np.c_[rng.normal(size=2000), first, second]
    gaps = without(without(X, 1, 0.4), 2, 0.4, seed=2)
    filled = draws(gaps, [1, 2], [4, 4]).fill(gaps, rng)
    assert not np.isnan(filled).any()
    both = [np.mean(np.array([2, 0, 3, 1])[t[:, 1].astype(int)] == t[:, 2]) for t in (X, filled)]
    assert abs(both[0] - both[1]) < 0.03


def test_numbers_are_drawn_within_their_labels():
    X = labelled_rows(1000)
    gaps = without(X, 0, 0.4)
    bounds = (np.full(2, end) for end in NO_BOUNDS)
    mixture = LabelledMixture(*bounds, np.array([1]), np.array([len(PLACES)])).fit(gaps, seed=0)
    filled = mixture.fill(gaps, np.random.default_rng(0))
    drawn = np.isnan(gaps[:, 0])
    np.testing.assert_array_equal(filled[~drawn], X[~drawn])
    within = filled[drawn, 0] - PLACES[X[drawn, 1].astype(int)]
    assert abs(within.std() - 1) < 0.1
    assert abs(within.mean()) < 0.15


@pytest.mark.parametrize("low", [-np.inf, 0.0])
def test_standardising_within_labels_is_undone(low):
    X = labelled_rows(200)
    X[:, 0] = np.exp(X[:, 0] / 5)
    X[::7, 1] = np.nan
    bounds = np.array([low, -np.inf]), np.full(2, np.inf)
    within = WithinLabels(*bounds, np.array([1]), np.array([len(PLACES)])).fit(X)
    Z, _ = within.transform(X)
    np.testing.assert_allclose(within.inverse_transform(Z, X), X[:, :1])


def frame_of(X):
    return pd.DataFrame({"x": X[:, 0], "label": [f"l{k:.0f}" for k in X[:, 1]]})


@pytest.mark.parametrize("column", ["x", "label"])
@pytest.mark.filterwarnings("ignore:.*missing values")
def test_rows_with_gaps_do_no_harm(column):
    """As numbers in a mixture, codes in no order tore rows from their labels: 0.3 nats a row."""
    frame, fresh = frame_of(labelled_rows(1000)), frame_of(labelled_rows(1000, seed=2))
    gaps = frame.assign(**{column: frame[column].mask(np.random.default_rng(1).random(1000) < 0.3)})
    density = JKOFlowDensity("whiten", columns={"label": "category"}, max_blocks=0, random_state=0)
    found, dropped = (
        density.fit(table).score_samples(fresh).mean() for table in (gaps, gaps.dropna())
    )
    assert found > dropped - 0.02
