"""The score of a detector, recomputed as docs/outliers.md tells it."""

import numpy as np
import pytest
from conftest import SMALL
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import norm

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.scaling import make_scaler

N_COLUMNS = 3


def rows_of(n, seed):
    return np.random.default_rng(seed).normal(size=(n, N_COLUMNS)) ** 3 @ [
        [1.0, 2.0, 0.0],
        [0.0, 1.0, -1.0],
        [0.0, 0.0, 5.0],
    ]


@pytest.fixture(scope="module")
def detector():
    density = JKOFlowDensity("whiten", **{**SMALL, "max_iter": 20, "max_blocks": 1})
    return JKOFlowOutlierDetector(density=density).fit(rows_of(400, 0))


def in_standard_columns(detector, *tables):
    scaler = make_scaler("tails+standard").fit(detector.neighbours_)
    return [scaler.transform(rows)[0] for rows in (detector.neighbours_, *tables)]


def independent(neighbours, rows):
    """Log-density of independent columns: the mean of normal ones and of splines."""
    made_normal, log_det = make_scaler("marginal").fit(neighbours).transform(rows)
    return (norm.logpdf(rows).sum(axis=1) + norm.logpdf(made_normal).sum(axis=1) + log_det) / 2


def by_neighbour(neighbours, rows, rank):
    """Log-density from the distance to the neighbour of this rank."""
    distance = np.sort(cdist(rows, neighbours), axis=1)[:, rank - 1]
    return -N_COLUMNS * np.log(distance + 0.01 * np.sqrt(N_COLUMNS))


def test_score_is_the_mean_with_the_weights_of_the_table(detector):
    X = rows_of(200, 1)
    neighbours, rows = in_standard_columns(detector, X)
    latent, far = detector.transform(X), round(np.sqrt(len(neighbours)))
    expected = (
        detector.density_.score_samples(X) / 3
        + independent(neighbours, rows) / 6
        + by_neighbour(neighbours, rows, 2) / 6
        + by_neighbour(neighbours, rows, far) / 6
        + by_neighbour(detector.latent_neighbours_, latent, 2) / 12
        + by_neighbour(detector.latent_neighbours_, latent, far) / 12
    )
    difference = detector.score_samples(X) - expected
    np.testing.assert_allclose(difference, difference.mean(), rtol=0, atol=1e-9)


def test_score_of_a_row_with_gaps_is_that_of_its_mean_over_eight_completions(detector, monkeypatch):
    X = rows_of(30, 2)
    X[:, 1] = np.nan
    tables, complete_scores = [], JKOFlowOutlierDetector._complete_scores

    def noted(self, evaluator, rows):
        tables.append(rows)
        return complete_scores(self, evaluator, rows)

    with monkeypatch.context() as patch:
        patch.setattr(JKOFlowOutlierDetector, "_complete_scores", noted)
        scores = detector.score_samples(X)
    (completions,) = tables
    completions = completions.reshape(8, *X.shape)
    assert (completions[:, :, [0, 2]] == X[:, [0, 2]]).all()
    of_each = [detector.score_samples(rows) for rows in completions]
    np.testing.assert_allclose(scores, logsumexp(of_each, axis=0, b=1 / 8), rtol=1e-9)

    neighbours, rows = in_standard_columns(detector, np.nan_to_num(X))
    distance = cdist(rows[:, [0, 2]], neighbours[:, [0, 2]])
    nearest = detector.neighbours_[np.argsort(distance, axis=1)[:, :4], 1]
    draws, copies = np.split(completions[:, :, 1], 2)
    np.testing.assert_array_equal(copies.T, nearest)
    assert len(np.unique(draws)) == draws.size
    assert not np.isin(draws, detector.neighbours_[:, 1]).any()
