"""Fits of two processes together are those of one to all rows, and fail together."""

import contextlib
import datetime
import math
import os
import re
import time
import warnings
from unittest import mock

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from conftest import two_moons

from sklearn_jko import JKOFlowDensity
from sklearn_jko.fitting import course
from sklearn_jko.rows import reservoir, shards
from sklearn_jko.rows.processes import Group, Processes
from sklearn_jko.rows.row_hash import hash_rows
from sklearn_jko.rows.splitting import held_out_mask
from sklearn_jko.training import automatic, pilot, reports
from sklearn_jko.training.block_training import BlockTraining

SIZE = 2
# Seconds; the second for a process that sleeps.
TIMEOUT, SHORT_TIMEOUT = 60, 8
# So many rows that none are repeated with noise, which would not be the same in two processes.
# Off their mean: a scaling that centres them leaves gradients of pure rounding, which Adam makes
# as large as all others.
ROWS = (two_moons(2400, 0) - [1e3, -5.0]) / [2.0, 0.02] + [0.5, 0.3]
FULL = {
    "scaling": "none",
    "hidden_layer_sizes": (16, 16),
    "max_blocks": 2,
    "max_iter": 20,
    "batch_size": 10_000,
    "random_state": 0,
}
# So few rows of weight 2 that they are no ties, which get noise.
WEIGHT = np.where(np.random.default_rng(0).random(len(ROWS)) < 0.04, 2.0, 1.0)


# A mixture of clusters leaves next to nothing of these rows to a block: whether one is kept is then
# a matter of rounding.
without_clusters = mock.patch.object(pilot, "_may_form_clusters", return_value=False)


# Trains by AdamW: turned axes make more of sums that are rounded in another order.
in_plain_axes = mock.patch.object(automatic, "ROWS_TO_TURN_AXES", math.inf)


def in_group(rank, folder, timeout, job, *args):
    """Run a job in one process of a group."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=SIZE,
        timeout=datetime.timedelta(seconds=timeout),
    )
    try:
        job(rank, folder, *args)
    finally:
        torch.distributed.destroy_process_group()


def in_two_processes(job, folder, *args, timeout=TIMEOUT):
    arguments = folder, timeout, job, *args
    torch.multiprocessing.start_processes(
        in_group, arguments, nprocs=SIZE, start_method="forkserver"
    )


def group():
    return torch.distributed.group.WORLD


def shard(rank, first):
    """Rows of a process, of which the first has so many."""
    return slice(None, first) if rank == 0 else slice(first, None)


CASES = {
    "equal": (1200, {}, {}),
    "unequal": (500, {}, {}),
    "weights": (900, {}, {"sample_weight": WEIGHT}),
    "broken weights": (900, {}, {"sample_weight": WEIGHT + np.linspace(0, 0.1, len(WEIGHT))}),
    "auto": (800, {"scaling": "auto"}, {}),
    "adaptive solver": (1200, {"solver": "dopri5", "max_iter": 5}, {}),
    "no blocks": (700, {"max_blocks": 0}, {}),
    "image": (1000, {"structure": (1, 2)}, {}),
    "rounds": (1000, {"n_refinements": 1, "max_iter": 8}, {}),
    "turned axes": (1000, {"learning_rate_init": 5e-3}, {}),
}


def fit_cases(rank, folder):
    for name, (first, params, options) in CASES.items():
        own = shard(rank, first)
        options = {key: value[own] for key, value in options.items()}
        model = JKOFlowDensity(**{**FULL, **params})
        with without_clusters, contextlib.nullcontext() if name == "turned axes" else in_plain_axes:
            model.fit(ROWS[own], process_group=group(), **options)
        model.save(folder / f"{name}-{rank}")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    in_two_processes(fit_cases, folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_processes_fit_what_one_fits_to_all_rows(cases, name):
    first, second = (JKOFlowDensity.load(cases / f"{name}-{rank}") for rank in range(SIZE))
    for one, other in zip(first.flow_.parameters(), second.flow_.parameters(), strict=True):
        assert torch.equal(one, other)
    _, params, options = CASES[name]
    with without_clusters, contextlib.nullcontext() if name == "turned axes" else in_plain_axes:
        alone = JKOFlowDensity(**{**FULL, **params}).fit(ROWS, **options)
    assert first.scaling_ == alone.scaling_
    assert first.n_blocks_ == alone.n_blocks_
    assert [r.n_iter for r in first.history_] == [r.n_iter for r in alone.history_]
    # Weights that are no whole numbers become a few copies of the rows, not the same in parts.
    atol = {"broken weights": 0.05, "turned axes": 5e-3}.get(name, 1e-4)
    for one, other in zip(first.flow_.parameters(), alone.flow_.parameters(), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), rtol=0, atol=atol)
    scores = first.score_samples(ROWS)
    np.testing.assert_allclose(scores, alone.score_samples(ROWS), rtol=0, atol=atol)
    np.testing.assert_array_equal(scores, second.score_samples(ROWS))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Fits that are no copies of one: of batches, with judges, ties, and short of time."""
    folder = tmp_path_factory.mktemp("others")
    in_two_processes(fit_others, folder)
    return folder


TEST = two_moons(1000, 5)
MANY = two_moons(4000, 6)
OTHERS = {
    "batches": ({}, MANY, None),
    "judges": ({}, MANY, TEST),
    "ties": ({}, MANY.round(3), None),
    "time": ({"max_time": 2.0, "max_iter": "auto"}, MANY, None),
    "few": ({}, MANY[:300], None),
}
MODEST = {"hidden_layer_sizes": (32, 32), "max_blocks": 2, "max_iter": 100, "random_state": 0}


def fit_others(rank, folder):
    for name, (params, X, X_val) in OTHERS.items():
        own = shard(rank, len(X) // 3)
        judges = None if X_val is None else X_val[shard(rank, len(X_val) // 2)]
        model = JKOFlowDensity(**{**MODEST, **params})
        model.fit(X[own], X_val=judges, process_group=group()).save(folder / f"{name}-{rank}")


@pytest.mark.parametrize("name", OTHERS)
def test_processes_end_with_one_model(others, name):
    first, second = (JKOFlowDensity.load(others / f"{name}-{rank}") for rank in range(SIZE))
    np.testing.assert_array_equal(first.score_samples(TEST), second.score_samples(TEST))


# What time allows depends on the machine.
@pytest.mark.parametrize("name", [name for name in OTHERS if name != "time"])
@pytest.mark.filterwarnings("ignore:.*repeated values", "ignore:max_")
def test_processes_fit_as_well_as_one_with_all_rows(others, name):
    params, X, X_val = OTHERS[name]
    together = JKOFlowDensity.load(others / f"{name}-0")
    alone = JKOFlowDensity(**{**MODEST, **params}).fit(X, X_val=X_val)
    np.testing.assert_array_equal(together.noise_width_, alone.noise_width_)
    difference = together.score_samples(TEST) - alone.score_samples(TEST)
    assert abs(difference.mean()) < (0.15 if name == "few" else 0.06)


def disk_is_full(self, training):
    raise OSError("full")


def always_held_out(X):
    """Two copies of the row that is held out first."""
    seed = np.random.RandomState(FULL["random_state"]).randint(2**31 - 1)
    for row in X:
        if held_out_mask(hash_rows(np.r_[X, [row, row]]), 0.002, seed)[-2:].all():
            return np.array([row, row])
    raise AssertionError


def fit_with_a_failure(rank, folder, what):
    """One of the two fails before the training; each writes what was raised."""
    X, params = ROWS[shard(rank, 1200)].copy(), {}
    if what == "infinite" and rank == 1:
        X[3, 0] = np.inf
    elif what == "settings":
        params["max_iter"] = 10 + rank
    elif what == "columns" and rank == 1:
        X = X[:, :1]
    elif what == "checkpoint":
        params["checkpoint"] = folder / "no folder" / "fit"
    elif what == "bounds":
        params["columns"] = {0: (None, 100.0)}
    elif what == "condition":
        params["condition"] = [0]
    elif what == "gaps":
        X[5, 1] = np.nan
    elif what == "no rows" and rank == 1:
        X = always_held_out(ROWS[:1200])
    elif what == "callback":
        reports.Reports.block_ended = disk_is_full
    try:
        JKOFlowDensity(**{**FULL, **params}).fit(X, process_group=group())
    except (OSError, RuntimeError, ValueError) as error:
        (folder / f"{what}-{rank}").write_text(f"{type(error).__name__}: {error}", encoding="utf-8")


FAILURES = {
    "infinite": ("RuntimeError: process 1 of the group failed with ValueError.*inf", "ValueError"),
    "callback": ("OSError: full", "RuntimeError: process 0 of the group failed with OSError: full"),
    "no rows": (
        "RuntimeError: process 1 .* of the 2 rows of process 1 none is left to train on",
        "ValueError: of the 2 rows of process 1 none is left to train on",
    ),
    "settings": (r"ValueError: .* differ in max_iter: 10, 11",) * 2,
    "columns": (r"ValueError: .* differ in the number of columns of X: 2, 1",) * 2,
    "checkpoint": (
        "ValueError: checkpoint=.* must name a file",
        "RuntimeError: process 0 of the group failed with ValueError: checkpoint=.*",
    ),
    "bounds": ("ValueError: columns=.* is not supported with a process group",) * 2,
    "condition": (r"ValueError: condition=\[0\] is not supported with a process group",) * 2,
    "gaps": ("ValueError: X or X_val has missing values",) * 2,
}


def fail_all(rank, folder):
    block_ended = reports.Reports.block_ended
    for what in FAILURES:
        fit_with_a_failure(rank, folder, what)
        reports.Reports.block_ended = block_ended


def test_an_error_of_one_is_one_in_both(tmp_path):
    in_two_processes(fail_all, tmp_path)
    for what, messages in FAILURES.items():
        for rank, message in enumerate(messages):
            told = (tmp_path / f"{what}-{rank}").read_text(encoding="utf-8")
            assert re.match(message, told, re.DOTALL), (what, rank, told)


@in_plain_axes
def fit_until_one_goes(rank, folder, how, checkpoint):
    """The second process ends, or sleeps, at its second block; the first writes what it saw."""
    run, trained = BlockTraining.run, []

    def going(*args):
        if rank == 1 and len(trained) == 1:
            if how == "ends":
                os._exit(0)
            time.sleep(SHORT_TIMEOUT + 5)
            os._exit(0)
        trained.append(time.monotonic())
        return run(*args)

    BlockTraining.run = going
    model = JKOFlowDensity(**{**FULL, "max_blocks": 3}, checkpoint=checkpoint)
    try:
        model.fit(ROWS[shard(rank, 1200)], process_group=group())
    except RuntimeError as error:
        waited = time.monotonic() - trained[1]
        (folder / "seen").write_text(f"{waited}\n{error}", encoding="utf-8")
        os._exit(0)  # there is no group to leave


@in_plain_axes
@pytest.mark.parametrize(("how", "limit"), [("ends", 5.0), ("sleeps", SHORT_TIMEOUT + 3.0)])
def test_the_fit_raises_when_a_process_is_lost_and_one_alone_goes_on(tmp_path, how, limit):
    checkpoint = tmp_path / "fit.safetensors"
    in_two_processes(fit_until_one_goes, tmp_path, how, checkpoint, timeout=SHORT_TIMEOUT)
    waited, told = (tmp_path / "seen").read_text(encoding="utf-8").split("\n", 1)
    assert float(waited) < limit
    assert "process 0 of 2 lost another one" in told
    content = checkpoint.read_bytes()
    model = JKOFlowDensity(**{**FULL, "max_blocks": 3}, checkpoint=checkpoint).fit(ROWS)
    whole = JKOFlowDensity(**{**FULL, "max_blocks": 3}).fit(ROWS)
    assert checkpoint.read_bytes() != content
    np.testing.assert_allclose(
        model.score_samples(ROWS), whole.score_samples(ROWS), rtol=0, atol=1e-4
    )
    assert model.history_[0].seconds != whole.history_[0].seconds


def fit_and_go_on(rank, folder):
    """Fits that go on after their first block, and are pooled; and whole ones to compare."""
    for name, n_pooled in {"unequal": shards.MAX_POOLED, "pooled": 1000}.items():
        shards.MAX_POOLED = n_pooled
        settings = {**FULL, "batch_size": 64}
        own = ROWS[shard(rank, 700)]
        whole = JKOFlowDensity(**settings).fit(own, process_group=group())
        parted = JKOFlowDensity(**settings, checkpoint=folder / f"{name}.checkpoint")
        block_ended = reports.Reports.block_ended
        reports.Reports.block_ended = stop_after(block_ended)
        parted.fit(own, process_group=group())
        reports.Reports.block_ended = block_ended
        parted.fit(own, process_group=group())
        for kind, model in {"whole": whole, "parted": parted}.items():
            model.save(folder / f"{name}-{kind}-{rank}")


def stop_after(block_ended):
    def stopping(self, training):
        block_ended(self, training)
        return True

    return stopping


@pytest.fixture(scope="module")
def gone_on(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gone_on")
    in_two_processes(fit_and_go_on, folder)
    return folder


@pytest.mark.parametrize("name", ["unequal", "pooled"])
def test_a_fit_that_goes_on_ends_as_if_nothing_had_happened(gone_on, name):
    first, *others = (
        JKOFlowDensity.load(gone_on / f"{name}-{kind}-{rank}").score_samples(TEST)
        for kind in ("whole", "parted")
        for rank in range(SIZE)
    )
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_the_pool_does_not_depend_on_where_rows_lie(gone_on, tmp_path, monkeypatch):
    """A group of one goes on where one of two was; a fit without a group is refused."""
    monkeypatch.setattr(shards, "MAX_POOLED", 1000)
    checkpoint = gone_on / "pooled.checkpoint"
    model = JKOFlowDensity(**{**FULL, "batch_size": 64}, checkpoint=checkpoint)
    with pytest.raises(ValueError, match="made with process_group='any'"):
        model.fit(ROWS)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        model.fit(ROWS[::-1], process_group=group())
    finally:
        torch.distributed.destroy_process_group()
    # All blocks are in the file.
    expected = JKOFlowDensity.load(gone_on / "pooled-whole-0")
    np.testing.assert_allclose(model.score_samples(TEST), expected.score_samples(TEST), atol=1e-9)


def share_of_a_sampled_shard(rank, folder):
    reservoir.MAX_NUMBERS = 2 * 600
    seen = []
    train_flow = course.train_flow

    def listening(*args, **kwargs):
        seen.append(kwargs["processes"].share)
        return train_flow(*args, **kwargs)

    course.train_flow = listening
    X = two_moons(9000, 1) if rank == 0 else two_moons(600, 2)
    weighed = {"sample_weight": np.full(len(X), 2.0 + rank)}
    for options in ({}, weighed):
        JKOFlowDensity(**{**FULL, "max_blocks": 1}).fit(X, process_group=group(), **options)
    (folder / f"{rank}").write_text(" ".join(map(str, seen)), encoding="utf-8")


def test_a_sampled_shard_stands_for_all_its_rows(tmp_path):
    in_two_processes(share_of_a_sampled_shard, tmp_path)
    plain, weighed = map(float, (tmp_path / "0").read_text(encoding="utf-8").split())
    assert plain == pytest.approx(9000 / 9600, abs=0.005)
    assert weighed == pytest.approx(18_000 / 19_800, abs=0.005)


@in_plain_axes
def test_a_group_of_one_is_a_fit_alone(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        model = JKOFlowDensity(**FULL).fit(ROWS, process_group=group())
    finally:
        torch.distributed.destroy_process_group()
    scores = JKOFlowDensity(**FULL).fit(ROWS).score_samples(ROWS)
    np.testing.assert_allclose(model.score_samples(ROWS), scores, rtol=0, atol=3e-5)


@pytest.mark.parametrize(("n", "size"), [(10, 3), (2, 5), (0, 2)])
def test_parts_of_the_processes_are_all_things_in_order(n, size):
    found = []
    for rank in range(size):
        processes = Processes()
        processes.rank, processes.world_size = rank, size
        found += range(n)[processes.own_slice(n)]
    assert found == list(range(n))


def test_an_interrupt_in_one_process_is_told_to_the_others():
    """They waited for the whole timeout of the group."""
    group, told = Group.__new__(Group), []
    group.all_gather = told.append
    with pytest.raises(KeyboardInterrupt), group.failing_together():
        raise KeyboardInterrupt
    assert told == ["KeyboardInterrupt: "]


@pytest.mark.parametrize(("size", "is_told"), [("2", True), ("1", False)])
def test_a_process_of_torchrun_without_a_group_is_told(monkeypatch, size, is_told):
    """Each process fitted its own rows without a word: `group.WORLD` was None still."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", size)
    X = np.random.default_rng(0).normal(size=(20, 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        JKOFlowDensity("standard", max_blocks=0).fit(X)
    assert [str(w.message)[:18] for w in caught] == ["process_group=None"] * is_told
