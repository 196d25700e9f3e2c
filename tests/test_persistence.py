"""Saved models come back equal, and no file can do anything else than hold one."""

import hashlib
import json
import math
import os
import pickle
import stat
import subprocess
import sys
import threading
import warnings
from collections import OrderedDict
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from conftest import two_moons
from reference import new_velocity
from saved_models import PICKLED, content, parts, sign
from scripts import needs_proc
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.checks import check_keys, check_ndarray, check_number
from sklearn_jko.files import persistence
from sklearn_jko.files.density_state import attributes_of_flow
from sklearn_jko.files.persistence import FileMixin, SavedModelError
from sklearn_jko.flow import JKOBlock, JKOFlow
from sklearn_jko.scaling import SCALERS, make_scaler
from sklearn_jko.training.block_training import BlockRecord

N_MUTATIONS = int(os.environ.get("SKLEARN_JKO_FUZZ", "300"))
CHAIN = "marginal+whiten+radial"
VELOCITY_CASES = [
    *(("linear", ()), ("mlp", (6,)), ("mlp", (5, 4)), ("mlp", (5, 4, 3)), ("local", (5, 4))),
]
RECORD = BlockRecord(
    *(math.inf, 0.5, math.nan, -math.inf, 0.3, 0.1, 0.2, 1 / 3, 0.25, 1e-300, 2, 30, 1.5),
    *(True, False, 1),
)


def names_of_velocity(case):
    return "-".join([case[0], *map(str, case[1])])


def build(scaling=CHAIN, velocity=("mlp", (5, 4)), n_blocks=2, X=None, **params):
    """A fitted density with blocks of any kind, at random: training would take its time."""
    X = two_moons(100, 0) if X is None else X
    model = JKOFlowDensity(scaling=scaling, max_blocks=0, random_state=0, **params).fit(X)
    generator, blocks = torch.Generator().manual_seed(0), []
    for k in range(n_blocks):
        block = JKOBlock(new_velocity(velocity, X.shape[1], generator), k / 4, 0.5 + k / 4)
        for parameter in block.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
        blocks.append(block.double())
    flow = JKOFlow(blocks, solver="dop853", n_steps=np.arange(1, n_blocks + 1))
    vars(model).update(attributes_of_flow(flow.eval().requires_grad_(False), [RECORD] * n_blocks))
    return model


def round_trip(model, path):
    model.save(path)
    return type(model).load(path)


def assert_same(loaded, model, X):
    assert vars(loaded).keys() == vars(model).keys()
    assert content(loaded) == content(model)
    assert repr(loaded.history_) == repr(model.history_)
    assert loaded.get_params() == model.get_params()
    assert type(loaded.scaler_) is type(model.scaler_)
    for method in ("score_samples", "transform", "inverse_transform"):
        np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(model, method)(X))
    np.testing.assert_array_equal(loaded.sample(5, 0), model.sample(5, 0))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.mark.parametrize("n_blocks", [0, 2])
@pytest.mark.parametrize("velocity", VELOCITY_CASES, ids=names_of_velocity)
@pytest.mark.parametrize("scaling", [*SCALERS, CHAIN])
def test_every_model_comes_back_equal(path, scaling, velocity, n_blocks):
    model = build(scaling, velocity, n_blocks)
    assert_same(round_trip(model, path), model, two_moons(40, 1))


def test_trained_model_comes_back_equal(path, moons, fitted):
    assert fitted.n_blocks_ > 0
    assert_same(round_trip(fitted, path), fitted, moons[1])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_after_an_adaptive_solver(path, moons):
    params = {"solver": "dopri5", "hidden_layer_sizes": (4,), "max_iter": 5, "max_blocks": 1}
    model = JKOFlowDensity("whiten", random_state=0, **params).fit(moons[0][:100])
    assert_same(round_trip(model, path), model, moons[1][:20])


@pytest.mark.parametrize("name", [*SCALERS])
def test_scalers_name_what_they_learn(name):
    scaler = make_scaler(name).fit(two_moons(50, 0))
    assert set(vars(scaler)) - set(vars(make_scaler(name))) == set(scaler.learned)
    scaler.check(2)
    for attribute in scaler.learned:
        other = make_scaler(name).fit(two_moons(50, 0))
        setattr(other, attribute, getattr(other, attribute) * np.nan)
        with pytest.raises(ValueError, match=attribute[:-1]):
            other.check(2)


@pytest.mark.parametrize("case", VELOCITY_CASES, ids=names_of_velocity)
def test_velocities_name_their_widths(case):
    assert new_velocity(case, 2, torch.Generator()).hidden_layer_sizes == case[1]


def test_names_of_columns_and_what_pandas_makes_of_them(path, model):
    # Of objects: pyarrow, where it is installed, refuses the half of a surrogate pair.
    names = pd.Index(["Länge", 'quoted "\\ \ud800'], dtype=object)
    X = pd.DataFrame(two_moons(100, 0), columns=names)
    loaded = round_trip(build(X=X), path)
    assert loaded.feature_names_in_.dtype == object
    assert list(loaded.feature_names_in_) == list(X.columns)
    frame = loaded.set_output(transform="pandas").transform(X)
    assert list(frame.columns) == ["jkoflowdensity0", "jkoflowdensity1"]
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.score_samples(X[X.columns[::-1]])


PARAMETERS = {
    "hidden_layer_sizes": (7, np.int64(5)),
    "step_size": math.inf,
    "weight_decay": np.float64(0.1),
    "solver_tol": math.pi,
    "random_state": np.int32(3),
    "max_blocks": 10**30,
    "device": "cpu",
}


def test_parameters_come_back_and_serve_a_clone(path, model):
    model = clone(model).set_params(scaling="none").fit(two_moons(50, 0)).set_params(**PARAMETERS)
    loaded = round_trip(model, path)
    assert loaded.get_params() == model.get_params()
    assert type(loaded.hidden_layer_sizes) is tuple
    fitted = clone(loaded).set_params(max_blocks=0, max_time=None).fit(two_moons(50, 0))
    assert fitted.n_features_in_ == 2


@pytest.mark.parametrize(
    "params",
    [
        {"condition": np.array([1])},
        {"condition": pd.Index(["b"])},
        {"hidden_layer_sizes": np.array([4, 4])},
        {"columns": OrderedDict(a=(0, None))},
        {"structure": pd.DataFrame([[0, 1], [1, 0]])},
        {"n_refinements": np.int64(0), "max_blocks": np.int64(1)},
    ],
    ids=str,
)
def test_a_loaded_model_with_arrays_for_parameters_can_be_fitted_again(path, params):
    X = pd.DataFrame(two_moons(50, 0), columns=["a", "b"])
    settings = {"max_blocks": 1, "max_iter": 5, "random_state": 0, **params}
    model = JKOFlowDensity("standard", checkpoint=path.with_name("fit"), **settings).fit(X)
    scores = model.score_samples(X)
    np.testing.assert_array_equal(round_trip(model, path).fit(X).score_samples(X), scores)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"step_size": lambda k: 1.0}, r"step_size=<function .* cannot be saved.*set_params\(step"),
        ({"random_state": np.random.RandomState(0)}, r"random_state=RandomState.*set_params\(rand"),
    ],
    ids=["function", "RandomState"],
)
def test_parameters_that_are_objects_are_named(path, model, params, message):
    with pytest.raises(TypeError, match=message):
        build().set_params(**params).save(path)
    assert not path.exists()


def test_parameters_of_a_detector_that_are_objects_are_said_to_be_twice(path):
    density = JKOFlowDensity("standard", max_blocks=0, step_size=lambda k: 1.0)
    detector = JKOFlowOutlierDetector(density=density).fit(two_moons(50, 0))
    with pytest.raises(TypeError, match="Set it in both `density` and `density_`"):
        detector.save(path)
    detector.set_params(density__step_size=0.5).density_.set_params(step_size=0.5)
    assert round_trip(detector, path).density_.step_size == 0.5


def test_a_file_does_not_choose_where_a_fit_writes(path):
    model = build().set_params(checkpoint=path.with_name("fit"))
    assert round_trip(model, path).checkpoint is None


def test_device_is_kept_and_told_in_scoring_where_it_is_missing(path):
    loaded = round_trip(build().set_params(device="cuda:99"), path)
    with pytest.raises(ValueError, match="device='cuda:99': torch finds no such CUDA device"):
        loaded.score_samples(two_moons(3, 0))
    assert np.isfinite(loaded.set_params(device="cpu").score_samples(two_moons(3, 0))).all()


def test_what_would_not_load_is_not_saved(path):
    with pytest.raises(NotFittedError):
        JKOFlowDensity().save(path)
    with pytest.raises(ValueError, match="'max_blocks' parameter"):
        build().set_params(max_blocks=-1).save(path)
    model = build()
    model.flow_.n_steps = 128
    with pytest.raises(ValueError, match=r"n_steps must be finite and within \[1, 64\]"):
        model.save(path)
    model.flow_.n_steps, model.flow_.solver = 4, "rk4"
    with pytest.raises(ValueError, match="solver='rk4' must be one of"):
        model.save(path)
    names = [f"{k:0100d}" for k in range(50_000)]
    with pytest.raises(ValueError, match=r"too large for a file\. Shorten the column names"):
        persistence._write(path, "JKOFlowDensity", {"names": names})
    assert not path.exists()


def test_failed_save_leaves_the_old_file(path, model, monkeypatch):
    model.save(path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="No space"):
        model.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (Path.mkdir, IsADirectoryError, r"is a folder; pass a file, such as .*x/model\.safetens"),
        (os.mkfifo, FileExistsError, "x' is not a regular file; pass another"),
        (lambda p: p.symlink_to("/dev/null"), FileExistsError, "x' is not a regular file"),
        (lambda p: p.symlink_to("no folder/x"), FileNotFoundError, "x' .*there is no .*no folder"),
    ],
    ids=["folder", "fifo", "device", "missing"],
)
def test_wrong_paths_are_told_before_any_work(tmp_path, monkeypatch, make, error, message):
    make(tmp_path / "x")
    model = build()
    monkeypatch.setattr(JKOFlowDensity, "_state", None)
    with pytest.raises(error, match=message):
        model.save(tmp_path / "x")
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert not stat.S_ISREG(Path("/dev/null").stat().st_mode)


def test_saving_keeps_links(path, model):
    link, folder = path.parent / "link", path.parent / "folder"
    folder.mkdir()
    (folder / "next").symlink_to(Path("..") / path.name)
    link.symlink_to(Path("folder") / "next")
    for _ in ("new", "there"):
        model.save(link)
        assert link.is_symlink()
        assert (folder / "next").is_symlink()
        assert content(JKOFlowDensity.load(path)) == content(model)
    assert {file.name for file in path.parent.iterdir()} == {"link", "folder", path.name}


def test_links_that_strangers_may_have_laid_out_are_replaced(path, model):
    shared, own = path.parent / "shared", path.parent / "own"
    shared.mkdir()
    shared.chmod(0o1777)
    path.write_text("precious")
    (shared / "trap").symlink_to(path)
    own.symlink_to(shared / "trap")
    for name in (own, shared / "trap"):
        model.save(name)
        assert path.read_text() == "precious"
        assert not (shared / "trap").is_symlink()
        assert content(JKOFlowDensity.load(own)) == content(model)


def test_links_in_a_circle_are_no_trap(path, model):
    path.symlink_to(path.name)
    assert content(round_trip(model, path)) == content(model)


def test_two_writers_and_a_reader_do_not_meet(path, model):
    model.save(path)
    writers = [threading.Thread(target=lambda: [model.save(path) for _ in range(20)]) for _ in "ab"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert content(JKOFlowDensity.load(path)) == content(model)


ELSEWHERE = """
import hashlib, sys
import numpy as np, torch
from sklearn_jko import JKOFlowDensity
state = torch.random.get_rng_state()
model = JKOFlowDensity.load(sys.argv[1])
assert torch.equal(torch.random.get_rng_state(), state)
assert "torch._dynamo" not in sys.modules
X = np.random.default_rng(0).normal(size=(50, 2))
print(hashlib.sha256(model.score_samples(X).tobytes()).hexdigest())
"""


def test_another_process_elsewhere_scores_the_same_bits(path, model, tmp_path):
    model.save(path)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(persistence.__file__).parents[2])},
    )
    scores = model.score_samples(np.random.default_rng(0).normal(size=(50, 2)))
    assert done.stdout.strip() == hashlib.sha256(scores.tobytes()).hexdigest()


class Pair(FileMixin, BaseEstimator):
    """An estimator that holds others."""

    def __init__(self, share=0.1, density=None):
        self.share, self.density = share, density

    _unsaved = ("density",)
    _parameter_constraints = {"share": [float], "density": "no_validation"}  # noqa: RUF012

    def fit(self, X):
        self.densities_ = [build(n_blocks=k, X=X) for k in (0, 1)]
        self.thresholds_ = np.array([d.score_samples(X).min() for d in self.densities_])
        self.offset_ = -math.inf
        return self

    def _fitted_state(self):
        densities = [density._state() for density in self.densities_]
        return {"densities": densities, "thresholds": self.thresholds_, "offset": self.offset_}

    def _set_fitted_state(self, state):
        check_keys("fitted", state, ("densities", "thresholds", "offset"))
        self.densities_ = [JKOFlowDensity._from_state(part) for part in state["densities"]]
        self.thresholds_, self.offset_ = state["thresholds"], state["offset"]
        check_ndarray("thresholds", self.thresholds_, (len(self.densities_),))
        check_number("offset", self.offset_)


@pytest.fixture(scope="module")
def detector():
    density = JKOFlowDensity("standard", hidden_layer_sizes=(5, 4), max_blocks=2, max_iter=20)
    return JKOFlowOutlierDetector(0.1, density=density, random_state=0).fit(two_moons(100, 0))


def test_detector_comes_back_equal(path, detector):
    X = two_moons(40, 1)
    loaded = round_trip(detector, path)
    assert loaded.contamination == 0.1
    assert loaded.density.get_params() == detector.density.get_params()
    assert loaded.density_.get_params() == detector.density_.get_params()
    for method in ("score_samples", "predict", "p_values", "explain", "transform"):
        np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(detector, method)(X))
    assert vars(loaded).keys() == vars(detector).keys()
    with pytest.raises(SavedModelError, match="JKOFlowOutlierDetector"):
        JKOFlowDensity.load(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("neighbours_", np.zeros((80, 3)), "neighbours_"),
        ("neighbours_", np.zeros((0, 2)), "neighbours_"),
        ("latent_neighbours_", np.full((75, 2), np.nan), "latent_neighbours_"),
        ("calibration_scores_", np.array([1.0, 0.0]), "ascend"),
        ("calibration_size_", -1.0, "calibration_size_"),
        ("offset_", math.nan, "offset_"),
    ],
)
def test_unsound_detector_is_not_saved(path, detector, name, value, message):
    other = pickle.loads(pickle.dumps(detector))
    setattr(other, name, value)
    with pytest.raises(ValueError, match=message):
        other.save(path)
    assert not path.exists()


def test_an_estimator_that_holds_others(path):
    X = two_moons(60, 0)
    pair = Pair(0.2).fit(X)
    loaded = round_trip(pair, path)
    assert (loaded.share, loaded.offset_) == (0.2, -math.inf)
    np.testing.assert_array_equal(loaded.thresholds_, pair.thresholds_)
    for one, other in zip(loaded.densities_, pair.densities_, strict=True):
        assert_same(one, other, X)
    with pytest.raises(SavedModelError, match="it holds a 'Pair', whose own `load`"):
        JKOFlowDensity.load(path)


# Versions in pickles, and skops.


@pytest.mark.parametrize("library", [pickle, joblib])
def test_pickle_of_another_version_warns(path, model, library, monkeypatch):
    def dumped():
        with path.open("wb") as file:
            library.dump(model, file)
        with path.open("rb") as file:
            return library.load(file)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(dumped(), model, two_moons(20, 1))
    with path.open("wb") as file:
        library.dump(model, file)
    monkeypatch.setattr(persistence, "__version__", "9.9")
    with (
        path.open("rb") as file,
        pytest.warns(InconsistentVersionWarning, match=r"Density from version 0\.1.*using.* 9\.9"),
    ):
        loaded = library.load(file)
    assert_same(loaded, model, two_moons(20, 1))
    assert "_sklearn_jko_version" in model.__getstate__()
    assert "_sklearn_jko_version" not in vars(loaded)


TRUSTED = [
    "sklearn_jko.estimator.JKOFlowDensity",
    "sklearn_jko.scaling.chain.Chain",
    "sklearn_jko.scaling.identity.Identity",
    "sklearn_jko.scaling.marginal.Marginal",
    "sklearn_jko.scaling.mixture.Mixture",
    "sklearn_jko.scaling.power.Power",
    "sklearn_jko.scaling.radial.Radial",
    "sklearn_jko.scaling.standard.Standard",
    "sklearn_jko.scaling.tails.Tails",
    "sklearn_jko.scaling.whiten.Whiten",
    "sklearn_jko.training.block_training.BlockRecord",
]


@pytest.mark.parametrize("velocity", VELOCITY_CASES, ids=names_of_velocity)
def test_skops_takes_a_model_and_asks_for_our_classes_alone(path, velocity):
    model = build("+".join(SCALERS), velocity)
    skops.io.dump(model, path)
    assert skops.io.get_untrusted_types(file=path) == TRUSTED
    assert_same(skops.io.load(path, trusted=TRUSTED), model, two_moons(20, 1))


def test_skops_asks_for_our_classes_alone_of_a_detector(path, detector):
    """The trees of its neighbours were in the file, which are of classes that skops distrusts."""
    skops.io.dump(detector, path)
    types = skops.io.get_untrusted_types(file=path)
    assert all(name.startswith("sklearn_jko.") for name in types)
    loaded = skops.io.load(path, trusted=types)
    X = two_moons(20, 1)
    np.testing.assert_array_equal(loaded.score_samples(X), detector.score_samples(X))


# Files that are damaged, or were forged with the right checksum.


def test_what_is_not_there_is_not_found(path):
    with pytest.raises(FileNotFoundError):
        JKOFlowDensity.load(path)
    path.symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        JKOFlowDensity.load(path)


def test_links_are_followed(path, model):
    model.save(path)
    (path.parent / "link").symlink_to(path.parent)
    (path.parent / "file").symlink_to(path)
    assert content(JKOFlowDensity.load(path.parent / "link" / path.name)) == content(model)
    assert content(JKOFlowDensity.load(str(path.parent / "file"))) == content(model)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_refused(path, make):
    make(path)
    with pytest.raises(SavedModelError, match=r"model\.safetensors.*it is not a regular file"):
        JKOFlowDensity.load(path)
    (path.parent / "link").symlink_to(path)
    with pytest.raises(SavedModelError, match="it is not a regular file"):
        JKOFlowDensity.load(path.parent / "link")


def with_header(text, length=None, rest=b""):
    length = len(text) if length is None else length
    return length.to_bytes(8, "little") + text + rest


def tensor_header(dtype, shape, end):
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}
    return with_header(json.dumps({"x": entry}).encode(), rest=bytes(64))


NO_MODELS = {
    "empty": b"",
    "seven bytes": bytes(7),
    "zeros": bytes(1000),
    "text": b"no model at all" * 10,
    "pickle": pickle.dumps({"a": 1}),
    "longest header": with_header(b"{}", 2**64 - 1),
    "header of a terabyte": with_header(b"{}", 2**40),
    "header of blanks": with_header(b"{" + b" " * 5 * 2**20 + b"}"),
    "header beyond the file": with_header(b"{}", 100),
    "header that is no JSON": with_header(b"[" * 100_000),
    "header that is no text": with_header(b"\xff" * 100),
    "empty header": with_header(b"{}"),
    "shape beyond the file": tensor_header("F64", [10**6, 10**6], 8 * 10**12),
    "shape that overflows": tensor_header("F64", [2**32, 2**32], 64),
    "negative shape": tensor_header("F64", [-8], 64),
    "another type": tensor_header("BF16", [32], 64),
    "no texts": tensor_header("F64", [8], 64),
}


@pytest.mark.parametrize("case", NO_MODELS)
def test_what_is_no_model_is_refused(path, case):
    path.write_bytes(NO_MODELS[case])
    with pytest.raises(SavedModelError, match=r"model\.safetensors' holds no JKOFlowDensity that"):
        JKOFlowDensity.load(path)


def test_file_stretched_to_a_terabyte_is_refused(path, model):
    model.save(path)
    os.truncate(path, 2**40)
    with pytest.raises(SavedModelError):
        JKOFlowDensity.load(path)


def at(place, value):
    """An edit of the state, at a place such as "fitted/flow_/blocks/0/t0"."""

    def edit(state, arrays, texts):
        *parents, key = place.split("/")
        for name in parents:
            state = state[int(name) if isinstance(state, list) else name]
        if value is ...:
            del state[key]
        else:
            state[int(key) if isinstance(state, list) else key] = value

    return edit


def array(name, change):
    def edit(state, arrays, texts):
        (found,) = (full for full in arrays if full.endswith(name))
        arrays[found] = np.array(change(arrays[found]))

    return edit


def text(name, value):
    def edit(state, arrays, texts):
        texts[name] = value

    return edit


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


BLOCK = "fitted/flow_/blocks/0"
WIDTHS = f"{BLOCK}/hidden_layer_sizes"
WRAPPED = [0, 2**63 - 1, 7]
FORGED = {
    "later format": (
        text("format_version", "999"),
        "written in format '999' by sklearn_jko '0.1.0'",
    ),
    "no format": (text("format_version", "x" * 10**5), "written in format 'xxx"),
    "another class": (text("model", "os.system"), "holds a 'os.system'"),
    "more texts": (text("more", ""), "metadata must hold"),
    "parameter of no name": (at("parameters/exec", "1"), "parameters must hold"),
    "parameter missing": (at("parameters/solver_tol", ...), "parameters must hold"),
    "checkpoint": (at("parameters/checkpoint", "/etc/passwd"), "parameters must hold"),
    "parameter out of range": (at("parameters/max_blocks", -1), "'max_blocks' parameter"),
    "parameter of a wrong type": (at("parameters/scaling", ["none"]), "'scaling' parameter"),
    "digits without end": (at("parameters/max_blocks", 7), "its JSON|4300 digits"),
    "attribute of no name": (at("fitted/score_samples", None), "fitted must hold"),
    "attribute missing": (at("fitted/history_", ...), "fitted must hold"),
    "huge n_features": (at("fitted/n_features_in_", 10**9), r"noise_width_.*\(1000000000,\)"),
    "n_features 0": (at("fitted/n_features_in_", 0), "n_features_in_ must be an integer"),
    "n_features true": (at("fitted/n_features_in_", True), "n_features_in_ must be an integer"),
    "other n_features": (at("fitted/n_features_in_", 3), "noise_width_ must be"),
    "names too few": (at("fitted/feature_names_in_", ["a"]), "must be 2 strings"),
    "names of no string": (at("fitted/feature_names_in_", ["a", 1]), "must be 2 strings"),
    "negative noise": (array("noise_width_", put(0, -1)), "noise_width_ must be finite and within"),
    "solver error": (at("fitted/solver_error_", "small"), "solver_error_ must be a number"),
    "unknown scaler": (at("fitted/scaling_", "os.system"), "scaler 'os.system': use one of"),
    "scaling of no name": (at("fitted/scaling_", [1]), "must be a name"),
    "fewer scalers": (at("fitted/scaling_", "whiten"), "a Whiten has 1 parts, not 3"),
    "other scalers": (at("fitted/scaling_", "power+whiten+radial"), "Power must hold"),
    "method of a scaler": (at("fitted/scaler_/1/transform", 1), "Whiten must hold"),
    "scale 0": (array("1.scale_", put(0, 0)), "scale_ must be finite and within"),
    "whitening of a vector": (array("whitening_", np.diag), r"must be a float64 .*\(2, 2\)"),
    "log_det that is an array": (at("fitted/scaler_/1/log_det_", [1.0]), "log_det_ must be a numb"),
    "log_det of many digits": (at("fitted/scaler_/1/log_det_", 10**30), "log_det_ must be a numb"),
    "infinite log_det": (at("fitted/scaler_/1/log_det_", {"$float": "inf"}), "log_det_ must be"),
    "falling knots": (array("spline_", lambda a: a[:, ::-1]), "knots of spline_ must increase"),
    "falling splines": (array("splines_", put((0, 1), 1e9)), "knots of splines_ must increase"),
    "negative slopes": (array("splines_", put((2, 0), -1)), "slopes of splines_ must be"),
    "starts that wrap": (array("starts_", lambda a: np.array(WRAPPED)), "starts_ must be"),
    "starts in no order": (array("starts_", put(1, 0)), "two or more knots"),
    "starts of floats": (array("starts_", lambda a: a * 1.0), "starts_ must be a int64 array"),
    "record": (at("fitted/history_/0/n_iter", "many"), "n_iter must be an integer"),
    "record of more": (at("fitted/history_/0/__init__", 1), "record must hold"),
    "record, no truth": (at("fitted/history_/0/kept", 1), "kept must be true or false"),
    "records": (at("fitted/history_", {}), "history must be a list"),
    "unknown solver": (at("fitted/flow_/solver", "os.system"), "solver must be one of"),
    "endless solver": (at("fitted/flow_/solver", "dopri5"), "solver='dopri5' must be one of"),
    "no steps": (array("n_steps", put(0, 0)), "n_steps must be finite and within"),
    "more steps": (array("n_steps", put(0, 65)), "n_steps must be finite and within"),
    "blocks without steps": (array("n_steps", lambda a: a[:1]), "n_steps must be a int64 array"),
    "unknown velocity": (at(f"{BLOCK}/velocity", "torch.nn.Linear"), "velocity must be one of"),
    "another velocity": (at(f"{BLOCK}/velocity", "linear"), "weights must hold"),
    "huge widths": (at(WIDTHS, [10**9, 10**9]), "are wider than the weights"),
    "widths beyond all": (at(WIDTHS, [10**30, 1]), "width must be an integer"),
    "negative widths": (at(WIDTHS, [-5, -4]), "width must be an integer"),
    "countless layers": (at(WIDTHS, [1] * 10**5), "too few for 100000 layers"),
    "other widths": (at(WIDTHS, [4, 5]), "out_weight must be a float64 array of shape"),
    "time backwards": (at(f"{BLOCK}/t1", 0.0), "must be less than"),
    "time beyond": (at(f"{BLOCK}/t1", 2.0), "t1 must be a number within"),
    "time that is none": (at(f"{BLOCK}/t1", {"$float": "nan"}), "t1 must be a number within"),
    "NaN weights": (array("0.weights.out_weight", put(0, np.nan)), "out_weight must be finite"),
    "infinite weights": (array("0.weights.out_bias", put(0, np.inf)), "out_bias must be finite"),
    "single weights": (array("0.weights.out_bias", np.float32), "must have a type of"),
    "transposed weights": (array("0.weights.out_weight", np.transpose), "out_weight must be a"),
    "weight that is a number": (at(f"{BLOCK}/weights/out_bias", 1.0), r"out_bias.* are not used"),
    "weight missing": (at(f"{BLOCK}/weights/out_bias", ...), r"out_bias.* are not used"),
    "array that is not there": (
        at(f"{BLOCK}/weights/out_bias", {"$array": "x"}),
        "missing or named twice",
    ),
    "array by a list": (at(f"{BLOCK}/weights/out_bias", {"$array": []}), "missing or named twice"),
    "array twice": (
        at(f"{BLOCK}/weights/out_bias", {"$array": "JKOFlowDensity.fitted.noise_width_"}),
        "missing or named twice",
    ),
    "array more": (lambda s, arrays, t: arrays.update(x=np.zeros(2)), "are not used"),
    "number of no name": (at("fitted/solver_error_", {"$float": "1"}), "solver_error_ must be a n"),
    "NaN of JSON": (at("fitted/solver_error_", math.nan), "its JSON holds NaN"),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_file_is_refused_by_what_is_wrong(path, model, case):
    model.save(path)
    texts, state, arrays = parts(path)
    edit, message = FORGED[case]
    edit(state, arrays, texts)
    if case == "digits without end":
        texts["state"] = json.dumps(state).replace('"max_blocks": 7', f'"max_blocks": {"7" * 9999}')
        persistence.write_arrays(path, arrays, texts)
    else:
        sign(path, texts, state, arrays)
    with pytest.raises(SavedModelError, match=message) as caught:
        JKOFlowDensity.load(path)
    assert len(str(caught.value)) < 1000


def test_pickle_in_a_field_stays_text(path, model):
    model.save(path)
    texts, state, arrays = parts(path)
    state["parameters"]["scaling"] = PICKLED
    sign(path, texts, state, arrays)
    assert JKOFlowDensity.load(path).scaling == PICKLED


@pytest.mark.parametrize("nest", ["[", '{"a":', '{"$tuple":['])
def test_deep_nests_are_refused(path, model, nest):
    model.save(path)
    texts, _, arrays = parts(path)
    for depth in (2_000, 200_000):
        text = nest * depth + "1" + "".join(" ]}"["[{".find(c) + 1] for c in nest[::-1]) * depth
        persistence.write_arrays(path, arrays, {**texts, "state": text})
        with pytest.raises(SavedModelError):
            JKOFlowDensity.load(path)


@needs_proc
def test_many_mutated_files(tmp_path, detector):
    """`SKLEARN_JKO_FUZZ=10000 pytest -s -k mutated tests/test_persistence.py` looks further."""
    for k, (velocity, scaling) in enumerate(
        zip(VELOCITY_CASES, [CHAIN, "power", "standard+radial", "whiten", "marginal"], strict=True)
    ):
        build(scaling, velocity, n_blocks=k % 3).save(tmp_path / f"{k}.safetensors")
    detector.save(tmp_path / "detector.safetensors")
    script = Path(__file__).with_name("saved_models.py")
    done = subprocess.run(
        [sys.executable, script, str(N_MUTATIONS), tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(persistence.__file__).parents[2])},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["refused"] + figures["loaded as it says"] == N_MUTATIONS
    assert figures["loaded as it says"] > 0
    assert figures["peak memory grew by, MB"] < 500
