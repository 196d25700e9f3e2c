"""Laws of every divergence."""

import itertools

import pytest
import torch
from reference import VELOCITY_CASES, jacobians, make_velocity, normal_rows, traces

from sklearn_jko.divergence import divergence_for_training, exact, hutchinson

DEEP = ("mlp", (7, 6, 5))
every_velocity = pytest.mark.parametrize("case", VELOCITY_CASES, ids=str)
every_divergence = pytest.mark.parametrize("divergence", [exact, hutchinson])
T = 0.3


def expected(divergence, velocity, x, noise):
    if divergence is exact:
        return traces(velocity, T, x, create_graph=True)
    jacobian = jacobians(lambda rows: velocity(T, rows), x, create_graph=True)
    return torch.einsum("ni,nij,nj->n", noise, jacobian, noise)


@every_divergence
@every_velocity
def test_value(divergence, case):
    velocity, x, noise = make_velocity(case), normal_rows(6, 3), normal_rows(6, 3, seed=1)
    v, found = divergence(velocity, T, x, noise)
    torch.testing.assert_close(v, velocity(T, x))
    torch.testing.assert_close(found, expected(divergence, velocity, x, noise))


@every_divergence
@every_velocity
def test_gradients_flow_to_the_parameters(divergence, case):
    velocity, x, noise = make_velocity(case), normal_rows(6, 3), normal_rows(6, 3, seed=1)
    parameters = list(velocity.parameters())
    found, wanted = (
        torch.autograd.grad((v.square().sum() + made.sum()), parameters, allow_unused=True)
        for v, made in (
            divergence(velocity, T, x, noise),
            (velocity(T, x), expected(divergence, velocity, x, noise)),
        )
    )
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_divergence
@every_velocity
def test_without_gradients_the_values_are_the_same(divergence, case):
    velocity, x, noise = make_velocity(case), normal_rows(6, 3), normal_rows(6, 3, seed=1)
    v, found = divergence(velocity, T, x, noise)
    assert v.requires_grad
    assert found.requires_grad
    with torch.no_grad():
        quiet_v, quiet = divergence(velocity, T, x, noise)
        assert not torch.is_grad_enabled()
    assert not quiet_v.requires_grad
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet_v, v)
    torch.testing.assert_close(quiet, found)
    assert not x.requires_grad


@every_divergence
@every_velocity
def test_gradients_flow_to_the_rows(divergence, case):
    velocity, x, noise = make_velocity(case), normal_rows(3, 3), normal_rows(3, 3, seed=1)
    assert torch.autograd.gradcheck(lambda x: divergence(velocity, T, x, noise), x.requires_grad_())


@every_velocity
def test_hutchinson_is_unbiased(case):
    """The mean over all sign vectors is the trace, to the last digits."""
    velocity, x = make_velocity(case), normal_rows(4, 3)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    estimates = [hutchinson(velocity, T, x, s.expand(4, 3))[1] for s in signs]
    torch.testing.assert_close(torch.stack(estimates).mean(0), traces(velocity, T, x))


@every_velocity
def test_only_deep_networks_are_trained_by_the_estimate(case):
    chosen = divergence_for_training(make_velocity(case))
    assert chosen is (hutchinson if case == DEEP else exact)
