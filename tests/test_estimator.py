"""The estimator as its users meet it."""

import copy
import io
import itertools
import math
import pickle
import time
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SMALL, two_moons
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.datasets import load_sample_image
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.diagnostics import measure_blocks
from sklearn_jko.fitting import course
from sklearn_jko.scaling.chain import Chain
from sklearn_jko.scaling.marginal import Marginal
from sklearn_jko.scaling.mixture import Mixture
from sklearn_jko.scaling.power import Power
from sklearn_jko.training import block_training, pilot
from sklearn_jko.training.automatic import training_options
from sklearn_jko.two_sample import mmd_test


def with_n_steps(model, n_steps):
    model = copy.deepcopy(model)
    model.flow_.n_steps = n_steps
    return model


def test_flow_beats_the_mixture_of_its_size_on_moons(moons, fitted):
    train, test = moons
    gaussian = GaussianMixture(1).fit(train).score(test)
    assert fitted.n_blocks_ > 0
    assert fitted.score_samples(test).mean() > gaussian + 0.15


def test_density_integrates_to_one_in_the_units_of_the_data(moons, fitted):
    low, high = moons[0].min(axis=0), moons[0].max(axis=0)
    margin = 0.4 * (high - low)
    axes = [np.linspace(a, b, 300) for a, b in zip(low - margin, high + margin, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(fitted.score_samples(grid)).sum() * cell == pytest.approx(1, abs=0.01)


def test_tiny_units_only_shift_densities():
    """They add 19,000 nats, where the spacing of single precision is above that of gains."""
    X, unit = np.random.default_rng(0).normal(size=(400, 30)) ** 3, 2.0**-900
    model = JKOFlowDensity(scaling="power", max_blocks=1, max_iter=50, random_state=0)
    scores, gains = [], []
    for factor in (1.0, unit):
        model.fit(factor * X[:300], X_val=factor * X[300:])
        scores.append(model.score_samples(factor * X))
        gains.append(model.history_[0].gain)
    assert gains[0] > 0.1
    assert gains[1] == pytest.approx(gains[0], abs=1e-6)
    np.testing.assert_allclose(scores[1], scores[0] - X.shape[1] * math.log(unit), atol=1e-3)


def test_scores_stand_when_the_solver_steps_are_doubled(moons, fitted):
    n_steps = fitted.flow_.n_steps
    scores, *finer = (
        with_n_steps(fitted, factor * n_steps).score_samples(moons[0]) for factor in (1, 2, 4)
    )
    assert fitted.solver_error_ <= fitted.solver_tol
    for other in finer:
        assert abs(other.mean() - scores.mean()) < 1e-4
        np.testing.assert_allclose(other, scores, atol=20 * fitted.solver_tol)


def test_solver_error_above_the_tolerance_is_told(moons):
    model = JKOFlowDensity(scaling="whiten", solver_tol=1e-30, **SMALL)
    with pytest.warns(ConvergenceWarning, match="more than solver_tol=1e-30.*larger weight_decay"):
        model.fit(moons[0][:100])
    assert model.solver_error_ > model.solver_tol


RELATIONS = {
    "product": lambda x: np.c_[x, x[:, 0] * x[:, 1]],
    "square": lambda x: np.c_[x, x[:, 0] ** 2],
    "circle": lambda x: np.c_[np.cos(x[:, 0]), np.sin(x[:, 0])],
    "roll": lambda x: np.c_[np.abs(x) * np.cos(9 * x[:, :1]), x[:, :1] * np.sin(9 * x[:, :1])],
}


@pytest.mark.parametrize("name", RELATIONS)
def test_exact_relation_that_is_not_linear_does_not_run_away(name):
    """Its density is unbounded, and no noise is added; the solver's honesty is the bound."""
    X, test = (
        RELATIONS[name](np.random.default_rng(seed).normal(size=(500, 2))) for seed in (0, 1)
    )
    model = JKOFlowDensity(scaling="standard", **{**SMALL, "max_iter": 200}).fit(X)
    assert model.n_blocks_ > 0
    assert model.solver_error_ <= model.solver_tol
    scores = model.score_samples(test)
    finer = with_n_steps(model, 4 * model.flow_.n_steps).score_samples(test)
    assert finer.mean() == pytest.approx(scores.mean(), abs=1e-3)


def test_log_density_agrees_with_a_numeric_jacobian_of_transform(moons, fitted):
    """log p(x) = log N(transform(x)) + log |det d transform / dx|, through the public API."""
    rows, step = moons[1][:50], 1e-5 * moons[0].std(axis=0)
    steps = np.diag(step)
    plus, minus = (
        np.stack([fitted.transform(rows + sign * steps[j]) for j in range(2)], axis=2)
        for sign in (1, -1)
    )
    log_det = np.linalg.slogdet((plus - minus) / (2 * step)).logabsdet
    expected = multivariate_normal(np.zeros(2)).logpdf(fitted.transform(rows)) + log_det
    np.testing.assert_allclose(fitted.score_samples(rows), expected, atol=1e-3)


def test_round_trip(moons, fitted):
    back = fitted.inverse_transform(fitted.transform(moons[1]))
    error = np.abs(back - moons[1]) / moons[0].std(axis=0)
    assert np.median(error) < 1e-6
    assert error.max() < 1e-4


def test_score_is_the_total_log_likelihood(moons, fitted):
    assert fitted.score(moons[1]) == pytest.approx(fitted.score_samples(moons[1]).sum())


def test_samples_look_like_the_data(moons, fitted):
    """Much more than draws of the Gaussian of their mean and covariance do."""
    rng, scale = np.random.default_rng(0), moons[0].std(axis=0)
    gaussian = rng.multivariate_normal(moons[0].mean(axis=0), np.cov(moons[0].T), 400)
    ours, plain = (
        mmd_test(rows / scale, moons[1] / scale, 0.3, random_state=0)
        for rows in (fitted.sample(400, random_state=0), gaussian)
    )
    assert ours.mmd < 1.5 * ours.threshold
    assert plain.mmd > 3 * plain.threshold


def test_as_many_rows_are_drawn_as_are_asked_for(fitted):
    np.testing.assert_array_equal(*(fitted.sample(40, random_state=0) for _ in "ab"))
    assert fitted.sample(40).shape == (40, 2)
    assert fitted.sample().shape == (1, 2)
    for wrong in (0, True, 1.0):
        with pytest.raises(ValueError, match=f"n_samples must be a positive integer; got {wrong}"):
            fitted.sample(wrong)


def test_row_scores_the_same_alone_and_among_others(moons, fitted):
    together = fitted.score_samples(moons[1])
    alone = [fitted.score_samples(row[None])[0] for row in moons[1][:20]]
    np.testing.assert_allclose(alone, together[:20], rtol=1e-9)


def test_same_seed_gives_the_same_fit_and_leaves_global_states_alone(moons):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (JKOFlowDensity(**SMALL).fit(moons[0]).score_samples(moons[1]) for _ in "ab")
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump])
def test_saved_model_scores_the_same(moons, fitted, dump):
    file = io.BytesIO()
    dump(fitted, file)
    file.seek(0)
    loaded = (pickle if dump is pickle.dump else joblib).load(file)
    np.testing.assert_array_equal(loaded.score_samples(moons[1]), fitted.score_samples(moons[1]))
    assert file.tell() < 2e6


def test_grid_search_in_a_pipeline_with_two_workers(moons):
    pipeline = make_pipeline(StandardScaler(), JKOFlowDensity(**SMALL))
    grid = {"jkoflowdensity__max_blocks": [0, 2], "jkoflowdensity__scaling": ["standard"]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(moons[0])
    assert search.best_params_["jkoflowdensity__max_blocks"] == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_numbers_as_texts_score_as_they_are_fitted(moons):
    texts = moons[1].astype(str)
    density = JKOFlowDensity("whiten", max_blocks=0).fit(texts, X_val=texts)
    np.testing.assert_array_equal(density.score_samples(texts), density.score_samples(moons[1]))


def test_whole_numbers_are_scored_without_a_copy(fitted):
    """They may lie in a mapped file that does not fit in memory."""
    whole = np.arange(8).reshape(4, 2)
    assert np.shares_memory(fitted._validated(whole), whole)


def test_pandas_in_and_out(moons):
    frame = pd.DataFrame(moons[0], columns=["length", "weight"])
    model = JKOFlowDensity(scaling="whiten", max_blocks=0).fit(frame).set_output(transform="pandas")
    latent = model.transform(frame)
    assert list(model.feature_names_in_) == ["length", "weight"]
    assert list(latent.columns) == list(model.get_feature_names_out())
    assert list(latent.columns) == ["jkoflowdensity0", "jkoflowdensity1"]


def test_zero_blocks_with_whitening_is_the_gaussian(moons):
    train, test = moons
    model = JKOFlowDensity(scaling="whiten", max_blocks=0).fit(train)
    gaussian = multivariate_normal(train.mean(0), np.cov(train.T, bias=True))
    np.testing.assert_allclose(model.score_samples(test), gaussian.logpdf(test), atol=0.05)


def test_gaussian_rows_stay_gaussian():
    """On rows that a Gaussian fits, the flow must not lose to it by overfitting."""
    truth, lost = multivariate_normal(np.zeros(3)), []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        train, test = rng.normal(size=(60, 3)), rng.normal(size=(2000, 3))
        scores = JKOFlowDensity(random_state=0).fit(train).score_samples(test)
        lost.append((truth.logpdf(test) - scores).mean())
    assert min(lost) > 0
    assert np.mean(lost) < 0.25


@pytest.mark.parametrize(
    "params",
    [
        {"max_blocks": 1, "step_size": math.inf},
        {"solver": "midpoint"},
        {"solver": "dopri5", "max_iter": 10, "max_blocks": 1},
        {"hidden_layer_sizes": (16, 16, 16)},
        {"hidden_layer_sizes": (32,)},
        {"hidden_layer_sizes": ()},
        {"scaling": "none"},
        {"scaling": "power"},
        {"scaling": "marginal+whiten+radial"},
    ],
    ids=str,
)
def test_every_choice_fits_and_beats_its_own_scaling(params):
    X = two_moons(300, 0) / [3.0, 0.02] - [1e3 / 3, -250]
    params = {"scaling": "standard", **SMALL, **params}
    model = JKOFlowDensity(**params).fit(X)
    plain = JKOFlowDensity(scaling=params["scaling"], max_blocks=0).fit(X)
    assert model.n_blocks_ > 0
    assert model.score(X) > plain.score(X)
    assert model.solver_error_ <= 1e-3


def test_time_budget_is_kept(moons, monkeypatch):
    """By a clock that goes on by 50 ms whenever it is read; a whole fit reads it 500 times."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks) / 20)
    model = JKOFlowDensity(max_time=2.0, random_state=0).fit(moons[0])
    assert 1 < time.monotonic() < 3
    assert np.isfinite(model.score(moons[1]))


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"max_iter": 20, "max_blocks": 2}, "max_blocks=2 and max_iter=20 ended training with 2"),
        ({"max_time": 1e-3}, "max_time=0.001 ended training with 0 of 0"),
    ],
    ids=str,
)
def test_training_cut_short_is_told(moons, params, reason):
    settings = {"scaling": "standard", "hidden_layer_sizes": (16, 16), "random_state": 0}
    model = JKOFlowDensity(**settings, **params)
    with pytest.warns(ConvergenceWarning, match=reason):
        model.fit(moons[0])


def test_training_that_is_done_is_not_complained_of(moons):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        JKOFlowDensity(scaling="whiten", max_blocks=0).fit(moons[0])
        JKOFlowDensity(scaling="whiten", random_state=0).fit(
            np.random.default_rng(0).normal(size=(99, 2))
        )


def test_adaptive_steps_score_each_row_by_itself(moons, fitted):
    adaptive = copy.deepcopy(fitted)
    adaptive.flow_.solver, adaptive.flow_.n_steps = "dopri5_by_row", 16
    far = moons[0].mean(0) + np.array([[1e3], [1e30]]) * moons[0].std(0)
    scores = adaptive.score_samples(np.r_[moons[1], far])
    np.testing.assert_allclose(scores[:-2], fitted.score_samples(moons[1]), atol=2e-3)
    alone = adaptive.score_samples(moons[1][:5])
    np.testing.assert_allclose(scores[:5], alone, rtol=1e-9)
    assert np.isfinite(scores).all()
    model = JKOFlowDensity(scaling="whiten", solver="dopri5", **SMALL).set_params(
        max_iter=10, max_blocks=1
    )
    assert model.fit(moons[0]).flow_.solver == "dopri5_by_row"
    assert model.solver_error_ <= model.solver_tol


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scaling": "median"}, "'median'"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (True,)}, r"hidden_layer_sizes .* integers; got \(True,\)"),
        ({"hidden_layer_sizes": "large"}, "hidden_layer_sizes"),
        ({"max_blocks": -1}, "max_blocks"),
        ({"step_size": 0.0}, "step_size"),
        ({"structure": "image"}, "structure"),
        ({"structure": (2, 3)}, "an image of 6 columns; it must cover the 2 columns"),
        ({"structure": (1, 2, 1, 1)}, r"\(height, width\) or \(height, width, channels\)"),
        ({"structure": np.eye(3)}, r"structure has shape \(3, 3\)"),
        ({"structure": (1, 2), "hidden_layer_sizes": (8,)}, "must be two integers"),
        ({"checkpoint": "no/such/folder/fit"}, "no/such/folder/fit.* must name a file"),
        ({"max_iter": 0}, "max_iter"),
        ({"learning_rate_init": -1.0}, "learning_rate_init"),
        ({"solver": "euler"}, "solver"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"device": "abacus"}, "abacus"),
    ],
    ids=str,
)
def test_bad_parameter_is_named(moons, params, message):
    with pytest.raises(ValueError, match=message):
        JKOFlowDensity(**params).fit(moons[0])


@pytest.mark.parametrize("model", [JKOFlowDensity(), JKOFlowOutlierDetector()], ids=type)
@pytest.mark.parametrize(
    "method", ["score_samples", "score", "sample", "transform", "inverse_transform"]
)
def test_what_is_not_fitted_says_so(model, method):
    with pytest.raises(NotFittedError):
        getattr(model, method)(*([] if method == "sample" else [np.zeros((2, 2))]))


def test_wrong_width(fitted):
    with pytest.raises(ValueError, match="3 features"):
        fitted.score_samples(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="3 columns"):
        fitted.inverse_transform(np.zeros((2, 3)))


DEGENERATE = {
    "constant": (lambda rng: np.c_[rng.normal(size=(90, 2)), np.full(90, 7.0)], [2]),
    "all constant": (lambda rng: np.full((40, 2), 3.0), [0, 1]),
    "copied column": (lambda rng: np.repeat(rng.normal(size=(90, 2)), [1, 2], axis=1), [1, 2]),
    "sum": (lambda rng: rng.normal(size=(90, 3)) @ [[1, 0, 1], [0, 1, 1], [0, 0, 0]], [0, 1, 2]),
    "copied table": (lambda rng: np.repeat(rng.normal(size=(20, 2)), 5, axis=0), []),
    "copied rows": (lambda rng: rng.normal(size=(20, 2)).repeat(np.arange(20), axis=0), [0, 1]),
    "integers": (lambda rng: rng.poisson(3, size=(90, 2)).astype(float), [0, 1]),
    "mostly zero": (lambda rng: rng.normal(size=(90, 2)) * [1, 0] + np.eye(90, 2), [1]),
    "scales": (lambda rng: rng.normal(size=(90, 3)) * [1e-12, 1, 1e12], []),
    "offset": (lambda rng: rng.normal(size=(90, 2)) * 1e-3 + 1e9, []),
    "outlier": (lambda rng: np.r_[rng.normal(size=(90, 2)), [[1e9, -1e12]]], []),
    "heavy tails": (lambda rng: rng.standard_cauchy(size=(90, 2)), []),
    "more columns than rows": (lambda rng: rng.normal(size=(20, 40)), []),
    "one column": (lambda rng: rng.normal(size=(90, 1)), []),
    "two rows": (lambda rng: np.array([[0.0, 1.0], [1.0, 3.0]]), []),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_awkward_data_fits_with_a_warning_where_noise_is_added(case):
    make, noisy = DEGENERATE[case]
    X = make(np.random.default_rng(0))
    model = JKOFlowDensity(**SMALL)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    assert np.flatnonzero(model.noise_width_).tolist() == noisy
    messages = [str(w.message) for w in caught if w.category is not ConvergenceWarning]
    tells_of_judges = case in ("all constant", "copied table")  # whose copies leave too few
    assert len(messages) == bool(noisy) + tells_of_judges
    assert ("held-out rows, too few" in "".join(messages)) == tells_of_judges
    if noisy:
        assert ", ".join(map(str, noisy)) in messages[0]
    far = np.r_[X, X + 1e6, X * 1e30, X * 0 - 1e300]
    assert np.isfinite(model.score_samples(far)).all()
    assert np.isfinite(model.sample(100, random_state=0)).all()
    assert np.isfinite(model.transform(X)).all()


def test_far_rows_are_finite_ordered_and_harmless(moons, fitted):
    centre, scale = moons[0].mean(0), moons[0].std(0)
    ladder = centre + np.array([10.0, 1e3, 1e6, 1e30])[:, None] * scale
    scores = fitted.score_samples(np.r_[moons[1], ladder])
    assert np.isfinite(scores).all()
    assert (np.diff(scores[-4:]) < 0).all()
    assert scores[-3] < scores[:-4].min() - 100
    np.testing.assert_allclose(scores[:-4], fitted.score_samples(moons[1]), rtol=1e-9)


def test_every_value_of_an_integer_column_gets_its_density():
    X = np.random.default_rng(0).integers(0, 10, size=(3000, 1)).astype(float)
    with pytest.warns(UserWarning, match="repeated values"):
        model = JKOFlowDensity(scaling="marginal", **SMALL).fit(X)
    np.testing.assert_allclose(model.score_samples(np.arange(10.0)[:, None]), -np.log(10), atol=0.3)


def test_failed_fit_is_not_taken_for_a_fitted_one(moons):
    model = JKOFlowDensity(scaling="nope")
    with pytest.raises(ValueError, match="'nope'"):
        model.fit(moons[0])
    with pytest.raises(NotFittedError):
        model.score_samples(moons[0])


def test_gross_outlier_does_not_cost_solver_steps():
    X = np.r_[two_moons(400, 0), [[1e12, -1e12]]]
    model = JKOFlowDensity(scaling="whiten+radial", **SMALL).fit(X)
    assert max(model.flow_.n_steps) <= 32


def test_rows_that_no_batch_takes_are_left_alone(moons, monkeypatch):
    seen, train_flow = [], course.train_flow

    def listening(x, *args, **kwargs):
        seen.append(len(x))
        return train_flow(x, *args, **kwargs)

    monkeypatch.setattr(course, "train_flow", listening)
    monkeypatch.setattr(course, "MANY_ROWS", 100)
    settings = {**SMALL, "scaling": "whiten", "max_blocks": 2, "batch_size": 16}
    JKOFlowDensity(**{**settings, "max_iter": 5}).fit(moons[0])
    model = JKOFlowDensity(**{**settings, "max_iter": 500}).fit(moons[0])
    assert seen == [2 * 5 * 16, len(moons[0]) - len(model.validation_indices_)]


def test_warnings_name_the_line_that_fits(moons):
    model = JKOFlowDensity("whiten", **{**SMALL, "max_blocks": 1}, solver_tol=1e-300)
    X = np.c_[moons[0], np.round(moons[0][:, 0])]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    told = " ".join(str(w.message) for w in caught)
    for part in ("repeated values", "max_blocks=1", "Doubling the solver steps"):
        assert part in told
    assert {w.filename for w in caught} == {__file__}


def test_a_warning_in_a_search_names_the_line_of_the_search(moons):
    model = JKOFlowDensity(**{**SMALL, "max_blocks": 0})
    search = GridSearchCV(model, {"scaling": ["whiten"]}, cv=2, refit=False)
    with pytest.warns(UserWarning, match="repeated values") as told:
        search.fit(np.c_[moons[0], np.round(moons[0][:, 0])])
    assert {warning.filename for warning in told} == {__file__}


def test_a_fit_that_fails_leaves_the_estimator_as_it_was(moons, tmp_path):
    frame = pd.DataFrame(moons[0], columns=["a", "b"])
    model = JKOFlowDensity("whiten", **{**SMALL, "max_blocks": 0}).fit(frame)
    before = model.score_samples(frame)
    model.set_params(checkpoint=tmp_path / "missing" / "file")
    with pytest.raises(ValueError, match="must name a file"):
        model.fit(np.c_[moons[0], moons[0][:, :1]])
    assert (model.score_samples(frame) == before).all()
    assert not hasattr(model.set_params(checkpoint=None).fit(moons[0]), "feature_names_in_")


def test_small_samples_are_not_blurred():
    """What the first block's weight decay leaves blurred, later blocks learn: 0.3 nats of this."""
    X, fresh = two_moons(300, 0), two_moons(2000, 1)
    unit = X.std(axis=0)
    kernels = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.05, 0.5, 10)}).fit(
        X / unit
    )
    found = JKOFlowDensity("whiten", random_state=0).fit(X).score_samples(fresh).mean()
    assert found > kernels.score(fresh / unit) / len(fresh) - np.log(unit).sum() - 0.15


def test_the_scaling_of_one_column_is_not_a_power(monkeypatch):
    """Powers keep products of columns simple; for one column they are 0.1 nats worse."""
    tried = []

    def spy(scaler, *args):
        tried.append(scaler.parts if isinstance(scaler, Chain) else [scaler])
        return pilot_nll(scaler, *args)

    pilot_nll = pilot._pilot_nll
    monkeypatch.setattr(pilot, "_pilot_nll", spy)
    blue = load_sample_image("china.jpg")[::20, ::20, 2].ravel()[:500]
    X = (blue + np.random.default_rng(0).uniform(size=500))[:, None]
    density = JKOFlowDensity(**SMALL).fit(X)
    assert "power" not in density.scaling_
    assert tried
    assert not any(isinstance(part, Power) for parts in tried for part in parts)


@pytest.mark.parametrize(
    ("n", "d", "n_given", "max_time", "as_pilot", "by_themselves"),
    [
        (400, 4, 0, 60.0, True, False),
        (400, 4, 0, 1e-3, False, False),
        (400, 1, 0, math.inf, False, False),
        (400, 4, 1, math.inf, False, False),
        (3000, 3, 0, math.inf, False, True),
        (3000, 3, 0, 20.0, False, False),
        (3000, 3, 1, math.inf, False, False),
        (3000, 2, 0, math.inf, True, False),
    ],
)
def test_clusters_are_tried_and_of_many_rows_without_a_pilot(
    monkeypatch, n, d, n_given, max_time, as_pilot, by_themselves
):
    fitted, pilots = [], []

    def fit(scaler, X):
        fitted.append(scaler)
        return mixture_fit(scaler, X)

    def pilot_nll(scaler, X, X_held_out, *args):
        pilots.append(isinstance(scaler, Chain) and isinstance(scaler.parts[-1], Mixture))
        return torch.zeros(len(X_held_out))

    mixture_fit = Mixture.fit
    monkeypatch.setattr(Mixture, "fit", fit)
    monkeypatch.setattr(pilot, "_pilot_nll", pilot_nll)
    X = np.random.default_rng(0).normal(size=(n, d))
    options = training_options(JKOFlowDensity(), n, d, n_held_out=50, n_given=n_given)
    pilot.choose_scaling(X, X[:50], options, 0, torch.device("cpu"), max_time)
    assert pilots
    assert any(pilots) == as_pilot
    assert len(fitted) == (len(pilot.CLUSTERS) if as_pilot else int(by_themselves))


def test_a_flow_without_blocks_keeps_correlations(monkeypatch):
    """Pilots may prefer a scaling that leaves them to blocks, of which none may be kept."""
    asked = []

    def pilot_nll(scaler, X, X_held_out, *args):
        asked.append(scaler)
        return torch.full((len(X_held_out),), float(not isinstance(scaler, Marginal)))

    monkeypatch.setattr(pilot, "_pilot_nll", pilot_nll)
    monkeypatch.setattr(block_training, "MIN_GAIN", math.inf)
    X = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=300)
    density = JKOFlowDensity(max_iter=1, random_state=0).fit(X)
    assert asked
    assert density.n_blocks_ == 0
    assert np.corrcoef(density.sample(2000, random_state=0).T)[0, 1] == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize(("n", "close"), [(600, 0.8), (4000, 0.1)])
def test_clusters_far_apart_are_learned(n, close):
    """Six normal clusters in eight columns: 3 nats were missing."""
    rng = np.random.default_rng(0)
    means, label = 4 * rng.normal(size=(6, 8)), rng.integers(6, size=n + 900)
    X = means[label] + rng.normal(size=(n + 900, 8))
    density = JKOFlowDensity(max_blocks=1, max_iter=60, random_state=0).fit(X[:n])
    of_clusters = [norm.logpdf(X[n:] - mean).sum(axis=1) for mean in means]
    truth = logsumexp(of_clusters, axis=0).mean() - np.log(6)
    assert truth - density.score_samples(X[n:]).mean() < close


def test_numbers_near_the_largest_are_told():
    """As where the least of all stands for missing values."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    X[3, 1] = -np.finfo(float).max
    density = JKOFlowDensity("marginal", max_blocks=0)
    with pytest.warns(UserWarning, match=r"1 of 3 columns \(1\) hold values beyond 1e\+290"):
        density.fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.fit(X[:, [0, 2]].astype(np.float32))


@pytest.mark.filterwarnings("error:.*encountered in (subtract|divide|add)")
@pytest.mark.filterwarnings("ignore:.*(values beyond|repeated values)")
@pytest.mark.parametrize("largest", [1e308, np.finfo(float).max])
def test_columns_of_the_largest_numbers_are_fitted(largest, tmp_path):
    """The noise was infinite, and the model could not be saved."""
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=300), largest * rng.choice([-1, 1], 300)]
    density = JKOFlowDensity("standard", max_blocks=1, max_iter=10, random_state=0).fit(X)
    assert density.noise_width_.tolist() == [0, 2e300]
    assert density.inversion_error_ < 1e-9
    density.save(tmp_path / "largest.safetensors")
    scores = JKOFlowDensity.load(tmp_path / "largest.safetensors").score_samples(X)
    np.testing.assert_array_equal(scores, density.score_samples(X))


def test_defaults_of_torch_do_not_matter(fitted, moons, tmp_path):
    """Its device, here one that holds no numbers, its modes of gradients, its types of numbers."""
    X = moons[1]
    fitted.save(tmp_path / "moons.safetensors")
    with torch.device("meta"):
        for density in (fitted, JKOFlowDensity.load(tmp_path / "moons.safetensors")):
            scores = density.score_samples(X)
            rows = density.sample(3, random_state=0)
    np.testing.assert_array_equal(scores, fitted.score_samples(X))
    np.testing.assert_array_equal(rows, fitted.sample(3, random_state=0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        again = clone(fitted).fit(moons[0])
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            double = clone(fitted).fit(moons[0])
    finally:
        torch.set_default_dtype(default)
    for density in (again, double):
        np.testing.assert_array_equal(density.score_samples(X), scores)


def test_deep_networks_score_in_inference_mode(moons):
    deep = {**SMALL, "hidden_layer_sizes": (8, 8, 8), "max_iter": 5, "max_blocks": 1}
    model = JKOFlowDensity("none", step_size=0.01, **deep).fit(two_moons(100, 0))
    assert model.n_blocks_ == 1
    scores, measures = model.score_samples(moons[1][:5]), measure_blocks(model, moons[1])
    with torch.inference_mode():
        np.testing.assert_array_equal(model.score_samples(moons[1][:5]), scores)
        assert measure_blocks(model, moons[1]) == measures
