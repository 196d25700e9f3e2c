"""Widths of the noise that gives tied or collinear columns a density."""

import itertools
import tracemalloc

import numpy as np
import pytest

from sklearn_jko.rows import resolution
from sklearn_jko.rows.blurred import BlurredRows, blur
from sklearn_jko.rows.resolution import FLOOR, noise_widths

N = 1000


def normal(seed=0, shape=(N, 2)):
    return np.random.default_rng(seed).normal(size=shape)


def mixed_columns():
    """Continuous, integer, zero-inflated and two collinear columns."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, N))
    zero_inflated = np.where(rng.random(N) < 0.4, 0.0, rng.lognormal(size=N))
    return np.c_[a, rng.integers(0, 10, size=N), zero_inflated, b, a - 2 * b]


def test_continuous_columns_get_no_noise():
    np.testing.assert_array_equal(noise_widths(normal()), 0)
    np.testing.assert_array_equal(noise_widths(normal(shape=(N, 1))), 0)


@pytest.mark.parametrize("unit", [1.0, 0.25, 10.0])
def test_integer_column_gets_noise_of_one_unit(unit):
    X = np.c_[unit * np.random.default_rng(0).integers(0, 10, size=N), normal()]
    np.testing.assert_allclose(noise_widths(X), [unit, 0, 0])


@pytest.mark.parametrize("value", [0.0, -7.0, 1e9])
def test_constant_column_gets_noise_of_width_one(value):
    np.testing.assert_array_equal(noise_widths(np.c_[np.full(N, value), normal()]), [1, 0, 0])
    np.testing.assert_array_equal(noise_widths(np.full((5, 1), value)), 1)


@pytest.mark.parametrize("value", [1e17, -1e60])
def test_noise_of_a_constant_column_is_not_lost_to_rounding(value):
    X = np.full((50, 1), value)
    blurred = blur(X, noise_widths(X), np.random.default_rng(0))
    assert len(np.unique(blurred)) > 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1e-294, 5e-324])
def test_column_of_hardly_any_spread_does_not_overflow(unit):
    column = np.r_[unit * np.arange(8), np.full(2, -1e17)]
    widths = noise_widths(np.c_[column, np.zeros(10), np.ones(10)])
    np.testing.assert_array_equal(widths[1:], 1)
    assert np.isfinite(widths).all()


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_zero_inflated_column_gets_noise_of_its_resolution(share):
    rng = np.random.default_rng(0)
    column = np.where(rng.random(N) < share, 0.0, rng.lognormal(size=N))
    width, *others = noise_widths(np.c_[column, normal()])
    np.testing.assert_array_equal(others, 0)
    assert 1e-4 < width < 0.1


def test_noise_of_a_zero_inflated_column_has_a_floor():
    """However dense the other values are, a peak at zero is no narrower than this."""
    rng = np.random.default_rng(0)
    column = np.where(rng.random(20_000) < 0.3, 0.0, rng.normal(size=20_000))
    low, high = np.quantile(column, [0.25, 0.75])
    np.testing.assert_allclose(
        noise_widths(column[:, None]), FLOOR * (high - low) / 1.349, rtol=1e-3
    )


def test_a_few_chance_repeats_are_left_alone():
    X = normal()
    X[:30] = X[30:60]
    np.testing.assert_array_equal(noise_widths(X), 0)


@pytest.mark.parametrize(
    ("make", "related"),
    [
        (lambda a, b, c: np.c_[a, b, a + b], [True, True, True]),
        (lambda a, b, c: np.c_[a, a, b], [True, True, False]),
        (lambda a, b, c: np.c_[a, b, 3 - 5 * a], [True, False, True]),
        (lambda a, b, c: np.c_[a, 1e-9 * a, 1e9 * b], [True, True, False]),
        (lambda a, b, c: np.c_[a, b, a + b, c], [True, True, True, False]),
        (lambda a, b, c: np.c_[a, b, a + b + 0.01 * c], [False, False, False]),
        (lambda a, b, c: np.c_[a, b, a * b], [False, False, False]),
    ],
    ids=["sum", "copy", "affine", "units", "sum beside another", "nearly", "nonlinear"],
)
def test_linear_relations(make, related):
    X = make(*np.random.default_rng(0).normal(size=(3, N)))
    widths = noise_widths(X)
    np.testing.assert_array_equal(widths > 0, related)
    expected = FLOOR * np.sqrt(12) * X.std(axis=0)
    np.testing.assert_allclose(widths[related], expected[related], rtol=0.15)


@pytest.mark.parametrize("outlier", [0.0, 1e30])
def test_a_relation_of_clusters_within_clusters_is_found(outlier):
    """However often they are parted, until nothing but rounding is left."""
    digits = np.array([*itertools.product(range(5), repeat=4)])
    column = digits @ 100.0 ** -np.arange(4)
    X = np.c_[column, 3.6 * column + 32]
    X[0] += outlier
    np.testing.assert_array_equal(noise_widths(X) > 0, True)


def test_clusters_far_apart_and_an_outlier_are_no_relation():
    X = normal(shape=(N, 2))
    X[::2] += 1e4
    X[0] += 1e30
    np.testing.assert_array_equal(noise_widths(X), 0)


def test_a_relation_with_an_outlier_is_still_found():
    X = normal(shape=(N, 2))
    X = np.c_[X, X.sum(axis=1)]
    X[3] = [1e9, 0.0, -1e9]
    widths = noise_widths(X)
    assert np.all(widths > 0)
    assert np.all(widths < 0.01)


@pytest.mark.parametrize("outlier", [1e9, -1e9])
def test_gross_outliers_do_not_widen_the_noise(outlier):
    X = mixed_columns()
    before = noise_widths(X)
    X[5] = outlier
    np.testing.assert_allclose(noise_widths(X), before, rtol=0.05)


@pytest.mark.parametrize("scale", [1e-12, 1e12, -3.0])
def test_units_do_not_matter(scale):
    X = mixed_columns()
    np.testing.assert_allclose(noise_widths(scale * X), abs(scale) * noise_widths(X), rtol=1e-6)


def test_order_of_the_columns_does_not_matter():
    X = mixed_columns()
    np.testing.assert_allclose(noise_widths(X[:, ::-1]), noise_widths(X)[::-1], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows(n):
    widths = noise_widths(normal(shape=(n, 4)))
    assert np.all(np.isfinite(widths))
    assert np.all(widths >= 0)


def test_blur_moves_noisy_columns_by_half_their_width_at_most():
    X, widths = mixed_columns(), np.array([0.0, 1.0, 0.2, 0.0, 1e-3])
    blurred = blur(X, widths, np.random.RandomState(0))
    noise = blurred - X
    np.testing.assert_array_equal(blurred[:, widths == 0], X[:, widths == 0])
    noisy = widths > 0
    assert np.all(np.abs(noise) <= widths / 2 + 1e-12)
    np.testing.assert_allclose(noise[:, noisy].std(axis=0), widths[noisy] / np.sqrt(12), rtol=0.05)
    np.testing.assert_array_less(np.abs(noise.mean(axis=0)), widths / 20 + 1e-12)


def test_blurred_rows_are_reproducible_and_the_input_is_left_alone():
    X = mixed_columns()
    widths = noise_widths(X)
    first, again = (blur(X, widths, np.random.RandomState(0)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(X, mixed_columns())


def test_noise_gives_every_column_distinct_values_and_full_rank():
    X = mixed_columns()
    blurred = blur(X, noise_widths(X), np.random.RandomState(0))
    assert all(len(np.unique(column)) == N for column in blurred.T)
    assert np.linalg.eigvalsh(np.corrcoef(blurred.T))[0] > (FLOOR / 3) ** 2
    np.testing.assert_array_equal(noise_widths(blurred), 0)


@pytest.mark.parametrize("n", [1, 100, 1000, 5000])
def test_some_rows_are_spread_over_copies_too(n):
    """Copies stand side by side: the first rows would be of few values."""
    rows = np.sort(np.random.default_rng(0).integers(10, size=2000))
    X = np.arange(10.0)[:, None]
    blurred = BlurredRows(X, rows, np.arange(2000), np.zeros(1), seed=0)
    some = blurred.some(n)
    assert len(some) == min(n, 2000)
    share = np.bincount(some.row_indices, minlength=10) / len(some)
    np.testing.assert_allclose(share, np.bincount(rows) / 2000, atol=1.0 / len(some) + 1e-12)
    assert len(blurred) == 2000


@pytest.mark.parametrize("distance", [1e2, 1e4, 1e8])
@pytest.mark.parametrize(("n", "d", "k"), [(60, 2, 2), (600, 3, 4), (600, 6, 3)])
def test_clusters_far_apart_are_no_relation(distance, n, d, k):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)) + distance * rng.normal(size=(k, d))[np.arange(n) % k]
    assert not noise_widths(X).any()
    related = np.c_[X, X[:, 0] - X[:, 1]]
    assert noise_widths(related)[[0, 1, d]].all()


@pytest.mark.parametrize("n", [4, 9, 15, 40])
def test_relations_of_rows_with_gaps_between_are_found(n):
    x = np.random.default_rng(0).normal(size=n) ** 3
    assert noise_widths(np.c_[x, 2 * x]).all()


@pytest.mark.parametrize("n", [201, 240])
def test_one_relation_in_a_wide_table_is_that_of_its_columns_alone(n):
    X = np.random.default_rng(0).normal(size=(n, 100))
    X[:, 1] = 2 * X[:, 0]
    np.testing.assert_array_equal(np.flatnonzero(noise_widths(X)), [0, 1])


def test_memory_of_the_search_for_relations_is_bounded(monkeypatch):
    monkeypatch.setattr(resolution, "MAX_VALUES", 2**16)
    X = np.random.default_rng(0).normal(size=(20_000, 50))
    X[:, 1] = 2 * X[:, 0]
    tracemalloc.start()
    try:
        assert np.flatnonzero(noise_widths(X)).tolist() == [0, 1]
        assert tracemalloc.get_traced_memory()[1] < X.nbytes
    finally:
        tracemalloc.stop()
