"""Fits to so few rows that held-out ones cannot judge a block."""

import time
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import lognorm

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.training import pilot
from sklearn_jko.training.automatic import training_options


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3))


@pytest.mark.parametrize("n", [2, 3, 8, 26])
@pytest.mark.parametrize("d", [1, 3, 40])
def test_no_block_is_tried(n, d):
    X = np.random.default_rng(0).normal(size=(n, d))
    density = JKOFlowDensity(random_state=0).fit(X)
    assert density.history_ == []
    assert np.isfinite(density.score_samples(X)).all()
    assert density.inversion_error_ < 1e-6


def test_of_more_rows_blocks_are_tried():
    density = JKOFlowDensity("standard", max_blocks=1, max_iter=2, random_state=0)
    assert len(density.fit(rows(27)).history_) == 1


def lognormal(n, seed):
    return np.exp(np.random.default_rng(seed).normal(size=(n, 8)))


@pytest.mark.parametrize("seed", [2, 6])
def test_of_eight_rows_the_density_is_no_wild_guess(seed):
    """Blocks, where they were tried, lost 10 and 15 nats here."""
    X = lognormal(2000, seed=1)
    truth = lognorm(1.0).logpdf(X).sum(axis=1).mean()
    density = JKOFlowDensity(random_state=0).fit(lognormal(8, seed))
    assert truth - density.score_samples(X).mean() < 6.0


def test_judges_that_are_too_few_are_told():
    density = JKOFlowDensity("standard", max_iter=2, random_state=0)
    with pytest.warns(UserWarning, match="X_val has 6 rows, too few"):
        density.fit(rows(100), X_val=rows(6, seed=1))
    assert density.history_ == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        density.set_params(max_blocks=0).fit(rows(100), X_val=rows(6, seed=1))


@pytest.mark.filterwarnings("ignore:.*repeated values")
@pytest.mark.parametrize(
    ("n", "copies", "n_val", "copies_val", "message"),
    [
        (4, 100, 0, 1, "X has 400 rows, at most 4 of them different, which leaves 1 held"),
        (1, 100, 0, 1, "X has 100 rows, at most 1 of them different, which leaves 0 held"),
        (100, 1, 4, 100, "X_val has 4 rows apart from copies, too few"),
    ],
)
def test_copies_that_leave_no_rows_to_judge_by_are_told(n, copies, n_val, copies_val, message):
    """Nothing was trained then, without a word, or with one that counts copies."""
    X, X_val = rows(n).repeat(copies, axis=0), rows(n_val, seed=1).repeat(copies_val, axis=0)
    density = JKOFlowDensity("standard", max_iter=2, random_state=0)
    with pytest.warns(UserWarning, match=message):
        density.fit(X, X_val=X_val if n_val else None)
    assert density.history_ == []


def test_a_share_of_nearly_all_leaves_rows_to_train_on():
    """No row was held out then, no block trained, and no word said."""
    density = JKOFlowDensity(
        "standard", validation_fraction=0.999, max_blocks=1, max_iter=2, random_state=0
    )
    assert len(density.fit(rows(1000)).history_) == 1
    assert len(density.validation_indices_) == 998


def test_a_detector_holds_rows_out_all_the_same():
    X = rows(20)
    detector = JKOFlowOutlierDetector(random_state=0).fit(X)
    held_out = detector.density_.validation_indices_
    assert len(held_out) == len(detector.calibration_scores_) == 5
    assert detector.predict([[100.0, -100.0, 100.0]]) == [-1]


@pytest.mark.parametrize(("max_time", "n_asked"), [(np.inf, 7), (1e-3, 1)])
def test_scalings_are_tried_in_time(monkeypatch, max_time, n_asked):
    """They took 10 seconds where half a second was allowed."""
    asked = []

    def nll(make, name, base, X):
        asked.append(name)
        time.sleep(0.01)
        return torch.full((len(X),), float(len(asked)))

    monkeypatch.setattr(pilot, "_cross_validated_nll", nll)
    options = training_options(JKOFlowDensity(max_blocks=0), 50, d=3, n_held_out=0)
    args = rows(50), rows(0), options, 0, torch.device("cpu"), max_time
    assert set(pilot.choose_scaling(*args)) == {"marginal+whiten"}
    assert len(asked) == n_asked


@pytest.mark.parametrize(("n", "chooses"), [(2, False), (31, False), (32, True)])
def test_the_scaling_of_few_rows_is_not_chosen_by_them(monkeypatch, n, chooses):
    asked = []
    monkeypatch.setattr(
        pilot, "_cross_validated_nll", lambda *args: asked.append(1) or torch.ones(n)
    )
    options = training_options(JKOFlowDensity(max_blocks=0), n, d=3, n_held_out=0)
    choice = pilot.choose_scaling(rows(n), rows(0), options, 0, torch.device("cpu"))
    assert bool(asked) == chooses
    assert chooses or set(choice) == {"marginal+whiten"}
