"""Integers and categories beside numbers, from `columns` to scores, samples and files."""

import pickle

import numpy as np
import pandas as pd
import pytest
from homes import CITIES, COLUMNS, RATES, SHARES, SMALL, homes
from scipy import stats
from scipy.integrate import trapezoid
from sklearn.base import clone

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.export import as_torch_module


def homes_log_density(frame):
    codes = np.searchsorted(CITIES, frame["city"].to_numpy())
    rooms, log_price = frame["rooms"].to_numpy(), np.log(frame["price"].to_numpy())
    of_price = stats.norm.logpdf(log_price, 0.1 * rooms, 0.5) - log_price
    return np.log(SHARES[codes]) + stats.poisson.logpmf(rooms, RATES[codes]) + of_price


@pytest.fixture(scope="module")
def of_homes():
    return JKOFlowDensity(columns=COLUMNS, **SMALL).fit(homes(4000, seed=0))


def test_score_is_the_probability_times_the_density(of_homes):
    test = homes(4000, seed=1)
    excess = np.mean(homes_log_density(test) - of_homes.score_samples(test))
    assert 0 < excess < 0.08


def test_probabilities_add_up_to_one(of_homes):
    log_price, city, rooms = np.linspace(-6, 9, 151), CITIES, np.arange(30)
    cells = pd.MultiIndex.from_product([city, rooms, np.exp(log_price)])
    grid = cells.to_frame(index=False, name=["city", "rooms", "price"])
    density = np.exp(of_homes.score_samples(grid)) * grid["price"]  # of the logarithm
    mass = trapezoid(density.to_numpy().reshape(-1, 151), log_price).sum()
    assert mass == pytest.approx(1.0, abs=0.01)


# The density itself integrates to 1 + 2e-7; what is left is that of 16 points in a steep cell.
@pytest.mark.parametrize(("deviation", "excess"), [(0.4, 3e-3), (1.0, 2e-3), (5.0, 2e-3)])
def test_a_rounded_normal_has_the_probability_of_its_cells(deviation, excess):
    rng = np.random.default_rng(0)
    X = np.rint(rng.normal(0.3, deviation, size=(5000, 1)))
    model = JKOFlowDensity(columns={0: "integer"}, **SMALL).fit(X)
    k = np.arange(-30, 31.0)
    probability = np.exp(model.score_samples(k[:, None]))
    truth = np.diff(stats.norm(0.3, deviation).cdf(np.arange(-30.5, 31)))
    assert probability.sum() == pytest.approx(1.0, abs=excess)
    assert 0.5 * np.abs(probability - truth).sum() < 0.05  # total variation


def test_two_rounded_normals():
    """Sobol points in the cells: the probability of a bivariate normal's squares."""
    rng = np.random.default_rng(0)
    cov = [[4.0, 2.5], [2.5, 3.0]]
    X = np.rint(rng.multivariate_normal([0, 0], cov, 5000))
    model = JKOFlowDensity(columns={0: "integer", 1: "integer"}, **SMALL).fit(X)
    test = np.rint(rng.multivariate_normal([0, 0], cov, 2000))
    cdf = stats.multivariate_normal(cov=cov).cdf
    ends = [(a, b) for a in (-0.5, 0.5) for b in (-0.5, 0.5)]
    truth = np.log(sum(4 * a * b * cdf(test + np.array([a, b])) for a, b in ends))
    assert abs(np.mean(truth - model.score_samples(test))) < 0.05


def test_cells_of_three_columns_are_taken_at_enough_points():
    """Where the density changes within them: 16 points left errors of 0.1 nats."""
    X = np.rint(np.random.default_rng(0).normal(0, 0.5, (600, 3)))
    columns = dict.fromkeys(range(3), "integer")
    model = JKOFlowDensity("standard", columns=columns, max_blocks=0, random_state=0).fit(X)
    cdf = stats.norm(model.scaler_.mean_, model.scaler_.scale_).cdf
    truth = np.log(cdf(X + 0.5) - cdf(X - 0.5)).sum(axis=1)
    assert np.abs(model.score_samples(X) - truth).mean() < 0.03


def test_declared_integers_bring_no_warning(recwarn):
    X = np.random.default_rng(0).poisson(3, size=(300, 1))
    model = JKOFlowDensity(columns={0: "integer"}, **{**SMALL, "max_iter": 10}).fit(X)
    assert model.noise_width_.tolist() == [1.0]
    assert not [w for w in recwarn if "repeated values" in str(w.message)]


def test_samples_have_the_types_and_laws_of_the_data(of_homes):
    X, sample = homes(4000, seed=0), of_homes.sample(4000, random_state=0)
    assert sample.dtypes.tolist() == X.dtypes.tolist()
    assert set(sample["city"]) <= set(CITIES)
    assert (sample["price"] > 0).all()
    shares = sample["city"].value_counts(normalize=True)[CITIES]
    np.testing.assert_allclose(shares, SHARES, atol=0.03)
    rooms = sample.groupby("city")["rooms"].mean()[CITIES]
    np.testing.assert_allclose(rooms, RATES, rtol=0.1)
    other = of_homes.sample(4000, random_state=1)
    assert not other.equals(sample)
    assert of_homes.sample(4000, random_state=0).equals(sample)


def test_integers_keep_to_their_bounds():
    X = np.random.default_rng(0).binomial(4, 0.5, size=(1000, 1))
    model = JKOFlowDensity(columns={0: ("integer", 0, 4)}, **SMALL).fit(X)
    sample = model.sample(5000, random_state=0)
    assert sample.dtype == X.dtype
    assert sorted(np.unique(sample)) == [0, 1, 2, 3, 4]
    probability = np.exp(model.score_samples(np.arange(-1, 6)[:, None]))
    assert probability[[0, 6]].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(probability[1:6], stats.binom(4, 0.5).pmf(range(5)), atol=0.05)


def test_an_unknown_category_is_rare_but_not_impossible(of_homes):
    X = homes(5, seed=2).assign(city="Rom")
    scores = of_homes.score_samples(X)
    assert np.isfinite(scores).all()
    assert np.all(scores < of_homes.score_samples(X.assign(city="Bonn")))


def density_of_zones(labels):
    X = pd.DataFrame({"x": np.linspace(-1, 1, 60), "zone": labels * (60 // len(labels))})
    return X, JKOFlowDensity("standard", columns={"zone": "category"}, max_blocks=0).fit(X)


def test_a_column_of_unknown_labels_alone_is_told():
    X, density = density_of_zones([0, 1, 2])
    with pytest.warns(UserWarning, match=r"1 of 2 columns \('zone'\) hold no label") as told:
        density.score_samples(X.assign(zone=X["zone"] + 3))
    assert [warning.filename for warning in told] == [__file__]


@pytest.mark.parametrize(
    ("labels", "other", "words"),
    [
        ([0, 1], "1", "'1' .* were numbers"),
        (["0", "1"], 1, "1 .* were strings"),
        (["a"], True, "True"),
    ],
)
def test_a_label_of_another_type_is_told_of_a_single_row_too(labels, other, words):
    """Texts of the numbers in fit scored as labels never seen, silently where in one row."""
    X, density = density_of_zones(labels)
    with pytest.warns(UserWarning, match=f"column 'zone': the label {words}") as told:
        density.score_samples(X[:1].assign(zone=other))
    assert [warning.filename for warning in told] == [__file__]


def test_a_rare_label_of_the_right_type_is_told_of_no_row(recwarn):
    X, density = density_of_zones(["a", 1])
    density.score_samples(X[:1].assign(zone="b"))
    density.score_samples(X[:1].assign(zone=2.5))
    density.score_samples(X[:2].assign(zone=["a", "b"]))
    assert [str(warning.message) for warning in recwarn] == []


def test_latent_rows_come_back_with_their_categories(of_homes):
    X = homes(200, seed=3)
    Z = of_homes.transform(X)
    assert Z.shape == (200, 2)
    back = of_homes.inverse_transform(Z, condition=X[["city"]])
    assert back["rooms"].tolist() == X["rooms"].tolist()
    assert back["city"].tolist() == X["city"].tolist()
    np.testing.assert_allclose(back["price"], X["price"], rtol=1e-6)
    labelled = pd.DataFrame(Z, index=range(300, 500))
    back = of_homes.inverse_transform(labelled, condition=X[["city"]])
    assert back.index.tolist() == labelled.index.tolist()
    with pytest.raises(ValueError, match="condition=None, but the columns 'city'"):
        of_homes.inverse_transform(Z)


def test_categories_given_conditions():
    """P(label | c) of a logistic regression on a number that is given, and a number besides."""
    rng = np.random.default_rng(0)
    c = rng.normal(size=3000)
    label = (rng.uniform(size=3000) < 1 / (1 + np.exp(-2 * c))).astype(int)
    X = np.c_[rng.normal(size=3000) + 3 * label, label, c]
    model = JKOFlowDensity(columns={1: "category"}, condition=[2], **SMALL).fit(X)
    log_p = np.where(label == 1, stats.logistic.logcdf(2 * c), stats.logistic.logcdf(-2 * c))
    truth = log_p + stats.norm.logpdf(X[:, 0], 3 * label)
    assert abs(np.mean(truth - model.score_samples(X))) < 0.05
    sample = model.sample(3000, random_state=0, condition=[[1.0], [-1.0]])
    share = sample[:, 1].reshape(2, 3000).mean(axis=1)
    np.testing.assert_allclose(share, stats.logistic.cdf([2.0, -2.0]), atol=0.04)
    assert set(sample[:, 2]) == {1.0, -1.0}


def test_columns_are_guessed_and_told():
    X = homes(300, seed=4)
    X["price"] **= 3
    model = JKOFlowDensity("standard", columns="auto", **{**SMALL, "max_iter": 10}).fit(X)
    assert model.roles_.kinds == COLUMNS
    assert np.isfinite(model.score_samples(X)).all()


def test_files_pickles_and_clones(of_homes, tmp_path):
    X = homes(50, seed=5)
    of_homes.save(tmp_path / "homes.safetensors")
    loaded = JKOFlowDensity.load(tmp_path / "homes.safetensors")
    for other in (loaded, pickle.loads(pickle.dumps(of_homes))):
        np.testing.assert_array_equal(other.score_samples(X), of_homes.score_samples(X))
        assert other.sample(20, random_state=0).equals(of_homes.sample(20, random_state=0))
    assert clone(loaded).columns == COLUMNS


def test_damaged_category_models_are_refused(of_homes):
    state = of_homes._state()
    for damage in (None, [], [{}, {}]):
        damaged = {**state, "fitted": {**state["fitted"], "categories_": damage}}
        with pytest.raises(ValueError, match=r"categories_|CategoryModel|Power"):
            JKOFlowDensity._from_state(damaged)
    *codes, chain = state["fitted"]["categories_"]
    fewer = {**chain, "n_categories_": chain["n_categories_"] - 1}
    damaged = {**state, "fitted": {**state["fitted"], "categories_": [*codes, fewer]}}
    with pytest.raises(ValueError, match="coefficients_"):
        JKOFlowDensity._from_state(damaged)


def test_scores_do_not_depend_on_the_other_rows(of_homes):
    X = homes(30, seed=6)
    together = of_homes.score_samples(X)
    alone = [of_homes.score_samples(X[k : k + 1])[0] for k in range(30)]
    np.testing.assert_allclose(alone, together, rtol=1e-10)


def test_wrong_values_are_told(of_homes):
    X = homes(20, seed=7)
    with pytest.raises(ValueError, match="column 'price': 'dear' is not a number"):
        of_homes.score_samples(X.assign(price="dear"))


def test_a_fraction_among_integers_is_told_and_scored_as_the_nearest(of_homes):
    """It was an error for the whole batch, though "auto" may have called the column so."""
    X = homes(20, seed=7)
    off = X.assign(rooms=X["rooms"] + np.r_[0.25, np.zeros(19)])
    with pytest.warns(UserWarning, match="column 'rooms': 1 of its 20 values are not integers"):
        scores = of_homes.score_samples(off)
    np.testing.assert_array_equal(scores, of_homes.score_samples(X))
    for refuses in (of_homes.impute, lambda rows: clone(of_homes).fit(X, X_val=rows)):
        with pytest.raises(ValueError, match="'rooms': 1 of its 20 values are not integers"):
            refuses(off)


def test_an_integer_too_large_is_told_and_scored_as_the_largest(of_homes):
    """It was an error for the whole batch, with advice for fit."""
    X = homes(20, seed=7)
    far = X.assign(rooms=np.r_[2**60, X["rooms"][1:]])
    with pytest.warns(UserWarning, match=r"column 'rooms': 1152921504606846976 is beyond 2\*\*52"):
        scores = of_homes.score_samples(far)
    np.testing.assert_array_equal(scores[1:], of_homes.score_samples(X)[1:])
    assert scores[0] < scores[1:].min()
    with pytest.raises(ValueError, match="do not declare it as integer"):
        clone(of_homes).fit(far)


def test_texts_without_roles_are_told_with_the_remedy():
    frame = homes(20, seed=8)
    with pytest.raises(
        ValueError, match=r"column 'city': '\w+' is not a number; .* a category with"
    ):
        JKOFlowDensity().fit(frame)
    with pytest.raises(ValueError, match=r"column 0: '\w+' is not a number"):
        JKOFlowDensity().fit(frame.to_numpy())
    with pytest.raises(ValueError, match=r"'g' is of the type category; make it a category"):
        JKOFlowDensity().fit(frame[["price"]].assign(g=pd.Categorical(frame["city"])))
    with pytest.raises(ValueError, match=r"JKOFlowDensity\('tails.standard', columns='auto'\)"):
        JKOFlowOutlierDetector().fit(frame)


def test_what_does_not_go_together_is_told(of_homes):
    with pytest.raises(ValueError, match="cannot be exported"):
        as_torch_module(of_homes)


def test_labels_of_single_rows_say_nothing():
    """Given a name, a row is as likely under its own as under another's."""
    x = np.random.default_rng(0).normal(size=120)
    rows = pd.DataFrame({"x": x, "name": [f"no. {k}" for k in range(120)]})
    settings = {"columns": {"name": "category"}, "random_state": 0, "max_iter": 100}
    given = JKOFlowDensity("standard", condition=["name"], **settings).fit(rows)
    others = rows.assign(name=rows["name"].to_numpy()[::-1])
    np.testing.assert_allclose(given.score_samples(others), given.score_samples(rows))
    assert given.score_samples(rows).mean() == pytest.approx(stats.norm.logpdf(x).mean(), abs=0.15)
    back = given.inverse_transform(given.transform(rows), condition=rows[["name"]])
    np.testing.assert_allclose(back["x"], x)
    modelled = JKOFlowDensity("standard", **settings).fit(rows)
    gap = given.score_samples(rows).mean() - modelled.score_samples(others).mean()
    assert gap == pytest.approx(np.log(120), abs=1)
