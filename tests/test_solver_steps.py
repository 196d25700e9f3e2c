"""How many solver steps the blocks of a flow get."""

import math
import time

import numpy as np
import pytest
import torch
from reference import make_velocity, normal_rows

from sklearn_jko import JKOFlowDensity, solver_steps
from sklearn_jko.bases import StandardNormal
from sklearn_jko.flow import JKOBlock, JKOFlow
from sklearn_jko.solver_steps import calibrate_steps, n_measurable, with_draws
from sklearn_jko.velocities.mlp import MLPVelocity


def make_flow(*sizes, solver="dop853"):
    """Blocks whose parameters are of these sizes: the larger, the stiffer."""
    blocks = [JKOBlock(make_velocity(("mlp", (7, 5)), 2, k, size)) for k, size in enumerate(sizes)]
    return JKOFlow(blocks, solver=solver)


@torch.no_grad()
@pytest.mark.parametrize("solver", ["dop853", "rk4"])
def test_each_block_gets_the_steps_it_needs(solver):
    flow, x = make_flow(0.1, 1.5, 0.3, solver=solver), normal_rows(150, 2)
    n_steps, error, round_trip = calibrate_steps(flow, x, 1e-3)
    easy, stiff, moderate = n_steps
    assert easy < stiff
    assert moderate < stiff
    assert error <= 0.5e-3
    true = flow.log_prob(x, 64)
    assert (flow.log_prob(x, n_steps) - true).abs().max() < 1e-3
    back = flow.inverse(flow.transform(x, n_steps), n_steps)
    assert torch.equal(back, round_trip)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-6)


def test_no_more_rows_are_measured_than_time_allows():
    """Errors of a wide network took 364 seconds where a fit was allowed two."""
    flow, x = make_flow(0.5), normal_rows(400, 2)
    assert n_measurable(flow, x, math.inf) == n_measurable(flow, x, time.monotonic() + 600) == 400
    assert n_measurable(flow, x, time.monotonic() - 1) == 100
    assert n_measurable(JKOFlow(), x, time.monotonic() - 1) == 400


def test_few_rows_are_measured_once():
    flow, sizes = make_flow(0.1), []
    flow.blocks[0].register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    solver_steps._fewest_steps(flow, normal_rows(50, 2), 1.0)
    assert sizes == [50, 50]  # with one step and two


@pytest.mark.parametrize(("deadline", "n"), [(6.0, 400), (5.0, 100), (1e307, 400)])
def test_a_coarse_clock_may_show_no_time(deadline, n, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    assert n_measurable(make_flow(0.5), normal_rows(400, 2), deadline) == n


@torch.no_grad()
def test_draws_have_the_inputs_of_the_rows_beside_which_they_stand():
    velocity = MLPVelocity(3, (5, 5), torch.Generator().manual_seed(0), n_given=1).double()
    velocity.out_weight.data.normal_(generator=torch.Generator().manual_seed(1))
    flow = JKOFlow([JKOBlock(velocity)], base=StandardNormal(n_given=1))
    x = normal_rows(400, 3)
    rows = with_draws(flow, x)
    assert torch.equal(rows[:400], x)
    assert torch.equal(rows[400:, 2], x[:100, 2])
    latent = flow.transform(rows[400:], 2)[:, :2]
    assert latent.mean().abs() < 0.25
    assert latent.std() == pytest.approx(1, abs=0.15)


def test_scores_of_draws_stand_too():
    """Of rows with one far from all others, too few steps were taken for what lies between."""
    X = np.append(np.random.default_rng(0).normal(size=299), 1e9)[:, None]
    density = JKOFlowDensity("mixture", max_iter=100, random_state=0).fit(X)
    drawn = density.sample(1000, random_state=1)
    scores = density.score_samples(drawn)
    density.flow_.n_steps = 2 * np.asarray(density.flow_.n_steps)
    changes = np.abs(density.score_samples(drawn) - scores)
    assert (changes > density.solver_tol).mean() < 0.01


def test_what_cannot_be_solved_gets_the_finest_steps():
    n_steps, error, _ = calibrate_steps(
        make_flow(0.1, 50.0, solver="midpoint"), normal_rows(9, 2), 1e-3
    )
    assert n_steps.tolist() == [64, 64]
    assert error > 1e-3


def test_flow_without_blocks_has_no_error():
    x = normal_rows(20, 2)
    n_steps, error, round_trip = calibrate_steps(make_flow(), x, 1e-3)
    assert len(n_steps) == 0
    assert error == 0
    assert torch.equal(round_trip, x)


def test_what_ends_in_nothing_is_an_error():
    class Broken(JKOFlow):
        def log_prob(self, x, n_steps=None):
            return x.new_full((len(x),), np.nan)

    n_steps, error, _ = calibrate_steps(Broken(make_flow(0.1).blocks), normal_rows(9, 2), 1e-3)
    assert n_steps.tolist() == [64]
    assert error > 1e300
