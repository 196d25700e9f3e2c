"""Laws of every divergence."""

import itertools
import math

import pytest
import torch
from reference import VELOCITY_CASES, jacobians, make_velocity, normal_rows, traces

from sklearn_jko.divergence import (
    DIVERGENCES,
    NOISY_DIVERGENCES,
    divergence_for_training,
    exact_divergence_for,
)

DEEP = ("mlp", (7, 6, 5))
every_pair = pytest.mark.parametrize(
    ("name", "case"),
    [
        (name, case)
        for name, case in itertools.product(DIVERGENCES, VELOCITY_CASES)
        if name != "analytic" or make_velocity(case).has_trace
    ],
    ids=str,
)
T = 0.3


def expected(name, velocity, x, noise):
    """What a divergence returns; for finite differences, up to `tolerance`."""
    if DIVERGENCES[name] not in NOISY_DIVERGENCES:
        return traces(velocity, T, x, create_graph=True)
    if name == "finite_difference":  # to second order the derivative halfway, by the paper's step
        x = x + 0.02 / math.sqrt(x.shape[1]) / 2 * noise
    jacobian = jacobians(lambda rows: velocity(T, rows), x, create_graph=True)
    return torch.einsum("ni,nij,nj->n", noise, jacobian, noise)


def tolerance(name):
    return {"rtol": 5e-3, "atol": 5e-3} if name == "finite_difference" else {}


@every_pair
def test_value(name, case):
    velocity, x, noise = make_velocity(case), normal_rows(6, 3), normal_rows(6, 3, seed=1)
    v, divergence = DIVERGENCES[name](velocity, T, x, noise)
    torch.testing.assert_close(v, velocity(T, x))
    torch.testing.assert_close(divergence, expected(name, velocity, x, noise), **tolerance(name))


@every_pair
def test_gradients_flow_to_the_parameters(name, case):
    velocity, x, noise = make_velocity(case), normal_rows(6, 3), normal_rows(6, 3, seed=1)
    parameters = list(velocity.parameters())
    found, wanted = (
        torch.autograd.grad((v.square().sum() + divergence.sum()), parameters, allow_unused=True)
        for v, divergence in (
            DIVERGENCES[name](velocity, T, x, noise),
            (velocity(T, x), expected(name, velocity, x, noise)),
        )
    )
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance(name))


@every_pair
def test_without_gradients_the_values_are_the_same(name, case):
    velocity, x, noise = make_velocity(case), normal_rows(6, 3), normal_rows(6, 3, seed=1)
    v, divergence = DIVERGENCES[name](velocity, T, x, noise)
    assert v.requires_grad
    assert divergence.requires_grad
    with torch.no_grad():
        quiet_v, quiet_divergence = DIVERGENCES[name](velocity, T, x, noise)
        assert not torch.is_grad_enabled()
    assert not quiet_v.requires_grad
    assert not quiet_divergence.requires_grad
    torch.testing.assert_close(quiet_v, v)
    torch.testing.assert_close(quiet_divergence, divergence)
    assert not x.requires_grad


@every_pair
def test_gradients_flow_to_the_rows(name, case):
    velocity, x, noise = make_velocity(case), normal_rows(3, 3), normal_rows(3, 3, seed=1)
    assert torch.autograd.gradcheck(
        lambda x: DIVERGENCES[name](velocity, T, x, noise), x.requires_grad_()
    )


@pytest.mark.parametrize("case", VELOCITY_CASES, ids=str)
def test_hutchinson_is_unbiased(case):
    """The mean over all sign vectors is the trace, to the last digits."""
    velocity, x = make_velocity(case), normal_rows(4, 3)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    estimates = [DIVERGENCES["hutchinson"](velocity, T, x, s.expand(4, 3))[1] for s in signs]
    torch.testing.assert_close(torch.stack(estimates).mean(0), traces(velocity, T, x))


def test_finite_difference_of_a_linear_velocity_is_exact():
    velocity, x, noise = make_velocity(("linear", ())), normal_rows(4, 3), normal_rows(4, 3, seed=1)
    _, divergence = DIVERGENCES["finite_difference"](velocity, T, x, noise)
    torch.testing.assert_close(divergence, expected("hutchinson", velocity, x, noise))


@pytest.mark.parametrize("case", VELOCITY_CASES, ids=str)
def test_choice_of_divergence(case):
    velocity = make_velocity(case)
    deep = case == DEEP
    assert exact_divergence_for(velocity) is DIVERGENCES["exact" if deep else "analytic"]
    assert (
        divergence_for_training("auto", velocity)
        is (DIVERGENCES["hutchinson" if deep else "analytic"])
    )
    for name in DIVERGENCES:
        if name != "analytic" or not deep:
            assert divergence_for_training(name, velocity) is DIVERGENCES[name]


def test_analytic_divergence_of_a_deep_network_is_refused():
    with pytest.raises(ValueError, match=r"divergence='analytic' needs .* hidden layers; use"):
        divergence_for_training("analytic", make_velocity(DEEP))
