"""Laws of the flow, over solvers and velocities."""

import math

import pytest
import torch
from reference import VELOCITY_CASES, affine_map, jacobians, log_dets, make_velocity, normal_rows

from sklearn_jko.bases import StandardNormal
from sklearn_jko.divergence import exact
from sklearn_jko.flow import JKOBlock, JKOFlow
from sklearn_jko.solvers import SOLVERS

# Steps at which a solver's error is far below the tolerances here.
STEPS = {"midpoint": 400, "rk4": 30, "dopri5": 1}
every_velocity = pytest.mark.parametrize("case", VELOCITY_CASES, ids=str)
every_solver = pytest.mark.parametrize("solver", SOLVERS)


def make_flow(case, n_features=2, solver="rk4", n_steps=None, size=0.5):
    blocks = [JKOBlock(make_velocity(case, n_features, seed, size)) for seed in (0, 1)]
    return JKOFlow(blocks, solver=solver, n_steps=n_steps or STEPS.get(solver, 100))


@torch.no_grad()
@every_velocity
@every_solver
def test_inverse_undoes_the_map(case, solver):
    flow, x = make_flow(case, solver=solver), normal_rows(20, 2)
    y, _ = flow(x)
    assert (y - x).norm(dim=1).min() > 0.01
    torch.testing.assert_close(flow.inverse(y), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(flow.transform(x), y, rtol=0, atol=1e-6)


@torch.no_grad()
@every_velocity
@pytest.mark.parametrize("solver", ["midpoint", "rk4"])
def test_inverse_undoes_a_coarse_map_to_rounding(case, solver):
    """Where solving backward is off by much, and whatever the other rows of the call."""
    flow, x = make_flow(case, solver=solver, n_steps=2), normal_rows(20, 2)
    y = flow.transform(x)
    solved_backward = y
    for block in reversed(flow.blocks):
        solved_backward = block.inverse(solved_backward, SOLVERS[solver], 2)
    assert (solved_backward - x).abs().max() > 1e-6
    lost = torch.full((1, 2), math.nan, dtype=torch.float64)
    back = flow.inverse(torch.cat([y, lost, 1e300 * y[:1]]))
    torch.testing.assert_close(back[:20], x, rtol=0, atol=1e-9)


@every_velocity
@every_solver
def test_log_det_is_that_of_the_whole_map(case, solver):
    flow, x = make_flow(case, solver=solver), normal_rows(2, 2)
    with torch.no_grad():
        _, log_det = flow(x)
    torch.testing.assert_close(log_det, log_dets(flow.transform, x), rtol=0, atol=1e-5)


@torch.no_grad()
@every_velocity
def test_density_integrates_to_one(case):
    flow = make_flow(case, n_steps=4)
    axis = torch.linspace(-12, 12, 161, dtype=torch.float64)
    log_prob = flow.log_prob(torch.cartesian_prod(axis, axis))
    assert abs(float(log_prob.exp().sum() * (axis[1] - axis[0]) ** 2) - 1) < 2e-3


@torch.no_grad()
@every_velocity
@every_solver
def test_halving_a_block_changes_nothing(case, solver):
    velocity, x = make_velocity(case, 2), normal_rows(20, 2)
    n_steps = 8
    halves = [JKOBlock(velocity, 0.0, 0.5), JKOBlock(velocity, 0.5, 1.0)]
    whole = JKOFlow([JKOBlock(velocity)], solver=solver, n_steps=2 * n_steps)
    split = JKOFlow(halves, solver=solver, n_steps=n_steps)
    for ours, theirs in zip(split(x), whole(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(split.inverse(x), whole.inverse(x), rtol=0, atol=1e-6)
    assert len(list(split.parameters())) == len(list(whole.parameters()))


@torch.no_grad()
@every_velocity
def test_a_row_does_not_depend_on_its_batch(case):
    flow, x = make_flow(case), normal_rows(5, 2)
    alone = torch.cat([flow.log_prob(row[None]) for row in x])
    torch.testing.assert_close(alone, flow.log_prob(x), rtol=1e-12, atol=1e-12)


def test_flow_without_blocks_is_the_base():
    flow, x = JKOFlow(), normal_rows(5, 3)
    y, log_det = flow(x)
    assert torch.equal(y, x)
    assert torch.equal(log_det, torch.zeros(5, dtype=torch.float64))
    assert torch.equal(flow.transform(x), x)
    assert torch.equal(flow.inverse(x), x)
    assert torch.equal(flow.log_prob(x), flow.base.log_prob(x))


def test_standard_normal_is_that_of_torch():
    x = normal_rows(5, 3)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)
    torch.testing.assert_close(StandardNormal().log_prob(x), expected)


@torch.no_grad()
def test_density_of_a_linear_flow_is_gaussian():
    velocity, x = make_velocity(("linear", ())), normal_rows(5, 3)
    matrix, shift = map(torch.from_numpy, affine_map(velocity, 1.0))
    inverse = torch.linalg.inv(matrix)
    expected = torch.distributions.MultivariateNormal(-inverse @ shift, inverse @ inverse.T)
    flow = JKOFlow([JKOBlock(velocity)], n_steps=50)
    torch.testing.assert_close(flow.log_prob(x), expected.log_prob(x), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_samples_of_a_linear_flow_have_its_moments():
    velocity = make_velocity(("linear", ()), 2)
    matrix, shift = map(torch.from_numpy, affine_map(velocity, 1.0))
    inverse = torch.linalg.inv(matrix)
    n = 100_000
    flow = JKOFlow([JKOBlock(velocity)], n_steps=8)
    x = flow.inverse(flow.base.sample((n, 2), torch.Generator().manual_seed(0)))
    covariance = inverse @ inverse.T
    error = 5 * float(torch.trace(covariance)) / math.sqrt(n)  # some five standard errors
    torch.testing.assert_close(x.mean(0), -inverse @ shift, rtol=0, atol=error)
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0, atol=2 * error)


@torch.no_grad()
@every_velocity
def test_samples_depend_on_the_generator_alone(case):
    flow = make_flow(case, n_steps=2)
    before = torch.random.get_rng_state()
    first, again, other = (
        flow.inverse(flow.base.sample((6, 2), torch.Generator().manual_seed(seed)))
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.shape == (6, 2)
    assert first.dtype == torch.float64
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@torch.no_grad()
@every_velocity
def test_block_interval_scales_the_time(case):
    """To first order in its length a block moves rows by the length times the velocity."""
    velocity, x = make_velocity(case, 2), normal_rows(5, 2)
    block = JKOBlock(velocity, 0.4, 0.4 + 1e-4)
    y, log_det = block(x, SOLVERS["rk4"], 1, exact)
    torch.testing.assert_close((y - x) / 1e-4, velocity(0.4, x), rtol=1e-3, atol=1e-3)
    trace = jacobians(lambda r: velocity(0.4, r), x).diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(log_det / 1e-4, trace, rtol=1e-3, atol=1e-3)


@torch.no_grad()
@every_velocity
def test_state_dict_round_trip(case):
    flow, x = make_flow(case), normal_rows(5, 2)
    copy = JKOFlow(
        [JKOBlock(make_velocity(case, 2, seed)) for seed in (5, 6)], n_steps=flow.n_steps
    )
    copy.load_state_dict(flow.state_dict())
    assert torch.equal(copy.log_prob(x), flow.log_prob(x))
