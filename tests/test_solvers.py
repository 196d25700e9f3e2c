"""Laws of every solver, against closed forms."""

import math

import numpy as np
import pytest
import torch
from reference import affine_map, make_velocity, normal_rows

from sklearn_jko.divergence import exact
from sklearn_jko.solvers import SOLVERS, TABLEAUS, Field

every_solver = pytest.mark.parametrize("name", SOLVERS)
MANY_STEPS = 400
ORDERS = {"midpoint": 2, "rk4": 4, "dop853": 8}


def logistic(t, x):
    """x' = (1 + t) x (1 - x) in each coordinate, with its divergence."""
    return (1 + t) * x * (1 - x), ((1 + t) * (1 - 2 * x)).sum(1)


LOGISTIC = Field(lambda t, x: logistic(t, x)[0], logistic)


def logistic_solution(x, t0, t1):
    time = (t1 - t0) + (t1**2 - t0**2) / 2
    y = torch.sigmoid(torch.logit(x) + time)
    return y, torch.log(y * (1 - y) / (x * (1 - x))).sum(1)


def rows():
    return torch.sigmoid(normal_rows(20, 2))


@every_solver
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.0), (0.25, 0.5), (1.0, 0.0)])
def test_solution_of_a_nonlinear_equation(name, t0, t1):
    y, integral = SOLVERS[name](LOGISTIC, rows(), t0, t1, MANY_STEPS)
    expected_y, expected_integral = logistic_solution(rows(), t0, t1)
    torch.testing.assert_close(y, expected_y, rtol=0, atol=3e-6)
    torch.testing.assert_close(integral, expected_integral, rtol=0, atol=3e-6)


@every_solver
@pytest.mark.parametrize(("t0", "t1"), [(0.0, 1.0), (0.3, 1.1), (1.0, 0.0)])
def test_solution_of_a_linear_equation(name, t0, t1):
    velocity, x = make_velocity(("linear", ())), normal_rows(5, 3)
    field = Field(velocity, lambda t, x: exact(velocity, t, x))
    matrix, shift = affine_map(velocity, t1 - t0)
    y, integral = SOLVERS[name](field, x, t0, t1, MANY_STEPS)
    np.testing.assert_allclose(y.detach(), x.numpy() @ matrix.T + shift, rtol=0, atol=1e-5)
    expected = (t1 - t0) * velocity.weight.trace().expand(5)
    torch.testing.assert_close(integral, expected, rtol=1e-8, atol=1e-8)


def test_every_rule_of_equal_steps_has_its_order_tested():
    assert set(ORDERS) == set(TABLEAUS)


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_order(name, order):
    n_steps = np.array([3, 4, 6, 8]) if order > 4 else np.array([8, 16, 32, 64])
    exact = logistic_solution(rows(), 0.0, 1.0)
    solutions = [SOLVERS[name](LOGISTIC, rows(), 0.0, 1.0, n) for n in n_steps.tolist()]
    for part in (0, 1):
        errors = [float((solution[part] - exact[part]).norm()) for solution in solutions]
        slope = -np.polyfit(np.log(n_steps), np.log(errors), 1)[0]
        assert abs(slope - order) < (0.15 if order <= 4 else 0.7)


@every_solver
def test_backward_in_time_inverts(name):
    solver, x = SOLVERS[name], rows()
    y, forward = solver(LOGISTIC, x, 0.0, 1.0, MANY_STEPS)
    back, backward = solver(LOGISTIC, y, 1.0, 0.0, MANY_STEPS)
    torch.testing.assert_close(back, x, rtol=0, atol=3e-6)
    torch.testing.assert_close(backward, -forward, rtol=0, atol=3e-6)


@every_solver
def test_a_divergence_of_zero_may_be_a_number(name):
    field = Field(LOGISTIC.velocity, lambda t, x: (LOGISTIC.velocity(t, x), 0.0))
    y, integral = SOLVERS[name](field, rows(), 0.0, 1.0, 32)
    expected, _ = SOLVERS[name](LOGISTIC, rows(), 0.0, 1.0, 32)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-7)
    assert float(torch.as_tensor(integral).abs().max()) == 0.0


@every_solver
def test_gradients_reach_the_rows_and_the_parameters(name):
    velocity = make_velocity(("mlp", (3,)), 2)
    field = Field(velocity, lambda t, x: exact(velocity, t, x), tuple(velocity.parameters()))
    x = normal_rows(2, 2).requires_grad_()
    n_steps = 16 if name == "dopri5_by_row" else 2  # the gradient is as true as the solution
    assert torch.autograd.gradcheck(
        lambda x, *_: SOLVERS[name](field, x, 0.0, 1.0, n_steps),
        (x, *velocity.parameters()),
        atol=1e-4,
        rtol=1e-3,
    )


def stiff(t, x):
    """x' = -s x, where the row's second coordinate, which stays, is the stiffness s."""
    v = torch.stack([-x[:, 1] * x[:, 0], torch.zeros(len(x), dtype=x.dtype)], dim=1)
    return v, -x[:, 1]


STIFF = Field(lambda t, x: stiff(t, x)[0], stiff)


def test_rows_of_their_own_steps_do_not_feel_each_other():
    x = torch.tensor([[1.0, 0.5], [1.0, 200.0], [1.0, 1e300], [math.nan, 1.0]]).double()
    together, integral = SOLVERS["dopri5_by_row"](STIFF, x, 0.0, 1.0, 16)
    alone, _ = SOLVERS["dopri5_by_row"](STIFF, x[:1], 0.0, 1.0, 16)
    assert torch.equal(together[0], alone[0])
    np.testing.assert_allclose(together[:2, 0], np.exp([-0.5, -200.0]), atol=1e-6)
    np.testing.assert_allclose(integral[:2], [-0.5, -200.0], rtol=1e-12)


def test_error_of_rows_of_their_own_steps_falls_as_the_steps_double():
    expected, _ = logistic_solution(rows(), 0.0, 1.0)
    y = [SOLVERS["dopri5_by_row"](LOGISTIC, rows(), 0.0, 1.0, n)[0] for n in (4, 8, 16, 32)]
    errors = np.array([float((one - expected).norm()) for one in y])
    assert (errors[:-1] > 16 * errors[1:]).all()


def test_only_hard_rows_take_many_steps():
    n_rows = []

    def counted(t, x):
        n_rows.append(len(x))
        return stiff(t, x)

    x = torch.tensor([[1.0, 0.5]] * 9 + [[1.0, 500.0]]).double()
    SOLVERS["dopri5_by_row"](Field(None, counted), x, 0.0, 1.0, 8)
    assert n_rows[0] == 10
    assert n_rows[-1] == 1
    assert sum(n_rows) < 0.3 * 10 * len(n_rows)
