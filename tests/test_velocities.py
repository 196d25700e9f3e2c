"""Laws of every velocity."""

import pytest
import torch
from reference import VELOCITY_CASES, make_velocity, new_velocity, normal_rows, traces

from sklearn_jko.velocities import VELOCITIES

every_velocity = pytest.mark.parametrize("case", VELOCITY_CASES, ids=str)


@every_velocity
def test_untrained_velocity_is_zero(case):
    velocity = new_velocity(case, 3, torch.Generator().manual_seed(0)).double()
    x = normal_rows(5, 3)
    assert torch.all(velocity(0.3, x) == 0)
    v, trace = velocity.forward_and_trace(0.3, x)
    assert v.shape == (5, 3)
    assert trace.shape == (5,)
    assert torch.all(v == 0)
    assert torch.all(trace == 0)


@every_velocity
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("t", [0.0, 0.7])
def test_trace_is_that_of_the_jacobian(case, d, t):
    velocity, x = make_velocity(case, d), normal_rows(6, d)
    v, trace = velocity.forward_and_trace(t, x)
    torch.testing.assert_close(v, velocity(t, x))
    torch.testing.assert_close(trace, traces(velocity, t, x))


@every_velocity
def test_each_row_may_have_a_time_of_its_own(case):
    velocity, x, times = make_velocity(case), normal_rows(3, 3), [0.0, 0.3, 0.7]
    together = velocity.forward_and_trace(torch.tensor(times).double().unsqueeze(1), x)
    alone = [velocity.forward_and_trace(t, x[k : k + 1]) for k, t in enumerate(times)]
    for part, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(part, torch.cat(parts))


@every_velocity
@pytest.mark.parametrize(
    "t", [0.0, 0.7, torch.linspace(0, 1, 4).double().unsqueeze(1)], ids=["0", "0.7", "rows"]
)
def test_gradients_of_velocity_and_trace(case, t):
    velocity, x = make_velocity(case), normal_rows(4, 3).requires_grad_()
    # gradcheck perturbs in place what it is given, so the module's own parameters will do.
    assert torch.autograd.gradcheck(
        lambda x, *_: velocity.forward_and_trace(t, x), (x, *velocity.parameters())
    )


@every_velocity
def test_rows_are_independent(case):
    velocity, x = make_velocity(case), normal_rows(5, 3)
    alone = torch.cat([velocity(0.4, row[None]) for row in x])
    torch.testing.assert_close(alone, velocity(0.4, x), rtol=1e-12, atol=1e-13)


@every_velocity
def test_state_dict_round_trip(case):
    velocity, copy, x = make_velocity(case), make_velocity(case, seed=1), normal_rows(5, 3)
    assert not torch.equal(copy(0.4, x), velocity(0.4, x))
    copy.load_state_dict(velocity.state_dict())
    assert torch.equal(copy(0.4, x), velocity(0.4, x))


def test_linear_velocity_is_affine():
    velocity, x = make_velocity(("linear", ())), normal_rows(5, 3)
    expected = torch.stack([velocity.weight @ row + velocity.bias for row in x])
    torch.testing.assert_close(velocity(0.4, x), expected)


@pytest.mark.parametrize("hidden", [(6,), (7, 5), (7, 6, 5)], ids=str)
def test_network_depends_on_the_time_through_every_layer(hidden):
    velocity, x = make_velocity(("mlp", hidden)), normal_rows(5, 3)
    for layer in range(len(hidden)):
        fixed = make_velocity(("mlp", hidden))
        for other, weight in enumerate(fixed.time_weights):
            if other != layer:
                weight.data.zero_()
        assert not torch.allclose(fixed(0.0, x), fixed(1.0, x))
    for weight in velocity.time_weights:
        weight.data.zero_()
    assert torch.equal(velocity(0.0, x), velocity(1.0, x))


@every_velocity
def test_weights_come_from_the_generator_alone(case):
    before = torch.random.get_rng_state()
    first, again, other = (
        new_velocity(case, 3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    differ = [
        not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)
    ]
    assert any(differ) == (case[0] != "linear")


@pytest.mark.parametrize("n_features", [2, 9])
def test_a_network_without_hidden_layers_is_refused(n_features):
    """A forged file of a saved model may ask for one."""
    with pytest.raises(ValueError, match="hidden_layer_sizes is empty"):
        VELOCITIES["mlp"](n_features, ())
