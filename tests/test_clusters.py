"""Clusters of rows: how many there are, how wide they are, and of how many rows that is learned."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from sklearn_jko.statistics import clusters
from sklearn_jko.statistics.clusters import fit_clusters


def normal_clusters(n, n_clusters, d, width, seed):
    """Rows of normal clusters around normal means, and the log-density of each."""
    means = np.random.default_rng(0).normal(size=(n_clusters, d))
    rng = np.random.default_rng(seed)
    Z = means[rng.integers(n_clusters, size=n)] + width * rng.normal(size=(n, d))
    parts = [stats.norm.logpdf(Z, mean, width).sum(axis=1) for mean in means]
    return Z, logsumexp(parts, axis=0) - np.log(n_clusters)


def rings(n, seed):
    """Rows on four narrow rings, and the log-density of each."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, size=n)
    radius = rng.integers(1, 5, size=n) + 0.08 * rng.normal(size=n)
    parts = [stats.norm.logpdf(radius, of_ring, 0.08) for of_ring in range(1, 5)]
    log_density = logsumexp(parts, axis=0) - np.log(4 * 2 * np.pi * radius)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), log_density


@pytest.mark.parametrize(("n_clusters", "width"), [(2, 0.1), (5, 0.1), (8, 0.01), (12, 0.02)])
def test_tight_clusters_are_found(n_clusters, width):
    Z, _ = normal_clusters(600, n_clusters, 6, width, seed=1)
    held_out, truth = normal_clusters(2000, n_clusters, 6, width, seed=2)
    found, _ = fit_clusters(Z)
    assert len(found.weights) == n_clusters
    missed = (truth - found.log_density(held_out)).mean()
    # Means, weights and one pooled covariance are what there is to learn of the rows.
    n_learned = n_clusters * 7 + 6 * 7 / 2
    assert 0 < missed < 1.5 * n_learned / 2 / 600


@pytest.mark.parametrize(("n", "n_clusters", "d"), [(100, 3, 30), (300, 20, 10), (300, 20, 30)])
def test_clusters_of_fewer_rows_than_columns_are_found(n, n_clusters, d):
    """Each had a covariance of its own in EM, for which there were too few rows: none was found."""
    Z, _ = normal_clusters(n, n_clusters, d, 0.1, seed=1)
    held_out, truth = normal_clusters(2000, n_clusters, d, 0.1, seed=2)
    found, _ = fit_clusters(Z)
    missed = (truth - found.log_density(held_out)).mean()
    assert 0 < missed < n_clusters * d / n  # twice what their means alone leave to learn


def test_clusters_of_one_shape_and_many_sizes():
    """Their covariances were pulled to the mean one, which is that of the widest."""
    widths = np.array([0.01, 0.1, 1.0])
    means = np.random.default_rng(0).normal(size=(3, 10))

    def rows(n, seed):
        rng = np.random.default_rng(seed)
        of = rng.integers(3, size=n)
        return means[of] + widths[of, None] * rng.normal(size=(n, 10))

    held_out = rows(2000, seed=2)
    parts = [
        stats.norm.logpdf(held_out, mean, width).sum(axis=1)
        for mean, width in zip(means, widths, strict=True)
    ]
    truth = logsumexp(parts, axis=0) - np.log(3)
    found, _ = fit_clusters(rows(300, seed=1))
    assert 0 < (truth - found.log_density(held_out)).mean() < 0.6


def test_a_normal_sample_is_one_cluster():
    Z = np.random.default_rng(0).normal(size=(2000, 3))
    found, alone = fit_clusters(Z)
    assert len(found.weights) == len(alone.weights) == 1
    np.testing.assert_allclose(found.means, alone.means)
    np.testing.assert_allclose(found.covariances, alone.covariances)


def test_many_clusters_are_tried_where_few_gain_nothing():
    found, alone = fit_clusters(rings(1500, seed=4)[0] / 2)
    Z, truth = rings(4000, seed=2)
    of_found, of_alone = (mixture.log_density(Z / 2) - 2 * np.log(2) for mixture in (found, alone))
    assert len(found.weights) > 30
    assert (truth - of_found).mean() < 0.4
    assert (truth - of_alone).mean() > 1


def test_clusters_are_fitted_to_more_rows_than_choose_their_number(monkeypatch):
    Z, _ = normal_clusters(4000, 8, 6, 0.1, seed=1)
    held_out, truth = normal_clusters(4000, 8, 6, 0.1, seed=2)
    monkeypatch.setattr(clusters, "MAX_ROWS_OF_SEARCH", 200)
    missed = []
    for most in (200, 4000):
        monkeypatch.setattr(clusters, "MAX_ROWS", most)
        found, _ = fit_clusters(Z)
        assert len(found.weights) == 8
        missed.append((truth - found.log_density(held_out)).mean())
    assert 0 < missed[1] < missed[0] / 8


@pytest.mark.parametrize("n", [1, 2, 5, 19, 20, 30])
def test_few_rows_of_many_columns_have_a_density(n):
    Z = np.random.default_rng(0).normal(size=(n, 25))
    Z[:, 3] = 0.0
    for mixture in fit_clusters(Z):
        assert np.isfinite(mixture.log_density(Z)).all()
        assert np.linalg.eigvalsh(mixture.covariances).min() > 0


def test_copies_of_a_row_are_no_cluster():
    Z = np.repeat(np.random.default_rng(0).normal(size=(40, 2)), 20, axis=0)
    found, _ = fit_clusters(Z)
    assert len(found.weights) <= 40 * 3 // 4 // (2 * 2)
