"""When the training of a block warms up, is evaluated, cools down on trial and at the end."""

from dataclasses import replace

import numpy as np
import pytest
from options import tiny_options

from sklearn_jko.training.pace import MAX_SOLVER_STEPS, Pace
from sklearn_jko.training.schedule import LONG

SMALL = tiny_options(batch_size=200)
LONGER = replace(SMALL, max_iter=3 * LONG)


def advance(pace, n):
    for _ in range(n):
        pace.step()


@pytest.mark.parametrize(
    ("solver_steps", "share"), [(1, 1.0), (2, 1.0), (4, 1 / 2), (MAX_SOLVER_STEPS, 1 / 16)]
)
def test_a_stiff_block_learns_slower(solver_steps, share):
    pace = Pace(replace(SMALL, solver_steps=solver_steps), 200, 50)
    plateau = max(pace.learning_rate(k) for k in range(pace.end))
    assert plateau == pytest.approx(share * SMALL.learning_rate)


@pytest.mark.parametrize("batch_size", [1, 10, 100])
def test_small_batches_are_evaluated_often_enough_to_end_early(batch_size):
    options = replace(SMALL, batch_size=batch_size, max_iter=400)
    pace = Pace(options, 8000, 4000)
    assert 2 * options.patience <= pace.end // pace.schedule.period(0) <= options.n_evaluations


def test_evaluations_keep_their_distance_where_the_schedule_changes():
    pace = Pace(replace(SMALL, max_iter=4000), 200, 50)
    evaluated, periods = [0], []
    for k in range(1, 240):
        pace.step()
        if k % 5 == 0:
            pace.keep_to(50.0, 0.1 * k * (1 + (k % 25) / 25))
        if pace.evaluation_is_due:
            periods.append(pace.schedule.period(k))
            evaluated.append(k)
            pace.count_evaluation(True)
    assert (np.diff(evaluated) >= periods).all()
    assert len(set(periods)) > 1


def test_time_ends_training():
    pace = Pace(LONGER, 200, 50)
    advance(pace, 10)
    pace.keep_to(10.0, 1.0)
    assert pace.end == 100
    pace.keep_to(10.0, 10.0)
    assert pace.finished


@pytest.mark.parametrize("elapsed", [0.0, 1e-3])
def test_much_time_is_time_for_all_steps(elapsed):
    pace = Pace(LONGER, 200, 50)
    advance(pace, 10)
    pace.keep_to(1e308, elapsed)
    assert pace.end == LONGER.max_iter


def test_overfitting_cools_down_once_and_then_ends():
    pace = Pace(replace(SMALL, max_iter=1000), 200, 50)
    advance(pace, 300)
    for _ in range(SMALL.patience):
        assert not pace.is_stuck
        pace.count_evaluation(False)
    assert pace.is_stuck
    assert pace.end_plateau()
    assert pace.overfits
    assert pace.end == 300 + 120
    assert pace.learning_rate(300) == SMALL.learning_rate > pace.learning_rate(419) > 0
    assert not pace.end_plateau()
    assert pace.finished


def test_what_overfits_has_no_trial_cooldown():
    pace = Pace(LONGER, 200, 50)
    advance(pace, 600)
    assert pace.trial_cooldown_begins
    assert pace.end_plateau()
    assert not pace.trial_cooldown_begins


def test_what_was_not_seen_twice_is_not_learned_by_heart():
    pace = Pace(replace(SMALL, max_iter=1000), 40_000, 50)
    advance(pace, 300)
    for _ in range(SMALL.patience):
        pace.count_evaluation(False)
    assert not pace.is_stuck
    advance(pace, 101)  # of the 200 of an epoch
    assert pace.is_stuck


def test_a_trial_cooldown_returns_to_the_plateau_and_the_next_is_longer():
    pace = Pace(replace(SMALL, max_iter=9 * LONG), 200, 50)
    advance(pace, 599)
    assert not pace.trial_cooldown_begins
    advance(pace, 1)
    assert pace.trial_cooldown_begins
    pace.begin_trial_cooldown()
    advance(pace, 399)
    assert pace.learning_rate(pace.n_iter) < 0.01 * SMALL.learning_rate
    assert not pace.trial_cooldown_ends
    advance(pace, 1)
    assert pace.trial_cooldown_ends
    pace.end_trial_cooldown(goes_on=True)
    assert pace.learning_rate(pace.n_iter) == SMALL.learning_rate
    assert (pace.n_iter, pace.n_trained) == (1000, 600)
    advance(pace, 1199)
    assert not pace.trial_cooldown_begins
    advance(pace, 1)
    assert pace.trial_cooldown_begins


def test_a_trial_cooldown_that_gains_nothing_ends_training():
    pace = Pace(LONGER, 200, 50)
    advance(pace, 600)
    pace.begin_trial_cooldown()
    advance(pace, 400)
    pace.end_trial_cooldown(goes_on=False)
    assert pace.finished
    assert pace.overfits


def test_a_trial_cooldown_may_begin_late():
    """Where the time seemed short at first; the rate must not turn negative then."""
    pace = Pace(replace(SMALL, max_iter=10_000), 200, 50)
    advance(pace, 1200)
    pace.schedule_until(3999)
    assert not pace.trial_cooldown_begins
    pace.schedule_until(4000)
    assert pace.trial_cooldown_begins
    pace.begin_trial_cooldown()
    rates = [pace.learning_rate(k) for k in range(1200, pace.cooldown_end)]
    assert pace.cooldown_end == 2000
    assert rates[0] == SMALL.learning_rate > rates[-1] > 0


def test_a_trial_cooldown_that_becomes_dear_still_cools_down_to_nothing():
    """Finer solvers leave fewer steps, and the rate at the last of them was high then."""
    pace = Pace(replace(LONGER, solver_steps=2), 200, 50)
    advance(pace, 600)
    pace.begin_trial_cooldown()
    for _ in range(3):
        advance(pace, 10)
        pace.refine_solver()
    pace.schedule_until(800)
    assert pace.end < 1000
    assert pace.learning_rate(pace.end - 1) < 0.01 * SMALL.learning_rate


def test_where_no_solver_is_accurate_training_ends():
    """Though patience has ended too: a cool-down cannot help."""
    pace = Pace(replace(SMALL, max_iter=1000, solver_steps=MAX_SOLVER_STEPS), 200, 50)
    advance(pace, 300)
    for _ in range(SMALL.patience):
        pace.count_evaluation(False)
    pace.refine_solver()
    assert pace.finished
    assert not pace.is_stuck
