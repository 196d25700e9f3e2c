"""Bounded columns, from the parameter `columns` to scores, samples and files."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.integrate import trapezoid
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.export import as_torch_module
from sklearn_jko.rows.blurred import reflect

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
    with pytest.raises(ValueError, match=f"X_val: {message}"):
        JKOFlowDensity(columns=BOUNDS, **SMALL).fit(frame(50, seed=1), X_val=X)


def test_a_value_just_outside_is_told_in_all_its_digits():
    X = np.array([[1e6 + 0.25], [5.0]])
    with pytest.raises(ValueError, match=r"bounds 0\.1 and 1000000, the first is 1000000\.25"):
        JKOFlowDensity(columns={0: (0.1, 1e6)}, **SMALL).fit(X)


def test_a_bound_in_single_precision_is_that_bound():
    """It may be beyond the bound as given, in double precision."""
    rng = np.random.default_rng(0)
    X = rng.uniform([0.0, 0.7], [0.1, 1.0], size=(100, 2)).astype(np.float32)
    X[:2] = [[0.05, 0.7], [0.1, 0.8]]
    columns = {0: (0.0, 0.1), 1: (0.7, 1.0)}
    model = JKOFlowDensity("standard", columns=columns, max_blocks=0).fit(X)
    assert model.score_samples(X).min() > -10
    beyond = np.nextafter(X[:2], np.float32([1, 0]))
    assert (model.score_samples(beyond) == LOWEST).all()
    for bound in (1e-300, 1e300):  # which single precision holds as 0, and not at all
        model = JKOFlowDensity("standard", columns={0: (bound, None)}, max_blocks=0)
        rows = bound * (1 + X[:, :1].astype(float))
        assert model.fit(rows).score_samples(rows).min() > -1e3
        assert model.score_samples([[0.0]]) == LOWEST


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
    assert trapezoid(density, edges[:, 0]) == pytest.approx(1.0, abs=2e-3)
    scores = model.score_samples([[-1e-9], [1 + 1e-9], [0.0], [1.0], [7.0]])
    np.testing.assert_array_equal(scores == LOWEST, [True, True, False, False, True])
    assert np.isfinite(model.transform([[-1.0], [9.0]])).all()


def test_samples_are_inside_and_latent_rows_come_back(fitted):
    sample = fitted.sample(5000, random_state=1)
    assert isinstance(sample, pd.DataFrame)
    assert np.all(sample["price"] >= 0)
    assert np.all((sample["share"] >= 0) & (sample["share"] <= 1))
    X = frame(200, seed=2)
    Z = fitted.transform(X)
    np.testing.assert_allclose(fitted.inverse_transform(Z), X, rtol=1e-6, atol=1e-9)
    far = fitted.inverse_transform(100 * np.sign(Z))
    assert not fitted.roles_.outside(far.to_numpy()).any()


def test_repeated_values_on_a_bound():
    rng = np.random.default_rng(0)
    X = np.c_[rng.poisson(0.7, 800), rng.normal(size=800)].astype(float)
    model = JKOFlowDensity("standard", columns={0: (0, None)}, **SMALL)
    with pytest.warns(UserWarning, match="repeated values"):
        model.fit(X)
    density = np.exp(model.score_samples(np.c_[np.arange(4.0), np.zeros(4)]))
    # Noise of width 1, folded back at 0: twice as dense there as the Poisson's probability.
    truth = stats.poisson(0.7).pmf(np.arange(4)) * [2, 1, 1, 1] * stats.norm.pdf(0)
    np.testing.assert_allclose(density[:2], truth[:2], rtol=0.35)
    assert np.isfinite(model.score_samples(X)).all()


def test_files_pickles_and_clones_keep_the_bounds(fitted, tmp_path):
    fitted.save(tmp_path / "bounded.safetensors")
    loaded = JKOFlowDensity.load(tmp_path / "bounded.safetensors")
    X = frame(50, seed=3)
    np.testing.assert_array_equal(loaded.score_samples(X), fitted.score_samples(X))
    assert loaded.roles_.kinds == {"price": (0, None), "share": (0, 1)}
    assert loaded.columns == BOUNDS
    assert clone(loaded).columns == BOUNDS


@pytest.mark.parametrize("low", [1.0, np.nan, "0", None])
def test_damaged_bounds_are_refused(fitted, low):
    state = fitted._state()
    roles = state["fitted"]["roles_"]
    columns = [roles["columns"][0], {**roles["columns"][1], "low": low}, roles["columns"][2]]
    state["fitted"]["roles_"] = {**roles, "columns": columns}
    with pytest.raises(ValueError, match="low"):
        JKOFlowDensity._from_state(state)


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
