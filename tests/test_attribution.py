"""Laws of the shares of columns in a difference of scores."""

import numpy as np
import pytest

from sklearn_jko.detection.attribution import attribute

X = np.random.default_rng(0).normal(size=(40, 3))
REFERENCE = np.random.default_rng(1).normal(size=(40, 3))


def rough(X):
    return np.sign(X[:, 0] - X[:, 1]) + np.abs(X[:, 1]) * X[:, 2] - np.floor(X[:, 2])


def test_shares_add_up_to_the_difference():
    shares = attribute(rough, X, REFERENCE)
    np.testing.assert_allclose(shares.sum(axis=1), rough(X) - rough(REFERENCE), atol=1e-12)


def test_a_sum_over_columns_is_divided_into_its_terms():
    shares = attribute(lambda X: (X**3).sum(axis=1), X, REFERENCE)
    np.testing.assert_allclose(shares, X**3 - REFERENCE**3, atol=1e-12)


def test_a_quadratic_form_gives_its_integrated_gradients():
    """Of x^T A x / 2 with a symmetric A: (x - r)_j times the gradient half way."""
    A = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 1.0]])
    shares = attribute(lambda X: 0.5 * np.einsum("ni,ij,nj->n", X, A, X), X, REFERENCE)
    np.testing.assert_allclose(shares, (X - REFERENCE) * ((X + REFERENCE) / 2 @ A), atol=1e-12)


def test_a_column_that_does_not_differ_has_no_share():
    reference = np.c_[X[:, 0], REFERENCE[:, 1:]]
    np.testing.assert_array_equal(attribute(rough, X, reference)[:, 0], 0)


@pytest.mark.filterwarnings("error")
def test_a_difference_of_the_largest_numbers_does_not_overflow():
    largest = np.full((1, 2), np.finfo(float).max)
    shares = attribute(lambda X: np.tanh(X / 1e300).sum(axis=1), largest, -largest)
    np.testing.assert_allclose(shares, 2 * np.tanh(1))


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows(n):
    assert attribute(rough, X[:n], REFERENCE[:n]).shape == (n, 3)


def test_rows_are_taken_in_parts(monkeypatch):
    whole = attribute(rough, X, REFERENCE)
    monkeypatch.setattr("sklearn_jko.detection.attribution.NUMBERS_AT_ONCE", 200)
    np.testing.assert_array_equal(attribute(rough, X, REFERENCE), whole)
