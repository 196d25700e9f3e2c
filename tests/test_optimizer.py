"""The optimiser against torch's own."""

import pytest
import torch

from sklearn_jko.optimizer import BETAS, AdamW


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (4,))]


def loss(first, second, k):
    return ((first - k) ** 2).sum() + torch.cos(second + k).sum()


@pytest.mark.parametrize("weight_decay", [0.0, 0.7])
def test_steps_are_those_of_torch(weight_decay):
    ours, theirs = parameters(), parameters()
    optimizer = AdamW(ours, weight_decay)
    reference = torch.optim.AdamW(theirs, betas=BETAS, weight_decay=weight_decay)
    for k in range(5):
        reference.param_groups[0]["lr"] = 0.1 / (k + 1)
        optimizer.zero_grad()
        reference.zero_grad()
        loss(*ours, k).backward()
        loss(*theirs, k).backward()
        optimizer.step(0.1 / (k + 1))
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_parameter_without_gradient_stays():
    moved, still = parameters()
    before = moved.detach().clone(), still.detach().clone()
    moved.sum().backward()
    AdamW([moved, still], 0.5).step(0.1)
    assert not torch.equal(moved, before[0])
    assert torch.equal(still, before[1])
