"""Log-densities of fitted densities in torch."""

import copy

import torch
from torch import nn

from sklearn_jko.checks import check_is_flow
from sklearn_jko.evaluation import LOWEST_LOG_DENSITY
from sklearn_jko.export.torch_scalers import torch_scaler
from sklearn_jko.solvers import TABLEAUS

__all__ = ["LogDensity", "as_torch_module"]


def as_torch_module(density):
    """Return `score_samples` of a fitted density as a torch module.

    The module holds a copy of the density: its scaling, its blocks and their solver. It processes
    all rows at once, where `score_samples` works in chunks: pass only as many as fit in memory.

    `torch.export` records the module for any number of rows from an example of two or more (see
    below); the exported program takes rows of the example's dtype. For a density with a `structure`
    of more than about 100 columns the module works, but `torch.export` cannot record its sparse
    products.

    Parameters
    ----------
    density : JKOFlowDensity
        Fitted density; for a `JKOFlowOutlierDetector`, pass its `density_`.

    Returns
    -------
    module : LogDensity
        Module in float64 on the CPU; ``module.to("cuda")`` moves it.

    Raises
    ------
    TypeError
        If `density` is not a JKOFlowDensity.
    NotFittedError
        If it is not fitted.
    ValueError
        If it has a condition, categories or integers; or if it was fitted with ``solver="dopri5"``
        or ``"dopri5_adjoint"``, so that each row takes its own solver steps, which cannot be
        recorded.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_jko import JKOFlowDensity
    >>> from sklearn_jko.export import as_torch_module
    >>> X = load_iris().data
    >>> density = JKOFlowDensity("standard", max_blocks=1, max_iter=20, random_state=0).fit(X)
    >>> module = as_torch_module(density)
    >>> rows = torch.tensor(X[:5], requires_grad=True)
    >>> bool(abs(module(rows).detach().numpy() - density.score_samples(X[:5])).max() < 1e-9)
    True
    >>> (score,) = torch.autograd.grad(module(rows).sum(), rows)  # d log p(x) / dx

    To score in an environment that has torch, but not this package:

    >>> shapes = {"X": {0: torch.export.Dim("n")}}
    >>> program = torch.export.export(module, (rows.detach(),), dynamic_shapes=shapes)
    >>> torch.export.save(program, "density.pt2")  # doctest: +SKIP
    >>> loaded = torch.export.load("density.pt2").module()  # doctest: +SKIP
    """
    check_is_flow("density", density)
    if density.flow_.solver not in TABLEAUS:
        raise ValueError(
            f"A density fitted with solver={density.solver!r} scores each row with its own solver "
            "steps, which cannot be recorded; fit with solver='rk4' or 'midpoint'."
        )
    if density.roles_ is not None and not density.roles_.has_bounds_only:
        raise ValueError(
            f"A density with columns={density.columns!r} and condition={density.condition!r} "
            "cannot be exported, as it has integers, categories or a condition; fit with bounds "
            "only."
        )
    return LogDensity(density.n_features_in_, density.scaler_, density.flow_)


class LogDensity(nn.Module):
    """Log-density of rows in their original units, including the scaling.

    Parameters
    ----------
    n_features : int
        Number of columns.
    scaler : scaler
        See `sklearn_jko.scaling`.
    flow : JKOFlow
    """

    def __init__(self, n_features, scaler, flow):
        super().__init__()
        self.n_features = n_features
        self.scaler = torch_scaler(scaler)
        self.flow = copy.deepcopy(flow)

    def _apply(self, fn, recurse=True):
        # All conversions go through it: `float`, `half`, `to`, those of a module that holds this.
        dtype = fn(torch.zeros((), dtype=torch.float64)).dtype
        if dtype != torch.float64:
            raise TypeError(
                f"LogDensity computes in float64 only, not in {dtype}; leave the module as it is, "
                "and convert its result: X may be of any real dtype."
            )
        return super()._apply(fn, recurse)

    def forward(self, X):
        """Log-density of each row.

        Parameters
        ----------
        X : Tensor of shape (n, n_features), of any real dtype

        Returns
        -------
        log_density : Tensor of shape (n,), float64
            Natural logarithm, in the units of X: NaN for a row with NaN or infinite values, and
            finite otherwise.
        """
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"X must have shape (n, {self.n_features}); got {tuple(X.shape)}.")
        X = X.double()
        Z, log_det = self.scaler(X)
        log_density = self.flow.log_prob(Z) + log_det
        return torch.where(X.isfinite().all(1), _finite(log_density), torch.nan)


def _finite(log_density):
    return log_density.nan_to_num(
        nan=LOWEST_LOG_DENSITY, posinf=-LOWEST_LOG_DENSITY, neginf=LOWEST_LOG_DENSITY
    ).clamp(min=LOWEST_LOG_DENSITY)
