"""Laws of reparameterisation and refinement."""

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import VELOCITY_CASES, make_velocity, normal_rows
from test_training import SMALL, judges, train, true_nll, two_clusters, weights

from sklearn_jko.flow import JKOBlock, JKOFlow
from sklearn_jko.step_sizes import geometric_step
from sklearn_jko.training import flow_training
from sklearn_jko.training.block_training import BlockTraining
from sklearn_jko.training.refinement import are_even, halved, next_round, respread

REFINED = replace(
    SMALL,
    step_size=functools.partial(geometric_step, first=0.2, growth=2.0),
    max_blocks=3,
    tol=0.0,
    n_refinements=2,
)


@pytest.fixture(scope="module")
def rows():
    return two_clusters(600, 0), two_clusters(200, 1)


@pytest.fixture(scope="module")
def refined(rows):
    return train(*rows, REFINED)


@pytest.mark.parametrize("case", VELOCITY_CASES, ids=str)
def test_two_halves_are_the_block(case):
    """Each half with as many steps takes the very steps of the whole with twice as many."""
    block, x = JKOBlock(make_velocity(case), 0.0, 1.0), normal_rows(5, 3)
    halves, sizes = halved([block], [0.5])
    assert sizes == [0.25, 0.25]
    whole = JKOFlow([block], n_steps=8)(x)
    in_two = JKOFlow(halves, n_steps=4)(x)
    for expected, got in zip(whole, in_two, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert halves[0].velocity is not halves[1].velocity
    assert halves[0].velocity is not block.velocity


def test_halves_of_halves_are_quarters():
    block = JKOBlock(make_velocity(("mlp", (3,))))
    quarters, sizes = halved(*halved([block], [math.inf]))
    assert [(b.t0, b.t1) for b in quarters] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
    assert sizes == [0.5, 0.5, 1.0, math.inf]


def test_respread_by_hand():
    """Mean 2: the first block's h times (1 + 2/1) / 2, the second's times (1 + 2/3) / 2."""
    assert respread([0.4, 1.2], [1.0, 3.0]) == pytest.approx([0.6, 1.0])
    assert respread([0.4, math.inf], [1.0, 3.0]) == pytest.approx([0.6, math.inf])
    assert respread([0.4, 1.2], [2.0, 2.0]) == pytest.approx([0.4, 1.2])


def test_repeated_respreading_evens_out():
    """Where a block goes as far as its step size says, the law has one fixed point."""
    speed, sizes = np.array([3.0, 1.0, 0.2]), [1.0, 1.0, 1.0]
    for _ in range(30):
        sizes = respread(sizes, speed * sizes)
    assert are_even(speed * sizes)
    assert np.ptp(speed * sizes) < 1e-6


def test_even_movements_are_halved_and_uneven_ones_respread():
    blocks = [JKOBlock(make_velocity(("mlp", (3,)), seed=seed)) for seed in (0, 1)]
    halves = next_round(blocks, [0.5, math.inf], [1.0, 0.5])
    assert [h for _, h in halves] == [0.25, 0.25, 1.0, math.inf]
    again = next_round(blocks, [0.5, 1.0], [1.0, 0.1])
    assert [h for _, h in again] == pytest.approx([0.5 * (1 + (0.55 - 1) / 2), math.inf])
    for (copied, _), block in zip(again, blocks, strict=True):
        assert copied.velocity is not block.velocity
        assert torch.equal(weights(copied), weights(block))


def test_history_tells_every_round(refined):
    _, history = refined
    rounds = [[r for r in history if r.refinement == k] for k in range(3)]
    assert len(rounds[0]) == 3
    assert rounds[1]
    assert [record.refinement for record in history] == sorted(r.refinement for r in history)
    assert all(math.isinf(records[-1].h) for records in rounds[1:] if records)
    # Of the first block nothing has moved before; a refined one starts where it was.
    assert history[0].movement_before == 0
    before = [record.movement for record in rounds[0] if record.kept]
    after = [record.movement_before for record in rounds[1]]
    n_halves = len(after) // len(before)
    assert n_halves in (1, 2)
    assert after[0] == pytest.approx(before[0] / n_halves**2, rel=0.5)


def test_a_refined_flow_has_the_likelihood_of_its_best_round(refined, rows):
    flow, history = refined
    last = {record.refinement: record.validation_nll for record in history}  # of each round
    gap = true_nll(flow, rows[1]) - min(last.values())
    assert abs(gap) < 2 * len(flow.blocks) * REFINED.max_solver_error


def test_refinement_is_no_worse_on_the_held_out_rows(refined, rows):
    plain, history = train(*rows, replace(REFINED, n_refinements=0))
    assert true_nll(refined[0], rows[1]) < true_nll(plain, rows[1]) + 0.02
    first = [record for record in refined[1] if record.refinement == 0]
    assert [record.validation_nll for record in history] == [r.validation_nll for r in first]


def test_a_round_without_gain_is_undone_and_the_last(rows, monkeypatch):
    monkeypatch.setattr(flow_training, "MIN_GAIN", math.inf)
    plain, _ = train(*rows, replace(REFINED, n_refinements=0))
    flow, history = train(*rows, REFINED)
    assert {record.refinement for record in history} == {0, 1}
    assert torch.equal(weights(flow), weights(plain))


def test_nothing_is_refined_where_no_block_was_kept():
    x, held_out = 3 * normal_rows(400, 2, 0).float() + 2, normal_rows(100, 2, 1).float()
    flow, history = train(x, held_out, replace(REFINED, velocity="linear", hidden_layer_sizes=()))
    assert len(flow.blocks) == 0
    assert {record.refinement for record in history} == {0}
    flow, history = train(x, normal_rows(0, 2).float(), REFINED)
    assert len(flow.blocks) == len(history) == 0


def test_rounds_share_the_time(rows, monkeypatch):
    """Of 90 seconds for three rounds the first gets 30, and each of its blocks no more."""
    given = []

    def spy(training, generator, seconds, observer):
        given.append(seconds)
        return run(training, generator, seconds, observer)

    run = BlockTraining.run
    monkeypatch.setattr(BlockTraining, "run", spy)
    options = replace(REFINED, max_iter=5)
    start = flow_training.time.monotonic()
    generator = torch.Generator().manual_seed(0)
    flow_training.train_flow(rows[0], judges(rows[1]), options, generator, start + 90)
    assert given[0] == pytest.approx(15, abs=1)
    assert given[2] < 31
