"""Optimiser for training."""

import torch
from torch.optim.adam import adam

__all__ = ["SOAP"]

BETAS = (0.9, 0.99)
# Along some rotated axes gradients are only rounding, well below EPSILON_OF_TURNED.
EPSILON, EPSILON_OF_TURNED = 1e-8, 1e-5
# Steps between updates of the axes.
PERIOD = 10
# Added to the eigenvalues, as a share of their sum, so that axes stay unchanged where gradients are
# only rounding. Otherwise results would differ between machines.
ANCHOR = 1e-3
# Axes of a longer side are not rotated: an update would take longer than the gradient.
MAX_SIDE = 512


class SOAP:
    """Adam in axes along which a gradient's entries are nearly uncorrelated (SOAP).

    For the gradients G of a matrix these axes are the eigenvectors of the means of G G^T and G^T G
    (Vyas et al. 2024, arXiv:2409.11321). Weight decay is decoupled, as in AdamW.

    It uses torch's functional Adam: the first optimiser object of torch in a process imports
    torch's compiler, which takes longer than many fits.

    Parameters
    ----------
    parameters : iterable of Parameter
    weight_decay : float
    turns_axes : bool
        Without it, this is AdamW.
    """

    def __init__(self, parameters, weight_decay, turns_axes=True):
        max_side = MAX_SIDE if turns_axes else 0
        self.gradients = [_Gradients(p, max_side) for p in parameters]
        self.epsilon = EPSILON_OF_TURNED if turns_axes else EPSILON
        self.weight_decay, self.n_steps = weight_decay, 0

    def zero_grad(self):
        for gradients in self.gradients:
            gradients.parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate, skip):
        """Move the parameters that have a gradient, unless the boolean tensor ``skip`` holds."""
        seen = [gradients for gradients in self.gradients if gradients.parameter.grad is not None]
        for gradients in seen:
            gradients.see(skip)
            if self.n_steps % PERIOD == 0:
                gradients.turn()
        self.n_steps += 1
        moves = [torch.zeros_like(gradients.mean) for gradients in seen]
        adam(
            moves,
            [gradients.turned(gradients.parameter.grad) for gradients in seen],
            [gradients.mean for gradients in seen],
            [gradients.square for gradients in seen],
            [],
            [gradients.count for gradients in seen],
            fused=True,
            found_inf=skip.float(),
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=0.0,
            eps=self.epsilon,
            maximize=False,
        )
        for gradients, move in zip(seen, moves, strict=True):
            decay = 1 - learning_rate * self.weight_decay * (~skip).to(move)
            gradients.parameter.mul_(decay).add_(gradients.turned_back(move))


class _Gradients:
    """Moments of the gradients of one parameter, and the axes in which they are kept.

    Only a matrix has other axes than those it comes with.
    """

    def __init__(self, parameter, max_side):
        self.parameter = parameter
        sides = [k for k, size in enumerate(parameter.shape) if size <= max_side]
        sides = sides if parameter.ndim == 2 else []
        self.axes = {side: torch.eye(parameter.shape[side]).to(parameter) for side in sides}
        self.products = {side: torch.zeros_like(axes) for side, axes in self.axes.items()}
        self.mean, self.square = torch.zeros_like(parameter), torch.zeros_like(parameter)
        self.count = torch.zeros((), dtype=torch.float32, device=parameter.device)

    def see(self, skip):
        """Take the products of the present gradient, unless ``skip`` holds, into their mean."""
        gradient = self.parameter.grad.masked_fill(skip, 0.0)
        weight = (1 - BETAS[1]) * (~skip).to(gradient)
        for side, product in self.products.items():
            product.lerp_(gradient @ gradient.T if side == 0 else gradient.T @ gradient, weight)

    def turn(self):
        """Come nearer to the eigenvectors by a step of orthogonal iteration."""
        mean = self.turned_back(self.mean)
        for side, axes in self.axes.items():
            product = self.products[side]
            moved = product @ axes + ANCHOR * product.trace() * axes
            self.axes[side] = torch.linalg.qr(moved)[0]
        self.mean = self.turned(mean)

    def turned(self, matrix):
        """From the parameter's axes to those of the moments."""
        for side, axes in self.axes.items():
            matrix = axes.T @ matrix if side == 0 else matrix @ axes
        return matrix

    def turned_back(self, matrix):
        for side, axes in self.axes.items():
            matrix = axes @ matrix if side == 0 else matrix @ axes.T
        return matrix
