"""Interrupted fits go on, and end as if nothing had happened."""

import bisect
import functools
import json
import multiprocessing
import random
import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
import safetensors
import torch
from conftest import SMALL, two_moons
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_val_score

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.files import checkpoint
from sklearn_jko.files.checkpoint import as_json, data_digest
from sklearn_jko.files.tensor_file import read_arrays, write_arrays
from sklearn_jko.fitting import course
from sklearn_jko.step_sizes import geometric_step
from sklearn_jko.training.block_training import BlockTraining
from sklearn_jko.training.pilot import ScalingChoice

SETTINGS = {"scaling": "whiten", **SMALL, "max_iter": 30, "max_blocks": 4}
SETTINGS["step_size"] = functools.partial(geometric_step, first=0.5, growth=2.0)
N_KILLS = 8


@pytest.fixture(scope="module")
def rows():
    return two_moons(300, 0)


@pytest.fixture(scope="module")
def uninterrupted(rows):
    return JKOFlowDensity(**SETTINGS).fit(rows)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.safetensors"


@pytest.fixture
def interrupted_at(monkeypatch):
    """Make training raise KeyboardInterrupt in the block of this number; count the blocks."""
    trained = []
    run = BlockTraining.run

    def install(stop):
        def counted(*args):
            if len(trained) == stop:
                raise KeyboardInterrupt
            trained.append(args)
            return run(*args)

        trained.clear()
        monkeypatch.setattr(BlockTraining, "run", counted)
        return trained

    return install


def interrupted_fit(rows, path, interrupted_at, stop, **params):
    interrupted_at(stop)
    with pytest.raises(KeyboardInterrupt):
        JKOFlowDensity(**{**SETTINGS, **params}, checkpoint=path).fit(rows)
    return interrupted_at(None)


def assert_same_model(model, other, rows):
    assert model.n_blocks_ == other.n_blocks_
    for one, another in zip(model.flow_.parameters(), other.flow_.parameters(), strict=True):
        assert torch.equal(one, another)
    np.testing.assert_array_equal(model.score_samples(rows), other.score_samples(rows))
    assert [r.validation_nll for r in model.history_] == [r.validation_nll for r in other.history_]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_interrupted_refinement_goes_on(rows, path, interrupted_at, number):
    """In the last block of the first training, or of a round of refinement."""
    refined = {"max_blocks": 3, "n_refinements": 2}
    refined["step_size"] = functools.partial(geometric_step, first=0.2, growth=2.0)
    whole = JKOFlowDensity(**{**SETTINGS, **refined}).fit(rows)
    rounds = [record.refinement for record in whole.history_]
    assert rounds.count(number) > 1
    interrupted_fit(rows, path, interrupted_at, bisect.bisect(rounds, number) - 1, **refined)
    model = JKOFlowDensity(**{**SETTINGS, **refined}, checkpoint=path).fit(rows)
    assert_same_model(model, whole, rows)


@pytest.mark.parametrize("n_whole", [0, 1, 3])
def test_interrupted_fit_goes_on_after_the_last_whole_block(
    rows, path, uninterrupted, interrupted_at, n_whole
):
    trained = interrupted_fit(rows, path, interrupted_at, n_whole)
    model = JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    assert len(trained) == len(uninterrupted.history_) - n_whole
    assert_same_model(model, uninterrupted, rows)
    again = JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    assert len(trained) == len(uninterrupted.history_) - n_whole
    assert_same_model(again, uninterrupted, rows)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_checkpoint_changes_nothing(rows, path, uninterrupted):
    model = JKOFlowDensity(**SETTINGS, checkpoint=str(path)).fit(rows)
    assert_same_model(model, uninterrupted, rows)


def test_choice_of_the_scaling_is_remembered(rows, path, interrupted_at, monkeypatch):
    expected = JKOFlowDensity(**{**SETTINGS, "scaling": "auto"}).fit(rows)
    choice = ScalingChoice(expected.scaling_, alone="whiten")
    monkeypatch.setattr(course, "choose_scaling", lambda *args: choice)
    interrupted_fit(rows, path, interrupted_at, 0, scaling="auto")
    monkeypatch.setattr(course, "choose_scaling", lambda *args: pytest.fail("chosen again"))
    model = JKOFlowDensity(**{**SETTINGS, "scaling": "auto"}, checkpoint=path).fit(rows)
    assert_same_model(model, expected, rows)


def test_more_refinements_go_on_from_a_finished_fit(rows, path):
    whole = JKOFlowDensity(**SETTINGS, n_refinements=1).fit(rows)
    assert whole.history_[-1].refinement == 1
    first = JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    model = JKOFlowDensity(**SETTINGS, n_refinements=1, checkpoint=path).fit(rows)
    assert_same_model(model, whole, rows)
    assert model.history_[: len(first.history_)] == first.history_  # seconds, too: it was read


def test_more_blocks_are_added_to_those_of_a_finished_fit(rows, path):
    few, more = {**SETTINGS, "max_blocks": 2}, {**SETTINGS, "max_blocks": 4}
    first = JKOFlowDensity(**few, checkpoint=path).fit(rows)
    model = JKOFlowDensity(**more, checkpoint=path).fit(rows)
    assert len(model.history_) > len(first.history_) == 2
    assert model.history_[:2] == first.history_
    assert first.n_blocks_ == 2
    for one, another in zip(model.flow_.blocks[:2], first.flow_.blocks, strict=True):
        assert all(map(torch.equal, one.parameters(), another.parameters()))


def test_blocks_are_added_to_none(rows, path):
    none, one = {**SETTINGS, "max_blocks": 0}, {**SETTINGS, "max_blocks": 1}
    JKOFlowDensity(**none, checkpoint=path).fit(rows)
    model = JKOFlowDensity(**one, checkpoint=path).fit(rows)
    assert_same_model(model, JKOFlowDensity(**one).fit(rows), rows)


def test_fewer_or_more_blocks_of_a_refined_fit_are_refused(rows, path):
    settings = {**SETTINGS, "n_refinements": 1, "checkpoint": path}
    JKOFlowDensity(**settings).fit(rows)
    for n in (3, 5):
        with pytest.raises(ValueError, match=f"max_blocks=4, .*but this fit has max_blocks={n}"):
            JKOFlowDensity(**{**settings, "max_blocks": n}).fit(rows)
    with pytest.raises(ValueError, match="n_refinements=1, but this fit has n_refinements=0"):
        JKOFlowDensity(**{**settings, "n_refinements": 0}).fit(rows)


def test_more_time_goes_on_where_time_ran_out(rows, path, monkeypatch):
    run, monotonic = BlockTraining.run, time.monotonic

    def slow(*args):
        record = run(*args)
        patch.setattr(time, "monotonic", lambda: monotonic() + 1000)
        return record

    with monkeypatch.context() as patch:
        patch.setattr(BlockTraining, "run", slow)
        with pytest.warns(ConvergenceWarning, match="max_time=500 ended training with 1 of 1"):
            first = JKOFlowDensity(**SETTINGS, max_time=500, checkpoint=path).fit(rows)
    model = JKOFlowDensity(**SETTINGS, max_time=5000, checkpoint=path).fit(rows)
    assert len(model.history_) > len(first.history_) == 1
    assert model.history_[:1] == first.history_
    assert model.score(rows) > first.score(rows)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)])
def test_without_a_seed_that_of_the_file_is_used(rows, path, interrupted_at, random_state):
    interrupted_fit(rows, path, interrupted_at, 1, random_state=random_state)
    saved = json.loads(safetensors.safe_open(path, "pt").metadata()["fit"])
    JKOFlowDensity(**{**SETTINGS, "random_state": random_state}, checkpoint=path).fit(rows)
    assert json.loads(safetensors.safe_open(path, "pt").metadata()["fit"])["seed"] == saved["seed"]


def test_a_detector_without_a_seed_goes_on_too(rows, path, interrupted_at):
    settings = {**SETTINGS, "random_state": None, "max_blocks": 1}
    density = JKOFlowDensity(**settings, checkpoint=path)
    first = JKOFlowOutlierDetector(density=density).fit(rows)
    interrupted_at(0)  # if a block were trained again
    again = JKOFlowOutlierDetector(density=density).fit(rows)
    np.testing.assert_array_equal(again.score_samples(rows), first.score_samples(rows))


def test_what_does_not_touch_training_may_change(rows, path, uninterrupted):
    JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    changed = {"solver_tol": 1e-6, "verbose": True}
    model = JKOFlowDensity(**SETTINGS, checkpoint=path, **changed)
    assert model.fit(rows).solver_error_ <= 1e-6
    np.testing.assert_allclose(
        model.score_samples(rows), uninterrupted.score_samples(rows), atol=1e-2
    )


def test_numpys_numbers_are_parameters_as_pythons_are(rows, path):
    settings = {**SETTINGS, "max_blocks": 1, "checkpoint": path}
    numbers = {"columns": {np.int64(1): (None, None)}, "hidden_layer_sizes": np.array([8, 8])}
    plain = {"columns": {1: (None, None)}, "hidden_layer_sizes": (8, 8)}
    models = [JKOFlowDensity(**{**settings, **given}).fit(rows) for given in (numbers, plain)]
    assert models[1].history_ == models[0].history_  # seconds, too: it was read


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_iter": 31}, "made with max_iter=30, but this fit has max_iter=31"),
        ({"scaling": "standard"}, "scaling='whiten'"),
        ({"random_state": 1}, "random_state=0"),
        ({"step_size": lambda k: 1.0 + k}, r"step_size=\[0.5, 1.0, 2.0, 4.0\], .*\[1.0, 2.0, 3.0"),
    ],
    ids=["max_iter", "scaling", "random_state", "step_size"],
)
def test_other_parameters_are_refused_by_name(rows, path, params, message):
    JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    content = path.read_bytes()
    model = JKOFlowDensity(**{**SETTINGS, **params}, checkpoint=path)
    with pytest.raises(ValueError, match=message):
        model.fit(rows)
    with pytest.raises(NotFittedError):
        model.score_samples(rows)
    assert path.read_bytes() == content


def test_other_data_and_other_versions_are_refused(rows, path, monkeypatch):
    model = JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    for other in (rows[:-1], rows[:, ::-1], np.nextafter(rows, np.inf)):
        with pytest.raises(ValueError, match=r"made with X=\[300, 2, "):
            model.fit(other)
    monkeypatch.setattr("sklearn_jko.files.checkpoint.__version__", "9.9")
    with pytest.raises(ValueError, match=r"this fit has sklearn_jko='9\.9'"):
        model.fit(rows)


@pytest.mark.filterwarnings("error")
def test_equal_values_are_the_same_job():
    """In a group [8, 8] was another parameter than (8, 8)."""
    mine = {"widths": (8, 8), "n": np.int64(20), "decay": np.float64(0.1), "tol": 1e-3}
    others = {"widths": np.array([8, 8]), "n": 20, "decay": 0.1, "tol": 1e-3}
    assert as_json(mine) == as_json(others) == {**others, "widths": [8, 8]}


@pytest.mark.parametrize("kind", [pd.Index, pd.Series, pl.Series, np.array, tuple])
def test_long_lists_of_other_values_are_other_jobs(kind):
    """Their representations leave out what is in the middle."""
    names = [f"c{i}" for i in range(2000)]
    others = [*names[:1000], "other", *names[1001:]]
    assert as_json({"condition": kind(names)}) == {"condition": names}
    assert as_json({"condition": kind(others)}) == {"condition": others}


def test_digest_is_of_rows_in_any_order_and_any_parts(rows, monkeypatch):
    whole = data_digest(rows)
    monkeypatch.setattr(checkpoint, "ROWS_AT_ONCE", 7)
    assert data_digest(rows[::-1]) == whole
    assert (data_digest(rows[:100]) + data_digest(rows[100:])) % 2**64 == whole
    weight = np.arange(len(rows))
    assert data_digest(rows, weight) != data_digest(rows, weight[::-1])


def test_rows_in_another_order_are_the_same_fit(rows, path, uninterrupted):
    JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    assert_same_model(
        JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows[::-1]), uninterrupted, rows
    )


def test_damaged_file_is_refused(rows, path):
    settings = {**SETTINGS, "scaling": "marginal", "max_blocks": 2, "max_iter": 5}
    model = JKOFlowDensity(**settings, checkpoint=path).fit(rows)
    content = path.read_bytes()
    rng = random.Random(0)
    for _ in range(100):
        k = rng.randrange(len(content))
        flipped = content[:k] + bytes([content[k] ^ 1 << rng.randrange(8)]) + content[k + 1 :]
        for damaged in (content[:k], flipped, content[k:], content + content[:k]):
            path.write_bytes(damaged)
            if damaged != content:
                with pytest.raises(ValueError, match="is damaged or not a checkpoint"):
                    model.fit(rows)


def test_folds_that_share_a_file_are_told(rows, path):
    model = JKOFlowDensity(**{**SETTINGS, "max_blocks": 0}, checkpoint=path).fit(rows)
    with pytest.raises(ValueError, match=r"belongs to another fit.*search share one file"):
        cross_val_score(model, rows, cv=2, error_score="raise")


def test_a_saved_model_is_no_checkpoint(rows, path):
    model = JKOFlowDensity(**{**SETTINGS, "max_blocks": 0}, checkpoint=path)
    clone(model).set_params(checkpoint=None, step_size=0.5).fit(rows).save(path)
    with pytest.raises(ValueError, match=r"is a model written by `save`.*Pass another file"):
        model.fit(rows)
    write_arrays(path, {"a": np.zeros(3)}, {})
    with pytest.raises(ValueError, match=r"not a checkpoint \(it lacks 'fit'\)"):
        model.fit(rows)


@pytest.mark.parametrize("name", ["9.weight", "-1.weight", "weight"])
def test_weights_of_no_block_are_refused(rows, path, name):
    model = JKOFlowDensity(**{**SETTINGS, "max_iter": 5}, checkpoint=path).fit(rows)
    with safetensors.safe_open(path, "np") as file:
        arrays, metadata = read_arrays(file), {"fit": file.metadata()["fit"]}
    write_arrays(path, {**arrays, name: np.zeros(3)}, metadata)
    with pytest.raises(ValueError, match="is damaged or not a checkpoint"):
        model.fit(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"progress": ["first block"]}, "record must hold"),
        ({"seconds": "ten"}, "seconds must be a number"),
        ({"seed": -1}, "seed must be an integer"),
        ({"job": "this"}, "job must be a dictionary"),
        ({"note": 1}, "fit must hold"),
    ],
)
def test_fields_of_another_kind_are_refused(rows, path, change, message):
    model = JKOFlowDensity(**{**SETTINGS, "max_iter": 5}, checkpoint=path).fit(rows)
    with safetensors.safe_open(path, "np") as file:
        arrays, fields = read_arrays(file), json.loads(file.metadata()["fit"])
    write_arrays(path, arrays, {"fit": json.dumps({**fields, **change})})
    with pytest.raises(ValueError, match=rf"is damaged or not a checkpoint \({message}"):
        model.fit(rows)


def test_half_written_file_is_never_read(rows, path, uninterrupted):
    path.with_name(path.name + ".partial").write_bytes(b"half")
    model = JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    assert_same_model(model, uninterrupted, rows)


def test_full_disk_does_not_cost_the_training(rows, path, uninterrupted, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.warns(RuntimeWarning, match=r"could not be written .*No space left"):
        model = JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    assert_same_model(model, uninterrupted, rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_step_sizes_may_be_numbers_of_numpy(rows, path, dtype):
    settings = {**SETTINGS, "step_size": dtype(1), "max_blocks": 1, "max_iter": 5}
    model = JKOFlowDensity(**settings, checkpoint=path).fit(rows)
    assert [record.h for record in model.history_] == [1.0]
    again = JKOFlowDensity(**settings, checkpoint=path).fit(rows)
    assert_same_model(again, model, rows)


def test_a_folder_is_no_checkpoint(rows, tmp_path):
    with pytest.raises(ValueError, match="must name a file in an existing, writable folder"):
        JKOFlowDensity(**SETTINGS, checkpoint=tmp_path).fit(rows)


def test_interrupt_leaves_the_estimator_as_it_was(rows, interrupted_at, uninterrupted):
    model = JKOFlowDensity(**SETTINGS).fit(rows)
    interrupted_at(1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows)
    assert_same_model(model, uninterrupted, rows)


def fit_in_one_thread(path, rows):
    torch.set_num_threads(1)
    JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)


def saved_model(path):
    """Weights and records of a checkpoint, but for the time that they took."""
    with safetensors.safe_open(path, "np") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
        fields = json.loads(file.metadata()["fit"])
    records = [{**record, "seconds": None} for record in fields["progress"]]
    return tensors, records


def test_killed_fits_end_with_the_uninterrupted_model(rows, tmp_path):
    context = multiprocessing.get_context("forkserver")

    def start(path):
        process = context.Process(target=fit_in_one_thread, args=(path, rows))
        process.start()
        return process

    start(tmp_path / "first").join()  # the server is up from here on
    begin = time.monotonic()
    start(tmp_path / "whole").join()
    seconds = time.monotonic() - begin
    expected = saved_model(tmp_path / "whole")
    rng, path, n_kills, n_resumed = random.Random(0), tmp_path / "killed", 0, 0
    while n_kills < N_KILLS:
        n_resumed += path.exists()
        process = start(path)
        process.join(rng.uniform(0, seconds))
        if process.is_alive():
            process.kill()
            process.join()
            n_kills += 1
        else:
            assert process.exitcode == 0
            assert saved_model(path) == expected
            path.unlink()
    process = start(path)
    process.join()
    assert process.exitcode == 0
    assert saved_model(path) == expected
    assert n_resumed > N_KILLS / 4


def test_other_weights_and_judges_are_refused(rows, path):
    JKOFlowDensity(**SETTINGS, checkpoint=path).fit(rows)
    model = JKOFlowDensity(**SETTINGS, checkpoint=path)
    for name in ("sample_weight", "X_val"):
        with pytest.raises(ValueError, match=f"belongs to another fit.*{name}"):
            model.fit(rows, **{name: np.ones(len(rows)) if name == "sample_weight" else rows})
