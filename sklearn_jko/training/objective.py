"""Objective of one JKO step, the paper's equation (8)."""

from typing import NamedTuple

import torch

__all__ = ["JKOTerms", "jko_terms"]


class JKOTerms(NamedTuple):
    """Batch means of the objective's terms, in nats per row.

    ``potential`` is E[-log q(x1)], which is E[V(x1)] up to a constant;
    ``log_det`` is E[integral of div f]; ``transport`` is E|x1 - x0|^2 / (2 h).
    """

    potential: torch.Tensor
    log_det: torch.Tensor
    transport: torch.Tensor

    @property
    def total(self):
        """The objective: potential - log_det + transport."""
        return self.potential - self.log_det + self.transport


def jko_terms(base, x0, x1, log_det, h):
    """Return the terms of equation (8) for one batch.

    Parameters
    ----------
    base : object
        Target density q.
    x0, x1 : Tensor of shape (n, d)
        Rows before and after the block.
    log_det : Tensor of shape (n,)
        Integral of the divergence along each row's path.
    h : float
        Step size; ``math.inf`` leaves the transport free.
    """
    transport = (x1 - x0).square().sum(1).mean() / (2 * h)
    return JKOTerms(-base.log_prob(x1).mean(), log_det.mean(), transport)
