"""Missing values in fit, scores and `impute`."""

import pickle

import numpy as np
import pandas as pd
import pytest
from mixtures import without_some
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.missing import completion
from sklearn_jko.missing.completion import completed

SMALL = {"hidden_layer_sizes": (16, 16), "max_blocks": 2, "max_iter": 100, "random_state": 0}
MEAN = np.array([1.0, -2.0, 30.0])
COVARIANCE = np.array([[2.0, 0.9, -4.0], [0.9, 1.0, 1.0], [-4.0, 1.0, 25.0]])
MISSING = [[1], [0, 2], [2]]


def normal_rows(n, seed):
    return np.random.default_rng(seed).multivariate_normal(MEAN, COVARIANCE, n)


def fitted_moments(density):
    """Mean and covariance of a density without blocks, behind the whitening."""
    scaler = density.scaler_
    root = scaler.colouring_ * scaler.scale_
    return scaler.mean_, root.T @ root


@pytest.fixture(scope="module")
def normal():
    settings = {"scaling": "whiten", "max_blocks": 0, "random_state": 0}
    return JKOFlowDensity(**settings).fit(normal_rows(2000, seed=0))


@pytest.mark.parametrize("missing", MISSING)
def test_density_of_the_observed_part_is_the_marginal(normal, missing):
    X = normal_rows(200, seed=1)
    X[:, missing] = np.nan
    mean, covariance = fitted_moments(normal)
    seen = [j for j in range(3) if j not in missing]
    truth = stats.multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)])
    found, error = normal.score_samples(X, return_std=True)
    miss = found - truth.logpdf(X[:, seen])
    assert np.sqrt(np.mean(miss**2)) < 0.03
    assert (error > 0).all()
    assert np.mean(np.abs(miss) < 4 * error + 1e-3) > 0.98


def test_draws_are_those_of_the_conditional(normal):
    mean, covariance = fitted_moments(normal)
    X = np.tile([[2.0, np.nan, 28.0]], (4000, 1))
    filled = normal.impute(X, random_state=0)
    np.testing.assert_array_equal(filled[:, [0, 2]], X[:, [0, 2]])
    seen = [0, 2]
    slopes = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[seen, 1])
    expected = mean[1] + ([2.0, 28.0] - mean[seen]) @ slopes
    deviation = np.sqrt(covariance[1, 1] - covariance[1, seen] @ slopes)
    assert filled[:, 1].mean() == pytest.approx(expected, abs=0.05)
    assert filled[:, 1].std() == pytest.approx(deviation, rel=0.1)
    again = normal.impute(X[:10], random_state=1)
    np.testing.assert_array_equal(again, normal.impute(X[:10], random_state=1))
    assert not np.array_equal(again, filled[:10])


def test_complete_rows_are_exact_and_empty_ones_certain(normal):
    X = normal_rows(20, seed=2)
    scores = normal.score_samples(X)
    X_some = np.r_[X, np.full((1, 3), np.nan)]
    found, error = normal.score_samples(X_some, return_std=True)
    np.testing.assert_allclose(found[:-1], scores, rtol=1e-12)
    assert (found[-1], error.tolist()) == (0.0, [0.0] * 21)
    np.testing.assert_array_equal(normal.impute(X_some, 0)[:-1], X)
    assert np.isfinite(normal.impute(X_some, 0)).all()


@pytest.mark.filterwarnings("ignore:.*have missing values")
def test_training_takes_what_is_observed():
    """Nearer to the truth than the few complete rows come."""
    covariance = 0.6 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    normal = stats.multivariate_normal(cov=covariance)
    X = without_some(normal.rvs(400, random_state=0), 0.3, seed=0)
    complete, test = X[~np.isnan(X).any(axis=1)], normal.rvs(4000, random_state=1)
    settings = {"scaling": "whiten", "max_blocks": 0, "random_state": 0}
    by_all, by_complete = (
        np.mean(normal.logpdf(test) - JKOFlowDensity(**settings).fit(rows).score_samples(test))
        for rows in (X, complete)
    )
    assert len(complete) < 60
    assert by_all < 0.12
    assert by_all < by_complete


@pytest.mark.filterwarnings("ignore:.*have missing values", "ignore:.*repeated values")
def test_real_rows_with_gaps():
    X = load_breast_cancer().data[:, :6]
    train, test = without_some(X[::2], 0.2, seed=0), X[1::2]
    settings = {**SMALL, "scaling": "power+whiten"}
    whole = JKOFlowDensity(**settings).fit(X[::2]).score_samples(test).mean()
    density = JKOFlowDensity(**settings).fit(train)
    assert density.score_samples(test).mean() > whole - 1.5
    scores, error = density.score_samples(without_some(test, 0.2, seed=1), return_std=True)
    assert np.isfinite(scores).all()
    assert np.median(error) < 0.1


def test_fit_names_the_columns_and_leaves_empty_rows_out():
    X = pd.DataFrame(normal_rows(60, seed=5), columns=["a", "b", "c"])
    X.loc[:9, "b"] = np.nan
    X.loc[5] = np.nan
    model = JKOFlowDensity("standard", **SMALL)
    with pytest.warns(UserWarning, match=r"3 of 3 columns \('a', 'b', 'c'\) have missing values"):
        model.fit(X)
    weight = np.ones(60)
    weight[5] = 0.0
    with pytest.warns(UserWarning, match="have missing values"):
        weighted = JKOFlowDensity("standard", **SMALL).fit(X, sample_weight=weight)
    test = normal_rows(10, seed=6)
    np.testing.assert_array_equal(
        weighted.score_samples(pd.DataFrame(test, columns=X.columns)),
        model.score_samples(pd.DataFrame(test, columns=X.columns)),
    )


@pytest.mark.filterwarnings("ignore:.*have missing values")
def test_objects_may_hold_missing_values_of_pandas():
    """They ended in an error of Python's, though `fit` took them by its word."""
    X = without_some(normal_rows(60, seed=0), 0.1, seed=1)
    frame = pd.DataFrame(X, columns=list("abc")).astype(object)
    frame = frame.where(frame.notna(), pd.NA)
    with pytest.warns(UserWarning, match="have missing values"):
        expected = JKOFlowDensity("whiten", max_blocks=0, random_state=0).fit(X)
    for table in (frame, frame.to_numpy(), frame.to_numpy().tolist()):
        with pytest.warns(UserWarning, match="have missing values"):
            density = JKOFlowDensity("whiten", max_blocks=0, random_state=0).fit(table)
        np.testing.assert_array_equal(density.score_samples(table), expected.score_samples(X))
        assert hasattr(density, "feature_names_in_") == (table is frame)
    with pytest.warns(UserWarning, match="have missing values"):
        density.fit(frame, X_val=frame[:9])
    dated = frame.assign(b=pd.Timestamp("2024-01-01"))[["a", "b", "c"]].astype(object)
    for method in (density.fit, density.score_samples):
        with pytest.raises(TypeError, match=r" X: column 'b': Timestamp.* is not a number"):
            method(dated)
    with pytest.raises(TypeError, match=r" X_val: column 'b': Timestamp.* is not a number"):
        density.fit(frame, X_val=dated)


@pytest.mark.filterwarnings("ignore:.*(miss|repeated) values")
@pytest.mark.parametrize("dtype", [float, int, object])
def test_what_numpy_masks_is_missing(dtype):
    """It was there again, with whatever stood for it: -999."""
    X = (10 * normal_rows(60, seed=0)).astype(dtype)
    is_missing = np.random.default_rng(1).random(X.shape) < 0.1
    masked = np.ma.masked_array(np.where(is_missing, -999, X), mask=is_missing)
    gaps = np.where(is_missing, np.nan, X.astype(float))
    expected = JKOFlowDensity("whiten", max_blocks=0, random_state=0).fit(gaps, X_val=gaps[:9])
    density = clone(expected).fit(masked, X_val=masked[:9])
    np.testing.assert_array_equal(density.score_samples(masked), expected.score_samples(gaps))
    np.testing.assert_array_equal(density.impute(masked, 0), expected.impute(gaps, 0))


@pytest.mark.filterwarnings("ignore:.*(miss|repeated) values")
def test_labels_may_be_masked():
    rows = np.array([["a", 1], ["b", 2], ["b", 3]] * 20, dtype=object)
    masked = np.ma.masked_array(rows, mask=np.arange(120).reshape(60, 2) % 7 == 0)
    density = JKOFlowDensity("whiten", max_blocks=0, columns={0: "category"}, random_state=0)
    gaps = np.where(masked.mask, None, rows)
    expected = clone(density).fit(gaps).score_samples(gaps)
    np.testing.assert_array_equal(density.fit(masked).score_samples(masked), expected)


@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore:.*have missing values")
def test_judges_and_floats_of_single_precision_may_miss_values():
    X = without_some(normal_rows(80, seed=7), 0.1, seed=0).astype(np.float32)
    model = JKOFlowDensity("standard", **SMALL).fit(X, X_val=X[:20])
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.filterwarnings("ignore:.*have missing values")
def test_rows_without_values_are_no_judges():
    X = without_some(normal_rows(80, seed=7), 0.1, seed=0)
    judges = X[:20]
    padded = np.r_[judges, np.full((200, X.shape[1]), np.nan)]
    model, other = (JKOFlowDensity("standard", **SMALL).fit(X, X_val=V) for V in (judges, padded))
    told, other = (m.history_[-1].validation_nll for m in (model, other))
    assert other == pytest.approx(told, abs=0.1)


def test_gaps_in_validation_rows_are_told():
    X = normal_rows(80, seed=7)
    X_val = X[:9].copy()
    X_val[3, 2] = np.nan
    with pytest.warns(match=r"^X_val: 1 of 3 columns \(2\) have missing values") as told:
        JKOFlowDensity("standard", max_blocks=0).fit(X, X_val=X_val)
    assert len(told) == 1


@pytest.mark.parametrize("n_valid", [0, 1])
def test_rows_without_values_do_not_count(n_valid):
    """A fit of a single row passed if there was another without any value."""
    X, few = normal_rows(80, seed=7), np.full((9, 3), np.nan)
    few[:n_valid] = 1.0
    model, message = JKOFlowDensity("standard", **SMALL), f"{n_valid} of 9 rows of {{}} hold values"
    with pytest.raises(ValueError, match=message.format("X_val")):
        model.fit(X, X_val=few)
    if n_valid:  # else the columns are told
        with pytest.raises(ValueError, match=message.format("X")):
            model.fit(few)
    few[:, 2] = 1.0
    with pytest.raises(ValueError, match=message.format("X_val") + " apart from given"):
        model.set_params(condition=[2]).fit(X, X_val=few)


@pytest.mark.filterwarnings("error")
def test_the_middle_of_huge_values_does_not_overflow():
    values = np.array([1.0e308, 1.3e308, 1.6e308])
    X = normal_rows(200, seed=0)
    X[:, 0] = values[np.arange(200) % 3]
    X[::7, 0] = np.nan
    (filled,) = completed(X, None, 0)
    assert np.isin(filled[:, 0], values).all()
    chosen = completion._nearest(values, np.array([1.1e308, 1.2e308, 1.5e308]))
    assert chosen.tolist() == [1.0e308, 1.3e308, 1.6e308]


def test_rows_in_turns_are_filled_in_as_shuffled_ones():
    """Every fifth row is of another cluster, as where five sensors take turns."""
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(5, 2))
    X = np.tile(centres, (200, 1)) + rng.normal(size=(1000, 2))
    gaps = X.copy()
    gaps[rng.random(1000) < 0.3, 1] = np.nan
    order = rng.permutation(1000)
    errors = [
        np.abs(completed(gaps[rows], None, 0)[0] - X[rows]).mean()
        for rows in (np.arange(1000), order)
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-9)
    assert errors[0] < 0.65


def test_repeated_values_are_filled_in_by_values():
    rng = np.random.default_rng(0)
    X = np.c_[rng.integers(4, size=200), rng.normal(size=200), np.full(200, 7.0)].astype(float)
    X[:50] = without_some(X[:50], 0.5, seed=1)
    filled, other = completed(X, None, 0, X[:10])
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(filled[seen], X[seen])
    assert set(filled[:, 0]) == {0.0, 1.0, 2.0, 3.0}
    assert set(filled[:, 2]) == {7.0}
    assert len(np.unique(filled[:, 1])) == 200
    assert np.isfinite(other).all()


def test_what_is_observed_stays_in_other_tables_too():
    X = np.random.default_rng(0).normal(size=(200, 2)).round(1)
    X[:20, 1] = np.nan
    judges = np.array([[0.13, 9.0], [0.27, np.nan]])
    filled, other = completed(X, None, 0, judges)
    seen = ~np.isnan(judges)
    np.testing.assert_array_equal(other[seen], judges[seen])
    assert other[1, 1] in filled[:, 1]


def test_files_and_pickles_score_the_same(normal, tmp_path):
    X = without_some(normal_rows(20, seed=8), 0.3, seed=0)
    normal.save(tmp_path / "normal.safetensors")
    scores = normal.score_samples(X)
    for other in (
        JKOFlowDensity.load(tmp_path / "normal.safetensors"),
        pickle.loads(pickle.dumps(normal)),
    ):
        np.testing.assert_array_equal(other.score_samples(X), scores)


def test_scores_do_not_depend_on_the_other_rows(normal):
    X = without_some(normal_rows(20, seed=9), 0.3, seed=0)
    together = normal.score_samples(X)
    alone = [normal.score_samples(X[k : k + 1])[0] for k in range(20)]
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*have missing values")
def test_search_takes_gaps():
    X = without_some(normal_rows(90, seed=10), 0.2, seed=0)
    model = JKOFlowDensity("standard", **{**SMALL, "max_iter": 5})
    search = GridSearchCV(model, {"max_blocks": [0, 1]}, cv=2).fit(X)
    assert np.isfinite(search.best_score_)


def test_latent_rows_of_gaps_are_none(normal):
    X = normal_rows(5, seed=12)
    Z = normal.transform(X)
    X[[1, 4], 0] = np.nan
    found = normal.transform(X)
    assert np.isnan(found[[1, 4]]).all()
    np.testing.assert_array_equal(found[[0, 2, 3]], Z[[0, 2, 3]])


@pytest.fixture(scope="module")
def detector():
    density = JKOFlowDensity("whiten", **SMALL)
    X = without_some(normal_rows(600, seed=13), 0.2, seed=13)
    with pytest.warns(UserWarning, match="3 of 3 columns .* have missing values"):
        return JKOFlowOutlierDetector(density=density, random_state=0).fit(X)


def test_a_detector_finds_outliers_among_rows_with_gaps(detector):
    rng = np.random.default_rng(14)
    rows = normal_rows(500, seed=14)
    strange = rows[:100] + rng.choice([-1, 1], (100, 3)) * 4 * np.sqrt(np.diag(COVARIANCE))
    X = without_some(np.r_[rows, strange], 0.3, seed=15)
    shows_something = ~np.isnan(X).all(axis=1)
    is_normal = np.arange(600) < 500
    scores = detector.score_samples(X)
    assert roc_auc_score(is_normal[shows_something], scores[shows_something]) > 0.93
    # Of a tenth: the 60 held-out rows leave a deviation of 0.04.
    assert 0.02 < np.mean(detector.p_values(X[:500]) <= 0.1) < 0.22


def test_what_is_missing_makes_a_row_no_rarer_and_little_more_common(detector):
    X = normal_rows(600, seed=16)
    holed = without_some(X, 0.4, seed=16)
    complete, gaps = (detector.score_samples(t) for t in (X, holed))
    assert 0 < gaps.mean() - complete.mean() < 0.3
    assert gaps.std() < complete.std()
    assert 0.02 < np.mean(detector.p_values(holed) <= 0.1) < 0.12


@pytest.mark.filterwarnings("ignore:.*have missing values")
def test_neighbours_scatter_as_rows_do():
    """Each is filled in by a draw of its own; a row that shows nothing is no neighbour."""
    X = np.random.default_rng(0).normal(size=(600, 2))
    X[:250, 1] = np.nan
    X[:60] = np.nan
    density = JKOFlowDensity("standard", **{**SMALL, "max_blocks": 0})
    detector = JKOFlowOutlierDetector(density=density, random_state=0).fit(X)
    neighbours = detector.neighbours_
    assert len(neighbours) == 540 - len(detector.density_.validation_indices_)
    drawn = ~np.isin(neighbours[:, 1], X[:, 1])
    assert drawn.sum() > 150
    assert neighbours[drawn, 1].std() == pytest.approx(1, abs=0.15)


def test_imputation_goes_by_the_device(normal):
    density, gaps = pickle.loads(pickle.dumps(normal)), np.full((1, 3), np.nan)
    density.impute(gaps)  # which learns what to draw
    density.set_params(device="meta")
    with pytest.raises(ValueError, match="not supported"):
        density.impute(gaps)


def test_a_detector_scores_a_row_alone_as_among_others(detector):
    X = without_some(normal_rows(20, seed=17), 0.4, seed=17)
    X[3] = np.nan
    together = detector.score_samples(X)
    assert np.isfinite(together).all()
    alone = [detector.score_samples(X[k : k + 1])[0] for k in range(20)]
    np.testing.assert_allclose(alone, together, rtol=1e-9)


def test_a_detector_of_gaps_is_saved_and_explains_complete_rows(detector, tmp_path):
    X = without_some(normal_rows(20, seed=18), 0.4, seed=18)
    detector.save(tmp_path / "detector.safetensors")
    loaded = JKOFlowOutlierDetector.load(tmp_path / "detector.safetensors")
    np.testing.assert_array_equal(loaded.score_samples(X), detector.score_samples(X))
    for method in (detector.explain, detector.references):
        assert method(normal_rows(2, seed=19)).shape == (2, 3)
        with pytest.raises(
            ValueError, match=r"3 of 3 columns .* have missing values: .*density_.impute"
        ):
            method(X)


@pytest.mark.filterwarnings("ignore:.*have missing values")
def test_what_does_not_go_together_is_told(normal):
    X = normal_rows(30, seed=11)
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="column 1: 1 of its 30 values are missing"):
        JKOFlowDensity(condition=[1]).fit(X)
    X[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 of 3 columns \(1\) hold no value"):
        JKOFlowDensity().fit(X)
    X[0, 1], weight = 2.0, np.r_[1e-9, np.linspace(1.0, 2.0, 29)]
    for columns in (None, {1: "category"}):
        model = JKOFlowDensity(columns=columns)
        with pytest.raises(ValueError, match=r"columns \[1\] of X hold no value but in"):
            model.fit(X, sample_weight=weight)
    X[:, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        JKOFlowDensity().fit(X)
    with pytest.raises(ValueError, match="infinity"):
        normal.score_samples(X)
