"""A density of rows with missing values: its EM algorithm, its mixture and its columns' maps."""

import numpy as np
import pytest
from mixtures import observed_part, rows_of, without_some
from scipy import stats

from sklearn_jko.missing.conditional_mixture import ConditionalMixture
from sklearn_jko.missing.incomplete_normal import fit_normal, marginal_log_density, patterns, shrunk
from sklearn_jko.missing.marginal_mixture import MarginalMixture
from sklearn_jko.scaling.marginal import Marginal
from sklearn_jko.statistics.normal_mixture import NormalMixture

COVARIANCE = np.array([[1.0, 0.6, -0.3], [0.6, 1.2, 0.2], [-0.3, 0.2, 0.8]])


def normal_rows(n, seed=0):
    return np.random.default_rng(seed).multivariate_normal([0.1, -0.2, 0.0], COVARIANCE, n)


def skewed_rows(n, seed=0):
    return np.exp(normal_rows(n, seed)) * [1.0, 1e6, 1e-6]


def two_clusters(d=3):
    return NormalMixture(
        np.array([0.3, 0.7]),
        np.stack([np.full(d, -1.0), np.full(d, 1.0)]),
        np.stack([0.1 * np.eye(d) + 0.1, 0.3 * np.eye(d)]),
    )


def test_em_of_complete_rows_is_the_shrunk_sample_covariance():
    Z = normal_rows(500)
    mean, covariance = fit_normal(Z)
    np.testing.assert_allclose(mean, Z.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(covariance, shrunk(np.cov(Z.T, bias=True), 500), atol=1e-12)


def test_em_of_one_incomplete_column_is_the_regression_on_the_others():
    """Anderson (1957): the maximum-likelihood estimate of a monotone pattern, in closed form."""
    Z = normal_rows(20_000)
    seen = np.arange(len(Z)) < 14_000
    design = np.c_[np.ones(seen.sum()), Z[seen, :2]]
    slopes, residual, *_ = np.linalg.lstsq(design, Z[seen, 2])
    S = np.cov(Z[:, :2].T, bias=True)
    expected_mean = slopes[0] + Z[:, :2].mean(axis=0) @ slopes[1:]
    expected_variance = residual[0] / seen.sum() + slopes[1:] @ S @ slopes[1:]
    Z[~seen, 2] = np.nan
    mean, covariance = fit_normal(Z)
    np.testing.assert_allclose(mean[2], expected_mean, atol=3e-4)
    np.testing.assert_allclose(covariance[2], [*(S @ slopes[1:]), expected_variance], atol=5e-4)


def test_em_is_not_biased_by_what_is_missing_at_random():
    Z = normal_rows(20_000)
    Z[Z[:, 0] > 0, 1] = np.nan
    mean, covariance = fit_normal(Z)
    assert np.nanmean(Z[:, 1]) < -0.5  # of the rows at hand
    np.testing.assert_allclose(mean, [0.1, -0.2, 0.0], atol=0.04)
    np.testing.assert_allclose(covariance, COVARIANCE, atol=0.05)


def test_em_leaves_out_rows_of_nan_alone():
    Z = without_some(normal_rows(300), 0.1)
    padded = np.r_[Z, np.full((50, 3), np.nan)]
    kept = Z[~np.isnan(Z).all(axis=1)]
    for ours, theirs in zip(fit_normal(padded), fit_normal(kept), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_em_of_as_many_patterns_as_rows_is_bounded(monkeypatch):
    monkeypatch.setattr("sklearn_jko.missing.incomplete_normal.MAX_PATTERNS", 100)
    Z = without_some(np.random.default_rng(0).normal(size=(3000, 12)), 0.5)
    mean, covariance = fit_normal(Z)
    assert np.abs(mean).max() < 0.6
    assert np.abs(covariance - np.eye(12)).max() < 0.8


@pytest.mark.parametrize("n", [1, 5, 20])
def test_covariance_of_few_rows_is_well_conditioned(n):
    _, covariance = fit_normal(np.random.default_rng(0).normal(size=(n, 20)))
    assert np.linalg.cond(covariance) < 20


def test_patterns_name_every_row_once():
    missing = np.isnan(without_some(normal_rows(200), 0.4))
    found = patterns(missing)
    for pattern, rows in found:
        np.testing.assert_array_equal(missing[rows], np.broadcast_to(pattern, (len(rows), 3)))
    np.testing.assert_array_equal(np.sort(np.concatenate([rows for _, rows in found])), range(200))


def test_mixture_log_density_is_that_of_scipy():
    mixture = two_clusters()
    Z = rows_of(mixture, 50)
    expected = sum(
        w * stats.multivariate_normal(mean, cov).pdf(Z)
        for w, mean, cov in zip(*mixture, strict=True)
    )
    np.testing.assert_allclose(mixture.log_density(Z), np.log(expected), rtol=1e-10)


def test_density_of_what_rows_show_is_exact():
    mixture = two_clusters()
    Z = without_some(rows_of(mixture, 200), 0.4)
    is_empty = np.isnan(Z).all(axis=1)
    found = marginal_log_density(mixture, Z)
    np.testing.assert_allclose(found[~is_empty], observed_part(mixture, Z[~is_empty]), rtol=1e-10)
    assert is_empty.any()
    assert (found[is_empty] == 0).all()


@pytest.mark.parametrize("missing", [(0,), (0, 2), (0, 1, 2)])
def test_conditional_times_marginal_is_the_joint_density(missing):
    mixture = two_clusters()
    missing = np.isin(range(3), missing)
    conditional = ConditionalMixture(mixture, missing)
    for z in rows_of(mixture, 10):
        log_weights, means = conditional.given(z[~missing])
        covariances = conditional.roots @ np.swapaxes(conditional.roots, 1, 2)
        given = NormalMixture(np.exp(log_weights), means, covariances)
        joint = given.log_density(z[None, missing])
        if not missing.all():
            joint += mixture.marginal(~missing).log_density(z[None, ~missing])
        np.testing.assert_allclose(joint, mixture.log_density(z[None]), rtol=1e-10)


def test_coordinates_of_complete_rows_are_those_of_the_scaler():
    X = skewed_rows(500)
    density, scaler = MarginalMixture().fit(X, seed=0), Marginal().fit(X)
    Z, log_slope = density.transform(X)
    expected, log_det = scaler.transform(X)
    np.testing.assert_array_equal(Z, expected)
    np.testing.assert_allclose(log_slope.sum(axis=1), log_det, rtol=1e-12)
    np.testing.assert_array_equal(density.inverse_transform(Z), scaler.inverse_transform(Z))


@pytest.mark.filterwarnings("error")
def test_coordinates_are_nan_where_values_are():
    X = without_some(skewed_rows(500), 0.3)
    for part in MarginalMixture().fit(X, seed=0).transform(X):
        np.testing.assert_array_equal(np.isnan(part), np.isnan(X))


def test_mixture_is_found_behind_missing_values():
    mixture = two_clusters()
    held_out = rows_of(mixture, 2000, seed=1)
    density = MarginalMixture().fit(without_some(rows_of(mixture, 3000), 0.3), seed=0)
    Z, log_slope = density.transform(held_out)
    found = density.mixture_.log_density(Z)
    assert (mixture.log_density(held_out) - found - log_slope.sum(axis=1)).mean() < 0.2


def test_draws_have_the_conditional_moments():
    density = MarginalMixture().fit(normal_rows(20_000), seed=0)
    X = np.tile([1.0, np.nan, np.nan], (20_000, 1))
    drawn = density.fill(X, np.random.default_rng(0))[:, 1:]
    slope = COVARIANCE[0, 1:]
    np.testing.assert_allclose(drawn.mean(axis=0), [-0.2, 0.0] + 0.9 * slope, atol=0.04)
    expected = COVARIANCE[1:, 1:] - np.outer(slope, slope)
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.05)


DEGENERATE = {
    "constant": np.full((30, 3), 0.1),
    "one constant": np.c_[np.full(50, 7.0), np.linspace(0, 1, 50), np.linspace(1, 0, 50) ** 2],
    "ties": np.random.default_rng(0).integers(0, 3, size=(300, 3)).astype(float),
    "one value nearly always": np.repeat([[0.0, 1.0, 2.0], [2.0, -1.0, 3.0]], [990, 10], axis=0),
    "wide": np.random.default_rng(0).normal(size=(10, 30)),
    "equal columns": np.repeat(np.random.default_rng(0).normal(size=(200, 1)), 3, axis=1),
    "scales": np.random.default_rng(0).normal(size=(200, 3)) * [1e-9, 1.0, 1e9] + [0.0, 1e9, 1e9],
    "outlier": np.r_[normal_rows(200), [[1e300, -1e300, 0.0]]],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_tables_are_completed(name):
    whole = DEGENERATE[name]
    X = without_some(whole, 0.4)
    X[0] = whole[0]
    X[1] = np.nan
    before = X.copy()
    density = MarginalMixture().fit(X, seed=0)
    completed = density.fill(X, np.random.default_rng(0))
    assert np.isfinite(completed).all()
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(completed[~np.isnan(X)], X[~np.isnan(X)])


@pytest.mark.filterwarnings("error")
def test_column_with_one_observed_value():
    X = normal_rows(100)
    X[1:, 1] = np.nan
    completed = MarginalMixture().fit(X, seed=0).fill(X, np.random.default_rng(0))
    assert np.isfinite(completed).all()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_do_not_matter(scale):
    X = without_some(normal_rows(500), 0.2)
    drawn, rescaled = (
        MarginalMixture().fit(unit * X, seed=0).fill(unit * X, np.random.default_rng(0))
        for unit in (1.0, scale)
    )
    np.testing.assert_allclose(rescaled / scale, drawn, atol=1e-3)


@pytest.mark.parametrize(("low", "high"), [(0.0, np.inf), (-np.inf, 1.0), (0.0, 1.0)])
def test_draws_are_within_the_bounds(low, high):
    rng = np.random.default_rng(0)
    share = rng.beta(0.7, 0.7, size=1000)
    X = np.c_[share, share + rng.normal(size=1000)]
    X[::3, 0] = np.nan
    bounds = [np.array([low, -np.inf]), np.array([high, np.inf])]
    drawn = MarginalMixture(*bounds).fit(X, seed=0).fill(X, rng)[::3, 0]
    assert drawn.min() >= low
    assert drawn.max() <= high
    assert stats.ks_2samp(drawn, share).pvalue > 1e-3
