"""Probabilities of integers: closed forms, the error told, and rows by themselves."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from sklearn_jko.columns import cells
from sklearn_jko.columns.cells import cell_log_probability

MEAN = np.array([0.3, -0.2, 1.1])
SCALE = np.array([1.0, 0.7, 2.5])
CORRELATED = stats.multivariate_normal([0.4, -0.3], [[1.5, 1.1], [1.1, 2.0]])


def normal(rows):
    d = rows.shape[1]
    return stats.norm.logpdf(rows, MEAN[:d], SCALE[:d]).sum(axis=1)


def normal_cells(X, j, width=1.0):
    upper, lower = (ndtr((X[:, j] + sign * width / 2 - MEAN[j]) / SCALE[j]) for sign in (1, -1))
    return np.log(upper - lower)


def integers(n=200, d=3, seed=0):
    return np.random.default_rng(seed).integers(-3, 4, size=(n, d)).astype(float)


@pytest.mark.parametrize("width", [1.0, 0.25])
def test_one_integer_column_of_a_normal(width):
    X = integers(d=1)
    found, error = cell_log_probability(normal, X, np.array([width]), 16, seed=0)
    np.testing.assert_allclose(found, normal_cells(X, 0, width), atol=1e-12)
    assert np.all(error < 1e-6)


def test_other_columns_keep_their_density():
    X = integers() + np.array([0.0, 0.37, -0.21])
    found, _ = cell_log_probability(normal, X, np.array([1.0, 0.0, 0.0]), 16, seed=0)
    others = stats.norm.logpdf(X[:, 1:], MEAN[1:], SCALE[1:]).sum(axis=1)
    np.testing.assert_allclose(found, normal_cells(X, 0) + others, atol=1e-12)


def test_without_integer_columns_it_is_the_density():
    X = integers()
    found, error = cell_log_probability(normal, X, np.zeros(3), 16, seed=0)
    np.testing.assert_array_equal(found, normal(X))
    assert not error.any()


def test_three_integer_columns_of_a_normal():
    X = integers()
    found, told = cell_log_probability(normal, X, np.ones(3), 1024, seed=0)
    miss = np.abs(found - sum(normal_cells(X, j) for j in range(3)))
    assert np.all(told < 0.02)
    assert np.all(miss < 0.02)
    assert np.sqrt(np.mean(miss**2)) < 4e-3


def rectangles(X):
    return np.log([CORRELATED.cdf(x + 0.5, lower_limit=x - 0.5) for x in X])


def test_correlated_integer_columns():
    X = integers(n=30, d=2)
    found, error = cell_log_probability(CORRELATED.logpdf, X, np.ones(2), 4096, seed=0)
    np.testing.assert_allclose(found, rectangles(X), atol=0.01)
    assert np.all(error < 0.02)


def test_probabilities_of_all_integers_add_up_to_one():
    grid = np.stack(np.meshgrid(np.arange(-9.0, 10), np.arange(-9.0, 10)), axis=-1)
    found, _ = cell_log_probability(CORRELATED.logpdf, grid.reshape(-1, 2), np.ones(2), 256, 0)
    assert abs(np.exp(found).sum() - 1) < 1e-3


@pytest.mark.parametrize(("n_columns", "scale"), [(2, 0.5), (3, 0.3), (9, 0.5), (9, 1.0)])
def test_the_standard_error_is_not_understated(n_columns, scale):
    """Over seeds: the scatter of the same row's results against what each of them tells."""
    X = np.random.default_rng(0).uniform(-0.5, 0.5, size=(20, n_columns))
    normal = stats.norm(scale=scale)

    def log_density(rows):
        return normal.logpdf(rows).sum(axis=1)

    runs = [cell_log_probability(log_density, X, np.ones(n_columns), 64, s) for s in range(100)]
    found, told = (np.array(part) for part in zip(*runs, strict=True))
    truth = np.log(normal.cdf(X + 0.5) - normal.cdf(X - 0.5)).sum(axis=1)
    assert np.mean((found - truth) ** 2) < 1.1 * np.mean(told**2)
    assert np.mean(np.abs(found - truth) < stats.t(7).ppf(0.975) * told) > 0.93


@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0])
def test_the_error_of_one_integer_column_is_not_understated(scale):
    X = np.linspace(-1, 1, 50)[:, None]  # cells that a narrow normal cuts anywhere
    normal = stats.norm(scale=scale)
    found, told = cell_log_probability(lambda x: normal.logpdf(x[:, 0]), X, np.ones(1), 16, 0)
    truth = np.log(normal.cdf(X[:, 0] + 0.5) - normal.cdf(X[:, 0] - 0.5))
    assert np.all(np.abs(found - truth) < told + 1e-12)


def points_taken(scale, n_columns=1):
    """Of a narrow normal at 0.2, in the cell of 0."""
    asked = []

    def log_density(rows):
        asked.append(rows)
        return stats.norm.logpdf(rows, 0.2, scale).sum(axis=1)

    cell = np.zeros((1, n_columns)), np.ones(n_columns)
    found, _ = cell_log_probability(log_density, *cell, 256, 0)
    truth = np.log(stats.norm.cdf(0.5, 0.2, scale) - stats.norm.cdf(-0.5, 0.2, scale))
    return np.concatenate(asked), abs(found[0] - n_columns * truth)


@pytest.mark.parametrize(("scale", "n"), [(1.0, 15), (0.1, 31), (0.05, 63), (0.01, 255)])
def test_sharper_cells_of_one_column_take_more_points(scale, n):
    points, error = points_taken(scale)
    assert len(np.unique(points)) == len(points) == n
    assert error < 1e-4


@pytest.mark.parametrize(("scale", "n"), [(1.0, 16), (0.5, 32), (0.4, 64), (0.2, 256)])
def test_sharper_cells_of_two_columns_take_more_points(scale, n):
    points, error = points_taken(scale, n_columns=2)
    assert len(np.unique(points, axis=0)) == len(points) == n
    assert error < 0.01


def test_rows_that_take_more_points_stand_among_others():
    X = np.array([[0.0], [5.0], [1.0], [6.0], [-1.0]])

    def log_density(rows):
        x = rows[:, 0]
        return np.where(np.abs(x) < 2, stats.norm.logpdf(x, 0.3, 0.2), stats.norm.logpdf(x, 5, 1))

    found, _ = cell_log_probability(log_density, X, np.ones(1), 64, 0)
    normal = [stats.norm(0.3, 0.2) if abs(x) < 2 else stats.norm(5, 1) for x in X[:, 0]]
    truth = [of.cdf(x + 0.5) - of.cdf(x - 0.5) for of, x in zip(normal, X[:, 0], strict=True)]
    np.testing.assert_allclose(np.exp(found), truth, atol=1e-4)


def test_the_estimate_is_a_lower_bound_in_expectation():
    X = np.zeros((1, 3))

    def narrow(rows):
        return stats.norm.logpdf(rows, scale=0.15).sum(axis=1)

    runs = [cell_log_probability(narrow, X, np.ones(3), 16, seed)[0] for seed in range(500)]
    truth = 3 * np.log(1 - 2 * ndtr(-0.5 / 0.15))
    assert abs(np.mean(np.exp(runs)) - np.exp(truth)) < 4 * np.std(np.exp(runs)) / np.sqrt(500)
    assert np.mean(runs) < truth - 0.03


@pytest.mark.parametrize("widths", [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
def test_a_row_does_not_depend_on_its_batch_to_the_bit(widths):
    X = integers(n=5000)
    whole = cell_log_probability(normal, X, np.array(widths), 32, seed=3)
    for part in (slice(0, 1), slice(2047, 2050), slice(4999, 5000)):
        alone = cell_log_probability(normal, X[part], np.array(widths), 32, seed=3)
        for ours, theirs in zip(alone, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[part])


def test_the_seed_decides():
    X = integers(n=10)
    first, again, other = (
        cell_log_probability(normal, X, np.ones(3), 16, seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


@pytest.mark.parametrize("d", [1, 2])
def test_points_of_a_seed_are_made_once(d, monkeypatch):
    cell = normal, integers(d=d), np.ones(d), 32, 11
    first = cell_log_probability(*cell)
    monkeypatch.setattr(cells, "_weights_of", None)
    monkeypatch.setattr(cells.qmc, "Sobol", None)
    np.testing.assert_array_equal(cell_log_probability(*cell), first)


def test_memory_is_bounded():
    sizes = []

    def counting(rows):
        sizes.append(len(rows))
        return normal(rows)

    cell_log_probability(counting, integers(n=9000), np.ones(3), 64, seed=0)
    assert len(sizes) > 1
    assert max(sizes) <= 65_536


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("d", [1, 2])
def test_far_rows(d):
    X = np.zeros((2, d))
    found, error = cell_log_probability(
        lambda rows: np.full(len(rows), -1e300), X, np.ones(d), 16, 0
    )
    np.testing.assert_array_equal(found, -1e300)
    np.testing.assert_allclose(error, 0, atol=1e-12)
    found, error = cell_log_probability(
        lambda rows: np.full(len(rows), -np.inf), X, np.ones(d), 16, 0
    )
    np.testing.assert_array_equal(found, -np.inf)
    np.testing.assert_array_equal(error, 0)


@pytest.mark.parametrize("n_points", [0, 8, 100, -16])
def test_wrong_numbers_of_points_are_told(n_points):
    with pytest.raises(ValueError, match=f"n_points={n_points} must be a power of two, 16 or more"):
        cell_log_probability(normal, integers(), np.ones(3), n_points, seed=0)
