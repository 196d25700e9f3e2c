"""Whole weights are repeated rows up to 400,000 in all, as docs/guide.md says."""

import numpy as np
import pytest

from sklearn_jko import JKOFlowDensity

N, LIMIT = 100, 400_000
X = np.random.default_rng(0).normal(size=(N, 2))

pytestmark = pytest.mark.filterwarnings("ignore:.*repeated values")


def scores(rows, weight=None):
    density = JKOFlowDensity("standard", max_blocks=0, random_state=0)
    return density.fit(rows, sample_weight=weight).score_samples(X)


def weights_of(total):
    """Whole numbers without a common factor that add up to this."""
    weight = np.random.default_rng(1).integers(1, 2 * (total // N), size=N)
    weight[weight.argmax()] += total - weight.sum()
    assert np.gcd.reduce(weight) == 1
    return weight


def test_weights_up_to_the_limit_are_repeated_rows():
    weight = weights_of(LIMIT)
    np.testing.assert_array_equal(scores(X, weight), scores(X.repeat(weight, axis=0)))


def test_weights_beyond_the_limit_count_in_proportion():
    weight = weights_of(LIMIT + 1)
    found, repeated = scores(X, weight), scores(X.repeat(weight, axis=0))
    assert not np.array_equal(found, repeated)
    assert found == pytest.approx(repeated, abs=0.1)
