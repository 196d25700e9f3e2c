"""Whitening within labels, and the codes of what rows are given."""

import numpy as np
import pytest
from scipy import stats

from sklearn_jko.columns.input_codes import InputCodes
from sklearn_jko.columns.label_whitening import LabelWhitening


def labelled_rows(n, seed=0):
    """Rows of two labels with means and covariances of their own."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(2, size=n).astype(float)
    first = rng.multivariate_normal([0.5, -0.2], [[1.0, 0.8], [0.8, 1.0]], n)
    second = rng.multivariate_normal([-0.5, 0.2], [[0.1, 0.0], [0.0, 1.5]], n)
    return np.where(codes[:, None] == 0, first, second), codes


def log_density(Z, codes):
    first = stats.multivariate_normal([0.5, -0.2], [[1.0, 0.8], [0.8, 1.0]]).logpdf(Z)
    second = stats.multivariate_normal([-0.5, 0.2], [[0.1, 0.0], [0.0, 1.5]]).logpdf(Z)
    return np.where(codes == 0, first, second)


def test_a_normal_density_behind_it_is_that_of_each_label():
    Z, codes = labelled_rows(20_000)
    white, log_det = LabelWhitening(2).fit(Z, codes).transform(Z, codes)
    found = stats.norm.logpdf(white).sum(axis=1) + log_det
    assert abs(np.mean(found - log_density(Z, codes))) < 1e-3


def test_inverse_and_log_det():
    Z, codes = labelled_rows(200)
    codes[:5] = -1
    whitening = LabelWhitening(2).fit(Z, codes)
    white, log_det = whitening.transform(Z, codes)
    np.testing.assert_allclose(whitening.inverse_transform(white, codes), Z, rtol=1e-12)
    np.testing.assert_array_equal(white[:5], Z[:5])
    assert log_det[:5].tolist() == [0.0] * 5
    for k in (0, 1):
        assert log_det[codes == k] == pytest.approx(np.linalg.slogdet(whitening.whitening_[k])[1])
    whitening.check(2)


def test_labels_that_tell_nothing_leave_the_rows_nearly_as_they_are():
    rng = np.random.default_rng(0)
    Z, codes = rng.normal(size=(500, 5)), rng.integers(20, size=500).astype(float)
    white, _ = LabelWhitening(20).fit(Z, codes).transform(Z, codes)
    # A label's mean of 25 rows stays; its covariance does not.
    scale = np.linalg.svd(LabelWhitening(20).fit(Z, codes).whitening_, compute_uv=False)
    np.testing.assert_allclose(scale, 1.0, atol=0.1)
    assert np.abs(white - Z).max() < 1.0


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_labels_of_few_rows(n_rows):
    Z = np.zeros((n_rows, 3)) + 1.0
    whitening = LabelWhitening(4).fit(Z, np.full(n_rows, 2.0))
    white, log_det = whitening.transform(np.ones((4, 3)), np.array([0.0, 1, 2, 3]))
    assert np.isfinite(white).all()
    np.testing.assert_array_equal(white[[0, 1, 3]], 1.0)
    assert np.isfinite(log_det).all()


def test_too_many_labels_leave_all_as_it_is():
    rng = np.random.default_rng(0)
    Z, codes = rng.normal(size=(300, 30)), rng.integers(600, size=300).astype(float)
    white, log_det = LabelWhitening(600).fit(Z, codes).transform(Z, codes)
    np.testing.assert_array_equal(white, Z)
    assert not log_det.any()


def test_damaged_matrices_are_refused():
    whitening = LabelWhitening(2).fit(*labelled_rows(50))
    whitening.means_ = whitening.means_[:2]
    with pytest.raises(ValueError, match="means_ must be"):
        whitening.check(2)


def test_codes_tell_their_labels():
    rng = np.random.default_rng(0)
    X = np.c_[rng.integers(3, size=50), rng.normal(size=50), rng.integers(-1, 2, size=50)]
    codes = InputCodes(np.array([3, 0, 2])).fit(X)
    found = codes.transform(X)
    assert found.shape == (50, codes.n_codes) == (50, 6)
    np.testing.assert_array_equal(codes.labels(found), X[:, [0, 2]])
    assert not found[X[:, 2] == -1, 4:].any()
    assert abs(found[:, 0].mean()) < 1e-9
    assert found[:, 0].std() == pytest.approx(1.0)


def test_numbers_far_out_count_as_ten_deviations():
    codes = InputCodes(np.array([0])).fit(np.random.default_rng(0).normal(size=(100, 1)))
    assert codes.transform(np.array([[1e300], [-1e300]])).tolist() == [[10.0], [-10.0]]
