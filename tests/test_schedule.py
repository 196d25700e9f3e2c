"""When a block warms up, is evaluated and cools down."""

from dataclasses import replace

import pytest
from options import tiny_options

from sklearn_jko.training.schedule import LONG, Schedule

SCHEDULE = Schedule(end=100_000, n_evaluations=20, patience=5, cost=0)


def test_up_to_a_thousand_steps_all_are_parts_of_the_schedule():
    schedule = replace(SCHEDULE, end=400)
    assert (schedule.warmup, schedule.cooldown_start) == (40, 240)
    assert [schedule.period(n) for n in (0, 100, 399)] == [20, 20, 20]


def test_longer_training_begins_as_that_of_a_thousand_steps():
    short = replace(SCHEDULE, end=LONG)
    assert SCHEDULE.warmup == short.warmup == 100
    assert SCHEDULE.period(600) == short.period(600) == 50
    assert SCHEDULE.cooldown_start == 60_000


def test_evaluations_grow_apart_with_the_steps():
    assert [SCHEDULE.period(n) for n in (1000, 2000, 50_000)] == [50, 100, 2500]


@pytest.mark.parametrize("end", [30, 400, 100_000])
@pytest.mark.parametrize("cost", [0, 30, 10_000])
def test_a_dear_evaluation_is_rare_but_never_too_rare_for_the_patience(end, cost):
    schedule = replace(SCHEDULE, end=end, cost=cost)
    assert schedule.period(0) >= min(5 * cost, end // 10)
    assert 10 * schedule.period(0) <= max(end, 10)
    assert schedule.period(end) >= schedule.period(0) >= 1


@pytest.mark.parametrize("end", [7, 50, 390, LONG])
def test_there_are_no_more_evaluations_than_are_told(end):
    assert end / replace(SCHEDULE, end=end, cost=0).period(end) <= 20


def test_the_number_of_evaluations_is_open_in_long_training():
    assert tiny_options(max_iter=LONG).max_evaluations == 20
    assert tiny_options(max_iter=LONG + 1).max_evaluations is None
