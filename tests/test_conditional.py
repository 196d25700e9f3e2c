"""Conditional densities, from the parameter `condition` to scores, samples and files."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from reference import VELOCITY_CASES, make_velocity, normal_rows, traces
from scipy import stats
from scipy.integrate import trapezoid
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_jko import JKOFlowDensity
from sklearn_jko.diagnostics import measure_blocks, path_through_blocks
from sklearn_jko.divergence import exact, hutchinson
from sklearn_jko.export import as_torch_module
from sklearn_jko.flow import JKOBlock
from sklearn_jko.plotting import FlowTrajectoryDisplay
from sklearn_jko.scaling.standard import Standard
from sklearn_jko.solvers import SOLVERS, TABLEAUS
from sklearn_jko.table_scaler import Conditional
from sklearn_jko.training.block_training import _noise
from sklearn_jko.training.two_layer_solve import TwoLayerSolve

SMALL = {"hidden_layer_sizes": (16, 16), "max_blocks": 2, "max_iter": 100, "random_state": 0}
COVARIANCE = np.array([[2.0, 0.8, -0.5], [0.8, 1.0, 0.3], [-0.5, 0.3, 1.5]])
MEAN = np.array([3.0, -1.0, 100.0])
LABELS = np.array(["bream", "carp", "dace"], dtype=object)
MEANS, DEVIATIONS = np.array([0.0, 4.0, -5.0]), np.array([1.0, 0.2, 3.0])


def conditional_normal(X, modelled, given):
    """Log-density of some columns given others, of a normal of `MEAN` and `COVARIANCE`."""
    S = COVARIANCE
    slopes = np.linalg.solve(S[np.ix_(given, given)], S[np.ix_(given, modelled)])
    means = MEAN[modelled] + (X[:, given] - MEAN[given]) @ slopes
    covariance = S[np.ix_(modelled, modelled)] - S[np.ix_(modelled, given)] @ slopes
    return stats.multivariate_normal(cov=covariance).logpdf(X[:, modelled] - means)


def fish(n, seed, unit=1.0):
    """A category, and a number whose mean and deviation it decides."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=n)
    size = unit * (MEANS[codes] + DEVIATIONS[codes] * rng.normal(size=n))
    return pd.DataFrame({"kind": LABELS[codes], "size": size})


def fish_log_density(frame):
    codes = frame["kind"].map({label: code for code, label in enumerate(LABELS)})
    return stats.norm.logpdf(frame["size"], MEANS[codes], DEVIATIONS[codes])


@pytest.fixture(scope="module")
def of_fish():
    settings = {**SMALL, "max_iter": 400, "columns": {"kind": "category"}, "condition": ["kind"]}
    return JKOFlowDensity("standard", **settings).fit(fish(2000, seed=0))


def waves(n, seed):
    """A number given (last), about which two others wave, ever wider."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(-2, 2, n)
    noise = rng.normal(size=(2, n))
    return np.c_[np.sin(2 * c) + 0.3 * np.exp(0.4 * c) * noise[0], c + 0.5 * noise[1], c]


def wave_log_density(X):
    x, y, c = X.T
    wide = 0.3 * np.exp(0.4 * c)
    return stats.norm.logpdf(x, np.sin(2 * c), wide) + stats.norm.logpdf(y, c, 0.5)


@pytest.mark.parametrize("case", VELOCITY_CASES, ids=str)
def test_given_columns_are_at_rest_and_steer_the_others(case):
    velocity, x = make_velocity(case, 4, n_given=2), normal_rows(5, 4)
    v = velocity(0.3, x)
    assert v.shape == x.shape
    assert torch.all(v[:, 2:] == 0)
    other = torch.cat([x[:, :2], x[:, 2:] + 1], dim=1)
    assert torch.all(velocity(0.3, other)[:, :2] != v[:, :2])
    again, trace = velocity.forward_and_trace(0.3, x)
    torch.testing.assert_close(again, v)
    torch.testing.assert_close(trace, traces(velocity, 0.3, x))


@pytest.mark.parametrize("solver", TABLEAUS)
def test_fast_solve_is_the_plain_one(solver):
    velocity = make_velocity(("mlp", (7, 5)), 4, n_given=2)
    x = normal_rows(6, 4).requires_grad_()
    plain = JKOBlock(velocity)(x, SOLVERS[solver], 2, exact)
    fast = TwoLayerSolve(velocity, TABLEAUS[solver])(x, 2)
    gradients = [
        torch.autograd.grad((y**3).sum() + (log_det**2).sum(), (x, *velocity.parameters()))
        for y, log_det in (plain, fast)
    ]
    for a, b in zip((*plain, *gradients[0]), (*fast, *gradients[1]), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("given", [[0], [2, 0], [1, 2]])
def test_conditional_of_a_normal_without_blocks(given):
    X = np.random.default_rng(0).multivariate_normal(MEAN, COVARIANCE, 20_000)
    modelled = [j for j in range(3) if j not in given]
    model = JKOFlowDensity("standard", condition=given, max_blocks=0, random_state=0).fit(X)
    truth = conditional_normal(X[:2000], modelled, sorted(given))
    found = model.score_samples(X[:2000])
    assert abs(np.mean(found - truth)) < 2e-3
    np.testing.assert_allclose(found, truth, atol=0.2)


def test_scaler_is_exact():
    """The density of a normal behind the scaler is one in X, row by row and in any unit."""
    X = waves(500, seed=0) * [1e-9, 1e6, 1e3]
    scaler = Conditional(Standard(), inputs=np.array([2]), n_labels=np.array([0])).fit(X)
    Z, log_det = scaler.transform(X)
    assert Z.shape == (500, 3)
    np.testing.assert_allclose(scaler.inverse_transform(Z), X[:, :2], rtol=1e-9)
    step = 1e-4 * X[:, :2].std(axis=0)
    columns = [
        (scaler.transform(X + move)[0] - scaler.transform(X - move)[0])[:, :2] / (2 * size)
        for move, size in zip(np.diag([*step, 0.0])[:2], step, strict=True)
    ]
    _, expected = np.linalg.slogdet(np.stack(columns, axis=2))
    np.testing.assert_allclose(log_det, expected, rtol=1e-6, atol=1e-6)
    part, _ = scaler.transform(X[7:9])
    np.testing.assert_allclose(part, Z[7:9], rtol=1e-12)


def test_a_category_decides_mean_and_deviation(of_fish):
    test = fish(4000, seed=1)
    assert np.mean(fish_log_density(test) - of_fish.score_samples(test)) < 0.05


def test_a_number_steers_mean_and_deviation():
    model = JKOFlowDensity(
        condition=[2], hidden_layer_sizes=(32, 32), max_blocks=3, max_iter=400, random_state=0
    ).fit(waves(3000, seed=0))
    test = waves(4000, seed=1)
    assert np.mean(wave_log_density(test) - model.score_samples(test)) < 0.08


def test_density_adds_up_to_one_for_every_condition(of_fish):
    sizes = np.linspace(-40, 40, 20_001)
    for label in LABELS:
        grid = pd.DataFrame({"kind": label, "size": sizes})
        mass = trapezoid(np.exp(of_fish.score_samples(grid)), sizes)
        assert mass == pytest.approx(1.0, abs=2e-3)


def test_samples_follow_their_condition(of_fish):
    condition = pd.DataFrame({"kind": ["carp", "bream", "carp"]})
    sample = of_fish.sample(2000, random_state=0, condition=condition)
    assert list(sample.columns) == ["kind", "size"]
    assert sample["kind"].tolist() == ["carp"] * 2000 + ["bream"] * 2000 + ["carp"] * 2000
    size = sample["size"].to_numpy().reshape(3, 2000)
    assert not np.array_equal(size[0], size[2])
    np.testing.assert_allclose(size.mean(axis=1), [4, 0, 4], atol=0.15)
    np.testing.assert_allclose(size.std(axis=1), [0.2, 1, 0.2], rtol=0.5)
    again = of_fish.sample(2000, random_state=0, condition=[["carp"], ["bream"], ["carp"]])
    pd.testing.assert_frame_equal(again, sample)
    more = condition.assign(size=7.0)  # a frame may hold other columns
    pd.testing.assert_frame_equal(of_fish.sample(2000, 0, more), sample)


def test_latent_rows_are_those_of_the_rest_and_come_back(of_fish):
    X = fish(300, seed=2)
    Z = of_fish.transform(X)
    assert Z.shape == (300, 1)
    assert of_fish.get_feature_names_out().tolist() == ["jkoflowdensity0"]
    back = of_fish.inverse_transform(Z, condition=X[["kind"]])
    assert back["kind"].tolist() == X["kind"].tolist()
    np.testing.assert_allclose(back["size"], X["size"], rtol=1e-6, atol=1e-6)
    assert of_fish.inversion_error_ < 1e-6
    of_all = of_fish.transform(fish(3000, seed=3))
    assert abs(of_all.mean()) < 0.1
    assert of_all.std() == pytest.approx(1.0, abs=0.1)


def test_arrays_come_back_as_arrays():
    X = waves(500, seed=0)
    model = JKOFlowDensity("standard", condition=[2], **SMALL).fit(X)
    sample = model.sample(4, random_state=0, condition=X[:5, 2:])
    assert isinstance(sample, np.ndarray)
    np.testing.assert_array_equal(sample[:, 2], X[:5, 2].repeat(4))
    back = model.inverse_transform(model.transform(X), condition=X[:, 2:])
    np.testing.assert_allclose(back, X, rtol=1e-6, atol=1e-8)


def test_the_condition_may_have_any_unit_and_ties_and_stay_without_noise():
    X = waves(400, seed=0)
    X[:, 2] = np.round(X[:, 2])
    plain = JKOFlowDensity("standard", condition=[2], **SMALL).fit(X)
    assert plain.noise_width_.tolist() == [0, 0, 0]
    far = X * [1.0, 1.0, 1e12]
    scores = JKOFlowDensity("standard", condition=[2], **SMALL).fit(far).score_samples(far)
    # Not the same, as other rows are held out.
    assert scores.mean() == pytest.approx(plain.score_samples(X).mean(), abs=0.1)


def test_extreme_conditions_give_finite_scores():
    X = waves(400, seed=0)
    model = JKOFlowDensity("standard", condition=[2], **SMALL).fit(X)
    far = np.tile(X[:1], (4, 1))
    far[:, 2] = [1e300, -1e300, 1e9, 0.0]
    assert np.isfinite(model.score_samples(far)).all()
    assert np.isfinite(model.sample(10, random_state=0, condition=far[:, 2:])).all()


def test_conditions_that_tell_nothing_cost_nothing():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3))
    given = JKOFlowDensity("standard", condition=[1, 2], **SMALL).fit(X[:1000])
    truth = stats.norm.logpdf(X[1000:, 0])
    assert np.mean(truth - given.score_samples(X[1000:])) < 0.02


@pytest.mark.filterwarnings("ignore:.*repeated values")
def test_weights_and_judges(of_fish):
    X, judges = fish(300, seed=4), fish(100, seed=5)
    weight = np.random.default_rng(0).integers(1, 4, 300)
    model = clone(of_fish).set_params(max_iter=20, scaling="standard")
    weighted = clone(model).fit(X, sample_weight=weight, X_val=judges)
    repeated = clone(model).fit(X.loc[X.index.repeat(weight)], X_val=judges)
    np.testing.assert_allclose(
        weighted.score_samples(judges), repeated.score_samples(judges), rtol=1e-9
    )


def test_files_pickles_and_clones(of_fish, tmp_path):
    X = fish(50, seed=3)
    of_fish.save(tmp_path / "fish.safetensors")
    loaded = JKOFlowDensity.load(tmp_path / "fish.safetensors")
    for other in (loaded, pickle.loads(pickle.dumps(of_fish))):
        np.testing.assert_array_equal(other.score_samples(X), of_fish.score_samples(X))
        pd.testing.assert_frame_equal(
            other.sample(2, 0, X[["kind"]]), of_fish.sample(2, 0, X[["kind"]])
        )
    assert clone(loaded).condition == ["kind"]


def damaged(state, **changes):
    return {**state, "fitted": {**state["fitted"], **changes}}


def test_damaged_files_are_refused(of_fish):
    state = of_fish._state()
    fitted = state["fitted"]
    flow = {**fitted["flow_"], "n_given": 2}
    with pytest.raises(ValueError, match="must be a float64 array"):
        JKOFlowDensity._from_state(damaged(state, flow_=flow))
    with pytest.raises(ValueError, match="n_given=2 is not what the columns give"):
        JKOFlowDensity._from_state(damaged(state, flow_={**flow, "blocks": [], "n_steps": EMPTY}))
    for n_given in (-1, 4, 1.0, None):
        with pytest.raises(ValueError, match="n_given must be an integer"):
            JKOFlowDensity._from_state(damaged(state, flow_={**flow, "n_given": n_given}))
    scaler = [*fitted["scaler_"][:-1], {"slopes_": np.zeros((1, 1))}]
    with pytest.raises(ValueError, match="slopes_ must be"):
        JKOFlowDensity._from_state(damaged(state, scaler_=scaler))
    with pytest.raises(ValueError, match="roles_ of 2 columns must be of 3"):
        JKOFlowDensity._from_state(
            damaged(state, n_features_in_=3, noise_width_=np.zeros(3), feature_names_in_=None)
        )
    with pytest.raises(ValueError, match="n_given must be an integer"):
        JKOFlowDensity._from_state(damaged(state, roles_=None, given_rows_=None))
    plain = {**flow, "n_given": 0, "blocks": [], "n_steps": EMPTY}
    with pytest.raises(ValueError, match="parts, not"):
        JKOFlowDensity._from_state(damaged(state, roles_=None, given_rows_=None, flow_=plain))


EMPTY = np.zeros(0, dtype=np.int64)
MODELS = {"condition": ["kind"], "columns": {"kind": "category"}}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"condition": ["age"]}, "condition: there is no column 'age'"),
        ({"condition": {"size"}}, "condition must be a list of names .* got {'size'}"),
        ({"condition": [7]}, "condition: there is no column 7; use 0 to 1"),
        ({"condition": ["size", 1]}, "condition names the column 'size' twice"),
        ({"condition": ["kind"]}, "column 'kind': 'carp' is not a number; convert it, or make the"),
        ({**MODELS, "condition": [0, 1]}, "names all columns: leave one or more to model"),
        ({**MODELS, "condition": ["size"]}, "leave no numbers to model"),
    ],
)
def test_wrong_conditions_are_refused(parameters, message):
    X = pd.DataFrame({"kind": ["carp", "bream", "carp"], "size": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=message):
        JKOFlowDensity(**parameters).fit(X)


def test_calls_without_or_with_a_wrong_condition_are_refused(of_fish):
    with pytest.raises(ValueError, match="condition=None, but the columns 'kind'"):
        of_fish.sample(3)
    with pytest.raises(ValueError, match="condition=None, but the columns 'kind'"):
        of_fish.inverse_transform([[0.0]])
    with pytest.raises(ValueError, match=r"condition: column 'kind' has a label that was not seen"):
        of_fish.sample(3, condition=[["eel"]])
    with pytest.raises(ValueError, match="condition has 2 columns; it must have 1: 'kind'"):
        of_fish.sample(3, condition=[["carp", 1.0]])
    with pytest.raises(ValueError, match=r"condition must be a table.*shape is \(1,\)"):
        of_fish.sample(3, condition=["carp"])
    with pytest.raises(ValueError, match="condition lacks the column 'kind'"):
        of_fish.sample(3, condition=pd.DataFrame({"size": [1.0]}))
    with pytest.raises(ValueError, match="condition has 1 rows; it must have 2, like X"):
        of_fish.inverse_transform([[0.0], [1.0]], condition=[["carp"]])
    with pytest.raises(ValueError, match="feature names"):
        of_fish.score_samples(pd.DataFrame({"size": [1.0], "kind": ["carp"]}))
    plain = JKOFlowDensity("standard", max_blocks=0).fit(waves(9, seed=0))
    with pytest.raises(ValueError, match="this density has no given columns"):
        plain.sample(condition=[[1.0]])
    with pytest.raises(ValueError, match="this density has no given columns"):
        plain.inverse_transform(np.zeros((1, 3)), condition=[[1.0]])


def test_scores_given_an_unknown_label_are_finite_and_told(of_fish):
    """As in a fold of cross-validation that lacks a rare label."""
    X = pd.DataFrame({"kind": ["carp", "eel"], "size": [4.0, 2.0]})
    message = r"1 of 2 columns \('kind'\) of the condition hold labels"
    with pytest.warns(UserWarning, match=message) as told:
        scores = of_fish.score_samples(X)
    assert {warning.filename for warning in told} == {__file__}
    assert np.isfinite(scores).all()
    assert scores[0] == pytest.approx(of_fish.score_samples(X[:1])[0])


@pytest.mark.parametrize("kind", [("integer", 1, 5), (1, 5)])
def test_given_values_outside_their_bounds_are_told(kind):
    """Rows were drawn given 200, and said to be given 5."""
    rng = np.random.default_rng(0)
    rooms, price = rng.integers(1, 6, 100), rng.normal(size=100)
    frame = pd.DataFrame({"rooms": rooms.astype(float), "price": price + rooms})
    density = JKOFlowDensity("standard", columns={"rooms": kind}, condition=["rooms"], max_blocks=0)
    density.fit(frame)
    with pytest.raises(ValueError, match=r"'rooms': 1 of its 2 values are outside its bounds 1"):
        density.sample(1, condition=[[200], [2]])
    with pytest.raises(ValueError, match=r"'rooms': 1 of its 1 values are outside its bounds 1"):
        density.inverse_transform([[0.0]], condition=[[-3]])
    rows = pd.DataFrame({"rooms": [200.0, 5.0, 3.0], "price": 5.0})
    with pytest.warns(UserWarning, match=r"\('rooms'\) of the condition hold values outside"):
        scores = density.score_samples(rows)
    assert scores[0] == scores[1] == density.score_samples(rows[1:2])[0]
    with pytest.raises(ValueError, match="outside its bounds"):
        density.impute(rows)


def test_labels_that_are_declared_but_not_seen_count_as_unknown():
    frame = fish(200, seed=11)
    frame["kind"] = pd.Categorical(frame["kind"], [*LABELS, "eel"])
    settings = {**SMALL, "columns": {"kind": "category"}, "condition": ["kind"]}
    model = JKOFlowDensity("standard", **settings).fit(frame)
    some = frame[:1].assign(kind=pd.Categorical(["eel"], [*LABELS, "eel"]))
    codes = model.scaler_.codes.transform(model.roles_.encode(some)[:, [0]])
    assert codes.tolist() == [[0.0, 0.0, 0.0, 0.0]]
    assert np.isfinite(model.score_samples(some)).all()


def test_what_does_not_go_together_is_told(of_fish):
    with pytest.raises(ValueError, match="cannot be exported"):
        as_torch_module(of_fish)


def test_measures_are_those_of_the_modelled_columns(of_fish):
    X = fish(100, seed=6)
    path = path_through_blocks(of_fish, X)
    assert path.shape == (of_fish.n_blocks_ + 1, 100, 1)
    np.testing.assert_allclose(path[-1], of_fish.transform(X), atol=1e-9)
    assert measure_blocks(of_fish, X).nll[-1] == pytest.approx(-of_fish.score_samples(X).mean())


def test_pipeline_and_search():
    X = waves(300, seed=7)
    model = JKOFlowDensity("standard", **{**SMALL, "max_iter": 10})
    search = GridSearchCV(model, {"condition": [[1, 2], [2]]}, cv=2, n_jobs=2).fit(X)
    assert np.isfinite(search.best_score_)
    pipeline = make_pipeline(FunctionTransformer(), clone(model).set_params(condition=[2])).fit(X)
    assert pipeline.transform(X).shape == (300, 2)


@pytest.mark.parametrize("solver", ["dopri5", "rk4"])
def test_every_way_of_training_takes_conditions(solver):
    X = waves(200, seed=8)
    settings = {**SMALL, "max_iter": 5, "hidden_layer_sizes": (8, 8, 8), "max_blocks": 1}
    model = JKOFlowDensity("standard", condition=[2], solver=solver, **settings).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    refined = JKOFlowDensity("standard", condition=[2], n_refinements=1, **SMALL).fit(X)
    assert np.isfinite(refined.score_samples(X)).all()


def test_a_fit_goes_on_from_its_checkpoint(tmp_path):
    X, settings = waves(300, seed=9), {**SMALL, "condition": [2], "scaling": "standard"}
    path = tmp_path / "fit.pt"
    whole = JKOFlowDensity(**settings, checkpoint=path).fit(X)
    again = JKOFlowDensity(**settings, checkpoint=path).fit(X)
    np.testing.assert_array_equal(again.score_samples(X), whole.score_samples(X))
    with pytest.raises(ValueError, match="condition"):
        JKOFlowDensity(**{**settings, "condition": [1]}, checkpoint=path).fit(X)


def test_noise_of_a_stochastic_divergence_leaves_given_columns_alone():
    velocity = make_velocity(("mlp", (7, 6, 5)), 4, n_given=2)
    noise = _noise(hutchinson, velocity, normal_rows(50, 4), torch.Generator().manual_seed(0))
    assert torch.all(noise[:, 2:] == 0)
    assert torch.all(noise[:, :2].abs() == 1)


def test_trajectory_shows_the_modelled_columns(of_fish):
    display = FlowTrajectoryDisplay.from_estimator(of_fish, fish(50, seed=10))
    assert display.coordinate_names == ["scaled size"]
    assert display.path.shape[1:] == (50, 1)
