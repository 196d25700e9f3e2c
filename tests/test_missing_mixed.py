"""Missing values beside bounds, integers, categories and conditions."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from homes import CITIES, COLUMNS, RATES, SHARES, SMALL, homes, with_gaps
from scipy import stats
from scipy.special import logsumexp, softmax

from sklearn_jko import JKOFlowDensity, evaluation
from sklearn_jko.diagnostics import path_through_blocks

ROOMS = np.arange(-10, 45)  # the law has none below zero, but the density does not know
LOG_PRICES = np.linspace(-6, 9, 301)


@pytest.fixture(scope="module")
def density():
    return JKOFlowDensity(columns=COLUMNS, **SMALL).fit(homes(3000, seed=0))


@pytest.fixture(scope="module")
def given_city():
    return JKOFlowDensity(columns=COLUMNS, condition=["city"], **SMALL).fit(homes(2000, seed=0))


@pytest.fixture(scope="module")
def trained_with_gaps():
    frame = with_gaps(homes(3000, seed=0), 0.2, seed=1)
    with pytest.warns(
        UserWarning, match=r"3 of 3 columns \('city', 'rooms', 'price'\) have missing"
    ):
        return JKOFlowDensity(columns=COLUMNS, **SMALL).fit(frame)


def summed(density, frame, missing):
    """Log-density of what is left without some columns, by sums and a rule over all they may be."""
    values = {"city": CITIES, "rooms": ROOMS, "price": np.exp(LOG_PRICES)}
    parts = [values[name] if name in missing else [None] for name in frame.columns]
    grid = pd.MultiIndex.from_product(parts).to_frame(index=False, name=list(frame.columns))
    step = LOG_PRICES[1] - LOG_PRICES[0]
    found = []
    for k in range(len(frame)):
        rows = grid.assign(**{name: frame[name].iloc[k] for name in frame if name not in missing})
        log_p = density.score_samples(rows.astype(homes(1, 0).dtypes))
        if "price" in missing:
            log_p = log_p + np.log(rows["price"].to_numpy(dtype=float) * step)
        found.append(logsumexp(log_p))
    return np.array(found)


@pytest.mark.parametrize(
    "missing", [["city"], ["rooms"], ["price"], ["city", "rooms"], ["city", "price"]]
)
def test_the_observed_part_has_the_sum_over_what_is_missing(density, missing):
    complete = homes(6, seed=2)
    gaps = complete.assign(**dict.fromkeys(missing))
    found, error = density.score_samples(gaps, return_std=True)
    miss = found - summed(density, complete, missing)
    assert (error > 0).all()
    assert (np.abs(miss) < 5 * error + 1e-3).all()
    assert np.sqrt(np.mean(miss**2)) < 0.1


@pytest.mark.parametrize("missing", [["rooms"], ["price"]])
def test_the_observed_part_given_a_label(given_city, missing):
    complete = homes(6, seed=2)
    gaps = complete.assign(**dict.fromkeys(missing))
    found, error = given_city.score_samples(gaps, return_std=True)
    miss = found - summed(given_city, complete, missing)
    assert (np.abs(miss) < 5 * error + 1e-3).all()
    assert np.sqrt(np.mean(miss**2)) < 0.1


def test_rows_that_show_nothing_are_certain(density, given_city):
    nothing = homes(2, seed=3).assign(city=None, rooms=None, price=None)
    city_alone = homes(2, seed=3).assign(rooms=None, price=None)
    for model, frame in ((density, nothing), (given_city, city_alone)):
        scores, error = model.score_samples(frame, return_std=True)
        assert (scores.tolist(), error.tolist()) == ([0.0, 0.0], [0.0, 0.0])


def test_complete_rows_are_as_they_were(density):
    complete = homes(5, seed=4)
    mixed = pd.concat([complete, complete.assign(city=None)])
    np.testing.assert_array_equal(density.score_samples(mixed)[:5], density.score_samples(complete))


def test_a_value_outside_its_bounds_has_the_least_density(density):
    frame = homes(3, seed=4).assign(city=None, price=-1.0)
    np.testing.assert_array_equal(density.score_samples(frame), -1e300)


def test_filled_labels_have_their_probabilities(density):
    """As Bayes' rule has them by the density itself; 5 rooms tell nearly all of what is known."""
    row = {"rooms": [5], "price": [np.exp(0.5)]}
    filled = density.impute(pd.DataFrame({"city": None, **row}).loc[[0] * 800], random_state=0)
    shares = filled["city"].value_counts(normalize=True).reindex(CITIES).to_numpy()
    scores = [density.score_samples(pd.DataFrame({"city": [city], **row})) for city in CITIES]
    np.testing.assert_allclose(shares, softmax(scores, axis=0)[:, 0], atol=0.06)
    law = SHARES * stats.poisson.pmf(5, RATES)
    np.testing.assert_allclose(shares, law / law.sum(), atol=0.12)
    assert set(filled["rooms"]) == {5}


def test_missing_labels_are_summed_over_however_many():
    """Codes in no order: draws of them as of numbers missed the few labels that are likely."""
    rng = np.random.default_rng(0)
    places, codes = 1.0 * rng.permutation(300), rng.integers(300, size=6000)
    names = np.array([f"label {k}" for k in range(300)])
    frame = pd.DataFrame({"x": places[codes] + 0.1 * rng.normal(size=6000), "name": names[codes]})
    settings = {"max_blocks": 0, "random_state": 0, "columns": {"name": "category"}}
    density = JKOFlowDensity("standard", **settings).fit(frame)
    gaps = frame[:20].assign(name=None)
    each = [density.score_samples(gaps.assign(name=name)) for name in names]
    log_p, error = density.score_samples(gaps, return_std=True)
    np.testing.assert_allclose(log_p, logsumexp(each, axis=0), atol=1e-9)
    assert not error.any()
    most_likely = names[np.argmax(each, axis=0)]
    assert (density.impute(gaps, random_state=0)["name"] == most_likely).mean() > 0.9


def test_labels_that_no_row_has_may_be_missing_beside_others():
    rng = np.random.default_rng(0)
    labels = pd.Categorical(rng.choice(["a", "b"], 200), categories=list("abcd"))
    frame = pd.DataFrame({"x": rng.normal(size=200), "g": labels})
    frame.loc[:10, "g"] = None
    with pytest.warns(UserWarning, match="have missing values"):
        density = JKOFlowDensity("standard", max_blocks=0, columns="auto", random_state=0).fit(
            frame
        )
    assert np.isfinite(density.score_samples(frame)).all()
    assert density.impute(frame, random_state=0)["g"].isin(["a", "b"]).mean() > 0.9


def test_filled_numbers_have_their_moments(density):
    frame = pd.DataFrame({"city": ["Kiel"] * 800, "rooms": None, "price": None})
    filled = density.impute(frame, random_state=0)
    assert (filled["city"] == "Kiel").all()
    assert filled["rooms"].mean() == pytest.approx(6.0, abs=0.4)
    assert filled["rooms"].std() == pytest.approx(np.sqrt(6.0), rel=0.15)
    assert (filled["price"] > 0).all()
    left = np.log(filled["price"]) - 0.1 * filled["rooms"]
    assert left.std() == pytest.approx(0.5, rel=0.15)


def test_filled_tables_have_the_types_of_the_data(density):
    frame = with_gaps(homes(30, seed=5), 0.4, seed=5)
    filled = density.impute(frame, random_state=0)
    assert filled.dtypes.tolist() == homes(1, 0).dtypes.tolist()
    assert filled["city"].isin(CITIES).all()
    assert not filled.isna().any(axis=None)
    is_seen = frame.notna().to_numpy()
    assert (filled.to_numpy()[is_seen] == frame.to_numpy()[is_seen]).all()
    assert density.impute(frame, random_state=0).equals(filled)
    assert not density.impute(frame, random_state=1).equals(filled)


def test_latent_rows_of_gaps_are_none(density):
    frame = homes(4, seed=6)
    frame.loc[1, "city"] = None
    assert np.isnan(density.transform(frame)).any(axis=1).tolist() == [False, True, False, False]
    with pytest.raises(
        ValueError, match=r"1 of 3 columns \('city'\) have missing values: `impute` X"
    ):
        path_through_blocks(density, frame)


def test_training_takes_what_is_observed(trained_with_gaps, density):
    test = homes(3000, seed=7)
    gap = density.score_samples(test).mean() - trained_with_gaps.score_samples(test).mean()
    assert gap < 0.06
    sample = trained_with_gaps.sample(3000, random_state=0)
    shares = sample["city"].value_counts(normalize=True).reindex(CITIES).to_numpy()
    np.testing.assert_allclose(shares, SHARES, atol=0.04)


def test_a_polars_frame_of_missing_values():
    frame = pl.from_pandas(homes(300, seed=0)).with_columns(
        rooms=pl.when(pl.int_range(300) % 5 == 0).then(None).otherwise(pl.col("rooms")),
        city=pl.when(pl.int_range(300) % 7 == 0).then(None).otherwise(pl.col("city")),
    )
    settings = {**SMALL, "max_blocks": 0}
    with pytest.warns(UserWarning, match=r"2 of 3 columns \('city', 'rooms'\) have missing"):
        model = JKOFlowDensity(columns="auto", **settings).fit(frame)
    assert model.roles_.kinds == {"city": "category", "rooms": "integer", "price": (0.0, None)}
    assert np.isfinite(model.score_samples(frame)).all()
    filled = model.impute(frame, random_state=0)
    assert filled.null_count().row(0) == (0, 0, 0)
    assert filled.schema == frame.schema


@pytest.mark.parametrize("name", ["density", "given_city"])
def test_files_and_pickles_score_the_same(name, request, tmp_path):
    model = request.getfixturevalue(name)
    frame = homes(20, seed=8).assign(price=None)
    model.save(tmp_path / "model.safetensors")
    scores = model.score_samples(frame)
    for other in (
        JKOFlowDensity.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(model)),
    ):
        np.testing.assert_array_equal(other.score_samples(frame), scores)


@pytest.mark.parametrize("rows", [None, np.zeros((0, 1)), np.zeros((5, 2)), np.full((5, 1), 3.0)])
def test_damaged_given_rows_are_refused(given_city, rows):
    state = given_city._fitted_state()
    with pytest.raises(ValueError, match="given_rows_"):
        copy.copy(given_city)._set_fitted_state({**state, "given_rows_": rows})


def test_scores_do_not_depend_on_the_other_rows(density):
    frame = with_gaps(homes(12, seed=9), 0.4, seed=9)
    together = density.score_samples(frame)
    alone = [density.score_samples(frame.iloc[k : k + 1])[0] for k in range(12)]
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-9)


def test_what_cannot_be_is_told(density, given_city):
    frame = homes(20, seed=10)
    unknown = frame.assign(city="Rome", price=None)
    with pytest.raises(ValueError, match="X: column 'city' has a label that was not seen in fit"):
        density.impute(unknown)
    assert np.isfinite(density.score_samples(unknown)).all()
    with pytest.raises(ValueError, match="column 'price': 1 of its 20 values are outside"):
        density.impute(frame.assign(price=np.r_[-1.0, frame["price"][1:]], rooms=None))
    with pytest.raises(ValueError, match="column 'city': 20 of its 20 values are missing"):
        given_city.score_samples(frame.assign(city=None))
    with pytest.raises(ValueError, match="column 'city': 1 of its 1 values are missing"):
        given_city.sample(condition=pd.DataFrame({"city": [None]}))
    for columns in (COLUMNS, "auto"):
        for name in ("city", "rooms"):
            with pytest.raises(ValueError, match=rf"1 of 3 columns \('{name}'\) hold no value"):
                JKOFlowDensity(columns=columns, **SMALL).fit(frame.assign(**{name: np.nan}))


def test_what_misses_nothing_comes_back_at_once(density, monkeypatch):
    monkeypatch.setattr(evaluation, "draw_missing", lambda *args: pytest.fail("drawn"))
    frame = homes(20, seed=10)
    pd.testing.assert_frame_equal(density.impute(frame), frame)


def test_filled_frames_keep_their_index():
    frame = homes(100, seed=0).set_axis(np.arange(1000, 1100))
    gaps = frame.copy()
    gaps.loc[1003, "price"] = np.nan
    density = JKOFlowDensity("standard", columns=COLUMNS, max_blocks=0, random_state=0).fit(frame)
    filled = gaps.fillna(density.impute(gaps, random_state=0))
    assert filled.loc[1003, "price"] > 0
