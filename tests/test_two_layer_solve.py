"""The hand-written solve against automatic differentiation through the plain one, in float64."""

import pytest
import torch
from reference import make_velocity, normal_rows

from sklearn_jko.divergence import exact
from sklearn_jko.flow import JKOBlock
from sklearn_jko.solvers import SOLVERS, TABLEAUS
from sklearn_jko.training.two_layer_solve import TwoLayerSolve, is_two_layer

every_tableau = pytest.mark.parametrize("solver", TABLEAUS)
CASE = ("mlp", (7, 5))


def loss(y, log_det):
    """Sees every coordinate, and every row with another weight."""
    weights = torch.linspace(0.5, 2.0, len(y), dtype=y.dtype)
    return (y**3).sum() + (weights * log_det).sum() + (log_det**2).sum()


def gradients(outputs, x, velocity):
    return torch.autograd.grad(loss(*outputs), (x, *velocity.parameters()))


@every_tableau
@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0)])
def test_values_and_gradients_are_those_of_the_plain_solve(solver, n_steps, t0, t1):
    velocity, x = make_velocity(CASE), normal_rows(6, 3).requires_grad_()
    plain = JKOBlock(velocity, t0, t1)(x, SOLVERS[solver], n_steps, exact)
    written_out = TwoLayerSolve(velocity, TABLEAUS[solver], t0, t1)(x, n_steps)
    for a, b in zip(plain, written_out, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)
    expected = gradients(plain, x, velocity)
    for a, b in zip(expected, gradients(written_out, x, velocity), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-11)


@every_tableau
def test_calls_of_other_sizes_leave_nothing_behind(solver):
    velocity = make_velocity(CASE)
    solve = TwoLayerSolve(velocity, TABLEAUS[solver])
    for n, n_steps in ((6, 1), (6, 2), (4, 2), (6, 1), (6, 1)):
        x = normal_rows(n, 3).requires_grad_()
        again = TwoLayerSolve(velocity, TABLEAUS[solver])
        first = gradients(solve(x, n_steps), x, velocity)
        for a, b in zip(first, gradients(again(x, n_steps), x, velocity), strict=True):
            assert torch.equal(a, b)


def test_memory_is_kept_from_call_to_call():
    velocity, x = make_velocity(CASE), normal_rows(6, 3)
    solve = TwoLayerSolve(velocity, TABLEAUS["rk4"])
    solve(x, 2)
    memory = solve.memory
    solve(x + 1, 2)
    assert solve.memory is memory


def test_results_do_not_share_the_memory():
    velocity, x = make_velocity(CASE), normal_rows(6, 3)
    solve = TwoLayerSolve(velocity, TABLEAUS["rk4"])
    y, log_det = solve(x, 2)
    before = y.clone(), log_det.clone()
    solve(x + 1, 2)
    assert torch.equal(y, before[0])
    assert torch.equal(log_det, before[1])


@pytest.mark.parametrize(
    ("case", "expected"),
    [(CASE, True), (("mlp", (7,)), False), (("mlp", (7, 6, 5)), False), (("linear", ()), False)],
)
def test_only_two_hidden_layers_qualify(case, expected):
    assert is_two_layer(make_velocity(case)) is expected
