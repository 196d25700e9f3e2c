"""The optimiser against torch's own, and matrices against a twin that is written out."""

import numpy as np
import pytest
import torch

from sklearn_jko.training import optimizer as soap
from sklearn_jko.training.optimizer import ANCHOR, BETAS, EPSILON_OF_TURNED, PERIOD, SOAP

GO, SKIP = torch.tensor(False), torch.tensor(True)
DECAY, RATE = 0.5, 0.1


def parameters(*shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes
    ]


def loss(parameters, k):
    return sum(((p - k) ** 2).sum() + torch.cos(p + k).prod() for p in parameters)


def take_steps(optimizer, parameters, skips):
    for k, skip in enumerate(skips):
        loss(parameters, k).backward()
        if skip:
            parameters[0].grad.fill_(torch.nan)
        optimizer.step(RATE / (k + 1), skip)
        optimizer.zero_grad()


@pytest.mark.parametrize("weight_decay", [0.0, 0.7])
@pytest.mark.parametrize("turns_axes", [False, True])
def test_vectors_and_long_sides_are_moved_as_by_adamw(weight_decay, turns_axes, monkeypatch):
    monkeypatch.setattr(soap, "MAX_SIDE", 2 if turns_axes else soap.MAX_SIDE)
    ours, theirs = parameters((4,), (3, 5)), parameters((4,), (3, 5))
    optimizer = SOAP(ours, weight_decay, turns_axes)
    take_steps(optimizer, ours, 5 * [GO])
    reference = torch.optim.AdamW(
        theirs, betas=BETAS, eps=optimizer.epsilon, weight_decay=weight_decay
    )
    for k in range(5):
        reference.param_groups[0]["lr"] = RATE / (k + 1)
        reference.zero_grad()
        loss(theirs, k).backward()
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def twin_steps(weights, gradients, rates):
    """The published algorithm, in NumPy: the mean gradient is kept in the matrix's own axes."""
    (beta1, beta2), (m, n) = BETAS, weights.shape
    left, right, q_left, q_right = np.zeros((m, m)), np.zeros((n, n)), np.eye(m), np.eye(n)
    mean, square = np.zeros((m, n)), np.zeros((m, n))
    for k, (gradient, rate) in enumerate(zip(gradients, rates, strict=True)):
        left = beta2 * left + (1 - beta2) * gradient @ gradient.T
        right = beta2 * right + (1 - beta2) * gradient.T @ gradient
        if k % PERIOD == 0:
            q_left = np.linalg.qr((left + ANCHOR * np.trace(left) * np.eye(m)) @ q_left)[0]
            q_right = np.linalg.qr((right + ANCHOR * np.trace(right) * np.eye(n)) @ q_right)[0]
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * (q_left.T @ gradient @ q_right) ** 2
        turned = q_left.T @ mean @ q_right / (1 - beta1 ** (k + 1))
        move = turned / (np.sqrt(square / (1 - beta2 ** (k + 1))) + EPSILON_OF_TURNED)
        weights = (1 - rate * DECAY) * weights - rate * q_left @ move @ q_right.T
    return weights


def test_a_matrix_is_moved_as_by_the_written_out_twin():
    (weights,) = parameters((4, 3), dtype=torch.float64)
    start, rng = weights.detach().numpy().copy(), np.random.default_rng(0)
    gradients = rng.standard_normal((35, 4, 3)) * [[3.0], [2.0], [1.0], [0.3]]
    rates = RATE / np.arange(1, 36)
    optimizer = SOAP([weights], DECAY)
    for gradient, rate in zip(gradients, rates, strict=True):
        weights.grad = torch.tensor(gradient)
        optimizer.step(rate, GO)
    expected = twin_steps(start, gradients, rates)
    np.testing.assert_allclose(weights.detach().numpy(), expected, rtol=1e-7)


def test_axes_come_to_be_the_eigenvectors():
    rng = np.random.default_rng(1)
    true = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    (weights,) = parameters((3, 5), dtype=torch.float64)
    optimizer = SOAP([weights], 0.0)
    for _ in range(60 * PERIOD):
        gradient = true @ (np.array([[9.0], [3.0], [1.0]]) * rng.standard_normal((3, 5)))
        weights.grad = torch.tensor(gradient)
        optimizer.step(1e-3, GO)
    axes = optimizer.gradients[0].axes[0].numpy()
    assert np.abs(np.abs(true.T @ axes) - np.eye(3)).max() < 0.1


def test_it_is_ahead_of_adam_where_directions_differ_in_scale():
    rng = np.random.default_rng(2)
    left, right = (
        torch.tensor(np.linalg.qr(rng.standard_normal((n, n)))[0] * np.geomspace(1, 30, n))
        for n in (8, 6)
    )

    def far(weights):
        return (left.T @ (weights - 1) @ right).square().sum()

    (ours, theirs) = parameters((8, 6), (8, 6), dtype=torch.float64)
    theirs.data.copy_(ours)
    reference = torch.optim.AdamW([theirs], betas=BETAS, weight_decay=0.0)
    optimizer = SOAP([ours], 0.0)
    for k in range(200):
        rate = 0.1 * (1 - k / 200)
        reference.param_groups[0]["lr"] = rate
        for weights in (ours, theirs):
            weights.grad = None
            far(weights).backward()
        optimizer.step(rate, GO)
        reference.step()
    assert far(ours) < 0.1 * far(theirs)


def test_a_parameter_without_gradient_stays():
    moved, still = parameters((3, 2), (4,))
    before = moved.detach().clone(), still.detach().clone()
    moved.sum().backward()
    SOAP([moved, still], DECAY).step(RATE, GO)
    assert not torch.equal(moved, before[0])
    assert torch.equal(still, before[1])


def test_a_skipped_step_leaves_no_trace():
    ours, again = parameters((3, 2), (4,)), parameters((3, 2), (4,))
    optimizer, reference = SOAP(ours, DECAY), SOAP(again, DECAY)
    for k, skip in enumerate((GO, SKIP, GO)):
        for some in (ours, again):
            loss(some, k).backward()
        if skip:
            ours[0].grad.fill_(torch.nan)
        optimizer.step(RATE, skip)
        if not skip:
            reference.step(RATE, GO)
        optimizer.zero_grad()
        reference.zero_grad()
    for a, b in zip(ours, again, strict=True):
        assert torch.equal(a, b)


def test_matrices_of_zero_gradients_stay_finite():
    weights = parameters((3, 2))
    optimizer = SOAP(weights, DECAY)
    for _ in range(PERIOD + 2):
        weights[0].grad = torch.zeros(3, 2)
        optimizer.step(RATE, GO)
    assert weights[0].isfinite().all()
