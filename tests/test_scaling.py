"""Laws of every scaler, and closed forms of each."""

import pickle

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from sklearn_jko.scaling import SCALERS, make_scaler
from sklearn_jko.scaling._spline import evaluate, invert, spline_through, with_slope_beyond

CHAINS = ["marginal+whiten+radial", "whiten+radial"]
every_scaler = pytest.mark.parametrize("name", [*SCALERS, *CHAINS])
by_column = pytest.mark.parametrize("name", ["none", "standard", "tails", "power", "marginal"])


def skewed_rows(n=600, seed=0):
    """Correlated rows of three scales: a normal, a lognormal and a Student column."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(n, 3)) @ np.array([[1.0, 0.5, 0.2], [0.0, 1.0, 0.4], [0.0, 0.0, 1.0]])
    student = normal[:, 2] / np.sqrt(rng.chisquare(4, size=n) / 4)
    return np.c_[1e3 + 5 * normal[:, 0], 1e-2 * np.exp(normal[:, 1]), student]


def zero_block_log_likelihood(scaler, X):
    Z, log_det = scaler.transform(X)
    return np.mean(stats.norm.logpdf(Z).sum(axis=1) + log_det)


@every_scaler
def test_inverse_undoes_transform(name):
    X = skewed_rows()
    scaler = make_scaler(name).fit(X)
    error = scaler.inverse_transform(scaler.transform(X)[0]) - X
    assert np.abs(error / X.std(axis=0)).max() < 1e-9


@every_scaler
def test_transform_undoes_inverse_of_normal_rows(name):
    scaler = make_scaler(name).fit(skewed_rows())
    Z = np.random.default_rng(1).normal(size=(200, 3))
    np.testing.assert_allclose(scaler.transform(scaler.inverse_transform(Z))[0], Z, atol=1e-8)


@every_scaler
def test_log_det_is_that_of_the_jacobian(name):
    X = skewed_rows()
    scaler = make_scaler(name).fit(X)
    # New rows: a training row may be a knot, where the second derivative jumps.
    X = np.r_[skewed_rows(40, seed=5), X[:2] + 10 * X.std(axis=0)]
    steps = 1e-5 * np.diag(np.abs(X - np.median(X, axis=0)).mean(axis=0))
    columns = [
        (scaler.transform(X + h)[0] - scaler.transform(X - h)[0]) / (2 * h.sum()) for h in steps
    ]
    _, expected = np.linalg.slogdet(np.stack(columns, axis=2))
    np.testing.assert_allclose(scaler.transform(X)[1], expected, atol=1e-5)


@every_scaler
def test_a_row_does_not_depend_on_its_batch(name):
    X = skewed_rows()
    scaler = make_scaler(name).fit(X)
    Z, log_det = scaler.transform(X)
    back = scaler.inverse_transform(Z)
    for i in (0, 17, 300):
        z, one = scaler.transform(X[i : i + 1])
        np.testing.assert_allclose(z[0], Z[i], rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(one, log_det[i : i + 1], rtol=1e-11)
        np.testing.assert_allclose(scaler.inverse_transform(Z[i : i + 1])[0], back[i], rtol=1e-11)


@every_scaler
def test_far_rows_stay_finite(name):
    X = skewed_rows()
    scaler = make_scaler(name).fit(X)
    directions = np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0], [0.0, 0.0, 1.0]])
    far = [X.mean(axis=0) + size * X.std(axis=0) * directions for size in (1e3, 1e6)]
    Z, log_det = scaler.transform(np.r_[*far, 1e300 * directions, 1e-300 * directions])
    assert np.isfinite(Z).all()
    assert np.isfinite(log_det).all()
    for size in (1e2, 1e4, 1e300):
        assert np.isfinite(scaler.inverse_transform(size * directions)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1.0, 1e-60])
@every_scaler
def test_largest_numbers_stay_finite_without_a_warning(name, unit):
    scaler = make_scaler(name).fit(unit * skewed_rows())
    for sign in (-1, 1):
        row = np.full((1, 3), sign * np.finfo(np.float64).max)
        assert all(np.isfinite(part).all() for part in scaler.transform(row))
        assert np.isfinite(scaler.inverse_transform(row)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "far",
    [
        1.7e308 * np.random.default_rng(0).choice([-1.0, 1.0], 60),
        1.7e308 * np.random.default_rng(0).choice([0.5, 1.0], 60),
        1.7e308 * np.random.default_rng(0).uniform(-1, 1, 60),
        np.full(60, np.finfo(np.float64).max),
    ],
    ids=["two ends", "one end", "spread out", "constant"],
)
@every_scaler
def test_samples_of_the_largest_numbers_count_as_bounded(name, far):
    X = np.c_[far, np.random.default_rng(1).normal(size=60)]
    scaler = make_scaler(name).fit(X)
    Z, log_det = scaler.transform(X)
    assert np.isfinite(log_det).all()
    assert np.isfinite(scaler.inverse_transform(Z)).all()
    if name not in ("none", "radial"):  # these know no scale of a column
        assert np.abs(Z).max() < 10
        np.testing.assert_array_equal(Z, scaler.transform(np.clip(X, -1e300, 1e300))[0])


@every_scaler
def test_moderately_far_rows_come_back(name):
    X = skewed_rows()
    scaler = make_scaler(name).fit(X)
    far = X.mean(axis=0) + 1e6 * X.std(axis=0) * np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0]])
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(far)[0]), far, rtol=1e-7)


@by_column
def test_columns_stay_in_order(name):
    X = skewed_rows()
    scaler = make_scaler(name).fit(X)
    ladder = np.r_[-np.geomspace(1e300, 1e-3, 500), 0.0, np.geomspace(1e-3, 1e300, 500)]
    centre, spread = np.median(X, axis=0), X.std(axis=0)
    with np.errstate(over="ignore"):
        rows = np.clip(centre + ladder[:, None] * spread, -1e299, 1e299)
    rows = rows[(np.diff(rows, axis=0, prepend=-np.inf) > 0).all(axis=1)]
    Z = scaler.transform(rows)[0]
    assert np.all(np.diff(Z, axis=0) > 0)


def test_marginal_is_finite_and_ordered_where_quotients_overflow():
    X = 1e-20 * np.random.default_rng(0).normal(size=(200, 1))
    ladder = np.array([-1e300, -1e290, -1e-300, 1e-300, 1e290, 1e300])[:, None]
    Z, log_det = make_scaler("marginal").fit(X).transform(ladder)
    assert np.isfinite(Z).all()
    assert np.isfinite(log_det).all()
    assert np.all(np.diff(Z[[0, 1, 2, 4, 5], 0]) > 0)


@every_scaler
@pytest.mark.parametrize(
    "X",
    [
        np.full((20, 2), 0.1),
        np.c_[np.full(50, 7.0), np.linspace(0, 1, 50)],
        np.array([[3.0, -50.0]]),
        np.array([[3.0, 4.0], [5.0, -6.0]]),
        np.random.default_rng(0).integers(0, 3, size=(80, 3)).astype(float),
        np.repeat([[0.0, 1.0], [2.0, -1.0]], [99, 1], axis=0),
        np.random.default_rng(0).normal(size=(10, 30)),
    ],
    ids=["constant", "one constant", "one row", "two rows", "ties", "rare value", "wide"],
)
def test_degenerate_samples(name, X):
    scaler = make_scaler(name).fit(X)
    rows = np.r_[X, X + 0.3, np.zeros((1, X.shape[1]))]
    Z, log_det = scaler.transform(rows)
    assert np.isfinite(Z).all()
    assert np.isfinite(log_det).all()
    np.testing.assert_allclose(scaler.inverse_transform(Z), rows, rtol=1e-8, atol=1e-7)


@every_scaler
@pytest.mark.parametrize("outlier", [1e9, -1e300])
def test_gross_outlier_in_the_sample(name, outlier):
    X = skewed_rows()
    X[5, 1] = outlier
    scaler = make_scaler(name).fit(X)
    Z, log_det = scaler.transform(X)
    assert np.isfinite(Z).all()
    assert np.isfinite(log_det).all()
    assert np.isfinite(scaler.inverse_transform(Z)).all()


@pytest.mark.parametrize("name", ["standard", "whiten", "power", "marginal", *CHAINS])
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter(name, scale):
    X = skewed_rows()
    Z, log_det = make_scaler(name).fit(X).transform(X)
    rescaled, shifted = make_scaler(name).fit(X * scale).transform(X * scale)
    np.testing.assert_allclose(rescaled, Z, atol=1e-4)
    np.testing.assert_allclose(shifted, log_det - 3 * np.log(scale), atol=1e-3)


@every_scaler
def test_single_column(name):
    X = skewed_rows()[:, 1:2]
    scaler = make_scaler(name).fit(X)
    Z, log_det = scaler.transform(X)
    assert Z.shape == X.shape
    assert log_det.shape == (len(X),)
    np.testing.assert_allclose(scaler.inverse_transform(Z), X, rtol=1e-9)


@every_scaler
def test_pickled_scaler_is_equal(name):
    X = skewed_rows()
    scaler = make_scaler(name).fit(X)
    copy = pickle.loads(pickle.dumps(scaler))
    for ours, theirs in zip(scaler.transform(X), copy.transform(X), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_scaler
def test_input_is_left_alone(name):
    X = skewed_rows()
    before = X.copy()
    Z, _ = make_scaler(name).fit(X).transform(X)
    np.testing.assert_array_equal(X, before)
    assert not np.shares_memory(Z, X)


def test_tails_draw_in_what_is_beyond_ten_spreads():
    X = np.linspace(-1.0, 1.0, 101)[:, None]  # whose inner nine tenths are 1.8 wide
    scaler = make_scaler("tails").fit(X)
    spread = 1.8 / 3.2897
    far = 10 * spread + np.array([[0.0], [1.0], [1e6]]) * spread
    Z, log_det = scaler.transform(np.r_[X, far, -far])
    np.testing.assert_allclose(Z[:101], X / spread)
    np.testing.assert_allclose(Z[101:104, 0], 10 + np.log1p([0.0, 1.0, 1e6]))
    np.testing.assert_allclose(Z[104:], -Z[101:104])
    np.testing.assert_allclose(log_det[:102], -np.log(spread))
    np.testing.assert_allclose(log_det[102:104], -np.log(spread) - np.log1p([1.0, 1e6]))


def test_tails_are_steeper_beyond_the_farthest_value():
    X = np.r_[np.linspace(-1.0, 1.0, 101), 40.0][:, None]
    scaler = make_scaler("tails").fit(X)
    median, spread = scaler.median_[0], scaler.spread_[0]
    farthest = (40.0 - median) / spread
    Z, log_det = scaler.transform(median + spread * np.array([[farthest], [-1e6], [1e6]]))
    at, width = 10 + np.log1p(farthest - 10), 3 * (1 + farthest - 10)
    stretch = np.log1p((1e6 - farthest) / width)
    np.testing.assert_allclose(Z[:, 0], [at, -at - 3 * stretch, at + 3 * stretch])
    expected = -np.log(spread) - np.log1p(farthest - 10) - np.array([0.0, stretch, stretch])
    np.testing.assert_allclose(log_det, expected)


def test_standard_of_small_noise_on_a_large_offset():
    noise = np.random.default_rng(0).normal(size=(5000, 1))
    X = 1e9 + 1e-3 * noise
    Z, _ = make_scaler("standard").fit(X).transform(X)
    assert abs(Z.mean()) < 1e-3  # 1e9 has digits down to 1e-7
    assert abs(Z.std() - 1) < 1e-9


def test_standard_gives_mean_zero_and_unit_variance():
    X = skewed_rows()
    Z, log_det = make_scaler("standard").fit(X).transform(X)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(log_det, -np.log(X.std(axis=0)).sum())


def test_whiten_gives_identity_covariance():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 4)) @ rng.normal(size=(4, 4)) + 5
    Z, log_det = make_scaler("whiten").fit(X).transform(X)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cov(Z.T), np.eye(4), atol=2e-3)
    _, expected = np.linalg.slogdet(np.cov(X.T))
    np.testing.assert_allclose(log_det, -expected / 2, atol=5e-3)


@pytest.mark.parametrize("n", [30, 300])
def test_whiten_nearly_fits_an_ill_conditioned_normal(n):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(10, 10)) * np.geomspace(1, 0.01, 10)[:, None]
    X, held_out = rng.normal(size=(n, 10)) @ root, rng.normal(size=(2000, 10)) @ root
    truth = stats.multivariate_normal(cov=root.T @ root).logpdf(held_out).mean()
    found = zero_block_log_likelihood(make_scaler("whiten").fit(X), held_out)
    assert (
        found > truth - 120 / n
    )  # 65 parameters, half a nat over n each, and more while n is small


def test_whiten_shrinks_a_small_sample():
    rng = np.random.default_rng(0)
    X, held_out = rng.normal(size=(12, 20)), rng.normal(size=(2000, 20))
    standard, whiten = (make_scaler(name).fit(X) for name in ("standard", "whiten"))
    found = zero_block_log_likelihood(whiten, held_out)
    assert found > zero_block_log_likelihood(standard, held_out) - 0.5


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize("d", [2, 5, 30])
def test_whiten_does_not_believe_that_few_rows_lie_in_a_plane(n, d):
    """A held-out row is in the span of the others where all are centred by the mean of all."""
    rng = np.random.default_rng(0)
    X, held_out = rng.normal(size=(n, d)), rng.normal(size=(2000, d))
    standard, whiten = (make_scaler(name).fit(X) for name in ("standard", "whiten"))
    found = zero_block_log_likelihood(whiten, held_out)
    assert found > 2 * zero_block_log_likelihood(standard, held_out)


def test_power_recovers_a_yeo_johnson_column():
    normal = np.random.default_rng(0).normal(size=(5000, 1))
    skewed = np.expm1(0.5 * normal + 1)
    Z, _ = make_scaler("power").fit(skewed).transform(skewed)
    assert abs(stats.skew(skewed[:, 0])) > 1
    assert abs(stats.skew(Z[:, 0])) < 0.1


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 2.0, 3.0])
def test_power_agrees_with_scipy(exponent):
    scaler = make_scaler("power").fit(np.linspace(-3, 3, 101)[:, None])
    scaler.exponent_ = np.array([exponent])
    x = np.linspace(-1.3, 1.3, 51)  # inside the training range
    X = (x * scaler.spread_ + scaler.centre_)[:, None]
    Z, _ = scaler.transform(X)
    expected = stats.yeojohnson(x, lmbda=exponent)
    np.testing.assert_allclose(
        Z[:, 0] * scaler.scale_ + scaler.mean_, expected, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(scaler.inverse_transform(Z), X, atol=1e-9)


def test_power_bent_by_outliers_is_gentle_on_the_other_side():
    """Three rows far below 300 others bent the power; a hundred above cost 189,000 nats."""
    X = np.random.default_rng(0).normal(size=(300, 1))
    X[:3, 0] = -100, -60, -30
    power = make_scaler("power").fit(X)
    assert zero_block_log_likelihood(power, np.array([[10.0]])) > -40
    assert zero_block_log_likelihood(power, np.array([[100.0]])) > -150


def test_marginal_makes_a_lognormal_column_normal():
    rng = np.random.default_rng(0)
    scaler = make_scaler("marginal").fit(rng.lognormal(size=(20_000, 1)))
    Z, _ = scaler.transform(rng.lognormal(size=(2000, 1)))
    assert stats.kstest(Z[:, 0], "norm").pvalue > 0.01


@pytest.mark.parametrize(("n", "excess"), [(15, 0.3), (50, 0.1), (2000, 0.005)])
def test_marginal_of_a_normal_column_costs_little(n, excess):
    """Against the normal fitted to the same rows."""
    rng = np.random.default_rng(0)
    held_out = rng.normal(size=(5000, 1))
    gaps = []
    for _ in range(20):
        X = rng.normal(size=(n, 1))
        fitted, normal = (make_scaler(name).fit(X) for name in ("marginal", "standard"))
        found = zero_block_log_likelihood(fitted, held_out)
        gaps.append(zero_block_log_likelihood(normal, held_out) - found)
    assert np.mean(gaps) < excess


def test_marginal_resolves_a_narrow_peak():
    rng = np.random.default_rng(0)

    def rows(n):
        return np.where(rng.random(n) < 0.3, 1e-4, 1.0)[:, None] * rng.random((n, 1))

    held_out = rows(5000)
    truth = np.log(0.7 + 3000 * (held_out < 1e-4)).mean()
    scaler = make_scaler("marginal").fit(rows(5000))
    assert zero_block_log_likelihood(scaler, held_out) > truth - 0.05


@pytest.mark.parametrize("name", ["marginal", "radial"])
def test_an_outlier_is_not_carried_as_far_out_again(name):
    """Tails are steep at the edges of a uniform column; a copy of an outlier is likely enough."""
    rng = np.random.default_rng(0)
    X = rng.uniform(1, 2, size=(4000, 1))
    X[7] = 1000.0
    Z, _ = make_scaler(name).fit(X).transform(X[[7]])
    assert 3 < Z[0, 0] < 5


def test_tails_are_gentle_beyond_any_likely_row():
    X = np.random.default_rng(0).uniform(1, 2, size=(4000, 1))
    scaler = make_scaler("marginal").fit(X)
    Z, _ = scaler.transform(np.array([[0.0], [0.9999], [2.0001], [3.0], [1e9]]))
    # The rows next to the edges are nearly as far out as they would be by the edge itself.
    assert (np.abs(Z[1:3]) > 3).all()
    assert (np.diff(Z[:, 0]) > 0).all()
    assert np.abs(Z[[0, 3]]).max() < 12
    assert Z[4, 0] < 60
    np.testing.assert_allclose(
        scaler.inverse_transform(Z)[:, 0], [0, 0.9999, 2.0001, 3, 1e9], atol=1e-12
    )


@pytest.mark.parametrize("gap", [0.0, 1e-17, 1e-12, 1e-6, 1.0])
@pytest.mark.parametrize("slope", [0.01, 1.0, 1e7])
def test_tail_bends_however_near_the_last_knot(gap, slope):
    """A piece of no height had an infinite log-slope."""
    spline = spline_through(np.array([-1.0, 0.0]), np.array([1.0 - slope, 1.0]))
    bent = with_slope_beyond(spline, gap, 2.0)
    points = np.array([-1.0, -1e-9, 0.0, gap / 2, gap, gap + 1e-9, gap + 9.0])
    values, log_slope = evaluate(bent, points)
    assert np.isfinite(log_slope).all()
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose(log_slope[-1], np.log(2))


@pytest.mark.parametrize(
    ("name", "furthest"), [("marginal", 20), ("radial", 50), ("tails+mixture", 1e6)]
)
def test_draws_after_outliers_stay_within_sight(name, furthest):
    """They came up to 1e8, 1e4 and 1e14 times as far out."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X, Z = rng.normal(size=(300, 3)), rng.normal(size=(20_000, 3))
        X[:6] *= 100
        draws = make_scaler(name).fit(X).inverse_transform(Z)
        assert np.abs(draws).max() < furthest * np.abs(X).max()


def test_tails_behind_a_gap_are_those_of_the_rows_there():
    """Zeros and a few amounts: the piece between them is far too gentle to go on from there."""
    rng = np.random.default_rng(0)
    amounts = np.where(rng.random(300) < 0.95, 0, rng.exponential(size=300))
    noisy = amounts + rng.uniform(-0.04, 0.04, size=300)
    far = make_scaler("marginal").fit(noisy[:, None]).inverse_transform(np.array([[3.5]]))[0, 0]
    assert amounts.max() < far < 20 * amounts.max()


def student_rows(n, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 5)) / np.sqrt(rng.chisquare(3, size=(n, 1)) / 3)


def test_radial_gives_a_student_sample_chi_radii():
    scaler = make_scaler("whiten+radial").fit(student_rows(20_000, seed=0))
    Z, _ = scaler.transform(student_rows(2000, seed=1))
    assert stats.kstest(np.linalg.norm(Z, axis=1), stats.chi(5).cdf).pvalue > 0.01


def test_radial_raises_the_likelihood_of_a_student_sample():
    X, held_out = student_rows(2000, seed=0), student_rows(2000, seed=1)
    whiten, radial = (make_scaler(name).fit(X) for name in ("whiten", "whiten+radial"))
    truth = stats.multivariate_t(shape=np.eye(5), df=3).logpdf(held_out).mean()
    found = zero_block_log_likelihood(radial, held_out)
    assert found > zero_block_log_likelihood(whiten, held_out) + 0.3
    assert found > truth - 0.1


def test_radial_takes_the_origin_to_itself():
    scaler = make_scaler("radial").fit(student_rows(500, seed=0))
    Z, log_det = scaler.transform(np.array([[0.0] * 5, [1e-9] * 5]))
    np.testing.assert_array_equal(Z[0], 0)
    np.testing.assert_allclose(log_det, 5 * np.log(Z[1, 0] / 1e-9), rtol=1e-12)


def clusters(n, seed, d=3):
    """Rows of three normal clusters far apart from each other, and their log-density."""
    rng = np.random.default_rng(0)
    laws = [
        stats.multivariate_normal(mean, root @ root.T)
        for mean, root in zip(
            10 * rng.normal(size=(3, d)), rng.normal(size=(3, d, d)) + np.eye(d), strict=True
        )
    ]
    rng = np.random.default_rng(seed)
    label = rng.integers(3, size=n)
    X = np.stack([law.rvs(n, random_state=rng) for law in laws])[label, np.arange(n)]
    return X, logsumexp([law.logpdf(X) for law in laws], axis=0) - np.log(3)


def test_mixture_makes_clusters_normal_and_knows_their_density():
    X, held_out = clusters(3000, seed=1)[0], clusters(2000, seed=2)
    scaler = make_scaler("mixture").fit(X)
    Z, log_det = scaler.transform(held_out[0])
    assert len(scaler.log_weights_) == 4  # one is for rows of no cluster
    assert all(stats.kstest(column, "norm").pvalue > 1e-3 for column in Z.T)
    np.testing.assert_allclose(np.corrcoef(Z.T), np.eye(3), atol=0.08)
    found = stats.norm.logpdf(Z).sum(axis=1) + log_det
    assert 0 < (held_out[1] - found).mean() < 0.04


def test_mixture_is_the_density_of_its_clusters():
    X, _ = clusters(400, seed=1)
    scaler = make_scaler("mixture").fit(X)
    Z, log_det = scaler.transform(X)
    standard = (X - scaler.mean_) / scaler.scale_
    parts = [
        weight + stats.multivariate_normal(mean, root @ root.T).logpdf(standard)
        for weight, mean, root in zip(
            scaler.log_weights_, scaler.means_, scaler.roots_, strict=True
        )
    ]
    expected = logsumexp(parts, axis=0) - np.log(scaler.scale_).sum()
    np.testing.assert_allclose(stats.norm.logpdf(Z).sum(axis=1) + log_det, expected, atol=1e-9)


def test_mixture_of_a_normal_sample_is_one_cluster():
    X = np.random.default_rng(0).normal(size=(1000, 4)) @ np.diag([1.0, 1e-3, 5.0, 1e6])
    scaler = make_scaler("mixture").fit(X)
    assert len(scaler.log_weights_) == 2
    truth = stats.norm.logpdf(X / [1.0, 1e-3, 5.0, 1e6]).sum(axis=1).mean() - np.log(5e3)
    assert zero_block_log_likelihood(scaler, X) > truth - 0.01


def test_mixture_works_by_parts_of_bounded_memory(monkeypatch):
    X, _ = clusters(500, seed=1)
    scaler = make_scaler("mixture").fit(X)
    Z, log_det = scaler.transform(X)
    monkeypatch.setattr("sklearn_jko.scaling.mixture.NUMBERS_AT_ONCE", 7 * scaler.means_.size)
    by_partitions = scaler.transform(X)
    np.testing.assert_allclose(by_partitions[0], Z, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(by_partitions[1], log_det, rtol=1e-11)
    np.testing.assert_allclose(scaler.inverse_transform(Z), X, rtol=1e-9, atol=1e-9)
    assert scaler.transform(X[:0])[0].shape == (0, 3)


def test_chain_applies_its_scalers_from_left_to_right():
    X = skewed_rows()
    first = make_scaler("marginal").fit(X)
    inner, inner_log_det = first.transform(X)
    outer, outer_log_det = make_scaler("whiten").fit(inner).transform(inner)
    Z, log_det = make_scaler("marginal+whiten").fit(X).transform(X)
    np.testing.assert_allclose(Z, outer)
    np.testing.assert_allclose(log_det, inner_log_det + outer_log_det)


@pytest.mark.parametrize("name", ["robust", "whiten+", "whiten radial", None])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"scaler .*use one of \"none\", \"standard\"") as error:
        make_scaler(name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize("seed", range(20))
def test_spline_is_inverted_to_rounding_however_uneven_its_pieces(seed):
    rng = np.random.default_rng(seed)
    x, y = (np.cumsum(10.0 ** rng.uniform(low, 1, 6)) for low in (-7, -5))
    spline = spline_through(x, y) * [[1], [1], [10.0 ** rng.uniform(-3, 3)]]
    near = np.logspace(-14, -1, 100)
    values = np.r_[np.linspace(y[0], y[-1], 300), y[0] + near, y[-1] - near]
    points = invert(spline, values)
    again, log_slope = evaluate(spline, points)
    rounding = np.spacing(y[-1]) + np.exp(log_slope) * np.spacing(np.abs(points))
    assert (np.abs(again - values) < 20 * rounding).all()
