"""Fitted densities as torch modules.

`as_torch_module` returns a module that computes log-densities, with gradients, on any device.
`torch.export` writes such a module to a file that torch alone can run, without this package.
"""

from sklearn_jko.export.log_density import LogDensity, as_torch_module

__all__ = ["LogDensity", "as_torch_module"]
