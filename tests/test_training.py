"""Laws of block-wise training, on tiny data."""

import copy
import functools
import itertools
import math
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from options import constant, tiny_options
from reference import affine_map, make_velocity, normal_rows
from threadpoolctl import threadpool_info, threadpool_limits

from sklearn_jko.bases import StandardNormal
from sklearn_jko.flow import JKOBlock, JKOFlow
from sklearn_jko.solvers import SOLVERS, TRAINING_SOLVERS
from sklearn_jko.step_sizes import geometric_step, has_settled
from sklearn_jko.training import block_training, flow_training
from sklearn_jko.training.block_training import BlockTraining, push_held_out
from sklearn_jko.training.flow_training import push_forward_, train_flow
from sklearn_jko.training.objective import jko_terms
from sklearn_jko.training.observation import Observer
from sklearn_jko.training.pace import MAX_SOLVER_STEPS
from sklearn_jko.training.scaled_rows import Rows, row_nll
from sklearn_jko.training.schedule import LONG
from sklearn_jko.velocities import MLPVelocity

MEAN = np.array([1.0, -0.5])
COVARIANCE = np.array([[1.0, 0.8], [0.8, 2.0]])
FREE = tiny_options(
    step_size=constant(math.inf),
    velocity="linear",
    hidden_layer_sizes=(),
    max_blocks=1,
    max_iter=200,
    batch_size=500,
)
SMALL = tiny_options()


def gaussian_rows(n, seed):
    root = torch.from_numpy(np.linalg.cholesky(COVARIANCE))
    return (torch.from_numpy(MEAN) + normal_rows(n, 2, seed) @ root.T).float()


def two_clusters(n, seed):
    x = 0.15 * normal_rows(n, 2, seed)
    x[::2] += torch.tensor([1.5, 0.0])
    x[1::2] -= torch.tensor([1.5, 0.0])
    return x.float()


def judges(x):
    return Rows(x, torch.zeros(len(x)))


def train(x, held_out, options, seed=0, **more):
    generator = torch.Generator().manual_seed(seed)
    flow, history, _ = train_flow(x, judges(held_out), options, generator, **more)
    return flow, history


def weights(module):
    return torch.cat([torch.zeros(0), *(p.detach().flatten() for p in module.parameters())])


def true_nll(flow, x):
    """Mean negative log-density by a fine solver in double precision."""
    blocks = [JKOBlock(block.velocity.double(), block.t0, block.t1) for block in flow.blocks]
    return float(-JKOFlow(blocks, n_steps=64).log_prob(x.double()).mean())


def test_free_linear_block_reaches_the_likelihood_of_a_gaussian():
    """The divergence from the true Gaussian to the flow's, in closed form, is the NLL's excess."""
    flow, (record,) = train(gaussian_rows(2000, 0), gaussian_rows(500, 1), FREE)
    assert record.kept
    matrix, shift = affine_map(flow.blocks[0].velocity.double(), 1.0)
    latent_mean = matrix @ MEAN + shift
    latent_covariance = matrix @ COVARIANCE @ matrix.T
    excess = 0.5 * (
        latent_mean @ latent_mean
        + np.trace(latent_covariance)
        - 2
        - np.linalg.slogdet(latent_covariance)[1]
    )
    assert excess < 0.02


def test_smaller_steps_move_less():
    moves = []
    for h in (0.1, 1.0, math.inf):
        options = replace(FREE, step_size=constant(h))
        _, (record,) = train(gaussian_rows(1000, 0), gaussian_rows(200, 1), options)
        assert record.h == pytest.approx(h)
        moves.append(record.movement)
    assert moves == sorted(moves)
    assert moves[0] < 0.3 * moves[-1]


def test_step_sizes_follow_the_schedule_and_end_free():
    sizes = functools.partial(geometric_step, first=0.2, growth=2.0)
    options = replace(SMALL, step_size=sizes, max_blocks=3, tol=0.0)
    _, history = train(two_clusters(400, 0), two_clusters(100, 1), options)
    assert [record.h for record in history] == pytest.approx([0.2, 0.4, math.inf])
    settled = replace(options, tol=math.inf)
    _, history = train(two_clusters(400, 0), two_clusters(100, 1), settled)
    assert [record.h for record in history] == pytest.approx([0.2, math.inf])


def test_dropped_blocks_leave_the_flow_unchanged():
    """What fits wide rows only harms held-out rows that are standard normal already."""
    held_out = normal_rows(200, 2, 1).float()
    x = 3 * normal_rows(1000, 2).float() + 2
    flow, history = train(x, held_out, replace(FREE, max_blocks=5))
    assert [record.kept for record in history] == [False, False]
    assert len(flow.blocks) == 0
    nll = float(row_nll(StandardNormal(), judges(held_out)).mean())
    assert [record.validation_nll for record in history] == pytest.approx([nll] * len(history))


def test_a_dropped_block_after_a_kept_one():
    held_out = gaussian_rows(300, 1)
    options = replace(FREE, max_blocks=2, tol=0.0)
    flow, history = train(gaussian_rows(1000, 0), held_out, options)
    assert [record.kept for record in history] == [True, False]
    assert len(flow.blocks) == 1
    assert history[1].validation_nll == pytest.approx(history[0].validation_nll, abs=1e-3)
    assert true_nll(flow, held_out) == pytest.approx(history[0].validation_nll, abs=1e-2)


@pytest.mark.parametrize("solver", TRAINING_SOLVERS)
def test_reported_likelihood_is_the_true_one(solver):
    """A solver of one step starts out too coarse for these rows."""
    options = replace(SMALL, solver=solver, learning_rate=0.05, batch_size=50, max_iter=40)
    x, held_out = two_clusters(400, 0), two_clusters(100, 1)
    flow, history = train(x, held_out, options)
    assert any(record.kept for record in history)
    nll = float(row_nll(StandardNormal(), judges(held_out)).mean())
    assert history[-1].validation_nll < nll - 0.5
    gap = true_nll(flow, held_out) - history[-1].validation_nll
    assert abs(gap) < 2 * len(history) * options.max_solver_error
    assert all(abs(record.solver_error) <= options.max_solver_error for record in history)


@pytest.mark.parametrize("solver", ["midpoint", "rk4"])
def test_a_solver_that_is_never_accurate_is_refined_and_given_up(solver):
    options = replace(SMALL, solver=solver, max_blocks=1, max_solver_error=-1.0)
    flow, (record,) = train(two_clusters(200, 0), two_clusters(50, 1), options)
    assert record.solver_steps == MAX_SOLVER_STEPS
    assert record.n_iter < SMALL.max_iter
    assert not record.kept
    assert len(flow.blocks) == 0


def test_finer_solver_steps_leave_fewer_optimiser_steps():
    """The work of a block stays within that of two solver steps throughout."""
    options = replace(SMALL, max_iter=400, n_evaluations=20, max_blocks=1, patience=100)
    x, held_out = two_clusters(200, 0), two_clusters(50, 1)
    generator = torch.Generator().manual_seed(0)
    records = []
    for solver_steps in (1, 2, 4, 8):
        block = JKOBlock(MLPVelocity(2, (8, 8), generator))
        finer = replace(options, solver_steps=solver_steps, max_solver_error=math.inf)
        training = BlockTraining(block, 0.5, x, judges(held_out), finer)
        records.append(training.run(generator))
    assert [record.n_iter for record in records] == [400, 400, 200, 100]


def test_what_overfits_early_does_so_however_much_time_there_is():
    """Long training was evaluated, and warmed up, too seldom and slowly to notice."""
    x, held_out = (normal_rows(40, 4, seed).float() for seed in (0, 1))
    records = []
    for max_iter in (LONG, 10 * LONG):
        options = replace(SMALL, max_iter=max_iter, max_blocks=1)
        _, (record,) = train(1.5 * x, 1.5 * held_out, options)
        assert record.overfits
        assert record.n_iter < LONG
        records.append(record)
    assert records[0].validation_nll == records[1].validation_nll


def bent_rows(n, seed):
    x = normal_rows(n, 2, seed).float()
    x[:, 1] += 0.5 * x[:, 0] ** 2
    return x


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_longer_training_is_never_worse(seed):
    """Its first trial cool-down is the whole of the shorter one."""
    x, held_out = bent_rows(400, seed), bent_rows(200, seed + 10)
    options = replace(SMALL, max_iter=LONG, max_blocks=1, solver_steps=2, patience=10)
    _, (short,) = train(x.clone(), held_out, options)
    _, (long,) = train(x.clone(), held_out, replace(options, max_iter=3 * LONG))
    assert not short.overfits
    assert long.n_iter > short.n_iter == LONG
    assert short.solver_steps == 2
    assert long.validation_nll <= short.validation_nll


def test_a_trial_cooldown_returns_to_the_plateau():
    x, held_out = bent_rows(200, 0), judges(bent_rows(200, 1))
    block = JKOBlock(MLPVelocity(2, (8, 8), torch.Generator().manual_seed(0)))
    options = replace(SMALL, max_iter=3 * LONG, batch_size=200, learning_rate=1e-3)
    training = BlockTraining(block, 0.5, x, held_out, options)
    pace = training.pace

    def go_on(until):
        while not until():
            training.step(x, torch.Generator())
            if pace.evaluation_is_due:
                training.evaluate()
            training.try_cooldown()
            assert not pace.finished

    go_on(lambda: training.plateau is not None)
    left = copy.deepcopy((block.state_dict(), training.optimizer.gradients[0].mean))
    assert pace.n_iter == 0.6 * LONG
    go_on(lambda: pace.n_iter == LONG - 1)
    assert pace.learning_rate(pace.n_iter) < 0.01 * options.learning_rate
    go_on(lambda: training.plateau is None)
    back = block.state_dict(), training.optimizer.gradients[0].mean
    torch.testing.assert_close(back, left, rtol=0, atol=0)
    assert pace.n_iter == LONG
    assert training.optimizer.n_steps == 0.6 * LONG
    assert pace.learning_rate(pace.n_iter) == options.learning_rate
    optimised = {id(gradients.parameter) for gradients in training.optimizer.gradients}
    assert optimised == {id(parameter) for parameter in block.parameters()}


def test_likelihoods_of_all_blocks_are_on_one_scale():
    """Outliers count as much in one block as in the next, and in a refinement."""
    x = torch.from_numpy(np.random.default_rng(0).standard_t(1.5, size=(600, 2))).float()
    options = replace(SMALL, max_blocks=4, n_refinements=1)
    history = train_flow(x[:300].clone(), judges(x[300:]), options, torch.Generator()).history
    start = history[0].validation_nll + history[0].gain
    for before, after in itertools.pairwise(history):
        told = start if after.refinement > before.refinement else before.validation_nll
        assert after.validation_nll + after.gain == pytest.approx(told, abs=0.05)


@pytest.mark.parametrize("max_blocks", [1, 2, 3, 6])
def test_time_is_shared_out_whole_and_falls(max_blocks):
    left, shares = 100.0, []
    for n_trained in range(min(max_blocks, 3)):
        shares.append(left * flow_training._time_share(n_trained, max_blocks))
        left -= shares[-1]
    assert sum(shares) == pytest.approx(100)
    assert all(np.diff(shares) < 1e-9)


def test_training_ends_with_a_block_that_gains_nothing_but_not_with_the_first():
    kept, overfits = (
        SimpleNamespace(kept=gain > 0, gain=gain, overfits=overfits)
        for gain, overfits in ((1.0, False), (0.005, True))
    )
    dropped = SimpleNamespace(kept=False, gain=0.0, overfits=False)
    stalled = flow_training._has_stalled
    assert stalled([kept, overfits])
    assert stalled([kept, dropped])
    assert stalled([dropped, overfits])
    assert not stalled([dropped, kept])
    assert not stalled([overfits])
    assert not stalled([dropped])


def test_an_accurate_solver_is_not_refined():
    options = replace(SMALL, max_solver_error=math.inf)
    _, history = train(two_clusters(200, 0), two_clusters(50, 1), options)
    assert [record.solver_steps for record in history] == [1] * len(history)


@pytest.mark.parametrize("hidden", [(8,), (8, 8), (6, 6, 6)], ids=str)
def test_same_seed_same_weights(hidden):
    options = replace(SMALL, hidden_layer_sizes=hidden, max_iter=10)
    before = torch.random.get_rng_state()
    first, again, other = (
        weights(train(two_clusters(200, 0), two_clusters(50, 1), options, seed)[0])
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(first)
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


@pytest.mark.parametrize(("n_held_out", "max_blocks"), [(0, 3), (50, 0)])
def test_nothing_to_train(n_held_out, max_blocks):
    options = replace(SMALL, max_blocks=max_blocks)
    flow, history = train(two_clusters(200, 0), two_clusters(n_held_out, 1), options)
    assert len(flow.blocks) == 0
    assert history == []


@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_rows(n):
    flow, history = train(two_clusters(n, 0), two_clusters(2, 1), replace(SMALL, max_iter=5))
    assert history
    assert torch.isfinite(weights(flow)).all()


def test_a_deadline_ends_training(monkeypatch):
    """By a clock that goes on by 10 ms whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks) / 100)
    options = replace(SMALL, max_iter=2000, max_blocks=100, tol=0.0)
    _, history = train(two_clusters(200, 0), two_clusters(50, 1), options, deadline=0.5)
    end = time.monotonic()
    assert 0.5 <= end < 0.7
    assert sum(record.seconds for record in history) == pytest.approx(end, abs=0.2)


@pytest.mark.parametrize("solver", TRAINING_SOLVERS)
@pytest.mark.parametrize("value", [1e10, 1e30, math.inf, math.nan])
def test_wild_rows_leave_the_weights_finite(solver, value):
    x = two_clusters(200, 0)
    x[:5] = value
    flow, history = train(x, two_clusters(50, 1), replace(SMALL, solver=solver, max_iter=20))
    assert history
    assert torch.isfinite(weights(flow)).all()
    assert torch.isfinite(flow.log_prob(two_clusters(50, 2))).all()


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_step_that_breaks_the_weights_is_undone(value, monkeypatch):
    n_calls = 0

    def break_one_step(*args):
        nonlocal n_calls
        n_calls += 1
        terms = jko_terms(*args)
        return terms._replace(potential=terms.potential * (value if n_calls == 20 else 1.0))

    monkeypatch.setattr(block_training, "jko_terms", break_one_step)
    held_out = two_clusters(100, 1)
    flow, (record,) = train(two_clusters(400, 0), held_out, replace(SMALL, max_blocks=1))
    assert record.n_iter == SMALL.max_iter
    assert not record.overfits
    assert record.kept
    nll = float(row_nll(StandardNormal(), judges(held_out)).mean())
    assert true_nll(flow, held_out) < nll - 0.5


def test_overfitting_ends_a_block_early():
    options = replace(SMALL, max_iter=100, batch_size=500, max_solver_error=math.inf)
    _, history = train(two_clusters(100, 0), normal_rows(100, 2, 1).float(), options)
    assert history[0].overfits
    assert history[0].n_iter < options.max_iter


def test_each_block_is_held_back_less_and_refinements_as_the_last(monkeypatch):
    decays = []

    def spy(training, *args):
        decays.append(training.options.weight_decay)
        return run(training, *args)

    run = BlockTraining.run
    monkeypatch.setattr(BlockTraining, "run", spy)
    options = replace(SMALL, max_blocks=2, weight_decay=0.1, n_refinements=1)
    _, history = train(two_clusters(400, 0), two_clusters(100, 1), options)
    shares = [
        flow_training.DECAY_SHARE_OF_STUCK if record.overfits else flow_training.DECAY_SHARE
        for record in history[:2]
    ]
    expected = [0.1, 0.1 * shares[0], *[0.1 * math.prod(shares)] * (len(history) - 2)]
    assert decays == pytest.approx(expected)
    assert [record.refinement for record in history[:3]] == [0, 0, 1]


def test_training_restores_the_weights_that_it_reports():
    held_out, block = (
        two_clusters(100, 1),
        JKOBlock(MLPVelocity(2, (8, 8), torch.Generator().manual_seed(1))),
    )
    generator = torch.Generator().manual_seed(0)
    training = BlockTraining(block, 0.5, two_clusters(400, 0), judges(held_out), SMALL)
    record = training.run(generator)
    assert record.kept
    nll = row_nll(StandardNormal(), push_held_out(block, judges(held_out), 2 * record.solver_steps))
    assert float(nll.mean()) == pytest.approx(record.validation_nll, abs=1e-4)
    with torch.no_grad():
        y, _ = block(held_out, SOLVERS["rk4"], 32)
    movement = (y - held_out).square().sum() / y.square().sum()
    assert float(movement) == pytest.approx(record.movement, rel=0.05)
    distance = (y - held_out).square().sum(1).mean().sqrt()
    assert float(distance) == pytest.approx(record.distance, rel=0.03)


def test_held_out_rows_go_through_a_block_in_parts(monkeypatch):
    """An image's rows would take half a gigabyte at once."""
    block, sizes = JKOBlock(MLPVelocity(2, (8, 8), torch.Generator().manual_seed(1))), []
    x, held_out = two_clusters(40, 0), judges(two_clusters(50, 1))
    training = BlockTraining(block, 0.5, x, held_out, SMALL)
    whole = training.record()
    monkeypatch.setattr("sklearn_jko.flow.ROWS_AT_ONCE", 7)
    block.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    in_parts = training.record()
    assert sum(sizes) == 50
    assert max(sizes) == 7
    assert in_parts.distance == pytest.approx(whole.distance, rel=1e-5)
    assert in_parts.movement == pytest.approx(whole.movement, rel=1e-5)


def test_each_block_trains_by_itself(monkeypatch):
    """Rows come without a graph, and the blocks before keep their weights and get no gradient."""
    before, after = [], []

    def spy(training, *args):
        block = training.block
        assert not training.x.requires_grad
        assert not training.held_out.x.requires_grad
        assert not training.held_out.log_det.requires_grad
        before.append(weights(block))
        record = run(training, *args)
        for earlier in after:
            assert earlier.block is not block
            assert torch.equal(weights(earlier.block), earlier.weights)
        after.append(SimpleNamespace(block=block, weights=weights(block), kept=record.kept))
        return record

    run = BlockTraining.run
    monkeypatch.setattr(BlockTraining, "run", spy)
    x, held_out = two_clusters(400, 0), two_clusters(100, 1)
    flow, history = train(x, held_out, replace(SMALL, max_blocks=3, tol=0.0))
    assert history[0].kept
    assert history[1].kept
    kept = [one.weights for one in after if one.kept]
    for block, expected in zip(flow.blocks, kept, strict=True):
        assert torch.equal(weights(block), expected)
    # A block starts where the one before it ended.
    assert torch.equal(before[1], after[0].weights)
    assert torch.equal(before[2], after[1].weights)
    assert not any(parameter.requires_grad for parameter in flow.parameters())


@pytest.mark.parametrize("case", [("mlp", (7, 5)), ("mlp", (7, 6, 5)), ("linear", ())], ids=str)
def test_push_forward_is_the_block_in_chunks(case, monkeypatch):
    monkeypatch.setattr("sklearn_jko.flow.ROWS_AT_ONCE", 7)
    block = JKOBlock(make_velocity(case, 2))
    rows = Rows(normal_rows(20, 2), normal_rows(20, 1, 1)[:, 0])
    pushed = push_held_out(block, rows, 8)
    y, log_det = JKOFlow([block], n_steps=8)(rows.x)
    torch.testing.assert_close(pushed.x, y.detach())
    torch.testing.assert_close(pushed.log_det, rows.log_det + log_det.detach())
    assert not pushed.x.requires_grad
    x = rows.x.clone()
    push_forward_(block, x, 8)
    torch.testing.assert_close(x, pushed.x, rtol=1e-13, atol=1e-13)


def test_row_nll_by_hand():
    rows = Rows(torch.tensor([[3.0, 4.0]]), torch.tensor([2.0]))
    assert float(row_nll(StandardNormal(), rows)) == pytest.approx(12.5 + math.log(2 * math.pi) - 2)


def test_step_sizes_of_the_paper():
    sizes = [geometric_step(k, 0.25, 1.4) for k in range(8)]
    expected = [0.25, 0.35, 0.49, 0.69, 0.96, 1.34, 1.88, 2.64]
    np.testing.assert_allclose(sizes, expected, atol=0.01)


@pytest.mark.parametrize(
    ("k", "first", "growth", "expected"),
    [
        (0, 0.5, 2.0, 0.5),
        (3, 0.5, 2.0, 4.0),
        (2, 8.0, 0.5, 2.0),
        (10_000, 0.5, 2.0, math.inf),
        (2, math.inf, 2.0, math.inf),
    ],
)
def test_geometric_step(k, first, growth, expected):
    assert geometric_step(k, first, growth) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kept", "movement", "settled"),
    [(True, 0.009, True), (True, 0.011, False), (False, 0.009, False), (True, math.nan, False)],
)
def test_has_settled(kept, movement, settled):
    assert has_settled(SimpleNamespace(kept=kept, movement=movement), tol=0.01) == settled


@pytest.mark.parametrize(("width", "n_threads"), [(8, 1), (64, 1), (128, 3)])
def test_small_networks_are_trained_by_few_threads(width, n_threads, monkeypatch):
    def of_openmp():
        pools = (pool for pool in threadpool_info() if "torch" in pool["filepath"])
        return {pool["num_threads"] for pool in pools if pool["user_api"] == "openmp"}

    seen = []

    class Watching(Observer):
        def evaluated(self):
            seen.append(of_openmp())

    torch.get_num_threads()  # which sets the number, when it is first called
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    options = replace(SMALL, hidden_layer_sizes=(width, width), batch_size=256, max_iter=10)
    x = two_clusters(300, 0)
    with threadpool_limits(3, user_api="openmp"):
        generator = torch.Generator().manual_seed(0)
        train_flow(x, judges(two_clusters(50, 1)), options, generator, observer=Watching())
        assert of_openmp() == {3}
    assert set.union(*seen) == {n_threads}
