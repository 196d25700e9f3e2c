"""Laws of weights, of the rows and of whole fits."""

import numpy as np
import pytest
from conftest import SMALL
from scipy.stats import norm
from test_splitting import SAMPLES

from sklearn_jko import JKOFlowDensity
from sklearn_jko.rows.division import divide
from sklearn_jko.rows.resolution import are_few_values
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.rows.weighting import COPIES, weighted_rows

X = np.random.default_rng(0).normal(size=(300, 2))
COUNTS = np.random.default_rng(1).integers(0, 5, size=len(X))
SHARES = np.random.default_rng(2).uniform(size=len(X))
SWITCH = (np.arange(300) < 143).astype(float)[:, None]
ZEROS = np.r_[np.zeros((900, 2)), X[:100]]


def repeated(X, weight=None):
    return X[weighted_rows(X, weight).repeated]


def small(scaling="standard", **changes):
    return JKOFlowDensity(scaling, **{**SMALL, "max_blocks": 2, **changes})


def test_order_of_the_rows_does_not_matter():
    shuffled = np.random.default_rng(3).permutation(X)
    np.testing.assert_array_equal(repeated(shuffled), repeated(X))


def test_unit_of_the_columns_does_not_matter():
    np.testing.assert_array_equal(repeated(1e9 * X), 1e9 * repeated(X))


def test_rows_are_in_random_order():
    """Of sorted rows the first half would lie below the median."""
    first_half = repeated(X)[: len(X) // 2]
    assert 0.4 < (first_half < np.median(X, axis=0)).mean() < 0.6


@pytest.mark.parametrize("unit", [1.0, 3.0, 0.1, 1e-300, 1e300])
def test_whole_multiples_repeat_rows(unit):
    copies = np.random.default_rng(3).permutation(X.repeat(COUNTS, axis=0))
    np.testing.assert_array_equal(repeated(X, unit * COUNTS), repeated(copies))


@pytest.mark.parametrize("weight", [1.0, 7.0, 0.3])
def test_constant_weights_and_copies_of_the_whole_table_change_nothing(weight):
    np.testing.assert_array_equal(repeated(X, np.full(len(X), weight)), repeated(X))
    np.testing.assert_array_equal(repeated(np.r_[X, X, X]), repeated(X))


def test_a_constant_table_keeps_its_rows():
    assert len(repeated(np.zeros((10, 2)))) == 10


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_other_weights_repeat_rows_in_proportion(scale):
    rows = weighted_rows(X, scale * SHARES)
    counts = np.bincount(rows.repeated, minlength=len(X))
    wanted = COPIES * len(X) * SHARES / SHARES.sum()
    assert np.abs(counts - wanted).max() <= 1
    assert np.array_equal(np.sort(rows.observed), np.arange(len(X)))
    assert rows.size == pytest.approx(SHARES.sum() ** 2 / (SHARES**2).sum())
    assert not rows.has_whole_weights
    assert weighted_rows(X, scale * COUNTS).has_whole_weights


def test_many_copies_are_bounded():
    rows = weighted_rows(X, np.r_[1e15, np.ones(len(X) - 1)])
    assert len(rows.repeated) == COPIES * len(X)
    assert rows.size == pytest.approx(1)


@pytest.mark.parametrize("scaling", ["auto", "marginal+whiten+radial"])
def test_whole_weights_are_as_good_as_repeated_rows(scaling):
    """To the last bit, whatever the order of the rows."""
    copies = np.random.default_rng(3).permutation(X.repeat(COUNTS, axis=0))
    model = small(scaling=scaling, max_iter=20)
    with pytest.warns(UserWarning, match="repeated values"):
        weighted, repeats = (
            model.fit(*data).score_samples(X) for data in ((X, None, COUNTS), (copies,))
        )
    np.testing.assert_array_equal(weighted, repeats)
    np.testing.assert_array_equal(
        model.fit(X, sample_weight=COUNTS > 0).score_samples(X),
        model.fit(X[COUNTS > 0]).score_samples(X),
    )


@pytest.mark.parametrize("weight", [np.linspace(0.99, 1.01, 100), np.arange(100) % 2 + 2.0])
@pytest.mark.filterwarnings("ignore:.*repeated values")
def test_weights_of_nearly_one_choose_no_scaling_that_overfits(weight):
    """Copies of a row in every fold would let the richest scaling win."""
    rng = np.random.default_rng(0)
    train, fresh = rng.normal(size=(100, 30)), rng.normal(size=(2000, 30))
    model = small(scaling="auto", max_blocks=0).fit(train, sample_weight=weight)
    assert -model.score_samples(fresh).mean() < 45


@pytest.mark.parametrize("scaling", ["marginal", "marginal+whiten+radial"])
def test_splines_count_no_copies_that_express_weights(scaling):
    rng = np.random.default_rng(0)
    train, fresh = rng.normal(size=(200, 3)), rng.normal(size=(2000, 3))
    weighted = small(scaling=scaling, max_blocks=0).fit(
        train, sample_weight=1 + 1e-6 * rng.random(200)
    )
    plain = small(scaling=scaling, max_blocks=0).fit(train)
    gained = weighted.score_samples(fresh).mean() - plain.score_samples(fresh).mean()
    assert abs(gained) < 0.1


@pytest.mark.parametrize(
    "X",
    [SAMPLES["normal"], SAMPLES["integer"], SWITCH, ZEROS],
    ids=["normal", "integer", "0/1", "zeros"],
)
def test_other_weights_divide_repeated_rows_as_none_do(X):
    """A row that is common is on both sides; one that is not, with all its copies, on one."""
    weight = np.random.default_rng(4).uniform(0.5, 1.5, len(X))
    weighted, plain = (divide(X, w, None, 0.1, seed=0) for w in (weight, None))
    assert len(weighted.held_out) == len(plain.held_out)
    assert len(weighted.train) == pytest.approx(COPIES * len(plain.train), rel=0.05)
    sides = ({tuple(row) for row in X[part.row_indices]} for part in weighted[1:3])
    fewest = 1 if are_few_values(X, np.arange(len(X)), hash_rows(X)) else 10
    for row in set.intersection(*sides):
        assert (X == row).all(axis=1).sum() > fewest


@pytest.mark.parametrize("kinds", [{}, {"columns": {0: "integer"}}])
def test_a_column_of_few_values_takes_other_weights(kinds):
    weight = np.random.default_rng(4).uniform(0.5, 1.5, len(SWITCH))
    model = small(**kinds).fit(SWITCH, sample_weight=weight)
    assert np.isfinite(model.score(SWITCH))


def test_rows_without_weight_may_hold_anything():
    X = np.random.default_rng(0).exponential(size=(100, 2))
    X[::7, 1] = np.nan
    bad = np.array([[-100.0, 100.0]])
    columns = {0: (0, None)}
    with pytest.warns(UserWarning, match="have missing values"):
        plain = small(columns=columns).fit(X)
    weight = np.r_[np.ones(50), 0.0, np.ones(50)]
    with pytest.warns(UserWarning, match="have missing values"):
        weighted = small(columns=columns).fit(np.insert(X, 50, bad, axis=0), sample_weight=weight)
    np.testing.assert_array_equal(weighted.score_samples(X[1:7]), plain.score_samples(X[1:7]))
    held_out = weighted.validation_indices_
    np.testing.assert_array_equal(held_out - (held_out > 50), plain.validation_indices_)


@pytest.mark.filterwarnings("ignore:.*have missing values")
def test_order_of_rows_with_gaps_does_not_matter():
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)
    shuffled = np.random.default_rng(3).permutation(gaps)
    model, other = (small().fit(rows) for rows in (gaps, shuffled))
    np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))


@pytest.mark.filterwarnings("error")
def test_weights_that_leave_no_rows_to_judge_by_are_told():
    """Nothing was trained then, without a word."""
    X, weight = np.random.default_rng(0).normal(size=(100, 2)), np.r_[1e9, np.ones(99)]
    model = small(max_blocks=1, max_iter=1)
    with pytest.warns(UserWarning, match="leaves 1 of 100 rows as held-out rows.*pass X_val"):
        assert model.fit(X, sample_weight=weight).n_blocks_ == 0
    model.fit(X[:26], sample_weight=weight[:26])  # of so few nothing is trained by any weights


def test_weights_tilt_the_density():
    """Normal rows weighted by exp(x) are normal around one."""
    x = np.random.default_rng(0).normal(size=(4000, 1))
    model = small().fit(x, sample_weight=np.exp(x[:, 0]))
    fresh = 1 + np.random.default_rng(1).normal(size=4000)
    lost = norm(1, 1).logpdf(fresh) - model.score_samples(fresh[:, None])
    assert lost.mean() < 0.03
    assert not model.noise_width_.any()


def test_rows_to_judge_by_stand_in_for_held_out_ones():
    train, judges = (np.c_[part[:, 0], part[:, 1] + 2 * part[:, 0] ** 2] for part in (X, X + 0.3))
    model = small().fit(train, X_val=judges)
    assert model.n_blocks_ > 0
    told = -model.history_[-1].validation_nll
    assert model.score_samples(judges).mean() == pytest.approx(told, abs=1e-3)
    assert abs(model.score_samples(train).mean() - told) > 0.01
    assert len(model.validation_indices_) == 0


def test_many_judges_of_few_values_are_of_all_values():
    rng = np.random.default_rng(0)
    judges = rng.integers(10, size=(50_000, 1)).astype(float)
    parts = divide(rng.normal(size=(100, 1)), None, judges, 0.1, seed=0)
    counts = np.bincount(judges[parts.held_out.row_indices, 0].astype(int), minlength=10)
    assert counts.sum() == 4000
    np.testing.assert_allclose(
        counts / 4000, np.bincount(judges[:, 0].astype(int)) / 50_000, atol=1e-3
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_weight": -COUNTS}, "Negative"),
        ({"sample_weight": np.zeros(len(X))}, "zero|positive for 0 rows"),
        ({"sample_weight": np.arange(len(X)) == 3}, "positive for 1 rows"),
        ({"X_val": np.ones((1, 2))}, "X_val: .*minimum of 2"),
        ({"sample_weight": np.full(len(X), np.nan)}, "NaN"),
        ({"sample_weight": np.ones(3)}, "shape"),
        ({"X_val": np.ones((3, 5))}, "X_val has 5 features; it must have 2"),
        ({"X_val": np.full((3, 2), np.inf)}, "Input X_val contains infinity"),
        ({"X_val": np.full((3, 2), "a")}, "X_val: could not convert string"),
    ],
)
def test_wrong_weights_and_judges_are_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        small().fit(X, **arguments)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("weight", [-1.0, 0.0, np.nan, np.inf, "abc", object(), np.array(1.0)])
def test_a_weight_of_all_rows_is_a_positive_number(weight, is_stream):
    """Streams were fitted without it, and tables to nothing where it was NaN or infinite."""
    with pytest.raises(ValueError, match=r"^sample_weight=.* must be an array .* positive finite"):
        small().fit(iter([X]) if is_stream else X, sample_weight=weight)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("make", [iter, lambda counts: map(float, counts)])
def test_an_iterator_of_weights_is_to_be_an_array(make, is_stream):
    with pytest.raises(TypeError, match=r"^sample_weight is an iterator \(.*pass an array"):
        small().fit(iter([X]) if is_stream else X, sample_weight=make(COUNTS))


@pytest.mark.parametrize("weight", [2, 0.5, np.float32(3)])
def test_one_weight_of_all_rows_changes_nothing(weight):
    expected = small(max_blocks=0).fit(X).score_samples(X)
    for rows in (X, iter([X])):
        model = small(max_blocks=0).fit(rows, sample_weight=weight)
        np.testing.assert_array_equal(model.score_samples(X), expected)


def test_other_judges_have_noise_of_their_own():
    X = np.random.default_rng(0).integers(5, size=(100, 2)).astype(float)
    parts = divide(X, None, X.copy(), 0.1, seed=0)
    train, held_out = parts.train[:], parts.held_out[:]
    assert parts.noise_width.all()
    assert not np.isin(held_out, train).any()


@pytest.mark.parametrize("n_judges", [20, 500])
def test_rows_to_judge_by_take_none_from_the_others(n_judges):
    """Without a block, the density was that of so many rows as judged, or none was to be had."""
    judges = np.random.default_rng(1).normal(size=(n_judges, 2))
    parts = divide(X, None, judges, 0.1, seed=0)
    assert len(parts.all) == len(parts.train) == len(X)
    model = small(max_blocks=0)
    expected = model.fit(X).score_samples(X)
    np.testing.assert_array_equal(model.fit(X, X_val=judges).score_samples(X), expected)


def test_equal_rows_with_gaps_are_equal():
    gaps = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, 1.0], [2.0, 3.0]])
    rows = weighted_rows(gaps).repeated
    assert sorted(np.bincount(rows).tolist()) == [0, 1, 1, 2]


@pytest.mark.filterwarnings("ignore:.*held-out rows, too few")
@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_a_row_that_outweighs_all_others_leaves_the_density_its_unit(unit):
    """It was a standard normal in the units of X, whatever these were."""
    X = unit * np.random.default_rng(0).normal(size=(50, 2))
    density = JKOFlowDensity("standard", max_blocks=0, random_state=0)
    density.fit(X, sample_weight=np.r_[1e9, np.ones(49)])
    drawn = density.sample(1000, random_state=0)
    assert 1e-3 * unit < (drawn - X[0]).std() < 0.2 * unit
