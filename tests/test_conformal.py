"""Validity of conformal p-values."""

import numpy as np
import pytest

from sklearn_jko.detection.conformal import conformal_p_values


def test_p_values_against_a_double_loop():
    rng = np.random.default_rng(0)
    scores, calibration = rng.integers(0, 9, 30), np.sort(rng.integers(0, 9, 20))
    slow = [(1 + sum(c <= s for c in calibration)) / 21 for s in scores]
    np.testing.assert_allclose(conformal_p_values(scores, calibration, len(calibration)), slow)


@pytest.mark.parametrize("level", [0.05, 0.2])
@pytest.mark.parametrize("ties", [False, True])
def test_p_values_are_valid_for_exchangeable_rows(level, ties):
    rng = np.random.default_rng(0)
    draws = rng.standard_cauchy((20_000, 40))
    draws = np.round(draws) if ties else draws
    p = [conformal_p_values(row[:1], np.sort(row[1:]), len(row) - 1)[0] for row in draws]
    share = np.mean(np.array(p) <= level)
    assert share <= level + 3 * np.sqrt(level / 20_000)
    if not ties:  # of 40 ranks, whole numbers of them are at or under these levels
        assert share == pytest.approx(level, abs=3 * np.sqrt(level / 20_000))


def test_weighted_calibration_is_repeated_calibration():
    calibration, scores = np.array([0.0, 1.0, 2.0]), np.array([-1.0, 0.5, 1.0, 9.0])
    np.testing.assert_allclose(
        conformal_p_values(scores, calibration, size=6),
        conformal_p_values(scores, calibration.repeat(2), size=6),
    )


def test_without_calibration_rows_nothing_is_rare():
    np.testing.assert_array_equal(conformal_p_values(np.array([-5.0]), np.empty(0), 0), 1)
