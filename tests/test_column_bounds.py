"""Bounded columns, from the parameter `columns` to scores, samples and files."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.column_bounds import bounds_of_columns, reflect
from sklearn_jko.export import as_torch_module

SMALL = {"hidden_layer_sizes": (16, 16), "max_blocks": 2, "max_iter": 60, "random_state": 0}
NAMES = np.array(["price", "share", "other"], dtype=object)
BOUNDS = {"price": (0, None), 1: [0, 1]}
LOWEST = -1e300


def bounded_rows(n, seed):
    """An exponential column, a uniform one, and a normal one."""
    rng = np.random.default_rng(seed)
    return np.c_[rng.exponential(3.0, n), rng.uniform(size=n), rng.normal(size=n)]


def frame(n, seed):
    return pd.DataFrame(bounded_rows(n, seed), columns=NAMES)


def true_log_density(X):
    return stats.expon.logpdf(X[:, 0], scale=3.0) + stats.norm.logpdf(X[:, 2])


@pytest.fixture(scope="module")
def fitted():
    return JKOFlowDensity(columns=BOUNDS, **SMALL).fit(frame(2000, seed=0))


def test_names_and_numbers_become_arrays():
    bounds = bounds_of_columns({"share": (0, 1), np.int64(0): (None, 5.0)}, NAMES, 3)
    np.testing.assert_array_equal(bounds, [[-np.inf, 0, -np.inf], [5, 1, np.inf]])
    np.testing.assert_array_equal(bounds_of_columns(None, None, 1), [[-np.inf], [np.inf]])


@pytest.mark.parametrize(
    ("columns", "names", "message"),
    [
        ({"size": (0, 1)}, NAMES, "no column 'size'; use the numbers 0 to 2 or one of the names"),
        ({"size": (0, 1)}, None, "no column 'size'; use the numbers 0 to 2, as X has no names"),
        ({3: (0, 1)}, NAMES, "no column 3; use 0 to 2"),
        ({-1: (0, 1)}, None, "no column -1"),
        ({True: (0, 1)}, None, "no column True"),
        ({"share": (0, 1), 1: (0, 1)}, NAMES, "names 'share' twice"),
        ({0: (1, 1)}, None, r"bounds \(1, 1\); the first must be less"),
        ({0: (None, np.nan)}, None, "pair .* got .None, nan"),
        ({0: "integer"}, None, "must have a pair .* got 'integer'"),
        ({0: (0, 1, 2)}, None, "must have a pair"),
        ({0: (0, 1e305)}, None, "is the most"),
    ],
)
def test_wrong_bounds_are_refused(columns, names, message):
    with pytest.raises(ValueError, match=message):
        bounds_of_columns(columns, names, 3)


def test_reflection_keeps_values_inside_and_inner_ones_as_they_are():
    bounds = np.array([[0.0, -np.inf], [1.0, np.inf]])
    X = np.array([[-0.1, -7.0], [0.3, 2.0], [1.2, 9.0], [5.0, 1.0]])
    np.testing.assert_allclose(reflect(X.copy(), bounds), [[0.1, -7], [0.3, 2], [0.8, 9], [0.0, 1]])


def test_values_outside_are_refused_in_fit():
    X = frame(50, seed=0)
    X.loc[3, "price"] = -2.5
    message = r"column 'price': 1 of its 50 values are outside its bounds 0 and inf.*is -2.5"
    with pytest.raises(ValueError, match=message):
        JKOFlowDensity(columns=BOUNDS, **SMALL).fit(X)
    with pytest.raises(ValueError, match=message):
        JKOFlowDensity(columns=BOUNDS, **SMALL).fit(frame(50, seed=1), X_val=X)


def test_density_is_near_the_truth_and_nearer_than_without_bounds(fitted):
    train, test = frame(2000, seed=0), frame(4000, seed=1)
    unbounded = JKOFlowDensity(**SMALL).fit(train)
    excess, excess_unbounded = (
        (true_log_density(test.to_numpy()) - model.score_samples(test)).mean()
        for model in (fitted, unbounded)
    )
    assert 0 < excess < 0.04
    assert excess_unbounded > 2 * excess


def test_density_is_that_of_a_log_normal_without_blocks():
    x = stats.lognorm(0.7, scale=2.0).rvs((4000, 1), random_state=0)
    model = JKOFlowDensity("standard", columns={0: (0, None)}, max_blocks=0).fit(x)
    log = np.log(x[:, 0])
    truth = stats.lognorm(log.std(), scale=np.exp(log.mean())).logpdf(x[:50, 0])
    np.testing.assert_allclose(model.score_samples(x[:50]), truth, atol=1e-9)


def test_no_density_outside_and_all_of_it_inside():
    x = np.random.default_rng(0).beta(0.8, 2.0, (1000, 1))
    model = JKOFlowDensity(columns={0: (0, 1)}, **SMALL).fit(x)
    edges = 0.5 + 0.5 * np.tanh(np.linspace(-18, 18, 4001))[:, None]  # dense near both ends
    density = np.exp(model.score_samples(edges))
    assert np.trapezoid(density, edges[:, 0]) == pytest.approx(1.0, abs=2e-3)
    scores = model.score_samples([[-1e-9], [1 + 1e-9], [0.0], [1.0], [7.0]])
    np.testing.assert_array_equal(scores == LOWEST, [True, True, False, False, True])
    assert np.isfinite(model.transform([[-1.0], [9.0]])).all()


def test_samples_are_inside_and_latent_rows_come_back(fitted):
    sample = fitted.sample(5000, random_state=1)
    assert np.all(sample[:, 0] >= 0)
    assert np.all((sample[:, 1] >= 0) & (sample[:, 1] <= 1))
    X = frame(200, seed=2)
    Z = fitted.transform(X)
    np.testing.assert_allclose(fitted.inverse_transform(Z), X, rtol=1e-6, atol=1e-9)
    far = fitted.inverse_transform(100 * np.sign(Z))
    assert np.all((far >= fitted.bounds_[0]) & (far <= fitted.bounds_[1]))


def test_repeated_values_on_a_bound():
    rng = np.random.default_rng(0)
    X = np.c_[rng.poisson(0.7, 800), rng.normal(size=800)].astype(float)
    model = JKOFlowDensity("standard", columns={0: (0, None)}, **SMALL)
    with pytest.warns(UserWarning, match="repeated values"):
        model.fit(X)
    density = np.exp(model.score_samples(np.c_[np.arange(4.0), np.zeros(4)]))
    # Noise of width 1, folded back at 0: twice as dense there as the Poisson's probability.
    truth = stats.poisson(0.7).pmf(np.arange(4)) * [2, 1, 1, 1] * stats.norm.pdf(0)
    np.testing.assert_allclose(density[:2], truth[:2], rtol=0.5)
    assert np.isfinite(model.score_samples(X)).all()


def test_files_pickles_and_clones_keep_the_bounds(fitted, tmp_path):
    fitted.save(tmp_path / "bounded.safetensors")
    loaded = JKOFlowDensity.load(tmp_path / "bounded.safetensors")
    X = frame(50, seed=3)
    np.testing.assert_array_equal(loaded.score_samples(X), fitted.score_samples(X))
    np.testing.assert_array_equal(loaded.bounds_, fitted.bounds_)
    assert loaded.columns == BOUNDS
    assert clone(loaded).columns == BOUNDS


@pytest.mark.parametrize("damage", [None, np.zeros((2, 3)), np.ones((2, 2)), np.full((2, 3), 1)])
def test_damaged_bounds_are_refused(fitted, damage):
    state = {**fitted._state()["fitted"], "bounds_": damage}
    with pytest.raises(ValueError, match="bounds_="):
        JKOFlowDensity()._set_fitted_state(state)


def test_torch_module_agrees_also_on_and_beyond_bounds(fitted):
    X = np.r_[bounded_rows(100, seed=4), [[0.0, 1.0, 0.0], [-1.0, 0.5, 0.0], [1.0, 2.0, 0.0]]]
    found = as_torch_module(fitted)(torch.tensor(X, requires_grad=True))
    np.testing.assert_allclose(found.detach(), fitted.score_samples(X), rtol=1e-9, atol=1e-9)
    assert found.detach().numpy()[-2:].tolist() == [LOWEST, LOWEST]


def test_search_and_detector_take_bounds():
    X = frame(300, seed=5)
    search = GridSearchCV(
        JKOFlowDensity("standard", **{**SMALL, "max_iter": 10}),
        {"columns": [None, BOUNDS]},
        cv=2,
    ).fit(X)
    assert search.best_params_["columns"] == BOUNDS
    density = JKOFlowDensity("standard", columns=BOUNDS, **{**SMALL, "max_iter": 10})
    detector = JKOFlowOutlierDetector(density=density, random_state=0).fit(X)
    assert detector.predict([[-5.0, 0.5, 0.0]]).tolist() == [-1]
