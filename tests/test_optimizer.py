"""The optimiser against torch's own."""

import pytest
import torch

from sklearn_jko.training.optimizer import BETAS, AdamW

GO, SKIP = torch.tensor(False), torch.tensor(True)


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
        optimizer.step(0.1 / (k + 1), GO)
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_parameter_without_gradient_stays():
    moved, still = parameters()
    before = moved.detach().clone(), still.detach().clone()
    moved.sum().backward()
    AdamW([moved, still], 0.5).step(0.1, GO)
    assert not torch.equal(moved, before[0])
    assert torch.equal(still, before[1])


def test_a_skipped_step_leaves_no_trace():
    ours, again = parameters(), parameters()
    optimizer, reference = AdamW(ours, 0.5), AdamW(again, 0.5)
    for k, skip in enumerate((GO, SKIP, GO)):
        for some in (ours, again):
            loss(*some, k).backward()
        if skip:
            ours[0].grad.fill_(torch.nan)
        optimizer.step(0.1, skip)
        if not skip:
            reference.step(0.1, GO)
        optimizer.zero_grad()
        reference.zero_grad()
    for a, b in zip(ours, again, strict=True):
        assert torch.equal(a, b)
