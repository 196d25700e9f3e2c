"""Closed forms of the scaler of bounded columns, and its laws near the bounds."""

import pickle

import numpy as np
import pytest
from scipy import special, stats

from sklearn_jko.scaling.bounds import Bounds

OPEN = np.inf
SIDES = [(2.0, 5.0), (2.0, OPEN), (-OPEN, 5.0), (-OPEN, OPEN)]
every_side = pytest.mark.parametrize(("low", "high"), SIDES)


def bounds(low, high):
    return Bounds(np.array([low]), np.array([high]))


def inner_rows(low, high, n=500, seed=0):
    rng = np.random.default_rng(seed)
    if np.isfinite(high - low):
        return low + (high - low) * rng.beta(0.7, 2.0, size=(n, 1))
    distance = rng.lognormal(sigma=2.0, size=(n, 1))
    return low + distance if np.isfinite(low) else high - distance


def log_density(scaler, log_density_of_z, x):
    Z, log_det = scaler.transform(x[:, None])
    return log_density_of_z(Z[:, 0]) + log_det


NORMAL = stats.norm(0.3, 1.7)
LOGIT_OF = {
    # The density of z = log(x / (1 - x)) where x is uniform, and where it is Beta(2.5, 0.8).
    "uniform": (stats.logistic.logpdf, stats.uniform()),
    "beta": (
        lambda z: (
            2.5 * special.log_expit(z) + 0.8 * special.log_expit(-z) - special.betaln(2.5, 0.8)
        ),
        stats.beta(2.5, 0.8),
    ),
}
LOG_OF = {
    "log-normal": (NORMAL.logpdf, stats.lognorm(1.7, scale=np.exp(0.3))),
    "exponential": (lambda z: z - np.exp(z), stats.expon()),
}


@pytest.mark.parametrize("name", LOGIT_OF)
@pytest.mark.parametrize("scale", [2.0**-30, 1.0, 2.0**30])  # which rounds nothing
def test_logit_changes_variables_exactly(name, scale):
    of_z, truth = LOGIT_OF[name]
    x = np.r_[np.geomspace(1e-300, 0.5, 200), 1 - np.geomspace(1e-15, 0.5, 100)]
    scaler = bounds(0.0, scale).fit(x[:, None] * scale)
    found = log_density(scaler, of_z, x * scale)
    np.testing.assert_allclose(found, truth.logpdf(x) - np.log(scale), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LOG_OF)
@pytest.mark.parametrize("scale", [2.0**-30, 1.0, 2.0**30])  # which rounds nothing
@pytest.mark.parametrize("side", [1, -1])
def test_log_changes_variables_exactly(name, scale, side):
    of_z, truth = LOG_OF[name]
    x = np.geomspace(1e-12, 1e3, 200)
    low, high = (0.0, OPEN) if side > 0 else (-OPEN, 0.0)
    scaler = bounds(low, high).fit(side * scale * x[:, None])

    def of_scaled(z):
        return of_z(side * z - np.log(scale))

    found = log_density(scaler, of_scaled, side * scale * x)
    np.testing.assert_allclose(found, truth.logpdf(x) - np.log(scale), rtol=1e-11, atol=1e-11)


def test_logit_of_a_normal_is_the_logit_normal():
    x = np.linspace(0.001, 0.999, 101)
    scaler = bounds(0.0, 1.0).fit(x[:, None])
    expected = NORMAL.logpdf(special.logit(x)) - np.log(x) - np.log1p(-x)
    np.testing.assert_allclose(log_density(scaler, NORMAL.logpdf, x), expected, rtol=1e-12)


@every_side
def test_inverse_undoes_transform(low, high):
    X = np.random.default_rng(0).normal(size=(500, 1))
    if (low, high) != (-OPEN, OPEN):
        X = inner_rows(low, high)
    scaler = bounds(low, high).fit(X)
    Z, _ = scaler.transform(X)
    np.testing.assert_allclose(scaler.inverse_transform(Z), X, rtol=1e-13, atol=1e-13)
    assert not np.shares_memory(Z, X)


@every_side
def test_log_det_is_that_of_differences(low, high):
    X = np.linspace(2.1, 4.9, 50)[:, None]
    scaler, step = bounds(low, high).fit(X), 1e-6
    difference = scaler.transform(X + step)[0] - scaler.transform(X - step)[0]
    expected = np.log(difference[:, 0] / (2 * step))
    np.testing.assert_allclose(scaler.transform(X)[1], expected, atol=1e-8)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_no_digit_of_a_small_distance_is_lost(offset):
    distance = np.array([2.0**-k for k in (1, 10, 30)])
    scaler = bounds(offset, offset + 1.0).fit(offset + distance[:, None])
    for x, z in (
        (offset + distance, np.log(distance) - np.log1p(-distance)),
        (offset + 1.0 - distance, np.log1p(-distance) - np.log(distance)),
    ):
        Z, log_det = scaler.transform(x[:, None])
        np.testing.assert_allclose(Z[:, 0], z, rtol=1e-14)
        np.testing.assert_allclose(log_det, -np.log(distance) - np.log1p(-distance), rtol=1e-14)
        np.testing.assert_allclose(scaler.inverse_transform(Z)[:, 0], x, rtol=1e-14)


def test_a_value_on_or_beyond_a_bound_counts_as_half_of_the_nearest_distance_inside():
    scaler = bounds(0.0, 10.0).fit(np.array([[0.0], [0.5], [7.0], [9.0], [10.0]]))
    Z, log_det = scaler.transform(np.array([[-3.0], [0.0], [0.25], [9.5], [10.0], [1e300]]))
    np.testing.assert_array_equal(Z[[0, 1], 0], Z[2, 0])
    np.testing.assert_array_equal(Z[[4, 5], 0], Z[3, 0])
    np.testing.assert_array_equal(log_det[[1, 4]], log_det[[2, 3]])
    np.testing.assert_array_equal(log_det[[0, 5]], -np.inf)  # no density there
    np.testing.assert_allclose(scaler.inverse_transform(Z)[:, 0], [0.25] * 3 + [9.5] * 3)


def test_a_value_on_a_bound_counts_as_noise_carries_it_on_average():
    scaler = Bounds(np.zeros(2), np.array([OPEN, 0.5]), np.array([0.4, 4.0]))
    Z, _ = scaler.fit(np.full((3, 2), 0.1)).transform(np.zeros((1, 2)))
    np.testing.assert_allclose(scaler.inverse_transform(Z), [[0.1, 0.125]])


def test_a_value_inside_counts_as_it_is_however_near_the_bound():
    scaler = bounds(0.0, OPEN).fit(np.array([[0.5], [7.0]]))
    np.testing.assert_allclose(scaler.transform(np.array([[1e-9]]))[0], np.log(1e-9))


@pytest.mark.parametrize(("low", "high", "gap"), [(0.0, 1.0, 0.25), (0.0, OPEN, 1.0)])
def test_without_any_inner_value(low, high, gap):
    scaler = bounds(low, high).fit(np.zeros((3, 1)))
    Z, log_det = scaler.transform(np.zeros((1, 1)))
    np.testing.assert_allclose(scaler.inverse_transform(Z), gap)
    assert np.isfinite(log_det).all()


@pytest.mark.filterwarnings("error")
@every_side
def test_any_latent_row_comes_back_within_the_bounds(low, high):
    scaler = bounds(low, high).fit(np.array([[3.0], [4.0]]))
    size = np.geomspace(1e-300, 1e308, 500)
    ladder = np.r_[-size[::-1], 0.0, size][:, None]
    X = scaler.inverse_transform(ladder)
    assert np.isfinite(X).all()
    assert np.all((low <= X) & (high >= X))
    assert np.all(np.diff(X, axis=0) >= 0)
    assert all(np.isfinite(part).all() for part in scaler.transform(X))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1.0, 1e-60, 1e200])
@every_side
def test_largest_numbers_stay_finite_without_a_warning(low, high, unit):
    scaler = bounds(unit * low, unit * high).fit(unit * np.array([[3.0], [4.0]]))
    for number in (np.finfo(np.float64).max, 1e-320):
        X = np.array([[number], [-number]])
        Z, log_det = scaler.transform(X)
        inside = (X[:, 0] >= unit * low) & (X[:, 0] <= unit * high)
        assert np.isfinite(Z).all()
        np.testing.assert_array_equal(np.isfinite(log_det), inside)
        assert np.isfinite(scaler.inverse_transform(X)).all()


@pytest.mark.filterwarnings("error")
def test_bounds_as_far_apart_as_numbers_go():
    scaler = bounds(-1e300, 1e300).fit(np.array([[-1.0], [5.0]]))
    X = np.array([[-1e299], [0.0], [1e299]])
    Z, _ = scaler.transform(X)
    np.testing.assert_allclose(Z[:, 0], [np.log(9 / 11), 0.0, np.log(11 / 9)], atol=1e-12)
    np.testing.assert_allclose(scaler.inverse_transform(Z), X, rtol=1e-12)


def test_columns_keep_their_own_bounds_and_rows_their_own_results():
    X = np.concatenate([inner_rows(*sides, seed=5) for sides in SIDES[:3]], axis=1)
    X = np.c_[X, np.random.default_rng(1).normal(size=len(X))]
    low, high = np.array(SIDES).T
    scaler = Bounds(low, high).fit(X)
    Z, log_det = scaler.transform(X)
    parts = [bounds(*sides).fit(X[:, [j]]).transform(X[:, [j]]) for j, sides in enumerate(SIDES)]
    np.testing.assert_array_equal(Z, np.concatenate([z for z, _ in parts], axis=1))
    np.testing.assert_allclose(log_det, sum(part for _, part in parts), rtol=1e-13)
    for i in (0, 77):
        z, one = scaler.transform(X[i : i + 1])
        np.testing.assert_array_equal(z[0], Z[i])
        np.testing.assert_array_equal(one, log_det[i : i + 1])


def test_pickled_scaler_is_equal():
    X = inner_rows(2.0, 5.0)
    scaler = bounds(2.0, 5.0).fit(X)
    copy = pickle.loads(pickle.dumps(scaler))
    np.testing.assert_array_equal(copy.transform(X)[0], scaler.transform(X)[0])


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (OPEN, OPEN)])
def test_bounds_in_the_wrong_order_are_refused(low, high):
    with pytest.raises(ValueError, match=r"column 1: low=.* must be below high="):
        Bounds(np.array([0.0, low]), np.array([1.0, high]))


@every_side
def test_what_was_learned_passes_its_own_check(low, high):
    scaler = bounds(low, high).fit(inner_rows(low, high))
    scaler.check(1)
    with pytest.raises(ValueError, match="low_gap_"):
        scaler.check(2)


@pytest.mark.parametrize("gap", [[0.0], [-1.0], [np.nan], [2.9], [[1.0]], None])
def test_damaged_gaps_are_refused(gap):
    scaler = bounds(2.0, 5.0).fit(np.array([[3.0], [4.0]]))
    scaler.high_gap_ = None if gap is None else np.array(gap)
    with pytest.raises(ValueError, match="high_gap_"):
        scaler.check(1)
