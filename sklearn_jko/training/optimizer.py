"""Optimiser of the training."""

import torch
from torch.optim.adamw import adamw

__all__ = ["AdamW"]

BETAS = (0.9, 0.99)
EPSILON = 1e-8


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), by torch's functional form.

    The first optimiser object of torch's own in a process imports torch's compiler, which takes
    longer than many a fit.

    Parameters
    ----------
    parameters : iterable of Parameter
    weight_decay : float
    """

    def __init__(self, parameters, weight_decay):
        self.parameters, self.weight_decay = list(parameters), weight_decay
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.counts = [torch.zeros((), device=p.device) for p in self.parameters]

    def zero_grad(self):
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate, skip):
        """Move the parameters that have a gradient, unless the boolean tensor ``skip`` holds."""
        states = zip(self.parameters, self.means, self.squares, self.counts, strict=True)
        used = [(p, p.grad, *state) for p, *state in states if p.grad is not None]
        parameters, gradients, means, squares, counts = map(list, zip(*used, strict=True))
        adamw(
            parameters,
            gradients,
            means,
            squares,
            [],
            counts,
            fused=True,
            found_inf=skip.float(),
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
        )
