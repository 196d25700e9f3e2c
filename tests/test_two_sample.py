"""Tests of samples against each other: known answers, and their level under the null."""

import math

import numpy as np
import pytest

from sklearn_jko import two_sample
from sklearn_jko.two_sample import classifier_test, median_distance, mmd_test


def rows(n, seed, shift=0.0, d=2):
    return np.random.default_rng(seed).normal(shift, size=(n, d))


def slow_mmd(X, Y, bandwidth):
    """The biased estimate by a double loop."""

    def mean_kernel(A, B):
        return np.mean([[np.exp(-np.sum((a - b) ** 2) / (2 * bandwidth**2)) for b in B] for a in A])

    return mean_kernel(X, X) + mean_kernel(Y, Y) - 2 * mean_kernel(X, Y)


@pytest.mark.parametrize("sizes", [(7, 7), (5, 12)])
@pytest.mark.parametrize("bandwidth", [0.1, 1.0])
def test_mmd_is_the_double_loop(sizes, bandwidth, monkeypatch):
    monkeypatch.setattr(two_sample, "NUMBERS_AT_ONCE", 4 * sum(sizes))
    X, Y = rows(sizes[0], 0), rows(sizes[1], 1, 0.5)
    test = mmd_test(X, Y, bandwidth, n_permutations=9, random_state=0)
    assert test.mmd == pytest.approx(slow_mmd(X, Y, bandwidth), rel=1e-9)


def test_a_random_permutation_is_the_discrepancy_of_its_parts():
    """All splits of two and two rows, by hand: the threshold is one of theirs."""
    pooled = rows(4, 0)
    parts = [([0, 1], [2, 3]), ([0, 2], [1, 3]), ([0, 3], [1, 2])]
    possible = [slow_mmd(pooled[a], pooled[b], 1.0) for a, b in parts]
    test = mmd_test(pooled[:2], pooled[2:], 1.0, n_permutations=200, alpha=0.01, random_state=0)
    assert test.threshold == pytest.approx(max(possible), rel=1e-9)
    assert test.p_value == pytest.approx(np.mean(np.array(possible) >= possible[0]), abs=0.15)


def test_one_sample_twice_is_no_discrepancy():
    X = rows(50, 0)
    test = mmd_test(X, X, 0.5, n_permutations=50, random_state=0)
    assert test.mmd == pytest.approx(0, abs=1e-12)
    assert test.p_value == 1.0


def test_levels_hold_under_the_null():
    """At 5 %, a right test of 100 pairs rejects at most 12 (99.9 % of the binomial)."""
    rejected = np.zeros(3)
    for seed in range(100):
        X, Y = rows(60, 2 * seed), rows(40, 2 * seed + 1)
        mmd = mmd_test(X, Y, 0.5, n_permutations=100, random_state=seed)
        rejected[0] += mmd.mmd > mmd.threshold
        rejected[1] += mmd.p_value <= 0.05
    for seed in range(20):
        X, Y = rows(60, 2 * seed), rows(60, 2 * seed + 1)
        rejected[2] += classifier_test(X, Y, random_state=seed).p_value <= 0.05
    assert rejected[0] <= 12
    assert rejected[1] <= 12
    assert rejected[2] <= 5  # of 20


def test_a_difference_is_found():
    X, Y = rows(300, 0), rows(300, 1, 1.0)
    mmd = mmd_test(X, Y, 0.5, random_state=0)
    assert mmd.mmd > 2 * mmd.threshold
    assert mmd.p_value == pytest.approx(1 / 501)
    classifier = classifier_test(X, Y, random_state=0)
    assert classifier.accuracy > 0.7  # the best possible is Phi(sqrt(2) / 2) = 0.76
    assert classifier.accuracy < 0.81
    assert classifier.p_value < 1e-6


def test_chance_of_telling_all_rows_is_that_of_drawing_one_half():
    test = classifier_test(rows(100, 0), rows(100, 1, 100.0), random_state=0)
    assert test.accuracy == 1.0
    assert test.p_value == pytest.approx(1 / math.comb(100, 50), rel=1e-6)


def test_a_larger_sample_gives_a_classifier_no_advantage():
    test = classifier_test(rows(900, 0), rows(100, 1), random_state=0)
    assert abs(test.accuracy - 0.5) < 0.15
    assert test.p_value > 0.01


@pytest.mark.parametrize("function", [lambda *a, **k: mmd_test(*a, 0.5, **k), classifier_test])
def test_same_seed_same_floats(function):
    X, Y = rows(60, 0), rows(60, 1, 0.2)
    first, again = (function(X, Y, random_state=3) for _ in range(2))
    assert first == again
    assert all(type(value) is float for value in first)


def test_median_distance():
    assert median_distance([[0.0], [1.0], [3.0]]) == pytest.approx(2.0)
    many = rows(20_000, 0)
    # |x - y|^2 of two normal rows in the plane is 4 times an exponential variable.
    assert median_distance(many) == pytest.approx(2 * np.sqrt(np.log(2)), rel=0.05)


def test_bad_input():
    X = rows(10, 0)
    with pytest.raises(ValueError, match="X has 2 columns, but Y has 3"):
        mmd_test(X, rows(10, 0, d=3), 1.0)
    with pytest.raises(ValueError, match=r"bandwidth must be positive; got 0\.0"):
        mmd_test(X, X, 0.0)
    for n in (0, -1, 2.0):
        with pytest.raises(ValueError, match=f"n_permutations must be .* integer; got {n}"):
            mmd_test(X, X, 1.0, n_permutations=n)
    for alpha in (0, 1, -0.1):
        with pytest.raises(ValueError, match=f"alpha must be between 0 and 1; got {alpha}"):
            mmd_test(X, X, 1.0, alpha=alpha)
    with pytest.raises(ValueError, match="NaN"):
        classifier_test(X, np.full((10, 2), np.nan))
    with pytest.raises(ValueError, match="minimum of 5"):
        classifier_test(X, X[:4])


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_mmd_does_not_depend_on_the_unit(unit):
    """Squared, distances were 0 or infinite."""
    X, Y = rows(20, 0), rows(30, 1, 0.5)
    expected = mmd_test(X, Y, 0.5, n_permutations=20, random_state=0)
    found = mmd_test(unit * X, unit * Y, 0.5 * unit, n_permutations=20, random_state=0)
    assert found == pytest.approx(expected, rel=1e-9)
