"""Rows with missing values: densities of what is observed, and draws of what is not."""

import numpy as np
import pytest
from mixtures import observed_part, rows_of
from scipy import integrate, stats
from scipy.special import logsumexp
from scipy.stats import qmc

from sklearn_jko.missing.importance_sampling import (
    REPLICATES,
    ROWS_AT_ONCE,
    draw_missing,
    observed_log_density,
)
from sklearn_jko.missing.marginal_mixture import MarginalMixture
from sklearn_jko.statistics.normal_mixture import NormalMixture

D = 6
ROOT = np.random.default_rng(7).normal(size=(D, D)) / D + 0.5 * np.eye(D)
NORMAL = NormalMixture.single(np.full(D, 0.5), ROOT @ ROOT.T)
MIXTURE = NormalMixture(
    np.array([0.3, 0.7]),
    np.stack([np.linspace(-2, 2, D), np.linspace(1, -1, D)]),
    np.stack([ROOT @ ROOT.T, 0.3 * np.eye(D) + 0.2]),
)


def without_some(X, n_missing, seed=0):
    """The rows without so many values each."""
    order = np.random.default_rng(seed).random(X.shape).argsort(axis=1)
    return np.where(order < n_missing, np.nan, X)


def banana_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return np.c_[x, x**2 + 0.3 * rng.normal(size=n)]


def banana(X):
    return stats.norm.logpdf(X[:, 0]) + stats.norm.logpdf(X[:, 1], X[:, 0] ** 2, 0.3)


@pytest.fixture(scope="module")
def proposals():
    """Fitted to draws from each density."""
    return {
        "normal": MarginalMixture().fit(rows_of(NORMAL, 3000), seed=0),
        "mixture": MarginalMixture().fit(rows_of(MIXTURE, 3000), seed=0),
        "banana": MarginalMixture().fit(banana_rows(3000), seed=0),
    }


DENSITIES = {"normal": NORMAL, "mixture": MIXTURE}
every_density = pytest.mark.parametrize("name", DENSITIES)


@every_density
@pytest.mark.parametrize(("n_missing", "accuracy"), [(1, 0.02), (3, 0.05), (5, 0.1)])
def test_observed_density_is_the_exact_marginal(proposals, name, n_missing, accuracy):
    density = DENSITIES[name]
    X = without_some(rows_of(density, 100, seed=1), n_missing)
    log_p, error = observed_log_density(density.log_density, proposals[name], X, 512, seed=0)
    miss = log_p - observed_part(density, X)
    assert np.sqrt((miss**2).mean()) < accuracy
    assert (error > 0).all()
    assert np.sqrt((error**2).mean()) < accuracy


def test_observed_density_of_a_banana_is_that_of_quadrature(proposals):
    X = np.array([[np.nan, 3.0], [np.nan, 0.0], [np.nan, -0.5], [1.0, np.nan], [-2.0, np.nan]])
    log_p, error = observed_log_density(banana, proposals["banana"], X, 1024, seed=0)

    def joint(x, y):
        return np.exp(banana(np.array([[x, y]]))[0])

    by_quadrature = [integrate.quad(joint, -4, 4, args=(y,), limit=200)[0] for y in X[:3, 1]]
    expected = np.r_[np.log(by_quadrature), stats.norm.logpdf(X[3:, 0])]
    assert (np.abs(log_p - expected) < 4 * error).all()
    np.testing.assert_allclose(log_p, expected, atol=0.05)


@pytest.mark.parametrize("columns", [(0,), (1, 2), (0, 1, 2)])
def test_proposal_own_density_has_its_exact_marginal(columns):
    """In the units of X, with the slopes of the columns' maps."""
    rng = np.random.default_rng(0)
    X = np.exp(rng.normal(size=(1000, 3)) @ (np.eye(3) + 0.4)) * [1e-3, 1.0, 1e3]
    proposal = MarginalMixture().fit(X, seed=0)
    mixture = proposal.mixture_

    def log_density(rows):
        Z, log_slope = proposal.transform(rows)
        return mixture.log_density(Z) + log_slope.sum(axis=1)

    rows = X[:30].copy()
    rows[:, columns] = np.nan
    log_p, error = observed_log_density(log_density, proposal, rows, 1024, seed=0)
    Z, log_slope = proposal.transform(rows)
    expected = np.nansum(log_slope, axis=1)
    if len(columns) < 3:
        expected += observed_part(mixture, Z)
    np.testing.assert_allclose(log_p, expected, atol=0.02)
    assert (error < 0.02).all()


def test_standard_error_tells_the_error(proposals):
    X = np.concatenate([without_some(rows_of(MIXTURE, 60, seed=m), m) for m in (1, 2, 4)])
    runs = [
        observed_log_density(MIXTURE.log_density, proposals["mixture"], X, 256, seed)
        for seed in range(16)
    ]
    log_p, error = (np.stack(part) for part in zip(*runs, strict=True))
    miss = log_p - observed_part(MIXTURE, X)
    assert (np.abs(miss) < 4 * error).mean() > 0.99
    told, found = np.sqrt((error**2).mean(axis=0)), log_p.std(axis=0, ddof=1)
    assert 0.8 < np.median(told / found) < 1.25
    assert np.mean((told / found > 0.5) & (told / found < 2)) > 0.95


def test_errors_of_many_rows_cancel_out(proposals):
    """They were the same for all rows: 1,000 rows were 8 nats off in sum."""
    X = without_some(rows_of(NORMAL, 1000, seed=1), 1)
    log_p, error = observed_log_density(NORMAL.log_density, proposals["normal"], X, 64, seed=0)
    miss = log_p - observed_part(NORMAL, X)
    bias = -0.5 * (error**2).mean()  # of the logarithm
    assert abs(miss.mean() - bias) < 4 * np.sqrt((error**2).mean() / len(X))


def test_complete_rows_are_exact_and_empty_ones_certain(proposals):
    X = np.r_[rows_of(MIXTURE, 5), np.full((2, D), np.nan)]
    log_p, error = observed_log_density(MIXTURE.log_density, proposals["mixture"], X, 64, seed=0)
    np.testing.assert_array_equal(log_p[:5], MIXTURE.log_density(X[:5]))
    np.testing.assert_array_equal(log_p[5:], 0)
    np.testing.assert_array_equal(error, 0)


def smooth(X):
    """A log-density, up to a constant, whose rows do not feel each other to the last bit."""
    return -0.5 * (X**2).sum(axis=1) - 0.1 * X[:, 0] ** 4


@pytest.mark.parametrize("n_draws", [64, 1024])
def test_a_row_depends_on_itself_and_the_seed_alone(proposals, n_draws):
    X = np.concatenate([without_some(rows_of(MIXTURE, 20, seed=m), m) for m in range(D + 1)])

    def of(rows):
        return np.stack(
            observed_log_density(smooth, proposals["mixture"], rows, n_draws, seed=3), axis=1
        )

    whole = of(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(of(X[order]), whole[order])
    np.testing.assert_array_equal(of(X[::7]), whole[::7])
    np.testing.assert_array_equal(np.concatenate([of(X[i : i + 1]) for i in range(140)]), whole)


def test_points_of_a_seed_are_made_once(proposals, monkeypatch):
    X = np.where(np.arange(D) == 0, np.nan, np.zeros((1, D)))
    first = observed_log_density(smooth, proposals["mixture"], X, 128, seed=11)
    monkeypatch.setattr(qmc, "Sobol", None)
    again = observed_log_density(smooth, proposals["mixture"], X, 128, seed=11)
    np.testing.assert_array_equal(again, first)


def test_seeds_differ(proposals):
    X = without_some(rows_of(MIXTURE, 10), 2)
    runs = [
        observed_log_density(MIXTURE.log_density, proposals["mixture"], X, 64, seed)[0]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).all()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_move_the_density_of_the_observed_columns_only(proposals, scale):
    X = without_some(rows_of(MIXTURE, 20), 3)
    proposal = MarginalMixture().fit(scale * rows_of(MIXTURE, 3000), seed=0)

    def log_density(rows):
        return MIXTURE.log_density(rows / scale) - D * np.log(scale)

    found, _ = observed_log_density(log_density, proposal, scale * X, 256, seed=0)
    plain, _ = observed_log_density(MIXTURE.log_density, proposals["mixture"], X, 256, seed=0)
    np.testing.assert_allclose(found, plain - (D - 3) * np.log(scale), atol=0.01)


def test_work_is_done_in_parts(proposals):
    sizes = []

    def log_density(rows):
        sizes.append(len(rows))
        return MIXTURE.log_density(rows)

    X = without_some(rows_of(MIXTURE, 100), 2)
    observed_log_density(log_density, proposals["mixture"], X, 256, seed=0)
    draw_missing(log_density, proposals["mixture"], X, 50, np.random.default_rng(0))
    assert sum(sizes) == 100 * (256 + 50)
    assert max(sizes) <= ROWS_AT_ONCE


@pytest.mark.parametrize("n_draws", [0, 8, REPLICATES * 3, 250])
def test_unbalanced_numbers_of_draws_are_refused(proposals, n_draws):
    with pytest.raises(ValueError, match=f"n_draws={n_draws} must be 16 times a power of two"):
        observed_log_density(smooth, proposals["mixture"], np.zeros((1, D)), n_draws, seed=0)


def test_floor_of_log_densities_stays_finite(proposals):
    X = without_some(rows_of(MIXTURE, 5), 2)
    for parts in (lambda X: np.full(len(X), -1e300), lambda X: -1e5 * (X**2).sum(axis=1)):
        for result in observed_log_density(parts, proposals["mixture"], X, 64, seed=0):
            assert np.isfinite(result).all()


def test_draws_have_the_exact_conditional_moments(proposals):
    row = np.array([1.0, np.nan, 0.0, np.nan, np.nan, 0.3])
    gaps, n = np.isnan(row), 4000
    (mean,), (S,) = NORMAL.means, NORMAL.covariances
    slopes = np.linalg.solve(S[np.ix_(~gaps, ~gaps)], S[np.ix_(~gaps, gaps)])
    completed = draw_missing(
        NORMAL.log_density,
        proposals["normal"],
        np.tile(row, (n, 1)),
        32,
        np.random.default_rng(0),
    )
    np.testing.assert_array_equal(completed[:, ~gaps], np.tile(row[~gaps], (n, 1)))
    expected = S[np.ix_(gaps, gaps)] - S[np.ix_(gaps, ~gaps)] @ slopes
    deviation = np.sqrt(expected.diagonal())
    miss = completed[:, gaps].mean(axis=0) - mean[gaps] - (row - mean)[~gaps] @ slopes
    assert (np.abs(miss) < 4 * deviation / np.sqrt(n)).all()
    errors = (np.cov(completed[:, gaps].T) - expected) / np.outer(deviation, deviation)
    assert np.abs(errors).max() < 0.08


def test_draws_follow_the_density_and_not_the_proposal(monkeypatch):
    """One normal component does not know of the banana's two arms."""
    monkeypatch.setattr("sklearn_jko.statistics.clusters.N_CLUSTERS", ())
    proposal = MarginalMixture().fit(banana_rows(3000), seed=0)
    rows = np.tile([np.nan, 2.0], (1500, 1))
    completed = draw_missing(banana, proposal, rows, 256, np.random.default_rng(0))
    grid = np.linspace(-4, 4, 4001)
    log_p = banana(np.c_[grid, np.full(4001, 2.0)])
    cdf = np.cumsum(np.exp(log_p - logsumexp(log_p)))
    found = stats.kstest(completed[:, 0], lambda x: np.interp(x, grid, cdf))
    assert found.pvalue > 0.01
    by_proposal = proposal.fill(rows, np.random.default_rng(0))[:, 0]
    assert stats.kstest(by_proposal, lambda x: np.interp(x, grid, cdf)).pvalue < 1e-6


def test_rows_of_nan_alone_become_draws_from_the_density(proposals):
    rows = np.full((3000, 2), np.nan)
    drawn = draw_missing(banana, proposals["banana"], rows, 32, np.random.default_rng(0))
    assert stats.kstest(drawn[:, 0], "norm").pvalue > 0.01
    assert stats.kstest(drawn[:, 1] - drawn[:, 0] ** 2, "norm", args=(0, 0.3)).pvalue > 0.01


def test_complete_rows_stay_and_input_is_left_alone(proposals):
    X = rows_of(MIXTURE, 20)
    X[::2] = without_some(X[::2], 2)
    before = X.copy()
    drawn = draw_missing(MIXTURE.log_density, proposals["mixture"], X, 16, np.random.default_rng(0))
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(drawn[~np.isnan(X)], X[~np.isnan(X)])
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows(proposals, n):
    X = without_some(rows_of(MIXTURE, n), 2)
    log_p, error = observed_log_density(smooth, proposals["mixture"], X, 64, seed=0)
    assert log_p.shape == error.shape == (n,)
    assert draw_missing(smooth, proposals["mixture"], X, 16, np.random.default_rng(0)).shape == (
        n,
        D,
    )
